"""`LossScaleOptimizer`: steps with gradients of a scaled loss, the scale found as training goes."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fastrms import scaling, weights
from fastrms.dialects.recognition import arguments_in
from fastrms.differentiation import Differentiation
from fastrms.errors import GradientError, StateError
from fastrms.layout import Count
from fastrms.listing import members
from fastrms.naming import built, written
from fastrms.optimizer import RMSprop, numbered
from fastrms.pairing import unzipped
from fastrms.savable import SavableScale
from fastrms.surface import Surface
from fastrms.tracked import require_settable

Array = NDArray[Any]


@final
class LossScaleOptimizer(SavableScale, Differentiation, Surface):
    """Scale a loss so that small gradients survive float16, and undo it in the step.

    A step with a NaN or infinite gradient changes no variable and no slot and halves the scale;
    after `dynamic_growth_steps` steps in a row without one, the scale doubles. The inner
    optimizer's dialect says how gradients are unscaled, how low the scale may fall and whether a
    skipped step counts. Source: keras 3.15.1 optimizers/loss_scale_optimizer.py; for tf.keras,
    keras 2.12.0 mixed_precision/loss_scale_optimizer.py.

    Parameters
    ----------
    inner_optimizer : RMSprop
        It makes the steps. Its `loss_scale_factor` becomes None, as in Keras; its own `apply` is
        refused from here on.
    initial_scale : float
        The scale to begin with, above 0.
    dynamic_growth_steps : int
        After how many finite steps the scale doubles.
    name : str, optional
        A name; `loss_scale_optimizer`, `loss_scale_optimizer_1`, ... by default.
    **kwargs
        ``dynamic=False``, where the dialect has it, keeps the scale and checks no gradient.

    Raises
    ------
    ArgumentError
        An argument is out of its range, or belongs to the inner optimizer.
    DialectError
        The inner optimizer's system had no loss scaling.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrms import LossScaleOptimizer, RMSprop
    >>> w = np.ones(2, np.float32)
    >>> optimizer = LossScaleOptimizer(RMSprop(learning_rate=0.1), initial_scale=1024.0)
    >>> optimizer.apply([optimizer.scale_loss(w)], [w])
    >>> w
    array([0.6837724, 0.6837724], dtype=float32)
    >>> optimizer.apply([np.array([np.inf, 1], np.float32)])
    >>> w, optimizer.dynamic_scale
    (array([0.6837724, 0.6837724], dtype=float32), 512.0)
    """

    def __init__(
        self,
        inner_optimizer: RMSprop,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int | None = 2000,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._rules = scaling.rules_of(inner_optimizer)
        self.dynamic = scaling.require_dynamic(self._rules, inner_optimizer, kwargs)
        scaling.require_numbers(initial_scale, dynamic_growth_steps, self.dynamic)
        self.inner_optimizer = inner_optimizer
        self.initial_scale = float(initial_scale)
        self.dynamic_growth_steps = dynamic_growth_steps if self.dynamic else None
        self.name = name or numbered("loss_scale_optimizer")
        self._own: dict[str, Any] = {"iterations": 0, "learning_rate": 0.0, "step_counter": 0}
        self._core = core = inner_optimizer._core
        with core.lock:
            core.settings.loss_scale_factor = None
            core.refusal = core.at_rest = scaling.WRAPPED
            self._set_scale(initial_scale)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_core" in vars(self):
            require_settable(False, name, self._core.settings)
        super().__setattr__(name, value)

    @property
    def built(self) -> bool:
        """Whether the inner optimizer knows its variables."""
        return self.inner_optimizer.built

    @property
    def dialect(self) -> str:
        """The name of the inner optimizer's dialect."""
        return self.inner_optimizer.dialect

    @property
    def dynamic_scale(self) -> float:
        """By what the next loss is to be multiplied."""
        return float(self._own["dynamic_scale"])

    @property
    def step_counter(self) -> int:
        """How many steps in a row were finite since the scale last changed."""
        return int(self._own["step_counter"])

    @property
    def iterations(self) -> int:
        """The inner optimizer's count of updates; settable as there."""
        return self.inner_optimizer.iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self.inner_optimizer.iterations = value

    @property
    def learning_rate(self) -> float:
        """The inner optimizer's learning rate; settable as there."""
        return float(self.inner_optimizer.learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def variables(self) -> list[Any]:
        """The state in the order of `get_weights`; scalars as copies."""
        return [*self._scalars().values(), *self.inner_optimizer.variables]

    def build(self, variables: Any) -> None:
        """Learn which arrays to update; see `RMSprop.build`."""
        self.inner_optimizer.build(variables)

    def scale_loss(self, loss: Any) -> Any:
        """Return a loss, or anything linear in it, times the scale.

        Parameters
        ----------
        loss : float or numpy.ndarray

        Examples
        --------
        >>> from fastrms import LossScaleOptimizer, RMSprop
        >>> LossScaleOptimizer(RMSprop(), initial_scale=8.0).scale_loss(0.5)
        np.float32(4.0)
        """
        return loss * self._own["dynamic_scale"]

    def check_finite(self, grads: Any) -> bool:
        """Tell whether all numbers in a list of gradients are finite; `apply` looks by itself.

        Examples
        --------
        >>> from fastrms import LossScaleOptimizer, RMSprop
        >>> LossScaleOptimizer(RMSprop()).check_finite([[1.0, float("inf")], None])
        False
        """
        each = members(grads, GradientError, "the gradients are", "a list of arrays and None")
        return all(np.all(np.isfinite(getattr(g, "values", g))) for g in each if g is not None)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Unscale the gradients and make one step, or, if one is not finite, none.

        Parameters
        ----------
        grads, trainable_variables
            As for `RMSprop.apply`, the gradients those of the scaled loss.

        Raises
        ------
        GradientError, VariableError
            Something does not fit. Nothing was changed then, the scale included.
        """
        core = self._core
        with core.lock:
            if core.refusal is not scaling.WRAPPED:
                raise StateError(core.refusal)
            try:
                core.refusal = ""
                self.inner_optimizer.apply(grads, trainable_variables)
                stepper = core.stepper
                if self.dynamic and stepper is not None:
                    if stepper.stopped and self._rules.skipped_step_counts:
                        stepper.calls += int(stepper.counter[Count.ADDED])
                    self._adapt(stepper.stopped)
            finally:
                core.refusal = scaling.WRAPPED
                if core.stepper is not None:
                    core.stepper.resume()

    def _adapt(self, stopped: bool) -> None:
        """Set the scale of the next step."""
        self._own["step_counter"] += 1
        if stopped or self.step_counter >= (self.dynamic_growth_steps or 1):
            self._set_scale(scaling.next_scale(self._own["dynamic_scale"], stopped, self._rules))
            self._own["step_counter"] = 0

    def _set_scale(self, scale: Any) -> None:
        """Let the inner optimizer divide by another scale from its next step on."""
        self._own["dynamic_scale"] = np.float32(scale)
        core = self._core
        core.scaling = (self._own["dynamic_scale"], self.dynamic)
        if core.stepper is not None:
            core.stepper.scale_by(*core.scaling)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Array]]) -> int:
        """Make a step from pairs of gradient and variable; return the iterations made so far."""
        self.apply(*unzipped(grads_and_vars))
        return self.iterations

    def finalize_variable_values(self, trainable_variables: Any = None) -> None:
        """Replace the variables by their moving averages; see `RMSprop`."""
        self.inner_optimizer.finalize_variable_values(trainable_variables)

    def swapped_ema(self, variables: Any = None) -> AbstractContextManager[None]:
        """Hold the moving averages in the variables for a while; see `RMSprop`."""
        return self.inner_optimizer.swapped_ema(variables)

    def _scalars(self) -> dict[str, Array]:
        """Return the scalars that the mirrored system counts among the weights."""
        late = ("step_counter", "dynamic_scale")
        kept = [name for name in self._rules.own if self.built or name not in late]
        whole = ("iterations", "step_counter")
        return {n: np.array(self._own[n], np.int64 if n in whole else np.float32) for n in kept}

    def get_weights(self) -> list[Array]:
        """Return copies of the state: own scalars where the dialect has them, then the inner's."""
        with self._core.lock:
            return [*self._scalars().values(), *self.inner_optimizer.get_weights()]

    def set_weights(self, values: Iterable[Any]) -> None:
        """Replace the state, all or nothing, by what `get_weights` returned.

        Raises
        ------
        StateError
            The number, a shape or a value does not fit. Nothing was changed then.
        """
        fresh, names = weights.listed(values), list(self._scalars())
        own = dict(zip(names, fresh, strict=False))
        scaling.require_scalars(own)
        if len(own) < len(names):
            raise StateError(f"{len(fresh)} weights were given; expected first {names}.")
        with self._core.lock:
            self.inner_optimizer.set_weights(fresh[len(names) :])
            for name, value in own.items():
                self._own[name] = int(value) if name != "learning_rate" else float(value)
            if "dynamic_scale" in own:
                self._set_scale(own["dynamic_scale"])

    def weight_names(self) -> list[str]:
        """Return what the mirrored system calls each weight of `get_weights`."""
        own = [f"{self.name}/{name.replace('iterations', 'iteration')}" for name in self._scalars()]
        return [*own, *weights.names(self._core)]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as the mirrored system reports them."""
        inner = written(self.inner_optimizer, self.inner_optimizer.get_config())
        steps = {key: getattr(self, key) for key in ("initial_scale", "dynamic_growth_steps")}
        if self._rules.fixed:
            return {"inner_optimizer": inner, "dynamic": self.dynamic, **steps}
        return {"name": self.name, "inner_optimizer": inner, **steps}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> "LossScaleOptimizer":
        """Build an optimizer, the inner one included, from `get_config`'s result."""
        arguments = arguments_in(config)
        inner = arguments.pop("inner_optimizer", None)
        if isinstance(inner, Mapping):
            inner = built(inner, custom_objects or {}, {"rmsprop": RMSprop})
        return cls(inner, **arguments)

    def __getstate__(self) -> dict[str, Any]:
        with self._core.lock:
            arguments = {"initial_scale": self.initial_scale, "name": self.name}
            arguments["dynamic_growth_steps"] = self.dynamic_growth_steps
            if not self.dynamic:
                arguments["dynamic"] = False
            return {"inner": self.inner_optimizer, "config": arguments, "own": dict(self._own)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["inner"], **state["config"])
        self._own = dict(state["own"])
        self._set_scale(self._own["dynamic_scale"])

    def __repr__(self) -> str:
        return f"<fastrms.LossScaleOptimizer {self.name!r} around {self.inner_optimizer!r}>"
