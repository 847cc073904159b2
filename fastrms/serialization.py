"""Optimizers as dictionaries in the form that Keras writes, and back."""

from collections.abc import Mapping
from typing import Any

from fastrms.errors import ArgumentError
from fastrms.loss_scale import LossScaleOptimizer
from fastrms.naming import built, listed, written
from fastrms.optimizer import RMSprop

# By lower-case name, as Keras looks them up; the last one is tf.keras 2.10's to 2.15's.
KNOWN: dict[str, Any] = {
    "rmsprop": RMSprop,
    "lossscaleoptimizer": LossScaleOptimizer,
    "lossscaleoptimizerv3": LossScaleOptimizer,
}


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
        raise ArgumentError(f"{optimizer!r:.60} is not an optimizer; valid: {listed(KNOWN)}.")
    config = optimizer.get_config()
    for name, value in config.items():
        if callable(value):
            raise ArgumentError(
                f"{name}={value!r} is a function, which cannot be serialized; valid: a number or a "
                "fastrms.schedules.LearningRateSchedule."
            )
    form = written(optimizer, config)
    if isinstance(optimizer, LossScaleOptimizer):
        form["class_name"] = optimizer._rules.class_name
    return form


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
    return built(config, custom_objects or {}, KNOWN)


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
        f"Could not interpret optimizer identifier: {identifier!r:.60}; valid: a name "
        f"({listed(KNOWN)}), a serialized optimizer, or an optimizer."
    )
