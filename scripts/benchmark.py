"""Benchmark fastrms against the memory limit and its peers: a table and a picture.

`python scripts/benchmark.py` takes about an hour with all peers (`pip install -e '.[bench]'`);
`--quick` shows in seconds that it works, with small arrays whose numbers mean nothing.
`--device cuda` measures on a GPU instead.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarking import session
from benchmarking.figure import draw
from benchmarking.machine import machine, versions
from benchmarking.processes import Plan
from benchmarking.report import as_json, report
from benchmarking.rows import Row
from benchmarking.timing import TOLERANCE
from benchmarking.worker import serve


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Benchmark fastrms.", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small arrays, one process: a check")
    parser.add_argument(
        "--only", action="append", choices=session.GROUPS, help="measure this group (repeatable)"
    )
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--png", type=Path, default=Path("fastrms-benchmark.png"))
    parser.add_argument("--threads", type=int, default=2, help="for us and every peer")
    parser.add_argument("--processes", type=int, default=5, help="fresh processes per row")
    parser.add_argument("--peer-processes", type=int, help="the same for rows against peers")
    parser.add_argument("--rounds", type=int, default=15, help="alternating rounds per process")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what is measured")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def load() -> str:
    """Return how many processes wanted a processor in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def method(plan: Plan, peers: int) -> str:
    """Describe how the numbers were made."""
    text = (
        f"{plan.threads} threads for all; {plan.rounds} alternating rounds in each of "
        f"{plan.processes} fresh processes ({peers} against peers); 'measured' is the median "
        f"process; a process whose yardstick differs from itself by more than {TOLERANCE:.0%} is "
        "discarded, counted and repeated"
    )
    return text + ("; QUICK: small arrays, the numbers mean nothing" if plan.quick else "")


def measure(plan: Plan, groups: set[str], peers: int, asked: bool) -> tuple[list[Row], list[str]]:
    """Measure everything that was chosen."""
    rows = session.own_rows(plan, groups)
    if "peers" in groups:
        skipped = plan.quick and not asked
        reason = "left out by --quick; choose it with --only peers"
        against = plan._replace(processes=peers)
        rows += session.unmeasured_peers(reason) if skipped else session.peer_rows(against)
    if "start" in groups:
        rows += session.start_rows(plan)
    if "checkpoints" in groups:
        rows += session.checkpoint_rows(plan)
    return rows, session.stream_lines(plan) if "limit" in groups else []


def on_device(quick: bool, rounds: int) -> int:
    """Run the benchmark of the GPU, which has rows, bars and a yardstick of its own."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tree, installed or not
    from fastrms import cuda

    if not cuda.is_available():
        print(f"no GPU can be used: {cuda.reason()}", file=sys.stderr)
        return 2
    from benchmarking import device

    return device.run(quick, rounds)


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    chosen = parse(arguments)
    if chosen.worker:
        serve(chosen.worker, chosen.threads)
        return 0
    if chosen.device == "cuda":
        return on_device(chosen.quick, chosen.rounds)
    groups, before = set(chosen.only or session.GROUPS), load()
    with tempfile.TemporaryDirectory(prefix="fastrms-benchmark-") as caches:
        processes, rounds = (1, 3) if chosen.quick else (chosen.processes, chosen.rounds)
        plan = Plan(processes, rounds, chosen.threads, chosen.quick, Path(caches))
        peers = chosen.peer_processes or processes
        rows, stream = measure(plan, groups, peers, bool(chosen.only))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tree, installed or not
    from fastrms import __version__

    facts: dict[str, Any] = {"machine": machine(), "versions": versions(), "stream": stream}
    facts |= {"fastrms": __version__, "method": method(plan, peers)}
    facts["method"] += f"; load average {before} before the run (the machine should be idle)"
    print(report(rows, facts))
    draw(rows, facts["machine"], chosen.png)
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(rows, facts), indent=1), encoding="utf-8")
    print(f"\nPicture: {chosen.png}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
