"""Print what making the GPU's kernels of a first step costs in a fresh process; needs no GPU.

python scripts/cuda_compile.py [--processes 5]

Needs numba-cuda and NVVM (pip install 'fastrms[cuda]'). The driver's own work, machine code of the
PTX, comes on top where there is one.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys

_PIP = "pip install 'fastrms[cuda]'"
_STEP = """
import json, sys, time
import cuda.bindings.driver
import numba
import numpy as np
import fastrms
from fastrms.arguments import settle
from fastrms.rule import GLOBAL
from fastrms.state import State
from fastrms.variables import Variables
from fastrms.work import UPDATE, Workshop

options = json.loads(sys.argv[1])
row = fastrms.DIALECTS["keras-3"]
variables = Variables([np.zeros(1, np.float32)], ["variable"], named=False)
shop = Workshop(row, settle(row, options), variables, State(variables, 0.0), frozenset())
update = shop.variant(0, UPDATE)
times = [time.process_time()]
import numba.cuda
times.append(time.process_time())
from fastrms.cuda import kernels, parts, target

def make(kind, variant, norm=0):
    shape = kernels.Shape(kind, (parts.Part(variant, "float32", "float32"),), (0,), norm)
    types = target.kernel_types(shape.dtypes)
    target.ptx(kernels.kernel(shape), types, target.supported((8, 0)))
    times.append(time.process_time())

make("update", update)
if "global_clipnorm" in options:
    make("squares", shop.before_norm(0))
    make("clips", shop.before_norm(0), GLOBAL)
print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""
_EVERYTHING = {
    "momentum": 0.9,
    "centered": True,
    "weight_decay": 0.01,
    "use_ema": True,
    "global_clipnorm": 1.0,
    "loss_scale_factor": 2.0,
}
_STEPS = {
    "Keras 3, default": {},
    "momentum and centered": {"momentum": 0.9, "centered": True},
    "momentum and global_clipnorm": {"momentum": 0.9, "global_clipnorm": 1.0},
    "everything on": _EVERYTHING,
}


def _measured(options: dict[str, object]) -> list[float]:
    """Return the processor seconds of each part in a fresh process."""
    command = [sys.executable, "-c", _STEP, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise SystemExit(f"no kernel could be made: {last[0]}. Needs NVVM: {_PIP}")
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=5)
    processes = parser.parse_args().processes
    if importlib.util.find_spec("numba_cuda") is None:
        raise SystemExit(f"no kernel can be made: numba-cuda is not installed; {_PIP}")
    print("| step | import numba.cuda | first kernel | the others | together |")
    print("|---|---|---|---|---|")
    for name, options in _STEPS.items():
        runs = [_measured(options) for _ in range(processes)]
        parts = [statistics.median(part) for part in zip(*runs, strict=True)]
        together = statistics.median(sum(run) for run in runs)
        rest = f"{sum(parts[2:]):.2f} ({len(parts) - 2})" if parts[2:] else "–"
        print(f"| {name} | {parts[0]:.2f} | {parts[1]:.2f} | {rest} | {together:.2f} |")


if __name__ == "__main__":
    main()
