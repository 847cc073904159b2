"""Read a whole HDF5 file with libhdf5, refusing what reaches outside it or claims too much.

This file also runs alone, as the program of a process that may crash or hang without harm (see
`isolation`): it imports nothing of fastrms and answers requests on a socket.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

FREE = 4 << 20  # so much memory is given to any file
RATIO = 64  # more memory than that only in this proportion to the bytes stored
_MOST_OBJECTS, _MOST_DEPTH, _MOST_TEXT = 200_000, 32, 64 << 20
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_ALIGNMENT = 64


class RefusedError(Exception):
    """The file holds something that no reader may follow or believe."""


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every group and dataset once, by its path; refuse links, aliases and cycles."""
    seen: set[int] = {h5py.h5o.get_info(root.id).addr}
    stack = [("", root.id)]
    while stack:
        path, group = stack.pop()
        yield path, group
        for name in group:
            inner = f"{path}/{name.decode('utf-8', 'backslashreplace')}"
            kind = group.links.get_info(name).type
            if kind != h5py.h5l.TYPE_HARD:
                what = {h5py.h5l.TYPE_SOFT: "soft", h5py.h5l.TYPE_EXTERNAL: "external"}
                raise RefusedError(f"{inner} is a link ({what.get(kind, 'user-defined')})")
            info = h5py.h5o.get_info(group, name)
            if info.addr in seen:
                raise RefusedError(f"{inner} is an alias or cycle: the object has another name too")
            seen.add(info.addr)
            if len(seen) > _MOST_OBJECTS or inner.count("/") > _MOST_DEPTH:
                raise RefusedError(f"{inner}: too many or too deeply nested objects")
            found = h5py.h5o.open(group, name)
            if isinstance(found, h5py.h5g.GroupID):
                stack.append((inner, found))
            elif isinstance(found, h5py.h5d.DatasetID):
                yield inner, found


