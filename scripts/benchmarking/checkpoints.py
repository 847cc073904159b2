"""Checkpoints beside NumPy, safetensors and h5py alone, which move the same bytes.

Half of the bytes are slots, half weights. Each side writes its own file, forced to the disk, and
reads it from the system's cache. Every process of the plan prints the ratios of its rounds.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarking.processes import Plan, environment
from benchmarking.rows import Bar, Row
from benchmarking.timing import ratio

Arrays = dict[str, Any]
_ARRAYS = 4
_SLOWER, _START, _CHECKSUM = Bar("<=", 1.5, "x"), Bar("<=", 0.3, " s"), Bar(">=", 1, " GB/s")
_COPIES = Bar("<=", 1, " of the largest array")
# Who writes and reads the same bytes without us; for .ckpt that would be TensorFlow.
PEERS = {".npz": "numpy", ".safetensors": "safetensors", ".h5": "h5py"}
_PEAK = """
import os, resource, sys
import fastrms
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def peak(work):
    kept = [work(name) for name in small]
    open("/proc/self/clear_refs", "w").write("5")
    before = resident()
    kept.append(work(large))
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 - before, kept[-1]
trusted, suffix, *small, large = sys.argv[1:]
more, found = peak(lambda name: fastrms.load(name, trusted=bool(int(trusted))))
arrays = [a for column in found.slots.values() for a in column] + list(found.weights.values())
largest = max(a.nbytes for a in arrays)
print((more - sum(a.nbytes for a in arrays)) / largest)
target = large + ".again" + suffix
one = fastrms.load(small[0])
more, _ = peak(lambda name: fastrms.save(target, found if name == large else one))
print(more / largest)
"""


def write_h5(path: Path, arrays: Arrays) -> None:
    """Write with h5py alone."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def read_h5(path: Path) -> Arrays:
    """Read with h5py alone."""
    import h5py

    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def write_tensors(path: Path, arrays: Arrays) -> None:
    """Write with safetensors alone."""
    from safetensors.numpy import save_file

    save_file(arrays, path)


def read_tensors(path: Path) -> Arrays:
    """Read with safetensors alone."""
    from safetensors.numpy import load_file

    return load_file(path)


def read_npz(path: Path) -> Arrays:
    """Read with NumPy alone."""
    with np.load(path) as arrays:
        return dict(arrays)


WRITE: dict[str, Callable[[Path, Arrays], object]] = {
    "numpy": lambda path, arrays: np.savez(path, **arrays),
    "safetensors": write_tensors,
    "h5py": write_h5,
}
READ: dict[str, Callable[[Path], object]] = {
    "numpy": read_npz,
    "safetensors": read_tensors,
    "h5py": read_h5,
}


def state(count: int) -> tuple[Any, Arrays]:
    """Return a checkpoint of four variables of so many numbers, and its arrays for a peer."""
    import fastrms

    random = np.random.default_rng(0)
    weights = {f"w{i}": random.random(count, dtype=np.float32) for i in range(_ARRAYS)}
    optimizer = fastrms.RMSprop()
    optimizer.build(weights)
    optimizer.set_weights([1, 0.001, *weights.values()])
    found = optimizer.checkpoint(weights)
    return found, {**weights, **{f"v{i}": a for i, a in enumerate(found.slots["velocity"])}}


def forced(work: Callable[[Path, Arrays], object], path: Path, arrays: Arrays) -> None:
    """Write a file and force it to the disk, as ours is."""
    work(path, arrays)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def timed(arms: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each arm in each round."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, work in arms.items():
            begin = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begin)
    return times


