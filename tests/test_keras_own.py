"""Keras 3's own test files, run against this package; the extra `interop` and its CI stage."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "keras_tests.py"


def test_keras_own_tests_pass():
    pytest.importorskip("keras")
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    count = re.search(r"Ran (\d+) tests", done.stderr)
    assert int(count[1]) >= 70
