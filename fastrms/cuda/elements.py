"""Elements of device memory as instructions see them: vectors of 16 bytes, the numbers in them."""

from typing import Any, NamedTuple

from llvmlite import ir

from fastrms.rule import Function

BYTES, INDEX = 16, ir.IntType(32)
SIZES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
KINDS = {n: ir.DoubleType() if n == "float64" else ir.FloatType() for n in SIZES}


def computed(part: Any) -> str:
    """Return the dtype in which the numbers of a step are passed for a part of a kernel."""
    return "float64" if part.dtype == "float64" else "float32"


class Memory(NamedTuple):
    """How a kernel gets at numbers of one dtype: from a base, and an index of single ones, on."""

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


def kept_in_brain(builder: Any, number: Any) -> Any:
    """Emit the float32 that is nearest among the bfloat16 numbers."""
    return _from_brain(builder, _rounded_to_brain(builder, number))


class Form(NamedTuple):
    """How numbers of a dtype lie in memory and become the numbers in which they are computed."""

    stored: Any
    brain: bool

    def pack(self, width: int) -> Any:
        """Return what a vector is loaded and stored as."""
        if width == 1:
            return self.stored
        kind, count = (ir.IntType(32), width // 2) if self.brain else (self.stored, width)
        return ir.VectorType(kind, count)

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
            found = [builder.extract_element(loaded, INDEX(k)) for k in range(width)]
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
            result = builder.insert_element(result, part, INDEX(k))
        return result


FORMS = {
    "float16": Form(ir.HalfType(), False),
    "bfloat16": Form(ir.IntType(16), True),
    "float32": Form(ir.FloatType(), False),
    "float64": Form(ir.DoubleType(), False),
}
