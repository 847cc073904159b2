"""Elements of an array as compiled code sees them: addresses, stored forms, rounding, squares."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastrms.layout import halves_in_hardware
from fastrms.rule import Hyper, Variant

LANES, TILE = 32, 1024
# Elements between the hints that memory will be needed, and how far ahead they look: measured.
BLOCK, AHEAD, LINE_BYTES = 64, 256, 64


def flushed(builder: Any, value: Any) -> Any:
    """Emit a subnormal number's replacement by a zero of its sign."""
    width = 32 if value.type == ir.FloatType() else 64
    exponent, sign = (0xFF << 23, 1 << 31) if width == 32 else (0x7FF << 52, 1 << 63)
    integer = ir.IntType(width)
    bits = builder.bitcast(value, integer)
    tiny = builder.icmp_unsigned("==", builder.and_(bits, integer(exponent)), integer(0))
    kept = builder.select(tiny, builder.and_(bits, integer(sign)), bits)
    return builder.bitcast(kept, value.type)


def fitted(builder: Any, number: Any, choices: Any, forms: dict[str, Any]) -> Any:
    """Emit a number put into each form (a flag's name, its emitter) that the variant asks for."""
    for name, form in forms.items():
        flag = builder.extract_value(choices, Variant._fields.index(name))
        chosen = builder.trunc(flag, ir.IntType(1))
        number = builder.select(chosen, form(builder, number), number)
    return number


def rounded_to_half(builder: Any, number: Any) -> Any:
    """Emit the float32 that is nearest among the float16 numbers."""
    return builder.fpext(builder.fptrunc(number, ir.HalfType()), number.type)


def least(builder: Any, value: Any, bound: Any) -> Any:
    """Emit the minimum; a NaN in `value` stays."""
    return builder.select(builder.fcmp_ordered("<", bound, value), bound, value)


@intrinsic
def fit(typingctx, value, variant):  # type: ignore[no-untyped-def]
    """Round one result to float16, or flush it if subnormal, where the variant says so."""
    narrow = value.bitwidth == 32 and halves_in_hardware()
    forms = {"flush": flushed, "half": rounded_to_half} if narrow else {"flush": flushed}

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return fitted(builder, *args, forms)

    return value(value, variant), codegen


@intrinsic
def smaller(typingctx, value, bound):  # type: ignore[no-untyped-def]
    """Return the minimum; a NaN in `value` stays."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return least(builder, *args)

    return value(value, bound), codegen


@intrinsic
def pointer(typingctx, like, address):  # type: ignore[no-untyped-def]
    """Reinterpret an address as a pointer of the type of `like`."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[1], args[0].type)

    return like(like, types.uint64), codegen


def _hint(builder: Any, data: Any, first: Any, count: int, bytes_each: int) -> None:
    """Emit hints that the lines of `count` elements will be read soon."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    hint = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    for k in range(0, count, LINE_BYTES // bytes_each):
        place = builder.gep(data, [builder.add(first, first.type(k))])
        # To read, kept in all caches, data: the arguments as LLVM numbers them.
        builder.call(hint, [builder.bitcast(place, byte), number(0), number(3), number(1)])


@intrinsic
def soon(typingctx, pointers, first):  # type: ignore[no-untyped-def]
    """Hint that the blocks `AHEAD` of an element will be needed, which hides their latency."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        ahead = builder.add(args[1], args[1].type(AHEAD))
        for k in range(len(pointers)):
            values = builder.extract_value(args[0], k)
            bytes_each = context.get_abi_sizeof(values.type.pointee)
            _hint(builder, values, ahead, BLOCK, bytes_each)
        return context.get_dummy_value()

    return types.void(pointers, types.intp), codegen


@intrinsic
def address_of(typingctx, place):  # type: ignore[no-untyped-def]
    """Return a pointer's address."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.uint64(place), codegen


@intrinsic
def widen(typingctx, stored):  # type: ignore[no-untyped-def]
    """Turn a stored element into a number: float16 bits become float32."""
    is_half = stored == types.uint16

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if not is_half:
            return args[0]
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return (types.float32 if is_half else stored)(stored), codegen


@intrinsic
def narrow(typingctx, like, value):  # type: ignore[no-untyped-def]
    """Turn a number into an element as stored in `like`."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if like != types.uint16:
            return args[1]
        return builder.bitcast(builder.fptrunc(args[1], ir.HalfType()), ir.IntType(16))

    return like(like, value), codegen


@intrinsic
def doubles(typingctx, address):  # type: ignore[no-untyped-def]
    """View an address as a pointer to float64 numbers."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.uint64), codegen


@intrinsic
def round_to(typingctx, like, value):  # type: ignore[no-untyped-def]
    """Round a float64 number to the type of `like`."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return context.cast(builder, args[1], types.float64, like)

    return like(like, types.float64), codegen


@intrinsic
def scratch(typingctx, like):  # type: ignore[no-untyped-def]
    """Reserve `TILE` elements of the type of `like` on the stack."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return cgutils.alloca_once(builder, args[0].type.pointee, size=TILE)

    return like(like), codegen


@intrinsic
def add_squares(typingctx, lanes, values, n):  # type: ignore[no-untyped-def]
    """Add the squares of `n` stored numbers to 32 float64 lanes: the same bits on any CPU."""
    is_half = values.dtype == types.uint16

    def widened(builder, value, count):  # type: ignore[no-untyped-def]
        kind = ir.DoubleType() if count == 1 else ir.VectorType(ir.DoubleType(), count)
        return value if value.type == kind else builder.fpext(value, kind)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        element = ir.HalfType() if is_half else args[1].type.pointee
        data = builder.bitcast(args[1], element.as_pointer())
        bytes_each = 2 if is_half else context.get_abi_sizeof(element)
        block = ir.VectorType(element, LANES)
        wide = ir.VectorType(ir.DoubleType(), LANES)
        stored = builder.bitcast(args[0], wide.as_pointer())
        # A local copy stays in registers; through memory each sum waits for its own store.
        sums = cgutils.alloca_once_value(builder, builder.load(stored, align=8))
        count = builder.lshr(args[2], args[2].type(5))
        with cgutils.for_range(builder, count) as loop:
            first = builder.shl(loop.index, loop.index.type(5))
            _hint(builder, data, builder.add(first, first.type(2 * AHEAD)), LANES, bytes_each)
            pointer = builder.bitcast(builder.gep(data, [first]), block.as_pointer())
            x = widened(builder, builder.load(pointer, align=2 if is_half else 4), LANES)
            builder.store(builder.fadd(builder.load(sums), builder.fmul(x, x)), sums)
        builder.store(builder.load(sums), stored, align=8)
        done = builder.shl(count, count.type(5))
        with cgutils.for_range(builder, builder.sub(args[2], done)) as loop:
            x = widened(
                builder, builder.load(builder.gep(data, [builder.add(done, loop.index)])), 1
            )
            lane = builder.gep(args[0], [loop.index])
            builder.store(builder.fadd(builder.load(lane), builder.fmul(x, x)), lane)
        return context.get_dummy_value()

    return types.void(lanes, values, types.intp), codegen


@intrinsic
def hyper_of(typingctx, numbers):  # type: ignore[no-untyped-def]
    """Read the numbers of a step."""
    kind = types.NamedUniTuple(numbers.dtype, len(Hyper._fields), Hyper)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        places = (builder.gep(args[0], [word(k)]) for k in range(len(Hyper._fields)))
        return context.make_tuple(builder, kind, [builder.load(place) for place in places])

    return kind(numbers), codegen
