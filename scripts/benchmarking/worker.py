"""A process that times: it answers its parent's requests, one JSON line each."""

import json
import os
import sys
from typing import Any

from benchmarking.machine import versions
from benchmarking.timing import Arm, alternate, calls_for, seconds
from benchmarking.works import Case

MARK = "@"  # what begins our lines; libraries print others


class _Bench:
    """The arms of one case."""

    def __init__(self, side: str, threads: int) -> None:
        self.side, self.threads = side, threads
        self.arms: dict[str, Arm] = {}
        self.calls: dict[str, int] = {}

    def prepare(self, case: list[str], quick: bool) -> dict[str, Any]:
        """Make the arms of a case, ours or the peer's; the first calls compile."""
        self.arms = {}
        facts: dict[str, Any] = {}
        if self.side == "ours":
            from benchmarking.arms import MAKERS

            self.arms, facts = MAKERS[case[2]](Case(*case), quick)
        else:
            from benchmarking.peers import PEERS

            step = PEERS[self.side].make(Case(*case), quick, self.threads)
            step()
            step()
            self.arms = {"peer": Arm(step)}
        self.calls = {name: calls_for(arm) for name, arm in self.arms.items()}
        return facts

    def once(self, arm: str) -> float:
        """Time one round of an arm, after a call that brings its data back into the caches."""
        seconds(self.arms[arm], 1)
        return seconds(self.arms[arm], self.calls[arm])

    def alternate(self, rounds: int) -> dict[str, list[float]]:
        """Time all arms in turn."""
        return alternate(self.arms, rounds) if self.arms else {}

    def versions(self) -> dict[str, str]:
        """Return the versions of what this process may use."""
        return versions()


def serve(side: str, threads: int) -> None:
    """Answer requests until the parent closes the pipe."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    bench = _Bench(side, threads)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"answer": getattr(bench, request.pop("do"))(**request)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(MARK + json.dumps(reply), flush=True)
