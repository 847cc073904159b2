"""Compiled kernels with one instruction changed are found out: by their bits, or as wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import odd_numbers, on_device
from ptx_driver import StandIn
from ptx_machine import Run
from ptx_steps import gradient
from ptx_text import Address, Instruction, PtxError

import battery

OTHER = {
    "add.rn": "sub.rn", "sub.rn": "add.rn", "mul.rn": "add.rn", "div.rn": "mul.rn",
    "sqrt.rn": "abs", "neg": "abs", "add.s": "sub.s", "sub.s": "add.s", "and": "or", "or": "and",
    "max": "min", "setp.eq": "setp.ne", "setp.ne": "setp.eq", "setp.neu": "setp.eq",
    "setp.lt": "setp.ge", "setp.ge": "setp.lt", "setp.le": "setp.gt", "setp.gt": "setp.le",
}  # fmt: skip


def changed(one: Instruction) -> Instruction | None:
    """Return another instruction, or None for nothing in its place; itself if there is none."""
    if one.name.startswith("st.") or one.name == "bar.sync":
        return None
    if one.name.startswith(("ld.global", "ld.shared")):
        target, place = one.operands
        assert isinstance(place, Address)
        return one._replace(operands=(target, place._replace(offset=place.offset + 8)))
    if one.name == "bra":
        return one._replace(wanted=not one.wanted)
    if one.name.startswith("selp."):
        target, first, second, which = one.operands
        return one._replace(operands=(target, second, first, which))
    for head, other in OTHER.items():
        if one.name.startswith((head + ".", head)) and one.name[len(head) :][:1] in ".36":
            return one._replace(name=other + one.name[len(head) :])
    numbers = [k for k, x in enumerate(one.operands) if isinstance(x, int)]
    if numbers:
        operands = [x + 1 if isinstance(x, int) else x for x in one.operands]
        return one._replace(operands=tuple(operands))
    return one


class Kept(Run):
    """Keeps what memory was before and after."""

    kept: list[Kept] = []  # noqa: RUF012

    def carry_out(self) -> None:
        """Run."""
        self.before = self.memory.copied()
        super().carry_out()
        self.after = self.memory.copied()
        Kept.kept.append(self)

    def survivors(self) -> list[str]:
        """Change each instruction in turn; return those that made no difference."""
        found = []
        for block in self.program.blocks:
            for k, (step, one) in enumerate(block):
                new = changed(one)
                if new is not one:
                    made = (lambda group: None) if new is None else self.program._made(new)
                    block[k] = (made, one if new is None else new)
                    found += [one.text] * self._same()
                    block[k] = (step, one)
        return found

    def _same(self) -> bool:
        """Run again on the memory of before; tell whether all is as it was after."""
        self.memory.restore(self.before)
        again = Run(self.program, (self.epoch.size, self.threads), self.parameters, self.memory)
        try:
            again.carry_out()
        except PtxError:
            return False
        return self.memory.copied()[0].tobytes() == self.after[0].tobytes()


# A dialect that keeps subnormal numbers: what flushes them changes nothing in the others. With the
# norm of 23 pieces nothing of an unrolled loop of four is left out.
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "update": ("torch", {"momentum": 0.9, "centered": True, "weight_decay": 0.125}, 1301),
    "norms": ("keras-3", {"global_clipnorm": 0.75}, 64),
}


def launched(name: str, gpu: StandIn, monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    """Make two steps; return the launches of the second."""
    dialect, options, chunk = CASES[name]
    for module in ("reference", "cuda.passes", "cuda.plan"):
        monkeypatch.setattr(f"fastrms.{module}.CHUNK", chunk)
    monkeypatch.setattr("ptx_driver.Run", Kept)
    monkeypatch.setattr("ptx_machine.MOST_RUNS", 400)
    aside = on_device(odd_numbers((701,), np.dtype("f4"), 3))
    large = odd_numbers((1301 if name == "update" else 64 * 22,), np.dtype("f4"), 1)
    variables = [on_device(large), on_device(battery.numbers(3, "f4"))]
    variables += [aside[1:701]] * (name == "update")
    optimizer = battery.optimizer(dialect, options)
    optimizer.build(variables)
    for step in range(2):
        Kept.kept.clear()
        changes = [gradient(v, True, step, False, k) for k, v in enumerate(variables)]
        optimizer.apply([on_device(change) for change in changes])
        gpu.finish()
    return list(Kept.kept)[:2]


ARITHMETIC = ("add.rn", "sub.rn", "mul.rn", "sqrt.rn", "ld.shared", "bra", "@")


@pytest.mark.parametrize("name", CASES)
def test_a_changed_instruction_is_found_out(
    gpu: StandIn, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What may live: tests of addresses that are all aligned, factors that no number reaches."""
    runs = launched(name, gpu, monkeypatch)
    assert len(runs) == (1 if name == "update" else 2)
    for one in runs:
        every = [i for block in one.program.blocks for _, i in block]
        alive = [text for text in one.survivors() if not text.startswith("and.b32")]
        assert len(every) > 60
        assert len(alive) < len(every) // 4, alive
        assert not [text for text in alive if text.startswith(ARITHMETIC)], alive
        # After the last sum a thread reads only what it has written itself.
        assert len([text for text in alive if text.startswith("bar.sync")]) <= 1, alive
        if name == "update":
            assert len(alive) < 6, alive
            assert not [text for text in alive if text.startswith(("div", "st", "selp"))], alive
