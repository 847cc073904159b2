"""RMSprop on the kernels of `fastrms`; SGD and Adam written out, one rule for every generation.

Sources: tensorflow core/kernels/training_ops.cc ApplyKerasMomentum, ApplyAdam,
ApplyAdamWithAmsgrad; keras 2.12.0 optimizers/sgd.py:154-184, adam.py:142-180. They agree but for
where `1 - beta` is rounded, which the rows tell (`rho_complement_in_dtype`).
"""

from typing import Any, ClassVar

import numpy as np

from .base import Base
from .weights import Array, array_of


def _cast(value: float, dtype: np.dtype[Any]) -> Any:
    """Round a Python number as tf.cast does: through float32."""
    return dtype.type(np.float32(value))


class OnKernels(Base):
    """An optimizer whose update is RMSprop's, carried out by the core."""

    WRITES_UPDATE: ClassVar[bool] = False

    def _rule(self, gradient: Array, variable: Any) -> None:
        """Update one variable in place, for a class that adds something around it."""
        array = array_of(variable)
        self._inner.update_step(gradient, array, self._rate(array.dtype))


class DescendsGradient(Base):
    """An optimizer whose update is SGD's, with momentum where it has the slot."""

    SLOT: ClassVar[str] = "momentum"

    def _slots(self) -> tuple[tuple[str, ...], ...]:
        return ((self.SLOT,),) if self._core.settings.momentum else ()

    def _rule(self, gradient: Array, variable: Any) -> None:
        """Update one variable in place."""
        array, settings = array_of(variable), self._core.settings
        step = self._rate(array.dtype) * gradient
        stepper, index = self._core.stepper, self._index(variable)
        assert stepper is not None
        if (self.SLOT, index) not in stepper.state.slots:
            array -= step
            return
        slot = stepper.state.shaped(self.SLOT, index)
        share = _cast(settings.momentum or 0.0, array.dtype)
        slot[...] = slot * share - step
        array += slot * share - step if vars(settings)["nesterov"] else slot


class AdaptsMoments(Base):
    """An optimizer whose update is Adam's."""

    def _rule(self, gradient: Array, variable: Any) -> None:
        """Update one variable in place."""
        array, held = array_of(variable), vars(self._core.settings)
        stepper, index, dtype = self._core.stepper, self._index(variable), array.dtype
        assert stepper is not None
        first, second = (stepper.state.shaped(name, index) for name in ("m", "v"))
        beta_1, beta_2 = (_cast(held[name], dtype) for name in ("beta_1", "beta_2"))
        rest_1, rest_2 = (self._rest(held[name], dtype) for name in ("beta_1", "beta_2"))
        time, one = dtype.type(stepper.iterations + 1), dtype.type(1)
        correction = np.sqrt(one - beta_2**time)
        rate = self._rate(dtype) * correction / (one - beta_1**time)
        first += (gradient - first) * rest_1
        second += (gradient * gradient - second) * rest_2
        if held["amsgrad"]:
            largest = stepper.state.shaped("vhat", index)
            second = np.maximum(largest, second, out=largest)
        array -= (first * rate) / (np.sqrt(second) + dtype.type(held["epsilon"]))

    def _rest(self, beta: float, dtype: np.dtype[Any]) -> Any:
        """Return 1 - beta as the system rounds it."""
        if self.ROW.rho_complement_in_dtype:
            return dtype.type(1) - _cast(beta, dtype)
        return dtype.type(1 - beta)
