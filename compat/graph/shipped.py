"""RMSprop, SGD and Adam, written as subclasses of `Optimizer` in K operations."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastrms.arguments import Settings, settle
from fastrms.errors import ArgumentError, PortingWarning

from ..checks import real
from ..engine.binding import Array
from ..engine.expressions import Expression, cast, constant, lifted, numbers
from ..engine.functions import Function
from ..engine.session import FLOATS
from ..engine.variables import Variable, placeholder
from .calls import Call, constraint_of, resolve
from .generations import Epsilon
from .optimizers import Optimizer


def _bare(value: Any) -> Any:
    """Return a number for an array that holds only one, as the old system took it."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


class Shipped(Optimizer):
    """What the three classes share: construction from the row, and the forms of `get_updates`."""

    kind: ClassVar[str]
    decay: Any
    epsilon: Any
    variables: ClassVar[tuple[str, ...]]  # the hyperparameters that are variables, in order

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = {name: _bare(value) for name, value in self._bound(args, kwargs).items()}
        clips = {k: given.pop(k) for k in ("clipnorm", "clipvalue") if given.get(k) is not None}
        offset = given.pop("decay_offset", None)
        super().__init__(**clips)
        checks = {"decay_offset": offset} if offset is not None else {}
        settled = settle(
            self.generation.row, {"lr": given["rate"], "decay": given["decay"], **checks}
        )
        self._offset = self.generation.offset[self.kind] if offset is None else offset
        K = self.backend  # noqa: N806 (as every script writes it)
        counts_in = K.floatx() if self.generation.float_counter else "int64"
        scope = self.kind
        self.iterations = K.variable(0, dtype=counts_in, name=f"{scope}/iterations")
        self.lr = K.variable(settled.learning_rate, name=f"{scope}/{self.generation.rate}")
        self.initial_decay = given["decay"]
        for name in ("decay", *self.variables):
            number = real(self.kind, name, given[name])
            setattr(self, name, K.variable(number, name=f"{scope}/{name}"))
        if "epsilon" in given:
            self.epsilon = self._epsilon(given["epsilon"])
        self._options: dict[str, Any] = {k: given[k] for k in ("nesterov", "amsgrad") if k in given}
        self.__dict__.update(self._options)

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return every argument by name, with the generation's order and defaults."""
        row = self.generation
        signature = row.signature(self.kind)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(
                f"{self.kind} of {row.name}: {error}. Valid: {signature}. Leave the others out, or "
                "import the generation that the script was written for."
            ) from error
        if "lr" in bound.arguments:  # in 2.3 another name, which stands over the rate's own
            bound.arguments[row.rate] = bound.arguments.pop("lr")
        bound.apply_defaults()
        given = bound.arguments
        given["rate"] = given.pop(row.rate)
        given.pop("lr", None)
        return given

    def _epsilon(self, value: Any) -> Any:
        """Return epsilon; where the generation says so, None and the default are K.epsilon()."""
        if value is None and self.generation.positional[self.kind].get("epsilon", 0) is not None:
            raise ArgumentError(
                f"{self.kind}(epsilon=None) is not valid in {self.generation.name}; valid: a "
                "finite number. Leave it out for the default."
            )
        if value is None or isinstance(value, Epsilon):
            return self.backend.epsilon()
        return real(self.kind, "epsilon", value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as the generation reported them."""
        names = (self.generation.rate, *self.variables, "decay")
        values = {self.generation.rate: self.lr, **{n: getattr(self, n) for n in names[1:]}}
        config = super().get_config()
        config.update({n: float(self.backend.get_value(v)) for n, v in values.items()})
        if hasattr(self, "epsilon"):
            config["epsilon"] = self.epsilon
        config.update({k: getattr(self, k) for k in self._options})
        if self._offset != self.generation.offset[self.kind]:
            config["decay_offset"] = self._offset
        return config

    def get_updates(self, *args: Any, **kwargs: Any) -> Any:
        """Return the updates of one step, from any of the historic argument orders.

        Parameters
        ----------
        *args, **kwargs
            ``(params, constraints, loss)``, ``(loss, params)``, ``(params, loss)``, keywords, or
            ``grads=`` instead of a loss; told apart by type. With NumPy arrays as params, new
            arrays are returned at once, and the state is kept for the next call.
        """
        call = resolve(args, kwargs)
        if call.numeric:
            return self._stepped_arrays(call)
        return self._built(call)

    def _built(self, call: Call) -> list[Any]:
        """Build the updates of a call in expressions."""
        inherited = type(self).get_gradients is Optimizer.get_gradients
        own = "get_gradients" in self.__dict__ or not inherited
        if call.grads is not None:
            raw = [self._finished(g, p) for g, p in zip(call.grads, call.params, strict=True)]
        elif own:
            raw = self.get_gradients(call.loss, call.params)
        else:
            raw = self._raw_gradients(call.loss, call.params)
        final = own and call.grads is None
        constraints = [self._constraint(call, i) for i in range(len(call.params))]
        updates = self._listed(call.params, raw if final else self._clipped(raw), constraints)
        self._fuse(call.params, constraints, raw, Settings() if final else self._clips())
        return updates

    @staticmethod
    def _finished(gradient: Any, param: Variable) -> Expression:
        """Return a given gradient as an expression; arrays and tensors of any framework will do."""
        if isinstance(gradient, Expression):
            return gradient
        return constant(numbers(gradient, f"grads for {param.name!r}"), param.dtype)

    def _fuse(self, params: Any, constraints: Any, gradients: Any, clips: Settings) -> None:
        """Tie the updates to one kernel call, where the class has one."""

    def _stepped_arrays(self, call: Call) -> list[Array]:
        """Carry out one step on copies of arrays; the state stays for the next call."""
        arrays = [np.asarray(a) for a in call.params]
        wrong = [a.dtype for a in arrays if a.dtype.name not in FLOATS]
        if call.grads is None or wrong:
            raise ArgumentError(
                f"get_updates on arrays received {wrong or 'no gradients'}; valid: "
                "(weights, constraints, grads), three lists, weights of float16, float32 or "
                "float64. Convert with .astype."
            )
        constraints = [
            constraint_of(call.constraints or None, arrays, i) for i in range(len(arrays))
        ]
        key = tuple((a.shape, a.dtype.name, c) for a, c in zip(arrays, constraints, strict=True))
        kept = self.__dict__.setdefault("_by_arrays", {})
        if key not in kept:
            params = [
                Variable(a, a.dtype.name, constraint=c)
                for a, _, c in zip(arrays, key, constraints, strict=True)
            ]
            feeds = [placeholder(a.shape, dtype=a.dtype.name) for a in arrays]
            by_variable = dict(zip(params, constraints, strict=True))
            updates = self._built(Call(params, None, by_variable, feeds))
            kept[key] = params, Function(feeds, [], updates)
        params, function = kept[key]
        for param, array in zip(params, arrays, strict=True):
            param.set_value(array)
        function(call.grads)
        return [param.array.copy() for param in params]

    def _constraint(self, call: Call, index: int) -> Any:
        """Return the constraint that acts on a parameter in this generation."""
        given = constraint_of(call.constraints, call.params, index)
        own = getattr(call.params[index], "constraint", None)
        if self.generation.call_constraints:
            return given or own
        if given is not None and given is not own:
            warnings.warn(
                f"the constraint given to get_updates for {call.params[index].name!r} has no "
                f"effect in {self.generation.name}, which took constraints from variables: "
                "K.variable(value, constraint=...).",
                PortingWarning,
                stacklevel=4,
            )
        return own

    def _counted(self) -> list[Any]:
        """Return the update of `iterations`, where this generation makes it."""
        row, adam = self.generation, self.kind == "Adam"
        if not row.hidden_counter if adam else row.counts_always or self.initial_decay > 0:
            return [self.backend.update_add(self.iterations, 1)]
        return []

    def _now(self, dtype: str) -> Expression:
        """Return the count of steps as a step reads it."""
        if not self._offset:
            return cast(self.iterations, dtype)
        return cast(self.iterations + self._ahead(), dtype)

    def _ahead(self) -> Expression:
        """Return what the step's own counting adds: nothing in a function that does not count."""
        found = placeholder((), dtype=self.iterations.dtype, name=f"{self.kind}/counted")
        counter, offset = id(self.iterations), self._offset
        found.given["unfed"] = lambda written: offset * (counter in written)
        return found

    def _rate_now(self) -> Any:
        """Return the learning rate of a step, `decay` included."""
        if not self.initial_decay > 0:
            return self.lr
        decay = self.decay if isinstance(self.decay, Expression) else lifted(self.decay, "float32")
        return self.lr * (1.0 / (1.0 + decay * self._now(decay.dtype)))

    def _listed(
        self,
        params: Sequence[Variable],
        used: Sequence[Expression],
        constraints: Sequence[Any],
    ) -> list[Any]:
        """Make the slots and one update per slot and parameter, through K.update as it is now."""
        K = self.backend  # noqa: N806
        slots = [self._slots(p, i) for i, p in enumerate(params)]
        blocks = [list(block) for block in zip(*slots, strict=True)]
        order = self.generation.row.weights.order if self.kind == "RMSprop" else ("iterations",)
        head = [self.iterations] if "iterations" in order else []
        self.weights = head + [slot for block in blocks for slot in block]
        self.updates = self._counted()
        rate = self._rate_now()
        for p, gradient, own, constraint in zip(params, used, slots, constraints, strict=True):
            *news, fresh = self._step(p, gradient, own, rate)
            pairs = list(zip(own, news, strict=False))
            pairs = pairs[2:] + pairs[:2]  # amsgrad's first: keras 2.2.4 optimizers.py:501
            self.updates += [K.update(slot, new) for slot, new in pairs]
            self.updates.append(K.update(p, fresh if constraint is None else constraint(fresh)))
        return self.updates

    def _slots(self, param: Variable, index: int) -> list[Variable]:
        """Return the variables that a step keeps for one parameter."""
        raise NotImplementedError

    def _step(self, param: Any, gradient: Any, slots: Sequence[Any], rate: Any) -> list[Any]:
        """Return the new slots and, last, the new parameter."""
        raise NotImplementedError

    def _zeros(self, param: Variable, name: str) -> Variable:
        zeros: Variable = self.backend.zeros(param.array.shape, dtype=param.dtype, name=name)
        zeros.given["of"] = param.name
        return zeros
