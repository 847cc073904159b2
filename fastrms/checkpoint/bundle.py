"""TensorFlow checkpoints as named tensors: `.index` with `.data` shards, and the older one file.

TensorFlow itself is not needed. Every offset, size and shard is checked before memory is taken,
and every tensor's checksum when it is read.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint import wire
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.brain import narrowed
from fastrms.checkpoint.checksum import crc32c, masked
from fastrms.checkpoint.leveldb import read_table, write_table
from fastrms.checkpoint.progress import advanced
from fastrms.checkpoint.tensors import (
    BFLOAT16,
    DTYPES,
    NUMBERS,
    STRING,
    Entry,
    decode,
    encode_text,
    in_memory,
    place,
    read_entry,
    read_extents,
    read_proto,
    read_shape,
    slice_key,
    write_entry,
)
from fastrms.errors import CheckpointError

Array = NDArray[Any]
_LARGEST_INDEX = 1 << 30
# TensorFlow 1.3 reads any bundle whose `min_consumer` is 0.
_VERSION = wire.field(3, wire.field(1, 1))


class _Entries(Mapping[str, Array]):
    """Tensors by name, each described by an entry; a format says how one is read."""

    entries: dict[str, Entry]

    def entry(self, name: str) -> Entry:
        """Return what is known of a tensor, or raise if the file names one that it lacks."""
        if name not in self.entries:
            raise CheckpointError(f"there is no tensor {name[:80]!r} in the file; it is damaged.")
        return self.entries[name]

    def dtype(self, name: str) -> str:
        """Return the name of a tensor's dtype, or `type 99` for one that is not readable."""
        code = self.entry(name).dtype
        return DTYPES.get(code, f"type {code}")

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class Bundle(_Entries):
    """An opened checkpoint: names to tensors, which are read and verified when asked for.

    Parameters
    ----------
    prefix : Path
        The path without `.index`.

    Raises
    ------
    CheckpointError
        A file is missing, cut or damaged.
    """

    def __init__(self, prefix: Path) -> None:
        table = dict(read_table(memoryview(_whole(Path(f"{prefix}.index")))))
        header = wire.gathered(table.pop(b"", memoryview(b"")))
        self.prefix, self.count = prefix, wire.number(header, 1)
        if wire.number(header, 2) != 0 or not 0 < self.count <= 1 << 16:
            raise CheckpointError(
                f"{prefix}.index names {self.count} data files and byte order "
                f"{wire.number(header, 2)}; readable: 1 to 65536 files, order 0 (little-endian)."
            )
        self._stored = {key: read_entry(value) for key, value in table.items()}
        names = {wire.decoded(memoryview(key)): key for key in table if key[:1] != b"\0"}
        self.entries = {name: self._stored[key] for name, key in names.items()}
        self._check_sizes([_size_of(self._shard(k)) for k in range(self.count)])

    def _check_sizes(self, sizes: list[int]) -> None:
        """Refuse tensors that, alone or together, are larger than the files that hold them."""
        total = sum(sizes)
        for entry in self._stored.values():
            inside = entry.shard < len(sizes) and entry.offset + entry.size <= sizes[entry.shard]
            if not inside or entry.nbytes > total:
                raise CheckpointError(
                    f"a tensor of shape {entry.shape} claims bytes {entry.offset} to "
                    f"{entry.offset + entry.size} of data file {entry.shard}; the files have "
                    f"{sizes[:8]} bytes. They are cut or damaged."
                )
        claimed = sum(entry.size for entry in self._stored.values())
        if claimed > total:
            raise CheckpointError(
                f"the tensors claim {claimed} bytes together, the data files have {total}; the "
                "index is damaged."
            )

    def _shard(self, number: int) -> Path:
        """Return the path of one data file."""
        return _shard(self.prefix, number, self.count)

    def __getitem__(self, name: str) -> Array:
        entry = self.entry(name)
        if not entry.slices:
            return self._read(name, entry)
        whole = np.empty(entry.shape, in_memory(entry.dtype, name))
        covered = np.zeros(entry.shape, bool)
        for extents in entry.slices:
            part = self._stored.get(slice_key(name, extents))
            where = place(extents, entry.shape, name)
            if part is None or part.shape != whole[where].shape or part.slices:
                raise CheckpointError(
                    f"the part {extents} of the partitioned tensor {name!r} is missing or has "
                    "another shape; the file is damaged."
                )
            whole[where], covered[where] = self._read(name, part), True
        if not covered.all():
            raise CheckpointError(f"the parts of {name!r} do not fill its shape {entry.shape}.")
        return whole

    def _read(self, name: str, entry: Entry) -> Array:
        """Read the bytes of one tensor into fresh memory."""
        raw = np.empty(entry.size, np.uint8)
        with self._shard(entry.shard).open("rb") as file:
            file.seek(entry.offset)
            if file.readinto(raw.data) != entry.size:
                raise CheckpointError(f"the data file ended within {name!r}.")
        advanced(entry.size)
        return decode(raw, entry, name)


