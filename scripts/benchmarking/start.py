"""What a fresh process pays: the import, and the first step with a cold and a warm disk cache."""

import shutil
import statistics
import subprocess
import sys

from benchmarking.processes import Plan, environment

_IMPORT = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""
_FIRST_STEP = """
import time
import numpy as np
import fastrms
variables = [np.ones((64, 128), np.float32), np.zeros(128, np.float32)]
gradients = [np.ones_like(v) for v in variables]
start = time.perf_counter()
optimizer = fastrms.RMSprop({arguments})
optimizer.build(variables)
optimizer.apply(gradients)
print(time.perf_counter() - start)
"""
EVERYTHING = "momentum=0.9, centered=True, weight_decay=0.01, clipvalue=0.5, use_ema=True"


def _seconds(plan: Plan, code: str, cache: str) -> float:
    """Run code in a fresh process and return what it prints.

    Compiled modules (.pyc) are kept for both sides alike, as an installed package has them.
    """
    variables = {**environment(plan), "NUMBA_CACHE_DIR": str(plan.caches / cache)}
    variables["PYTHONPYCACHEPREFIX"] = str(plan.caches / "modules")
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def import_ratios(plan: Plan) -> list[float]:
    """Return how much longer `import fastrms` takes than `import numba`, in turn."""
    ratios = []
    for module in ("fastrms", "numba"):
        _seconds(plan, _IMPORT.format(module=module), "numba")
    for _ in range(plan.processes):
        pairs = [
            [_seconds(plan, _IMPORT.format(module=m), "numba") for m in ("fastrms", "numba")]
            for _ in range(1 if plan.quick else 5)
        ]
        ours, numba = zip(*pairs, strict=True)
        ratios.append(statistics.median(ours) / statistics.median(numba))
    return ratios


def first_steps(plan: Plan, arguments: str) -> tuple[list[float], list[float]]:
    """Return the seconds of a process's first step: with an empty cache, with a filled one."""
    code, cold, warm = _FIRST_STEP.format(arguments=arguments), [], []
    _seconds(plan, code, "start")
    for _ in range(plan.processes):
        shutil.rmtree(plan.caches / "start", ignore_errors=True)
        cold.append(_seconds(plan, code, "start"))
        warm.append(_seconds(plan, code, "start"))
    return cold, warm
