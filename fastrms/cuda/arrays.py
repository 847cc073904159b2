"""What is taken of arrays on a GPU as variable or gradient, and where a step on them is queued."""

import re
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastrms import cuda
from fastrms.cuda.memory import DeviceArray, Place, placed
from fastrms.cuda.protocols import brain_dtype, facts_of_owner, handle_of, lies_on_device
from fastrms.errors import ArgumentError, GradientError, VariableError
from fastrms.sources import copied, overflows

_DTYPES = ("bfloat16", "float16", "float32", "float64")


def _received(value: Any, place: Place | None, kinds: str = "f") -> DeviceArray:
    """Return another library's array; a `TypeError` says why it cannot be taken."""
    if isinstance(value, DeviceArray):
        return value
    facts = facts_of_owner(value, None if place is None else place.stream, kinds)
    ordinal = Place(0).machine.device_of(facts.address) if facts.address else 0
    if place is None or place.ordinal != ordinal:
        place = Place(ordinal, stream_of(value, ordinal) or 1)
    return DeviceArray(facts, place, value)


def variable(value: Any, name: str) -> DeviceArray:
    """Return an array on a device that can be updated in place, or raise."""
    cuda.require()
    try:
        array = _received(value, None)
        if not array.flags.writeable:
            raise TypeError("it is read-only; pass a writable array")
    except TypeError as error:
        raise VariableError(
            f"variable {name}, a {type(value).__name__} on a GPU, cannot be updated in place: "
            f"{error}."
        ) from error
    return array


def gradient(label: str, target: DeviceArray, value: Any) -> DeviceArray:
    """Return a gradient for a variable on a device, or raise."""
    if not (isinstance(value, DeviceArray) or lies_on_device(value)):
        raise GradientError(
            f"the gradient of variable {label} is in the host's memory ({type(value).__name__}), "
            "the variable on a GPU; valid: an array on the same device. Copy it there first."
        )
    try:
        array = _received(value, target.place)
    except TypeError as error:
        raise GradientError(f"the gradient of variable {label} cannot be used: {error}.") from error
    problem = ""
    if array.shape != target.shape or array.dtype != target.dtype:
        problem = (
            f"has shape {array.shape} and dtype {array.dtype}; expected {target.shape} and "
            f"{target.dtype}, the variable's"
        )
    elif array.place.ordinal != target.place.ordinal:
        problem = f"is on device {array.place.ordinal}, the variable on {target.place.ordinal}"
    elif array.strides != target.strides and array.size > 1 and min(target.ndim, 2) == 2:
        problem = f"has strides {array.strides}, the variable {target.strides}; use one order"
    if problem:
        raise GradientError(f"the gradient of variable {label} {problem}. Nothing was changed.")
    return array


def key_of(value: Any) -> Any:
    """Return what identifies a buffer, as `variables.key_of`; None if it cannot be read."""
    try:
        now = value if isinstance(value, DeviceArray) else facts_of_owner(value)
    except TypeError:
        return None
    return now.address, now.shape, now.strides, now.dtype.str


def stream_of(value: Any, ordinal: int) -> int | None:
    """Return the stream on which an array's library works now, where it says so."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return int(torch.cuda.current_stream(ordinal).cuda_stream) or 1
    if isinstance(value, DeviceArray):
        return None
    found = getattr(value, "__cuda_array_interface__", None)
    return None if found is None else found.get("stream")


def choose_stream(variable: Any, gradients: list[Any], asked: Any) -> None:
    """Decide where a step is queued, after all that it needs: what was asked, or the producer's."""
    if not isinstance(variable, DeviceArray):
        raise ArgumentError(
            f"stream={asked!r} has no effect on NumPy arrays; leave it out, or pass arrays on a "
            "GPU."
        )
    place = variable.place
    first: Any = next((g for g in gradients if g is not None), None)
    first = first.values if hasattr(first, "dense_shape") else first  # gradients of rows
    theirs = stream_of(first, place.ordinal)
    chosen = place.stream if theirs is None else theirs
    if asked is not None:
        chosen = handle_of(asked)
        if theirs is not None and theirs != chosen:
            place.machine.order(theirs, chosen)
    if chosen != place.stream:
        place.machine.order(place.stream, chosen)
    if chosen != place.stream or asked is not None:
        place.stream, place.held = chosen, asked


