"""The `backend` module of one generation: the shared functions under that generation's names."""

import dis
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


def install(module: dict[str, Any], surface: Surface) -> Callable[[str], Any]:
    """Fill a generation's `backend` module with its functions; return its `__getattr__`."""
    found: dict[str, Any] = {}
    for name in NAMES:
        function = getattr(backend, name)
        if name in surface.renamed or name in surface.order:
            old, order = surface.renamed.get(name, {}), surface.order.get(name, ())
            function = _adapted(function, old, order)
        if name not in surface.absent:
            found[name] = function
    module.update(found, __all__=sorted(found))
    return refusing(
        module["__name__"],
        f"{len(NAMES)} names are supported: {', '.join(NAMES)}. Write it with these, or pass "
        "finished gradients: get_updates(..., grads=[...]).",
    )


def refusing(module: str, advice: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module: it names what is missing, and the line that asked."""

    def __getattr__(name: str) -> Any:  # noqa: N807
        frame = sys._getframe(1)
        while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        # `from module import name` would replace the text of an AttributeError by its own.
        asked_by = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        kind = ImportError if asked_by == "IMPORT_FROM" else AttributeError
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        raise kind(f"{module} has no {name!r} (used at {where}). {advice}")

    return __getattr__
