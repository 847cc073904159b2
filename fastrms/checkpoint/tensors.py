"""What TensorFlow's files say about one tensor: dtype, shape, place, parts, values.

Source: tensorflow/core/protobuf/tensor_bundle.proto, framework/tensor.proto and types.proto,
util/saved_tensor_slice.proto, lib/strings/ordered_code.cc.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint import wire
from fastrms.checkpoint.brain import widened
from fastrms.checkpoint.checksum import crc32c, masked
from fastrms.errors import CheckpointError

Array = NDArray[Any]
Extents = tuple[tuple[int, int], ...]

BFLOAT16, STRING = "bfloat16", "string"
DTYPES: Mapping[int, str] = {
    **{1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64"},
    **{10: "bool", 14: BFLOAT16, 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64"},
    7: STRING,
}
NUMBERS = {name: number for number, name in DTYPES.items()}
# The fields of a TensorProto that hold numbers: whole lists, or one by one.
_CONTENT = 4
_VALUES: Mapping[str, tuple[int, str]] = {
    **{"float32": (5, "<f4"), "float64": (6, "<f8"), "int64": (10, ""), "bool": (11, "")},
    **{name: (7, "") for name in ("int32", "uint8", "int16", "int8", "uint16")},
}


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies, and what it is."""

    dtype: int
    shape: tuple[int, ...]
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    slices: tuple[Extents, ...] = ()

    @property
    def nbytes(self) -> int:
        """The bytes of all its numbers."""
        known = DTYPES.get(self.dtype, STRING)
        width = 2 if known == BFLOAT16 else 1 if known == STRING else np.dtype(known).itemsize
        return math.prod(self.shape) * width


def read_shape(data: wire.Value) -> tuple[int, ...]:
    """Read a TensorShapeProto.

    Raises
    ------
    CheckpointError
        A size is negative or unknown, or there are more than 32.
    """
    found = wire.gathered(data)
    sizes = [wire.signed(wire.number(wire.gathered(dim), 1)) for dim in found.get(2, [])]
    if wire.number(found, 3) or min(sizes, default=0) < 0 or len(sizes) > 32:
        raise CheckpointError(f"a tensor claims the shape {tuple(sizes[:40])}; sizes are >= 0.")
    return tuple(sizes)


def read_extents(data: wire.Value) -> Extents:
    """Read a TensorSliceProto: start and length for each axis, the length -1 for all of it."""
    result = []
    for extent in wire.gathered(data).get(1, []):
        found = wire.gathered(extent)
        result.append((wire.number(found, 1), wire.number(found, 2) if 2 in found else -1))
    return tuple(result)


def read_entry(value: memoryview) -> Entry:
    """Read a BundleEntryProto."""
    found = wire.gathered(value)
    return Entry(
        dtype=wire.number(found, 1),
        shape=read_shape(found.get(2, [memoryview(b"")])[-1]),
        shard=wire.number(found, 3),
        offset=wire.number(found, 4),
        size=wire.number(found, 5),
        checksum=wire.number(found, 6),
        slices=tuple(read_extents(part) for part in found.get(7, [])),
    )


def write_entry(entry: Entry) -> bytes:
    """Write a BundleEntryProto."""
    sizes = b"".join(wire.field(2, wire.field(1, size)) for size in entry.shape)
    numbers = ((3, entry.shard), (4, entry.offset), (5, entry.size))
    return (
        wire.field(1, entry.dtype)
        + wire.field(2, sizes)
        + b"".join(wire.field(k, n) for k, n in numbers if n)
        + wire.fixed32(6, entry.checksum)
    )


def in_memory(number: int, name: str) -> np.dtype[Any]:
    """Return the dtype that a tensor of numbers has in memory.

    Raises
    ------
    CheckpointError
        It is text or of a type that is not readable.
    """
    known = DTYPES.get(number, STRING)
    if known == STRING:
        raise CheckpointError(
            f"tensor {name!r} has TensorFlow's type {number}; readable: {sorted(DTYPES)}, 7 only "
            "where text belongs."
        )
    return np.dtype(np.float32 if known == BFLOAT16 else known)


def decode(raw: NDArray[np.uint8], entry: Entry, name: str) -> Array:
    """Return the tensor in these bytes, checked; text as objects, bfloat16 as float32.

    Raises
    ------
    CheckpointError
        Size, dtype or checksum do not fit.
    """
    if DTYPES.get(entry.dtype) == STRING:
        return _texts(raw.data, entry, name)
    kind = in_memory(entry.dtype, name)
    if entry.nbytes != raw.size:
        raise CheckpointError(
            f"tensor {name!r} of shape {entry.shape} and {DTYPES[entry.dtype]} has {entry.nbytes} "
            f"bytes, not {raw.size}; the index is damaged."
        )
    _verify(crc32c(raw), entry, name)
    return plain(raw, DTYPES[entry.dtype], kind).reshape(entry.shape)


def plain(raw: NDArray[np.uint8], dtype: str, kind: np.dtype[Any]) -> Array:
    """Return bytes as numbers."""
    return widened(raw.view("<u2")) if dtype == BFLOAT16 else raw.view(kind)


