"""A step as a program: rows of (compiled function, addresses) that one compiled call carries out.

Rows of one phase may run on any thread in any order; a phase begins when the one before has ended.
Nothing in here knows RMSprop; the functions that the rows name come from `kernels`.
"""

import platform
from enum import IntEnum
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastrms import compiling
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


# A ticket carries the number of its run above these bits: a thread that was held up between reading
# and claiming a ticket cannot claim the ticket of the same place in a later run.
_RUN_BITS, _TICKET = 24, (1 << 24) - 1
# Byte offsets of a running program's shared words; the first says whether it is open.
_LIMIT, _NEXT, _DONE = np.uint64(8), np.uint64(16), np.uint64(24)
STATE_WORDS, FLUSH, ALONE = 4, 1, 2
_FUNCTION, _NUMBERS = int(Column.FUNCTION), int(Column.NUMBERS)
_CALLS, _ADDED, _ENDED = int(Count.CALLS), int(Count.ADDED), int(Count.ENDED)
_STOP = int(Count.STOP)
_INT64_POINTER = ir.IntType(64).as_pointer()
_ANY_POINTER = ir.IntType(8).as_pointer()


@intrinsic
def invoke(typingctx, row, numbers, function):  # type: ignore[no-untyped-def]
    """Call a row's function with the addresses of the row and of its numbers."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.VoidType(), [_INT64_POINTER, _ANY_POINTER, _ANY_POINTER])
        target = builder.inttoptr(args[2], kind.as_pointer())
        first = builder.inttoptr(args[0], _INT64_POINTER)
        second = builder.inttoptr(args[1], _ANY_POINTER)
        builder.call(target, [first, second, second])
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.uint64), codegen


@intrinsic
def _load(typingctx, address):  # type: ignore[no-untyped-def]
    """Read a word that other threads write."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load_atomic(builder.inttoptr(args[0], _INT64_POINTER), "seq_cst", 8)

    return types.int64(types.uint64), codegen


@intrinsic
def _store(typingctx, address, value):  # type: ignore[no-untyped-def]
    """Write a word that other threads read."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.store_atomic(args[1], builder.inttoptr(args[0], _INT64_POINTER), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), codegen


@intrinsic
def _add(typingctx, address, value):  # type: ignore[no-untyped-def]
    """Add to a word that other threads add to."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.atomic_rmw(
            "add", builder.inttoptr(args[0], _INT64_POINTER), args[1], "seq_cst"
        )

    return types.int64(types.uint64, types.int64), codegen


@intrinsic
def _swap(typingctx, address, old, new):  # type: ignore[no-untyped-def]
    """Replace a word if it still is `old`; tell whether it was."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(args[0], _INT64_POINTER)
        result = builder.cmpxchg(pointer, args[1], args[2], "seq_cst", "seq_cst")
        return context.cast(builder, builder.extract_value(result, 1), types.boolean, types.int64)

    return types.int64(types.uint64, types.int64, types.int64), codegen


@intrinsic
def _enter_mode(typingctx, flush):  # type: ignore[no-untyped-def]
    """Let this thread flush subnormal numbers, or keep them; return the mode it had."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        word, slot, save, load = _mode_access(builder)
        if not FLUSH_BITS:
            return word(0)
        pointer = builder.bitcast(slot, _ANY_POINTER)
        builder.call(save, [pointer])
        old = builder.load(slot)
        kept = builder.and_(old, word(~FLUSH_BITS & 0xFFFFFFFF))
        changed = builder.select(args[0], builder.or_(old, word(FLUSH_BITS)), kept)
        builder.store(changed, slot)
        builder.call(load, [pointer])
        return old

    return types.uint32(types.boolean), codegen


