"""The one module that touches numba-cuda: it makes PTX of kernels, which `driver` loads.

What Numba compiles is one call, which writes the whole kernel as instructions: to type and lower
its text took seconds. Contraction of multiply and add is switched off (`fma: 0`), so that only IEEE
operations are left; `numba.cuda.jit` has no such option, hence the compiler's own entry. Under
NUMBA_ENABLE_CUDASIM=1 a kernel is the simulator's instead.
"""

import functools
from typing import Any

import numpy as np
from numba import config, types
from numba.extending import intrinsic

from fastrms.cuda import toolkit
from fastrms.cuda.driver import Driver, DriverError
from fastrms.errors import DeviceError
from fastrms.rule import Function, Hyper

SIMULATED = bool(config.ENABLE_CUDASIM)
# Threads of a block, and the rows (one warp each) of a block that sums squares.
THREADS, WARPS = (4, 1) if SIMULATED else (256, 8)
LANES = 32
STRICT = {"opt": 3, "fma": 0}
# The oldest and newest compute capability for which code is made; a newer device runs the newest.
OLDEST = (7, 5)


def _operations() -> Any:
    """Return what kernels are written with: what emits instructions, or the simulator's twin."""
    if SIMULATED:
        from fastrms.cuda import simulated

        return simulated
    from fastrms.cuda import writing

    return writing


gpu = _operations()


def kernel_types(dtypes: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the parameters of a kernel: a table, its rows, the numbers of each dtype."""
    kinds = (types.float64 if dtype == "float64" else types.float32 for dtype in dtypes)
    numbers = [types.UniTuple(kind, len(Hyper._fields)) for kind in kinds]
    return types.uint64, types.uint64, types.Tuple(numbers)


def _compiled(function: Function) -> Function:
    """Return what Numba compiles: a call that writes a kernel where it stands."""

    @intrinsic
    def write(typingctx, table, rows, numbers):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            gpu.write(function, builder, arguments)
            return context.get_dummy_value()

        return types.void(table, rows, numbers), codegen

    def kernel(table, rows, numbers):  # type: ignore[no-untyped-def]
        write(table, rows, numbers)

    kernel.__name__ = kernel.__qualname__ = function.__name__
    return kernel


def ptx(function: Function, parameters: tuple[Any, ...], capability: tuple[int, int]) -> Any:
    """Compile a kernel; return its name and its PTX."""
    from numba.cuda import compiler
    from numba.cuda.compiler import kernel_fixup

    result = compiler.compile_cuda(
        _compiled(function), types.void, parameters, nvvm_options=STRICT, cc=capability
    )
    library = result.library
    entry = library.get_function(result.fndesc.llvm_func_name)
    kernel_fixup(entry, False)
    return entry.name, library.get_asm_str(cc=capability)


@functools.cache
def machine(ordinal: int) -> Any:
    """Return a device."""
    return gpu.Host(ordinal) if SIMULATED else Driver(ordinal)


@functools.cache
@toolkit.named()
def loaded(ordinal: int, function: Function, dtypes: tuple[str, ...]) -> Any:
    """Compile a kernel for a device and load it there."""
    device = machine(ordinal)
    if SIMULATED:
        return device.load(function.__name__, gpu.launched(function))
    try:
        capability = supported(device.capability)
        name, text = ptx(function, kernel_types(dtypes), capability)
    except DeviceError:
        raise
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
