"""Check on a GPU what the machines without one could not: bits, streams, memory, speed.

    python scripts/gpu_check.py [--quick] [--minutes 9] [--only SECTION ...]

Needs numpy, numba and numba-cuda; uses torch, cupy, jax, ml_dtypes and compute-sanitizer where
they are, and says what was left out. Nothing is fetched. Each section runs in processes of its
own, so that one that fails, hangs or breaks the device stops no other; all print as they go. Ends
with code 1 if a claim does not hold, 2 if time was short. Under NUMBA_ENABLE_CUDASIM=1 it shows in
Numba's simulator that it works (with --quick).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]

import battery  # noqa: E402
import fastrms  # noqa: E402
import replay  # noqa: E402
from fastrms.info import report as info  # noqa: E402
from gpu_twin import Host, ScaledTwin, Scaling, Twin, on_device  # noqa: E402

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("0", "")
# Dtypes of variables, and of their slots where they are others.
KINDS = (("float32", ""), ("float64", ""), ("float16", ""), ("float16", "float32"))
BROKEN: list[str] = []
UNFINISHED: list[str] = []
CHOSEN = argparse.Namespace(quick=False, shard=(0, 1), until=float("inf"))
Thing = TypeVar("Thing")


def claim(holds: bool, text: str) -> None:
    """Print a line, and remember a claim that does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'} {text}", flush=True)
    if not holds:
        BROKEN.append(text)


def tried(what: str, act: Callable[[], Any]) -> None:
    """Do something; what it raises is a claim that does not hold, and stops nothing else."""
    try:
        act()
    except ImportError as error:
        print(f"     {what} left out: {error}", flush=True)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        claim(False, f"{what}: {type(error).__name__} at {where.name}:{where.lineno}: {error}")


def in_time(things: Iterable[Thing], what: str) -> Iterator[Thing]:
    """Yield this process' share of some cases until time is short, and say how many there were."""
    place, count = CHOSEN.shard
    mine = list(things)[place::count]
    for k, thing in enumerate(mine):
        if time.time() > CHOSEN.until:
            UNFINISHED.append(f"{what}: {k} of {len(mine)}")
            print(f"     time is short: {k} of {len(mine)} {what}", flush=True)
            return
        yield thing
    print(f"     {len(mine)} {what}", flush=True)


def distances(text: str) -> None:
    """Print the worst distance of each dialect."""
    for name, worst in sorted(Twin.worst.items()):
        claim(worst == 0, f"{name}: worst distance {worst} ulp {text}")


def goldens(quick: bool) -> None:
    """Replay every recording on the host and on the device; print the worst ulp per dialect."""
    cases = [
        case
        for system in replay.SYSTEMS
        for case in itertools.islice(replay.runs(system), 3 if quick else None)
    ]
    fastrms.RMSprop = Twin  # type: ignore[misc, assignment]
    fastrms.LossScaleOptimizer = ScaledTwin  # type: ignore[misc, assignment]
    try:
        for case in in_time(cases, "recordings"):
            tried(str(case), lambda case=case: replay.replay(case))  # type: ignore[misc]
    finally:
        fastrms.RMSprop, fastrms.LossScaleOptimizer = Host, Scaling  # type: ignore[misc]
    distances("on what was recorded")


def properties(quick: bool) -> None:
    """Compare dialects, options, dtypes and sizes, strange numbers among the gradients."""
    sizes = (1, 33) if quick else (0, 1, 31, 33, 1025, 16384, 40000, 100_003)
    cases = [(*pair, *kind) for kind in KINDS for pair in battery.combinations()]

    def compare(dialect: str, options: str, dtype: str, slots: str) -> None:
        given = {"learning_rate": 0.0625, "epsilon": 1e-4, **battery.OPTIONS[options]}
        twin = Twin(**given, **({"slot_dtype": slots} if slots else {}), dialect=dialect)
        live = [battery.odd_numbers(size, dtype, k) for k, size in enumerate(sizes)]
        twin.build(live)
        for step in range(2 if quick else 4):
            twin.apply([battery.odd_numbers(v.shape, dtype, 10 * step + 3) for v in live], live)

    with np.errstate(all="ignore"):
        for case in in_time(cases[:: 40 if quick else 1], "dialects, options and dtypes"):
            tried(" ".join(case), lambda case=case: compare(*case))  # type: ignore[misc]
    distances("with any option, dtype and size")


