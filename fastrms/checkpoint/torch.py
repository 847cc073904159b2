"""PyTorch's `state_dict` files, read without PyTorch: zip archives and the older stream.

Source: torch 2.13 serialization.py (`_save`, `_legacy_save`), optim/rmsprop.py. Storages are read
as bytes; of the pickle inside only the rebuilding of tensors is known by name.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.archive import Archive
from fastrms.checkpoint.brain import widened
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.opcodes import Machine
from fastrms.checkpoint.pending import Name, Settled, listed
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.torch_state import Tensor, checkpoint_of
from fastrms.errors import CheckpointError

Array = NDArray[Any]
_STORAGES: Mapping[str, str] = {
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1"},
    **{"ByteStorage": "<u1", "BoolStorage": "|b1", "BFloat16Storage": "<u2"},
}
_MODULES = ("torch", "torch.storage")
_BRAIN = "BFloat16Storage"
_LEGACY_PICKLES = 5


@dataclass
class _Storage:
    """A run of numbers in the file."""

    kind: str
    key: str
    count: int


@dataclass
class _View:
    """A tensor: a window on a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    bytes_of: Callable[[_Storage], NDArray[np.uint8]]

    def settled(self) -> Tensor:
        """Return the tensor's numbers."""
        numbers = (self.offset, *self.shape, *self.strides)
        whole = all(isinstance(n, int) and n >= 0 for n in numbers)
        if not whole or len(self.shape) != len(self.strides) or len(self.shape) > 32:
            raise CheckpointError(f"a tensor has shape {self.shape[:8]}; the file is damaged.")
        raw = self.bytes_of(self.storage)
        dtype = np.dtype(_STORAGES[self.storage.kind])
        if raw.size != self.storage.count * dtype.itemsize:
            raise CheckpointError(
                f"storage {self.storage.key!r} has {raw.size} bytes, not {self.storage.count} "
                f"numbers of {dtype}; the file is damaged."
            )
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in steps)
        size = math.prod(self.shape)
        if size and (last >= self.storage.count or size > self.storage.count):
            raise CheckpointError(
                f"a tensor of shape {self.shape} reaches beyond its storage of "
                f"{self.storage.count} numbers; the file is damaged."
            )
        flat = raw.view(dtype)[self.offset :] if size else np.empty(0, dtype)
        pairs = zip(self.shape, self.strides, strict=True)
        strides = [step * dtype.itemsize if n > 1 and size else 0 for n, step in pairs]
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        brain = self.storage.kind == _BRAIN
        array = widened(view) if brain else np.array(view, dtype.newbyteorder("="))
        return array.view(Tensor) if not brain else _marked(array)


def _marked(array: Array) -> Tensor:
    """Return float32 numbers that stand for bfloat16."""
    found = array.view(Tensor)
    found.dtype_there = "bfloat16"
    return found


def _known(name: Name) -> bool:
    """Whether a global names a kind of storage."""
    return name.module in _MODULES and name.name in _STORAGES


def _storage(identity: Any) -> _Storage:
    """Read a persistent identifier: "storage", kind, key, place, count."""
    parts = listed(identity)
    if len(parts) not in (5, 6) or parts[0] != "storage" or not isinstance(parts[1], Name):
        raise CheckpointError("the pickle refers to something other than a storage.")
    if not isinstance(parts[2], str) or not isinstance(parts[4], int) or parts[4] < 0:
        raise CheckpointError("a storage has no key or size; the file is damaged.")
    if len(parts) == 6 and parts[5] is not None:
        raise CheckpointError("a storage is a view of another (torch before 0.4); not readable.")
    return _Storage(parts[1].name, parts[2], parts[4])


def _machine(
    data: memoryview, at: int, bytes_of: Callable[[_Storage], NDArray[np.uint8]]
) -> Machine:
    """Return a reader that knows tensors."""

    def rebuilt(args: tuple[Any, ...]) -> _View:
        if len(args) < 4 or not isinstance(args[0], _Storage):
            raise CheckpointError("a tensor has no storage; the file is damaged.")
        return _View(args[0], args[1], tuple(listed(args[2])), tuple(listed(args[3])), bytes_of)

    calls: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
        ("torch._utils", "_rebuild_tensor_v2"): rebuilt,
        ("torch._utils", "_rebuild_parameter"): lambda args: args[0],
    }
    return Machine(data, at, calls, _known, _storage)


def read(source: Source) -> Checkpoint:
    """Read a state_dict of `torch.optim.RMSprop`, alone or in a dict with the model's.

    Parameters
    ----------
    source : Source
        The path, and what the caller knows.

    Raises
    ------
    CheckpointError
        The file is damaged, or holds what is not data.
    """
    with source.path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    content = _from_zip(source) if zipped else _from_stream(source.path)
    return checkpoint_of(content, "torch", source)


def _from_zip(source: Source) -> Any:
    """Read the form of torch 1.6 and later."""
    archive = Archive(source.path, source.trusted)
    names = [n for n in archive.members if re.fullmatch(r"(?:[^/]+/)?data\.pkl", n)]
    if len(names) != 1:
        raise CheckpointError("the zip archive has no data.pkl; it is not a torch file.")
    stem = names[0].removesuffix("data.pkl")
    order = f"{stem}byteorder"
    if order in archive.members and archive.read(order).tobytes() != b"little":
        raise CheckpointError("the file's numbers are big-endian, which is not readable.")
    read: dict[str, NDArray[np.uint8]] = {}

    def bytes_of(storage: _Storage) -> NDArray[np.uint8]:
        if storage.key not in read:
            read[storage.key] = archive.read(f"{stem}data/{storage.key}")
        return read[storage.key]

    pickled = archive.read(names[0])
    value = _machine(memoryview(pickled.data), 0, bytes_of).run()
    total = sum(info.file_size for info in archive.members.values())
    return Settled(4 * total)(value)


def _from_stream(path: Path) -> Any:
    """Read the older form: five pickles, then each storage's size and bytes."""
    data = memoryview(path.read_bytes())
    found: dict[str, NDArray[np.uint8]] = {}
    kinds: dict[str, _Storage] = {}
    values, at = [], 0

    def bytes_of(storage: _Storage) -> NDArray[np.uint8]:
        kinds[storage.key] = storage
        return found[storage.key]

    def noted(identity: Any) -> _Storage:
        storage = _storage(identity)
        return kinds.setdefault(storage.key, storage)

    for _ in range(_LEGACY_PICKLES):
        machine = _machine(data, at, bytes_of)
        machine.load = noted
        values.append(machine.run())
        at = machine.at
    system, content, keys = values[2:]
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("the file's numbers are not little-endian, or it is damaged.")
    for key in listed(keys):
        if key not in kinds:
            raise CheckpointError(f"storage {key!r} is not used; the file is damaged.")
        count = int.from_bytes(data[at : at + 8], "little")
        size = count * np.dtype(_STORAGES[kinds[key].kind]).itemsize
        if size > len(data) - at - 8:
            raise CheckpointError(f"storage {key!r} claims {size} bytes; the file is cut.")
        found[key] = np.frombuffer(data[at + 8 : at + 8 + size], np.uint8)
        at += 8 + size
    if missing := set(kinds) - set(found):
        raise CheckpointError(f"the storages {sorted(missing)[:5]} are missing; the file is cut.")
    return Settled(4 * len(data))(content)


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Refuse: `.pt` files are read only."""
    raise CheckpointError(
        "torch's .pt files are read, not written; write .safetensors, which torch users load with "
        "safetensors.torch.load_file (see docs/checkpoints.md)."
    )


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what the format cannot hold; nothing is written at all."""
    return []
