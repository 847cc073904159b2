"""Argument names: old words become Keras 2's, and what is not known is refused by name."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastrms.errors import FastrmsError

from .generations import KERAS_1_WORDS, Generation


class NotProvided(FastrmsError, ImportError, NotImplementedError):  # noqa: N818 (a statement)
    """A layer, argument or function of old Keras that fastrms.compat does not have."""


GRADIENTS = (
    "Compute the gradients elsewhere and pass them: optimizer.get_updates(..., grads=[...]); "
    "docs/porting.md shows it with PyTorch."
)


def lacking(module: str, names: Iterable[str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module, which refuses a name it lacks by that name."""
    known = ", ".join(sorted(names)) or "none of it"

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise NotProvided(f"{module} does not provide {name!r}; provided: {known}. {GRADIENTS}")

    return __getattr__


def places(function: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """Return the arguments of a function by place, and whether it takes further names."""
    found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    names = tuple(p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD)
    return names, any(p.kind is p.VAR_KEYWORD for p in found)


def named(
    who: str, function: Callable[..., Any], generation: Generation, args: Any, kwargs: Any
) -> dict[str, Any]:
    """Return the arguments of a call under Keras 2's names.

    Raises
    ------
    TypeError
        Too many arguments, one given twice, or one that nobody knows.
    """
    names, free = places(function)
    order = generation.order.get(who, names)
    words: Mapping[str, str] = KERAS_1_WORDS.get(who, {})
    if len(args) > len(order):
        raise TypeError(
            f"{who} received {len(args)} arguments by place; valid: at most {len(order)} "
            f"({', '.join(order)})."
        )
    given = dict(zip(order, args, strict=False))
    for key, value in kwargs.items():
        name = words.get(key, key)
        if name in given:
            raise TypeError(f"{who} received {name!r} twice (also as {key!r}); give it once.")
        if name not in names and not free:
            known = ", ".join([*names, *words])
            raise TypeError(f"{who} received an unknown argument {key!r}; valid: {known}.")
        given[name] = value
    return given


def adapted(kind: type, generation: Generation) -> type:
    """Return a class that takes its arguments in a generation's words and places."""
    above = [vars(c)["__init__"] for c in kind.__mro__ if "__init__" in vars(c)]
    start: Callable[..., Any] = above[0]

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        start(self, **named(kind.__name__, start, generation, args, kwargs))

    body = {"__init__": __init__, "generation": generation, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), body)


def refuse(who: str, **given: Any) -> None:
    """Refuse arguments that have no effect here, unless they ask for nothing."""
    asked = {name: value for name, value in given.items() if value is not None}
    if asked:
        shown = ", ".join(f"{name}={value!r:.60}" for name, value in asked.items())
        raise NotProvided(
            f"{who} received {shown}, which fastrms.compat does not provide. Leave it out; "
            "a penalty can be added to the loss in K operations."
        )