def tables(quick: bool) -> None:
    """Compare gradients of rows, given once and again, in every dialect that has them."""
    shapes = ((5, 3),) if quick else ((400, 3), (5000, 64), (3, 5, 4), (2, 20000), (9,), (4, 0))
    names = ("plain", "momentum_centered", "clipnorm", "clipvalue", "global_clipnorm", "ema")
    cases = [
        (dialect, options, *kind)
        for kind in KINDS
        for dialect, options in battery.combinations(*names)
        if fastrms.DIALECTS[dialect].sparse is not None
    ]

    def compare(dialect: str, options: str, dtype: str, slots: str) -> None:
        given = {"learning_rate": 0.0625, "epsilon": 1e-4, **battery.OPTIONS[options]}
        twin = Twin(**given, **({"slot_dtype": slots} if slots else {}), dialect=dialect)
        live = [battery.numbers(s, dtype) for s in shapes]
        twin.build(live)
        for step in range(2 if quick else 4):
            changes = []
            for k, v in enumerate(live):
                chosen = np.random.default_rng([step, k]).integers(0, len(v), 3 + 40 * step * k)
                values = battery.odd_numbers((chosen.size, *v.shape[1:]), dtype, step)
                changes.append(fastrms.IndexedSlices(values, chosen))
            twin.apply(changes, live)

    with np.errstate(all="ignore"):
        for case in in_time(cases[:: 20 if quick else 1], "dialects, options and dtypes"):
            tried(" ".join(case), lambda case=case: compare(*case))  # type: ignore[misc]
    distances("with gradients of rows")


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
            if time.time() > CHOSEN.until:
                UNFINISHED.append(f"long_run: {step} of {steps} steps on the {name}")
                return
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
    for name, check in (("numba", _numba), ("cupy", _cupy), ("torch", _torch), ("jax", _jax)):
        tried(name, lambda check=check: check(weights, expected))  # type: ignore[misc]


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


def _jax(weights: Any, expected: Any) -> None:
    """Check that JAX's arrays serve as gradients; they may not be changed, nor be variables."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    if SIMULATED or jax.default_backend() not in ("gpu", "cuda"):
        raise ImportError(f"JAX works on {jax.default_backend()} here")
    live = fastrms.Variable(weights, device="cuda")
    Host(0.01, momentum=0.9).apply([jax.block_until_ready(jax.numpy.asarray(weights) * 3)], [live])
    claim(np.array_equal(live, expected), "JAX's arrays as gradients")


def variables(quick: bool) -> None:
    """Check Variables in the device's memory: values, loans, constraints, subclasses, state."""
    weights = np.linspace(-1, 1, 1000, dtype=np.float32)
    for check in (_values, _lent_to_cupy, _lent_to_torch, _constraints, _subclass, _state):
        tried(check.__name__.strip("_"), lambda check=check: check(weights))  # type: ignore[misc]


def _values(weights: Any) -> None:
    """Check assignment and reading."""
    made = fastrms.Variable(weights, device="cuda")
    made += 1
    made.assign_sub(weights)
    made[0] = 5
    claim(made.numpy()[0] == 5 and (made.numpy()[1:] == weights[1:] + 1 - weights[1:]).all(),
          f"values are kept on {made.device}")  # fmt: skip


def _lent_to_cupy(weights: Any) -> None:
    """Check that CuPy takes a Variable without a copy, by both protocols."""
    import cupy

    made = fastrms.Variable(weights, device="cuda")
    for name, taken in (("interface", cupy.asarray(made)), ("DLPack", cupy.from_dlpack(made))):
        taken *= 2
        cupy.cuda.get_current_stream().synchronize()
        claim(taken.data.ptr == made.__cuda_array_interface__["data"][0], f"CuPy, {name}: no copy")
    claim(np.array_equal(made, weights * 4), "CuPy changes a Variable in place")
    made.assign(cupy.asarray(weights))
    claim(np.array_equal(made, weights), "a Variable takes CuPy's values")


