"""A step as a program: rows of (compiled function, addresses) that one compiled call carries out.

Rows of one phase may run on any thread in any order; a phase begins when the one before has ended.
Nothing in here knows RMSprop; the functions that the rows name come from `kernels`.
"""

import platform
from enum import IntEnum
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastrms import compiling
from fastrms.errors import VariableError
from fastrms.instructions import BYTES, WORD, Words, call, repeated
from fastrms.layout import FLUSH_BITS, Count
from fastrms.rule import Function


class Column(IntEnum):
    """The members of a row, each an unsigned 64-bit word."""

    FUNCTION = 0
    NUMBERS = 1
    LENGTH = 2
    VARIABLE = 3
    GRADIENT = 4
    VELOCITY = 5
    MOMENTUM = 6
    AVERAGE_GRADIENT = 7
    AVERAGE = 8
    ACCUMULATOR = 9
    CLIP = 10
    # Other names of the same words, in rows that check gradients or update rows of a table.
    TABLE = 4
    FIRST = 9
    GUARD = 10


class Order(IntEnum):
    """The words that say which program to run and how; one address is all that a call passes."""

    TABLE = 0
    WIDTH = 1
    STATE = 2
    ENDS = 3
    PHASES = 4
    COUNTER = 5
    MODE = 6


# A ticket carries the number of its run above these bits: a thread that was held up between reading
# and claiming a ticket cannot claim the ticket of the same place in a later run.
_RUN_BITS, _TICKET = 24, (1 << 24) - 1
MOST_ROWS = 1 << _RUN_BITS
# Byte offsets of a running program's shared words; the first says whether it is open.
_OPEN, _LIMIT, _NEXT, _DONE = 0, 8, 16, 24
STATE_WORDS, FLUSH, ALONE = 4, 1, 2


def numbered(rows: list[list[int]]) -> list[list[int]]:
    """Return the rows of a program, or raise if tickets cannot number them."""
    if len(rows) > MOST_ROWS:
        raise VariableError(
            f"a step over these variables has {len(rows)} pieces; valid: at most {MOST_ROWS} in "
            "one optimizer. Nothing was changed. Use several optimizers, or jit_compile=False."
        )
    return rows


def call_row(builder: Any, row: Any, numbers: Any, function: Any) -> None:
    """Emit a call of a row's function with the addresses of the row and of its numbers."""
    kind = ir.FunctionType(ir.VoidType(), [WORD.as_pointer(), BYTES, BYTES])
    first, second = builder.inttoptr(row, kind.args[0]), builder.inttoptr(numbers, BYTES)
    builder.call(builder.inttoptr(function, kind.as_pointer()), [first, second, second])


@intrinsic
def invoke(typingctx, row, numbers, function):  # type: ignore[no-untyped-def]
    """Call a row's function with the addresses of the row and of its numbers."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        call_row(builder, *args)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), codegen


@intrinsic
def words(typingctx, address):  # type: ignore[no-untyped-def]
    """View an address as a pointer to unsigned words."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], WORD.as_pointer())

    return types.CPointer(types.uint64)(types.uint64), codegen


class _Running:
    """A running program, as the machine code that is being written sees it."""

    def __init__(self, builder: Any, order: Words) -> None:
        self.builder = builder
        self._table, self._width = order[Order.TABLE], order[Order.WIDTH]
        self._state, self._asked = order[Order.STATE], order[Order.MODE]
        self._mode = cgutils.alloca_once(builder, ir.IntType(32))

    def asked(self, bit: int) -> Any:
        """Emit whether a bit of the mode is set."""
        return cgutils.is_true(self.builder, self.builder.and_(self._asked, WORD(bit)))

    def enter_mode(self) -> Any:
        """Emit: let this thread flush subnormal numbers or keep them, as asked; give its mode."""
        builder, word = self.builder, ir.IntType(32)
        if not FLUSH_BITS:
            return word(0)
        call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), self._mode_place)
        old = builder.load(self._mode)
        kept = builder.and_(old, word(~FLUSH_BITS & 0xFFFFFFFF))
        self.leave_mode(builder.select(self.asked(FLUSH), builder.or_(old, word(FLUSH_BITS)), kept))
        return old

    def leave_mode(self, mode: Any) -> None:
        """Emit: set this thread's mode."""
        if FLUSH_BITS:
            self.builder.store(mode, self._mode)
            call(self.builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), self._mode_place)

    @property
    def _mode_place(self) -> Any:
        """Where LLVM's functions find the word that holds the mode."""
        return self.builder.bitcast(self._mode, BYTES)

    def _shared(self, offset: int) -> Any:
        """Emit the place of a word that several threads write."""
        address = self.builder.add(self._state, WORD(offset))
        return self.builder.inttoptr(address, WORD.as_pointer())

    def load(self, offset: int) -> Any:
        """Emit: read a shared word."""
        return self.builder.load_atomic(self._shared(offset), "seq_cst", 8)

    def store(self, offset: int, value: Any) -> None:
        """Emit: write a shared word."""
        self.builder.store_atomic(value, self._shared(offset), "seq_cst", 8)

    def run(self, ticket: Any) -> None:
        """Emit: carry out one row."""
        builder = self.builder
        row = builder.add(self._table, builder.mul(ticket, self._width))
        head = Words(builder, row)
        call_row(builder, row, head[Column.NUMBERS], head[Column.FUNCTION])

    def share(self) -> None:
        """Emit: take rows of the current phase until none is left."""
        builder = self.builder
        with repeated(builder) as leave:
            ticket = self.load(_NEXT)
            leave(builder.icmp_unsigned(">=", ticket, self.load(_LIMIT)))
            following = builder.add(ticket, WORD(1))
            claim = builder.cmpxchg(self._shared(_NEXT), ticket, following, "seq_cst", "seq_cst")
            with builder.if_then(builder.extract_value(claim, 1)):
                self.run(builder.and_(ticket, WORD(_TICKET)))
                builder.atomic_rmw("add", self._shared(_DONE), WORD(1), "seq_cst")

    def give_way(self) -> None:
        """Emit: let another thread run, one that still holds a row above all."""
        if platform.system() != "Windows":  # has no portable yield to call
            call(self.builder, "sched_yield", ir.IntType(32))


