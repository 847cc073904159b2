"""Keras 3's own test files, run against this package; the extra `interop` and its CI stage."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "keras_tests.py"


def test_keras_own_tests_pass():
    # Found, not imported: only its test files are read, and importing it needs a backend.
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed; see the extra interop")
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    count = re.search(r"Ran (\d+) tests", done.stderr)
    assert int(count[1]) >= 70
