"""LevelDB's sorted table, the container of TensorFlow's checkpoints: read and written.

Source: LevelDB's doc/table_format.md; Snappy's format_description.txt. Names in the table are
bounded, blocks may not overlap, and every block's checksum is verified.
"""

import struct
from collections.abc import Iterator, Sequence

from fastrms.checkpoint.checksum import crc32c, masked
from fastrms.checkpoint.wire import as_varint, varint
from fastrms.errors import CheckpointError

MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_PLAIN, _SNAPPY = 0, 1
_LONGEST_KEY = 1 << 16
# Names share their beginnings; together they may be so much longer than the file.
_SHARED, _FREE = 64, 1 << 20
_BLOCK = 4096
_RESTART_EVERY = 16


def is_table(tail: bytes) -> bool:
    """Whether the last bytes of a file are those of a table.

    Examples
    --------
    >>> is_table(b"PK")
    False
    """
    return tail[-8:] == struct.pack("<Q", MAGIC)


def read_table(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys of a table, in order, with their values.

    Parameters
    ----------
    data : memoryview
        The whole file.

    Raises
    ------
    CheckpointError
        The table is cut, damaged, out of order, or lies about a size.
    """
    if len(data) < _FOOTER or not is_table(bytes(data[-8:])):
        raise CheckpointError(
            f"a file of {len(data)} bytes does not end as a TensorFlow checkpoint's index does; it "
            "is cut or of another kind."
        )
    footer, body = data[-_FOOTER:], data[:-_FOOTER]
    at = varint(footer, varint(footer, 0)[1])[1]
    index = _block(body, *_handle(footer, at), "index")
    free, last, total = 0, b"", 0
    most = _FREE + _SHARED * len(data)
    for _, handle in _entries(index):
        offset, size = _handle(handle, 0)
        if offset < free:
            raise CheckpointError("two blocks of the index overlap; the file is damaged.")
        free = offset + size + _TRAILER
        for key, value in _entries(_block(body, offset, size, "data")):
            total += len(key)
            if (last and key <= last) or total > most:
                raise CheckpointError(
                    f"the names in the index are not in order or exceed {most} bytes at "
                    f"{key[:40]!r}; the file is damaged."
                )
            last = key
            yield key, value


def _handle(data: memoryview, at: int) -> tuple[int, int]:
    """Read where a block lies: its offset and size."""
    offset, at = varint(data, at)
    return offset, varint(data, at)[0]


def _block(body: memoryview, offset: int, size: int, what: str) -> memoryview:
    """Return the verified, uncompressed content of one block."""
    end = offset + size
    if end + _TRAILER > len(body):
        raise CheckpointError(
            f"a {what} block claims bytes {offset} to {end} of a table of {len(body)}; the file is "
            "cut or damaged."
        )
    (expected,) = struct.unpack("<I", body[end + 1 : end + _TRAILER])
    if masked(crc32c(body[offset : end + 1])) != expected:
        raise CheckpointError(
            f"the checksum of the {what} block at byte {offset} does not match; it is damaged."
        )
    if body[end] == _PLAIN:
        return body[offset:end]
    if body[end] == _SNAPPY:
        return memoryview(unsnap(body[offset:end]))
    raise CheckpointError(
        f"a {what} block is compressed by method {body[end]}; readable: 0 (plain), 1 (Snappy)."
    )


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the entries of a block, whose keys share their beginnings."""
    count = int.from_bytes(block[-4:], "little") if len(block) >= 4 else len(block)
    end = len(block) - 4 - 4 * count
    if end < 0:
        raise CheckpointError(
            f"a block of {len(block)} bytes claims {count} restart points; the file is damaged."
        )
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or shared + fresh > _LONGEST_KEY or fresh + size > end - at:
            raise CheckpointError(
                f"an entry of the index claims {shared} + {fresh} bytes of name and {size} of "
                f"content where {end - at} are left; the file is damaged."
            )
        key = key[:shared] + bytes(block[at : at + fresh])
        at += fresh + size
        yield key, block[at - size : at]


def unsnap(data: memoryview) -> bytes:
    r"""Return what a Snappy block holds.

    Parameters
    ----------
    data : memoryview
        The compressed bytes.

    Raises
    ------
    CheckpointError
        The block lies about its size or copies from before its start.

    Examples
    --------
    >>> unsnap(memoryview(b"\x04\x04ab\x06\x02\x00"))
    b'abab'
    """
    size, at = varint(data, 0)
    out = bytearray()
    # The densest element makes 64 bytes of three.
    if size > 22 * len(data) + 64:
        raise CheckpointError(
            f"a compressed block of {len(data)} bytes claims to hold {size}; the file is damaged."
        )
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length, at = _literal(data, tag >> 2, at)
            out += data[at : at + length]
            at += length
        else:
            wide = (1, 2, 4)[(tag & 3) - 1]
            distance = int.from_bytes(data[at : at + wide], "little")
            length = (tag >> 2) + 1
            if wide == 1:
                distance, length = distance | tag >> 5 << 8, (tag >> 2 & 7) + 4
            if not 0 < distance <= len(out) or at + wide > len(data):
                raise CheckpointError("a compressed block copies from outside; it is damaged.")
            start = len(out) - distance
            repeats = -(-length // distance)
            out += (bytes(out[start : start + length]) * repeats)[:length]
            at += wide
        if len(out) > size:
            break
    if len(out) != size:
        raise CheckpointError(
            f"a compressed block holds {len(out)} bytes where it claims {size}; it is damaged."
        )
    return bytes(out)


def _literal(data: memoryview, code: int, at: int) -> tuple[int, int]:
    """Return the length of a run of plain bytes, and where it starts."""
    length = code + 1
    if code >= 60:
        wide = code - 59
        length, at = int.from_bytes(data[at : at + wide], "little") + 1, at + wide
    if length > len(data) - at:
        raise CheckpointError("a compressed block ends within a run of bytes; it is damaged.")
    return length, at


def write_table(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a table of entries, given in ascending order of their keys.

    Parameters
    ----------
    entries : sequence of (bytes, bytes)
        Keys, each greater than the one before, and values.

    Examples
    --------
    >>> table = memoryview(write_table([(b"a", b"1"), (b"ab", b"2")]))
    >>> [(key, bytes(value)) for key, value in read_table(table)]
    [(b'a', b'1'), (b'ab', b'2')]
    """
    out, index = bytearray(), []
    part: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in entries:
        part.append((key, value))
        size += len(key) + len(value)
        if size >= _BLOCK:
            index.append((key, _append(out, part)))
            part, size = [], 0
    if part:
        index.append((part[-1][0], _append(out, part)))
    meta = _append(out, [])
    footer = (meta + _append(out, index)).ljust(_FOOTER - 8, b"\0")
    return bytes(out + footer + struct.pack("<Q", MAGIC))


def _append(out: bytearray, entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Append one block to the file; return its handle."""
    body, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % _RESTART_EVERY == 0:
            restarts.append(len(body))
        else:
            shared = _in_common(last, key)
        body += as_varint(shared) + as_varint(len(key) - shared) + as_varint(len(value))
        body += key[shared:] + value
        last = key
    restarts = restarts or [0]
    body += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    handle = as_varint(len(out)) + as_varint(len(body))
    body.append(_PLAIN)
    out += body + struct.pack("<I", masked(crc32c(body)))
    return handle


def _in_common(one: bytes, other: bytes) -> int:
    """Return how many bytes two names share at their beginning."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))
