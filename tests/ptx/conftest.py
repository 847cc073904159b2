"""The stand-in for a device as a fixture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ptx_driver import StandIn
from ptx_installed import installed

# For arrays of other libraries, and bfloat16 on the host.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cuda"))


@pytest.fixture(scope="module")
def device() -> Iterator[StandIn]:
    """Let the driver be a machine of PTX."""
    with installed() as found:
        yield found


@pytest.fixture
def gpu(device: StandIn) -> Iterator[StandIn]:
    """Return the device; what a test has queued there happens before its end."""
    device.forget()
    yield device
    try:
        device.require()
        device.finish()
    finally:
        device.forget()


@pytest.fixture
def log(gpu: StandIn) -> list[str]:
    """What the device was asked to do."""
    from fastrms.cuda import target

    found: list[str] = target.machine(0).log  # type: ignore[union-attr]
    found.clear()
    return found


@pytest.fixture
def brain_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the NumPy engine, which needs nothing for it, take bfloat16 as the reference."""
    monkeypatch.setattr("fastrms.variables.DTYPES", ("bfloat16", "float16", "float32", "float64"))
