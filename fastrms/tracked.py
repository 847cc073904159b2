"""The part of an optimizer that shows its own state as Variables, and lets users add to it."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import weights
from fastrms.arguments import Settings
from fastrms.errors import ArgumentError, StateError, VariableError
from fastrms.variable import Variable
from fastrms.variables import describe, leaves_of
from fastrms.weights import Core

Array = NDArray[Any]
Initializer = str | Callable[[tuple[int, ...], Any], Any]
FIXED: dict[str, Callable[..., Array]] = {"zeros": np.zeros, "ones": np.ones}
# Hyperparameters that an update step of one's own replaces.
FREE = ("rho", "momentum", "epsilon", "centered")
AGGREGATIONS = (None, "none", "mean", "sum", "only_first_replica")


def tracked(core: Core) -> list[Variable]:
    """Return the optimizer's variables in the order of its weights."""
    found = []
    pairs = zip(weights.layout(core), weights.names(core), weights.arrays(core), strict=True)
    for (name, index), path, array in pairs:
        if name == weights.OWN and index is not None:
            found.append(core.own[index])
        else:
            found.append(Variable._over(array, path.rpartition("/")[2], path))
            if index is None:
                found[-1]._assigned_to = _setter(core, name)
    return found


def _setter(core: Core, name: str) -> Callable[[Array], None]:
    """Return what a new value of a scalar's variable does to the optimizer."""

    def change(value: Array) -> None:
        with core.lock:
            weights.set_scalar(core, name, value)

    return change


def added(
    core: Core, shape: Any, initializer: Initializer, dtype: Any, name: str | None
) -> Variable:
    """Create a variable that is saved and loaded with the optimizer."""
    try:
        kind = np.dtype("float32" if dtype is None else dtype)
        lengths = tuple(map(operator.index, np.atleast_1d(shape) if np.ndim(shape) == 0 else shape))
        if any(length < 0 for length in lengths):
            raise ValueError("a length below 0")
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"shape={shape!r} with dtype={dtype!r} is not valid ({error}); valid: integers from 0, "
            "none of them None, and a dtype of NumPy."
        ) from error
    make = FIXED.get(initializer) if isinstance(initializer, str) else initializer
    if not callable(make):
        raise ArgumentError(
            f"initializer={initializer!r} is not valid; valid: {', '.join(map(repr, FIXED))}, or a "
            "callable of the shape and the dtype that gives an array."
        )
    variable = Variable(make(lengths, kind), dtype=kind, name=name, trainable=False)
    if variable.shape != lengths:
        raise VariableError(
            f"the initializer gave shape {variable.shape}; expected {lengths}, as asked for."
        )
    variable._path = f"{core.name}/{variable.name}"
    core.own.append(variable)
    return variable


def reference_name(core: Core, reference: Any) -> str:
    """Return what a model's variable is called in the names of variables made after it."""
    path = getattr(reference, "path", None) or getattr(reference, "name", None)
    if not isinstance(path, str):
        known = core.stepper.variables if core.stepper is not None else None
        index = known.index(reference) if known is not None else None
        path = known.names[index] if known is not None and index is not None else "variable"
    return path.replace("/", "_").replace(":", "_")


def require_settable(overriding: bool, name: str, settings: Settings) -> None:
    """Raise for a hyperparameter whose assignment would have no effect."""
    free = overriding and name in FREE
    if name in vars(settings) and name != "learning_rate" and not free:
        raise StateError(
            f"{name} cannot be set after the optimizer was made; make a new one: "
            f"RMSprop.from_config(dict(optimizer.get_config(), {name}=...)), then build(variables) "
            "and set_weights(optimizer.get_weights())."
        )


