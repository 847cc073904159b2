"""The optimizers of tf.keras 2.11 to 2.15, and `optimizers.experimental` of 2.10."""

from collections.abc import Iterable
from typing import Any, ClassVar

from fastrms.errors import ArgumentError

from . import rows
from .base import Base
from .pairs import Pairs, filtered
from .weights import Array, Weight, array_of

_SHARED = ("clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum")
# The order of the arguments that all classes share (keras 2.12.0 optimizer.py:1071-1084).
OLD_TAIL = (*_SHARED, "ema_overwrite_frequency", "jit_compile")
TAIL = ("weight_decay", *OLD_TAIL)


class Optimizer(Base):
    """The base class of the optimizers of tf.keras 2.11 to 2.15.

    A class of one's own overrides `build`, `update_step` and `get_config`, in NumPy: the variable
    and the weights from `add_variable_from_reference` are read as arrays and have `assign`,
    `assign_add` and `assign_sub`. Source: keras 2.12.0 optimizers/optimizer.py.

    Parameters
    ----------
    name : str
        A name.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        As for `fastrms.RMSprop`.
    use_ema, ema_momentum, ema_overwrite_frequency : optional
        As for `fastrms.RMSprop`.
    jit_compile : bool
        Has no effect on a CPU, as there.
    """

    ROW = rows.own(rows.LATE)
    ORDER: ClassVar[tuple[str, ...]] = ("name", *TAIL)
    EXTRA: ClassVar[dict[str, Any]] = {"jit_compile": False, "is_legacy_optimizer": False}
    BUILDS_ALL: ClassVar[bool] = True
    RETURNS_COUNT: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._start(*args, **kwargs)
        self._built = False
        _ = self.iterations  # named now, outside of any step

    # Hyperparameters.

    def _build_learning_rate(self, learning_rate: Any) -> Weight:
        """Take a number, a schedule or a callable as the learning rate; return it as a weight."""
        self._change("learning_rate", learning_rate)
        return self._rate_weight()

    def __getattr__(self, name: str) -> Any:
        name = "learning_rate" if name == "lr" else name
        if "_inner" in self.__dict__ and self._uses(name):
            if name == "learning_rate":
                return self._rate_weight()
            return getattr(self._core.settings, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        name = "learning_rate" if name == "lr" else name
        if "_inner" in self.__dict__ and self._uses(name):
            self._change(name, value)
        else:
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The optimizer's name."""
        return self._core.name

    # Slots.

    def build(self, var_list: Iterable[Any]) -> None:
        """Create the optimizer's own variables for all variables it will update.

        Parameters
        ----------
        var_list : iterable of variables
            Later steps may update all or some of them, no others.
        """
        variables = list(var_list)
        if self._core.stepper is None:
            self._cover(variables)
            stepper = self._core.stepper
            assert stepper is not None
            stepper.create_slots(list(range(len(variables))))
            _ = self.weights  # named now, where they were created
            self._index_dict = {self._var_key(v): self._index(v) for v in variables}
            for group in self._slots():
                for variable in variables:
                    for slot in group:
                        self.add_variable_from_reference(variable, slot)

    def _var_key(self, variable: Any) -> int:
        """Return what identifies a variable in `_index_dict`."""
        return self._index(variable)

    def add_variable_from_reference(
        self, model_variable: Any, variable_name: str, shape: Any = None, initial_value: Any = None
    ) -> Weight:
        """Return a new weight in the shape and dtype of a variable."""
        return self._slot_of(model_variable, variable_name, shape, initial_value)

    def add_variable(
        self, shape: Any, dtype: Any = None, initializer: Any = "zeros", name: str | None = None
    ) -> Weight:
        """Return a new weight of any shape."""
        self._inner.add_variable(shape or (), initializer, dtype, name=name)
        return self.weights[-1]

    # Steps.

    def apply_gradients(
        self,
        grads_and_vars: Any,
        name: str | None = None,
        skip_gradients_aggregation: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Update variables from pairs of gradient and variable.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable)
            Arrays; None skips the variable.
        name : str, optional
            Prefix of the names of weights that this step creates.
        skip_gradients_aggregation : bool
            Has no effect: there is one replica.
        **kwargs
            ``experimental_aggregate_gradients``, the same the other way round.

        Returns
        -------
        Weight
            The counter, increased by 1.

        Raises
        ------
        ArgumentError, GradientError, VariableError
            Something does not fit. Nothing was changed then.
        """
        unknown = sorted(set(kwargs) - {"experimental_aggregate_gradients"})
        if unknown:
            raise ArgumentError(f"apply_gradients has no argument {unknown[0]!r}.")
        several = isinstance(grads_and_vars, Iterable)
        every = list(grads_and_vars) if several else grads_and_vars
        pairs = filtered(every)
        if pairs:
            known = every if self.BUILDS_ALL else pairs
            with self._undone_on_error():
                if self._core.stepper is None:
                    self._scope = f"{name or self.name or 'optimizer'}/"
                    self.build([variable for _, variable in known])
                    self._scope = ""
                for _, variable in pairs:
                    self._index(variable)
                self._take(pairs)
        return self.iterations if self.RETURNS_COUNT else None

    def _updated(self, gradient: Array, variable: Any, rate: Any) -> None:
        self.update_step(gradient, variable)

    def update_step(self, gradient: Any, variable: Any) -> Any:
        """Update one variable; for a class of one's own to override."""
        self._rule(gradient, variable)

    HOOK = update_step

    def minimize(self, loss: Any, var_list: Any, tape: Any = None) -> Any:
        """Take one step down a loss, a callable without arguments; needs the extra autodiff."""
        return self.apply_gradients(self.compute_gradients(loss, var_list, tape))

    def compute_gradients(self, loss: Any, var_list: Any, tape: Any = None) -> Pairs:
        """Return pairs of gradient and variable; the gradient may be None."""
        return self._differentiated(loss, var_list, tape)

    def aggregate_gradients(self, grads_and_vars: Any) -> Pairs:
        """Return the pairs: there is one replica."""
        return list(grads_and_vars)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Spare some variables from weight decay; call before `build`.

        Parameters
        ----------
        var_list : iterable of variables, optional
            The variables to spare.
        var_names : iterable of str, optional
            Regular expressions searched for in the variables' names.
        """
        self._inner.exclude_from_weight_decay([array_of(v) for v in var_list or ()], var_names)

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """Replace the variables by their moving averages, with `use_ema`."""
        self._inner.finalize_variable_values([array_of(v) for v in var_list])

    def _serialize_hyperparameter(self, hyperparameter: Any) -> Any:
        """Return a hyperparameter for a configuration."""
        return hyperparameter.numpy() if isinstance(hyperparameter, Weight) else hyperparameter
