"""NumPy's `.npz`: our native format, and what people saved of `get_weights()`, Keras 3 and optax.

The native form is an ordinary `.npz` without pickles: each slot under
``<slot>/<index>/<variable>``, the model's weights under ``weights/...``, and the description of
`fastrms.checkpoint.native` as bytes under ``fastrms``.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint import native
from fastrms.checkpoint.archive import Archive
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.document import Checkpoint, Variable, Writer
from fastrms.checkpoint.keras_state import Entry, Found, assemble
from fastrms.checkpoint.npy import read_header, read_plain
from fastrms.checkpoint.opcodes import Machine
from fastrms.checkpoint.pending import Settled
from fastrms.checkpoint.pickles import flat, from_list
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tables import named, words_of
from fastrms.errors import CheckpointError

Array = NDArray[Any]
_OPTAX = "optax"
_TREE, _TRAINED = "optimizer_variables/", "trainable_variables/"


class _Arrays:
    """The arrays of an archive by name, read when asked for."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.names = [name.removesuffix(".npy") for name in archive.members]

    def __call__(self, name: str) -> Array:
        """Return one array of plain numbers."""
        raw = self.archive.read(f"{name}.npy")
        header, start = read_header(memoryview(raw.data), name)
        if header.dtype is None:
            raise CheckpointError(f"{name!r} holds pickled objects, not numbers.")
        return read_plain(memoryview(raw.data)[start:], header, name)

    def objects(self, name: str) -> Any:
        """Return what a member of pickled objects holds, or None if it holds numbers."""
        raw = self.archive.read(f"{name}.npy")
        header, start = read_header(memoryview(raw.data), name)
        if header.dtype is not None:
            return None
        value = Machine(memoryview(raw.data), start).run()
        return Settled(4 * raw.size)(getattr(value, "data", value))


def read(source: Source) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    source : Source
        The path, and what the caller knows.

    Raises
    ------
    CheckpointError
        The file is damaged, hostile, or holds something else.
    """
    arrays = _Arrays(Archive(source.path, source.trusted))
    names = arrays.names
    if native.KEY in names:
        text = arrays(native.KEY)
        return native.restored(text.tobytes(), arrays, "npz", source)
    if any(name.startswith("opt_state[") for name in names):
        return _optax(arrays, source)
    if any(name.startswith(_TREE) for name in names):
        return _tree(arrays, source)
    content = arrays.objects(names[0]) if len(names) == 1 else None
    if content is not None:
        return from_list(*flat(content), "npz", source)
    if names and all(re.fullmatch(r"arr_\d{1,9}", name) for name in names):
        names = sorted(names, key=lambda name: int(name[4:]))
        return from_list([""] * len(names), [arrays(name) for name in names], "npz", source)
    return from_list(names, [arrays(name) for name in names], "npz", source)


def _entry(arrays: _Arrays, name: str, prefix: str) -> Entry:
    """Return an array under its name without a prefix."""
    array = arrays(name)
    return Entry(name.removeprefix(prefix), array, array.dtype.name)


def _tree(arrays: _Arrays, source: Source) -> Checkpoint:
    """Read a flattened state tree of Keras 3."""
    entries = [_entry(arrays, n, _TREE) for n in arrays.names if n.startswith(_TREE)]
    trained = [_entry(arrays, n, _TRAINED) for n in arrays.names if n.startswith(_TRAINED)]
    found = Found(
        "npz",
        entries,
        weights=trained,
        trained=[trained],
        notes=["a state tree: no hyperparameters but the learning rate."],
        system=named("keras-3"),
    )
    return assemble(found, source)


def _optax(arrays: _Arrays, source: Source) -> Checkpoint:
    """Read the flattened state of an optax chain: paths like ``opt_state[0].nu['a']['b']``."""
    params = {n.removeprefix("params"): n for n in arrays.names if n.startswith("params")}
    words = words_of(_OPTAX)
    slots: dict[str, list[Array | None]] = {}
    iterations, places = None, {key: i for i, key in enumerate(params)}
    for name in arrays.names:
        match = re.fullmatch(r"opt_state(?:\[\d+\])+\.(\w+)(.*)", name)
        if match and match[1] == "count" and not match[2]:
            iterations = int(arrays(name))
        elif match and match[1] in words and match[2] in params:
            column = slots.setdefault(words[match[1]], [None] * len(params))
            column[places[match[2]]] = arrays(name)
        elif match:
            raise CheckpointError(f"{name!r} is not part of the state of optax.rmsprop.")
    weights = {_path(key): arrays(name) for key, name in params.items()}
    notes = ["an optax state holds no hyperparameters: pass those that are not the default."]
    if iterations is None:
        notes.append("no iterations: a schedule restarts at 0.")
    return Checkpoint(
        dialect=source.dialect or _OPTAX,
        writer=Writer(_OPTAX, None, "jax"),
        format="npz",
        config={"centered": True} if "average_gradient" in slots else {},
        iterations=iterations,
        variables=[Variable(n, a.shape, a.dtype.name) for n, a in weights.items()],
        slots=slots,
        weights=weights,
        notes=notes,
    )


def _path(key: str) -> str:
    """Return a name from a path like ``['dense']['kernel']``."""
    return "/".join(re.findall(r"\['?([^\]']*)'?\]", key)) or key


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write our native form.

    Parameters
    ----------
    path : Path
        The file.
    checkpoint : Checkpoint
        What to write.
    template : Path, optional
        Not possible here.

    Raises
    ------
    CheckpointError
        A template was given, or the disk is full.
    """
    if template is not None:
        raise CheckpointError(".npz files take no template; leave template= out.")
    text, arrays = native.described(checkpoint)
    whole: Mapping[str, Array] = {
        native.KEY: np.frombuffer(text.encode("utf-8"), np.uint8),
        **{name: native.exact(dtype, array) for name, (dtype, array) in arrays.items()},
    }
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in whole.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what the format cannot hold: nothing."""
    return []
