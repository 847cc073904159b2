"""Small programs in PTX, written by hand, and how they are run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ptx_machine import Run
from ptx_memory import BASE, Memory
from ptx_program import Program
from ptx_text import parsed

Array = NDArray[Any]
_HEAD = ".version 9.5\n.target sm_80\n.address_size 64\n"
_REGISTERS = (("pred", "p"), ("b16", "h"), ("b32", "r"), ("f32", "f"), ("b64", "d"), ("f64", "g"))


def kernel(body: str, pointers: int = 1, shared: int = 0) -> str:
    """Return a program: `%d0`, `%d1`... are what it is given, `%r0` the thread, `%r1` the block."""
    parameters = ",\n".join(f".param .u64 k_{n}" for n in range(pointers))
    registers = "\n".join(f".reg .{kind} %{letter}<40>;" for kind, letter in _REGISTERS)
    loads = "\n".join(f"ld.param.u64 %d{n}, [k_{n}];" for n in range(pointers))
    memory = f".visible .shared .align 8 .b8 room[{shared}];\n" if shared else ""
    head = f"{_HEAD}{memory}.visible .entry k(\n{parameters}\n)\n{{\n{registers}\n{loads}\n"
    return f"{head}mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\n{body}\nret;\n}}\n"


def placed(memory: Memory, values: Array) -> int:
    """Copy an array into a machine's memory; return its address."""
    first = memory.allocate(values.nbytes)
    assert first is not None
    memory.span(first, values.nbytes, True)[:] = np.ascontiguousarray(values).view(np.uint8).ravel()
    return BASE + first


def program(text: str) -> Program:
    """Make a text's kernel ready."""
    module = parsed(text)
    return Program(module, module.entries["k"])


def run(text: str, arrays: list[Array], grid: tuple[int, int] = (1, 32)) -> list[Array]:
    """Run a program on copies of arrays; return what they are then."""
    memory = Memory(1 << 20)
    given = [np.uint64(placed(memory, array)) for array in arrays]
    Run(program(text), grid, list(given), memory).carry_out()
    return [
        memory.span(int(place) - BASE, array.nbytes, False).copy().view(array.dtype)
        for place, array in zip(given, arrays, strict=True)
    ]


LETTERS = {"pred": "p", "16": "h", "f32": "f", "32": "r", "f64": "g", "64": "d"}


def register(kind: str, number: int) -> str:
    """Name a register for a type."""
    letter = LETTERS.get(kind) or LETTERS[kind[1:]]
    return f"%{letter}{number}"


def operation(name: str, result: str, operands: tuple[str, ...]) -> str:
    """Return a program that gives each block an operand of each array, and keeps the result."""
    lines = []
    for k, kind in enumerate((*operands, result)):
        size = {"pred": 4}.get(kind) or int(kind[1:]) // 8
        lines.append(
            f"mul.wide.u32 %d{20 + k}, %r1, {size};\nadd.s64 %d{20 + k}, %d{20 + k}, %d{k};"
        )
    for k, kind in enumerate(operands):
        if kind == "pred":
            lines.append(f"ld.global.u32 %r{10 + k}, [%d{20 + k}];")
            lines.append(f"setp.ne.u32 %p{10 + k}, %r{10 + k}, 0;")
        else:
            lines.append(f"ld.global.b{kind[1:]} {register(kind, 10 + k)}, [%d{20 + k}];")
    given = ", ".join(register(kind, 10 + k) for k, kind in enumerate(operands))
    target, place = register(result, 9), f"[%d{20 + len(operands)}]"
    lines.append(f"{name} {target}, {given};")
    if result == "pred":
        lines.append(f"selp.b32 %r9, 1, 0, {target};\nst.global.u32 {place}, %r9;")
    else:
        lines.append(f"st.global.b{result[1:]} {place}, {target};")
    return kernel("\n".join(lines), len(operands) + 1)
