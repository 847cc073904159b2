"""`LossScaleOptimizer`: losses scaled up so that small float16 gradients survive.

Source: keras 2.10.0 mixed_precision/loss_scale_optimizer.py.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

import fastrms
from fastrms.errors import ArgumentError

from . import modern
from .base import Base
from .late import Optimizer
from .pairs import Pairs, filtered, ignored
from .registry import deserialized, serialized
from .scales import from_older, is_finite, times
from .v2 import OptimizerV2
from .weights import Weight, number_of


class Scale(Weight):
    """A loss scale: a number, which tf.keras 2.1 to 2.3 also let one call."""

    def __call__(self) -> Any:
        """Return the number."""
        return self.numpy()


_SCALE = ("dynamic", "initial_scale", "dynamic_growth_steps")
_INNER = (
    *("iterations", "weights", "variables", "get_weights", "set_weights", "name", "build"),
    *("get_slot_names", "get_slot", "add_slot", "_create_all_weights", "_inner"),
    *("exclude_from_weight_decay", "finalize_variable_values"),
)


def _refuse(value: Any) -> None:
    """Say that the scale is not assigned to."""
    raise ArgumentError(
        f"loss_scale cannot be set to {value!r}; the steps set it. Pass initial_scale=."
    )


class LossScaleOptimizer(Base):
    """An optimizer that keeps a loss scale and skips steps with gradients that are not finite.

    Parameters
    ----------
    inner_optimizer : Optimizer
        Of either family; each can be wrapped once.
    dynamic : bool
        Whether the scale doubles after `dynamic_growth_steps` finite steps and halves (down to
        1) after one that is not.
    initial_scale : float, optional
        2**15 by default; needed without `dynamic`.
    dynamic_growth_steps : int, optional
        2000 by default.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrms.compat.tf_keras_v2 import mixed_precision, optimizers
    >>> optimizer = mixed_precision.LossScaleOptimizer(optimizers.SGD(0.5), initial_scale=4)
    >>> w = np.ones(2, np.float32)
    >>> gradients = optimizer.get_unscaled_gradients([np.float32([4, 8])])
    >>> int(optimizer.apply_gradients(list(zip(gradients, [w]))))
    1
    >>> w
    array([0.5, 0. ], dtype=float32)
    """

    DIALECT: ClassVar[str]

    def __new__(cls, inner_optimizer: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Choose the family by the inner optimizer."""
        wanted = cls
        if cls is LossScaleOptimizer:
            wanted = of_family(not isinstance(inner_optimizer, Optimizer))
        return object.__new__(wanted)

    def __init__(
        self,
        inner_optimizer: Any,
        dynamic: bool = True,
        initial_scale: float | None = None,
        dynamic_growth_steps: int | None = None,
    ) -> None:
        _require_inner(inner_optimizer)
        if not dynamic and (initial_scale is None or dynamic_growth_steps is not None):
            raise ArgumentError(
                f"with dynamic=False, initial_scale is needed (received {initial_scale!r}) and "
                f"dynamic_growth_steps must be None (received {dynamic_growth_steps!r})."
            )
        first = 2.0**15 if initial_scale is None else number_of(initial_scale)
        steps = 2000 if dynamic_growth_steps is None else number_of(dynamic_growth_steps)
        # The core's scale and its rules; here the gradients are unscaled before the step.
        scale = fastrms.LossScaleOptimizer(
            fastrms.RMSprop(dialect=self.DIALECT), first, steps, dynamic=dynamic
        )
        # Not by setattr, which reaches the inner optimizer.
        self.__dict__.update(inner_optimizer=inner_optimizer, _scale=scale, _told=set())
        inner_optimizer.__dict__["_is_wrapped"] = True

    @property
    def loss_scale(self) -> "Scale":
        """The scale now, a float32 number."""
        return Scale("loss_scale", partial(self._scale._own.__getitem__, "dynamic_scale"), _refuse)

    @property
    def dynamic_counter(self) -> Weight | None:
        """How many finite steps were made since the scale changed; None without `dynamic`."""
        own = self._scale._own
        write = partial(own.__setitem__, "step_counter")
        counter = Weight("good_steps:0", lambda: np.int64(own["step_counter"]), write)
        return counter if self.dynamic else None

    def get_scaled_loss(self, loss: Any) -> Any:
        """Return a loss, or a callable that gives one, times the scale."""
        self._told.add("loss")
        if callable(loss):
            return lambda: self._scaled(loss())
        return self._scaled(loss)

    def _scaled(self, loss: Any) -> Any:
        """Return a loss times the scale in the loss's dtype."""
        return loss * getattr(loss, "dtype", np.dtype(np.float32)).type(self._scale.dynamic_scale)

    def get_unscaled_gradients(self, grads: Any) -> list[Any]:
        """Return gradients divided by the scale, as products with its reciprocal; None stays."""
        self._told.add("gradients")
        reciprocal = np.float32(1) / np.float32(self._scale.dynamic_scale)
        with np.errstate(all="ignore"):
            return [g if g is None else times(g, reciprocal) for g in grads]

    def apply_gradients(self, grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
        """Update variables, or skip the step when an unscaled gradient is not finite.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable)
            Gradients already unscaled by `get_unscaled_gradients`.

        Returns
        -------
        Weight
            The counter, increased by 1, skipped or not.
        """
        pairs = filtered(grads_and_vars)
        self._tell()
        finite = all(is_finite(gradient) for gradient, _ in pairs)
        if not self.dynamic or finite:
            result = self.inner_optimizer.apply_gradients(pairs, *args, **kwargs)
        else:
            self.inner_optimizer.iterations.assign_add(1)
            result = self.iterations
        if self.dynamic:
            self._scale._adapt(not finite)
        return result

    def _tell(self) -> None:
        """Say once what was forgotten, as TensorFlow did."""
        ways = {"loss": "get_scaled_loss", "gradients": "get_unscaled_gradients"}
        forgotten = [way for what, way in ways.items() if what not in self._told]
        if forgotten:
            ignored(
                f"apply_gradients was called without {' and '.join(forgotten)} before, so steps "
                "may be wrong by the loss scale: scale the loss and unscale its gradients, or use "
                "minimize."
            )
            self._told.update(ways)

    def minimize(self, loss: Any, var_list: Any, *args: Any, **kwargs: Any) -> Any:
        """Take one step down a loss, scaled and unscaled here; needs the extra autodiff."""
        tape = kwargs.pop("tape", None)
        return self.apply_gradients(self.compute_gradients(loss, var_list, tape), *args, **kwargs)

    def compute_gradients(self, loss: Any, var_list: Any, tape: Any = None) -> Pairs:
        """Return pairs of unscaled gradient and variable."""
        scaled = self.get_scaled_loss(loss) if callable(loss) else loss
        pairs = self.inner_optimizer._differentiated(scaled, var_list, tape)
        unscaled = self.get_unscaled_gradients([gradient for gradient, _ in pairs])
        return [(g, variable) for g, (_, variable) in zip(unscaled, pairs, strict=True)]

    def get_gradients(self, loss: Any, params: Any) -> list[Any]:
        """Return unscaled gradients of a loss."""
        return [gradient for gradient, _ in self.compute_gradients(loss, params)]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, the inner optimizer in serialized form."""
        about = {name: getattr(self._scale, name) for name in _SCALE}
        return {"inner_optimizer": serialized(self.inner_optimizer), **about}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Any:
        """Build an optimizer from `get_config`'s result, or from what tf.keras 2.0 to 2.3 wrote."""
        given = dict(config)
        if "loss_scale" in given:
            given = from_older(given)
        inner = given.pop("inner_optimizer")
        if not isinstance(inner, Base):
            inner = deserialized(inner, modern, True, custom_objects)
        return cls(inner, **given)

    def __reduce__(self) -> Any:
        return _restored, (isinstance(self, OptimizerV2), dict(self.__dict__))

    def __getattr__(self, name: str) -> Any:
        inner = self.__dict__.get("inner_optimizer")
        if inner is None or name.startswith("__"):
            raise AttributeError(f"LossScaleOptimizer has no attribute {name!r}.")
        return getattr(inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner_optimizer, name, value)


def _delegated(owner: str, name: str) -> Any:
    """Return a property that reads another object's, and sets the inner optimizer's."""
    return property(
        lambda self: getattr(getattr(self, owner), name),
        lambda self, value: setattr(self.inner_optimizer, name, value),
    )


class _OfV2(LossScaleOptimizer, OptimizerV2):
    """Loss scaling around a legacy optimizer."""

    DIALECT = "tf-keras-v2"


class _OfLate(LossScaleOptimizer, Optimizer):
    """Loss scaling around an optimizer of 2.11 or later."""

    DIALECT = "tf-keras-2.11"


for _kind, _name in ((_OfV2, "LossScaleOptimizer"), (_OfLate, "LossScaleOptimizerV3")):
    _kind.__name__ = _kind.__qualname__ = _name
    for _owner, _parts in (("_scale", _SCALE), ("inner_optimizer", _INNER)):
        for _part in _parts:
            setattr(_kind, _part, _delegated(_owner, _part))


def _restored(older: bool, state: dict[str, Any]) -> LossScaleOptimizer:
    """Return an unpickled or copied optimizer."""
    found: LossScaleOptimizer = object.__new__(of_family(older))
    found.__dict__.update(state)
    return found


def of_family(older: bool) -> type[LossScaleOptimizer]:
    """Return the class that wraps optimizers of a family."""
    return _OfV2 if older else _OfLate


def _require_inner(inner: Any) -> None:
    """Raise unless an optimizer can be wrapped."""
    if isinstance(inner, LossScaleOptimizer) or not isinstance(inner, Base):
        raise ArgumentError(
            f"inner_optimizer={inner!r:.80} cannot be wrapped; valid: an optimizer of "
            "fastrms.compat.tf_keras_v2 or tf_keras that is not a LossScaleOptimizer itself."
        )
    if getattr(inner, "_is_wrapped", False):
        raise ArgumentError(
            "inner_optimizer is already wrapped by a LossScaleOptimizer; wrap another one."
        )


def from_loss_scale(optimizer: Any, loss_scale: Any = "dynamic") -> LossScaleOptimizer:
    """Wrap an optimizer in the manner of `mixed_precision.experimental` of tf.keras 2.1 to 2.3.

    Parameters
    ----------
    optimizer : OptimizerV2
        The inner optimizer.
    loss_scale : "dynamic" or number
        A number keeps the scale fixed.
    """
    if isinstance(loss_scale, str) and loss_scale == "dynamic":
        return LossScaleOptimizer(optimizer)
    if isinstance(loss_scale, bool) or not isinstance(loss_scale, int | float):
        raise ArgumentError(f"loss_scale={loss_scale!r} is not valid; valid: 'dynamic', a number.")
    return LossScaleOptimizer(optimizer, dynamic=False, initial_scale=loss_scale)
