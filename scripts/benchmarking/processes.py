"""Fresh processes, alternating rounds, and the repetition of runs that were disturbed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarking.timing import TOLERANCE, disagreement
from benchmarking.worker import MARK
from benchmarking.works import Case

_SCRIPTS = Path(__file__).resolve().parents[1]
# Threads of a peer may spin this long after its last call.
_REST = 0.01


class Plan(NamedTuple):
    """How much is measured, and where caches lie."""

    processes: int
    rounds: int
    threads: int
    quick: bool
    caches: Path

    @property
    def attempts(self) -> int:
        """How many processes may be tried for the wanted number of undisturbed ones."""
        return 1 if self.quick else 3 * self.processes


class Run(NamedTuple):
    """What one fresh process measured."""

    times: dict[str, list[float]]
    facts: dict[str, Any]

    @property
    def disturbed(self) -> bool:
        """Tell whether the yardstick disagreed with itself."""
        return disagreement(self.times.get("limit", [])) > TOLERANCE


class Outcome(NamedTuple):
    """The kept runs, how many were discarded, and what went wrong."""

    runs: list[Run]
    discarded: int = 0
    problem: str = ""


def environment(plan: Plan) -> dict[str, str]:
    """Return the environment of all children: our tree, equal threads, caches of this run."""
    count, found = str(plan.threads), dict(os.environ)
    names = ("FASTRMS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    found |= dict.fromkeys((*names, "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), count)
    found["NUMBA_CACHE_DIR"] = str(plan.caches / "numba")
    found["TORCHINDUCTOR_CACHE_DIR"] = str(plan.caches / "inductor")
    found |= {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
    paths = [str(_SCRIPTS.parent), str(_SCRIPTS), os.environ.get("PYTHONPATH", "")]
    found["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return found


class WorkerError(RuntimeError):
    """A child could not do what it was asked for."""


class Worker:
    """A child process that times what it is told to; see `benchmarking.worker`."""

    def __init__(self, plan: Plan, side: str, extra: dict[str, str] | None = None) -> None:
        command = [sys.executable, str(_SCRIPTS / "benchmark.py"), "--worker", side]
        self.process = subprocess.Popen(
            [*command, "--threads", str(plan.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**environment(plan), **(extra or {})},
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send a request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(f"the process ended with code {self.process.wait()}") from None
        for line in self.process.stdout:
            if line.startswith(MARK):
                reply = json.loads(line[len(MARK) :])
                if "error" in reply:
                    raise WorkerError(reply["error"])
                return reply["answer"]
        raise WorkerError(f"the process ended with code {self.process.wait()}")

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


class Crew:
    """Our workers: a fresh one for every run, or one for all when quick."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self._idle = plan, [Worker(plan, "ours")] if plan.quick else []

    def take(self) -> Worker:
        """Return a worker."""
        return self._idle[0] if self._idle else Worker(self.plan, "ours")

    def leave(self, worker: Worker) -> None:
        """Hand a worker back."""
        if worker not in self._idle:
            worker.close()

    def close(self) -> None:
        """End what is left."""
        for worker in self._idle:
            worker.close()


def measure(plan: Plan, crew: Crew, case: Case) -> Outcome:
    """Time one case in fresh processes until enough of them were undisturbed."""
    kept: list[Run] = []
    thrown: list[Run] = []
    for _ in range(plan.attempts):
        worker = crew.take()
        try:
            facts = worker.ask("prepare", case=case, quick=plan.quick)
            run = Run(worker.ask("alternate", rounds=plan.rounds), facts)
        except WorkerError as error:
            return Outcome([], problem=str(error))
        finally:
            crew.leave(worker)
        (thrown if run.disturbed and not plan.quick else kept).append(run)
        if len(kept) == plan.processes:
            break
    return _judged(plan, kept, thrown)


def _judged(plan: Plan, kept: list[Run], thrown: list[Run]) -> Outcome:
    """Say so where too few runs were undisturbed; show the others where none was."""
    problem = ""
    if not plan.quick and len(kept) < plan.processes:
        problem = f"disturbed machine: {len(kept)} of {plan.processes} processes were quiet"
    return Outcome(kept or thrown, len(thrown), problem)


def _pair(plan: Plan, ours: Worker, peer: Worker, case: Case) -> Run:
    """Time one case in two processes in turn; ours and the peer's each follow other arrays."""
    peer.ask("prepare", case=case, quick=plan.quick)
    facts = ours.ask("prepare", case=case, quick=plan.quick)
    times: dict[str, list[float]] = {"ours": [], "limit": [], "peer": []}
    for _ in range(plan.rounds):
        for name, seconds in times.items():
            time.sleep(_REST)
            seconds.append((peer if name == "peer" else ours).ask("once", arm=name))
    return Run(times, facts)


def compare(plan: Plan, cases: list[Case], side: str, extra: dict[str, str]) -> dict[Case, Outcome]:
    """Time several cases against a peer, in fresh pairs of processes."""
    kept: dict[Case, list[Run]] = {case: [] for case in cases}
    thrown: dict[Case, list[Run]] = {case: [] for case in cases}
    failed: dict[Case, str] = {}
    for _ in range(plan.attempts):
        wanted = [c for c in cases if len(kept[c]) < plan.processes and c not in failed]
        if not wanted:
            break
        ours, peer = Worker(plan, "ours"), Worker(plan, side, extra)
        for case in wanted:
            try:
                run = _pair(plan, ours, peer, case)
                (thrown if run.disturbed and not plan.quick else kept)[case].append(run)
            except WorkerError as error:
                failed[case] = str(error)
        ours.close()
        peer.close()
    return {
        case: Outcome([], problem=failed[case])
        if case in failed
        else _judged(plan, kept[case], thrown[case])
        for case in cases
    }
