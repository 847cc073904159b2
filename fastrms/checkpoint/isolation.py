"""HDF5 files read by a process of their own: libhdf5 may hang or crash on damaged files."""

import atexit
import importlib.util
import json
import math
import mmap
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.archive import COPY
from fastrms.checkpoint.brain import widened
from fastrms.errors import CheckpointError, MissingExtraError

Array = NDArray[Any]
SECONDS = 10.0  # for any file, and a second more for each so many bytes:
BYTES_PER_SECOND = 20 << 20
_MOST_REPLY = 1 << 30
_lock = threading.Lock()


@dataclass(frozen=True)
class Tree:
    """A whole HDF5 file: attributes by group, arrays and what could not be read by path."""

    groups: dict[str, dict[str, Any]]
    arrays: dict[str, Array]
    dtypes: dict[str, str]
    odd: dict[str, str]

    @cached_property
    def below(self) -> dict[str, list[str]]:
        """The paths right below each group."""
        found: dict[str, list[str]] = {}
        for path in filter(None, (*self.groups, *self.arrays, *self.odd)):
            found.setdefault(path.rpartition("/")[0], []).append(path)
        return found

    @cached_property
    def counts(self) -> "Counter[str]":
        """How many arrays are in each group and in those inside it."""
        found: Counter[str] = Counter()
        for path in (*self.arrays, *self.odd):
            while path := path.rpartition("/")[0]:
                found[path] += 1
        return found


@dataclass
class _Worker:
    """A running reader and the socket to it."""

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    owner: int


_worker: list[_Worker] = []


def _unlocked() -> None:
    """Give a forked child a lock that no thread of its parent holds."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_unlocked)


def require_h5py() -> None:
    """Raise with the pip line unless h5py is installed."""
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtraError(
            "HDF5 files (.h5, .keras) need h5py, which is not installed; "
            "install it with: pip install 'fastrms[keras]'"
        )


def _start() -> _Worker:
    """Start a reader with the same packages, but nothing else of this process."""
    ours, theirs = socket.socketpair()
    program = Path(__file__).with_name("hdf5_worker.py")
    found = [importlib.util.find_spec(name) for name in ("numpy", "h5py")]
    folders = [str(Path(spec.origin).parents[1]) for spec in found if spec and spec.origin]
    # Without -S the site packages' start-up files would run, slowly; runpy would compile the
    # program each time, and the collector would search thousands of new modules' objects.
    code = (
        f"import gc, sys; gc.disable(); sys.path += {folders!r}\n"
        "from importlib.util import module_from_spec, spec_from_file_location\n"
        f"spec = spec_from_file_location('hdf5_worker', {str(program)!r})\n"
        "worker = module_from_spec(spec); spec.loader.exec_module(worker)\n"
        f"gc.freeze(); gc.enable(); worker.serve({theirs.fileno()})"
    )
    environment = {
        "OPENBLAS_NUM_THREADS": "1",
        "HDF5_PLUGIN_PRELOAD": "::",  # no plugins: they are code named by the file
        **{k: v for k, v in os.environ.items() if k in ("LD_LIBRARY_PATH", "PATH")},
    }
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd="/",
        )
    return _Worker(process, ours, os.getpid())


def _current() -> _Worker:
    """Return the running reader, started on first use and after a fork or a failure."""
    while _worker and (_worker[0].owner != os.getpid() or _worker[0].process.poll() is not None):
        _worker.pop().channel.close()
    if not _worker:
        _worker.append(_start())
        atexit.unregister(_discard)
        atexit.register(_discard)
    return _worker[0]


def begin() -> None:
    """Start the reader ahead of its first use, so that it starts while this process goes on."""
    if importlib.util.find_spec("h5py") is not None and _lock.acquire(blocking=False):
        try:
            _current()
        finally:
            _lock.release()


def _discard() -> None:
    """End the reader; it is no longer to be trusted or no longer needed."""
    while _worker:
        old = _worker.pop()
        old.channel.close()
        if old.owner == os.getpid():
            old.process.kill()
            old.process.wait()


def _received(channel: socket.socket, count: int) -> bytes:
    """Return exactly so many bytes from a socket."""
    data = bytearray()
    while len(data) < count:
        part = channel.recv(min(count - len(data), 1 << 20))
        if not part:
            raise ConnectionError
        data += part
    return bytes(data)


def _asked(descriptor: int, size: int) -> tuple[dict[str, Any], list[int]]:
    """Send a file to the reader; return its reply and the descriptor of the arrays."""
    worker = _current()
    channel, seconds = worker.channel, SECONDS + size / BYTES_PER_SECOND
    made: list[int] = []
    try:
        channel.settimeout(seconds)
        socket.send_fds(channel, [b"?"], [descriptor])
        head, made, _, _ = socket.recv_fds(channel, 8, 1)
        head += _received(channel, 8 - len(head))
        length = int.from_bytes(head, "little")
        if length > _MOST_REPLY:
            raise ConnectionError
        return json.loads(_received(channel, length)), made
    except BaseException as error:
        _drop(made)
        if isinstance(error, TimeoutError):
            raise CheckpointError(
                f"libhdf5 did not end reading it within {seconds:.0f} s, so its process was ended: "
                "the file is damaged (or the machine slow; trusted=True reads without a limit)."
            ) from None
        if isinstance(error, OSError):
            raise CheckpointError(
                "the process that reads HDF5 ended (libhdf5 crashed, or memory ran out): the file "
                "is damaged."
            ) from None
        raise


def _drop(made: list[int]) -> None:
    """Close received descriptors and end the reader."""
    for number in made:
        os.close(number)
    _discard()


def _isolated(descriptor: int) -> tuple[dict[str, Any], Any]:
    """Read a file in the other process; return its tree and the arrays' memory."""
    with _lock:
        reply, made = _asked(descriptor, os.fstat(descriptor).st_size)
    try:
        _require_read(reply)
        return reply["tree"], mmap.mmap(made[0], 0)
    finally:
        for number in made:
            os.close(number)


