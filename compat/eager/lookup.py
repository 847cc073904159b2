"""Optimizers by name and by configuration: `get`, `serialize` and `deserialize`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastrms.errors import ArgumentError

from . import legacy, scaling
from .base import Base
from .late import Optimizer

# keras registered the new classes as its own "custom" objects.
_PREFIX = "Custom>"
_NOT_HERE = ("adadelta", "adagrad", "adamax", "nadam", "ftrl", "adamw", "adafactor")


@dataclass(frozen=True)
class Lookup:
    """The functions of one generation: its main classes and whether those are the legacy ones."""

    modern: Any
    legacy_first: bool

    def serialize(self, optimizer: Base, use_legacy_format: bool = False) -> dict[str, Any]:
        """Return an optimizer as a dictionary with ``class_name`` and ``config``."""
        if not isinstance(optimizer, Base):
            raise ArgumentError(
                f"{optimizer!r:.80} is not an optimizer of this module; pass an instance of one."
            )
        kind = type(optimizer)
        own = isinstance(optimizer, Optimizer) and kind.__module__.startswith(__package__ or "")
        name = f"{_PREFIX}{kind.__name__}" if own else kind.__name__
        return {"class_name": name, "config": optimizer.get_config()}

    def deserialize(
        self,
        config: Mapping[str, Any],
        custom_objects: Mapping[str, Any] | None = None,
        use_legacy_format: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Build an optimizer from `serialize`'s result.

        Parameters
        ----------
        config : mapping
            With ``class_name`` and ``config``.
        custom_objects : mapping, optional
            Users' classes by name.
        """
        arguments = config.get("config") if isinstance(config, Mapping) else None
        if not isinstance(arguments, Mapping) or not isinstance(config.get("class_name"), str):
            raise ArgumentError(
                f"{config!r:.120} is not a serialized optimizer; valid: a dictionary with "
                "'class_name' and 'config', as serialize returns it."
            )
        older = kwargs.get("use_legacy_optimizer", self.legacy_first)
        if arguments:
            older = arguments.get("is_legacy_optimizer", True)
        kind = self._class(config["class_name"], older, custom_objects or {})
        return kind.from_config(dict(arguments), custom_objects=custom_objects)

    def _class(self, name: str, older: bool, custom_objects: Mapping[str, Any]) -> Any:
        """Return the class of a name, whatever its case."""
        if name in custom_objects:
            return custom_objects[name]
        plain = name.removeprefix(_PREFIX).lower()
        family = legacy if older else self.modern
        classes = {
            "rmsprop": family.RMSprop,
            "sgd": family.SGD,
            "adam": family.Adam,
            "lossscaleoptimizer": scaling.of_family(older),
            "lossscaleoptimizerv3": scaling.of_family(False),
            "lossscaleoptimizerv1": scaling.of_family(True),
        }
        if plain not in classes:
            known = "RMSprop, SGD, Adam, LossScaleOptimizer"
            why = "is not provided" if plain in _NOT_HERE else "is unknown"
            raise ArgumentError(
                f"the optimizer {name!r} {why}; valid: {known}, or a class of your own in "
                f"custom_objects={{{name!r}: the class}}."
            )
        return classes[plain]

    def get(self, identifier: Any, **kwargs: Any) -> Any:
        """Return an optimizer for a name, a configuration, or an optimizer itself."""
        if isinstance(identifier, Base):
            return identifier
        if isinstance(identifier, str):
            identifier = {"class_name": identifier, "config": {}}
        if not isinstance(identifier, Mapping):
            raise ArgumentError(
                f"{identifier!r:.80} does not name an optimizer; valid: a name such as 'rmsprop', "
                "a dictionary from serialize, or an optimizer."
            )
        return self.deserialize(identifier, **kwargs)
