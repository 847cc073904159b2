"""Files that appear whole or not at all."""

import contextlib
import ctypes
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from fastrms.errors import CheckpointError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of `path` when the block ends without an error.

    The file is written in the same folder, forced to the disk, renamed, and the folder forced to
    the disk too: a process killed at any moment, a full disk or an exception leaves the old file
    as it was. Permissions of an existing file are kept, and a symbolic link stays one.

    Parameters
    ----------
    path : str or path
        The file to write.

    Yields
    ------
    binary file
        To write to and to seek in.

    Raises
    ------
    CheckpointError
        The folder does not exist or may not be written, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with replacing(Path(folder.name) / "a") as file:
    ...     _ = file.write(b"whole")
    >>> (Path(folder.name) / "a").read_bytes()
    b'whole'
    >>> folder.cleanup()
    """
    target = Path(os.path.realpath(path))
    try:
        number, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written ({error.strerror}); give a path in a folder that exists "
            "and may be written to."
        ) from error
    try:
        with open(number, "w+b") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fchmod(number, _mode(target))
            os.fsync(number)
        os.replace(name, target)
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({error.strerror}); an older file there is unchanged."
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    force(target.parent)


def _mode(target: Path) -> int:
    """Return the permissions of the file to be replaced, or those of any new file."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def force(folder: Path) -> None:
    """Write a folder's names to the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def exchange(one: Path, other: Path) -> None:
    """Let two paths change places in one step, as Linux can (renameat2 with RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    here, exchanging = -100, 2  # AT_FDCWD and RENAME_EXCHANGE in linux/fs.h
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchanging):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
