"""The classes of tf.keras 2.11 to 2.15: a row, an order of arguments and a rule each."""

from typing import ClassVar

from . import rows
from .late import TAIL, Optimizer
from .rows import ADAM, RMSPROP, SGD_ORDER
from .rules import AdaptsMoments, DescendsGradient, OnKernels


class RMSprop(OnKernels, Optimizer):
    """RMSprop of tf.keras 2.11 to 2.15: epsilon inside the root.

    Parameters
    ----------
    learning_rate, rho, momentum, epsilon, centered, weight_decay, clipnorm, clipvalue, \
global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency, jit_compile, name
        As for `fastrms.RMSprop`, in this order. ``lr`` is taken and ignored, as there, with a
        `PortingWarning`; ``decay`` is refused, as there.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrms.compat.tf_keras.optimizers import RMSprop
    >>> w = np.ones(2, np.float32)
    >>> optimizer = RMSprop(learning_rate=0.1)
    >>> int(optimizer.apply_gradients([(2 * w, w)]))
    1
    >>> w
    array([0.6837723, 0.6837723], dtype=float32)
    """

    ROW = rows.LATE
    ORDER = (*RMSPROP, *TAIL, "name")


class SGD(DescendsGradient, Optimizer):
    """SGD of tf.keras 2.11 to 2.15, which keeps a momentum slot always."""

    ROW = rows.sgd(rows.LATE, "m")
    ORDER: ClassVar[tuple[str, ...]] = (*SGD_ORDER, *TAIL, "name")
    SLOT = "m"
    FIXED: ClassVar[tuple[str, ...]] = ("use_ema",)

    def _slots(self) -> tuple[tuple[str, ...], ...]:
        return (("m",),)


class Adam(AdaptsMoments, Optimizer):
    """Adam of tf.keras 2.11 to 2.15, which makes a variable's two moments together."""

    ROW = rows.adam(rows.LATE)
    ORDER: ClassVar[tuple[str, ...]] = (*ADAM, *TAIL, "name")

    def _slots(self) -> tuple[tuple[str, ...], ...]:
        return (("m", "v"), ("vhat",)) if self.amsgrad else (("m", "v"),)
