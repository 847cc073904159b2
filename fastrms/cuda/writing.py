"""What kernels are written with when they become machine code: each operation emits instructions.

A kernel is a Python function that is evaluated once, on numbers and words of the code to come;
loops and branches are generators, whose bodies are emitted where they are resumed. `simulated` has
the same names for the simulator, where the same functions run on NumPy's numbers.
"""

import functools
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fastrms import emitting
from fastrms.cuda.elements import BYTES, FORMS, INDEX, KINDS, SIZES, Memory, kept_in_brain
from fastrms.emitting import Number
from fastrms.instructions import WORD, call
from fastrms.rule import Function, Hyper, Variant, make_rule


class Truth(Number):
    """Whether something holds, known to the device alone."""

    def __and__(self, other: "Truth") -> "Truth":
        return Truth(self.builder, self.builder.and_(self.value, other.value))

    def __bool__(self) -> bool:
        raise TypeError("only the device knows whether it holds; valid: `when` and `choose`")


class Real(Number):
    """A number that can be compared."""

    def __neg__(self) -> Any:  # NVVM's LLVM has no instruction for it and knows it in this form
        return self.like(self.builder.fsub(self.value.type(-0.0), self.value))

    def __ge__(self, other: "Real") -> Any:
        return Truth(self.builder, self.builder.fcmp_ordered(">=", self.value, other.value))

    def __ne__(self, other: Any) -> Any:  # a NaN differs from all
        other = self.value.type(other)
        return Truth(self.builder, self.builder.fcmp_unordered("!=", self.value, other))


class _Supposed(Real):
    """A number that answers a question as is supposed, and notes the question."""

    def __init__(self, number: Real, answer: bool, asked: list[Truth]) -> None:
        super().__init__(number.builder, number.value)
        self._answer, self._asked = answer, asked

    def __ge__(self, other: Real) -> Any:
        self._asked.append(super().__ge__(other))
        return self._answer

    def like(self, value: Any) -> Any:
        return Real(self.builder, value)


def _operation(name: str) -> Any:
    """Write an operation of words, the second of which may be known now."""

    def emit(one: Number, other: Any) -> Any:
        return one.like(getattr(one.builder, name)(one.value, _bits(other)))

    return emit


class Word(Number):
    """An unsigned word of 64 bits: an address, a count, an index."""

    __add__, __sub__, __mul__ = _operation("add"), _operation("sub"), _operation("mul")
    __floordiv__, __mod__ = _operation("udiv"), _operation("urem")
    __or__, __and__ = _operation("or_"), _operation("and_")

    def __lt__(self, other: Any) -> Truth:
        return Truth(self.builder, self.builder.icmp_unsigned("<", self.value, _bits(other)))

    def __eq__(self, other: Any) -> Any:
        return Truth(self.builder, self.builder.icmp_unsigned("==", self.value, _bits(other)))


def _bits(word: Any) -> Any:
    """Return a value in the code."""
    return word.value if isinstance(word, Number) else WORD(int(word))


def _place(base: Word, index: Word | int, size: int, kind: Any) -> Any:
    """Emit a pointer to the device's memory, so many elements of a size after a base."""
    address: Word = base + index * size
    return base.builder.inttoptr(address.value, kind.as_pointer(addrspace=1))


def word(base: Word, index: Word | int) -> Word:
    """Read an unsigned word of a table."""
    builder = base.builder
    return Word(builder, builder.load(_place(base, index, 8, WORD), align=8))


@functools.cache
def memory(dtype: str, width: int) -> Memory:
    """Write loads and stores of `width` numbers of a dtype, at an address aligned to them."""
    form, size, align = FORMS[dtype], SIZES[dtype], min(SIZES[dtype] * width, BYTES)

    def fetch(base: Word, index: Word | int) -> list[Real]:
        builder, place = base.builder, _place(base, index, size, form.pack(width))
        loaded = builder.load(place, align=align)
        return [Real(builder, one) for one in form.split(builder, loaded, width, KINDS[dtype])]

    def put(base: Word, index: Word | int, values: list[Real]) -> None:
        joined = form.join(base.builder, [one.value for one in values])
        base.builder.store(joined, _place(base, index, size, form.pack(width)), align=align)

    return Memory(fetch, put)


