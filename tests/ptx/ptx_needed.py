"""A module of tests that imports this is skipped where the compilers are not installed."""

from __future__ import annotations

import importlib.util

import pytest

MISSING = [n for n in ("numba_cuda", "nvidia") if importlib.util.find_spec(n) is None]
if MISSING:
    pytest.skip(
        f"{MISSING} are not installed: pip install 'fastrms[cuda-test]'", allow_module_level=True
    )