def _lent_to_torch(weights: Any) -> None:
    """Check the same with PyTorch, bfloat16 too."""
    import torch

    made = fastrms.Variable(weights, device="cuda")
    taken = torch.from_dlpack(made)
    taken.mul_(2)
    torch.cuda.synchronize()
    claim(np.array_equal(made, weights * 2), "PyTorch changes a Variable in place by DLPack")
    made.assign(torch.tensor(weights, device="cuda"))
    claim(np.array_equal(made, weights), "a Variable takes PyTorch's values")
    narrow = fastrms.Variable(torch.ones(9, device="cuda", dtype=torch.bfloat16))
    claim(torch.from_dlpack(narrow).dtype == torch.bfloat16, "bfloat16 goes both ways")
    del taken


def _constraints(weights: Any) -> None:
    """Check constraints, computed by NumPy and, if it is there, by CuPy."""
    rules: dict[str, Any] = {"NumPy": lambda w: np.clip(w, 0, 1)}
    if importlib.util.find_spec("cupy") is not None:
        rules["CuPy"] = lambda w: __import__("cupy").clip(__import__("cupy").asarray(w), 0, 1)
    for name, rule in rules.items():
        made = fastrms.Variable(weights, device="cuda", constraint=rule)
        host = fastrms.Variable(weights, constraint=rules["NumPy"])
        Host(0.01).apply([on_device(weights)], [made])
        Host(0.01).apply([weights], [host])
        claim(np.array_equal(made, host), f"a constraint of {name}")


class _Own(fastrms.RMSprop):
    """Takes steps of its own."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Follow the sign."""
        self.assign_sub(variable, learning_rate * np.sign(gradient))


def _subclass(weights: Any) -> None:
    """Check an update step of one's own."""
    made = fastrms.Variable(weights, device="cuda")
    _Own(0.5).apply([on_device(weights)], [made])
    claim(np.array_equal(made, weights - np.float32(0.5) * np.sign(weights)), "a subclass's step")


def _state(weights: Any) -> None:
    """Check averages, pickles and checkpoints."""
    made, opt = fastrms.Variable(weights, device="cuda", name="w"), Host(0.1, use_ema=True)
    opt.apply([on_device(weights)], [made])
    live = made.numpy()
    with opt.swapped_ema():
        swapped = made.numpy()
    claim(np.array_equal(made, live) and swapped.shape == live.shape, "averages are swapped")
    again = pickle.loads(pickle.dumps(opt))
    claim(battery.digest(again.get_weights()) == battery.digest(opt.get_weights()), "a pickle")
    with tempfile.TemporaryDirectory() as folder:
        fastrms.save(Path(folder) / "run.npz", opt)
        other = Host(0.1, use_ema=True)
        other.build([fastrms.Variable(live, device="cuda", name="w")])
        other.load(Path(folder) / "run.npz")
    claim(battery.digest(other.get_weights()) == battery.digest(opt.get_weights()), "a checkpoint")


