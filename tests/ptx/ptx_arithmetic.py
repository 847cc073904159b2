"""What PTX's arithmetic gives, on NumPy arrays of one number a thread.

Source: NVIDIA's "Parallel Thread Execution ISA", chapter 9 (instruction set). NumPy's float32 and
float64 operations are the IEEE ones that `.rn` names; those of float16 are computed in float32 and
rounded once more, which gives the same for sums, differences and products. Every name is the whole
name of an instruction: one with another modifier (`.ftz`, `.approx`, `.sat`) is another one, and
so are `fma`, and `add`, `sub` and `mul` without `.rn`, which an assembler may contract.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ptx_text import SIZES, PtxError

Array = NDArray[Any]
# What a result that is no number looks like: payloads are lost in float16 and float32.
NOT_A_NUMBER = {"f16": np.uint16(0x7FFF), "f32": np.uint32(0x7FFFFFFF)}
WHOLE = [f"{sign}{bits}" for sign in "su" for bits in (16, 32, 64)]
FLOATS = ("f32", "f64")


@functools.cache
def dtype_of(kind: str) -> np.dtype[Any]:
    """Return NumPy's dtype of a type of PTX; bits are unsigned numbers."""
    if kind == "pred":
        return np.dtype(bool)
    letter = {"b": "u", "u": "u", "s": "i", "f": "f"}[kind[0]]
    return np.dtype(f"{letter}{SIZES[kind]}")


class Operation(NamedTuple):
    """An instruction that computes a result from operands of these types."""

    result: str
    operands: tuple[str, ...]
    compute: Callable[..., Array]


OPERATIONS: dict[str, Operation] = {}


def _add(name: str, result: str, operands: tuple[str, ...], compute: Callable[..., Any]) -> None:
    """Write an operation down; floating-point results that are no numbers all look alike."""

    def canonical(*values: Array) -> Array:
        found: Array = compute(*values)
        odd = np.isnan(found)
        if odd.any():
            bits = found.view(dtype_of(f"b{result[1:]}")).copy()
            bits[odd] = NOT_A_NUMBER[result]
            return bits.view(found.dtype)
        return found

    computes = result in NOT_A_NUMBER and not name.startswith(("mov", "selp", "neg", "abs"))
    OPERATIONS[name] = Operation(result, operands, canonical if computes else compute)


def _divided(divide: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to divide by zero, which gives what the machine likes."""

    def checked(a: Array, b: Array) -> Array:
        if not b.all():
            raise PtxError("a whole number is divided by zero")
        if a.dtype.kind == "i" and (a < 0).any() | (b < 0).any():
            raise PtxError("the division of negative numbers is not known here")
        found: Array = divide(a, b)
        return found

    return checked


def _upper(wide: Any, bits: int) -> Callable[..., Any]:
    """Return what computes the upper halves of products, of a type that a wider one holds."""
    return lambda a, b: (a.astype(wide) * b.astype(wide) >> bits).astype(a.dtype)


def _high(a: Array, b: Array) -> Array:
    """Return the upper halves of products of 64-bit numbers."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & low, a >> half, b & low, b >> half
    middle = a1 * b0 + (a0 * b0 >> half)
    rest = a0 * b1 + (middle & low)
    found: Array = a1 * b1 + (middle >> half) + (rest >> half)
    return found


def _shifted(shift: Callable[..., Any]) -> Callable[..., Any]:
    """Shift by at most the width, where NumPy leaves open what comes of more."""

    def clamped(a: Array, amount: Array) -> Array:
        width = 8 * a.itemsize
        over = amount >= width
        some = np.minimum(amount, width - 1).astype(a.dtype)
        shifted = shift(a, some)
        found: Array = np.where(over, shift(shifted, a.dtype.type(1)), shifted)
        return found

    return clamped


def _extracted(a: Array, first: Array, count: Array) -> Array:
    """Return bit fields, zero-extended (`bfe.u32`)."""
    first, count = first & 255, count & 255
    if (count > 32).any() or (first > 31).any():
        raise PtxError("a bit field that reaches beyond its word is not known here")
    mask = ((np.uint64(1) << count.astype(np.uint64)) - np.uint64(1)).astype(np.uint32)
    found: Array = (a >> first) & mask
    return found


def _permuted(a: Array, b: Array, selector: Array) -> Array:
    """Choose four bytes of eight (`prmt.b32` without a mode)."""
    both = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
    result = np.zeros(a.shape, np.uint32)
    for k in range(4):
        choice = selector >> np.uint32(4 * k) & np.uint32(15)
        byte = (both >> ((choice & 7) * 8).astype(np.uint64) & np.uint64(255)).astype(np.uint32)
        signs = np.where(byte & 128, np.uint32(255), np.uint32(0))
        result |= np.where(choice & 8, signs, byte) << np.uint32(8 * k)
    return result


def _same(a: Array) -> Array:
    """Return what is given."""
    return a


def _chosen(a: Array, b: Array, first: Array) -> Array:
    """Return one of two."""
    return np.where(first, a, b)


_BASIC: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul.lo": np.multiply, "min": np.minimum, "max": np.maximum,
}  # fmt: skip