def spread(first: Any, end: Word, step: Any) -> Iterator[Word]:
    """Emit a loop over every `step`-th word from `first` on that is less than `end`."""
    builder = end.builder
    before = builder.block
    head, body, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(WORD)
    index.add_incoming(_bits(first), before)
    builder.cbranch(builder.icmp_unsigned("<", index, end.value), body, after)
    builder.position_at_end(body)
    yield Word(builder, index)
    index.add_incoming(builder.add(index, _bits(step)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def when(truth: Truth) -> Iterator[None]:
    """Emit what happens if something holds."""
    with truth.builder.if_then(truth.value):
        yield


def choose(truth: Truth, one: Any, other: Any) -> Any:
    """Emit one of two numbers or words."""
    return one.like(truth.builder.select(truth.value, one.value, _bits(other)))


class _Numbers:
    """Numbers at a place of the kernel's own."""

    def __init__(self, builder: Any, first: Any) -> None:
        self._builder, self._first = builder, first

    def __getitem__(self, index: Any) -> Real:
        return Real(self._builder, self._builder.load(self._at(index)))

    def __setitem__(self, index: Any, number: Real) -> None:
        self._builder.store(number.value, self._at(index))

    def _at(self, index: Any) -> Any:
        return self._builder.gep(self._first, [_bits(index)])


class Grid:
    """A thread's place among the others, and what it shares with those of its block."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self.thread, self.block = self._special("tid"), self._special("ctaid")

    def _special(self, name: str) -> Word:
        """Emit the reading of a special register."""
        found = call(self._builder, f"llvm.nvvm.read.ptx.sreg.{name}.x", INDEX)
        return Word(self._builder, self._builder.zext(found, WORD))

    def shared(self, count: int) -> _Numbers:
        """Reserve float64 numbers for a block: one array for all who ask for so many."""
        builder, double, name = self._builder, ir.DoubleType(), f"shared{count}"
        array = builder.module.globals.get(name)
        if array is None:
            array = ir.GlobalVariable(builder.module, ir.ArrayType(double, count), name, 3)
            array.initializer = ir.Constant(array.value_type, ir.Undefined)
            array.align = 8
        return _Numbers(builder, builder.bitcast(array, double.as_pointer(3)))

    def barrier(self) -> None:
        """Emit the wait for all threads of a block."""
        call(self._builder, "llvm.nvvm.barrier0", ir.VoidType())

    def cell(self, value: Real | float) -> _Numbers:
        """Reserve a number that loops change."""
        bits = value.value if isinstance(value, Real) else ir.DoubleType()(value)
        return _Numbers(self._builder, cgutils.alloca_once_value(self._builder, bits))


def cast(number: Real, dtype: str) -> Any:
    """Emit a number in the dtype in which those of a dtype are computed."""
    kind, builder = KINDS[dtype], number.builder
    change = builder.fpext if dtype == "float64" else builder.fptrunc
    return number if number.value.type == kind else number.like(change(number.value, kind))


def fit(number: Any, variant: Variant) -> Any:
    """Emit what flushes a result if subnormal, or rounds it to 16 bits, where asked for."""
    number = emitting.fit(number, variant)
    kept = kept_in_brain(number.builder, number.value) if variant.brain else number.value
    return number.like(kept)


sqrt = emitting.sqrt
rule = make_rule(sqrt, fit, emitting.smaller, lambda function: function)


def clip_pair(norm: Real, *others: Any) -> Any:
    """Emit a clip: both ways of the one branch that the rule takes on a number, and the choice."""
    asked: list[Truth] = []
    ways = [rule.clip(_Supposed(norm, answer, asked), *others) for answer in (True, False)]
    return [choose(asked[0], *both) for both in zip(*ways, strict=True)] if asked else ways[0]


def write(function: Function, builder: Any, arguments: Any) -> None:
    """Emit a kernel where a builder stands: of a table, its rows, and the numbers of each dtype."""
    table, rows, sets = arguments
    numbers = [
        Hyper(
            *(
                Real(builder, builder.extract_value(sets, (k, field)))
                for field in range(len(Hyper._fields))
            )
        )
        for k in range(len(sets.type.elements))
    ]
    function(Grid(builder), Word(builder, table), Word(builder, rows), numbers)
