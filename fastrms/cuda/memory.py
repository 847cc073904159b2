"""Arrays in a GPU's memory as the rest of the library, and NumPy, see them.

A `DeviceArray` is another library's array or our own memory. CuPy, PyTorch and others take it in
place by `__cuda_array_interface__` and DLPack. What NumPy does with it happens on a copy in the
host's memory, which waits for the stream of the last step.
"""

import weakref
from dataclasses import dataclass, field
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import cuda
from fastrms.cuda import lending
from fastrms.cuda.protocols import Facts, facts_of_owner, orders, packed
from fastrms.errors import DeviceError
from fastrms.operand import Operand, bare

Array = NDArray[Any]


@dataclass
class Place:
    """A device, and the stream in whose order everything of one optimizer happens there."""

    ordinal: int
    stream: int = 1  # the legacy default stream, as the protocols number it
    held: Any = field(default=None, compare=False, repr=False)  # keeps `stream=` from going away

    @property
    def machine(self) -> Any:
        """The device itself."""
        from fastrms.cuda.target import machine

        return machine(self.ordinal)


class DeviceArray(Operand):
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

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        """View the elements in another shape; columns in the order of rows are read instead."""
        wanted = shape if len(shape) != 1 or isinstance(shape[0], int) else tuple(shape[0])
        if not self.flags.c_contiguous and order == "C":
            return self.value.reshape(wanted)
        if -1 in wanted:
            rest = -prod(wanted)
            wanted = tuple(self.size // max(rest, 1) if n == -1 else n for n in wanted)
        if prod(wanted) != self.size:
            raise ValueError(f"an array of {self.size} elements has no shape {wanted}")
        return self._viewed(self.address, wanted, "F" if order == "F" else "C")

    @property
    def value(self) -> Array:
        """A copy in the host's memory: what NumPy computes with."""
        return np.asarray(self)

    def __getitem__(self, key: Any) -> Any:
        """View consecutive elements of a flat array; read any other choice from a copy."""
        if isinstance(key, slice) and self.ndim == 1 and key.step in (None, 1):
            first, last, _ = key.indices(self.size)
            count = max(last - first, 0)
            return self._viewed(self.address + first * self.itemsize, (count,))
        return self.value[bare(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            raise ValueError("this array on a GPU is read-only")
        machine, stream = self.place.machine, self.place.stream
        whole = key is Ellipsis or (isinstance(key, slice) and key == slice(None))
        same = whole and isinstance(value, DeviceArray) and value.dtype == self.dtype
        if same and value.strides == self.strides and value.shape == self.shape:
            machine.copy(self.address, value.address, self.nbytes, stream)
            return
        host = self._on_host() if whole else self.value
        host[bare(key)] = bare(value)
        machine.write(self.address, host, stream)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = inputs[:1] if method == "at" else kwargs.get("out", ())
        hosts = bare(tuple(out))
        if method == "at":
            inputs = (*hosts, *inputs[1:])
        elif out:
            kwargs["out"] = hosts
        result = getattr(ufunc, method)(*bare(inputs), **bare(kwargs))
        for target, host in zip(out, hosts, strict=True):
            if isinstance(target, DeviceArray):
                target[...] = host
        return out[0] if len(out) == 1 and method != "at" else result

    def __dlpack_device__(self) -> tuple[int, int]:
        return lending.CUDA, self.place.ordinal

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"it lies on device {self.place.ordinal}, and is lent only there")
        source = self.copy() if copy else self
        if stream != -1 and (stream or 1) != self.place.stream:
            self.place.machine.order(self.place.stream, int(stream or 1))
        versioned = max_version is not None and max_version[0] >= 1
        return lending.capsule(source.lent(), self.place.ordinal, source, versioned)

    def lent(self) -> Facts:
        """Return what a borrower is told."""
        writeable = self.flags.writeable
        return Facts(self.address, self.shape, self.strides, self.dtype, writeable, None)

    def _on_host(self) -> Array:
        """Return host memory in the same order."""
        return np.empty(self.shape, self.dtype, order="C" if self.flags.c_contiguous else "F")

    def copy(self) -> "DeviceArray":
        """Copy within the device."""
        flat = zeros(self.size, self.dtype, self.place)
        order = "C" if self.flags.c_contiguous else "F"
        result: DeviceArray = flat.reshape(self.shape, order=order)
        result[...] = self
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
        return placed, (np.asarray(self), self.place.ordinal)

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


def placed(host: Array, ordinal: int) -> DeviceArray:
    """Copy an array to a device."""
    cuda.require()
    array = zeros(host.size, host.dtype, Place(ordinal))
    fortran = host.flags.f_contiguous and not host.flags.c_contiguous
    result: DeviceArray = array.reshape(host.shape, order="F" if fortran else "C")
    result[...] = host
    return result
