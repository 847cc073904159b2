"""The threads of a simulated block, one after the other from barrier to barrier.

Numba's simulator gives each a thread of Python's and polls them all, which takes most of its time,
and lets two of them make a shared array each. Here one runs at a time, in the order of their
numbers in one block and backwards in the next, and shared memory begins as NaN: what reads before
a barrier what another thread writes gets wrong numbers every time, not once in some thousand.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel, kernelapi


class Lane(threading.Thread):
    """Threads of blocks that come to a barrier before the first of their block has ended."""

    idle: list[Lane] = []  # noqa: RUF012 - a thread costs more than what it does here

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.go = threading.Lock()
        self.go.acquire()
        self.start()

    def take(self, turns: Turns, place: Any) -> None:
        """Be a thread of a block up to its first barrier."""
        self.turns, self.place = turns, place
        self.go.release()
        turns.back.acquire()

    def run(self) -> None:
        """Run threads to their end, or to an error."""
        while True:
            self.go.acquire()
            turns = self.turns
            try:
                turns.carry_out(self.place)
            except BaseException as error:  # told to the thread that waits
                turns.errors.append(error)
            Lane.idle.append(self)
            turns.back.release()

    def park(self) -> None:
        """Wait at a barrier."""
        self.turns.parked.append(self)
        self.turns.back.release()
        self.go.acquire()
        if self.turns.errors:
            raise RuntimeError("another thread of the block failed")


class Turns:
    """What `kernel.BlockManager` is: it runs the threads of one block."""

    blocks = 0

    def __init__(self, function: Any, grid: Any, block: Any, debug: bool) -> None:
        self.function, self.shape = function, block
        self.back = threading.Lock()
        self.back.acquire()
        self.parked: list[Lane] = []
        self.errors: list[BaseException] = []

    def run(self, grid_point: Any, *arguments: Any) -> None:
        """Run all threads to their ends."""
        kernel._get_kernel_context().shared._allocations.clear()
        Turns.blocks += 1
        self.arguments, self.block = arguments, kernelapi.Dim3(*grid_point)
        places = list(np.ndindex(*self.shape))
        self.todo = deque(places if Turns.blocks % 2 else places[::-1])
        try:
            while self.todo:
                self.carry_out(self.todo.popleft())
            while self.parked:
                self.advance()
        except BaseException as error:
            self.errors.append(error)
            for lane in self.parked:
                lane.go.release()
                self.back.acquire()
            raise

    def carry_out(self, place: Any) -> None:
        """Be one thread of the block."""
        this: Any = threading.current_thread()
        this.threadIdx, this.blockIdx = kernelapi.Dim3(*place), self.block
        this.syncthreads = this.park if isinstance(this, Lane) else self.advance
        self.function(*self.arguments)

    def advance(self) -> None:
        """Let all other threads come to the barrier."""
        lanes, self.parked = self.parked, []
        for lane in lanes:
            lane.go.release()
            self.back.acquire()
        while self.todo:
            (Lane.idle.pop() if Lane.idle else Lane()).take(self, self.todo.popleft())
        if self.errors:
            raise self.errors[0]


def shared_array(self: Any, shape: int, dtype: Any) -> Any:
    """Return the shared array of the calling line, the same to all threads of a block."""
    frame = sys._getframe(1)
    place = frame.f_code.co_filename, frame.f_lineno
    if place not in self._allocations:
        self._allocations[place] = np.full(shape, np.nan, dtype)
    return self._allocations[place]


def take() -> None:
    """Let the simulator run blocks so."""
    kernel.BlockManager = Turns
    kernelapi.FakeCUDAShared.array = shared_array