def _verify(found: int, entry: Entry, name: str) -> None:
    """Compare a checksum."""
    if masked(found) != entry.checksum:
        raise CheckpointError(f"the checksum of tensor {name!r} does not match; it is damaged.")


def _texts(raw: memoryview, entry: Entry, name: str) -> Array:
    """Read a tensor of text: the lengths, their checksum, then the bytes."""
    count = math.prod(entry.shape)
    if count > len(raw):
        raise CheckpointError(f"tensor {name!r} claims {count} texts in {len(raw)} bytes.")
    at, lengths = 0, []
    for _ in range(count):
        length, at = wire.varint(raw, at)
        lengths.append(length)
    if at + 4 + sum(lengths) != len(raw):
        raise CheckpointError(f"the texts of {name!r} do not fill its {len(raw)} bytes.")
    crc = crc32c(_coded(lengths))
    if struct.pack("<I", masked(crc)) != raw[at : at + 4]:
        raise CheckpointError(f"the checksum of the lengths of {name!r} does not match.")
    _verify(crc32c(raw[at:], crc), entry, name)
    at += 4
    texts = np.empty(count, object)
    for i, length in enumerate(lengths):
        texts[i] = bytes(raw[at : at + length])
        at += length
    return texts.reshape(entry.shape)


def _coded(lengths: list[int]) -> bytes:
    """Return lengths as they enter the checksum: in 4 or 8 bytes, not as they are stored."""
    return b"".join(struct.pack("<I" if n < 1 << 32 else "<Q", n) for n in lengths)


def encode_text(text: bytes) -> tuple[bytes, int]:
    """Return the bytes and the masked checksum of a scalar text.

    Examples
    --------
    >>> encode_text(b"")[0].hex()
    '00a67b113a'
    """
    crc = crc32c(_coded([len(text)]))
    tail = struct.pack("<I", masked(crc)) + text
    return wire.as_varint(len(text)) + tail, masked(crc32c(tail, crc))


def place(extents: Extents, shape: tuple[int, ...], name: str) -> tuple[slice, ...]:
    """Return the part of an array that a slice names.

    Raises
    ------
    CheckpointError
        It lies outside.
    """
    if len(extents) != len(shape):
        raise CheckpointError(f"a part of {name!r} has {len(extents)} axes, not {len(shape)}.")
    found = []
    for (start, length), size in zip(extents, shape, strict=True):
        stop = size if wire.signed(length) < 0 else start + length
        if not start <= stop <= size:
            raise CheckpointError(f"a part of {name!r} spans {start} to {stop} of {size}.")
        found.append(slice(start, stop))
    return tuple(found)


def slice_key(name: str, extents: Extents) -> bytes:
    """Return the key of one part of a partitioned tensor, in TensorFlow's ordered code.

    Examples
    --------
    >>> slice_key("a", ((0, 2),)).hex()
    '0061000101018082'
    """
    numbers = b"".join(_ordered(wire.signed(n)) for extent in extents for n in extent)
    raw = name.encode().replace(b"\0", b"\0\xff")
    return b"\0" + raw + b"\0\1" + _counted(len(extents)) + numbers


def _counted(value: int) -> bytes:
    """Write one number >= 0: how many bytes, then the bytes."""
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(raw)]) + raw


def _ordered(value: int) -> bytes:
    """Write one signed number so that bytes sort as the numbers do."""
    size = value if value >= 0 else ~value
    wide = 1
    while size >> (7 * wide - 1):
        wide += 1
    mask = 1 << (8 * wide)
    header = (mask - 1) ^ ((1 << (8 * wide - wide)) - 1)
    return ((value % mask) ^ header).to_bytes(wide, "big")


def read_proto(data: wire.Value, number: int, name: str) -> Array:
    """Read the numbers of a TensorProto, as the older files hold them: flat, without a dtype.

    Raises
    ------
    CheckpointError
        Its dtype is not readable or its fields do not fit it.
    """
    found = wire.gathered(data)
    kind, known = in_memory(number, name), DTYPES[number]
    if _CONTENT in found:
        content = np.frombuffer(wire.message(found[_CONTENT][-1]), np.uint8)
        return plain(content[: content.size // kind.itemsize * kind.itemsize], known, kind)
    if known not in _VALUES:
        raise CheckpointError(f"tensor {name!r} holds {known} in a form that is not readable.")
    field, packed = _VALUES[known]
    values = []
    for part in found.get(field, []):
        if isinstance(part, int):
            raise CheckpointError(f"tensor {name!r} is not packed; the file is damaged.")
        values.append(np.frombuffer(part, packed) if packed else _varints(part))
    return np.concatenate(values or [np.empty(0, kind)]).astype(kind)


def _varints(part: memoryview) -> NDArray[np.int64]:
    """Read packed numbers of 7 bits a byte."""
    at, values = 0, []
    while at < len(part):
        value, at = wire.varint(part, at)
        values.append(wire.signed(value))
    return np.array(values, np.int64)
