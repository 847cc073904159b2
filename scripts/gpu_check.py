"""Check on a GPU what the machines without one could not: bits, streams, memory, speed.

    python scripts/gpu_check.py [--quick] [--only SECTION ...]

Needs numpy, numba and numba-cuda; uses torch, cupy, jax, ml_dtypes and compute-sanitizer where
they are, and says what was left out. Nothing is fetched. Prints, section by section, what was
found, and ends with code 1 if a claim does not hold. Under NUMBA_ENABLE_CUDASIM=1 it shows in
Numba's simulator that it works (with --quick).
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import battery  # noqa: E402
import fastrms  # noqa: E402
import replay  # noqa: E402
from fastrms.cuda import memory  # noqa: E402
from fastrms.info import report as info  # noqa: E402

Host = fastrms.RMSprop
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("0", "")
BROKEN: list[str] = []


def claim(holds: bool, text: str) -> None:
    """Print a line, and remember a claim that does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'} {text}", flush=True)
    if not holds:
        BROKEN.append(text)


def on_device(values: Any) -> memory.DeviceArray:
    """Copy an array to the device."""
    values = np.asarray(values)
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    flat = memory.zeros(values.size, values.dtype, memory.Place(0))
    result = flat.reshape(values.shape, order="F" if fortran else "C")
    result[...] = values
    return result


def ulps(ours: Any, theirs: Any) -> int:
    """Return the distance in units of the last place; NaN equals NaN; 2**63 if one is not."""
    if battery.canonical(ours) == battery.canonical(theirs):
        return 0
    odd = np.isnan(ours) | np.isnan(theirs)
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return 2**63
    kind = np.dtype(f"i{ours.dtype.itemsize}")
    near = []
    for x in (ours[~odd], theirs[~odd]):
        bits = np.ascontiguousarray(x).view(kind).astype(object)
        low = int(np.iinfo(kind).min)
        near.append(np.array([low - b if b < 0 else b for b in bits.ravel()], object))
    return int(max(abs(near[0] - near[1]), default=0))


