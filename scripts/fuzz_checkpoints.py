"""Load damaged copies of every sample and count what comes of it.

    python scripts/fuzz_checkpoints.py --count 100000 --seed 1

Only `CheckpointError` (and its subclasses) may come out, nothing may crash this process, hang
beyond the limit, or take memory beyond a bound. A damage in an array's own bytes changes numbers
and cannot be noticed in formats without checksums (HDF5 as Keras writes it): these are counted.
Prints a Markdown table; the last run's stands in docs/checkpoints.md.
"""

from __future__ import annotations

import argparse
import collections
import random
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import fastrms  # noqa: E402
import samples  # noqa: E402
from damage import damaged  # noqa: E402
from fastrms.checkpoint import isolation  # noqa: E402

LIMIT = 2.0


def content(found: fastrms.Checkpoint) -> tuple:
    """Return what two loads are compared by."""
    arrays = [a for column in found.slots.values() for a in column]
    return (
        found.dialect,
        found.config,
        found.iterations,
        found.variables,
        [None if a is None else a.tobytes() for a in arrays],
        [a.tobytes() for a in found.weights.values()],
    )


def related(name: str) -> list[Path]:
    """Return the files that belong to a sample: shards, and the parts of a TensorFlow prefix."""
    base = (samples.folder() / name).name.removesuffix(".index").removesuffix(".weights.json")
    return sorted((samples.folder() / name).parent.glob(f"{base}*"))


def tried(folder: Path, name: str, source: random.Random, whole: tuple | None) -> tuple[str, float]:
    """Damage one file of a sample, load the sample, and say what came of it."""
    files = [p for p in related(name) if p.is_file() and ".expected." not in p.name]
    victim = source.choice(files)
    for path in files:
        data = path.read_bytes()
        (folder / path.name).write_bytes(damaged(data, source) if path == victim else data)
    start = time.perf_counter()
    try:
        found = fastrms.load(folder / Path(name).name)
    except fastrms.CheckpointError as error:
        kind = "ended the reader" if "its process was ended" in str(error) else "refused"
        kind = "crashed the reader" if "HDF5 ended" in str(error) else kind
        return kind, time.perf_counter() - start
    took = time.perf_counter() - start
    if content(found) == whole:
        return "read, unchanged", took
    return "read, numbers or names changed", took


def main() -> int:
    """Run the fuzzer; return 1 if anything but CheckpointError came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    isolation.SECONDS = LIMIT
    source = random.Random(options.seed)
    names = [n for n in samples.names() if "/" not in n.partition("/")[2]]
    names = [n for n in names if ".data-" not in n and "sharded_0" not in n]
    whole: dict[str, tuple | None] = {}
    for name in names:
        try:
            whole[name] = content(fastrms.load(samples.folder() / name))
        except fastrms.CheckpointError:
            whole[name] = None
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    wrong, longest, done, start = 0, 0.0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        while done < options.count and time.perf_counter() - start < options.seconds:
            name = source.choice(names)
            for old in Path(folder).iterdir():
                old.unlink()
            form = name.partition(".")[2]
            try:
                kind, took = tried(Path(folder), name, source, whole[name])
            except Exception as error:  # what this program is looking for
                kind, took = "WRONG", 0.0
                wrong += 1
                kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
                for path in Path(folder).iterdir():
                    (kept / path.name).write_bytes(path.read_bytes())
                print(f"{name}: {type(error).__name__}: {error!s:.300} ({kept})", flush=True)
            counts[form][kind] += 1
            longest, done = max(longest, took), done + 1
    kinds = sorted({kind for counter in counts.values() for kind in counter})
    print(f"| format | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for form, counter in sorted(counts.items()):
        print(f"| {form} | {' | '.join(str(counter[kind]) for kind in kinds)} |")
    total = sum(counts.values(), collections.Counter())
    print(f"| all {done} | {' | '.join(str(total[kind]) for kind in kinds)} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"\nSeed {options.seed}; longest load {longest:.1f} s; peak memory {peak} MiB.")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
