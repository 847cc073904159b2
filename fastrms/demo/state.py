"""What a stopped training run leaves behind: named arrays in one file, without pickle."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[Any]]


def save_state(path: Path, state: State) -> None:
    """Write all arrays to `path`; a crash at any moment leaves the old file or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **state)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_state(path: Path) -> State:
    """Read every array that `save_state` wrote to `path`."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def differences(first: State, second: State) -> list[str]:
    """Return the sorted names of arrays that are missing on one side or not equal bit for bit."""

    def same(name: str) -> bool:
        a, b = first[name], second[name]
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()

    names = sorted(first.keys() | second.keys())
    return [name for name in names if name not in first or name not in second or not same(name)]
