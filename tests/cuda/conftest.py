"""Tests in this folder run in Numba's simulator, in a process of their own (test_cuda.py)."""

import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

collect_ignore_glob = []
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") in ("0", ""):
    collect_ignore_glob.append("test_sim_*.py")
else:
    from numba.cuda.simulator import kernelapi

    # The simulator's main thread polls; at the default interval its threads wait for 5 ms each.
    sys.setswitchinterval(1e-4)
    LOCK = threading.Lock()

    def array(self: Any, shape: int, dtype: Any) -> Any:
        """Return the shared array of the calling line, the same to all threads of a block."""
        frame = sys._getframe(1)
        place = frame.f_code.co_filename, frame.f_lineno
        # Numba's own looks and then makes, without a lock: two threads could get one each, and a
        # sum then misses a part, once in some thousand kernels.
        with LOCK:
            if place not in self._allocations:
                self._allocations[place] = np.empty(shape, dtype)
            return self._allocations[place]

    kernelapi.FakeCUDAShared.array = array


@pytest.fixture
def log() -> Any:
    """What the simulator's device was asked to do."""
    from fastrms.cuda import target

    found = target.machine(0).log
    found.clear()
    return found


@pytest.fixture
def brain_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the NumPy engine, which needs nothing for it, take bfloat16 as the reference."""
    monkeypatch.setattr("fastrms.variables.DTYPES", ("bfloat16", "float16", "float32", "float64"))
