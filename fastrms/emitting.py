"""The rule written down as machine instructions: evaluated once on numbers that emit them.

Numba would type and lower every branch of every variant, which took a second for each kernel; here
only what a variant does comes to be.
"""

import functools
from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from fastrms.elements import flushed, least, rounded_to_half
from fastrms.rule import Hyper, Slots, Variant, make_rule


class Number:
    """A number of the machine code that is being written; its arithmetic emits instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def like(self, value: Any) -> Any:
        """Return a number of the same code."""
        return type(self)(self.builder, value)

    def __add__(self, other: "Number") -> Any:
        return self.like(self.builder.fadd(self.value, other.value))

    def __sub__(self, other: "Number") -> Any:
        return self.like(self.builder.fsub(self.value, other.value))

    def __mul__(self, other: "Number") -> Any:
        return self.like(self.builder.fmul(self.value, other.value))

    def __truediv__(self, other: "Number") -> Any:
        return self.like(self.builder.fdiv(self.value, other.value))

    def __neg__(self) -> Any:
        return self.like(self.builder.fneg(self.value))


def sqrt(number: Number) -> Any:
    """Emit a square root."""
    kind, builder = number.value.type, number.builder
    root = builder.module.declare_intrinsic("llvm.sqrt", [kind])
    return number.like(builder.call(root, [number.value]))


def fit(number: Number, variant: Variant) -> Any:
    """Emit what rounds one result to float16, or flushes it if subnormal, where asked for."""
    builder, value = number.builder, number.value
    if variant.flush:
        value = flushed(builder, value)
    if variant.half:
        value = rounded_to_half(builder, value)
    return number.like(value)


def smaller(number: Number, bound: Number) -> Any:
    """Emit the minimum; a NaN in `number` stays."""
    return number.like(least(number.builder, number.value, bound.value))


_rule = make_rule(sqrt, fit, smaller, lambda function: function)


def code(variant: Variant) -> int:
    """Return a variant as one number: compiled code knows the value of a number by its type."""
    return sum(flag << k for k, flag in enumerate(variant))


@functools.cache
def _variant(number: int) -> Variant:
    """Return the variant of a code."""
    return Variant(*(bool(number >> k & 1) for k in range(len(Variant._fields))))


def _emitted(evaluate: Callable[..., Any], choices: Any) -> Callable[..., Any]:
    """Turn an evaluation of the rule into the writer of its instructions."""
    variant = _variant(choices.literal_value)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        def numbers(kind: Any, value: Any) -> Any:
            if not isinstance(kind, types.BaseTuple):
                return Number(builder, value)
            return [Number(builder, builder.extract_value(value, k)) for k in range(len(kind))]

        given = [numbers(*pair) for pair in zip(signature.args[:-1], args[:-1], strict=True)]
        found = evaluate(*given, variant)
        if isinstance(found, Number):
            return found.value
        return context.make_tuple(builder, signature.return_type, [n.value for n in found])

    return codegen


@intrinsic(prefer_literal=True)
def condition(typingctx, gradient, partial, clip, hyper, choices):  # type: ignore[no-untyped-def]
    """Emit what happens to a gradient before the update."""

    def evaluate(gradient, partial, clip, hyper, variant):  # type: ignore[no-untyped-def]
        return _rule.condition(gradient, partial, clip, Hyper(*hyper), variant)

    signature = gradient(gradient, partial, clip, hyper, choices)
    return signature, _emitted(evaluate, choices)


@intrinsic(prefer_literal=True)
def advance(typingctx, weight, slots, hyper, choices):  # type: ignore[no-untyped-def]
    """Emit an update: of variable, gradient and slots; to variable and slots."""

    def evaluate(weight, slots, hyper, variant):  # type: ignore[no-untyped-def]
        variable, after = _rule.advance(*weight, Slots(*slots), Hyper(*hyper), variant)
        return variable, *after

    found = types.UniTuple(weight.dtype, 1 + len(Slots._fields))
    return found(weight, slots, hyper, choices), _emitted(evaluate, choices)


@intrinsic(prefer_literal=True)
def average(typingctx, old, variable, hyper, choices):  # type: ignore[no-untyped-def]
    """Emit the exponential moving average of a variable."""

    def evaluate(old, variable, hyper, variant):  # type: ignore[no-untyped-def]
        return _rule.average(old, variable, Hyper(*hyper), variant)

    return old(old, variable, hyper, choices), _emitted(evaluate, choices)
