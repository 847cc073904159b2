"""Optimizers as dictionaries: which class a serialized one names, and what it says of itself."""

from collections.abc import Mapping
from typing import Any

from fastrms.errors import ArgumentError
from fastrms.naming import built

from . import legacy
from .base import Base
from .late import Optimizer
from .v2 import OptimizerV2


def serialized(optimizer: Any) -> dict[str, Any]:
    """Return an optimizer as a dictionary with ``class_name`` and ``config``."""
    if not isinstance(optimizer, Base):
        raise ArgumentError(
            f"{optimizer!r:.80} is not an optimizer of this module; pass an instance of one."
        )
    kind = type(optimizer)
    # keras registered the new classes as its own "custom" objects.
    own = isinstance(optimizer, Optimizer) and kind.__module__.startswith(__package__ or "")
    name = f"Custom>{kind.__name__}" if own else kind.__name__
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
    if arguments and isinstance(arguments, Mapping):
        older = bool(arguments.get("is_legacy_optimizer", True))
    family = legacy if older else modern
    kinds = (family.RMSprop, family.SGD, family.Adam, OptimizerV2, Optimizer)
    known = {kind.__name__.lower(): kind for kind in kinds}
    return built(config, custom_objects or {}, {**known, **(wrappers or {})})
