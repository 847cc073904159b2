"""The classes of `optimizers.experimental` of tf.keras 2.10, which became those of 2.11."""

from typing import Any, ClassVar

from . import late, modern, rows
from .late import OLD_TAIL
from .rows import ADAM, RMSPROP, SGD_ORDER
from .rules import DescendsGradient, OnKernels


class Optimizer(late.Optimizer):
    """The base class of `optimizers.experimental` of tf.keras 2.10."""

    ROW = rows.own(rows.EXPERIMENTAL)
    ORDER: ClassVar[tuple[str, ...]] = ("name", *OLD_TAIL)
    BUILDS_ALL = RETURNS_COUNT = False

    @property
    def exclude_from_weight_decay(self) -> Any:
        """Absent, as in the real class, which had no weight decay."""
        raise AttributeError("tf.keras 2.10 has no weight decay to exclude variables from.")


class RMSprop(OnKernels, Optimizer):
    """RMSprop of `optimizers.experimental` of tf.keras 2.10; its centered form is broken there."""

    ROW = rows.EXPERIMENTAL
    ORDER = (*RMSPROP, *OLD_TAIL, "name")


class SGD(DescendsGradient, Optimizer):
    """SGD of `optimizers.experimental` of tf.keras 2.10."""

    ROW = rows.EXPERIMENTAL_SGD
    ORDER = (*SGD_ORDER, "amsgrad", *OLD_TAIL, "name")
    SLOT = "m"


class Adam(modern.Adam, Optimizer):
    """Adam of `optimizers.experimental` of tf.keras 2.10."""

    ROW = rows.adam(rows.EXPERIMENTAL)
    ORDER = (*ADAM, *OLD_TAIL, "name")
    BUILDS_ALL = RETURNS_COUNT = False
