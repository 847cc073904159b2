"""RMSprop on the kernels of `fastrms`; SGD and Adam written out, one rule for every generation.

Sources: tensorflow core/kernels/training_ops.cc ApplyKerasMomentum, ApplyAdam,
ApplyAdamWithAmsgrad; keras 2.12.0 optimizers/sgd.py:154-184, adam.py:142-180. They agree but for
where `1 - beta` is rounded, which the rows tell (`rho_complement_in_dtype`).
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Base
from .weights import Weight

Array = NDArray[Any]


def _cast(value: float, dtype: np.dtype[Any]) -> Any:
    """Round a Python number as tf.cast does: through float32."""
    return dtype.type(np.float32(value))


class OnKernels(Base):
    """An optimizer whose update is RMSprop's, carried out by the core."""

    WRITES_UPDATE: ClassVar[bool] = False


class DescendsGradient(Base):
    """An optimizer whose update is SGD's, with momentum where it has the slot."""

    SLOT: ClassVar[str] = "momentum"

    def _descend(self, gradient: Array, variable: Weight) -> None:
        """Update one variable in place."""
        array, step = variable.live, self._rate(variable.dtype) * gradient
        stepper, settings = self._core.stepper, self._core.settings
        assert stepper is not None
        index = self._index(variable)
        if (self.SLOT, index) not in stepper.state.slots:
            array -= step
            return
        slot = stepper.state.shaped(self.SLOT, index)
        share = _cast(settings.momentum or 0.0, array.dtype)
        slot[...] = slot * share - step
        array += slot * share - step if vars(settings)["nesterov"] else slot


class AdaptsMoments(Base):
    """An optimizer whose update is Adam's."""

    def _adapt(self, gradient: Array, variable: Weight) -> None:
        """Update one variable in place."""
        array, dtype = variable.live, variable.dtype
        stepper, held = self._core.stepper, self._core.settings
        assert stepper is not None
        index = self._index(variable)
        first, second = (stepper.state.shaped(name, index) for name in ("m", "v"))
        beta_1, beta_2 = (_cast(vars(held)[name], dtype) for name in ("beta_1", "beta_2"))
        rest_1, rest_2 = (self._rest(vars(held)[name], dtype) for name in ("beta_1", "beta_2"))
        time, one = dtype.type(stepper.iterations + 1), dtype.type(1)
        correction = np.sqrt(one - beta_2**time)
        rate = self._rate(dtype) * correction / (one - beta_1**time)
        first += (gradient - first) * rest_1
        second += (gradient * gradient - second) * rest_2
        if vars(held)["amsgrad"]:
            largest = stepper.state.shaped("vhat", index)
            second = np.maximum(largest, second, out=largest)
        array -= (first * rate) / (np.sqrt(second) + dtype.type(held.epsilon))

    def _rest(self, beta: float, dtype: np.dtype[Any]) -> Any:
        """Return 1 - beta as the system rounds it."""
        if self.ROW.rho_complement_in_dtype:
            return dtype.type(1) - _cast(beta, dtype)
        return dtype.type(1 - beta)
