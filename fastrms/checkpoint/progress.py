"""How many bytes have been read or written so far, for whoever shows it."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_watcher: ContextVar[Callable[[int], None] | None] = ContextVar("watcher", default=None)


def advanced(count: int) -> None:
    """Tell the watcher, if there is one, that so many more bytes are done."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(count)


@contextlib.contextmanager
def watched(watcher: Callable[[int], None]) -> Iterator[None]:
    """Call a function with each number of bytes that is read or written in the block.

    Parameters
    ----------
    watcher : callable
        Takes the number of bytes done since the last call.

    Examples
    --------
    >>> with watched(print):
    ...     advanced(3)
    3
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