@intrinsic
def _help(typingctx, order):  # type: ignore[no-untyped-def]
    """Take rows of an open program until its owner closes it."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        running = _Running(builder, Words(builder, args[0]))
        mode = running.enter_mode()
        with repeated(builder) as leave:
            leave(cgutils.is_false(builder, running.load(_OPEN)))
            running.share()
            running.give_way()
        running.leave_mode(mode)
        return context.get_dummy_value()

    return types.void(order), codegen


def _drive_alone(running: _Running, ends: Words, count: Any, counter: Words) -> None:
    """Emit: carry out all rows in this thread, phase by phase until the end or a stop."""
    builder, done = running.builder, cgutils.alloca_once_value(running.builder, WORD(0))
    with cgutils.for_range(builder, count) as phase:
        with builder.if_then(cgutils.is_true(builder, counter[Count.STOP])):
            phase.do_break()
        limit = ends[phase.index]
        with cgutils.for_range(builder, limit, start=builder.load(done)) as row:
            running.run(row.index)
        builder.store(limit, done)


def _drive_shared(running: _Running, ends: Words, count: Any, counter: Words) -> None:
    """Emit: open the program to the workers, and share its rows phase by phase."""
    builder, bits = running.builder, WORD(_RUN_BITS)
    # The run before left its limit here, below every ticket of this run.
    last = builder.lshr(running.load(_NEXT), bits)
    base = builder.shl(builder.add(last, WORD(1)), bits)
    for offset, value in ((_NEXT, base), (_DONE, WORD(0)), (_OPEN, WORD(1))):
        running.store(offset, value)
    with cgutils.for_range(builder, count) as phase:
        with builder.if_then(cgutils.is_true(builder, counter[Count.STOP])):
            phase.do_break()
        limit = ends[phase.index]
        running.store(_LIMIT, builder.add(base, limit))
        running.share()
        with repeated(builder) as leave:
            leave(builder.icmp_unsigned(">=", running.load(_DONE), limit))
            running.give_way()
    running.store(_OPEN, WORD(0))


@intrinsic
def _drive(typingctx, order):  # type: ignore[no-untyped-def]
    """Carry out a program phase by phase until the end or a stop, then count."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        words = Words(builder, args[0])
        running, count = _Running(builder, words), words[Order.PHASES]
        ends, counter = words.at(Order.ENDS), words.at(Order.COUNTER)
        old = running.enter_mode()
        with builder.if_else(running.asked(ALONE)) as (then, otherwise):
            with then:
                _drive_alone(running, ends, count, counter)
            with otherwise:
                _drive_shared(running, ends, count, counter)
        with builder.if_then(cgutils.is_false(builder, counter[Count.STOP])):
            counter[Count.CALLS] = builder.add(counter[Count.CALLS], counter[Count.ADDED])
        counter[Count.ENDED] = builder.add(counter[Count.ENDED], WORD(1))
        running.leave_mode(old)
        return context.get_dummy_value()

    return types.void(order), codegen


def make_help(stamp: str) -> Function:
    """Write the part of a worker: take rows of an open program until its owner closes it."""

    def help_(order):  # type: ignore[no-untyped-def]
        if stamp != "":
            _help(order)

    return help_


def make_drive(stamp: str) -> Function:
    """Write the part of the owner: phase by phase until the end or a stop, then count."""

    def drive(order):  # type: ignore[no-untyped-def]
        if stamp != "":
            _drive(order)

    return drive


def helper() -> Function:
    """Compile the part of a worker."""
    return compiling.function(make_help, types.void(types.uint64))


def driver() -> Function:
    """Compile the part of the owner."""
    return compiling.function(make_drive, types.void(types.uint64))
