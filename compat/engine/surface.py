"""The `backend` module of one generation: the shared functions under that generation's names."""

import dis
import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fastrms.errors import ArgumentError, FastrmsError

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


def _spoken(function: Callable[..., Any], old: Mapping[str, str], order: Sequence[str]) -> Any:
    """Return a function's signature in a generation's names and order, without types."""
    known, words = inspect.signature(function).parameters, {new: word for word, new in old.items()}
    places = [known[name] for name in order or known]
    return inspect.Signature(
        [p.replace(name=words.get(p.name, p.name), annotation=p.empty) for p in places]
    )


def _adapted(name: str, surface: Surface) -> Callable[..., Any]:
    """Return a function as a generation called it; a wrong call is told with what is valid."""
    function = getattr(backend, name)
    old, order = surface.renamed.get(name, {}), surface.order.get(name, ())

    @functools.wraps(function)
    def adapted(*args: Any, **kwargs: Any) -> Any:
        places = dict(zip(order, args, strict=False))
        try:
            given = {old.get(k, k): v for k, v in kwargs.items()}
            return function(*args[len(places) :], **places, **given)
        except FastrmsError:
            raise
        except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            shown = [f"{a!r:.60}" for a in args] + [f"{k}={v!r:.60}" for k, v in kwargs.items()]
            told = str(error).rstrip(".")
            raise ArgumentError(
                f"K.{name}({', '.join(shown)}): {told}. Valid: "
                f"K.{name}{_spoken(function, old, order)}."
            ) from error

    adapted.__name__ = adapted.__qualname__ = name
    return adapted


def install(module: dict[str, Any], surface: Surface) -> Callable[[str], Any]:
    """Fill a generation's `backend` module with its functions; return its `__getattr__`."""
    found = {name: _adapted(name, surface) for name in NAMES if name not in surface.absent}
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
