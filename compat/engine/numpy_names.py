"""NumPy functions on expressions: which K function answers for which of NumPy's."""

import inspect
from collections.abc import Callable
from typing import Any

from . import backend
from .expressions import ABOVE, build

NAMES: dict[str, Callable[..., Any]] = {
    **{n: getattr(backend, n) for n in ("sum", "mean", "max", "min")},
    **{n: getattr(backend, n) for n in ("argmax", "reshape", "squeeze")},
    **{n: getattr(backend, n) for n in ("dot", "expand_dims", "clip", "round")},
    "amax": backend.max,
    "amin": backend.min,
    "zeros_like": backend.zeros_like,
    "ones_like": backend.ones_like,
    "where": backend.switch,
    "concatenate": lambda parts, axis=0: backend.concatenate(parts, axis),
    "repeat": backend.repeat_elements,
    "transpose": lambda a, axes=None: build("transpose", a, axes=axes),
    "ravel": backend.flatten,
}


def call(function: Any, args: Any, kwargs: Any) -> Any:
    """Answer a NumPy function called on an expression."""
    name, answer = function.__name__, NAMES.get(function.__name__)
    if answer is None:
        raise TypeError(
            f"np.{name} does not work on expressions; valid: {', '.join(sorted(NAMES))}. Use a K "
            "function, or K.eval(expression) first."
        )
    valid = inspect.signature(answer)
    try:
        valid.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"np.{name} of an expression: {error}; valid here: {', '.join(valid.parameters)}."
        ) from error
    return answer(*args, **kwargs)


ABOVE["numpy"] = call