class Tracking:
    """The optimizer's own variables; a base of `RMSprop`."""

    _core: Core

    @property
    def variables(self) -> list[Variable]:
        """The optimizer's own state as Variables, in the order of `get_weights`.

        Those of slots are views: they follow every step, and assigning to them changes the state.
        Those of scalars hold what they were when read; assigning to them sets the scalar.
        """
        return tracked(self._core)

    def add_variable(
        self,
        shape: Any,
        initializer: Initializer = "zeros",
        dtype: Any = None,
        aggregation: str | None = "none",
        layout: None = None,
        name: str | None = None,
    ) -> Variable:
        """Add a variable to the optimizer's state, at the end of its weights.

        Parameters
        ----------
        shape : int or tuple of int
            The shape.
        initializer : {"zeros", "ones"} or callable
            A callable gets the shape and the dtype and returns the values.
        dtype : dtype, optional
            float32 by default.
        aggregation : str, optional
            Keras' note for replicas; has no effect in one process.
        layout : None
            Keras' sharding; there is none here.
        name : str, optional
            The last part of the variable's path.

        Raises
        ------
        ArgumentError, VariableError
            An argument is not valid.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> RMSprop(name="own").add_variable((2,), name="trust")
        <Variable name='own/trust', shape=(2,), dtype=float32, value=[0., 0.]>
        """
        if aggregation not in AGGREGATIONS or layout is not None:
            raise ArgumentError(
                f"aggregation={aggregation!r} with layout={layout!r} is not valid; valid: one of "
                f"{AGGREGATIONS} and layout=None, since arrays here lie in one process."
            )
        return added(self._core, shape, initializer, dtype, name)

    def add_variable_from_reference(
        self, reference_variable: Any, name: str | None = None, initializer: Initializer = "zeros"
    ) -> Variable:
        """Add a variable of the shape and dtype of a model's variable; see `add_variable`.

        Parameters
        ----------
        reference_variable : Variable or numpy.ndarray
            Gives shape, dtype and the first part of the name.
        name : str, optional
            The second part of the name, ``var`` by default.
        initializer : {"zeros", "ones"} or callable
            The initial values.

        Examples
        --------
        >>> from fastrms import RMSprop, Variable
        >>> optimizer = RMSprop(name="own")
        >>> optimizer.add_variable_from_reference(Variable(1.0, name="w"), "momentum").path
        'own/w_momentum'
        """
        full = f"{reference_name(self._core, reference_variable)}_{name or 'var'}"
        shape, dtype = (getattr(reference_variable, what, None) for what in ("shape", "dtype"))
        return self.add_variable(shape, initializer, dtype, name=full)

    def add_optimizer_variables(
        self,
        trainable_variables: Any,
        name: str | Sequence[str],
        initializer: Initializer | Sequence[Initializer] = "zeros",
    ) -> Any:
        """Add one variable, or several, for each of a model's variables.

        Parameters
        ----------
        trainable_variables : list
            Those with ``overwrite_with_gradient`` get None.
        name : str or list of str
            The second part of the names; a list makes one variable for each.
        initializer : {"zeros", "ones"}, callable, or a list of them
            One for all names or one for each.

        Returns
        -------
        list of Variable, or tuple of such lists for a list of names

        Examples
        --------
        >>> from fastrms import RMSprop, Variable
        >>> made = RMSprop(name="own").add_optimizer_variables([Variable(1.0, name="w")], "m")
        >>> [variable.path for variable in made]
        ['own/w_m']
        """
        names = [name] if isinstance(name, str) else list(name)
        add, one = self.add_variable_from_reference, not isinstance(initializer, list | tuple)
        initializers: Any = [initializer] * len(names) if one else initializer
        if len(names) != len(initializers):
            raise ArgumentError(
                f"{len(names)} names and {len(initializers)} initializers were given; valid: as "
                "many initializers as names, or one."
            )
        lists: tuple[list[Variable | None], ...] = tuple([] for _ in names)
        for variable in leaves_of(trainable_variables):
            for made, own, initial in zip(lists, names, initializers, strict=True):
                spared = getattr(variable, "overwrite_with_gradient", False)
                made.append(None if spared else add(variable, own, initial))
        return lists[0] if isinstance(name, str) else lists

    def _get_variable_index(self, variable: Any) -> int:
        """Return the place of a variable among those of `build`, as Keras' own examples ask."""
        stepper = self._core.stepper
        index = None if stepper is None else stepper.variables.index(variable)
        if index is None:
            raise VariableError(f"{describe(variable)} is not a variable of this optimizer.")
        return index
