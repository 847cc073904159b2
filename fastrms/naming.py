"""Classes of optimizers under the names by which serialized dictionaries know them."""

import sys
from collections.abc import Mapping
from typing import Any

from fastrms.dialects import DIALECTS
from fastrms.dialects.recognition import writers
from fastrms.errors import ArgumentError

MODULE = "keras.optimizers"
# Packages whose optimizers have the names and arguments of ours.
_SAME = frozenset({"keras", "tf_keras", "tensorflow", "fastrms"})


def written(optimizer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Return the serialized form of an optimizer with such a configuration."""
    kind = type(optimizer)
    known = kind.__module__.partition(".")[0] == "fastrms"
    row = DIALECTS.get(str(config.get("dialect", "")))
    if row is not None and known:
        bare = {key: value for key, value in config.items() if key != "dialect"}
        known_by = writers(set(bare))
        if row.name in known_by and len(known_by) == 1:
            config = {**bare, **row.marks}
        return {"class_name": row.class_name, "config": config}
    return {
        "module": MODULE if known else kind.__module__,
        "class_name": kind.__name__,
        "config": config,
        "registered_name": None if known else kind.__name__,
    }


def built(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any], known: Mapping[str, Any]
) -> Any:
    """Build an optimizer from its serialized form; its class is a known one or a subclass."""
    arguments = config.get("config") if isinstance(config, Mapping) else None
    if not isinstance(arguments, Mapping) or not isinstance(config.get("class_name"), str):
        raise ArgumentError(
            f"{config!r:.200} is not a serialized optimizer; valid: a dictionary with 'class_name' "
            "and 'config', as fastrms.serialize returns."
        )
    kind = _found(config, custom_objects, known)
    if custom_objects:
        return kind.from_config(dict(arguments), custom_objects)
    return kind.from_config(dict(arguments))


def _found(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any], known: Mapping[str, Any]
) -> Any:
    """Return the class that a serialized optimizer names."""
    name = str(config["class_name"]).rpartition(">")[2]
    module = str(config.get("module") or MODULE)
    kind = custom_objects.get(str(config.get("registered_name")), custom_objects.get(name))
    if kind is None and module.partition(".")[0] in _SAME:
        kind = known.get(name.lower())
    if kind is None:
        kind = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if not isinstance(kind, type) or not issubclass(kind, tuple(known.values())):
        raise ArgumentError(
            f"unknown optimizer {name!r} of module {module!r}; valid: {listed(known)}, or a "
            f"subclass: pass custom_objects=dict({name}=the class)."
        )
    return kind


def listed(known: Mapping[str, Any]) -> str:
    """List the classes, each once."""
    return ", ".join(dict.fromkeys(kind.__name__ for kind in known.values()))
