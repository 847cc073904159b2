"""Each instruction of the machine, run from PTX, against Python's own whole numbers and floats."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import ptx_needed  # noqa: F401
import pytest
from ptx_arithmetic import OPERATIONS, dtype_of
from ptx_samples import operation, run

ODD = {
    "f16": [0.0, -0.0, 1.5, -2.25, 65504.0, 6e-8, -6.1e-5, 1e-3, math.inf, -math.inf, math.nan],
    "f32": [0.0, -0.0, 1.1, -2.7, 3.4e38, 1e-45, -1.2e-38, 7.7e-4, math.inf, -math.inf, math.nan],
    "f64": [0.0, -0.0, 1.1, -2.7, 1.7e308, 5e-324, -2e-308, 7e-9, math.inf, -math.inf, math.nan],
}
WHOLE = [0, 1, 2, 3, 7, 31, 32, 33, 100, 1000, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
         0xFFFFFFFF, 0x123456789ABCDEF, 2**63 - 1, 2**63, 2**64 - 1]  # fmt: skip
PACK = {"f16": "e", "f32": "f", "f64": "d"}
DIVIDING = ("div.s", "div.u", "rem.")


def wrapped(value: int, kind: str) -> int:
    """Return a whole number as a type keeps it."""
    bits = int(kind[1:])
    value %= 2**bits
    return value - 2**bits if kind[0] == "s" and value >= 2 ** (bits - 1) else value


def rounded(value: float, kind: str) -> float:
    """Return a number as a type keeps it; what is too large is infinite."""
    try:
        return float(struct.unpack(PACK[kind], struct.pack(PACK[kind], value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def quotient(a: float, b: float) -> float:
    """Divide as IEEE 754 does."""
    if b == 0:
        odd = a == 0 or math.isnan(a)
        return math.nan if odd else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def root(a: float) -> float:
    """Take a root as IEEE 754 does."""
    return math.sqrt(a) if a >= 0 else math.nan


def extreme(a: float, b: float, largest: bool) -> float:
    """Return the number if only one is one, and of two zeros the one with the wanted sign."""
    if math.isnan(a) or math.isnan(b):
        return b if math.isnan(a) else a
    key = (a, math.copysign(1, a)), (b, math.copysign(1, b))
    return (max(key) if largest else min(key))[0]


def permuted(a: int, b: int, selector: int) -> int:
    """Choose four bytes."""
    found = 0
    for k in range(4):
        choice = selector >> 4 * k & 15
        byte = (b << 32 | a) >> 8 * (choice & 7) & 255
        if choice & 8:
            byte = 255 * (byte >> 7)
        found |= byte << 8 * k
    return found


COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
SIMPLE: dict[str, Any] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "mad": lambda a, b, c: a * b + c, "and": lambda a, b: a & b, "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b, "neg": lambda a: -a, "abs": abs, "not": lambda a: ~a,
    "mov": lambda a: a, "cvt": lambda a: a, "selp": lambda a, b, c: a if c else b,
    "shl": lambda a, n: a << min(n, 64), "shr": lambda a, n: a >> min(n, 64),
    "bfe": lambda a, n, m: a >> n & (1 << m) - 1, "prmt": permuted, "sqrt": root,
}  # fmt: skip


def expected(name: str, operands: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """Compute one result, not yet rounded or wrapped."""
    head, *rest = name.split(".")
    floating = operands[0][0] == "f"
    if head == "setp":
        odd = floating and any(math.isnan(v) for v in values)
        if rest[0] in ("nan", "num"):
            return odd == (rest[0] == "nan")
        unordered = floating and rest[0] not in COMPARE
        sign = COMPARE[rest[0][:-1] if unordered else rest[0]]
        return unordered if odd else eval(f"a {sign} b", {"a": values[0], "b": values[1]})
    if head in ("min", "max"):
        first, second = values
        if floating:
            return extreme(first, second, head == "max")
        return max(first, second) if head == "max" else min(first, second)
    if head == "div":
        return quotient(*values) if floating else values[0] // values[1]
    if head == "rem":
        return values[0] % values[1]
    if head == "not" and operands[0] == "pred":
        return not values[0]
    if rest[0] == "hi":
        return values[0] * values[1] >> int(operands[0][1:])
    return SIMPLE[head](*values)


def inputs(name: str, kind: str, place: int) -> list[Any]:
    """Return what an operand may be: for those of one kind, each meets each of the other."""
    if kind == "pred":
        chosen: list[Any] = [True, False]
    elif kind[0] == "f":
        chosen = [rounded(v, kind) for v in ODD[kind]]
    else:
        chosen = sorted({wrapped(v, kind) for v in WHOLE})
    if name == "bfe.u32" and place:
        chosen = [0, 1, 8, 31]
    if name.startswith(DIVIDING):
        chosen = [v for v in chosen if v > 0]
    return chosen


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_instruction_is_pythons(name: str) -> None:
    result, operands, _ = OPERATIONS[name]
    lists = [inputs(name, kind, k) for k, kind in enumerate(operands)]
    if len(lists) == 3 and len(lists[2]) > 4:
        lists[2] = lists[2][::3]
    cases: list[tuple[Any, ...]] = [()]
    for one in lists:
        cases = [(*case, v) for case in cases for v in one]
    arrays = [
        np.array([c[k] for c in cases], np.uint32 if kind == "pred" else dtype_of(kind))
        for k, kind in enumerate(operands)
    ]
    kind = result if result != "pred" else "u32"
    target = np.zeros(len(cases), dtype_of(kind))
    text = operation(name, result, operands)
    found = run(text, [*arrays, target], (len(cases), 1))[-1]
    for case, ours in zip(cases, found.tolist(), strict=True):
        wanted = expected(name, operands, case)
        if result[0] == "f":
            wanted = rounded(wanted, result)
            same = ours == wanted and math.copysign(1, ours) == math.copysign(1, wanted)
            assert same or (math.isnan(ours) and math.isnan(wanted)), (case, ours, wanted)
        else:
            wanted = int(wanted) if result == "pred" else wrapped(wanted, kind)
            assert ours == wanted, (case, ours, wanted)


@pytest.mark.parametrize(("name", "bits"), [("add.rn.f32", 0x7FFFFFFF), ("mul.rn.f16", 0x7FFF)])
def test_payloads_are_lost(name: str, bits: int) -> None:
    result, operands, _ = OPERATIONS[name]
    kind = dtype_of(f"b{result[1:]}")
    odd = np.array([bits ^ 0x101], kind)
    assert run(operation(name, result, operands), [odd, odd, 0 * odd], (1, 1))[-1] == bits
