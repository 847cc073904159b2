"""A kernel made ready to run: each instruction a function of the threads that are at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ptx_arithmetic import OPERATIONS, dtype_of
from ptx_text import ENDS, SIZES, Address, Entry, Instruction, Module, PtxError

Array = NDArray[Any]
Step = Callable[[Any], None]
_ACCESS = re.compile(r"(ld|st)\.(global|shared|param)(?:\.v([24]))?\.([busf](?:16|32|64))")
# With a number as the last operand these need no array of it.
_SCALAR = ("add.", "sub.", "mul.", "and.", "or.", "xor.", "setp.")
_ALONE = SimpleNamespace(count=1)
_SPECIAL = ("%tid.x", "%ctaid.x", "%ntid.x", "%nctaid.x")


def _names(operands: Iterable[object]) -> Iterator[str]:
    """Yield the registers of operands."""
    for operand in operands:
        if isinstance(operand, tuple):
            yield from _names(operand)
        elif isinstance(operand, str) and operand.startswith("%"):
            yield operand


def _needed(block: list[Instruction]) -> set[str]:
    """Return the registers that a block reads and has not set before."""
    found: set[str] = set()
    known: set[str] = set()
    for one in block:
        sets = 0 if one.name.startswith(("st.", *ENDS)) else 1
        found.update(set(_names((*one.operands[sets:], one.predicate))) - known)
        known.update(_names(one.operands[:sets]))
    return found


class Program:
    """A kernel made ready: each instruction a function of the threads that run it."""

    def __init__(self, module: Module, entry: Entry) -> None:
        self.module, self.entry = module, entry
        self._readers: dict[tuple[object, str], Callable[[Any], Array]] = {}
        self.lasting = frozenset().union(*map(_needed, entry.blocks))
        self.blocks = [[(self._made(one), one) for one in block] for block in entry.blocks]

    def _made(self, one: Instruction) -> Step | None:
        """Make an instruction ready; None for what ends a block."""
        try:
            if one.name in ("bra", "bra.uni"):
                self.target(one)
                return None
            if one.name == "ret" or (one.name == "bar.sync" and one.operands == (0,)):
                return None
            if _ACCESS.fullmatch(one.name):
                return self._access(one)
            if one.name in ("mov.b32", "mov.b64") and any(
                isinstance(x, tuple) for x in one.operands
            ):
                return self._packing(one)
            return self._computing(one)
        except PtxError as error:
            raise PtxError(f"line {one.line}, {one.text!r}: {error}") from None

    def target(self, one: Instruction) -> int:
        """Return the number of the block that a branch goes to."""
        (label,) = one.operands
        if label not in self.entry.labels:
            raise PtxError(f"there is no {label}")
        return self.entry.labels[str(label)]

    def _width(self, register: object, kind: str, wider: bool = False) -> int:
        """Refuse a register of another width; return the bytes that it has."""
        if not isinstance(register, str):
            raise PtxError(f"{register} is no register")
        has = SIZES[self.entry.kind_of(register)]
        if has != SIZES[kind] and not (wider and has > SIZES[kind]):
            raise PtxError(f"{register} is not as wide as {kind}")
        return has

    def _reader(self, operand: object, kind: str) -> Callable[[Any], Array]:
        """Return how an operand is read as a type."""
        if (operand, kind) not in self._readers:
            self._readers[operand, kind] = self._new_reader(operand, kind)
        return self._readers[operand, kind]

    def _new_reader(self, operand: object, kind: str) -> Callable[[Any], Array]:
        """Make ready how an operand is read."""
        dtype = dtype_of(kind)
        if isinstance(operand, int):
            bits = np.array(operand % 2 ** (8 * dtype.itemsize), dtype_of(f"b{8 * dtype.itemsize}"))
            number = bits.view(dtype)[()]
            return lambda group: np.full(group.count, number)
        if operand in self.module.shared:
            return self._reader(self.module.shared[str(operand)], kind)
        name = str(operand)
        if name not in _SPECIAL:
            self._width(operand, kind)
        elif kind != "u32":
            raise PtxError(f"{name} is of type u32")
        if dtype.kind in "ub":  # as registers are kept
            return lambda group: group[name]
        return lambda group: group[name].view(dtype)

    def _computing(self, one: Instruction) -> Step:
        """Make arithmetic ready."""
        operation = OPERATIONS.get(one.name)
        if operation is None or len(one.operands) != 1 + len(operation.operands):
            raise PtxError("this machine does not know this instruction")
        target, *given = one.operands
        self._width(target, operation.result)
        readers = [self._reader(*pair) for pair in zip(given, operation.operands, strict=True)]
        if one.name.startswith(_SCALAR) and isinstance(given[0], str):
            number = readers[-1](_ALONE)[0] if isinstance(given[-1], int) else None
            readers[-1] = readers[-1] if number is None else lambda group: number
        compute, name, lasts = operation.compute, str(target), target in self.lasting
        plain = dtype_of(operation.result).kind in "ub"
        stored = dtype_of(
            "pred" if operation.result == "pred" else f"b{8 * SIZES[operation.result]}"
        )

        def step(group: Any) -> None:
            found = compute(*[read(group) for read in readers])
            group[name] = found = found if plain else found.view(stored)
            if lasts:
                group.written[name] = found

        return step

    def _packing(self, one: Instruction) -> Step:
        """Make a move between a register and the halves of it ready."""
        kind = one.name[4:]
        half = f"b{4 * SIZES[kind]}"
        small, large = dtype_of(half), dtype_of(kind)
        target, source = one.operands
        if isinstance(target, tuple) and isinstance(source, str) and len(target) == 2:
            read, names = self._reader(source, kind), [str(x) for x in target]
            for part in target:
                self._width(part, half)

            def unpack(group: Any) -> None:
                halves = np.ascontiguousarray(read(group)).view(small)
                for k, name in enumerate(names):
                    group.put(name, np.ascontiguousarray(halves[k::2]))

            return unpack
        if not (isinstance(source, tuple) and isinstance(target, str) and len(source) == 2):
            raise PtxError("this machine does not know this move")
        self._width(target, kind)
        low, high = (self._reader(part, half) for part in source)

        def pack(group: Any) -> None:
            group.put(target, np.stack([low(group), high(group)], axis=1).reshape(-1).view(large))

        return pack

    def _access(self, one: Instruction) -> Step:
        """Make a load or a store ready."""
        found = _ACCESS.fullmatch(one.name)
        assert found is not None
        way, space, count, kind = found[1], found[2], int(found[3] or 1), found[4]
        wanted = one.operands if way == "ld" else one.operands[::-1]
        if len(wanted) != 2 or not isinstance(wanted[1], Address):
            raise PtxError("a load or a store has a register and an address")
        names = wanted[0] if isinstance(wanted[0], tuple) else (wanted[0],)
        if len(names) != count:
            raise PtxError(f"{count} registers are needed")
        if space == "param":
            return self._parameter(way, wanted[1], str(names[0]), kind)
        base = self._reader(wanted[1].base, "u64")
        shift = np.uint64(wanted[1].offset % 2**64)
        stored, size = dtype_of(f"b{8 * SIZES[kind]}"), SIZES[kind]
        if way == "ld":
            wide = [dtype_of(f"b{8 * self._width(name, kind, wider=True)}") for name in names]
            extended = dtype_of(kind) if kind[0] == "s" else stored

            def load(group: Any) -> None:
                memory, offsets = group.run.touch(group, space, base(group) + shift, count * size)
                for k, (name, dtype) in enumerate(zip(names, wide, strict=True)):
                    values = memory.load(offsets + k * size, size).view(extended)
                    group.put(str(name), values if dtype == stored else values.astype(dtype))

            return load
        readers = [self._stored(name, kind) for name in names]

        def store(group: Any) -> None:
            values = [read(group) for read in readers]
            memory, offsets = group.run.touch(
                group, space, base(group) + shift, count * size, values[0]
            )
            for k, value in enumerate(values):
                memory.store(offsets + k * size, value)

        return store

    def _stored(self, operand: object, kind: str) -> Callable[[Any], Array]:
        """Return how the low bits of an operand are read."""
        dtype = dtype_of(f"b{8 * SIZES[kind]}")
        if isinstance(operand, int):
            return self._reader(operand, f"b{8 * dtype.itemsize}")
        self._width(operand, kind, wider=True)
        name = str(operand)
        return lambda group: group[name].astype(dtype)

    def _parameter(self, way: str, address: Address, name: str, kind: str) -> Step:
        """Make the load of a parameter ready."""
        known = {one.name: one for one in self.entry.parameters}
        found = known.get(address.base)
        if way != "ld" or found is None or address.offset or SIZES[found.kind] != SIZES[kind]:
            raise PtxError("no whole parameter is loaded")
        self._width(name, kind)
        place = found.place
        return lambda group: group.put(name, np.full(group.count, group.run.parameters[place]))
