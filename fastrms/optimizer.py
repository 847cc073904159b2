"""`RMSprop`: every variant of the algorithm behind Keras 3's constructor."""

import itertools
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.arguments import Default, Settings, settle, takes_no_argument
from fastrms.dialects import Dialect, get_dialect
from fastrms.errors import ArgumentError, StateError, VariableError
from fastrms.hyper import checked_rate
from fastrms.portable import Portable
from fastrms.stepper import Stepper
from fastrms.variables import Variables, collect, flatten
from fastrms.weights import Core

Array = NDArray[Any]
_names: dict[str, "itertools.count[int]"] = {}


def _automatic_name(row: Dialect) -> str:
    """Return `rm_sprop`, `rm_sprop_1`, ... as Keras 3 does, or the row's constant name."""
    if not row.counts_names:
        return row.default_name
    number = next(_names.setdefault(row.default_name, itertools.count()))
    return f"{row.default_name}_{number}" if number else row.default_name


def _default(value: Any) -> Any:
    """Mark an argument left out; the dialect's row has its value."""
    return Default(value)


class RMSprop(Portable):
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
    learning_rate : float or callable
        The step size, or a callable without arguments that returns it.
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
    **kwargs
        ``decay``, ``decay_offset`` and ``lr``, where the dialect has them.

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
    array([0.683773, 1.683772], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: float | Callable[[], float] = _default(0.001),
        rho: float = _default(0.9),
        momentum: float = _default(0.0),
        epsilon: float = _default(1e-07),
        centered: bool = _default(False),
        weight_decay: float | None = _default(None),
        clipnorm: float | None = _default(None),
        clipvalue: float | None = _default(None),
        global_clipnorm: float | None = _default(None),
        use_ema: bool = _default(False),
        ema_momentum: float = _default(0.99),
        ema_overwrite_frequency: int | None = _default(None),
        loss_scale_factor: float | None = _default(None),
        gradient_accumulation_steps: int | None = _default(None),
        name: str | None = _default(None),
        *,
        dialect: str | Dialect = "keras-3",
        **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "dialect", "kwargs")}
        row = get_dialect(dialect)
        settings = settle(row, {**given, **kwargs})
        rate = settings.learning_rate
        if callable(rate) and not takes_no_argument(rate):
            raise ArgumentError(
                f"learning_rate={rate!r} needs arguments; valid: a number, or a callable without "
                "arguments."
            )
        self._core = Core(row, settings, settings.name or _automatic_name(row))
        self._build_lock = threading.Lock()

    @property
    def name(self) -> str:
        """The optimizer's name; Keras 3 names its weights after it."""
        return self._core.name

    @property
    def dialect(self) -> str:
        """The name of this optimizer's dialect."""
        return self._core.row.name

    @property
    def built(self) -> bool:
        """Whether the optimizer knows its variables."""
        return self._core.stepper is not None

    @property
    def iterations(self) -> int:
        """How many updates were made; settable."""
        return (
            self._core.stepper.iterations if self._core.stepper else self._core.calls_before_build
        )

    @iterations.setter
    def iterations(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ArgumentError(f"iterations={value!r} is not valid; valid: an integer >= 0.")
        if self._core.stepper is None:
            self._core.calls_before_build = int(value)
        else:
            steps = self._core.settings.gradient_accumulation_steps or 1
            self._core.stepper.calls = int(value) * steps

    @property
    def learning_rate(self) -> float:
        """The learning rate, without `decay`; settable unless a callable owns it."""
        rate = self._core.settings.learning_rate
        return checked_rate(rate()) if callable(rate) else rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if callable(self._core.settings.learning_rate):
            raise ArgumentError(
                "the learning rate comes from a callable and cannot be set; build the optimizer "
                "with a number, or change what the callable returns."
            )
        checked = settle(self._core.row, {"learning_rate": value}).learning_rate
        self._core.settings.learning_rate = checked

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
        self._build(collect(variables), late=False)

    def _build(self, variables: Variables, late: bool) -> Stepper:
        """Build, or check that the variables are those already known."""
        with self._build_lock:
            if self._core.stepper is not None:
                known = self._core.stepper.variables
                if [known.index(a) for a in variables.arrays] != list(range(len(known.arrays))):
                    raise VariableError(
                        "the optimizer was already built with other variables; use "
                        "rebind(new_variables) to move its state, or make a new optimizer."
                    )
                return self._core.stepper
            undecayed = self._undecayed(variables)
            stepper = Stepper(self._core.row, self._core.settings, variables, undecayed)
            if not late:
                stepper.create_slots(list(range(len(variables.arrays))))
            stepper.calls = self._core.calls_before_build
            self._core.stepper = stepper
            return stepper

    def _undecayed(self, variables: Variables) -> frozenset[int]:
        """Return the variables that `exclude_from_weight_decay` named."""
        arrays, patterns = self._core.excluded
        found = {variables.index(a) for a in arrays} - {None}
        for i, name in enumerate(variables.names):
            if any(re.search(pattern, name) for pattern in patterns):
                found.add(i)
        return frozenset(i for i in found if i is not None)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Array] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Spare some variables from weight decay; call before `build`.

        Parameters
        ----------
        var_list : iterable of numpy.ndarray, optional
            The arrays to spare.
        var_names : iterable of str, optional
            Regular expressions searched for in the variables' names.

        Raises
        ------
        StateError
            The optimizer is already built.

        Examples
        --------
        >>> optimizer = RMSprop(weight_decay=0.01)
        >>> optimizer.exclude_from_weight_decay(var_names=["bias"])
        """
        if self._core.stepper is not None:
            raise StateError(
                "exclude_from_weight_decay was called after build(); call it before build() or "
                "the first step."
            )
        self._core.excluded = (list(var_list or []), list(var_names or []))

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the variables in place by one step.

        Parameters
        ----------
        grads : list or (nested) dict of numpy.ndarray, list of numbers, or None
            One gradient per variable, of its shape; other float dtypes are cast to the
            variable's. None skips the variable.
        trainable_variables : list or (nested) dict of numpy.ndarray, optional
            The variables, all or some, in any order; by default those of `build`. On the first
            step this builds the optimizer.

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
        array([0.683772, 0.683772], dtype=float32)
        """
        if type(grads) is not list or (
            trainable_variables is not None and type(trainable_variables) is not list
        ):
            grads, trainable_variables = self._paired(grads, trainable_variables)
        stepper = self._core.stepper
        if stepper is None:
            if trainable_variables is None:
                raise StateError("the optimizer has no variables yet; call build(variables) first.")
            stepper = self._build(
                collect(trainable_variables), late=self._core.row.weights.late != "no"
            )
        with stepper.lock:
            rate = self._core.settings.learning_rate
            base = checked_rate(rate()) if callable(rate) else rate
            stepper.step(grads, trainable_variables, base)

    def _paired(self, grads: Any, variables: Any) -> tuple[list[Any], list[Any] | None]:
        """Turn dictionaries and other iterables into lists, matched by key where there are keys."""
        if isinstance(grads, Mapping):
            leaves = dict(flatten(grads))
            names = self._names_of(variables)
            if set(names) != set(leaves):
                raise VariableError(
                    f"the gradients' names {sorted(map(str, leaves))[:8]} are not the variables' "
                    f"{sorted(map(str, names))[:8]}; use the same keys."
                )
            grads = [leaves[name] for name in names]
        elif isinstance(grads, np.ndarray):
            grads = [grads]
        if variables is None:
            return list(grads), None
        if self._core.stepper is None:
            self._build(collect(variables), late=self._core.row.weights.late != "no")
        if isinstance(variables, np.ndarray):
            return list(grads), [variables]
        return list(grads), [leaf for _, leaf in flatten(variables)] if isinstance(
            variables, Mapping | list | tuple
        ) else list(variables)

    def _names_of(self, variables: Any) -> list[str | None]:
        """Return the names to which a dictionary of gradients must answer."""
        if isinstance(variables, Mapping):
            return [name for name, _ in flatten(variables)]
        if (
            variables is None
            and self._core.stepper is not None
            and self._core.stepper.variables.named
        ):
            return list(self._core.stepper.variables.names)
        raise VariableError(
            "the gradients are a dictionary, so the variables must be one too: pass it to build() "
            "or as the second argument."
        )

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Array]]) -> int:
        """Update variables from pairs of gradient and variable.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable)
            As for `apply`.

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
        pairs = list(grads_and_vars)
        if not pairs:
            raise VariableError("no (gradient, variable) pairs were given; give at least one.")
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self.iterations

    def __repr__(self) -> str:
        count = len(self._core.stepper.variables.arrays) if self._core.stepper else 0
        return f"<fastrms.RMSprop {self.name!r}, dialect {self.dialect!r}, {count} variables>"

    @property
    def settings(self) -> Settings:
        """The hyperparameters in use, after the dialect's rules."""
        return self._core.settings
