"""A machine that runs PTX: all threads of a grid at once, each register an array over them.

Threads that branch apart are run by turns, those that are furthest behind first, and meet again.
Source: NVIDIA's "Parallel Thread Execution ISA", chapters 3 (machine model) and 9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ptx_memory import BASE, GAP, Log, Memory, Touch
from ptx_program import Program
from ptx_text import SHARED_FIRST, PtxError

Array = NDArray[Any]
# More than any launch here makes: a loop that does not end is an error too.
MOST_RUNS = 200_000


class Group(dict[str, Array]):
    """The registers of the threads that run a block of instructions, as bits; read when needed."""

    def __init__(self, run: Run, active: Array) -> None:
        super().__init__()
        self.run, self.active, self.count = run, active, active.size
        self.whole = active.size == run.count
        self.written: dict[str, Array] = {}

    def __missing__(self, name: str) -> Array:
        run = self.run
        if name not in run.registers:
            raise PtxError(f"{name} is read before it is written")
        known = run.known.get(name)
        if known is not None and not known[self.active].all():
            raise PtxError(f"{name} is read before it is written, by some threads")
        found = run.registers[name]
        self[name] = found if self.whole else found[self.active]
        return self[name]

    def put(self, name: str, values: Array) -> None:
        """Set a register."""
        self[name] = values
        if name in self.run.program.lasting:
            self.written[name] = values

    def leave(self) -> None:
        """Write all that changed back."""
        run = self.run
        for name, values in self.written.items():
            if self.whole:
                run.registers[name] = values
                run.known.pop(name, None)
                continue
            if name not in run.registers:
                run.registers[name] = np.zeros(run.count, values.dtype)
                run.known[name] = np.zeros(run.count, bool)
            else:  # another register may be the same array
                run.registers[name] = run.registers[name].copy()
            run.registers[name][self.active] = values
            known = run.known.get(name)
            if known is not None:
                known[self.active] = True
                if known.all():
                    del run.known[name]


class Run:
    """One launch."""

    def __init__(
        self, program: Program, grid: tuple[int, int], parameters: list[Any], memory: Memory
    ) -> None:
        blocks, threads = grid
        self.program, self.memory, self.parameters = program, memory, parameters
        self.count, self.threads = blocks * threads, threads
        if not 0 < threads <= program.entry.most_threads or not 0 < blocks < 2**31:
            raise PtxError(f"{blocks} blocks of {threads} threads cannot be launched")
        every = np.arange(self.count)
        self.block = every // threads
        self.registers: dict[str, Array] = {
            "%tid.x": (every % threads).astype(np.uint32), "%ctaid.x": self.block.astype(np.uint32),
            "%ntid.x": np.full(self.count, threads, np.uint32),
            "%nctaid.x": np.full(self.count, blocks, np.uint32),
        }  # fmt: skip
        self.known: dict[str, Array] = {}
        self.place = np.zeros(self.count, np.int64)
        self.waits, self.epoch = np.zeros(self.count, bool), np.zeros(blocks, np.int64)
        self.logs = {"global": Log(), "shared": Log()}
        size = program.module.shared_size
        self.shared = Memory(blocks * (size + 2 * GAP) if size else 0)
        self.first = np.array([self.shared.allocate(size) for _ in range(blocks if size else 0)])

    def touch(
        self, group: Group, space: str, addresses: Array, width: int, values: Array | None = None
    ) -> tuple[Memory, Array]:
        """Check an access and note it; return the memory and the offsets in it."""
        memory, write = self.memory, values is not None
        blocks = self.block[group.active]
        if space == "global":
            offsets = (addresses - np.uint64(BASE)).view(np.int64)
        else:
            memory = self.shared
            inside = (addresses - np.uint64(SHARED_FIRST)).view(np.int64)
            known = (inside >= 0) & (inside <= self.program.module.shared_size - width)
            offsets = np.where(known, inside + self.first[blocks], -1)
        memory.require(offsets, width, write)
        touch = Touch(offsets, width, group.active, blocks, self.epoch[blocks], write, values)
        self.logs[space].touches.append(touch)
        return memory, offsets

    def carry_out(self) -> None:
        """Run all threads to their ends, then look for races."""
        ended, runs = len(self.program.blocks), 0
        with np.errstate(all="ignore"):
            while True:
                ready = np.flatnonzero((self.place < ended) & ~self.waits)
                if not ready.size:
                    if not self.waits.any():
                        break
                    self._meet()
                    continue
                here = int(self.place[ready].min())
                self._step(here, ready[self.place[ready] == here])
                runs += 1
                if runs > MOST_RUNS:
                    raise PtxError(f"{self.program.entry.name} does not end")
        for log in self.logs.values():
            log.check()

    def _step(self, here: int, active: Array) -> None:
        """Run a block of instructions, and send the threads on."""
        group, following = Group(self, active), np.full(active.size, here + 1)
        for step, one in self.program.blocks[here]:
            try:
                if step is not None:
                    step(group)
                elif one.name == "ret":
                    following[:] = len(self.program.blocks)
                elif one.name == "bar.sync":
                    self.waits[active] = True
                else:
                    target = self.program.target(one)
                    taken = group[one.predicate] == one.wanted if one.predicate else True
                    following = np.where(taken, target, following)
            except PtxError as error:
                raise PtxError(f"line {one.line}, {one.text!r}: {error}") from None
        group.leave()
        self.place[active] = following

    def _meet(self) -> None:
        """Let the threads of each block pass the barrier at which all of them wait."""
        waits, place = self.waits.reshape(-1, self.threads), self.place.reshape(-1, self.threads)
        some = waits.any(axis=1)
        together = waits.all(axis=1) & (place.min(axis=1) == place.max(axis=1))
        if (some & ~together).any():
            raise PtxError(
                f"{self.program.entry.name}: not all threads of a block come to a barrier"
            )
        self.epoch[some] += 1
        self.waits[:] = False
