"""RMSprop on NVIDIA GPUs: the same rule, in place on arrays of CuPy, Numba, PyTorch and others.

`fastrms.RMSprop` takes such arrays as it takes NumPy's; nothing of this package need be called.
"""

import functools
import os
from importlib.util import find_spec

from fastrms.errors import DeviceError

__all__ = ["devices", "is_available", "reason"]
_PIP = "pip install 'fastrms[cuda]'"


def _simulated() -> bool:
    """Tell whether Numba's simulator stands in for a GPU."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("0", "")


@functools.cache
def reason() -> str:
    """Say why arrays on a GPU cannot be used here; an empty string if they can.

    Returns
    -------
    str

    Examples
    --------
    >>> from fastrms import cuda
    >>> cuda.is_available() == (cuda.reason() == "")
    True
    """
    if _simulated():
        return ""
    if find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed; install with: {_PIP}"
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        return f"cuda-bindings is not installed; install with: {_PIP}"
    try:
        from fastrms.cuda.driver import capability_of

        capability = capability_of(0)
    except Exception as error:
        # Without a driver cuda-bindings raises whatever its search for the library does.
        return f"no usable CUDA driver and device: {error}".strip().rstrip(".").replace("\n", " ")
    if capability < (7, 5):
        return f"compute capability {capability} is too old; valid: (7, 5) and later"
    return ""


def is_available() -> bool:
    """Tell whether arrays on a GPU can be used here.

    Returns
    -------
    bool
        `reason` says why not.

    Examples
    --------
    >>> from fastrms import cuda
    >>> isinstance(cuda.is_available(), bool)
    True
    """
    return not reason()


def devices() -> list[str]:
    """Describe the GPUs: number, name, compute capability, memory, what the driver supports.

    Returns
    -------
    list of str

    Raises
    ------
    DeviceError
        None can be used; `reason` says why.

    Examples
    --------
    >>> from fastrms import cuda
    >>> found = cuda.devices() if cuda.is_available() else []
    """
    require()
    if _simulated():
        return ["0: Numba's simulator"]
    from fastrms.cuda.driver import described

    return described()


def require() -> None:
    """Raise if arrays on a GPU cannot be used here."""
    if reason():
        raise DeviceError(
            f"arrays on a GPU cannot be used here: {reason()}. Valid: a machine with an NVIDIA "
            "GPU, its driver and the extra cuda; or NumPy arrays (device='cpu')."
        )