def saved(folder: Path, suffix: str, mib: int) -> list[str]:
    """Write a small and a large file; return their names."""
    import fastrms

    names = [str(folder / f"{size}{suffix}") for size in ("small", "large")]
    for name, size in zip(names, (1, mib), strict=True):
        fastrms.save(name, state(size * (1 << 20) // 8 // _ARRAYS)[0])
    return names


def moved(folder: Path, suffix: str, mib: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Time one format, by the direction."""
    import fastrms

    found, arrays = state(mib * (1 << 20) // 8 // _ARRAYS)
    own, other, peer = folder / f"own{suffix}", folder / "peer", PEERS[suffix]
    other = other.with_suffix(".npz") if peer == "numpy" else other  # which numpy would append
    write = {
        "alone": lambda: forced(WRITE[peer], other, arrays),
        "ours": lambda: fastrms.save(own, found),
    }
    read: dict[str, Callable[[], object]] = {
        "alone": lambda: READ[peer](other),
        "ours": lambda: fastrms.load(own),
    }
    if suffix == ".h5":
        read["trusted"] = lambda: fastrms.load(own, trusted=True)
    small, few = state(1)
    WRITE[peer](other, few)
    READ[peer](other)
    fastrms.save(own, small)
    fastrms.load(own)  # imports, and starts the HDF5 reader, which has a row of its own
    return {"write": timed(write, rounds), "read": timed(read, rounds)}


def started() -> dict[str, float]:
    """Time the first use of the HDF5 reader, and its start by processor time."""
    import resource

    from fastrms.checkpoint import isolation

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        write_h5(path, {"a": np.ones(3)})
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        isolation.read_tree(str(path), False)
        seconds = time.perf_counter() - begin
    isolation._discard()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"seconds": seconds, "processor": spent}


def summed(mib: int) -> float:
    """Return the bytes per second of our crc32c, best of five."""
    from fastrms.checkpoint.checksum import crc32c

    raw = np.ones(mib << 20, np.uint8)
    crc32c(raw[:64])
    times = timed({"ours": lambda: crc32c(raw)}, 5)["ours"]
    return raw.nbytes / min(times) / 1e9


def _asked(plan: Plan, *arguments: str) -> Any:
    """Run this module in a fresh process and return what it prints."""
    return json.loads(_said(plan, "-m", "benchmarking.checkpoints", *arguments))


def _said(plan: Plan, *arguments: str) -> str:
    """Run Python in a fresh process; its errors are shown as they are."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment(plan), stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def _speed(plan: Plan, suffix: str, mib: int) -> list[Row]:
    """Measure one format against its peer."""
    peer = PEERS[suffix]
    if importlib.util.find_spec(peer) is None:
        reason = f"missing: pip install {peer}"
        return [Row(f"{suffix} beside {peer}", _SLOWER, [], problem=reason)]
    with tempfile.TemporaryDirectory(dir=plan.caches) as folder:
        rounds = str(1 if plan.quick else 3)
        found = [
            _asked(plan, "moved", folder, suffix, str(mib), rounds) for _ in range(plan.processes)
        ]
    rows = []
    for way in ("write", "read"):
        for side in (name for name in found[0][way] if name != "alone"):
            times = [run[way] for run in found]
            values = [ratio(run[side], run["alone"]) for run in times]
            ours, alone = (
                statistics.median(t for run in times for t in run[name]) for name in (side, "alone")
            )
            how = {"ours": " (isolated)" if len(found[0][way]) > 2 else ""}.get(side, f" ({side})")
            note = f"ours {ours:.3f} s, {peer} alone {alone:.3f} s"
            rows.append(
                Row(f"{way} {suffix} of {mib} MiB{how} / {peer}", _SLOWER, values, note=note)
            )
    return rows


def _memory(plan: Plan, suffix: str, mib: int) -> list[Row]:
    """Measure what reading and writing take beside the state itself."""
    if suffix in PEERS and importlib.util.find_spec(PEERS[suffix]) is None:
        return []  # `_speed` says so
    sides = {" (isolated)": "0", " (trusted)": "1"} if suffix == ".h5" else {"": "0"}
    found, write = [], 0.0
    with tempfile.TemporaryDirectory(dir=plan.caches) as folder:
        names = _asked(plan, "saved", folder, suffix, str(mib))
        for how, trusted in sides.items():
            read, write = map(float, _said(plan, "-c", _PEAK, trusted, suffix, *names).split())
            found.append(Row(f"peak memory of reading {suffix}{how}", _COPIES, [read]))
    return [*found, Row(f"peak memory of writing {suffix}", _COPIES, [write])]


def rows(plan: Plan) -> list[Row]:
    """Measure every format in both directions, the reader's start, the checksum, the memory."""
    mib, found = 8 if plan.quick else 1024, []
    for suffix in PEERS:
        found += _speed(plan, suffix, mib)
    for suffix in (*PEERS, ".ckpt"):
        found += _memory(plan, suffix, mib // 4)
    starts = [_asked(plan, "started") for _ in range(plan.processes)]
    note = f"by processor time {statistics.median(run['processor'] for run in starts):.3g}"
    found.append(
        Row("start of the HDF5 reader", _START, [run["seconds"] for run in starts], note=note)
    )
    speeds = [_asked(plan, "summed", str(mib // 4)) for _ in range(plan.processes)]
    return [*found, Row("crc32c", _CHECKSUM, speeds)]


def main(what: str, *others: str) -> None:
    """Answer one question of `_asked`."""
    if what == "moved":
        folder, suffix, mib, rounds = others
        answer: Any = moved(Path(folder), suffix, int(mib), int(rounds))
    elif what == "saved":
        answer = saved(Path(others[0]), others[1], int(others[2]))
    else:
        answer = started() if what == "started" else summed(int(others[0]))
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
