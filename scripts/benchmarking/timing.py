"""Alternating rounds of timed calls, and whether the yardstick agrees with itself."""

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

# A yardstick that differs from itself by more than this makes a process's run worthless.
TOLERANCE = 0.05
_ROUND_SECONDS = 0.02


class Arm(NamedTuple):
    """One of the things that are timed in turn; `prepare` runs untimed before every call."""

    call: Callable[[], object]
    prepare: Callable[[], object] | None = None


def seconds(arm: Arm, calls: int) -> float:
    """Return the mean time of a call."""
    if arm.prepare is None:
        start = time.perf_counter()
        for _ in range(calls):
            arm.call()
        return (time.perf_counter() - start) / calls
    total = 0.0
    for _ in range(calls):
        arm.prepare()
        start = time.perf_counter()
        arm.call()
        total += time.perf_counter() - start
    return total / calls


def calls_for(arm: Arm) -> int:
    """Return how many calls make a round long enough to time."""
    seconds(arm, 1)
    return max(1, min(2000, int(_ROUND_SECONDS / max(seconds(arm, 3), 1e-7))))


def alternate(arms: dict[str, Arm], rounds: int) -> dict[str, list[float]]:
    """Time every arm once in each round, in turn, each from the caches that it leaves itself.

    Without the untimed call an arm whose arrays the one before has just read begins warm, and one
    whose arrays lie elsewhere begins cold.
    """
    calls = {name: calls_for(arm) for name, arm in arms.items()}
    times: dict[str, list[float]] = {name: [] for name in arms}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, arm in arms.items():
                seconds(arm, 1)
                times[name].append(seconds(arm, calls[name]))
    finally:
        gc.enable()
    return times


def disagreement(times: list[float]) -> float:
    """Return by how much a yardstick's halves, or its even and odd rounds, differ."""
    if len(times) < 4:
        return 0.0
    half = len(times) // 2
    pairs = ((times[:half], times[half:]), (times[::2], times[1::2]))
    medians = [(statistics.median(a), statistics.median(b)) for a, b in pairs]
    return max(max(a, b) / min(a, b) - 1 for a, b in medians)


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the rounds' ratios: what drifts during a run cancels."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
