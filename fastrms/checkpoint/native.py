"""Our own description of a checkpoint, beside the arrays of an `.npz` or `.safetensors` file.

It is JSON: the fields of `Checkpoint`, with the name of an array wherever one belongs. The format
number rises when an older reader would misread a file.
"""

import json
import re
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.document import Checkpoint, Variable, Writer
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.registry import Source
from fastrms.errors import CheckpointError

Array = NDArray[Any]
FORMAT = 1
KEY = "fastrms"
_PLAIN = ("dialect", "config", "iterations", "loss_scale", "notes", "rule")


def version() -> str | None:
    """Return the version of fastrms, if it is installed."""
    try:
        return metadata.version("fastrms")
    except metadata.PackageNotFoundError:
        return None


def array_key(group: str, index: int, name: str) -> str:
    """Return an array's name in a file, readable and safe as a path.

    Examples
    --------
    >>> array_key("velocity", 0, "dense/../kernel:0")
    'velocity/0/dense/_/kernel:0'
    """
    parts = re.sub(r"[^\w.:/-]", "_", name).split("/")
    safe = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    return f"{group}/{index}/{safe}"


def described(
    checkpoint: Checkpoint, key: Callable[[str, int, str], str] = array_key
) -> tuple[str, dict[str, tuple[str, Array]]]:
    """Return a checkpoint's description, and its arrays with their dtypes, by name.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to describe.
    key : callable, optional
        Gives the name of an array from its group, its index and its variable's name.
    """
    arrays: dict[str, tuple[str, Array]] = {}
    slots: dict[str, list[str | None]] = {}
    for slot, column in checkpoint.slots.items():
        slots[slot] = []
        for i, (variable, array) in enumerate(zip(checkpoint.variables, column, strict=True)):
            name = None if array is None else key(slot, i, variable.name)
            slots[slot].append(name)
            if name is not None and array is not None:
                dtype = variable.dtype if variable.dtype == "bfloat16" else array.dtype.name
                arrays[name] = (dtype, array)
    dtypes = {v.name: v.dtype for v in checkpoint.variables if v.dtype == "bfloat16"}
    weights = {}
    for i, (title, array) in enumerate(checkpoint.weights.items()):
        weights[title] = key("weights", i, title)
        arrays[weights[title]] = (dtypes.get(title, array.dtype.name), array)
    text = json.dumps(
        {
            "format": FORMAT,
            "version": version() or "unknown",
            **{name: getattr(checkpoint, name) for name in _PLAIN},
            "writer": list(checkpoint.writer),
            "variables": [[v.name, list(v.shape), v.dtype] for v in checkpoint.variables],
            "slots": slots,
            "weights": weights,
        },
        allow_nan=False,
    )
    return text, arrays


def restored(text: bytes, arrays: Callable[[str], Array], kind: str, source: Source) -> Checkpoint:
    """Return the checkpoint that a description and its arrays make.

    Parameters
    ----------
    text : bytes
        The description.
    arrays : callable
        Returns an array by its name.
    kind : str
        The name of the format.
    source : Source
        What the caller knows.

    Raises
    ------
    CheckpointError
        The description is damaged, of a newer format, or names arrays that are not there.
    """
    found = parsed(text, "the description of the file")
    if not isinstance(found.get("format"), int):
        raise CheckpointError("the description of the file is damaged.")
    if found["format"] > FORMAT:
        raise CheckpointError(
            f"the file has format {found['format']} of fastrms {found.get('version')}; this "
            f"version reads up to {FORMAT}. Install a newer fastrms."
        )
    try:
        variables = [
            Variable(str(name), tuple(int(n) for n in shape), str(dtype))
            for name, shape, dtype in found["variables"]
        ]
        slots = {
            str(slot): [None if name is None else arrays(name) for name in column]
            for slot, column in found["slots"].items()
        }
        weights = {str(title): arrays(name) for title, name in found["weights"].items()}
        plain = {name: found[name] for name in _PLAIN}
        writer = Writer(*found["writer"])
        if not all(isinstance(note, str) for note in plain["notes"]):
            raise TypeError("notes are not text")
        config = dict(plain.pop("config"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"the description of the file is damaged ({type(error).__name__}: {error})."
        ) from error
    plain["dialect"] = source.dialect or plain["dialect"]
    return Checkpoint(
        writer=writer,
        format=kind,
        config=config,
        variables=renamed(variables, source.variables),
        slots=slots,
        weights=weights,
        **plain,
    )


def renamed(known: list[Variable], given: list[Variable] | None) -> list[Variable]:
    """Give the caller's names to variables of the same shapes."""
    if given is None:
        return known
    if [tuple(v.shape) for v in given] != [v.shape for v in known]:
        raise CheckpointError(
            f"the variables given have the shapes {[v.shape for v in given][:8]}, those of the "
            f"file {[v.shape for v in known][:8]}; give them in the optimizer's order."
        )
    return [v._replace(name=g.name) for v, g in zip(known, given, strict=True)]


def exact(dtype: str, array: Array) -> Array:
    """Return an array as it is written: contiguous, little-endian."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
