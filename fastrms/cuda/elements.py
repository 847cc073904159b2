"""Elements of device memory as compiled code sees them: vectors of 16 bytes, numbers, words.

`memory` gives a kernel its loads and stores for one dtype; in the simulator the same names read
and write host memory, so that the very kernels run there.
"""

import functools
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastrms.elements import fitted, flushed, rounded_to_half
from fastrms.rule import Function

BYTES = 16
SIZES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
COMPUTED = {name: types.float64 if name == "float64" else types.float32 for name in SIZES}


def computed(part: Any) -> str:
    """Return the dtype in which the numbers of a step are passed for a part of a kernel."""
    return "float64" if part.dtype == "float64" else "float32"


class Memory(NamedTuple):
    """How a kernel gets at `width` numbers of one dtype."""

    width: int
    fetch: Function
    put: Function


def _rounded_to_brain(builder: Any, number: Any) -> Any:
    """Emit the bits of the nearest bfloat16 (ties to even) of a float32, a NaN kept a NaN."""
    word = ir.IntType(32)
    bits = builder.bitcast(number, word)
    last = builder.and_(builder.lshr(bits, word(16)), word(1))
    near = builder.add(bits, builder.add(last, word(0x7FFF)))
    quiet = builder.or_(bits, word(0x400000))
    chosen = builder.select(builder.fcmp_unordered("uno", number, number), quiet, near)
    return builder.lshr(chosen, word(16))


def _from_brain(builder: Any, bits: Any) -> Any:
    """Emit the float32 whose upper half is given."""
    return builder.bitcast(builder.shl(bits, bits.type(16)), ir.FloatType())


def _kept_in_brain(builder: Any, number: Any) -> Any:
    """Emit the float32 that is nearest among the bfloat16 numbers."""
    return _from_brain(builder, _rounded_to_brain(builder, number))


@intrinsic
def fit(typingctx, value, variant):  # type: ignore[no-untyped-def]
    """Flush a result if subnormal, or round it to a 16-bit dtype, where the variant says so."""
    forms = {"flush": flushed}
    if value.bitwidth == 32:
        forms |= {"half": rounded_to_half, "brain": _kept_in_brain}

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return fitted(builder, *args, forms)

    return value(value, variant), codegen


@intrinsic
def word(typingctx, address, index):  # type: ignore[no-untyped-def]
    """Read an unsigned word of a table."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        place = builder.add(args[0], builder.shl(args[1], args[1].type(3)))
        pointer = builder.inttoptr(place, ir.IntType(64).as_pointer(addrspace=1))
        return builder.load(pointer, align=8)

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def double_at(typingctx, address, index):  # type: ignore[no-untyped-def]
    """Read a float64 number."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        place = builder.add(args[0], builder.shl(args[1], args[1].type(3)))
        return builder.load(
            builder.inttoptr(place, ir.DoubleType().as_pointer(addrspace=1)), align=8
        )

    return types.float64(types.uint64, types.uint64), codegen


@intrinsic
def set_double(typingctx, address, value):  # type: ignore[no-untyped-def]
    """Write a float64 number."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(args[0], ir.DoubleType().as_pointer(addrspace=1))
        builder.store(args[1], pointer, align=8)
        return context.get_dummy_value()

    return types.void(types.uint64, types.float64), codegen


class _Form(NamedTuple):
    """How numbers of a dtype lie in memory and become the numbers in which they are computed."""

    stored: Any
    brain: bool

    def split(self, builder: Any, loaded: Any, width: int, kind: Any) -> list[Any]:
        """Emit the numbers of a loaded vector; two bfloat16 share a 32-bit word."""
        if self.brain and width > 1:
            word = ir.IntType(32)
            pairs = [builder.extract_element(loaded, word(k)) for k in range(width // 2)]
            low = [_from_brain(builder, pair) for pair in pairs]
            high = [
                builder.bitcast(builder.and_(p, word(0xFFFF0000)), ir.FloatType()) for p in pairs
            ]
            return [half for both in zip(low, high, strict=True) for half in both]
        if width > 1:
            found = [builder.extract_element(loaded, ir.IntType(32)(k)) for k in range(width)]
        else:
            found = [loaded]
        if self.brain:
            return [_from_brain(builder, builder.zext(one, ir.IntType(32))) for one in found]
        return [one if one.type == kind else builder.fpext(one, kind) for one in found]

    def join(self, builder: Any, numbers: list[Any]) -> Any:
        """Emit the vector to be stored."""
        if self.brain:
            bits = [_rounded_to_brain(builder, one) for one in numbers]
            if len(bits) == 1:
                return builder.trunc(bits[0], self.stored)
            pairs = zip(bits[::2], bits[1::2], strict=True)
            parts = [builder.or_(low, builder.shl(high, high.type(16))) for low, high in pairs]
        else:
            kind = self.stored
            parts = [one if one.type == kind else builder.fptrunc(one, kind) for one in numbers]
        if len(numbers) == 1:
            return parts[0]
        result = ir.Constant(ir.VectorType(parts[0].type, len(parts)), ir.Undefined)
        for k, part in enumerate(parts):
            result = builder.insert_element(result, part, ir.IntType(32)(k))
        return result


_FORMS = {
    "float16": _Form(ir.HalfType(), False),
    "bfloat16": _Form(ir.IntType(16), True),
    "float32": _Form(ir.FloatType(), False),
    "float64": _Form(ir.DoubleType(), False),
}


@functools.cache
def memory(dtype: str, width: int) -> Memory:
    """Write loads and stores of `width` numbers of a dtype, at an address aligned to them."""
    form, number, size = _FORMS[dtype], COMPUTED[dtype], SIZES[dtype]
    pack, align = form.stored, min(size * width, BYTES)
    if width > 1 and form.brain:
        pack = ir.VectorType(ir.IntType(32), width // 2)
    elif width > 1:
        pack = ir.VectorType(form.stored, width)

    def place(builder: Any, address: Any) -> Any:
        return builder.inttoptr(address, pack.as_pointer(addrspace=1))

    @intrinsic
    def fetch(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            kind = context.get_value_type(number)
            local = cgutils.alloca_once(builder, kind, size=width)
            loaded = builder.load(place(builder, args[0]), align=align)
            for k, one in enumerate(form.split(builder, loaded, width, kind)):
                builder.store(one, builder.gep(local, [ir.IntType(32)(k)]))
            return local

        return types.CPointer(number)(types.uint64), codegen

    @intrinsic
    def put(typingctx, address, values):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            places = (builder.gep(args[1], [ir.IntType(32)(k)]) for k in range(width))
            numbers = [builder.load(one) for one in places]
            builder.store(form.join(builder, numbers), place(builder, args[0]), align=align)
            return context.get_dummy_value()

        return types.void(types.uint64, types.CPointer(number)), codegen

    return Memory(width, fetch, put)
