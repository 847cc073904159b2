"""Gradients of a loss by its variables, through autograd."""

from collections.abc import Iterable
from typing import Any

from fastrms.errors import ArgumentError, GradientError

from .weights import name_of


def gradients_of(loss: Any, var_list: Any, tape: Any) -> list[tuple[Any, Any]]:
    """Return (gradient, variable) pairs; None where the loss does not depend on a variable."""
    if tape is not None or not callable(loss):
        raise ArgumentError(
            f"a loss without a callable needs TensorFlow's tape (received loss={loss!r:.60}, "
            f"tape={tape!r:.60}); pass a callable without arguments that computes the loss in "
            "NumPy from fastrms.Variable objects, or compute gradients and call apply_gradients."
        )
    # Only what differentiates needs these.
    from fastrms.tracing import differentiated
    from fastrms.variable import Variable

    found: Any = var_list
    if callable(var_list) and not isinstance(var_list, Variable):
        loss()  # the variables may come to be with the first call
        found = var_list()
    variables = [found] if isinstance(found, Variable) else _flat(found)
    for k, variable in enumerate(variables):
        if not isinstance(variable, Variable):
            raise GradientError(
                f"variable {name_of(variable, k)!r} is a {type(variable).__name__}; minimize "
                "differentiates by fastrms.Variable objects. Wrap the array in one, or compute "
                "the gradients and call apply_gradients."
            )
    _, derivatives = differentiated(loss, variables)
    return list(zip(derivatives, variables, strict=True))


def _flat(found: Any) -> list[Any]:
    """Return the leaves of nested lists."""
    if not isinstance(found, Iterable):
        raise ArgumentError(f"var_list={found!r:.60} is not valid; valid: a list of variables.")
    leaves: list[Any] = []
    for item in found:
        leaves += _flat(item) if isinstance(item, list | tuple) else [item]
    return leaves