def _add_whole_numbers() -> None:
    """Write down what is done with whole numbers."""
    for kind in WHOLE:
        two, half = (kind, kind), SIZES[kind] <= 4
        for name, compute in _BASIC.items():
            _add(f"{name}.{kind}", kind, two, compute)
        _add(f"div.{kind}", kind, two, _divided(np.floor_divide))
        _add(f"rem.{kind}", kind, two, _divided(np.remainder))
        _add(f"mad.lo.{kind}", kind, (*two, kind), lambda a, b, c: a * b + c)
        if half:
            wide = f"{kind[0]}{2 * int(kind[1:])}"
            to, bits = dtype_of(wide), 8 * SIZES[kind]
            _add(f"mul.wide.{kind}", wide, two, lambda a, b, t=to: a.astype(t) * b.astype(t))
            _add(f"mul.hi.{kind}", kind, two, _upper(to, bits))
            _add(f"mad.wide.{kind}", wide, (*two, wide),
                 lambda a, b, c, t=to: a.astype(t) * b.astype(t) + c)  # fmt: skip
        if kind[0] == "s":
            _add(f"neg.{kind}", kind, (kind,), np.negative)
            _add(f"abs.{kind}", kind, (kind,), np.abs)
        _add(f"shr.{kind}", kind, (kind, "u32"), _shifted(np.right_shift))
        for other in WHOLE:
            if other != kind:
                to = dtype_of(kind)
                _add(f"cvt.{kind}.{other}", kind, (other,), lambda a, t=to: a.astype(t))
    _add("mul.hi.u64", "u64", ("u64", "u64"), _high)
    _add("bfe.u32", "u32", ("u32", "u32", "u32"), _extracted)
    _add("prmt.b32", "b32", ("b32", "b32", "b32"), _permuted)


def _add_bits() -> None:
    """Write down what is done with bits and truth values, and moves."""
    for kind in ("b16", "b32", "b64", "pred"):
        for name, compute in (
            ("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor),
        ):  # fmt: skip
            _add(f"{name}.{kind}", kind, (kind, kind), compute)
        _add(f"not.{kind}", kind, (kind,), np.invert)
        _add(f"mov.{kind}", kind, (kind,), _same)
    for bits in ("16", "32", "64"):
        _add(f"shl.b{bits}", f"b{bits}", (f"b{bits}", "u32"), _shifted(np.left_shift))
        _add(f"shr.b{bits}", f"b{bits}", (f"b{bits}", "u32"), _shifted(np.right_shift))
        for letter in "busf" if bits != "16" else "bus":
            kind = f"{letter}{bits}"
            _add(f"mov.{kind}", kind, (kind,), _same)
            _add(f"selp.{kind}", kind, (kind, kind, "pred"), _chosen)


def _add_comparisons() -> None:
    """Write down comparisons: of floating-point numbers, the ordered and the unordered."""
    basic = {
        "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
        "gt": np.greater, "ge": np.greater_equal,
    }  # fmt: skip
    for name, compare in basic.items():
        for kind in WHOLE if name not in ("eq", "ne") else [*WHOLE, "b16", "b32", "b64"]:
            _add(f"setp.{name}.{kind}", "pred", (kind, kind), compare)
        for kind in ("f16", *FLOATS):
            _add(f"setp.{name}.{kind}", "pred", (kind, kind),
                 lambda a, b, c=compare: c(a, b) & ~(np.isnan(a) | np.isnan(b)))  # fmt: skip
            _add(f"setp.{name}u.{kind}", "pred", (kind, kind),
                 lambda a, b, c=compare: c(a, b) | np.isnan(a) | np.isnan(b))  # fmt: skip
    for kind in ("f16", *FLOATS):
        _add(f"setp.nan.{kind}", "pred", (kind, kind), lambda a, b: np.isnan(a) | np.isnan(b))
        _add(f"setp.num.{kind}", "pred", (kind, kind), lambda a, b: ~(np.isnan(a) | np.isnan(b)))


def _lesser(a: Array, b: Array, sign: int) -> Array:
    """Return the number if only one is one; -0 is below +0."""
    first = np.where(a == b, np.signbit(a) == (sign > 0), a < b if sign > 0 else a > b)
    return np.where(np.isnan(a), b, np.where(np.isnan(b) | first, a, b))


def _add_floats() -> None:
    """Write down what is done with floating-point numbers, each result rounded by itself."""
    for kind in ("f16", *FLOATS):
        two = (kind, kind)
        for name, compute in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply)):
            _add(f"{name}.rn.{kind}", kind, two, compute)
        _add(f"neg.{kind}", kind, (kind,), np.negative)
        _add(f"abs.{kind}", kind, (kind,), np.abs)
    for kind in FLOATS:
        _add(f"div.rn.{kind}", kind, (kind, kind), np.divide)
        _add(f"sqrt.rn.{kind}", kind, (kind,), np.sqrt)
        _add(f"min.{kind}", kind, (kind, kind), lambda a, b: _lesser(a, b, 1))
        _add(f"max.{kind}", kind, (kind, kind), lambda a, b: _lesser(a, b, -1))
        for whole in ("s32", "u32", "s64", "u64"):
            to = dtype_of(kind)
            _add(f"cvt.rn.{kind}.{whole}", kind, (whole,), lambda a, t=to: a.astype(t))
    for wide, narrow in (("f32", "f16"), ("f64", "f16"), ("f64", "f32")):
        to, back = dtype_of(wide), dtype_of(narrow)
        _add(f"cvt.{wide}.{narrow}", wide, (narrow,), lambda a, t=to: a.astype(t))
        if (wide, narrow) != ("f64", "f16"):
            _add(f"cvt.rn.{narrow}.{wide}", narrow, (wide,), lambda a, t=back: a.astype(t))


_add_whole_numbers()
_add_bits()
_add_comparisons()
_add_floats()
