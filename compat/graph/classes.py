"""The classes of one generation, from its row, and what finds them by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from fastrms.arguments import Settings
from fastrms.errors import ArgumentError

from ..engine.expressions import Expression, build, cast, lifted
from ..engine.functions import Function
from ..engine.surface import refusing
from ..engine.variables import Update, Variable
from .formulas import stepped
from .fused import FusedStep
from .generations import Generation
from .optimizers import Optimizer
from .shipped import Shipped


class RMSprop(Shipped):
    """RMSprop as this generation wrote it; its arithmetic is the core's rule.

    An update list that is used as it was returned runs as one kernel call over all variables; one
    that was sliced or rewritten runs operation by operation, with the same bits.
    """

    kind = "RMSprop"
    variables = ("rho",)
    rho: Any

    def _slots(self, param: Variable, index: int) -> list[Variable]:
        return [self._zeros(param, f"{self.kind}/accumulator_{index}")]

    def _step(self, param: Any, gradient: Any, slots: Sequence[Any], rate: Any) -> list[Any]:
        row, epsilon = self.generation.row, self.epsilon
        fresh, kept = stepped(row, (param, gradient, slots[0]), (rate, self.rho), epsilon)
        self._made += [kept, fresh]
        return [kept, fresh]

    def _listed(self, params: Any, used: Any, constraints: Any) -> list[Any]:
        self._made: list[Any] = []
        return super()._listed(params, used, constraints)

    def _fuse(self, params: Any, constraints: Any, gradients: Any, clips: Settings) -> None:
        """Give every update the handle of the kernel call, if all are as this class made them."""
        counts = len(self.updates) - 2 * len(params)
        entries = self.updates
        slots = self.weights[-len(params) :]
        targets = [v for pair in zip(slots, params, strict=True) for v in pair]
        bounds = [bound for own in constraints for bound in (None, own)]
        for entry, target, made, bound in zip(
            entries[counts:], targets, self._made, bounds, strict=True
        ):
            own = isinstance(entry, Update) and entry[0] is target
            if not own or (bound is None and entry[1] is not made):
                return
        patched = any(
            not isinstance(e, Update) or e[0] is not self.iterations for e in entries[:counts]
        )
        if patched or isinstance(self.epsilon, Expression) or len({*map(id, params)}) < len(params):
            return
        kind = params[0].dtype
        inputs = [cast(g, p.dtype) for g, p in zip(gradients, params, strict=True)]
        inputs += [lifted(self._rate_now(), kind), lifted(self.rho, kind)]
        settings = Settings(**{**vars(clips), "epsilon": float(self.epsilon)})
        handle = FusedStep(self.generation.row, settings, params, slots, inputs)
        handle.entries, handle.plain = list(entries), list(entries[:counts])
        pairs = [(p, c(p)) for p, c in zip(params, constraints, strict=True) if c is not None]
        if pairs:
            handle.after = Function([], [], pairs)
        for entry in entries:
            entry.handle = handle


class SGD(Shipped):
    """Gradient descent with momentum, as this generation wrote it."""

    kind = "SGD"
    variables = ("momentum",)
    momentum: Any

    def _slots(self, param: Variable, index: int) -> list[Variable]:
        return [self._zeros(param, f"{self.kind}/moment_{index}")]

    def _step(self, param: Any, gradient: Any, slots: Sequence[Any], rate: Any) -> list[Any]:
        share, rate = in_dtype(self.momentum, param), in_dtype(rate, param)
        change = share * slots[0] - rate * gradient
        if self._options["nesterov"]:
            return [change, param + share * change - rate * gradient]
        return [change, param + change]


class Adam(Shipped):
    """Adam as this generation wrote it (amsgrad where it had it)."""

    kind = "Adam"
    variables = ("beta_1", "beta_2")
    beta_1: Any
    beta_2: Any

    def _slots(self, param: Variable, index: int) -> list[Variable]:
        found = [self._zeros(param, f"{self.kind}/{name}_{index}") for name in ("m", "v")]
        if self._options.get("amsgrad"):
            return [*found, self._zeros(param, f"{self.kind}/vhat_{index}")]
        blank = self.generation.blank_vhats
        return (
            [*found, self.backend.zeros((1,), name=f"{self.kind}/vhat_{index}")] if blank else found
        )

    def _rate_now(self) -> Any:
        K = self.backend  # noqa: N806
        count = self._now(K.floatx()) + 1.0
        if self.generation.hidden_counter:
            fresh = self.iterations + 1
            assigned = build("identity", fresh, assigns=Update(self.iterations, fresh))
            count = cast(assigned, K.floatx())
        unbiased = K.sqrt(1.0 - K.pow(self.beta_2, count)) / (1.0 - K.pow(self.beta_1, count))
        return super()._rate_now() * unbiased

    def _step(self, param: Any, gradient: Any, slots: Sequence[Any], rate: Any) -> list[Any]:
        K, rate = self.backend, in_dtype(rate, param)  # noqa: N806
        first, second = in_dtype(self.beta_1, param), in_dtype(self.beta_2, param)
        mean = first * slots[0] + (1.0 - first) * gradient
        square = second * slots[1] + (1.0 - second) * K.square(gradient)
        largest = [K.maximum(slots[2], square)] if self._options.get("amsgrad") else []
        spread = K.sqrt((*largest, square)[0]) + self.epsilon
        return [mean, square, *largest, param - rate * mean / spread]


def in_dtype(value: Any, param: Expression) -> Any:
    """Return a hyperparameter in the dtype of a parameter."""
    return cast(value, param.dtype) if isinstance(value, Expression) else value


def install(names: dict[str, Any], row: Generation, backend: ModuleType) -> Callable[[str], Any]:
    """Fill the `optimizers` module of a generation with its classes; return its `__getattr__`."""
    module = names["__name__"]
    about = {"generation": row, "backend": backend, "__module__": module}
    base = type("Optimizer", (Optimizer,), {**about, "__doc__": Optimizer.__doc__})
    found: dict[str, Any] = {"Optimizer": base}
    for shipped in (RMSprop, SGD, Adam):
        head = f"{shipped.kind}{row.signature(shipped.kind)} of {row.name}."
        doc = f"{head}\n\n{inspect.getdoc(shipped)}"
        optional = shipped is RMSprop and row.row.weights.optional_iterations
        extra = {**about, "__doc__": doc, "_optional_counter": optional}
        made = type(shipped.kind, (shipped, base), extra)
        found[shipped.kind] = found[shipped.kind.lower()] = made
    names.update(found, **_finders(row, found))
    return refusing(
        module,
        "Valid: Optimizer, RMSprop, SGD, Adam, their lower-case names, get, serialize, "
        "deserialize. Other optimizers can be written as a subclass of Optimizer in K operations.",
    )


def _finders(row: Generation, classes: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Return `get`, `serialize` and `deserialize` (Keras 1: `optimizer_from_config`)."""
    known = {name: found for name, found in classes.items() if name.islower()}

    def deserialize(config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        """Build an optimizer from its class's name and configuration."""
        name = config.get("class_name") if isinstance(config, Mapping) else None
        if not isinstance(name, str) or not isinstance(config.get("config"), Mapping):
            raise ArgumentError(
                f"an optimizer's configuration was {config!r:.80}; valid: a dictionary with "
                "class_name (text) and config (a dictionary), as serialize returns it."
            )
        found = (custom_objects or {}).get(name) or known.get(name.lower())
        if found is None:
            raise not_provided(row, name)
        return found.from_config(config["config"])

    def serialize(optimizer: Any) -> dict[str, Any]:
        """Return an optimizer's class name and configuration."""
        if isinstance(optimizer, type) or not hasattr(optimizer, "get_config"):
            raise ArgumentError(f"serialize received {optimizer!r:.80}; valid: an optimizer.")
        return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}

    def get(identifier: Any, kwargs: Any = None) -> Any:
        """Return an optimizer from its name, its serialized form, or itself."""
        if isinstance(identifier, str):
            return deserialize({"class_name": identifier, "config": kwargs or {}})
        if isinstance(identifier, Mapping):
            return deserialize(identifier)
        if hasattr(identifier, "get_updates") and not isinstance(identifier, type):
            return identifier
        raise ArgumentError(
            f"Could not interpret optimizer identifier: {identifier!r:.80}. Valid: one of "
            f"{', '.join(sorted(known))}, a dictionary with class_name and config, an optimizer "
            "(made: RMSprop(), not RMSprop)."
        )

    found: dict[str, Callable[..., Any]] = {"get": get}
    if row.call_constraints and row.float_counter:
        found["optimizer_from_config"] = deserialize
    return {**found, "serialize": serialize, "deserialize": deserialize}


def not_provided(row: Generation, name: str) -> ArgumentError:
    """Return the error of an optimizer that is not here."""
    return ArgumentError(
        f"the optimizer {name!r} of {row.name} is not provided; valid: RMSprop, SGD, Adam, and "
        "your own subclass of Optimizer written in K operations."
    )
