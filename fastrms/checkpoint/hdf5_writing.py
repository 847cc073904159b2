"""HDF5 files that h5py writes into one of ours, whatever happens to the disk meanwhile."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


class _Enduring:
    """A binary file that keeps its first error to itself: from then on it only seems to be used.

    h5py calls the file's methods from C and, with some versions, cannot bear that they raise: while
    it closes, a full disk came out as a SystemError (h5py 3.16, Python 3.13).
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._file, name)

        def tried(*arguments: Any) -> Any:
            if self.error is None:
                try:
                    return method(*arguments)
                except OSError as error:
                    self.error = error
            return len(arguments[0]) if name in ("write", "readinto") else 0

        return tried


@contextlib.contextmanager
def hdf5_in(file: Any, fresh: bool) -> Iterator[Any]:
    """Open a binary file for h5py to write; raise the file's own error, if any, at the end."""
    import h5py

    enduring = _Enduring(file)
    try:
        with h5py.File(enduring, "w" if fresh else "r+") as h5:
            yield h5
    except Exception:
        if enduring.error is None:
            raise
    if enduring.error is not None:
        raise enduring.error
