"""NumPy functions on expressions: which K function answers for which of NumPy's."""

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
    answer = NAMES.get(function.__name__)
    if answer is None:
        raise TypeError(
            f"np.{function.__name__} does not work on expressions; valid: "
            f"{', '.join(sorted(NAMES))}. Use a K function, or K.eval(expression) first."
        )
    return answer(*args, **kwargs)


ABOVE["numpy"] = call
