"""The benchmark on a GPU: our steps and their peers against a copy within the device's memory.

Arms take turns, each round with other arrays, so that no arm finds its own in the cache; time is
taken by events on the device, host time beside it by a clock.
"""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastrms
from benchmarking.device_peers import PEERS
from benchmarking.works import sizes_of
from fastrms.cuda import memory, target
from fastrms.info import report as info

MOMENTUM = {"momentum": 0.9, "centered": True}
GLOBAL = {"global_clipnorm": 1.0}
MANY, CONVOLUTIONS = "300 tensors of 64..65536", "161 tensors like ResNet-50"


class Work(NamedTuple):
    """One row: arrays, options, dtype, and the least share of the copy's bandwidth."""

    sizes: str
    options: dict[str, Any]
    dtype: str = "float32"
    bar: float = 0.92


WORKS = (
    Work("256M", {}),
    Work("256M", MOMENTUM),
    Work("256M", {"use_ema": True}),
    Work("256M", {}, "float16", 0.90),
    Work("256M", {}, "bfloat16", 0.90),
    Work("256M", {"slot_dtype": "float32"}, "float16", 0.90),
    Work("256M", {"slot_dtype": "float32"}, "bfloat16", 0.90),
)


def tensors(name: str, quick: bool) -> list[int]:
    """Return the numbers of elements behind a name; a handful in the simulator."""
    sizes = _tensors(name, quick)
    return [min(size, 50) for size in sizes[:3]] if target.SIMULATED else sizes


def _tensors(name: str, quick: bool) -> list[int]:
    """Return the numbers of elements behind a name."""
    if name != CONVOLUTIONS:
        return sizes_of(name, quick)
    found = [9408, 64, 64]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            found += [inputs * width, width, width, 9 * width * width, width, width]
            found += [4 * width * width, 4 * width, 4 * width]
            if not block:
                found += [4 * inputs * width, 4 * width, 4 * width]
            inputs = 4 * width
    found += [2_048_000, 1000]
    return found[:12] if quick else found


def dtype_of(name: str) -> np.dtype[Any]:
    """Return a dtype; bfloat16 needs ml_dtypes."""
    from fastrms.cuda.protocols import brain_dtype

    return brain_dtype() if name == "bfloat16" else np.dtype(name)


class Clock:
    """Times work on the device by events; in the simulator by the host's clock.

    With a lead the device is busy (1 GiB is cleared) until the host has queued everything: what the
    host takes, which is printed beside it, would count as the device's otherwise.
    """

    def __init__(self, leads: bool) -> None:
        self._machine = target.machine(0)
        size = 1 if target.SIMULATED else 1 << 28
        self._lead = memory.zeros(size, np.dtype(np.float32), memory.Place(0)) if leads else None

    def measure(self, run: Callable[[], None]) -> tuple[float, float]:
        """Return the seconds of the device and those of the host."""
        if target.SIMULATED:
            begin = time.perf_counter()
            run()
            return (time.perf_counter() - begin,) * 2
        from fastrms.cuda.driver import _call

        self._machine.enter()
        first, last = _call("cuEventCreate", 0), _call("cuEventCreate", 0)
        _call("cuCtxSynchronize")
        if self._lead is not None:
            self._machine.clear(self._lead.address, self._lead.nbytes, 1)
        _call("cuEventRecord", first, 1)
        begin = time.perf_counter()
        run()
        host = time.perf_counter() - begin
        _call("cuEventRecord", last, 1)
        _call("cuEventSynchronize", last)
        return float(_call("cuEventElapsedTime", first, last)) / 1e3, host


class Ours:
    """One of our optimizers with its arrays."""

    def __init__(self, sizes: list[int], options: dict[str, Any], dtype: str) -> None:
        kind, place = dtype_of(dtype), memory.Place(0)
        self.live = [memory.zeros(n, kind, place) for n in sizes]
        self.changes = [memory.zeros(n, kind, place) for n in sizes]
        pattern = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32)
        for array in self.changes:
            array[...] = np.resize(pattern, array.size).astype(kind)
        self.optimizer = fastrms.RMSprop(**options)
        self.optimizer.build(self.live)

    def step(self) -> None:
        """Take a step."""
        self.optimizer.apply(self.changes)

    @property
    def moved(self) -> int:
        """Bytes that a step must read and write; norms read the gradients once more."""
        slots = sum(a.nbytes for a in self.optimizer._core.stepper.state.slots.values())
        settings = vars(self.optimizer.settings)
        clips = any(settings.get(name) for name in ("clipnorm", "global_clipnorm"))
        return sum(a.nbytes for a in self.live) * (3 + clips) + 2 * slots


