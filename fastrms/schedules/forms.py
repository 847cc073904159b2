"""Schedules as dictionaries, in the form that Keras 3 writes, and back."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastrms.errors import ArgumentError
from fastrms.schedules.base import LearningRateSchedule
from fastrms.schedules.cosine import CosineDecay, CosineDecayRestarts
from fastrms.schedules.decays import ExponentialDecay, InverseTimeDecay, PolynomialDecay
from fastrms.schedules.pieces import PiecewiseConstantDecay

MODULE = "keras.optimizers.schedules"
KNOWN: Mapping[str, type[LearningRateSchedule]] = {
    kind.__name__: kind
    for kind in (
        ExponentialDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
        InverseTimeDecay,
        CosineDecay,
        CosineDecayRestarts,
    )
}
# Packages whose schedules have the names and arguments of ours.
_SAME = {"keras", "tf_keras", "tensorflow", "fastrms"}


def _plain(value: Any) -> Any:
    """Return Python's own numbers and lists for NumPy's."""
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, float):
        return value.tolist()
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Return a schedule as a dictionary that JSON can hold, as Keras 3 does.

    Parameters
    ----------
    learning_rate_schedule : LearningRateSchedule
        With a `get_config`.

    Returns
    -------
    dict
        With the keys ``module``, ``class_name``, ``config`` and ``registered_name``.

    Examples
    --------
    >>> from fastrms.schedules import PiecewiseConstantDecay, serialize
    >>> serialize(PiecewiseConstantDecay([5], [0.1, 0.01]))["class_name"]
    'PiecewiseConstantDecay'
    """
    if not isinstance(learning_rate_schedule, LearningRateSchedule):
        raise ArgumentError(
            f"{learning_rate_schedule!r} is not a schedule; valid: an instance of a subclass of "
            "fastrms.schedules.LearningRateSchedule. Pass one."
        )
    kind = type(learning_rate_schedule)
    known = KNOWN.get(kind.__name__) is kind
    config = learning_rate_schedule.get_config()
    return {
        "module": MODULE if known else kind.__module__,
        "class_name": kind.__name__,
        "config": {key: _plain(value) for key, value in config.items()},
        "registered_name": None if known else kind.__name__,
    }


def deserialize(
    config: Mapping[str, Any],
    custom_objects: Mapping[str, type[LearningRateSchedule]] | None = None,
) -> LearningRateSchedule:
    """Build a schedule from `serialize`'s result, or from what Keras 2 or 3 wrote.

    Parameters
    ----------
    config : mapping
        With ``class_name`` and ``config``.
    custom_objects : mapping, optional
        Subclasses of `LearningRateSchedule` by name. A subclass whose module is already imported
        is found without; nothing is imported here.

    Raises
    ------
    ArgumentError
        The class is unknown, or does not take the arguments.

    Examples
    --------
    >>> from fastrms.schedules import deserialize
    >>> written = {"class_name": "PolynomialDecay",
    ...            "config": {"initial_learning_rate": 0.5, "decay_steps": 10, "power": 2.0}}
    >>> float(deserialize(written)(0))
    0.5
    """
    if isinstance(config, LearningRateSchedule):
        return config
    arguments = config.get("config") if isinstance(config, Mapping) else None
    if not isinstance(arguments, Mapping) or not isinstance(config.get("class_name"), str):
        raise ArgumentError(
            f"{config!r:.200} is not a serialized schedule; valid: a dictionary with 'class_name' "
            "and 'config', as fastrms.schedules.serialize returns."
        )
    kind = _found(config, custom_objects or {})
    try:
        return kind.from_config(dict(arguments))
    except ArgumentError:
        raise
    except TypeError as error:
        raise ArgumentError(
            f"the schedule {kind.__name__} cannot be built from {dict(arguments)!r:.200}: {error}. "
            "Pass the arguments that its get_config() returns."
        ) from error


def _found(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any]
) -> type[LearningRateSchedule]:
    """Return the class that a serialized schedule names."""
    name, registered = config["class_name"], config.get("registered_name")
    module = str(config.get("module") or MODULE)
    kind = custom_objects.get(str(registered), custom_objects.get(name))
    if kind is None and module.partition(".")[0] in _SAME:
        kind = KNOWN.get(name)
    if kind is None:
        kind = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if not isinstance(kind, type) or not issubclass(kind, LearningRateSchedule):
        raise ArgumentError(
            f"unknown schedule {name!r} of module {module!r}; valid: {', '.join(KNOWN)}, or a "
            f"subclass of LearningRateSchedule: pass custom_objects=dict({name}=the class)."
        )
    return kind
