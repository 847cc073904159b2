"""Optimizers as dictionaries in the form that Keras writes, and back."""

import sys
from collections.abc import Mapping
from typing import Any

from fastrms.dialects import DIALECTS
from fastrms.dialects.recognition import writers
from fastrms.errors import ArgumentError
from fastrms.loss_scale import LossScaleOptimizer
from fastrms.optimizer import RMSprop

MODULE = "keras.optimizers"
# Packages whose optimizers have the names and arguments of ours.
_SAME = frozenset({"keras", "tf_keras", "tensorflow", "fastrms"})
# By lower-case name, as Keras looks them up.
KNOWN: dict[str, Any] = {"rmsprop": RMSprop, "lossscaleoptimizer": LossScaleOptimizer}


def serialize(optimizer: Any) -> dict[str, Any]:
    """Return an optimizer as a dictionary that its mirrored system can load, too.

    Parameters
    ----------
    optimizer : RMSprop
        Of any dialect. Its state is not part of the dictionary.

    Returns
    -------
    dict
        With ``class_name`` and ``config``; in the dialect keras-3, and for subclasses, also with
        ``module`` and ``registered_name``. The configuration has the key ``dialect`` where its
        other keys do not tell the dialect.

    Raises
    ------
    ArgumentError
        It is not an optimizer, or its learning rate is a function, which no dictionary can hold.

    Examples
    --------
    >>> from fastrms import RMSprop, serialize
    >>> written = serialize(RMSprop(rho=0.5))
    >>> written["module"], written["class_name"], written["config"]["rho"]
    ('keras.optimizers', 'RMSprop', 0.5)
    """
    kinds = tuple(KNOWN.values())
    if not isinstance(optimizer, kinds):
        raise ArgumentError(f"{optimizer!r:.60} is not an optimizer; valid: {_names()}.")
    config = optimizer.get_config()
    for name, value in config.items():
        if callable(value):
            raise ArgumentError(
                f"{name}={value!r} is a function, which cannot be serialized; valid: a number or a "
                "fastrms.schedules.LearningRateSchedule."
            )
    kind = type(optimizer)
    known = kind in kinds
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


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Build an optimizer from `serialize`'s result, or from what Keras or tf.keras wrote.

    Parameters
    ----------
    config : mapping
        With ``class_name``, in upper or lower case, and ``config``.
    custom_objects : mapping, optional
        Subclasses of `RMSprop` and of schedules by name. A subclass whose module is already
        imported is found without; nothing is imported here.

    Raises
    ------
    ArgumentError
        The class is unknown, or does not take the arguments.

    Examples
    --------
    >>> from fastrms import deserialize
    >>> deserialize({"class_name": "RMSprop", "config": {"learning_rate": 0.5}}).learning_rate
    0.5
    """
    arguments = config.get("config") if isinstance(config, Mapping) else None
    if not isinstance(arguments, Mapping) or not isinstance(config.get("class_name"), str):
        raise ArgumentError(
            f"{config!r:.200} is not a serialized optimizer; valid: a dictionary with 'class_name' "
            "and 'config', as fastrms.serialize returns."
        )
    kind = _found(config, custom_objects or {})
    if custom_objects:
        return kind.from_config(dict(arguments), custom_objects)
    return kind.from_config(dict(arguments))


def _found(config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    """Return the class that a serialized optimizer names."""
    name = str(config["class_name"]).rpartition(">")[2]
    module = str(config.get("module") or MODULE)
    kind = custom_objects.get(str(config.get("registered_name")), custom_objects.get(name))
    if kind is None and module.partition(".")[0] in _SAME:
        kind = KNOWN.get(name.lower())
    if kind is None:
        kind = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if not isinstance(kind, type) or not issubclass(kind, tuple(KNOWN.values())):
        raise ArgumentError(
            f"unknown optimizer {name!r} of module {module!r}; valid: {_names()}, or a subclass: "
            f"pass custom_objects=dict({name}=the class)."
        )
    return kind


def _names() -> str:
    """List the optimizers."""
    return ", ".join(kind.__name__ for kind in KNOWN.values())


def get(identifier: Any) -> Any:
    """Return an optimizer from its name, its serialized form, or itself; None stays None.

    Parameters
    ----------
    identifier : str, mapping, RMSprop or None
        A name (``"rmsprop"``) gives an optimizer with default arguments.

    Raises
    ------
    ArgumentError
        It is none of these.

    Examples
    --------
    >>> from fastrms import get
    >>> get("rmsprop").get_config()["rho"]
    0.9
    """
    if identifier is None or isinstance(identifier, tuple(KNOWN.values())):
        return identifier
    if isinstance(identifier, str):
        return deserialize({"class_name": identifier, "config": {}})
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    raise ArgumentError(
        f"Could not interpret optimizer identifier: {identifier!r:.60}; valid: a name ({_names()}),"
        " a serialized optimizer, or an optimizer."
    )