def sanitizer(quick: bool) -> None:
    """Run a small check under the sanitizer's tools."""
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    if program is None:
        print("     compute-sanitizer was not found: races and memory were not checked")
        return
    command = [sys.executable, __file__, "--quick", "--only", "properties", "--only", "tables"]
    for tool in in_time(("memcheck", "racecheck", "initcheck", "synccheck"), "tools"):
        run = [program, "--tool", tool, "--error-exitcode", "9", *command, "--inside"]
        left = max(10.0, min(CHOSEN.until - time.time(), 300.0))
        try:
            found = subprocess.run(run, capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            UNFINISHED.append(f"{tool}: {left:.0f} s were too short")
            continue
        last = (found.stdout + found.stderr).strip().splitlines()[-3:]
        claim(found.returncode == 0, f"{tool}: exit code {found.returncode}, {' | '.join(last)}")


def benchmark(quick: bool) -> None:
    """Run the benchmark of the device."""
    command = [sys.executable, "-u", str(ROOT / "scripts/benchmark.py"), "--device", "cuda"]
    try:
        left = None if CHOSEN.until == float("inf") else max(10.0, CHOSEN.until - time.time())
        found = subprocess.run([*command, *(["--quick"] if quick else [])], timeout=left)
        claim(found.returncode == 0, f"the benchmark ended with exit code {found.returncode}")
    except subprocess.TimeoutExpired:
        UNFINISHED.append("the benchmark")


SECTIONS: dict[str, Callable[[bool], None]] = {
    function.__name__: function
    for function in (
        *(libraries, variables, tables, properties, goldens, long_run, benchmark, sanitizer),
    )
}
SHARDED = ("goldens", "properties", "tables")


def inside(names: list[str]) -> int:
    """Run sections in this process."""
    if SIMULATED:
        sys.setswitchinterval(1e-4)  # the simulator's main thread polls
    for name in names:
        tried(name, lambda name=name: SECTIONS[name](CHOSEN.quick))  # type: ignore[misc]
    return 1 if BROKEN else 2 if UNFINISHED else 0


def apart(name: str, shards: int) -> int:
    """Run a section in processes of its own, each with a share of the cases; return its code."""
    command = [sys.executable, "-u", __file__, "--inside", "--only", name]
    command += ["--quick"] * CHOSEN.quick + ["--until", str(CHOSEN.until)]
    left = None if CHOSEN.until == float("inf") else max(5.0, CHOSEN.until - time.time() + 15)
    if shards == 1:
        try:
            return subprocess.run(command, timeout=left).returncode
        except subprocess.TimeoutExpired:
            print(f"FAIL {name} did not end in time", flush=True)
            return 1
    running = []
    for place in range(shards):
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        share = [*command, "--shard", f"{place}/{shards}"]
        running.append((subprocess.Popen(share, stdout=output, stderr=subprocess.STDOUT), output))
    codes, end = [], time.time() + (left or 1e9)
    for process, output in running:
        try:
            codes.append(process.wait(max(1.0, end - time.time())))
        except subprocess.TimeoutExpired:
            process.kill()
            codes.append(1)
            print("FAIL a process did not end in time", flush=True)
        output.seek(0)
        print(output.read(), end="", flush=True)
    return next((code for code in codes if code not in (0, 2)), max(codes))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a few small cases: does it work?")
    parser.add_argument(
        "--minutes", type=float, help="begin nothing after so long (3 with --quick)"
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="repeatable")
    for hidden in ("--inside", "--shard", "--until"):
        kind: dict[str, Any] = {"action": "store_true"} if hidden == "--inside" else {}
        parser.add_argument(hidden, help=argparse.SUPPRESS, **kind)
    chosen = parser.parse_args()
    place, _, count = (chosen.shard or "0/1").partition("/")
    chosen.shard = (int(place), int(count))
    minutes = chosen.minutes or (3 if chosen.quick and not SIMULATED else 0)
    limit = time.time() + 60 * minutes if minutes else float("inf")
    chosen.until = float(chosen.until or limit)
    return chosen


def main() -> int:
    """Run the chosen sections."""
    vars(CHOSEN).update(vars(parsed()))
    names = CHOSEN.only or list(SECTIONS)
    if CHOSEN.inside:
        return inside(names)
    print(info(), flush=True)
    if not fastrms.cuda.is_available():
        print(f"FAIL no GPU can be used: {fastrms.cuda.reason()}")
        return 1
    codes = {}
    for name in names:
        begin = time.time()
        if begin > CHOSEN.until:
            codes[name] = 2
            print(f"\n== {name}: not begun, time is short", flush=True)
            continue
        print(f"\n== {name}", flush=True)
        several = name in SHARDED and not CHOSEN.quick and not SIMULATED
        codes[name] = apart(name, max(1, min(14, (os.cpu_count() or 1) - 2)) if several else 1)
        print(f"     {time.time() - begin:.0f} s, code {codes[name]}", flush=True)
    wrong = [name for name, code in codes.items() if code not in (0, 2)]
    short = [name for name, code in codes.items() if code == 2]
    print(f"\nwhat does not hold or failed: {', '.join(wrong) or 'nothing'}")
    print(f"not finished: {', '.join(short) or 'nothing'}")
    return 1 if wrong else 2 if short else 0


if __name__ == "__main__":
    sys.exit(main())
