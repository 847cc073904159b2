"""Streams on which nothing happens before somebody waits for it."""

from __future__ import annotations

from collections.abc import Callable


class Stream:
    """What is queued on a stream, and how much of it has happened."""

    def __init__(self) -> None:
        self.queue: list[Callable[[], None]] = []
        self.begun = 0

    def drain(self, until: int) -> None:
        """Let what was queued first happen; what an error stops does not happen again."""
        while self.begun < until:
            self.begun += 1
            self.queue[self.begun - 1]()