def _require_read(reply: dict[str, Any]) -> None:
    """Raise what the reader found wrong."""
    if "refused" in reply:
        raise CheckpointError(f"{reply['refused']}; such files are refused.")
    if "failed" in reply:
        raise CheckpointError(f"libhdf5 cannot read it ({reply['failed'][:300]}); {COPY}.")


def _trusted(descriptor: int) -> tuple[dict[str, Any], Any]:
    """Read a file in this process, without the limits on time."""
    from fastrms.checkpoint import hdf5_worker

    path = f"/proc/self/fd/{descriptor}"
    try:
        return hdf5_worker.read(path, lambda size: np.empty(max(size, 1), np.uint8))
    except hdf5_worker.RefusedError as error:
        raise CheckpointError(f"{error}; such files are refused.") from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"libhdf5 cannot read it ({error}); {COPY}.") from error


def read_tree(path: str, trusted: bool) -> Tree:
    """Return everything that an HDF5 file holds.

    Parameters
    ----------
    path : str
        The file.
    trusted : bool
        Whether to read in this process.

    Raises
    ------
    CheckpointError
        The file is damaged, or reaches outside itself, or claims more than it has.
    MissingExtraError
        h5py is not installed.
    """
    require_h5py()
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        tree, memory = (_trusted if trusted else _isolated)(descriptor)
        return _gathered(tree, memory, descriptor)
    finally:
        os.close(descriptor)


def _gathered(tree: dict[str, Any], memory: Any, descriptor: int) -> Tree:
    """Return a tree with its arrays: from the other process, or straight from the file."""
    arrays, dtypes, odd = {}, {}, {}
    for name, fact in tree["datasets"].items():
        if "odd" in fact:
            odd[name] = fact["odd"]
            continue
        dtypes[name] = fact["dtype"]
        brain = fact["dtype"] in ("bfloat16", "V2")  # "V2": two bytes that nothing names
        dtype = np.dtype("V2" if brain else fact["dtype"])
        if "place" in fact:
            array = _straight(descriptor, fact, dtype)
        else:
            count = math.prod(fact["shape"])
            array = np.frombuffer(memory, dtype, count, fact["offset"] if count else 0)
            array = array.reshape(fact["shape"])
        arrays[name] = widened(array) if brain else array
    return Tree(tree["groups"], arrays, dtypes, odd)


def _straight(descriptor: int, fact: dict[str, Any], dtype: "np.dtype[Any]") -> Array:
    """Read an array that lies in a file as plain bytes."""
    place, size = fact["place"], math.prod(fact["shape"]) * dtype.itemsize
    if not 0 <= place <= os.fstat(descriptor).st_size - size:
        raise CheckpointError(f"an array of {size} bytes at {place} lies beyond the file's end.")
    array = np.empty(fact["shape"], dtype)
    view, done = memoryview(array.reshape(-1).view(np.uint8).data), 0
    while done < size:
        count = os.preadv(descriptor, [view[done : done + (1 << 30)]], place + done)
        if not count:
            raise CheckpointError("the file became shorter while it was read.")
        done += count
    return array
