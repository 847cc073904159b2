"""Settings of the whole test session: fresh caches and the hypothesis profile."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

if "numba" in sys.modules:
    raise pytest.UsageError(
        "numba was imported before tests/conftest.py could choose its cache folder; "
        "disable the pytest plugin that imports it (-p no:NAME)."
    )

# Numba does not see edits in other files than the cached one, so no session reuses a cache.
# Matplotlib must not need a writable home. Child processes inherit both.
CACHES = Path(tempfile.mkdtemp(prefix="fastrms-tests-"))
for variable in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
    os.environ[variable] = str(CACHES / variable.lower())
    Path(os.environ[variable]).mkdir()
OWNER = os.getpid()

hypothesis.settings.register_profile("fastrms", deadline=None)
hypothesis.settings.register_profile(
    "fastrms-ci", parent=hypothesis.settings.get_profile("fastrms"), derandomize=True, database=None
)
hypothesis.settings.load_profile("fastrms-ci" if os.environ.get("CI") else "fastrms")


def pytest_unconfigure() -> None:
    """Remove the caches, unless this is a forked child of the session."""
    if os.getpid() == OWNER:
        shutil.rmtree(CACHES, ignore_errors=True)
