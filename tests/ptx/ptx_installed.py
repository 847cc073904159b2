"""The stand-in for a device, taken by `fastrms.cuda` as the real one is.

    python tests/ptx/ptx_installed.py [SECTION ...]

runs sections of `scripts/gpu_check.py` there, and says after which launch and in which line of PTX
something went wrong. It takes minutes, nearly all of them to compile.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from ptx_driver import StandIn

import fastrms.cuda
from fastrms.cuda import driver

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def standin() -> StandIn:
    """Return the one device of this process."""
    return StandIn()


@functools.cache
def compiler() -> Any:
    """Return what compiles kernels, each once in a process."""
    from fastrms.cuda import target

    return functools.cache(target.ptx)


class Watched(driver.Driver):
    """The real driver's side, which writes down what the simulator's device does."""

    def __init__(self, ordinal: int) -> None:
        super().__init__(ordinal)
        self.log: list[str] = []

    @property
    def _blocks(self) -> dict[int, int]:
        return standin().memory.live

    def free(self, address: int) -> None:
        """Give memory back, also that of arrays which outlive the stand-in's place."""
        here, driver._driver = driver._driver, standin
        try:
            super().free(address)
        finally:
            driver._driver = here

    def read(self, address: int, values: Any, stream: int) -> None:
        """Copy to the host."""
        self.log.append("read")
        super().read(address, values, stream)

    def upload(self, address: int, staging: Any, values: Any, stream: int) -> None:
        """Copy a table in."""
        self.log.append(f"upload {stream}")
        super().upload(address, staging, values, stream)

    def order(self, first: int, then: int) -> None:
        """Let a stream wait for another."""
        self.log.append(f"order {first} {then}")
        super().order(first, then)

    def launch(self, kernel: Any, shape: tuple[int, int], arguments: int, stream: int) -> None:
        """Run a kernel."""
        self.log.append(f"launch {stream}")
        super().launch(kernel, shape, arguments, stream)


@contextmanager
def installed(compiles: Any = None) -> Iterator[StandIn]:
    """Let the driver be the stand-in, and forget what was loaded before and after."""
    from fastrms.cuda import target

    kept = (fastrms.cuda.reason, target.loaded)
    gc.freeze()  # what is there already need not be looked through
    with (
        mock.patch.object(driver, "_driver", standin),
        mock.patch.object(target, "machine", functools.cache(Watched)),
        mock.patch.object(target, "ptx", compiles or compiler()),
    ):
        for function in kept:
            function.cache_clear()
        yield standin()
        if standin().pinned:
            gc.collect()  # what is given back later would be to no driver
        gc.unfreeze()
    for function in kept:
        function.cache_clear()


def main() -> int:
    """Run sections of the check for machines with a GPU."""
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
    import gpu_check

    with installed() as device:
        code = gpu_check.inside(sys.argv[1:] or ["goldens", "variables"])
        device.finish()
    print(f"{len(device.launches)} launches of {compiler().cache_info().currsize} kernels")
    return code


if __name__ == "__main__":
    sys.exit(main())