def copier(nbytes: int) -> Callable[[], None]:
    """Return the yardstick: a copy of so many bytes within the device's memory."""
    kind, place = np.dtype(np.float32), memory.Place(0)
    source, copy = (memory.zeros(max(nbytes // 4, 1), kind, place) for _ in range(2))

    def run() -> None:
        copy[...] = source

    return run


def rounds_of(
    arms: dict[str, list[Callable[[], None]]], rounds: int, leads: bool = True
) -> dict[str, Any]:
    """Let the arms take turns; return their median seconds on the device and on the host."""
    clock = Clock(leads)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for turn in range(rounds + 3):
        for name, runs in arms.items():
            found = clock.measure(runs[turn % len(runs)])
            if turn >= 3:
                times[name].append(found)
    return {
        name: tuple(map(statistics.median, zip(*found, strict=True)))
        for name, found in times.items()
    }


def _copies(quick: bool, nbytes: int) -> int:
    """Return how many sets of arrays outgrow the cache together."""
    return 1 if quick else max(1, min(64, (400 << 20) // max(nbytes, 1)))


def bandwidth(work: Work, quick: bool, rounds: int) -> str:
    """Measure a row against the copy."""
    sizes = tensors(work.sizes, quick)
    ours = Ours(sizes, work.options, work.dtype)
    copied = min(ours.moved // 2, 2 << 30)
    found = rounds_of({"copy": [copier(copied)], "ours": [ours.step]}, rounds)
    copy, own = 2 * copied / found["copy"][0], ours.moved / found["ours"][0]
    text = ", ".join(f"{k}={v}" for k, v in work.options.items()) or "plain"
    verdict = "ok" if own / copy >= work.bar else "MISSED"
    return (
        f"{work.sizes} {work.dtype}, {text}: {own / copy:.3f} of the copy's bandwidth "
        f"({own / 1e9:.0f} of {copy / 1e9:.0f} GB/s; bar {work.bar}) {verdict}"
    )


def many(name: str, options: dict[str, Any], quick: bool, rounds: int) -> str:
    """Measure many tensors against one flat tensor, and the host's time."""
    sizes = tensors(name, quick)
    count = _copies(quick, 20 * sum(sizes))
    several = [Ours(sizes, options, "float32") for _ in range(count)]
    flat = [Ours([sum(sizes)], options, "float32") for _ in range(count)]
    found = rounds_of({"many": [o.step for o in several], "flat": [o.step for o in flat]}, rounds)
    ratio, host = found["many"][0] / found["flat"][0], found["many"][1] * 1e6
    text = ", ".join(options) or "plain"
    good = ratio <= 1.15 and host <= 60
    return (
        f"{name}, {text}: {ratio:.3f} x one flat tensor (bar 1.15), {host:.0f} us on the host "
        f"(bar 60) {'ok' if good else 'MISSED'}"
    )


def norms(quick: bool, rounds: int) -> str:
    """Measure what clipping by the global norm costs."""
    sizes = tensors("256M", quick)
    plain, clipped = Ours(sizes, {}, "float32"), Ours(sizes, GLOBAL, "float32")
    found = rounds_of({"plain": [plain.step], "clipped": [clipped.step]}, rounds)
    ratio = found["clipped"][0] / found["plain"][0]
    verdict = "ok" if ratio <= 1.25 else "MISSED"
    return f"global_clipnorm, 256M: {ratio:.3f} x plain (bar 1.25) {verdict}"


def start() -> str:
    """Time the first step: what is compiled, and what is left."""
    ours = Ours([100], {"momentum": 0.5, "weight_decay": 0.5}, "float32")
    begin = time.perf_counter()
    ours.step()
    first = time.perf_counter() - begin
    again = Ours([100], {"momentum": 0.5, "weight_decay": 0.5}, "float32")
    begin = time.perf_counter()
    again.step()
    rest = time.perf_counter() - begin
    return f"first step: {first:.2f} s with compiling, {rest:.3f} s without (bar 1 s in all)"


def against(name: str, peer: str, quick: bool, rounds: int) -> str:
    """Measure a peer; one that is not installed is named."""
    sizes, (bars, make) = tensors(name, quick), PEERS[peer]
    try:
        theirs = make(sizes)
    except Exception as error:  # a peer may fail in any way; the row says how
        return f"{name} against {peer}: not measured, {type(error).__name__}: {error}"
    ours = Ours(sizes, {}, "float32")
    # A user waits for whichever is slower, the host or the device: no lead for either.
    found = rounds_of({"theirs": [theirs], "ours": [ours.step]}, rounds, leads=False)
    ratio, bar = found["theirs"][0] / found["ours"][0], bars[len(sizes) > 1]
    verdict = "" if bar is None else f" (bar {bar}) {'ok' if ratio >= bar else 'MISSED'}"
    return f"{name} against {peer}: {ratio:.2f} x as fast{verdict}"


def rows(quick: bool, rounds: int) -> list[Callable[[], str]]:
    """Return everything that is measured: ours, then the peers, those slow to compile last."""
    found: list[Callable[[], str]] = [start]
    found += [functools.partial(bandwidth, work, quick, rounds) for work in WORKS]
    for name in (MANY, CONVOLUTIONS):
        found += [functools.partial(many, name, o, quick, rounds) for o in ({}, GLOBAL)]
    found.append(functools.partial(norms, quick, rounds))
    slow = ("torch.compile",)
    for peer in sorted(PEERS, key=lambda peer: peer in slow):
        found += [functools.partial(against, n, peer, quick, rounds) for n in ("256M", MANY)]
    return found


def run(quick: bool, rounds: int) -> int:
    """Measure everything, printing as it goes; return 1 if a bar is missed or a row fails."""
    print(info())
    if quick:
        print("QUICK: small arrays, the numbers mean nothing")
    broken = False
    for row in rows(quick, 2 if quick else rounds):
        begin = time.perf_counter()
        try:
            line = row()
        except Exception as error:  # the rows that follow are to be measured too
            line, broken = f"{row}: {type(error).__name__}: {error} FAILED", True
        broken |= not quick and line.endswith("MISSED")
        print(f"{line}  [{time.perf_counter() - begin:.0f} s]", flush=True)
        gc.collect()  # gigabytes are held in cycles
    return int(broken)
