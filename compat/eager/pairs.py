"""Pairs of gradient and variable: what may be one, and what to say of the others."""

import logging
import warnings
from collections.abc import Callable
from typing import Any

from fastrms.errors import ArgumentError, GradientError, PortingWarning, StateError, VariableError

from .weights import name_of

Pairs = list[tuple[Any, Any]]
Transform = Callable[[Pairs], Pairs]


class UnknownVariableError(VariableError, KeyError):
    """A variable is not one of those that the optimizer was built with."""

    __str__ = Exception.__str__


class CounterError(StateError, RuntimeError):
    """The counter was to be replaced when it was in use."""


class SparseConstraintError(VariableError, RuntimeError):
    """A variable with a constraint has a gradient of rows."""


def filtered(pairs: Any) -> Pairs:
    """Return the pairs that have a gradient; raise when there are pairs but none has."""
    try:
        found = [(gradient, variable) for gradient, variable in list(pairs)]
    except TypeError as error:
        if isinstance(pairs, list | tuple):
            raise _malformed(pairs) from error
        raise ArgumentError(
            f"grads_and_vars={pairs!r:.80} is not valid; valid: (gradient, variable) pairs, as "
            "zip(gradients, variables) gives them."
        ) from error
    except ValueError as error:
        raise _malformed(pairs) from error
    kept = [pair for pair in found if pair[0] is not None]
    if found and not kept:
        shown = [name_of(variable, k) for k, (_, variable) in enumerate(found)]
        raise GradientError(
            f"no gradients were given for any variable: all of {shown} have None. Give at least "
            "one a gradient: does the loss depend on them?"
        )
    if len(kept) < len(found):
        missing = [name_of(v, k) for k, (g, v) in enumerate(found) if g is None]
        _note(f"variables {missing} have no gradient (None); they stay as they are.")
    return kept


def _malformed(pairs: Any) -> ArgumentError:
    """Build the error of a list that holds something else than pairs."""
    return ArgumentError(
        f"grads_and_vars holds {type(next(iter(pairs), None)).__name__}; valid: (gradient, "
        "variable) pairs, as zip(gradients, variables) gives them."
    )


def _note(text: str) -> None:
    """Say what TensorFlow logged."""
    logging.getLogger("fastrms.compat").warning(text)


def ignored(text: str) -> None:
    """Warn of something without effect."""
    warnings.warn(text, PortingWarning, stacklevel=4)
