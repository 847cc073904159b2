"""PTX as text made into a program: what is not known here is refused, not guessed.

Source: NVIDIA's "Parallel Thread Execution ISA", chapters 4 (syntax), 5 (state spaces, types,
variables), 6 (operands) and 11 (directives).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import NamedTuple

SIZES = {
    **{f"{kind}{bits}": bits // 8 for kind in "busf" for bits in (16, 32, 64)},
    "b8": 1,
    "pred": 0,
}
# Where a program's shared variables begin: not at zero, where a forgotten address would point.
SHARED_FIRST = 1 << 16


_REGISTER = re.compile(r"(%[a-z]+)(\d+)")


class PtxError(Exception):
    """A program is wrong, does what it may not, or needs what this machine does not know."""


class Address(NamedTuple):
    """`[base + offset]`; the base is a register, a parameter or a shared variable."""

    base: str
    offset: int


class Instruction(NamedTuple):
    """One instruction: its whole name, its operands, the predicate that it hangs on."""

    name: str
    operands: tuple[object, ...]
    predicate: str
    wanted: bool
    line: int
    text: str


class Parameter(NamedTuple):
    """A parameter of a kernel."""

    name: str
    kind: str
    place: int


@dataclass
class Entry:
    """A kernel: `blocks` are runs of instructions that only their ends leave."""

    name: str
    parameters: list[Parameter]
    registers: dict[str, str] = field(default_factory=dict)
    blocks: list[list[Instruction]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    most_threads: int = 1024
    _kinds: dict[str, str] = field(default_factory=dict)

    def kind_of(self, register: str) -> str:
        """Return the type with which a register was declared."""
        if register not in self._kinds:
            found = _REGISTER.fullmatch(register)
            if found is None or found[1] not in self.registers:
                raise PtxError(f"{register} is not a register of {self.name}")
            kind, count = self.registers[found[1]].split()
            if int(found[2]) >= int(count):
                raise PtxError(f"{register}: only {count} were declared")
            self._kinds[register] = kind
        return self._kinds[register]


@dataclass
class Module:
    """What one text holds."""

    capability: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_size: int = 0
    common: set[str] = field(default_factory=set)


ENDS = ("bra", "bra.uni", "ret", "bar.sync")
_NAME = r"[A-Za-z_$%][\w$]*"
_HEAD = re.compile(r"\.version \d+\.\d+\s+\.target sm_(\d+)\w?\s+\.address_size 64\s")
_BODY = r"\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"
_ENTRY = re.compile(rf"\.visible \.entry ({_NAME})\s*\(([^)]*)\)\s*((?:\.\w+[^{{}}.]*)*){_BODY}")
_PARAMETER = re.compile(rf"\.param \.(\w+) ({_NAME})")
_COMMON = re.compile(rf"\.common \.global \.align \d+ \.u64 ({_NAME});")
_SHARED = re.compile(rf"(?:\.visible )?\.shared \.align (\d+) \.b8 ({_NAME})\[(\d+)\];")
_REGISTERS = re.compile(r"\.reg \.(\w+)\s+(%[a-z]+)<(\d+)>")
_LIMIT = re.compile(r"\.maxntid (\d+)(?:, ?(\d+))?(?:, ?(\d+))?\s*|\.minnctapersm \d+\s*")
_IGNORED = ('.pragma "nounroll"',)
_STATEMENT = re.compile(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)
_OPERANDS = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*")
_WHOLE, _NAMED = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+)"), re.compile(rf"{_NAME}(?:\.[xyz])?")
_FLOAT = re.compile(r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})")


@functools.lru_cache(4096)
def _operand(text: str) -> object:
    """Read an operand: a name, the bits of a number, an address, or a vector of names."""
    text = text.strip()
    if _REGISTER.fullmatch(text):
        return text
    if text.startswith("{"):
        return tuple(_operand(part) for part in text[1:-1].split(","))
    if text.startswith("["):
        base, _, offset = text[1:-1].replace(" ", "").partition("+")
        return Address(base, int(offset or "0", 0))
    number = _FLOAT.fullmatch(text)
    if number:
        return int(number[1] or number[2], 16)
    if _WHOLE.fullmatch(text):
        return int(text, 0)
    if _NAMED.fullmatch(text):
        return text
    raise PtxError(f"an operand of an unknown form: {text!r}")


def _instruction(text: str, line: int) -> Instruction:
    """Read one instruction."""
    found = _STATEMENT.fullmatch(text)
    if found is None:
        raise PtxError(f"line {line}: no instruction: {text!r}")
    negated, predicate, name, rest = found.groups()
    parts = _OPERANDS.findall(rest)
    operands = tuple(_operand(part) for part in parts)
    if predicate and name != "bra":
        raise PtxError(f"line {line}: only branches may hang on a predicate here: {text!r}")
    return Instruction(name, operands, predicate or "", not negated, line, text)


def _body(entry: Entry, text: str, line: int) -> None:
    """Cut a kernel's statements into blocks."""
    entry.blocks.append([])
    for piece in re.findall(r"[^;:]*[;:]|[^;:]+", text):
        here = line + piece[: len(piece) - len(piece.lstrip())].count("\n")
        line += piece.count("\n")
        statement = piece.strip()
        if statement.endswith(":"):
            if entry.blocks[-1]:
                entry.blocks.append([])
            entry.labels[statement[:-1]] = len(entry.blocks) - 1
            continue
        statement = statement.rstrip(";").strip()
        registers = _REGISTERS.fullmatch(statement) if statement.startswith(".") else None
        if registers:
            entry.registers[registers[2]] = f"{registers[1]} {registers[3]}"
        elif statement and statement not in _IGNORED:
            entry.blocks[-1].append(_instruction(statement, here))
            if entry.blocks[-1][-1].name in ENDS:
                entry.blocks.append([])
    if entry.blocks[-1]:
        raise PtxError(f"{entry.name} does not end")
    entry.blocks.pop()


def _limits(entry: Entry, text: str) -> None:
    """Read what a kernel says of its launches."""
    if _LIMIT.sub("", text).strip():
        raise PtxError(f"{entry.name}: unknown directives: {text.strip()!r}")
    for found in _LIMIT.finditer(text):
        if found[1]:
            entry.most_threads = int(found[1]) * int(found[2] or 1) * int(found[3] or 1)


def parsed(code: str) -> Module:
    """Read a whole text."""
    bare = re.sub(r"//[^\n]*", "", code)
    head = _HEAD.match(bare.lstrip())
    if head is None:
        raise PtxError("this is no PTX for 64-bit addresses")
    module, rest = Module(int(head[1])), bare.lstrip()[head.end() :]
    for found in _ENTRY.finditer(bare):
        parameters = [_PARAMETER.fullmatch(one.strip()) for one in found[2].split(",")]
        if None in parameters:
            raise PtxError(f"{found[1]}: parameters of an unknown form")
        entry = Entry(
            found[1],
            [Parameter(one[2], one[1], k) for k, one in enumerate(parameters) if one is not None],
        )
        _limits(entry, found[3])
        _body(entry, found[4], 1 + bare[: found.start(4)].count("\n"))
        module.entries[entry.name] = entry
    rest = _ENTRY.sub("", rest)
    for size, name, count in _SHARED.findall(rest):
        module.shared_size += -module.shared_size % int(size)
        module.shared[name] = SHARED_FIRST + module.shared_size
        module.shared_size += int(count)
    module.common.update(_COMMON.findall(rest))
    left = _COMMON.sub("", _SHARED.sub("", rest)).strip()
    if left:
        raise PtxError(f"unknown in this text: {left[:200]!r}")
    return module