def _shard(prefix: Path, number: int, count: int) -> Path:
    """Return the path of one data file."""
    return Path(f"{prefix}.data-{number:05d}-of-{count:05d}")


def _whole(path: Path) -> bytes:
    """Read an index file."""
    if _size_of(path) > _LARGEST_INDEX:
        raise CheckpointError(f"{path} has {_size_of(path)} bytes; an index has at most 2**30.")
    return path.read_bytes()


def _size_of(path: Path) -> int:
    """Return a file's size."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); a TensorFlow checkpoint is its .index and "
            "all its .data files, kept together."
        ) from None


class OldFile(_Entries):
    """A checkpoint of TensorFlow's first format: one file, values inside the table.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    CheckpointError
        It is cut or damaged.
    """

    def __init__(self, path: Path) -> None:
        table = read_table(memoryview(_whole(path)))
        key, meta = next(table, (b"?", memoryview(b"")))
        if key:
            raise CheckpointError(f"{path} has no list of its tensors; it is damaged.")
        self.entries = {}
        self._parts: dict[str, list[tuple[Any, Any]]] = {}
        for value in wire.gathered(wire.gathered(meta).get(1, [memoryview(b"")])[-1]).get(1, []):
            found = wire.gathered(value)
            shape = read_shape(found.get(2, [memoryview(b"")])[-1])
            self.entries[wire.text(found, 1)] = Entry(wire.number(found, 3), shape)
        for _, value in table:
            found = wire.gathered(wire.gathered(value).get(2, [memoryview(b"")])[-1])
            extents = read_extents(found.get(2, [memoryview(b"")])[-1])
            data = found.get(3, [memoryview(b"")])[-1]
            self._parts.setdefault(wire.text(found, 1), []).append((extents, data))

    def __getitem__(self, name: str) -> Array:
        entry = self.entry(name)
        found = self._parts.get(name, [])
        parts = [(where, read_proto(data, entry.dtype, name)) for where, data in found]
        if sum(values.size for _, values in parts) != math.prod(entry.shape):
            raise CheckpointError(
                f"the values of {name!r} do not fill its shape {entry.shape}; the file is damaged."
            )
        whole = np.empty(entry.shape, in_memory(entry.dtype, name))
        for extents, values in parts:
            where = place(extents, entry.shape, name) if extents else ...
            if whole[where].size != values.size or (len(parts) > 1 and not extents):
                raise CheckpointError(f"a part of {name!r} has another shape; it is damaged.")
            whole[where] = values.reshape(whole[where].shape)
        return whole


def write_bundle(prefix: Path, tensors: Mapping[str, tuple[str, Any]]) -> None:
    """Write a checkpoint; whoever reads finds the old one or the new one, whole.

    The data go to files that no older index names, then the index takes the old one's place, then
    the old data files are removed.

    Parameters
    ----------
    prefix : Path
        The path without `.index`.
    tensors : mapping of str to (dtype, value)
        For dtype ``"string"`` the value is bytes, else an array; ``"bfloat16"`` takes float32.

    Raises
    ------
    CheckpointError
        A dtype has no place in the format, or a value is not exact in it.
    """
    old = _count_of(prefix)
    count = 2 if old == 1 else 1
    entries, offset = [(b"", wire.field(1, count) + _VERSION)], 0
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(replacing(Path(f"{prefix}.index")))
        data, *_ = [stack.enter_context(replacing(_shard(prefix, k, count))) for k in range(count)]
        for name in sorted(tensors, key=str.encode):
            raw, entry = _stored(*tensors[name], name)
            data.write(raw)
            size = memoryview(raw).nbytes
            entry = dataclasses.replace(entry, offset=offset, size=size)
            entries.append((name.encode(), write_entry(entry)))
            offset += size
        index.write(write_table(entries))
    for k in range(old):
        _shard(prefix, k, old).unlink(missing_ok=True)


def _count_of(prefix: Path) -> int:
    """Return how many data files an older index at this place has, 0 if none is readable."""
    try:
        return Bundle(prefix).count
    except CheckpointError:
        return 0


def _stored(dtype: str, value: Any, name: str) -> tuple[Any, Entry]:
    """Return a tensor's bytes, and its entry without a place."""
    if dtype not in NUMBERS:
        raise CheckpointError(f"{name!r} is {dtype}; a TensorFlow file has {sorted(NUMBERS)}.")
    if dtype == STRING:
        raw, checksum = encode_text(value)
        return raw, Entry(NUMBERS[dtype], (), checksum=checksum)
    array = np.asarray(value)
    flat = (
        narrowed(array, repr(name))
        if dtype == BFLOAT16
        else array.astype(dtype, casting="safe", copy=False)
    )
    octets = np.ascontiguousarray(flat).reshape(-1).view(np.uint8)
    return octets, Entry(NUMBERS[dtype], array.shape, checksum=masked(crc32c(octets)))
