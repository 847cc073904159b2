"""A pool of threads that wait, without spinning, for programs to share."""

import atexit
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any

from fastrms.errors import ArgumentError


def _available() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _checked(count: Any, origin: str) -> int:
    """Return a thread count, if it is one."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1024:
        raise ArgumentError(
            f"{origin} is {count!r}; valid: an integer from 1 to 1024. "
            f"This process may use {_available()} processors."
        )
    return count


def _from_environment() -> int:
    """Return the thread count that FASTRMS_NUM_THREADS or the machine asks for."""
    text = os.environ.get("FASTRMS_NUM_THREADS", "").strip()
    if not text:
        return min(_available(), 64)
    return _checked(int(text) if text.isdecimal() else text, "FASTRMS_NUM_THREADS")


# A compiled function, its arguments, and the arrays that these are addresses of.
Job = tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]


class _Worker:
    """One thread, asleep on a lock until there is a program to help with."""

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.ending = False
        self.jobs: list[Job] = []
        self.thread = threading.Thread(target=self._run, daemon=True, name="fastrms")
        self.thread.start()

    def _run(self) -> None:
        """Help with the latest program whenever the gate opens, then forget it."""
        while not self.ending:
            self.gate.acquire()
            with contextlib.suppress(IndexError):
                self._help(self.jobs.pop())

    @staticmethod
    def _help(job: Job) -> None:
        """Help with one program."""
        job[0](*job[1])

    def wake(self, job: Job | None) -> None:
        """Offer a program, or end the thread; one that is still awake looks again by itself."""
        if job is None:
            self.ending = True
        else:
            self.jobs[:] = [job]
        if self.gate.locked():
            # Another thread may open the gate first: the worker is awake, which is all we want.
            with contextlib.suppress(RuntimeError):
                self.gate.release()


class Pool:
    """The process's workers; the calling thread always works too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._count: int | None = None

    @property
    def count(self) -> int:
        """How many threads share a program, the caller included."""
        if self._count is None:
            self._count = _from_environment()
        return self._count

    def resize(self, count: int) -> None:
        """Set how many threads share a program."""
        with self._lock:
            self._count = count
            self._stop(keep=count - 1)

    def offer(self, job: Job) -> None:
        """Wake the workers for a program that its owner is about to open."""
        if len(self._workers) != self.count - 1:
            with self._lock:
                self._stop(keep=self.count - 1)
                while len(self._workers) < self.count - 1:
                    self._workers.append(_Worker())
        for worker in self._workers:
            worker.wake(job)

    def _stop(self, keep: int) -> None:
        """End the workers that are too many."""
        while len(self._workers) > max(keep, 0):
            self._workers.pop().wake(None)

    def forget(self) -> None:
        """Drop the workers: they do not exist in a forked child."""
        self._lock = threading.Lock()
        self._workers = []

    def close(self) -> None:
        """End every worker, at the interpreter's exit."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.wake(None)
        for worker in workers:
            worker.thread.join(timeout=1.0)


pool = Pool()
atexit.register(pool.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)


def set_num_threads(count: int) -> None:
    """Set how many threads share the work of a step.

    Results do not depend on it. The environment variable ``FASTRMS_NUM_THREADS`` sets the initial
    number; without it, it is the number of processors this process may use.

    Parameters
    ----------
    count : int
        From 1 (the calling thread alone) to 1024.

    Raises
    ------
    ArgumentError
        `count` is not such an integer.

    Examples
    --------
    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    """
    pool.resize(_checked(count, "the number of threads"))


def get_num_threads() -> int:
    """Return how many threads share the work of a step, the caller included.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return pool.count
