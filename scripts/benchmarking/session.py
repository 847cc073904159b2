"""One benchmark run: measures the chosen groups of rows and remarks on its progress."""

import statistics
import sys
from typing import Any

from benchmarking import checkpoints, start
from benchmarking.peers import PEERS
from benchmarking.processes import Crew, Outcome, Plan, compare, measure
from benchmarking.rows import PEER_BARS, PEER_CASES, SPECS, Row, Spec, peer_bar
from benchmarking.timing import ratio
from benchmarking.works import Case

GROUPS = ("limit", "peers", "many", "few", "norms", "sparse", "subnormal", "memory", "scripts")
GROUPS += ("variables", "start", "checkpoints")


def say(text: str) -> None:
    """Remark on progress where it does not disturb the report."""
    print(text, file=sys.stderr, flush=True)


def _own_row(spec: Spec, outcome: Outcome) -> Row:
    """Turn what our processes measured into a row."""
    runs = outcome.runs
    values = [spec.value(run.times, run.facts) for run in runs]
    note = ""
    if runs:
        middle = sorted(zip(values, range(len(runs)), strict=True))[len(runs) // 2][1]
        note = spec.note(runs[middle].times, runs[middle].facts)
    return Row(spec.work, spec.bar, values, outcome.discarded, note, outcome.problem)


def own_rows(plan: Plan, groups: set[str]) -> list[Row]:
    """Measure the rows that need no peer."""
    crew, rows = Crew(plan), []
    for spec in SPECS:
        if spec.group in groups:
            say(f"{spec.group}: {spec.work}")
            rows.append(_own_row(spec, measure(plan, crew, spec.case)))
    crew.close()
    return rows


def _peer_row(row: str, case: Case, found: dict[str, Outcome]) -> Row:
    """Compare with the fastest mode of a peer; name the others' problems."""
    work, bar = f"against {row}: {case.label}", peer_bar(row, case)
    measured = {side: outcome for side, outcome in found.items() if outcome.runs}
    problems = [f"{side}: {o.problem}" for side, o in found.items() if o.problem]
    if not measured:
        return Row(work, bar, [], problem="; ".join(problems))
    values = {
        side: [ratio(run.times["peer"], run.times["ours"]) for run in outcome.runs]
        for side, outcome in measured.items()
    }
    best = min(values, key=lambda side: statistics.median(values[side]))
    runs = measured[best].runs
    theirs, ours = (
        statistics.median(t for run in runs for t in run.times[arm]) for arm in ("peer", "ours")
    )
    note = f"{best} {theirs * 1e3:.2f} ms, ours {ours * 1e3:.2f} ms"
    others = [f"{s} {statistics.median(v):.3g}x" for s, v in values.items() if s != best]
    note = ", ".join([note, *others])
    return Row(work, bar, values[best], measured[best].discarded, note, "; ".join(problems))


def peer_rows(plan: Plan) -> list[Row]:
    """Measure the rows against the peers; what is not installed is listed with its pip line."""
    found: dict[str, dict[str, dict[Case, Outcome]]] = {row: {} for row in PEER_BARS}
    for side, peer in PEERS.items():
        if peer.missing:
            lacking = Outcome([], problem=f"missing: {peer.missing}")
            found[peer.row][side] = dict.fromkeys(PEER_CASES, lacking)
            continue
        say(f"peers: {side}")
        found[peer.row][side] = compare(plan, PEER_CASES, side, peer.environment)
    return [
        _peer_row(row, case, {side: cases[case] for side, cases in sides.items()})
        for row, sides in found.items()
        for case in PEER_CASES
    ]


def unmeasured_peers(reason: str) -> list[Row]:
    """List the rows against peers as not measured."""
    return [
        Row(f"against {row}: {case.label}", peer_bar(row, case), [], problem=reason)
        for row in PEER_BARS
        for case in PEER_CASES
    ]


def start_rows(plan: Plan) -> list[Row]:
    """Measure the import and the first step of fresh processes."""
    say("start: import and first step")
    rows = [start.import_row(plan)]
    for name, arguments in (("plain", ""), ("everything on", start.EVERYTHING)):
        rows += start.first_step_rows(plan, name, arguments)
    return rows


def checkpoint_rows(plan: Plan) -> list[Row]:
    """Measure files against NumPy, safetensors and h5py alone."""
    say("checkpoints: files, memory, the HDF5 reader, the checksum")
    return checkpoints.rows(plan)


def stream_lines(plan: Plan) -> list[str]:
    """Check the yardstick against a copy and a STREAM triad."""
    crew = Crew(plan)
    lines = []
    for size in ("16M",) if plan.quick else ("16M", "64M"):
        say(f"yardstick: {size}")
        outcome = measure(plan, crew, Case(size, kind="stream"))
        if outcome.problem:
            lines.append(f"Yardstick cross-check, {size}: {outcome.problem}")
        if outcome.runs:
            lines.append(f"Yardstick cross-check, {size}, GB/s: {_stream(outcome)}")
    crew.close()
    return lines


def _stream(outcome: Outcome) -> str:
    """Write the bytes per second of the yardstick, the copy and the triad."""
    names: dict[str, Any] = {"limit": "bytes", "copyto": "copyto", "triad": "triad"}
    parts = []
    for arm, fact in names.items():
        each = [run.facts[fact] / statistics.median(run.times[arm]) / 1e9 for run in outcome.runs]
        parts.append(f"{arm} {statistics.median(each):.1f} ({' '.join(f'{e:.1f}' for e in each)})")
    return ", ".join(parts) + "; copyto and triad also fetch, uncounted, the lines they overwrite"
