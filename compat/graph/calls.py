"""The many forms of `get_updates`, told apart by the types of the arguments."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastrms.errors import ArgumentError

from ..engine.expressions import Expression, lifted
from ..engine.session import SESSION
from ..engine.variables import Variable

FORMS = (
    "(loss, params), (params, loss), (params, constraints, loss), (params, constraints, grads), "
    "params=..., loss=..., constraints=..., grads=..., or (weights, constraints, grads) with "
    "numpy arrays"
)


class Call(NamedTuple):
    """What one call of `get_updates` asks for."""

    params: list[Any]
    loss: Any = None
    constraints: Any = None
    grads: list[Any] | None = None

    @property
    def numeric(self) -> bool:
        """Whether the parameters are arrays: the call returns new ones."""
        return not isinstance(self.params[0], Variable)


def _all(value: Any, kinds: Any) -> bool:
    """Tell whether a value is a list of such things, and not empty."""
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(v, kinds) for v in value)
    )


def _kinds(value: Any) -> set[str]:
    """Return what an argument may be, by its type."""
    if isinstance(value, Expression):
        return {"loss"}
    if _all(value, Variable):
        return {"params"}
    if _all(value, (np.ndarray, np.generic)):
        return {"params", "grads"}
    if value is None or isinstance(value, Mapping):
        return {"constraints"}
    if isinstance(value, list | tuple) and all(v is None or callable(v) for v in value):
        return {"constraints"}
    if isinstance(value, list | tuple):
        return {"grads"}
    lifted(value, SESSION.floatx)  # raises for tensors of a framework, naming it
    return set()


def _shown(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Describe the arguments of a call in an error."""
    parts = [_what(a) for a in args] + [f"{k}={_what(v)}" for k, v in kwargs.items()]
    return ", ".join(parts)


def _what(value: Any) -> str:
    if isinstance(value, list | tuple) and value:
        return f"{type(value).__name__} of {len(value)} {type(value[0]).__name__}"
    return "an expression" if isinstance(value, Expression) else repr(value)[:40]


def resolve(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """Return what a call of `get_updates` means, or raise with the accepted forms."""
    unknown = set(kwargs) - set(Call._fields)
    found: dict[str, Any] = {k: v for k, v in kwargs.items() if k in Call._fields}
    open_roles = [role for role in Call._fields if role not in found]
    problem = f"unknown argument {sorted(unknown)[0]!r}" if unknown else None
    for value in args:
        roles = [role for role in open_roles if role in _kinds(value)]
        if not roles:
            problem = problem or f"cannot tell what {_what(value)} is beside the others"
            break
        found[roles[0]] = value
        open_roles.remove(roles[0])
    params = found.get("params")
    if not problem and not _all(params, (Variable, np.ndarray, np.generic)):
        problem = "no list of variables (params) was found"
    if not problem and found.get("loss") is None and found.get("grads") is None:
        problem = "neither a loss nor gradients were found"
    if problem:
        raise ArgumentError(
            f"get_updates({_shown(args, kwargs)}): {problem}. Accepted: {FORMS}. Name the "
            "arguments: get_updates(loss=loss, params=params)."
        )
    grads = found.get("grads")
    if grads is not None and len(grads) != len(params or []):
        raise ArgumentError(
            f"get_updates received {len(grads)} gradients for {len(params or [])} parameters; "
            "give one for each, in the same order."
        )
    constraints = found.get("constraints")
    return Call(list(params or []), found.get("loss"), constraints, grads and list(grads))


def constraint_of(
    constraints: Any, params: Sequence[Any], index: int
) -> Callable[[Any], Any] | None:
    """Return the constraint of one parameter from a dictionary by variable, or a list."""
    if isinstance(constraints, Mapping):
        return constraints.get(params[index])
    if not constraints:
        return None
    if len(constraints) != len(params):
        raise ArgumentError(
            f"get_updates received {len(constraints)} constraints for {len(params)} parameters; "
            "give one (or None) for each, or a dictionary by variable."
        )
    chosen: Callable[[Any], Any] | None = constraints[index]
    return chosen


def legacy_get_updates_support(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a `get_updates(self, loss, params)` of a script be called in every form."""

    @functools.wraps(method)
    def supported(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = resolve(args, kwargs)
        return method(self, loss=call.loss, params=call.params)

    return supported
