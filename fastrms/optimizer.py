"""`RMSprop`: every variant of the algorithm behind Keras 3's constructor."""

import itertools
import re
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from fastrms.arguments import Default, Settings, settle
from fastrms.dialects import Dialect, get_dialect
from fastrms.differentiation import Differentiation
from fastrms.errors import StateError, VariableError
from fastrms.exclusion import undecayed
from fastrms.pairing import as_trees, paired, unzipped
from fastrms.rates import Rate, called
from fastrms.savable import Savable
from fastrms.stepper import Stepper
from fastrms.subclassing import Subclassing
from fastrms.surface import Surface
from fastrms.tracked import Tracking
from fastrms.variables import Variables, collect
from fastrms.weights import Core

Array = NDArray[Any]
_names: dict[str, "itertools.count[int]"] = {}


_STEPPING = (
    "apply was called while this optimizer is stepping (by a gradient's __array__, a constraint or "
    "a signal handler); call it after the step. Nothing was changed."
)


def snake_case(name: str) -> str:
    """Return a class's name as Keras 3 writes it: `rm_sprop` of `RMSprop`."""
    return re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name).lower()


def numbered(name: str) -> str:
    """Return `name`, `name_1`, `name_2`, ... as Keras 3 does."""
    number = next(_names.setdefault(name, itertools.count()))
    return f"{name}_{number}" if number else name


# What marks an argument left out; the dialect's row has its value, and `help()` shows Keras 3's.
_LEFT_OUT: dict[str, Any] = {name: Default(value) for name, value in vars(Settings()).items()}


