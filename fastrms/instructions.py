"""What instructions written by hand are made of: words of memory, calls, loops.

Numba types and lowers Python in about a millisecond for each operation; what a first step needs is
therefore written with LLVM's builder where it only compares and moves words.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba.core import cgutils

WORD, BYTES = ir.IntType(64), ir.IntType(8).as_pointer()


class Words:
    """Unsigned words at an address; reading and writing one emits a load and a store."""

    def __init__(self, builder: Any, address: Any) -> None:
        self._builder = builder
        self._first = builder.inttoptr(address, WORD.as_pointer())

    def place(self, index: Any) -> Any:
        """Emit the place of a word."""
        index = WORD(int(index)) if isinstance(index, int) else index
        return self._builder.gep(self._first, [index])

    def __getitem__(self, index: Any) -> Any:
        return self._builder.load(self.place(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._builder.store(value, self.place(index))

    def at(self, index: Any) -> "Words":
        """Emit the words at the address that a word holds."""
        return Words(self._builder, self[index])

    def row(self, index: Any, width: int) -> Any:
        """Emit the address of a row of a table."""
        place = self.place(self._builder.mul(index, WORD(width)))
        return self._builder.ptrtoint(place, WORD)

    def differs(self, index: Any, expected: Any, mask: Any = None) -> Any:
        """Emit whether a word, or the bits of it in a mask, is not what it should be."""
        found = self[index] if mask is None else self._builder.and_(self[index], mask)
        return self._builder.icmp_unsigned("!=", found, expected)


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Emit a call of a C function, or of an instruction to which LLVM gives a name."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def function(builder: Any, name: str, count: int) -> Any:
    """Begin a function of words that gives a word; return it with the builder of its body."""
    kind = ir.FunctionType(WORD, [WORD] * count)
    made = ir.Function(builder.module, kind, name)
    made.linkage = "internal"
    return made, ir.IRBuilder(made.append_basic_block())


@contextlib.contextmanager
def repeated(builder: Any) -> Iterator[Callable[[Any], None]]:
    """Emit an endless loop around what is emitted in here; what is yielded emits a way out."""
    again, after = builder.append_basic_block(), builder.append_basic_block()
    builder.branch(again)
    builder.position_at_end(again)

    def leave(condition: Any) -> None:
        on = builder.append_basic_block()
        builder.cbranch(condition, after, on)
        builder.position_at_end(on)

    yield leave
    builder.branch(again)
    builder.position_at_end(after)
