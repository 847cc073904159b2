"""The locks under which optimizers change, and what a fork does with them."""

import os
import threading
import weakref
from typing import Any, Protocol

_PATIENCE = 10.0


class Locked(Protocol):
    """Something that changes only under its lock."""

    lock: Any


_owners: "weakref.WeakSet[Locked]" = weakref.WeakSet()
_changing = threading.RLock()
_held: list[Locked] = []


def new(owner: Locked) -> Any:
    """Return a lock for an owner, which a fork then waits for."""
    with _changing:
        _owners.add(owner)
    return threading.RLock()


def _before_fork() -> None:
    """Wait for the steps of other threads to end: a child has no threads to end them."""
    _changing.acquire()
    owners = sorted(_owners.copy(), key=id)
    _held[:] = [owner for owner in owners if owner.lock.acquire(timeout=_PATIENCE)]


def _after_fork() -> None:
    """Let steps go on."""
    for owner in _held:
        owner.lock.release()
    _held.clear()
    _changing.release()


def _after_fork_in_child() -> None:
    """Let steps go on; a lock that the child's one thread does not hold is nobody's."""
    held = list(_held)
    _after_fork()
    for owner in _owners.copy():
        if owner not in held:
            owner.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
