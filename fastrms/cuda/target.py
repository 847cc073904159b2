"""The one module that touches numba-cuda: it compiles kernels, and names what they are written in.

Contraction of multiply and add is switched off (`fma: 0`), so that only IEEE operations are left;
`numba.cuda.jit` has no such option, hence the compiler's own entry is called. The result is PTX,
which `driver` loads; under NUMBA_ENABLE_CUDASIM=1 a kernel is the simulator's instead.
"""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import config, cuda, types

from fastrms.cuda import elements, simulated, toolkit
from fastrms.cuda.driver import Driver, DriverError
from fastrms.elements import smaller
from fastrms.errors import DeviceError
from fastrms.rule import Function, Hyper, make_rule

__all__ = ["cuda"]

SIMULATED = bool(config.ENABLE_CUDASIM)
# Threads of a block, and the rows (one warp each) of a block that sums squares.
THREADS, WARPS = (4, 1) if SIMULATED else (256, 8)
LANES = 32
STRICT = {"opt": 3, "fma": 0}
# The oldest and newest compute capability for which code is made; a newer device runs the newest.
OLDEST = (7, 5)

_source = simulated if SIMULATED else elements
fit, memory, word = _source.fit, _source.memory, _source.word
double_at, set_double = _source.double_at, _source.set_double


def inline(function: Function) -> Function:
    """Compile a function that kernels call."""
    if SIMULATED:
        return simulated.quiet(function)
    compiled: Function = cuda.jit(device=True, forceinline=True)(function)
    return compiled


rule = make_rule(
    np.sqrt if SIMULATED else math.sqrt,
    fit,
    simulated.smaller if SIMULATED else smaller,
    inline,
)


def number(dtype: str) -> Any:
    """Return the type of the numbers in which a dtype is computed."""
    return elements.COMPUTED[dtype]


def kernel_types(dtypes: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the parameters of a kernel: a table, its rows, the numbers of each dtype."""
    numbers = [types.NamedUniTuple(number(d), len(Hyper._fields), Hyper) for d in dtypes]
    return types.uint64, types.uint64, types.Tuple(tuple(numbers))


@contextmanager
def _capability(capability: tuple[int, int]) -> Iterator[None]:
    """Answer numba-cuda's question for the device, so that code can be made without one."""
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def ptx(function: Function, parameters: tuple[Any, ...], capability: tuple[int, int]) -> Any:
    """Compile a kernel; return its name and its PTX."""
    from numba.cuda import compiler
    from numba.cuda.compiler import kernel_fixup

    with _capability(capability):
        result = compiler.compile_cuda(
            function, types.void, parameters, nvvm_options=STRICT, cc=capability
        )
    library = result.library
    entry = library.get_function(result.fndesc.llvm_func_name)
    kernel_fixup(entry, False)
    return entry.name, library.get_asm_str(cc=capability)


@functools.cache
def machine(ordinal: int) -> "Driver | simulated.Host":
    """Return a device."""
    return simulated.Host(ordinal) if SIMULATED else Driver(ordinal)


@functools.cache
@toolkit.named()
def loaded(ordinal: int, function: Function, dtypes: tuple[str, ...]) -> Any:
    """Compile a kernel for a device and load it there."""
    device = machine(ordinal)
    if isinstance(device, simulated.Host):
        return device.load(function.__name__, cuda.jit(function))
    capability = supported(device.capability)
    try:
        name, text = ptx(function, kernel_types(dtypes), capability)
    except Exception as error:
        # Its libraries are looked for only now; what the search raises is no type of one library.
        raise DeviceError(
            f"numba-cuda could not make code for the device: {type(error).__name__}: {error}. "
            "Nothing was changed. Valid: NVVM and NVRTC of pip install 'fastrms[cuda]', or of a "
            "CUDA toolkit: that of the nvcc on PATH, or which CUDA_HOME names."
        ) from error
    try:
        return device.load(name, text.encode() + b"\0")
    except DriverError as error:
        # A compiler newer than the driver writes PTX that it cannot read, but machine code of the
        # same major version runs.
        if error.code != "CUDA_ERROR_UNSUPPORTED_PTX_VERSION":
            raise
        return device.load(name, machine_code(text, device.capability))


def supported(capability: tuple[int, int]) -> tuple[int, int]:
    """Return the newest capability not above a device's for which code can be made."""
    from numba.cuda.cudadrv.nvrtc import get_supported_ccs

    known = sorted((int(one[0]), int(one[1])) for one in get_supported_ccs())
    below = [one for one in known if OLDEST <= one <= capability]
    if not below:
        raise DeviceError(
            f"the device's compute capability {capability} is not supported; valid: from "
            f"{max([OLDEST, *known[:1]])} on. Use NumPy arrays here, or an older numba-cuda."
        )
    return below[-1]


def machine_code(text: str, capability: tuple[int, int]) -> bytes:
    """Assemble PTX with the linker of the compiler's own version (nvJitLink)."""
    try:
        from cuda.core import Linker, LinkerOptions, ObjectCode
    except ImportError:  # before 0.5 these were experimental
        from cuda.core.experimental import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=f"sm_{capability[0]}{capability[1]}")
    code = Linker(ObjectCode.from_ptx(text.encode()), options=options).link("cubin").code
    return bytes(code)


class Arguments:
    """The arguments of a launch, read when it happens: a table, its rows, the numbers of a step."""

    def __init__(self, table: int, rows: int, numbers: list[Any]) -> None:
        self._values = np.array([table, rows], np.uint64)
        self._numbers = numbers
        arrays = [self._values, *numbers]
        places = [a.ctypes.data + k * a.itemsize for a in arrays for k in range(a.size)]
        self._places = np.array(places, np.uint64)
        self.pointers: Any = self._hypers if SIMULATED else self._places.ctypes.data

    def _hypers(self) -> tuple[Any, ...]:
        """Return the arguments as the simulator takes them."""
        return (*self._values, tuple(Hyper(*numbers) for numbers in self._numbers))
