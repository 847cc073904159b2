"""Optimizers as dictionaries: which class a serialized one names, and what it says of itself."""

from collections.abc import Mapping
from typing import Any

from fastrms.errors import ArgumentError

from . import legacy
from .base import Base
from .late import Optimizer

# keras registered the new classes as its own "custom" objects.
_PREFIX = "Custom>"
_NOT_HERE = ("adadelta", "adagrad", "adamax", "nadam", "ftrl", "adamw", "adafactor")


def serialized(optimizer: Any) -> dict[str, Any]:
    """Return an optimizer as a dictionary with ``class_name`` and ``config``."""
    if not isinstance(optimizer, Base):
        raise ArgumentError(
            f"{optimizer!r:.80} is not an optimizer of this module; pass an instance of one."
        )
    kind = type(optimizer)
    own = isinstance(optimizer, Optimizer) and kind.__module__.startswith(__package__ or "")
    name = f"{_PREFIX}{kind.__name__}" if own else kind.__name__
    return {"class_name": name, "config": optimizer.get_config()}


def deserialized(
    config: Any,
    modern: Any,
    older: bool,
    custom_objects: Mapping[str, Any] | None = None,
    wrappers: Mapping[str, Any] | None = None,
) -> Any:
    """Build an optimizer from its dictionary; `older` chooses the family of one without config."""
    arguments = config.get("config") if isinstance(config, Mapping) else None
    if not isinstance(arguments, Mapping) or not isinstance(config.get("class_name"), str):
        raise ArgumentError(
            f"{config!r:.120} is not a serialized optimizer; valid: a dictionary with "
            "'class_name' and 'config', as serialize returns it."
        )
    name, custom = config["class_name"], custom_objects or {}
    if arguments:
        older = bool(arguments.get("is_legacy_optimizer", True))
    family = legacy if older else modern
    known = {"rmsprop": family.RMSprop, "sgd": family.SGD, "adam": family.Adam, **(wrappers or {})}
    plain = name.removeprefix(_PREFIX).lower()
    if name not in custom and plain not in known:
        why = "is not provided" if plain in _NOT_HERE else "is unknown"
        raise ArgumentError(
            f"the optimizer {name!r} {why}; valid: RMSprop, SGD, Adam, LossScaleOptimizer, or a "
            f"class of your own in custom_objects=dict({name}=the class)."
        )
    kind = custom.get(name) or known[plain]
    return kind.from_config(dict(arguments), custom_objects=custom_objects)