class RMSprop(Subclassing, Differentiation, Tracking, Surface, Savable):
    """RMSprop on NumPy arrays, updated in place, in the arithmetic of a chosen system.

    With ``g`` the gradient and all operations in the variable's dtype, ``keras-3`` computes::

        velocity = rho * velocity + (1 - rho) * g**2
        step = learning_rate * g / sqrt(velocity + epsilon)
        momentum = momentum_rate * momentum + step      # with momentum > 0
        variable = variable - step                      # or - momentum

    The other dialects place epsilon, the learning rate and the decay differently; see
    `fastrms.dialects`. Source: keras 3.15.1 optimizers/rmsprop.py.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule, mapping or callable
        The step size, a schedule (or its serialized form) that gives it for each step, or a
        callable without arguments that returns it.
    rho : float
        Decay of the running means.
    momentum : float
        Share of the last step that is kept; 0 keeps no momentum slot.
    epsilon : float
        Added to the mean square (or to its root, in some dialects) before dividing.
    centered : bool
        Whether the mean gradient is subtracted: the variance divides.
    weight_decay : float, optional
        Share of the variable taken off at each step, times the learning rate.
    clipnorm, clipvalue, global_clipnorm : float, optional
        Bounds on each gradient's norm, on each element, and on the norm of all gradients.
    use_ema : bool
        Whether a moving average of the variables is kept.
    ema_momentum : float
        Share of the old average that is kept.
    ema_overwrite_frequency : int, optional
        Every so many iterations the variables become their averages.
    loss_scale_factor : float, optional
        Gradients are divided by it.
    gradient_accumulation_steps : int, optional
        The mean of so many gradients makes one update.
    name : str, optional
        A name; `rm_sprop`, `rm_sprop_1`, ... by default.
    dialect : str
        Whose RMSprop this is; a name in `fastrms.dialects.DIALECTS`.
    jit_compile : bool
        Whether compiled kernels carry out steps, or NumPy: slower, with the same bits.
    **kwargs
        ``decay``, ``decay_offset``, ``lr`` and ``mesh``, where the dialect has them;
        ``slot_dtype="float32"`` keeps the state of 16-bit variables, and computes, in float32.

    Raises
    ------
    ArgumentError
        An argument is unknown to the dialect, out of its range, or not finite.

    Warns
    -----
    PortingWarning
        The system accepts an argument but ignores it.

    Notes
    -----
    Arguments left out take the dialect's defaults; the signature shows Keras 3's.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0, 2.0], dtype=np.float32)
    >>> optimizer = RMSprop(learning_rate=0.1)
    >>> optimizer.build([w])
    >>> optimizer.apply([2 * w])
    >>> w
    array([0.68377227, 1.6837723 ], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: "Rate" = _LEFT_OUT["learning_rate"],
        rho: float = _LEFT_OUT["rho"],
        momentum: float = _LEFT_OUT["momentum"],
        epsilon: float = _LEFT_OUT["epsilon"],
        centered: bool = _LEFT_OUT["centered"],
        weight_decay: float | None = _LEFT_OUT["weight_decay"],
        clipnorm: float | None = _LEFT_OUT["clipnorm"],
        clipvalue: float | None = _LEFT_OUT["clipvalue"],
        global_clipnorm: float | None = _LEFT_OUT["global_clipnorm"],
        use_ema: bool = _LEFT_OUT["use_ema"],
        ema_momentum: float = _LEFT_OUT["ema_momentum"],
        ema_overwrite_frequency: int | None = _LEFT_OUT["ema_overwrite_frequency"],
        loss_scale_factor: float | None = _LEFT_OUT["loss_scale_factor"],
        gradient_accumulation_steps: int | None = _LEFT_OUT["gradient_accumulation_steps"],
        name: str | None = _LEFT_OUT["name"],
        *,
        dialect: str | Dialect = "keras-3",
        jit_compile: bool = True,
        **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "dialect", "kwargs")}
        row = get_dialect(dialect)
        settings = settle(row, {**given, **kwargs})
        counts = row.counts_names
        plain = numbered(snake_case(type(self).__name__)) if counts else row.default_name
        self._core = Core(row, settings, settings.name or plain)

    def build(self, variables: Any) -> None:
        """Learn which arrays to update and create their slots.

        Parameters
        ----------
        variables : list or (nested) dict of numpy.ndarray
            Writable float16, float32 or float64 arrays of any shape and memory order. Keys
            become names. The arrays are kept, not copied.

        Raises
        ------
        VariableError
            An array cannot be updated in place, or two share elements.

        Examples
        --------
        >>> import numpy as np
        >>> optimizer = RMSprop()
        >>> optimizer.build({"kernel": np.zeros((2, 3)), "bias": np.zeros(3)})
        >>> [slot.shape for slot in optimizer.variables[2:]]
        [(2, 3), (3,)]
        """
        self._build(collect(variables))

    def _build(self, variables: Variables) -> None:
        """Build, or check that the variables are those already known."""
        with self._core.lock:
            if self._core.stepper is not None:
                known = self._core.stepper.variables
                if [known.index(a) for a in variables.arrays] != list(range(len(known.arrays))):
                    raise VariableError(
                        "the optimizer was already built with other variables; use "
                        "rebind(new_variables) to move its state, or make a new optimizer."
                    )
                return
            spared = undecayed(self._core.excluded, variables)
            stepper = Stepper(self._core.row, self._core.settings, variables, spared)
            # Some systems make a variable's slots with its first gradient, unless asked before.
            if self._core.refusal != _STEPPING or self._core.row.weights.late == "no":
                stepper.create_slots(list(range(len(variables.arrays))))
            stepper.calls = self._core.calls_before_build
            self._hand_over(stepper)
            if self._core.scaling is not None:
                stepper.scale_by(*self._core.scaling)
            self._core.stepper = stepper

    def apply(self, grads: Any, trainable_variables: Any = None, *, stream: Any = None) -> None:
        """Update the variables in place by one step.

        Parameters
        ----------
        grads : list or (nested) dict of numpy.ndarray, list of numbers, or None
            One gradient per variable, of its shape; other float dtypes are cast to the
            variable's. None skips the variable.
        trainable_variables : list or (nested) dict of numpy.ndarray, optional
            The variables, all or some, in any order; by default those of `build`. On the first
            step this builds the optimizer.
        stream : int or stream object, optional
            Where a step on a GPU is queued; by default where the gradients' library works.

        Raises
        ------
        GradientError, VariableError
            Something does not fit. Nothing was changed then.

        Examples
        --------
        >>> import numpy as np
        >>> w = {"w": np.ones(2, np.float32)}
        >>> optimizer = RMSprop(learning_rate=0.1)
        >>> optimizer.apply({"w": np.ones(2, np.float32)}, w)
        >>> w["w"]
        array([0.6837724, 0.6837724], dtype=float32)
        """
        core = self._core
        rate = core.settings.learning_rate
        base = rate if rate.__class__ is float else called(rate)
        with core.lock:
            if core.refusal:
                raise StateError(core.refusal)
            fresh, known = core.stepper is None, len(core.own)
            try:
                core.refusal = _STEPPING
                self._step(grads, trainable_variables, base, stream)
                fresh = False
            finally:
                core.refusal = ""
                if fresh and core.stepper and not core.stepper.carried_out:
                    core.stepper = None  # a refused first step builds nothing
                    del core.own[known:]

    def _step(self, grads: Any, variables: Any, base: Any, stream: Any) -> None:
        """Pair gradients and variables; take one step with them."""
        plain = variables is None or type(variables) is list
        if type(grads) is not list or not plain:
            grads, variables = as_trees(grads, variables)
            grads, variables = paired(grads, variables, self._known(variables).variables)
        self._known(variables).step(grads, variables, base, stream)

    def _known(self, variables: Any) -> Stepper:
        """Return the stepper, built on the first step if need be."""
        if self._core.stepper is None and variables is None:
            raise StateError("the optimizer has no variables yet; call build(variables) first.")
        if self._core.stepper is None:
            self.build(variables)
        if self._core.stepper is None:
            raise StateError(
                f"{type(self).__name__}.build did not build; call super().build(variables) in it."
            )
        return self._core.stepper

    def apply_gradients(self, grads_and_vars: Iterable[Any], *, stream: Any = None) -> int:
        """Update variables from pairs of gradient and variable.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable)
            As for `apply`, and so is `stream`.

        Returns
        -------
        int
            The iterations made so far.

        Examples
        --------
        >>> import numpy as np
        >>> w = np.ones(2)
        >>> RMSprop().apply_gradients([(np.ones(2), w)])
        1
        """
        self.apply(*unzipped(grads_and_vars), stream=stream)
        return self.iterations

    def __repr__(self) -> str:
        count = len(self._core.stepper.variables.arrays) if self._core.stepper else 0
        return f"<fastrms.RMSprop {self.name!r}, dialect {self.dialect!r}, {count} variables>"