class Twin:
    """An optimizer on the host that a second one on the device follows, compared at each step."""

    worst: dict[str, int] = {}  # noqa: RUF012
    refused: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, **given: Any) -> None:
        self._host, self._device = Host(**given), Host(**given)
        self._pairs: dict[int, tuple[Any, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._host, name, value)
            setattr(self._device, name, value)

    def _twin(self, tree: Any) -> Any:
        """Return the device's counterpart of each variable."""
        if isinstance(tree, dict):
            return {name: self._twin(leaf) for name, leaf in tree.items()}
        if isinstance(tree, list | tuple):
            return [self._twin(leaf) for leaf in tree]
        if id(tree) not in self._pairs:
            self._pairs[id(tree)] = (tree, on_device(tree))
        return self._pairs[id(tree)][1]

    def _gradients(self, tree: Any, variables: Any) -> Any:
        """Return gradients on the device, in the dtype and order of their variables."""
        if isinstance(tree, dict):
            return {k: self._gradients(g, variables[k]) for k, g in tree.items()}
        if isinstance(tree, list | tuple):
            return [self._gradients(g, v) for g, v in zip(tree, variables, strict=True)]
        with np.errstate(all="ignore"):
            return None if tree is None else on_device(np.asarray(tree).astype(variables.dtype))

    def build(self, variables: Any) -> None:
        """Build both."""
        self._host.build(variables)
        self._device.build(self._twin(variables))

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Spare variables in both."""
        self._host.exclude_from_weight_decay(var_list, var_names)
        twins = [self._twin(v) for v in var_list or []]
        self._device.exclude_from_weight_decay(twins, var_names)

    def set_weights(self, values: Any) -> None:
        """Set the state of both."""
        self._host.set_weights(values)
        self._device.set_weights(values)

    def finalize_variable_values(self, variables: Any) -> None:
        """Average both."""
        self._host.finalize_variable_values(variables)
        self._device.finalize_variable_values(self._twin(variables))
        self._compare()

    def apply(self, gradients: Any, variables: Any) -> None:
        """Step both and compare everything."""
        twins = self._twin(variables)
        changes = self._gradients(gradients, variables)
        self._host.apply(gradients, variables)
        self._device.apply(changes, twins)
        self._compare()

    def _compare(self) -> None:
        """Note the worst distance of the dialect."""
        pairs = [*self._pairs.values()]
        pairs += zip(self._host.get_weights(), self._device.get_weights(), strict=True)
        found = [ulps(np.asarray(b), np.asarray(a)) for a, b in pairs if a.dtype.kind == "f"]
        name = self._host.dialect
        Twin.worst[name] = max(Twin.worst.get(name, 0), *found)


def goldens(quick: bool) -> None:
    """Replay every recording on the host and on the device; print the worst ulp per dialect."""
    count = 0
    fastrms.RMSprop = Twin  # type: ignore[misc, assignment]
    try:
        for system in replay.SYSTEMS:
            for case in itertools.islice(replay.runs(system), 3 if quick else None):
                try:
                    replay.replay(case)
                    count += 1
                except (fastrms.GradientError, fastrms.VariableError) as error:
                    Twin.refused[str(case)] = str(error)
    finally:
        fastrms.RMSprop = Host  # type: ignore[misc]
    for name, worst in Twin.worst.items():
        claim(worst == 0, f"{name}: worst distance {worst} ulp")
    for name, why in Twin.refused.items():
        claim(False, f"{name} was refused: {why}")
    print(f"     {count} recordings replayed")


def properties(quick: bool) -> None:
    """Compare dialects, options, dtypes and sizes, strange numbers among the gradients."""
    sizes = (1, 33) if quick else (0, 1, 31, 33, 1025, 16384, 40000, 100_003)
    dtypes = ("float16", "float32", "float64")
    cases = list(itertools.product(battery.combinations(), dtypes))
    Twin.worst.clear()
    for (dialect, options), dtype in cases[:: 40 if quick else 1]:
        twin = Twin(
            **{"learning_rate": 0.0625, "epsilon": 1e-4, **battery.OPTIONS[options]},
            dialect=dialect,
        )
        live = [battery.odd_numbers(size, dtype, k) for k, size in enumerate(sizes)]
        twin.build(live)
        for step in range(2 if quick else 4):
            changes = [battery.odd_numbers(v.shape, dtype, 10 * step + 3) for v in live]
            twin.apply(changes, live)
    for name, worst in Twin.worst.items():
        claim(worst == 0, f"{name}: worst distance {worst} ulp with any option, dtype and size")


def long_run(quick: bool) -> None:
    """Make a long run on both and compare the hashes."""
    steps, size = (20, 50) if quick else (10_000, 1_000_000)
    start = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    changes = [start * np.float32(1 + k) - np.float32(0.5) for k in range(7)]
    options = {"momentum": 0.9, "centered": True, "weight_decay": 0.01, "global_clipnorm": 5.0}
    hashes = {}
    for name, place in (("CPU", np.array), ("GPU", on_device)):
        live, gradients = place(start), [place(change) for change in changes]
        optimizer = Host(0.001, **options)
        optimizer.build([live])
        begin = time.perf_counter()
        for step in range(steps):
            optimizer.apply([gradients[step % 7]])
        digest = hashlib.sha256(np.asarray(live).tobytes())
        for array in optimizer.get_weights():
            digest.update(np.asarray(array).tobytes())
        hashes[name] = digest.hexdigest()
        print(f"     {hashes[name]}  {name} ({time.perf_counter() - begin:.1f} s)")
    claim(len(set(hashes.values())) == 1, f"{steps} steps on {size} numbers end in the same bits")


def libraries(quick: bool) -> None:
    """Update arrays of the libraries found, in place, on their streams."""
    weights = np.linspace(-1, 1, 1000, dtype=np.float32)
    expected = weights.copy()
    Host(0.01, momentum=0.9).apply([weights * 3], [expected])
    for name, check in (("cupy", _cupy), ("torch", _torch), ("numba", _numba)):
        try:
            check(weights, expected)
        except ImportError as error:
            print(f"     {name} left out: {error}")
        except Exception as error:
            claim(False, f"{name}: {type(error).__name__}: {error}")


def _cupy(weights: Any, expected: Any) -> None:
    """Check CuPy's arrays, on a stream of its own."""
    import cupy

    with cupy.cuda.Stream(non_blocking=True) as stream:
        live = cupy.asarray(weights)
        Host(0.01, momentum=0.9).apply([live * 3], [live])
        stream.synchronize()
        claim(np.array_equal(live.get(), expected), "CuPy's arrays, on CuPy's current stream")


def _torch(weights: Any, expected: Any) -> None:
    """Check PyTorch's parameters, bfloat16, a stream of its own, and a captured graph."""
    import torch

    live = torch.nn.Parameter(torch.tensor(weights, device="cuda"))
    optimizer = Host(0.01, momentum=0.9)
    with torch.cuda.stream(torch.cuda.Stream()):
        change = (live * 3).detach()
        optimizer.apply([change], [live])
        torch.cuda.current_stream().synchronize()
    claim(np.array_equal(live.detach().cpu().numpy(), expected), "PyTorch's, on its own stream")
    before = live.detach().clone()
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.graph(graph, stream=stream):
        optimizer.apply([change], [live])
    graph.replay()
    torch.cuda.synchronize()
    claim(not torch.equal(live.detach(), before), "a step captured into a CUDA graph replays")
    narrow = torch.ones(1000, device="cuda", dtype=torch.bfloat16)
    Host(0.125).apply([narrow.clone()], [narrow])
    claim(bool((narrow < 1).all()), "bfloat16 by DLPack")


def _numba(weights: Any, expected: Any) -> None:
    """Check Numba's device arrays."""
    from numba import cuda

    if SIMULATED:
        raise ImportError("the simulator's arrays speak no protocol")
    live, change = cuda.to_device(weights), cuda.to_device(weights * 3)
    Host(0.01, momentum=0.9).apply([change], [live])
    claim(np.array_equal(live.copy_to_host(), expected), "Numba's device arrays")


def sanitizer(quick: bool) -> None:
    """Run a small check under the sanitizer's tools."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        print("     compute-sanitizer is not on PATH: races and memory were not checked")
        return
    command = [sys.executable, __file__, "--quick", "--only", "properties"]
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
        run = [program, "--tool", tool, "--error-exitcode", "9", *command]
        found = subprocess.run(run, capture_output=True, text=True, timeout=500)
        last = (found.stdout + found.stderr).strip().splitlines()[-1:]
        claim(found.returncode == 0, f"{tool}: exit code {found.returncode}, {''.join(last)[:120]}")


def benchmark(quick: bool) -> None:
    """Run the benchmark of the device."""
    command = [sys.executable, str(ROOT / "scripts/benchmark.py"), "--device", "cuda"]
    found = subprocess.run([*command, *(["--quick"] if quick else [])])
    claim(found.returncode == 0, f"the benchmark ended with exit code {found.returncode}")


SECTIONS: dict[str, Callable[[bool], None]] = {
    function.__name__: function
    for function in (goldens, properties, long_run, libraries, sanitizer, benchmark)
}


def main() -> int:
    """Run the chosen sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a few small cases: does it work?")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="repeatable")
    chosen = parser.parse_args()
    print(info())
    if not fastrms.cuda.is_available():
        print(f"FAIL no GPU can be used: {fastrms.cuda.reason()}")
        return 1
    if SIMULATED:
        sys.setswitchinterval(1e-4)  # the simulator's main thread polls
    for name in chosen.only or SECTIONS:
        print(f"\n== {name}", flush=True)
        SECTIONS[name](chosen.quick)
    print(f"\n{len(BROKEN)} claims do not hold" if BROKEN else "\nEverything claimed holds")
    return 1 if BROKEN else 0


if __name__ == "__main__":
    sys.exit(main())
