"""Time reading and writing of checkpoints beside NumPy, safetensors and h5py on the same bytes.

    python scripts/checkpoint_speed.py [--mib 1024]

Half of the bytes are slots, half weights. Each time is the best of three; writes end with fsync.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors.numpy import load_file, save_file

import fastrms

Arrays = dict[str, Any]
_ARRAYS = 4


def best(work: Callable[[], object]) -> float:
    """Return the least time of three."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def forced(path: Path) -> None:
    """Write a file's bytes to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_h5(path: Path, arrays: Arrays) -> None:
    """Write with h5py alone."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def read_h5(path: Path) -> Arrays:
    """Read with h5py alone."""
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def read_npz(path: Path) -> Arrays:
    """Read with NumPy alone."""
    with np.load(path) as arrays:
        return dict(arrays)


def main() -> None:
    """Print a line for each format and direction."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024)
    count = parser.parse_args().mib * (1 << 20) // 8 // _ARRAYS
    random = np.random.default_rng(0)
    weights = {f"w{i}": random.random(count, dtype=np.float32) for i in range(_ARRAYS)}
    optimizer = fastrms.RMSprop()
    optimizer.build(weights)
    optimizer.set_weights([1, 0.001, *weights.values()])
    state = optimizer.checkpoint(weights)
    plain = {**weights, **{f"v{i}": array for i, array in enumerate(state.slots["velocity"])}}
    peers: dict[str, tuple[Callable[[Path, Arrays], object], Callable[[Path], object]]] = {
        ".npz": (lambda p, a: np.savez(p, **a), read_npz),
        ".safetensors": (lambda p, a: save_file(a, p), load_file),
        ".h5": (write_h5, read_h5),
    }
    with tempfile.TemporaryDirectory(dir=".") as name:
        for suffix, (write, read) in {**peers, ".ckpt": peers[".safetensors"]}.items():
            own, other = Path(name) / f"own{suffix}", Path(name) / f"peer{suffix}"
            theirs = best(lambda w=write, p=other: (w(p, plain), forced(p)))
            ours = best(lambda p=own: fastrms.save(p, state))
            print(f"{suffix} write: {ours:.2f} s, alone {theirs:.2f} s: {ours / theirs:.2f}")
            theirs = best(lambda r=read, p=other: r(p))
            for trusted in (False, True)[: 2 if suffix == ".h5" else 1]:
                ours = best(lambda p=own, t=trusted: fastrms.load(p, trusted=t))
                label = f"{suffix} read{' (trusted)' if trusted else ''}"
                print(f"{label}: {ours:.2f} s, alone {theirs:.2f} s: {ours / theirs:.2f}")
            for file in Path(name).iterdir():
                file.unlink()


if __name__ == "__main__":
    main()
