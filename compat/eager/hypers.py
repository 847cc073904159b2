"""Hyperparameters as OptimizerV2 has them: attributes that are float32 variables."""

from functools import partial
from typing import Any, ClassVar

import numpy as np

from fastrms.hyper import rate
from fastrms.rates import called, scheduled, written
from fastrms.schedules import LearningRateSchedule

from .base import Base
from .pairs import ignored
from .weights import Weight, number_of


def _is_schedule(value: Any) -> bool:
    """Tell a schedule from a number or a callable without arguments."""
    return isinstance(value, LearningRateSchedule)


class Hypers(Base):
    """The part of OptimizerV2 that holds hyperparameters."""

    HYPERS: ClassVar[tuple[str, ...]] = ()
    _created = False
    _hyper: dict[str, Any]

    def _require_no_rival(self, name: str, value: Any) -> None:
        """Refuse what cannot stand beside another option."""

    def _set_hyper(self, name: str, value: Any) -> None:
        """Set a hyperparameter, one of the class's own or of the row."""
        if self._uses(name):
            self._change(name, value)
        self._hyper[name] = number_of(value)

    def _get_hyper(self, name: str, dtype: Any = None) -> Any:
        """Return a hyperparameter: a weight, a schedule, or what a callable returns."""
        held = getattr(self._core.settings, name, None) if self._uses(name) else self._hyper[name]
        if _is_schedule(held):
            return held
        if callable(held):
            held = held()
        elif dtype is None:
            self._created = True
            return self._hyper_weight(name)
        return held if dtype is None else np.dtype(dtype).type(np.float32(held))

    def _hyper_weight(self, name: str) -> Weight:
        """Return a number among the hyperparameters as a weight."""
        if name == "learning_rate":
            return self._rate_weight()
        return Weight(f"{name}:0", partial(self._number, name), partial(setattr, self, name))

    def _number(self, name: str) -> Any:
        """Return a hyperparameter as the float32 number that it is there."""
        held = getattr(self._core.settings, name) if self._uses(name) else self._hyper[name]
        return np.float32(held)

    def __getattr__(self, name: str) -> Any:
        inside = self.__dict__
        name = "learning_rate" if name == "lr" else name
        if name in inside.get("_hyper", ()):
            return self._get_hyper(name)
        if "_inner" in inside and self._uses(name):
            return getattr(self._core.settings, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        name = "learning_rate" if name == "lr" else name
        if "_inner" not in self.__dict__ or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        elif name == "decay" and name in self._hyper:
            ignored("setting decay later has no effect in tf.keras 2.0 to 2.10; pass decay= first.")
        elif name in self._hyper:
            self._set_hyper(name, value)
        elif self._uses(name):
            self._require_no_rival(name, value)
            self._change(name, value)
        else:
            object.__setattr__(self, name, value)

    def _slots_are_fixed(self) -> bool:
        """The constructor decides whether there is momentum (rmsprop.py:145)."""
        return True

    def _decayed_lr(self, var_dtype: Any) -> Any:
        """Return the learning rate of the coming step in a dtype."""
        dtype, inner, core = np.dtype(var_dtype), self._inner, self._core
        base = called(core.settings.learning_rate)
        if _is_schedule(base):
            base = scheduled(core.row, base, inner.iterations, dtype)
        return rate(core.row, core.settings, base, inner.iterations, dtype)

    def _serialize_hyperparameter(self, hyperparameter_name: str) -> Any:
        """Return a hyperparameter for a configuration."""
        held = self._hyper[hyperparameter_name]
        if self._uses(hyperparameter_name):
            held = getattr(self._core.settings, hyperparameter_name)
        if _is_schedule(held):
            return written(self._core.row, held)
        value = held() if callable(held) else held
        return float(np.float32(value)) if self._created and not callable(held) else value
