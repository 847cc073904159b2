"""The part of an optimizer that mirrors Keras 3's smaller methods."""

import copy
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastrms.arguments import Settings
from fastrms.clipping import clipped
from fastrms.cuda.memory import DeviceArray
from fastrms.errors import ArgumentError, GradientError, StateError, VariableError
from fastrms.listing import members
from fastrms.variable import Variable
from fastrms.variables import describe, flatten, leaves_of
from fastrms.weights import Core

Array = NDArray[Any]
Own = TypeVar("Own", bound="Surface")
_HYPERPARAMETERS = frozenset(vars(Settings())) - {"decay_offset"}


class Surface:
    """Keras 3's methods around variables and state; a base of `RMSprop`."""

    _core: Core

    def __getattr__(self, name: str) -> Any:
        if name in _HYPERPARAMETERS and "_core" in vars(self):
            return getattr(self._core.settings, name)
        inner = hasattr(type(vars(self).get("inner_optimizer")), name)
        where = f" of its own; valid: inner_optimizer.{name}" if inner else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{where}.")

    @property
    def lr(self) -> float:
        """Another name of `learning_rate`, as in tf.keras."""
        return float(self.learning_rate)

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    def exclude_from_weight_decay(
        self, var_list: Iterable[Array] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Spare some variables from weight decay; call before `build`, which warns of no match.

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
        >>> from fastrms import RMSprop
        >>> optimizer = RMSprop(weight_decay=0.01)
        >>> optimizer.exclude_from_weight_decay(var_names=["bias"])
        """
        if self._core.stepper is not None:
            raise StateError(
                "exclude_from_weight_decay was called after build(); call it before build() or "
                "the first step."
            )
        names = members(var_names or (), ArgumentError, "var_names is", "a list, as ['bias']")
        self._core.excluded = ([] if var_list is None else leaves_of(var_list), names)

    def assign(self, variable: Any, value: Any) -> None:
        """Give a variable a value, in place; see `Variable.assign`.

        Parameters
        ----------
        variable : Variable or numpy.ndarray
            Which is changed.
        value : array_like
            Of its shape.

        Examples
        --------
        >>> from fastrms import RMSprop, Variable
        >>> v = Variable(1.0)
        >>> RMSprop().assign(v, 2.0)
        >>> print(v.numpy())
        2.0
        """
        _as_variable(variable).assign(value)

    def assign_add(self, variable: Any, value: Any) -> None:
        """Add to a variable, in place; see `assign`.

        Examples
        --------
        >>> from fastrms import RMSprop, Variable
        >>> v = Variable(1.0)
        >>> RMSprop().assign_add(v, 2.0)
        >>> print(v.numpy())
        3.0
        """
        _as_variable(variable).assign_add(value)

    def assign_sub(self, variable: Any, value: Any) -> None:
        """Subtract from a variable, in place; see `assign`.

        Examples
        --------
        >>> from fastrms import RMSprop, Variable
        >>> v = Variable(1.0)
        >>> RMSprop().assign_sub(v, 2.0)
        >>> print(v.numpy())
        -1.0
        """
        _as_variable(variable).assign_sub(value)

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Any, trainable_variables: Any
    ) -> tuple[list[Array], list[Array]]:
        """Return what `apply` would make of given values; change nothing.

        Parameters
        ----------
        optimizer_variables : list of array_like
            Values for `variables`, in that order.
        grads : list or dict of numpy.ndarray
            As for `apply`.
        trainable_variables : list or (nested) dict of array_like
            Values for the variables that the optimizer was built with, in that order or by name.

        Returns
        -------
        tuple of (list of numpy.ndarray, list of numpy.ndarray)
            The new trainable variables and the new optimizer variables.

        Raises
        ------
        StateError, VariableError, GradientError
            The optimizer is not built, or something does not fit.

        Examples
        --------
        >>> import numpy as np
        >>> from fastrms import RMSprop
        >>> w = np.ones(2)
        >>> optimizer = RMSprop(learning_rate=0.1)
        >>> optimizer.build([w])
        >>> new, state = optimizer.stateless_apply(optimizer.variables, [np.ones(2)], [w])
        >>> new[0].round(4), w
        (array([0.6838, 0.6838]), array([1., 1.]))
        """
        if self._core.stepper is None:
            raise StateError(
                "stateless_apply needs a built optimizer; call build(trainable_variables) first."
            )
        twin = copy.deepcopy(self)
        arrays = [] if twin._core.stepper is None else twin._core.stepper.variables.arrays
        if isinstance(trainable_variables, Mapping):
            named = dict(flatten(trainable_variables))
            known = self._core.stepper.variables.names
            if set(named) != set(known):
                raise VariableError(
                    f"trainable_variables has the names {sorted(map(str, named))[:8]}; expected "
                    f"{sorted(known)[:8]}, those of build(). Nothing was changed."
                )
            trainable_variables = [named[name] for name in known]
        trainable_variables = leaves_of(trainable_variables)
        if len(trainable_variables) != len(arrays):
            raise VariableError(
                f"{len(trainable_variables)} trainable variables were given; expected {len(arrays)}"
                ", as many as the optimizer was built with."
            )
        for array, value in zip(arrays, trainable_variables, strict=True):
            _as_variable(array).assign(value)
        twin.set_weights(optimizer_variables)
        twin.apply(grads)
        return arrays, twin.get_weights()

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Write the state into a mapping: ``"0"``, ``"1"``, ... to the arrays of `get_weights`.

        Parameters
        ----------
        store : mutable mapping
            A dictionary, or for example a group of h5py.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> store = {}
        >>> RMSprop().save_own_variables(store)
        >>> store
        {'0': array(0), '1': array(0.001, dtype=float32)}
        """
        _keys_of(store)
        for key, array in enumerate(self.get_weights()):
            store[str(key)] = array

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Read the state from what `save_own_variables` wrote, all or nothing.

        Parameters
        ----------
        store : mapping
            With the keys ``"0"``, ``"1"``, ...

        Raises
        ------
        StateError
            The keys or the shapes do not fit. (Keras 3 warns of it and goes on without the state.)

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> optimizer = RMSprop()
        >>> optimizer.load_own_variables({"0": 5, "1": 0.5})
        >>> optimizer.iterations
        5
        """
        found = _keys_of(store)
        keys = [str(key) for key in range(len(found))]
        if set(keys) != set(found):
            raise StateError(
                f"the store has the keys {found[:8]}; expected {keys[:8]}, as save_own_variables "
                "writes them. Nothing was changed."
            )
        self.set_weights([np.asarray(store[key]) for key in keys])

    def _clip_gradients(self, grads: Sequence[Any]) -> list[Any]:
        """Return gradients clipped as a step would; None stays."""
        each = members(grads, GradientError, "the gradients are", "a list of arrays")
        return clipped(self._core.row, self._core.settings, each)


def _keys_of(store: Any) -> list[Any]:
    """Return the keys of what holds arrays by name, or raise."""
    if hasattr(store, "keys"):
        return list(store.keys())
    raise StateError(
        f"the store is {describe(store)}; valid: a dictionary, or for example a group of h5py. For "
        "a list there are get_weights and set_weights. Nothing was changed."
    )


def _as_variable(target: Any) -> Variable:
    """Return a Variable over an array, or a Variable itself."""
    if isinstance(target, Variable):
        return target
    if isinstance(target, np.ndarray | DeviceArray) and target.flags.writeable:
        return Variable._over(target, "array", "array")
    raise VariableError(
        f"{describe(target)} cannot be assigned to; valid: a Variable or a writable array."
    )
