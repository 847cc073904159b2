"""What files written here say beside Keras's own groups, and fitting a state to an existing file.

The attribute `fastrms` of the root keeps what Keras's layouts have no place for: the variables'
names and dtypes, and which of them have which slots. Keras does not look at it.
"""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastrms.checkpoint.archive import STEP
from fastrms.checkpoint.document import Checkpoint, Variable, Writer
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.keras_entries import OURS
from fastrms.checkpoint.ordering import paired
from fastrms.checkpoint.registry import Source
from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError, PortingWarning

_PART = 60000


def put_own(attributes: Any, checkpoint: Checkpoint, groups: list[tuple[str, ...]]) -> None:
    """Write the attribute, in numbered parts where it is long."""
    own = {
        "dialect": checkpoint.dialect,
        "rule": checkpoint.rule,
        "writer": list(checkpoint.writer),
        "variables": [[v.name, list(v.shape), v.dtype] for v in checkpoint.variables],
        "slots": {k: [a is not None for a in column] for k, column in checkpoint.slots.items()},
        "groups": groups,
        "weights": list(checkpoint.weights),
        "config": {k: v for k, v in checkpoint.config.items() if k in OURS},
        "counted": checkpoint.iterations is not None,
    }
    data = json.dumps(own).encode()
    for number, first in enumerate(range(0, len(data), _PART)):
        attributes[f"fastrms{number}"] = np.bytes_(data[first : first + _PART])


def drop_own(attributes: Any) -> None:
    """Remove the attribute: the rest of a template's state is another's."""
    for name in [name for name in attributes if re.fullmatch(r"fastrms\d+", name)]:
        del attributes[name]


def own_of(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """Return the attribute's content, or None in files of others."""
    parts: list[str] = []
    while isinstance(part := attributes.get(f"fastrms{len(parts)}"), str):
        parts.append(part)
    return parsed("".join(parts), "the attribute fastrms") if parts else None


def variables_of(own: dict[str, Any]) -> list[Variable]:
    """Return the variables that the attribute names."""
    found = own.get("variables")
    if not isinstance(found, list):
        raise _damaged()
    result = []
    for item in found:
        match item:
            case [str(name), list(shape), str(dtype)] if all(type(n) is int for n in shape):
                result.append(Variable(name, tuple(shape), dtype))
            case _:
                raise _damaged()
    return result


def config_of(own: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that Keras does not have."""
    found = own.get("config", {})  # absent in the first files
    if not isinstance(found, dict):
        raise _damaged()
    return {name: found[name] for name in OURS if name in found}


def columns_of(own: dict[str, Any], arrays: list[Any]) -> dict[str, list[Any]]:
    """Return slots as columns, from the arrays in the order of the attribute's slots."""
    found, groups = own.get("slots"), own.get("groups")
    if not isinstance(found, dict) or not isinstance(groups, list):
        raise _damaged()
    result: dict[str, list[Any]] = {}
    rest = iter(arrays)
    for group in groups:
        columns = [found.get(slot) for slot in group]
        if not all(isinstance(column, list) for column in columns):
            raise _damaged()
        filled = [
            [next(rest, None) if f else None for f in row] for row in zip(*columns, strict=False)
        ]
        for k, slot in enumerate(group):
            result[slot] = [row[k] for row in filled]
    count = sum(array is not None for column in result.values() for array in column)
    if count != len(arrays) or count != sum(map(sum, found.values())):
        raise CheckpointError(
            f"the file has {len(arrays)} slot arrays, but says of itself that it has others."
        )
    return {slot: result[slot] for slot in found}


def writer_of(own: dict[str, Any]) -> Writer:
    """Return who wrote the state first."""
    match own.get("writer"):
        case [str(system), str() | None as version, str() | None as backend]:
            return Writer(system, version, backend)
    raise _damaged()


def _damaged() -> CheckpointError:
    """Build the error of an attribute that does not say what it should."""
    return CheckpointError("the attribute fastrms is damaged.")


def template_of(read: Callable[[Source], Checkpoint], template: Path) -> Checkpoint:
    """Return what a template holds; what is wrong with it is told under its own name."""
    try:
        return read(Source(template))
    except (CheckpointError, OSError) as error:
        raise CheckpointError(
            f"the template {template} cannot be used: {error} Give a whole file of the format to "
            "be written."
        ) from error


def put_copy(template: Path, file: Any) -> None:
    """Copy a file into an opened one, in parts."""
    with template.open("rb") as source:
        shutil.copyfileobj(source, file, STEP)


def aligned(checkpoint: Checkpoint, known: Checkpoint, where: str) -> Checkpoint:
    """Return a checkpoint in the order and under the names of an existing file's variables."""
    ours, theirs = checkpoint.variables, known.variables
    order = paired(checkpoint, known, where) if len(ours) == len(theirs) else []
    if [ours[i].shape for i in order] != [v.shape for v in theirs]:
        raise CheckpointError(
            f"the template {where} trains {[(v.name, v.shape) for v in theirs][:8]}, the state is "
            f"of {[(v.name, v.shape) for v in ours][:8]}; give a template of the same model."
        )
    if DIALECTS.get(known.dialect or "") is not DIALECTS.get(checkpoint.dialect or ""):
        raise CheckpointError(
            f"the template {where} is of the dialect {known.dialect!r}, the state of "
            f"{checkpoint.dialect!r}; use checkpoint.convert({known.dialect!r}) first."
        )
    slots = {name: [column[i] for i in order] for name, column in checkpoint.slots.items()}
    trained = [checkpoint.weights.get(ours[i].name) for i in order]
    kept = [known.weights.get(v.name) for v in theirs]
    pairs = zip(trained, kept, strict=True)
    if any(a is not None and b is not None and not np.array_equal(a, b) for a, b in pairs):
        warnings.warn(
            f"the model weights in {where} are not those that the state was trained with, and stay "
            "as they are: load the file written, and set the model's trainable weights to the "
            "arrays of checkpoint.weights.",
            PortingWarning,
            stacklevel=5,
        )
    dropped = {k: checkpoint.config[k] for k in ("decay_offset",) if k in checkpoint.config}
    if dropped and checkpoint.config.get("decay"):
        warnings.warn(
            f"{dropped} is not written into a copy of {where}, whose system has no such "
            "argument: it counts as its class and backend do.",
            PortingWarning,
            stacklevel=5,
        )
    return replace(
        checkpoint, variables=theirs, slots=slots, weights=known.weights, notes=[*checkpoint.notes]
    )
