"""Which gradient belongs to which variable, and which variables need one."""

from collections.abc import Mapping
from typing import Any

from fastrms.dialects.fields import Dialect
from fastrms.errors import GradientError, VariableError
from fastrms.listing import members
from fastrms.variables import Variables, describe, flatten, is_one, leaves_of

_TREES = (Mapping, list, tuple)


def arranged(variables: Variables, gradients: list[Any], given: list[Any]) -> list[Any]:
    """Arrange gradients in the order in which the variables were built."""
    result: list[Any] = [None] * len(variables.arrays)
    seen: set[int] = set()
    for gradient, variable in zip(gradients, given, strict=True):
        index = variables.index(variable)
        if index is None:
            raise VariableError(
                f"{describe(variable)} is not a variable of this optimizer, which was built "
                f"with {len(variables.arrays)}: {variables.names[:5]}. Pass the "
                "arrays given to build(), or move the state with rebind(new_variables)."
            )
        if index in seen:
            raise VariableError(f"variable {variables.label(index)} is given twice; pass it once.")
        seen.add(index)
        result[index] = gradient
    return result


def require_some(row: Dialect, variables: Variables, present: tuple[int, ...]) -> None:
    """Raise where the system refuses None gradients, some or all."""
    if not any(present) and row.all_none == "refused":
        raise GradientError(
            "No gradients provided for any variable: every gradient is None. Give at least one "
            "variable a gradient."
        )
    if not all(present) and row.none_gradients == "refused":
        missing = [variables.label(i) for i, p in enumerate(present) if not p]
        raise GradientError(
            f"variables {', '.join(missing)} have no gradient (None), which the dialect "
            f"{row.name!r} refuses as the real system does. Leave them out of build()."
        )


def paired(grads: Any, variables: Any, known: Variables | None) -> tuple[list[Any], Any]:
    """Turn dictionaries and other iterables into lists, gradients matched by key to variables."""
    leaves = None if variables is None else leaves_of(variables)
    if not isinstance(grads, Mapping):
        return ([grads] if is_one(grads) else list(grads)), leaves
    if isinstance(variables, Mapping):
        names = [str(name) for name, _ in flatten(variables)]
    elif variables is None and known is not None and known.named:
        names = known.names
    else:
        raise VariableError(
            "the gradients are a dictionary, so the variables must be one too: pass it to build() "
            "or as the second argument."
        )
    given = dict(flatten(grads))
    if set(names) != set(given):
        raise VariableError(
            f"the gradients' names {sorted(map(str, given))[:8]} are not the variables' "
            f"{sorted(names)[:8]}; use the same keys."
        )
    return [given[name] for name in names], leaves


def as_trees(gradients: Any, variables: Any) -> tuple[Any, Any]:
    """Return trees that can be walked twice: iterators become lists."""
    if not (isinstance(gradients, _TREES) or is_one(gradients)):
        valid = "a list or a dictionary, one gradient or None each; pass [gradient] for one"
        gradients = members(gradients, GradientError, "the gradients are", valid)
    if not (variables is None or isinstance(variables, _TREES) or is_one(variables)):
        valid = "a list or a dictionary of arrays, or None for build()'s; pass [variable] for one"
        variables = members(variables, VariableError, "the variables are", valid)
    return gradients, variables


def unzipped(pairs: Any) -> tuple[list[Any], list[Any]]:
    """Return the gradients and the variables of what `apply_gradients` is given."""
    found = members(pairs, VariableError, "what apply_gradients was given is", "a list of pairs")
    try:
        gradients, variables = zip(*found, strict=True)
    except (TypeError, ValueError):
        raise VariableError(
            f"no (gradient, variable) pairs, or not only such, were given: {found!r:.60}; give at "
            "least one."
        ) from None
    return list(gradients), list(variables)
