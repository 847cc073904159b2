"""The `backend` module of one generation: the shared functions under that generation's names."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import backend
from . import numpy_names as numpy_names
from .backend import NAMES


class Surface(NamedTuple):
    """How a generation's backend differs.

    `renamed` maps a function's old argument names to the new; `order` gives its old argument order.
    """

    renamed: Mapping[str, Mapping[str, str]]
    order: Mapping[str, tuple[str, ...]]
    absent: tuple[str, ...] = ()


def _adapted(function: Callable[..., Any], old: Mapping[str, str], order: tuple[str, ...]) -> Any:
    """Return a function that takes its arguments under old names and in an old order."""
    names = list(order or inspect.signature(function).parameters)

    @functools.wraps(function)
    def adapted(*args: Any, **kwargs: Any) -> Any:
        given = {old.get(k, k): v for k, v in kwargs.items()}
        return function(**dict(zip(names, args, strict=False)), **given)

    return adapted


def namespace(surface: Surface) -> dict[str, Any]:
    """Return what a generation's `backend` module holds."""
    found: dict[str, Any] = {}
    for name in NAMES:
        function = getattr(backend, name)
        if name in surface.renamed or name in surface.order:
            old, order = surface.renamed.get(name, {}), surface.order.get(name, ())
            function = _adapted(function, old, order)
        if name not in surface.absent:
            found[name] = function
    return {**found, "__all__": sorted(found)}


def missing(module: str, name: str) -> AttributeError:
    """Return the error of a name that a backend does not have, with the line that asked."""
    frame = sys._getframe(2)
    while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return AttributeError(
        f"{module} has no {name!r} (used at {frame.f_code.co_filename}:{frame.f_lineno}). "
        f"{len(NAMES)} names are supported: {', '.join(NAMES)}. Write it with these, or pass "
        "finished gradients: get_updates(..., grads=[...])."
    )
