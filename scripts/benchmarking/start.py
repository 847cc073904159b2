"""What a fresh process pays: the import, and the first step with a cold and a warm disk cache."""

import shutil
import statistics
import subprocess
import sys

from benchmarking.processes import Plan, environment
from benchmarking.rows import Bar, Row

_IMPORT = """
import time
start, processor = time.perf_counter(), time.process_time()
import {module}
print(time.perf_counter() - start, time.process_time() - processor)
"""
_FIRST_STEP = """
import time
import numpy as np
import fastrms
variables = [np.ones((64, 128), np.float32), np.zeros(128, np.float32)]
gradients = [np.ones_like(v) for v in variables]
start, processor = time.perf_counter(), time.process_time()
optimizer = fastrms.RMSprop({arguments})
optimizer.build(variables)
optimizer.apply(gradients)
print(time.perf_counter() - start, time.process_time() - processor)
"""
EVERYTHING = "momentum=0.9, centered=True, weight_decay=0.01, clipvalue=0.5, use_ema=True"


def _seconds(plan: Plan, code: str, cache: str) -> tuple[float, float]:
    """Run code in a fresh process and return what it prints: seconds, processor seconds.

    Compiled modules (.pyc) are kept for both sides alike, as an installed package has them.
    """
    variables = {**environment(plan), "NUMBA_CACHE_DIR": str(plan.caches / cache)}
    variables["PYTHONPYCACHEPREFIX"] = str(plan.caches / "modules")
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    seconds, processor = map(float, done.stdout.split())
    return seconds, processor


def _ratios(plan: Plan) -> tuple[float, float]:
    """Divide the medians of alternating imports: seconds, processor seconds."""
    ours, numba = [], []
    for _ in range(1 if plan.quick else 5):
        ours.append(_seconds(plan, _IMPORT.format(module="fastrms"), "numba"))
        numba.append(_seconds(plan, _IMPORT.format(module="numba"), "numba"))
    first, second = (
        statistics.median(a) / statistics.median(b)
        for a, b in zip(zip(*ours, strict=True), zip(*numba, strict=True), strict=True)
    )
    return first, second


def _row(work: str, bar: Bar, values: list[tuple[float, float]]) -> Row:
    """Make a row of seconds, the processor's share beside it: less disturbed by other programs."""
    processor = statistics.median(value for _, value in values)
    note = f"by processor time {processor:.3g}"
    return Row(work, bar, [seconds for seconds, _ in values], note=note)


def import_row(plan: Plan) -> Row:
    """Measure how much longer `import fastrms` takes than `import numba`, in turn."""
    for module in ("fastrms", "numba"):
        _seconds(plan, _IMPORT.format(module=module), "numba")
    values = [_ratios(plan) for _ in range(plan.processes)]
    return _row("import fastrms / import numba", Bar("<=", 1.2, "x"), values)


def first_step_rows(plan: Plan, name: str, arguments: str) -> list[Row]:
    """Measure the first step of fresh processes: with an empty cache, with a filled one."""
    code = _FIRST_STEP.format(arguments=arguments)
    _seconds(plan, code, "start")
    cold, warm = [], []
    for _ in range(plan.processes):
        shutil.rmtree(plan.caches / "start", ignore_errors=True)
        cold.append(_seconds(plan, code, "start"))
        warm.append(_seconds(plan, code, "start"))
    work = f"first step of a fresh process after import, {name}"
    return [
        _row(f"{work}: cold disk cache", Bar("<=", 1.5, " s"), cold),
        _row(f"{work}: warm disk cache", Bar("<=", 0.4, " s"), warm),
    ]
