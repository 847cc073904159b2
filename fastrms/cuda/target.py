"""The one module that touches the compiler: kernels become PTX, which `driver` loads.

NVVM is called through NVIDIA's own interface (cuda-bindings, which numba-cuda brings); Numba would
type and lower every kernel first, which took a second for each. Contraction of multiply and add is
switched off (`fma=0`), so that only IEEE operations are left. Under NUMBA_ENABLE_CUDASIM=1 a kernel
is the simulator's instead.
"""

import functools
from typing import Any

import numpy as np
from numba import config

from fastrms.cuda import elements, toolkit
from fastrms.cuda.driver import Driver, DriverError
from fastrms.errors import DeviceError
from fastrms.rule import Function, Hyper

SIMULATED = bool(config.ENABLE_CUDASIM)
# Threads of a block, and the rows (one warp each) of a block that sums squares.
THREADS, WARPS = (4, 1) if SIMULATED else (256, 8)
LANES = 32
STRICT = ("-opt=3", "-fma=0")
# As the NVVM IR specification gives them for 64 bits.
TRIPLE = "nvptx64-nvidia-cuda"
LAYOUT = (
    "e-p:64:64:64-i1:8:8-i8:8:8-i16:16:16-i32:32:32-i64:64:64-i128:128:128-f32:32:32-f64:64:64-"
    "v16:16:16-v32:32:32-v64:64:64-v128:128:128-n16:32:64"
)
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
    """Return what a kernel gets besides a table and its rows: the numbers of each dtype."""
    return tuple((elements.KINDS[dtype],) * len(Hyper._fields) for dtype in dtypes)


def ptx(function: Function, parameters: tuple[Any, ...], capability: tuple[int, int]) -> Any:
    """Compile a kernel; return its name and its PTX."""
    from cuda.bindings import nvvm

    module = gpu.written(function, parameters, TRIPLE, LAYOUT)
    module.add_named_metadata("nvvmir.version", [elements.INDEX(n) for n in nvvm.ir_version()])
    options = [*STRICT, f"-arch=compute_{capability[0]}{capability[1]}"]
    code = str(module).encode()
    program = nvvm.create_program()
    try:
        nvvm.add_module_to_program(program, code, len(code), function.__name__)
        nvvm.verify_program(program, len(options), options)
        nvvm.compile_program(program, len(options), options)
        made = bytearray(nvvm.get_compiled_result_size(program))
        nvvm.get_compiled_result(program, made)
    except nvvm.nvvmError as error:
        log = bytearray(nvvm.get_program_log_size(program))
        nvvm.get_program_log(program, log)
        said = log.decode().strip("\0\n ")
        raise DeviceError(f"NVVM refuses {function.__name__}: {error}: {said}") from error
    finally:
        nvvm.destroy_program(program)
    return function.__name__, made.decode().rstrip("\0")


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
            f"NVVM could not make code for the device: {type(error).__name__}: {error}. "
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
    from cuda.bindings import nvrtc

    _, numbers = nvrtc.nvrtcGetSupportedArchs()
    known = sorted(divmod(int(one), 10) for one in numbers or ())
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