def require_one_place(variables: list[Any]) -> None:
    """Raise if variables lie in several memories; let those on one device share their stream."""
    places = [getattr(array, "place", None) for array in variables]
    where = ["the host" if p is None else f"device {p.ordinal}" for p in places]
    if len(set(where)) > 1:
        raise VariableError(
            f"the variables lie in several memories: {', '.join(sorted(set(where)))}; valid: all "
            "in the host's, or all on one GPU. Use an optimizer for each."
        )
    for array in variables:
        if places[0] is not None:
            array.place = places[0]


def taken(value: Any, place: Place, kinds: str = "f") -> DeviceArray:
    """Return another library's array for work in the order of a place; raise a `TypeError`."""
    array = _received(value, place, kinds)
    theirs = stream_of(value, place.ordinal)
    if theirs is not None and theirs != place.stream:
        place.machine.order(theirs, place.stream)
    return array


def given_back(value: Any, place: Place) -> None:
    """Let later work of another library wait for what a place has queued on its array."""
    theirs = stream_of(value, place.ordinal)
    if theirs is not None and theirs != place.stream:
        place.machine.order(place.stream, theirs)


def _ordinal(device: Any) -> int | None:
    """Return the number of the GPU that is asked for, or None for the host."""
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if found is None:
        raise VariableError(
            f"device={device!r} is not valid; valid: 'cpu', 'cuda', 'cuda:1' and so on, or None: "
            "where the value lies."
        )
    return None if device == "cpu" else int(found[1] or 0)


def stored(value: Any, dtype: DTypeLike | None, device: str | None) -> Any:
    """Return a copy of a value where a Variable is to keep it."""
    lies = lies_on_device(value)
    ordinal = 0 if device is None else _ordinal(device)
    if not lies and (device is None or ordinal is None):
        return copied(value, dtype)
    try:
        if lies:
            cuda.require()
            array = _received(value, None)
            ordinal = array.place.ordinal if device is None else ordinal
            same = dtype is None or np.dtype(dtype) == array.dtype
            if same and ordinal == array.place.ordinal:
                return array.copy()
            value = array.value
        kind = str(getattr(value, "dtype", "") if dtype is None else dtype)
        brain = "bfloat16" in kind
        given = np.asarray(value) if brain else value
        with np.errstate(over="ignore"):
            host = copied(given.astype(np.float32), None) if brain else copied(value, dtype)
            host = host.astype(brain_dtype()) if brain else host
        if brain and overflows(given, host):
            raise TypeError("a number in it is too large for bfloat16")
        if ordinal is not None and host.dtype.name not in _DTYPES:
            raise TypeError(f"a GPU takes {', '.join(_DTYPES)}, not {host.dtype}")
    except TypeError as error:
        raise VariableError(
            f"{value!r:.60} cannot be the value of a Variable with device={device!r} and "
            f"dtype={dtype!r}: {error}."
        ) from error
    return host if ordinal is None else placed(host, ordinal)


def assigned(target: Any, doing: str, value: Any, name: str) -> bool:
    """Copy an array on a GPU into a Variable's there, if that is what is asked; tell whether."""
    if not isinstance(target, DeviceArray) or doing != "assign" or not lies_on_device(value):
        return False
    try:
        array = taken(value, target.place)
        if array.shape != target.shape or array.dtype != target.dtype:
            raise TypeError(f"it has shape {array.shape} and dtype {array.dtype}")
    except TypeError as error:
        raise VariableError(
            f"assign of variable {name!r} got a {type(value).__name__} on a GPU: {error}; expected "
            f"{target.dtype} of shape {target.shape}. Nothing was changed."
        ) from error
    target[...] = array
    given_back(value, target.place)
    return True


def device_of(array: Any) -> str:
    """Name the place where an array lies."""
    return f"cuda:{array.place.ordinal}" if isinstance(array, DeviceArray) else "cpu"
