"""OptimizerV2: tf.keras 2.0 to 2.10, and `optimizers.legacy` after that."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fastrms.errors import ArgumentError, GradientError
from fastrms.sparse import IndexedSlices

from . import rows
from .base import settled
from .hypers import Hypers
from .pairs import Pairs, SparseConstraintError, Transform, UnknownVariableError, filtered
from .weights import Array, Weight, name_of


class OptimizerV2(Hypers):
    """The base class of the optimizers of tf.keras 2.0 to 2.10.

    A class of one's own overrides `_create_slots`, `_resource_apply_dense` and `get_config`, in
    NumPy: the variable and the slots given to it are read as arrays and have `assign`,
    `assign_add` and `assign_sub`. Source: keras 2.10.0 optimizer_v2.py.

    Parameters
    ----------
    name : str
        Prefix of the names of its weights.
    gradient_aggregator : callable, optional
        From pairs of gradient and variable to pairs.
    gradient_transformers : list of callable, optional
        Applied one after the other; they exclude clipping.
    **kwargs
        ``clipnorm``, ``clipvalue``, ``global_clipnorm``, ``decay``, ``lr``.
    """

    ROW = rows.own(rows.V2)
    ORDER: ClassVar[tuple[str, ...]] = ("name", "gradient_aggregator", "gradient_transformers")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(self.ORDER, args, strict=False))
        own = {
            name: kwargs.pop(name, given.get(name))
            for name in ("gradient_aggregator", "gradient_transformers")
        }
        args = tuple(v for k, v in given.items() if k not in own) + args[len(given) :]
        object.__setattr__(self, "_hyper", {})
        self.gradient_aggregator: Transform | None = own["gradient_aggregator"]
        self.gradient_transformers: list[Transform] = list(own["gradient_transformers"] or ())
        for name in ("clipnorm", "clipvalue", "global_clipnorm"):
            self._require_no_rival(name, kwargs.get(name))
        self._start(*args, **kwargs)
        self._hyper.update(dict.fromkeys(self.HYPERS))

    def _require_no_rival(self, name: str, value: Any) -> None:
        """Refuse clipping beside transformers, as there."""
        if value is not None and self.gradient_transformers:
            raise ArgumentError(
                f"{name}={value!r} cannot be set beside gradient_transformers="
                f"{self.gradient_transformers!r}; let a transformer clip, or leave these out."
            )

    # Slots.

    def _create_slots(self, var_list: list[Any]) -> None:
        """Create the slots of some variables; for a class of one's own to override."""
        for slot in (name for group in self._slots() for name in group):
            for variable in var_list:
                self.add_slot(variable, slot)

    def _create_all_weights(self, var_list: list[Any]) -> None:
        """Create the counter and the slots of some variables before their first step."""
        self._cover(var_list)
        self._created = True
        stepper = self._core.stepper
        assert stepper is not None
        stepper.create_slots([self._index(v) for v in var_list])
        self._create_slots(list(var_list))
        _ = self.weights  # named now, where they were created

    def get_slot_names(self) -> list[str]:
        """Return the names of this optimizer's slots."""
        stepper = self._core.stepper
        kept = stepper.state.slots if stepper is not None else {}
        return list(dict.fromkeys(self.ROW.slot_names.get(name, name) for name, _ in kept))

    def add_slot(
        self, var: Any, slot_name: str, initializer: Any = "zeros", shape: Any = None
    ) -> Weight:
        """Return a new slot of a variable, or the one of that name."""
        self._cover([var])
        known = {"zeros": 0, "ones": 1}
        if isinstance(initializer, str):
            if initializer not in known:
                raise ArgumentError(
                    f"initializer={initializer!r} is not valid; valid: 'zeros', 'ones', an array, "
                    "or a callable from shape and dtype to an array."
                )
            initializer = known[initializer]
        return self._slot_of(var, self._ours(slot_name), shape, initializer)

    def get_slot(self, var: Any, slot_name: str) -> Weight:
        """Return a slot of a variable; KeyError without it."""
        index, stepper = self._index(var), self._core.stepper
        if stepper is None or (self._ours(slot_name), index) not in stepper.state.slots:
            raise UnknownVariableError(
                f"there is no slot {slot_name!r} for this variable; slots: {self.get_slot_names()}."
            )
        return self._view(self._ours(slot_name), index)

    def _ours(self, slot_name: str) -> str:
        """Return what the core calls a slot."""
        return next((k for k, v in self.ROW.slot_names.items() if v == slot_name), slot_name)

    def _counted(self) -> bool:
        """The counter is in use once it was read, too."""
        return self._core.stepper is not None or "iterations" in self._views

    @property
    def weights(self) -> list[Weight]:
        """The optimizer's own variables in the order of their creation."""
        return super().weights if self._counted() else []

    # Steps.

    def apply_gradients(
        self,
        grads_and_vars: Any,
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
    ) -> Any:
        """Update variables from pairs of gradient and variable.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable)
            Arrays; None skips the variable.
        name : str, optional
            Has no effect on numbers.
        experimental_aggregate_gradients : bool
            Whether `gradient_aggregator` is called.

        Returns
        -------
        Weight
            The counter, increased by 1.

        Raises
        ------
        ArgumentError, GradientError, VariableError
            Something does not fit. Nothing was changed then.
        """
        pairs = filtered(grads_and_vars)
        if not pairs:
            return None
        for gradient, variable in pairs:
            if isinstance(gradient, IndexedSlices) and getattr(variable, "constraint", None):
                raise SparseConstraintError(
                    f"variable {name_of(variable, 0)!r} has a constraint and a gradient of rows, "
                    "which OptimizerV2 refuses together. Pass a gradient of the variable's shape, "
                    "or apply the constraint after the step. Nothing was changed."
                )
        with self._undone_on_error():
            self._scope = f"{self._core.name}/"
            self._create_all_weights([variable for _, variable in pairs])
            self._scope = ""
            if experimental_aggregate_gradients and self.gradient_aggregator is not None:
                pairs = list(self.gradient_aggregator(pairs))
            for transform in self.gradient_transformers:
                pairs = list(transform(pairs))
            self._take(pairs)
        return self.iterations

    def _updated(self, gradient: Array, variable: Any, rate: Any) -> None:
        self._resource_apply_dense(gradient, variable, apply_state={})

    def _resource_apply_dense(self, grad: Any, handle: Any, apply_state: Any = None) -> Any:
        """Update one variable; for a class of one's own to override."""
        self._rule(grad, handle)

    HOOK = _resource_apply_dense

    def minimize(
        self, loss: Any, var_list: Any, grad_loss: Any = None, name: Any = None, tape: Any = None
    ) -> Any:
        """Take one step down a loss, a callable without arguments; needs the extra autodiff."""
        pairs = self._compute_gradients(loss, var_list, grad_loss=grad_loss, tape=tape)
        return self.apply_gradients(pairs, name=name)

    def _compute_gradients(
        self, loss: Any, var_list: Any, grad_loss: Any = None, tape: Any = None
    ) -> Pairs:
        """Return pairs of gradient and variable."""
        if grad_loss is not None:
            plain = loss
            loss = lambda: plain() * grad_loss  # noqa: E731
        return self._differentiated(loss, var_list, tape)

    def get_gradients(self, loss: Any, params: Any) -> list[Any]:
        """Return the gradients of a loss; raise for a variable on which it does not depend."""
        pairs = self._differentiated(loss, params, None)
        missing = [variable for gradient, variable in pairs if gradient is None]
        if missing:
            raise GradientError(
                f"the loss does not depend on {missing[0]!r}, so its gradient is None. Leave it "
                "out of params, or use it in the loss without np.round, np.argmax and the like."
            )
        return [gradient for gradient, _ in pairs]

    def get_updates(self, loss: Any, params: Any) -> list[Any]:
        """Take one step and return the counter in a list."""
        variables = list(params)
        return [self.apply_gradients(zip(self.get_gradients(loss, variables), variables))]  # noqa: B905

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; float32 numbers once the weights exist."""
        config = super().get_config()
        if self._created:
            for name in set(self.HYPERS) & set(config) - {"decay"}:
                if isinstance(config[name], float | int) and not callable(
                    getattr(self._core.settings, name)
                ):
                    config[name] = float(np.float32(config[name]))
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        """Build an optimizer from `get_config`'s result; `lr` is read as `learning_rate`."""
        arguments = settled(cls.__name__, config)
        if "lr" in arguments:
            arguments["learning_rate"] = arguments.pop("lr")
        return super().from_config(arguments, custom_objects)