@intrinsic
def _leave_mode(typingctx, old):  # type: ignore[no-untyped-def]
    """Give this thread the mode it had."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        _, slot, _, load = _mode_access(builder)
        if FLUSH_BITS:
            builder.store(args[0], slot)
            builder.call(load, [builder.bitcast(slot, _ANY_POINTER)])
        return context.get_dummy_value()

    return types.void(types.uint32), codegen


def _mode_access(builder: Any) -> tuple[Any, Any, Any, Any]:
    """Return the type of MXCSR, a place for it, and LLVM's functions to save and load it."""
    word = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_ANY_POINTER])
    names = ("llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr")
    save, load = (
        cgutils.get_or_insert_function(builder.module, kind, name) if FLUSH_BITS else None
        for name in names
    )
    return word, cgutils.alloca_once(builder, word), save, load


if platform.system() == "Windows":

    @njit(**compiling.INNER)
    def _give_way():  # type: ignore[no-untyped-def]
        """Do nothing: there is no portable yield to call."""

else:
    _sched_yield = types.ExternalFunction("sched_yield", types.intc())

    @njit(**compiling.INNER)
    def _give_way():  # type: ignore[no-untyped-def]
        """Let another thread run, a worker that still holds a row above all."""
        _sched_yield()


@intrinsic
def words(typingctx, address):  # type: ignore[no-untyped-def]
    """View an address as a pointer to unsigned words."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], _INT64_POINTER)

    return types.CPointer(types.uint64)(types.uint64), codegen


@njit(**compiling.INNER)
def _run(table, width, ticket):  # type: ignore[no-untyped-def]
    """Carry out one row."""
    row = table + np.uint64(ticket) * width
    head = words(row)
    invoke(row, head[_NUMBERS], head[_FUNCTION])


@njit(**compiling.INNER)
def _share(table, width, state):  # type: ignore[no-untyped-def]
    """Take rows of the current phase until none is left."""
    while True:
        ticket = _load(state + _NEXT)
        if ticket >= _load(state + _LIMIT):
            return
        if _swap(state + _NEXT, ticket, ticket + 1):
            _run(table, width, ticket & _TICKET)
            _add(state + _DONE, 1)


def make_help(stamp: str) -> Function:
    """Write the part of a worker: take rows of an open program until its owner closes it."""

    def help_(table, width, state, flush):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        old = _enter_mode(flush)
        while _load(state) != 0:
            _share(table, width, state)
            _give_way()
        _leave_mode(old)

    return help_


def make_drive(stamp: str) -> Function:
    """Write the part of the owner: phase by phase until the end or a stop, then count."""

    def drive(table, width, state, phases, count, counters, mode):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        ends, counter = words(phases), words(counters)
        flush, alone = mode & np.uint64(1) != 0, mode & np.uint64(2) != 0
        old = _enter_mode(flush)
        if alone:
            ticket = 0
            for phase in range(np.int64(count)):
                if counter[_STOP] != 0:
                    break
                while ticket < np.int64(ends[phase]):
                    _run(table, width, ticket)
                    ticket += 1
        else:
            # The run before left its limit here, below every ticket of this run.
            base = ((_load(state + _NEXT) >> _RUN_BITS) + 1) << _RUN_BITS
            _store(state + _NEXT, base)
            _store(state + _DONE, 0)
            _store(state, 1)
            for phase in range(np.int64(count)):
                if counter[_STOP] != 0:
                    break
                limit = np.int64(ends[phase])
                _store(state + _LIMIT, base + limit)
                _share(table, width, state)
                while _load(state + _DONE) < limit:
                    _give_way()
            _store(state, 0)
        if counter[_STOP] == 0:
            counter[_CALLS] += counter[_ADDED]
        counter[_ENDED] += np.uint64(1)
        _leave_mode(old)

    return drive


def helper() -> Function:
    """Compile the part of a worker."""
    word = types.uint64
    signature = types.void(word, word, word, types.boolean)
    return compiling.function(make_help, signature)


def driver() -> Function:
    """Compile the part of the owner."""
    return compiling.function(make_drive, types.void(*[types.uint64] * 7))
