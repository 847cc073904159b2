"""The CUDA toolkit of a machine on which no package brought the compiler's libraries."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAMES = ("CUDA_HOME", "CUDA_PATH")
_USUAL = Path("/usr/local/cuda")
_ENVIRONMENT = threading.RLock()  # it is the process', not a thread's


def folder() -> Path | None:
    """Return the toolkit of the `nvcc` on PATH, or the one in the usual place, if it has NVVM."""
    nvcc = shutil.which("nvcc")
    places = [*([Path(nvcc).resolve().parents[1]] if nvcc else []), _USUAL]
    return next((place for place in places if (place / "nvvm").is_dir()), None)


@contextmanager
def named() -> Iterator[None]:
    """Let CUDA_HOME name the toolkit for a while, unless the user did.

    cuda-bindings finds NVVM in no other way, but looks in packages first: where they bring it,
    nothing changes. One thread at a time: another's end must not take the name away.
    """
    with _ENVIRONMENT:
        found = None if any(os.environ.get(name) for name in _NAMES) else folder()
        if found is None:
            yield
            return
        os.environ["CUDA_HOME"] = str(found)
        try:
            yield
        finally:
            os.environ.pop("CUDA_HOME", None)
