"""Zip archives read by name within bounds: never extracted, never expanded without limit."""

import contextlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.progress import advanced
from fastrms.errors import CheckpointError

_LOCAL = struct.Struct("<4s5H3L2H")
_MOST_MEMBERS = 1 << 20
# Deflated members may grow by this factor, beyond a first part that is free to all together.
_GROWTH, _FREE = 200, 1 << 22
STEP = 1 << 20  # for copies
_CHUNK, _METHODS = 1 << 22, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What `zipfile` raises on damaged archives: of all these, it names only the first.
DAMAGED: tuple[type[Exception], ...] = (zipfile.BadZipFile, EOFError, ValueError, RuntimeError)
COPY = "take a whole copy of the file from where it was written"
DAMAGED += (OverflowError, struct.error, zlib.error)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members are all plain; what is damaged in it is told."""
    try:
        with zipfile.ZipFile(path) as archive:
            require_plain(archive.infolist())
            yield archive
    except CheckpointError:
        raise
    except DAMAGED as error:
        raise CheckpointError(f"the zip archive is damaged ({error}); {COPY}.") from error


class Archive:
    """The members of a zip file.

    Parameters
    ----------
    path : Path
        The file.
    trusted : bool
        Whether compressed members may grow without limit.

    Raises
    ------
    CheckpointError
        The archive is damaged, encrypted, has links, or two members of one name.
    """

    def __init__(self, path: Path, trusted: bool = False) -> None:
        self.path, self.trusted = path, trusted
        with opened(path) as archive:
            self.members = {info.filename: info for info in archive.infolist()}
        if not trusted:
            _require_grown(self.members.values())

    def read(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of one member.

        Raises
        ------
        CheckpointError
            It is missing, damaged, or grows beyond its bounds.
        """
        info = self.members.get(name)
        if info is None:
            raise CheckpointError(f"the zip archive has no member {name!r}.")
        whole = os.path.getsize(self.path)
        if not 0 <= info.header_offset <= whole:
            raise CheckpointError(f"{name!r} lies beyond the end; the archive is damaged.")
        if info.compress_size > whole:
            raise CheckpointError(
                f"{name!r} claims {info.compress_size} bytes of {whole}; damaged."
            )
        if info.compress_type == zipfile.ZIP_STORED:
            return self._stored(info)
        return self._inflated(info)

    def _stored(self, info: zipfile.ZipInfo) -> NDArray[np.uint8]:
        """Read a member that is not compressed straight into its array."""
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            head = file.read(_LOCAL.size)
            if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
                raise CheckpointError(f"{info.filename!r} has no header; the archive is damaged.")
            parts = _LOCAL.unpack(head)
            file.seek(parts[9] + parts[10], os.SEEK_CUR)
            if info.file_size != info.compress_size or info.file_size > os.path.getsize(self.path):
                raise CheckpointError(f"{info.filename!r} lies about its size.")
            raw = np.empty(info.file_size, np.uint8)
            view, at, crc = memoryview(raw.data), 0, 0
            while at < len(view):
                count = file.readinto(view[at : at + _CHUNK])
                if not count:
                    raise CheckpointError(f"the archive ends within {info.filename!r}.")
                crc = zlib.crc32(view[at : at + count], crc)
                at += count
                advanced(count)
        if crc != info.CRC:
            raise CheckpointError(f"the checksum of {info.filename!r} does not match; damaged.")
        return raw

    def _inflated(self, info: zipfile.ZipInfo) -> NDArray[np.uint8]:
        """Read a compressed member, in parts, into memory that grows with what has come."""
        out = bytearray()
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as file:
                while part := file.read(_CHUNK):
                    out += part
                    advanced(len(part))
        except DAMAGED as error:
            raise CheckpointError(f"{info.filename!r} is damaged ({error}); {COPY}.") from error
        if len(out) != info.file_size:
            raise CheckpointError(f"{info.filename!r} has {len(out)}, not {info.file_size} bytes.")
        return np.frombuffer(out, np.uint8)


def _require_grown(members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse members that, alone or together, grow beyond measure."""
    beyond = {i: i.file_size - _GROWTH * i.compress_size for i in members}
    if sum(n for n in beyond.values() if n > 0) > _FREE:
        most = max(beyond, key=beyond.__getitem__)
        raise CheckpointError(
            f"{most.filename!r} claims {most.file_size} bytes from {most.compress_size}, and all "
            f"{len(beyond)} members {sum(i.file_size for i in beyond)}; refused as a compression "
            "bomb. Pass trusted=True if it is not."
        )


def require_plain(listed: list[zipfile.ZipInfo]) -> None:
    """Refuse members of one name, and those that are encrypted, links, or named to lie elsewhere.

    Parameters
    ----------
    listed : list of ZipInfo
        All members of an archive.

    Raises
    ------
    CheckpointError
        There is such a member, or there are more than anybody writes.
    """
    if len({info.filename for info in listed}) != len(listed) or len(listed) > _MOST_MEMBERS:
        raise CheckpointError("the zip archive has two members of one name, or too many; refused.")
    for info in listed:
        name, method = info.filename, info.compress_type
        problems = {
            "leads out": name[:1] == "/" or "\\" in name or ".." in name.split("/"),
            "is a link": stat.S_ISLNK(info.external_attr >> 16),
            "is encrypted": bool(info.flag_bits & 1),
            f"has the unknown compression method {method}": method not in _METHODS,
        }
        if what := [problem for problem, there in problems.items() if there]:
            raise CheckpointError(f"the zip archive's {name[:80]!r} {what[0]}; refused.")
