"""Protocol-buffer messages as lists of fields, read within bounds and written.

Source: protobuf.dev/programming-guides/encoding. Messages are taken apart one level at a time by
whoever knows their fields, so that no file decides how deep a call goes.
"""

from collections.abc import Iterator
from typing import Any

from fastrms.errors import CheckpointError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Value = Any


def varint(data: memoryview, at: int) -> tuple[int, int]:
    r"""Read one number of 7 bits a byte; return it and the position after it.

    Examples
    --------
    >>> varint(memoryview(b"\xac\x02"), 0)
    (300, 2)
    """
    result = shift = 0
    while at < len(data) and shift < 70:
        octet = data[at]
        at += 1
        result |= (octet & 127) << shift
        if octet < 128:
            if result >> 64:
                break
            return result, at
        shift += 7
    raise CheckpointError(
        f"a number at byte {at} of {len(data)} does not end or does not fit in 64 bits; the file "
        "is damaged."
    )


def signed(value: int) -> int:
    """Return a 64-bit pattern as the signed number that it stands for.

    Examples
    --------
    >>> signed(2**64 - 1)
    -1
    """
    return value - (1 << 64) if value >> 63 else value


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    r"""Yield each field's number and value: an int, or the bytes in it.

    Parameters
    ----------
    data : memoryview
        One message.

    Raises
    ------
    CheckpointError
        The message ends within a field, or has a kind of field that TensorFlow never writes.

    Examples
    --------
    >>> [(n, bytes(v)) for n, v in fields(memoryview(b"\x0a\x01x"))]
    [(1, b'x')]
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
        if kind == _BYTES:
            size, at = varint(data, at)
        if size < 0 or size > len(data) - at:
            raise CheckpointError(
                f"field {number} of kind {kind} at byte {at} claims {size} bytes where "
                f"{len(data) - at} are left; the file is damaged."
            )
        part = data[at : at + size]
        at += size
        yield number, part if kind == _BYTES else int.from_bytes(part, "little")


def gathered(data: Value) -> dict[int, list[Value]]:
    r"""Return a message's values by field number.

    Examples
    --------
    >>> gathered(memoryview(b"\x08\x01\x08\x02"))
    {1: [1, 2]}
    """
    found: dict[int, list[Value]] = {}
    for number, value in fields(message(data)):
        found.setdefault(number, []).append(value)
    return found


def message(value: Value) -> memoryview:
    """Return the bytes of a field that must hold some.

    Raises
    ------
    CheckpointError
        The field holds a number.
    """
    if not isinstance(value, memoryview):
        raise CheckpointError(f"a field holds the number {value}, not bytes; the file is damaged.")
    return value


def number(found: dict[int, list[Value]], field: int, default: int = 0) -> int:
    """Return the last number of a field, as protocol buffers have it.

    Raises
    ------
    CheckpointError
        The field holds bytes.
    """
    value = found.get(field, [default])[-1]
    if not isinstance(value, int):
        raise CheckpointError(f"field {field} holds bytes, not a number; the file is damaged.")
    return value


def text(found: dict[int, list[Value]], field: int) -> str:
    """Return a field's text, empty if there is none.

    Raises
    ------
    CheckpointError
        It is not UTF-8.
    """
    return decoded(found.get(field, [memoryview(b"")])[-1])


def decoded(value: Value) -> str:
    """Return bytes as text.

    Raises
    ------
    CheckpointError
        They are not UTF-8.
    """
    raw = bytes(message(value))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(f"the name {raw[:40]!r} is not UTF-8; the file is damaged.") from None


def as_varint(value: int) -> bytes:
    r"""Write one number of 7 bits a byte; negative ones as 64-bit patterns.

    Examples
    --------
    >>> as_varint(300)
    b'\xac\x02'
    """
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | bytes | str) -> bytes:
    r"""Write one field: a number, text or bytes.

    Examples
    --------
    >>> field(1, "x")
    b'\n\x01x'
    """
    if isinstance(value, int):
        return as_varint(number << 3 | _VARINT) + as_varint(value)
    raw = value.encode("utf-8") if isinstance(value, str) else value
    return as_varint(number << 3 | _BYTES) + as_varint(len(raw)) + raw


def fixed32(number: int, value: int) -> bytes:
    r"""Write a field of four bytes.

    Examples
    --------
    >>> fixed32(6, 1)
    b'5\x01\x00\x00\x00'
    """
    return as_varint(number << 3 | _FIXED32) + value.to_bytes(4, "little")
