"""Pickles and object `.npy` files that people made of `get_weights()`: read, never executed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.keras_state import Entry, Found, assemble
from fastrms.checkpoint.npy import read_header, read_plain
from fastrms.checkpoint.opcodes import Machine
from fastrms.checkpoint.pending import Settled
from fastrms.checkpoint.registry import Source
from fastrms.errors import CheckpointError

Array = NDArray[Any]
_TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")  # the number that old torch files begin with


def read(source: Source) -> Checkpoint:
    """Read a list of weights.

    Parameters
    ----------
    source : Source
        The path; `dialect` says whose `get_weights` this was, `variables` what it belongs to.

    Raises
    ------
    CheckpointError
        The file is damaged, or holds what is not data.
    """
    data = source.path.read_bytes()
    if data[2 : 2 + len(_TORCH)] == _TORCH:
        from fastrms.checkpoint import torch

        return torch.read(source)
    if data[:6] == b"\x93NUMPY":
        header, start = read_header(memoryview(data), source.path.name)
        if header.dtype is not None:
            array = read_plain(memoryview(data)[start:], header, source.path.name)
            return from_list([""], [array], "npy", source)
        value, kind = Machine(memoryview(data), start).run(), "npy"
        value = getattr(value, "data", value)
    else:
        value, kind = Machine(memoryview(data)).run(), "pickle"
    content = Settled(4 * len(data))(value)
    names, arrays = flat(content)
    return from_list(names, arrays, kind, source)


def flat(content: Any) -> tuple[list[str], list[Array]]:
    """Return the names and arrays of a list, or of a dict by its keys.

    Raises
    ------
    CheckpointError
        It holds something other than arrays.
    """
    if not isinstance(content, list | dict):
        raise CheckpointError(f"the pickle holds {type(content).__name__}, not a list of arrays.")
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    names, arrays = [], []
    for name, value in pairs:
        array = np.asarray(value) if isinstance(value, int | float | np.ndarray) else None
        if array is None or array.dtype.kind not in "fiub":
            raise CheckpointError(
                f"item {str(name)[:40]!r} of the pickle is {type(value).__name__}, not an array; "
                "readable: a list or dict of arrays, as get_weights() returns."
            )
        names.append(name if isinstance(name, str) else "")
        arrays.append(array)
    return names, arrays


def from_list(names: list[str], arrays: list[Array], kind: str, source: Source) -> Checkpoint:
    """Make a checkpoint of a bare list of weights.

    Parameters
    ----------
    names : list of str
        The names of the arrays, or empty ones.
    arrays : list of numpy.ndarray
        As `get_weights()` returned them.
    kind : str
        The name of the format.
    source : Source
        What the caller knows.
    """
    titles = [name or f"weight {i}" for i, name in enumerate(names)]
    entries = [Entry(t, a, a.dtype.name) for t, a in zip(titles, arrays, strict=True)]
    found = Found(kind, entries, notes=["a bare list of weights: no names and hyperparameters."])
    return assemble(found, source)


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Refuse: pickles are read only."""
    raise CheckpointError(
        "pickles are read, not written, for loading them can run code; write .npz or .safetensors."
    )


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what the format cannot hold; nothing is written at all."""
    return []
