"""Arrays on a GPU as the rest of the library sees them: `numpy.ndarray`'s surface, as far as used.

A `DeviceArray` is another library's array or our own memory. `numpy.asarray` alone moves it to the
host, and waits for the stream of the last step.
"""

import sys
import weakref
from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import cuda
from fastrms.cuda.protocols import (
    Facts,
    facts_of_owner,
    handle_of,
    lies_on_device,
    orders,
    packed,
)
from fastrms.errors import ArgumentError, DeviceError, GradientError, VariableError

Array = NDArray[Any]


@dataclass
class Place:
    """A device, and the stream in whose order everything of one optimizer happens there."""

    ordinal: int
    stream: int = 1  # the legacy default stream, as the protocols number it

    @property
    def machine(self) -> Any:
        """The device itself."""
        from fastrms.cuda.target import machine

        return machine(self.ordinal)


class DeviceArray:
    """A contiguous array in a GPU's memory."""

    base = None
    kept: Any = None  # what a view keeps alive

    def __init__(self, facts: Facts, place: Place, owner: Any = None) -> None:
        self.address, self.shape, self.strides, self.dtype, writeable, _ = facts
        self.place, self._owner = place, owner
        self.size, self.ndim, self.itemsize = prod(self.shape), len(self.shape), self.dtype.itemsize
        self.nbytes, known = self.size * self.itemsize, orders(facts) if prod(self.shape) else "CF"
        self.flags = SimpleNamespace(
            c_contiguous="C" in known, f_contiguous="F" in known, aligned=True, writeable=writeable
        )
        self.ctypes = SimpleNamespace(data=self.address)

    @property
    def owner(self) -> Any:
        """The object that was given, or this one."""
        return self if self._owner is None else self._owner

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype.kind != "f":
            raise AttributeError(f"the protocol has no name for {self.dtype}")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, not self.flags.writeable),
            "strides": None if self.flags.c_contiguous else self.strides,
            "stream": self.place.stream,
            "version": 3,
        }

    def _viewed(self, address: int, shape: tuple[int, ...], order: str = "C") -> "DeviceArray":
        """Return a view, which keeps the memory alive."""
        strides = packed(shape, self.itemsize, order)
        facts = Facts(address, shape, strides, self.dtype, self.flags.writeable, None)
        view = DeviceArray(facts, self.place)
        view.kept = self
        return view

    def reshape(self, shape: Any, order: str = "C") -> "DeviceArray":
        """View the elements in memory order in another shape."""
        wanted = (self.size,) if shape == -1 else tuple(shape)
        return self._viewed(self.address, wanted, "F" if order == "F" else "C")

    def __getitem__(self, piece: slice) -> "DeviceArray":
        first, last, _ = piece.indices(self.size)
        return self._viewed(self.address + first * self.itemsize, (last - first,))

    def __setitem__(self, everything: Any, value: Any) -> None:
        machine, stream = self.place.machine, self.place.stream
        same = isinstance(value, DeviceArray) and value.dtype == self.dtype
        if same and value.strides == self.strides:
            machine.copy(self.address, value.address, self.nbytes, stream)
            return
        host = self._on_host()
        host[...] = np.asarray(value)
        machine.write(self.address, host, stream)

    def _on_host(self) -> Array:
        """Return host memory in the same order."""
        return np.empty(self.shape, self.dtype, order="C" if self.flags.c_contiguous else "F")

    def copy(self) -> "DeviceArray":
        """Copy within the device."""
        flat = zeros(self.size, self.dtype, self.place)
        (result := flat.reshape(self.shape, "C" if self.flags.c_contiguous else "F"))[...] = self
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an array in a GPU's memory can only be copied to the host")
        host = self._on_host()
        self.place.machine.read(self.address, host, self.place.stream)
        return host if dtype is None else host.astype(dtype)

    def __repr__(self) -> str:
        return f"<fastrms.cuda array of shape {self.shape} and dtype {self.dtype}>"

    def __reduce__(self) -> Any:
        return _restored, (np.asarray(self), self.place.ordinal)

    def extent(self) -> tuple[int, int]:
        """Return the first and one past the last byte address."""
        return self.address, self.address + self.nbytes

    def facts(self) -> list[int]:
        """Return what is recorded of a variable, read from its owner again."""
        try:
            now = self if self.owner is self else facts_of_owner(self.owner)
        except TypeError:
            return []
        return [now.address, *now.shape, *now.strides, hash(now.dtype)]


def zeros(size: int, dtype: np.dtype[Any], place: Place) -> DeviceArray:
    """Return flat zeros in a device's memory, which is given back with the last view."""
    machine, nbytes = place.machine, size * dtype.itemsize
    try:
        address = machine.allocate(nbytes)
    except DeviceError as error:
        raise DeviceError(
            f"{nbytes} bytes for {size} numbers of {dtype} could not be had on device "
            f"{place.ordinal} ({error}). Nothing was changed. Free memory there, or use fewer or "
            "smaller slots."
        ) from error
    facts = Facts(address, (size,), (dtype.itemsize,), dtype, True, None)
    array = DeviceArray(facts, place)
    weakref.finalize(array, machine.free, address).atexit = False
    machine.clear(address, nbytes, place.stream)
    return array


def _restored(host: Array, ordinal: int) -> DeviceArray:
    """Return a pickled array to a device."""
    cuda.require()
    array = zeros(host.size, host.dtype, Place(ordinal))
    fortran = host.flags.f_contiguous and not host.flags.c_contiguous
    (result := array.reshape(host.shape, "F" if fortran else "C"))[...] = host
    return result


def _received(value: Any, place: Place | None) -> DeviceArray:
    """Return another library's array; a `TypeError` says why it cannot be taken."""
    if isinstance(value, DeviceArray):
        return value
    facts = facts_of_owner(value, None if place is None else place.stream)
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
    theirs = stream_of(next((g for g in gradients if g is not None), None), place.ordinal)
    chosen = place.stream if theirs is None else theirs
    if asked is not None:
        chosen = handle_of(asked)
        if theirs is not None and theirs != chosen:
            place.machine.order(theirs, chosen)
    if chosen != place.stream:
        place.machine.order(place.stream, chosen)
        place.stream = chosen


def require_plain(variable: Any, extra: Any, what: str = "constraints") -> None:
    """Raise if variables on a device come with what works on NumPy arrays alone."""
    if extra and isinstance(variable, DeviceArray):
        raise VariableError(
            f"the variables are on a GPU and there are {what}, which a step there does not carry "
            "out; valid: variables without, or NumPy arrays. Do it yourself after each step."
        )


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
