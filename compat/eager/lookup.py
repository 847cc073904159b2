"""Optimizers by name and by configuration: `get`, `serialize` and `deserialize`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastrms.errors import ArgumentError

from . import registry, scaling
from .base import Base


@dataclass(frozen=True)
class Lookup:
    """The functions of one generation: its newer classes, and whether the legacy ones are first."""

    modern: Any
    legacy_first: bool

    def serialize(self, optimizer: Base, use_legacy_format: bool = False) -> dict[str, Any]:
        """Return an optimizer as a dictionary with ``class_name`` and ``config``."""
        return registry.serialized(optimizer)

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
        use_legacy_format : bool
            Has no effect: there is one form.
        **kwargs
            ``use_legacy_optimizer``: the family of a configuration that does not say.
        """
        older = kwargs.pop("use_legacy_optimizer", self.legacy_first)
        if kwargs:
            raise ArgumentError(f"unknown arguments {kwargs}; valid: use_legacy_optimizer.")
        wrappers = {
            "lossscaleoptimizer": scaling.of_family(older),
            "lossscaleoptimizerv3": scaling.of_family(False),
            "lossscaleoptimizerv1": scaling.of_family(True),
        }
        return registry.deserialized(config, self.modern, older, custom_objects, wrappers)

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
