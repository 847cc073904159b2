"""The simulator's tests, run in a process of their own: Numba decides at import what CUDA is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "cuda"
# Two processes, about as long as each other: one for each file would start Numba five times.
ARITHMETIC = ["test_sim_equality.py", "test_sim_rows.py"]
OTHERS = sorted({path.name for path in FOLDER.glob("test_sim_*.py")} - set(ARITHMETIC))


@pytest.mark.parametrize("names", [ARITHMETIC, OTHERS], ids=["arithmetic", "others"])
def test_in_the_simulator(names: list[str]) -> None:
    pytest.importorskip("numba.cuda", reason="this Numba has no CUDA target, install numba-cuda")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, *(str(FOLDER / name) for name in names)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=FOLDER.parent.parent,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert " passed" in found.stdout
