"""Which variables are spared from weight decay."""

import re
import warnings
from typing import Any

from fastrms.errors import PortingWarning, VariableError
from fastrms.variables import Variables, describe


def undecayed(excluded: tuple[list[Any], list[str]], variables: Variables) -> frozenset[int]:
    """Return the variables that `exclude_from_weight_decay` named."""
    arrays, patterns = excluded
    found = set()
    for array in arrays:
        index = variables.index(array)
        if index is None:
            raise VariableError(
                f"exclude_from_weight_decay was given {describe(array)}, which is not among the "
                f"variables {variables.names[:5]}; pass arrays that build() gets."
            )
        found.add(index)
    for pattern in patterns:
        matching = {i for i, name in enumerate(variables.names) if re.search(pattern, name)}
        if not matching:
            warnings.warn(
                f"exclude_from_weight_decay: {pattern!r} matches no variable of "
                f"{variables.names[:5]}, so it has no effect.",
                PortingWarning,
                stacklevel=6,
            )
        found |= matching
    return frozenset(found)
