"""The classes of tf.keras 2.0 to 2.10: a row, an order of arguments and a rule each."""

from collections.abc import Iterable
from typing import Any

from . import rows
from .rows import ADAM, RMSPROP, SGD_ORDER
from .rules import AdaptsMoments, DescendsGradient, OnKernels
from .state import listed
from .v2 import OptimizerV2


class RMSprop(OnKernels, OptimizerV2):
    """RMSprop of tf.keras 2.0 to 2.10: epsilon outside the root, inside it with momentum.

    Parameters
    ----------
    learning_rate, rho, momentum, epsilon, centered, name
        As for `fastrms.RMSprop`, in this order.
    **kwargs
        ``clipnorm``, ``clipvalue``, ``global_clipnorm``, ``decay``, ``lr``,
        ``gradient_aggregator``, ``gradient_transformers``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrms.compat.tf_keras_v2.optimizers import RMSprop
    >>> w = np.ones(2, np.float32)
    >>> optimizer = RMSprop(lr=0.1)
    >>> int(optimizer.apply_gradients([(2 * w, w)]))
    1
    >>> w
    array([0.68377227, 0.68377227], dtype=float32)
    """

    ROW = rows.V2
    HYPERS = ("learning_rate", "decay", "rho", "momentum")
    ORDER = (*RMSPROP, "name")


class SGD(DescendsGradient, OptimizerV2):
    """SGD of tf.keras 2.0 to 2.10."""

    ROW = rows.sgd(rows.V2, "momentum")
    HYPERS = ("learning_rate", "decay", "momentum")
    ORDER = (*SGD_ORDER, "name")


class Adam(AdaptsMoments, OptimizerV2):
    """Adam of tf.keras 2.0 to 2.10."""

    ROW = rows.adam(rows.V2)
    HYPERS = ("learning_rate", "decay", "beta_1", "beta_2")
    ORDER = (*ADAM, "name")

    def _slots(self) -> tuple[tuple[str, ...], ...]:
        return (("m",), ("v",), ("vhat",)) if self.amsgrad else (("m",), ("v",))

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Replace the weights; the third moments that Keras 2.3 always wrote may be among them."""
        values, count = listed(weights), len(self.weights)
        if len(values) == 3 * ((count - 1) // 2) + 1:
            values = values[:count]
        super().set_weights(values)
