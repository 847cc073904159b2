"""`.safetensors`: our native form, and the state of PyTorch's RMSprop in its own names.

Source: the format's README (huggingface/safetensors): the length of a JSON header in 8 bytes, the
header, then the bytes of all tensors without gaps. It is read and written here because bfloat16
would otherwise need another package, and because each refusal shall name what is wrong.

Our tensors are named ``optimizer.<slot>.<index>.<variable>`` and ``model.<name>``; the metadata
has the description of `fastrms.checkpoint.native` under ``fastrms``. A checkpoint of the torch
dialect is written as ``optimizer.state.<i>.<slot>`` and ``optimizer.state.<i>.step``, with
``optimizer.param_groups`` in the metadata, from which a state_dict is put together.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint import native
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.brain import narrowed, widened
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.progress import advanced
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.torch_state import Tensor, checkpoint_of, groups_of
from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError

Array = NDArray[Any]
_DTYPES: Mapping[str, str] = {
    **{"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16", "BOOL": "bool"},
    **{f"{k}{n}": f"{w}{n}" for k, w in (("I", "int"), ("U", "uint")) for n in (8, 16, 32, 64)},
}
_CODES = {name: code for code, name in _DTYPES.items()}
_LONGEST_HEADER = 100_000_000
_GROUPS, _STATE, _MODEL = "optimizer.param_groups", "optimizer.state.", "model."
_TORCH = ("torch",)


class _Place(NamedTuple):
    """Where a tensor lies."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class _File:
    """An opened file: its metadata, and tensors that are read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, _LONGEST_HEADER):
                raise CheckpointError(
                    f"the header claims {length} bytes in a file of {size}; it is cut or damaged."
                )
            header = parsed(file.read(length), "the header")
        self.first = 8 + length
        metadata = header.pop("__metadata__", {})
        plain = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
        if not plain:
            raise CheckpointError("the metadata is not text by name; the file is damaged.")
        self.metadata: dict[str, str] = metadata
        self.places = {name: _place(name, value) for name, value in header.items()}
        end = 0
        for name, place in sorted(self.places.items(), key=lambda pair: pair[1].start):
            if place.start != end:
                raise CheckpointError(f"tensor {name!r} overlaps another or leaves a gap.")
            end = place.stop
        if end != size - self.first:
            raise CheckpointError(
                f"the tensors have {end} bytes, {size - self.first} follow the header; the file "
                "is cut or damaged."
            )

    def __call__(self, name: str) -> Array:
        """Read one tensor; bfloat16 as float32."""
        place = self.places.get(name)
        if place is None:
            raise CheckpointError(f"there is no tensor {name!r} in the file.")
        raw = np.empty(place.stop - place.start, np.uint8)
        with self.path.open("rb") as file:
            file.seek(self.first + place.start)
            if file.readinto(raw.data) != raw.size:
                raise CheckpointError(f"the file ended within {name!r}.")
        advanced(raw.size)
        if place.dtype == "bfloat16":
            return widened(raw.view("<u2")).reshape(place.shape)
        return raw.view(np.dtype(place.dtype).newbyteorder("<")).reshape(place.shape)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor that remembers its dtype."""
        found = self(name).view(Tensor)
        found.dtype_there = self.places[name].dtype
        return found


def _place(name: str, value: Any) -> _Place:
    """Check one entry of the header."""
    try:
        dtype = _DTYPES[value["dtype"]]
        shape, (start, stop) = tuple(value["shape"]), value["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"tensor {name[:60]!r} is described as {str(value)[:80]}; readable dtypes: "
            f"{', '.join(_DTYPES)}."
        ) from error
    numbers = (*shape, start, stop)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    width = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    if not whole or len(shape) > 32 or math.prod(shape) * width != stop - start:
        raise CheckpointError(
            f"tensor {name[:60]!r} of shape {shape[:8]} and {dtype} cannot lie at {start} to "
            f"{stop}; the file is damaged."
        )
    return _Place(dtype, shape, start, stop)


def read(source: Source) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    source : Source
        The path, and what the caller knows.

    Raises
    ------
    CheckpointError
        The file is damaged, or is in nobody's naming.
    """
    file = _File(source.path)
    if native.KEY in file.metadata:
        text = file.metadata[native.KEY].encode("utf-8")
        return native.restored(text, file, "safetensors", source)
    return checkpoint_of(_state_dict(file), "safetensors", source)


def _state_dict(file: _File) -> dict[str, Any]:
    """Put torch's state_dicts together from the names of tensors."""
    states: dict[int, dict[str, Any]] = {}
    model = {}
    for name in file.places:
        number, _, word = name.removeprefix(_STATE).partition(".")
        if name.startswith(_STATE) and number.isdecimal() and len(number) < 10 and word:
            states.setdefault(int(number), {})[word] = file.tensor(name)
        else:
            model[name.removeprefix(_MODEL)] = file.tensor(name)
    if not states:
        return {"model": model}
    if _GROUPS not in file.metadata:
        raise CheckpointError(
            f"the metadata has no {_GROUPS!r}, so that the order of the states is unknown."
        )
    # The list is wrapped, for only objects are parsed.
    groups = parsed(f'{{"groups": {file.metadata[_GROUPS]}}}', _GROUPS)["groups"]
    if not isinstance(groups, list) or not all(isinstance(g, dict) for g in groups):
        raise CheckpointError(f"{_GROUPS!r} is not a list of groups; the file is damaged.")
    return {"model": model, "optimizer": {"state": states, "param_groups": groups}}


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write our native form; for the torch dialect, in torch's names.

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
        raise CheckpointError(".safetensors files take no template; leave template= out.")
    torch = checkpoint.dialect in _TORCH and checkpoint.rule == "RMSprop"
    words = DIALECTS[_TORCH[0]].slot_names

    def key(group: str, index: int, name: str) -> str:
        if group == "weights":
            return f"{_MODEL}{name}"
        return f"{_STATE}{index}.{words[group]}" if torch else f"optimizer.{group}.{index}.{name}"

    text, arrays = native.described(checkpoint, key)
    metadata = {"format": "pt" if torch else "fastrms", native.KEY: text}
    if torch:
        step = np.array(checkpoint.iterations or 0, np.float32)
        owners = {int(name[len(_STATE) :].partition(".")[0]) for name in arrays if _STATE in name}
        arrays |= {f"{_STATE}{i}.step": ("float32", step) for i in sorted(owners)}
        metadata[_GROUPS] = json.dumps(groups_of(checkpoint))
    _write(path, metadata, arrays)


def _write(
    path: Path, metadata: Mapping[str, str], arrays: Mapping[str, tuple[str, Array]]
) -> None:
    """Write tensors, the widest dtypes first, so that each lies aligned."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, at = [], 0
    ordered = sorted(arrays.items(), key=lambda p: -np.dtype(p[1][1].dtype).itemsize)
    for name, (dtype, array) in ordered:
        if dtype not in _CODES:
            raise CheckpointError(f"{name!r} is {dtype}; the format has {', '.join(_CODES)}.")
        flat = narrowed(array, name) if dtype == "bfloat16" else native.exact(dtype, array)
        stop = at + flat.nbytes
        header[name] = {
            "dtype": _CODES[dtype],
            "shape": list(array.shape),
            "data_offsets": [at, stop],
        }
        parts.append(flat)
        at = stop
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for flat in parts:
            file.write(np.ascontiguousarray(flat).reshape(-1).view(np.uint8).data)


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what the format cannot hold: nothing."""
    return []