def _text(value: Any) -> Any:
    """Return bytes as text, or a marker that readers refuse."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"odd": "not UTF-8"}
    return value if isinstance(value, str) else {"odd": type(value).__name__}


def _attribute(attribute: Any) -> Any:
    """Return a text or a list of texts; of anything else what it is."""
    count = int(np.prod(attribute.shape, dtype=object))
    kind = attribute.get_type()
    if count == 0 and attribute.shape is not None:
        return []  # Keras's empty lists are float64 arrays of shape (0,)
    if max(count, count * kind.get_size()) > _MOST_TEXT:
        raise RefusedError(f"an attribute claims {count * kind.get_size()} bytes")
    if kind.get_class() != h5py.h5t.STRING:
        return {"odd": f"of HDF5 class {kind.get_class()}"}
    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return {"odd": "empty"}
    array = np.empty(attribute.shape, dtype=attribute.dtype)
    attribute.read(array)
    if attribute.shape == ():
        return _text(array[()])
    return [_text(v) for v in array.ravel().tolist()]


def _letters(value: Any) -> int:
    """Return the length of a text, or of all in a list; many names may refer to one stored text."""
    return sum(map(len, value)) if isinstance(value, list) else len(value)


def _attributes(found: Any) -> dict[str, Any]:
    """Return the attributes of an object by name."""
    result = {}
    for index in range(h5py.h5a.get_num_attrs(found)):
        attribute = h5py.h5a.open(found, index=index)
        name = attribute.name.decode("utf-8", "backslashreplace")
        result[name] = _attribute(attribute)
    return result


def _dtype(path: str, dataset: Any) -> tuple[Any, str]:
    """Return the dtype to read a dataset as, or None and what it is."""
    kind = dataset.get_type().get_class()
    if kind == h5py.h5t.OPAQUE and dataset.get_type().get_size() == 2:
        return np.dtype("V2"), "bfloat16" if "bfloat16" in _attributes(dataset).values() else "V2"
    if kind not in (h5py.h5t.FLOAT, h5py.h5t.INTEGER):
        return None, f"of HDF5 class {kind}"
    dtype = dataset.dtype.newbyteorder("=")
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        return None, str(dtype)
    return dtype, dtype.name


def _require_inside(path: str, dataset: Any, size: int) -> int:
    """Refuse storage outside the file and claims beyond it; return the bytes stored."""
    layout = dataset.get_create_plist()
    if layout.get_external_count():
        raise RefusedError(f"{path} has external raw storage: its bytes are those of another file")
    kind = layout.get_layout()
    if kind == h5py.h5d.VIRTUAL:
        raise RefusedError(f"{path} is a virtual dataset: its bytes are those of other files")
    for i in range(layout.get_nfilters()):
        number = layout.get_filter(i)[0]
        if number not in _FILTERS:
            raise RefusedError(f"{path} needs the filter {number}; valid: {_FILTERS}")
    stored = int(dataset.get_storage_size())
    most = stored if kind != h5py.h5d.CHUNKED else max(FREE, RATIO * stored)
    if kind == h5py.h5d.CHUNKED:
        chunk = int(np.prod(layout.get_chunk(), dtype=object)) * dataset.get_type().get_size()
        if chunk > FREE + size:
            raise RefusedError(f"{path} claims chunks of {chunk} bytes")
    if size > most:
        raise RefusedError(f"{path} claims {size} bytes, but {stored} are stored")
    return stored


def survey(file: Any, length: int) -> tuple[dict[str, Any], list[tuple[Any, ...]], int]:
    """Return groups with attributes, what to read, and the memory that reading takes."""
    tree: dict[str, Any] = {"groups": {}, "datasets": {}}
    wanted, total, inside, texts = [], 0, 0, 0
    for path, found in _walk(file):
        if isinstance(found, h5py.h5g.GroupID):
            tree["groups"][path] = _attributes(found)
            texts += sum(map(_letters, tree["groups"][path].values()))
            if texts > max(FREE, length):
                raise RefusedError(f"the attributes up to {path} hold more text than the file")
            continue
        dtype, name = _dtype(path, found)
        if dtype is None:
            tree["datasets"][path] = {"odd": name}
            continue
        size = int(np.prod(found.shape, dtype=object)) * dtype.itemsize
        inside += _require_inside(path, found, size)
        fact = {"dtype": name, "shape": list(found.shape), "offset": total}
        tree["datasets"][path] = fact
        place = found.get_offset() if found.get_type().equal(h5py.h5t.py_create(dtype)) else None
        if place is not None and size:
            fact["place"] = place  # plain bytes in the file: whoever asked reads them without us
            size = 0
        else:
            wanted.append((found, dtype, total, size))
        total += -(-size // _ALIGNMENT) * _ALIGNMENT
        if inside > length or total > max(FREE, RATIO * length):
            raise RefusedError(f"the arrays up to {path} claim more bytes than the file has")
    return tree, wanted, total


def read(path: str, memory: Callable[[int], Any]) -> tuple[dict[str, Any], Any]:
    """Read everything; arrays go into the buffer that `memory(size)` returns."""
    # From a Python file, so that no name inside could open another even if it were followed.
    with open(path, "rb", buffering=0) as raw, h5py.File(raw, "r") as file:
        tree, wanted, total = survey(file, os.fstat(raw.fileno()).st_size)
        buffer = memory(total)
        for dataset, dtype, offset, size in wanted:
            if size:
                target = np.frombuffer(buffer, dtype, size // dtype.itemsize, offset)
                target = target.reshape(dataset.shape)
                whole = h5py.h5s.ALL
                dataset.read(whole, whole, target, h5py.h5t.py_create(dtype))
        del wanted
    return tree, buffer


def _limit(extra: int) -> None:
    """Let this process take so much memory more than it has now."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, hard))


def _answer(descriptor: int) -> tuple[dict[str, Any], list[int]]:
    """Read the file behind a descriptor; return the reply and the descriptor of the arrays."""
    import mmap

    made: list[int] = []

    def memory(size: int) -> Any:
        _limit((64 << 20) + RATIO * FREE + size)
        made.append(os.memfd_create("arrays"))
        os.ftruncate(made[0], max(size, 1))
        return mmap.mmap(made[0], max(size, 1))

    _limit(256 << 20)
    try:
        tree, _ = read(f"/proc/self/fd/{descriptor}", memory)
        return {"tree": tree}, made
    except RefusedError as error:
        return {"refused": str(error)}, []
    except Exception as error:  # whatever libhdf5 finds wrong is told, never half-used
        return {"failed": f"{type(error).__name__}: {error}"}, []


def serve(descriptor: int) -> None:
    """Answer one request after the other until the other end closes the socket."""
    import socket

    channel = socket.socket(fileno=descriptor)
    while True:
        request, files, _, _ = socket.recv_fds(channel, 1, 1)
        if not request:
            return
        reply, made = _answer(files[0])
        data = json.dumps(reply).encode()
        socket.send_fds(channel, [len(data).to_bytes(8, "little")], made)
        channel.sendall(data)
        for number in [*files, *made]:
            os.close(number)
