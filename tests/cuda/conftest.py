"""Tests in this folder run in Numba's simulator, in a process of their own (test_cuda.py)."""

import os
from typing import Any

import pytest

collect_ignore_glob = []
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") in ("0", ""):
    collect_ignore_glob.append("test_sim_*.py")
else:
    from turns import take

    take()


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
