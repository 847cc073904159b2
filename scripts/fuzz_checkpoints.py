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
import functools
import random
import resource
import shutil
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
MOST_MIB = 512  # a process with numpy and h5py has 60 to 100


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


# Whose lists and sessions hold names that do not tell their dialect.
BARE = {
    **{"contrib13": "tf-contrib", "k12-tf": "keras-1", "k12-th": "keras-1", "k20-tf": "keras-2.0"},
    **{"k20-th": "keras-2.0", "k22-tf": "keras-2.2", "k23-tf": "keras-2.3", "k3-jax": "keras-3"},
    **{"k3-tf": "keras-3", "k3-torch": "keras-3", "tf210": "tf-keras-v2", "tf212": "tf-keras-2.11"},
    **{"tfk113": "tf-keras-v1", "tfk115": "tf-keras-v2"},
}


def loaded(path: Path, name: str) -> fastrms.Checkpoint:
    """Load a sample, or a damaged copy of one, with the dialect that its file does not tell."""
    bare = ".optw" in name or ".sess." in name
    return fastrms.load(path, dialect=BARE[name.partition("/")[0]] if bare else None)


@functools.cache
def bytes_of(path: Path) -> bytes:
    """Return a file's bytes; a sample is damaged a thousand times."""
    return path.read_bytes()


@functools.cache
def related(name: str) -> list[Path]:
    """Return the files that belong to a sample: shards, and the parts of a TensorFlow prefix."""
    if (samples.folder() / name).is_dir():
        return sorted(p for p in (samples.folder() / name).rglob("*"))
    base = (samples.folder() / name).name.removesuffix(".index").removesuffix(".weights.json")
    return sorted((samples.folder() / name).parent.glob(f"{base}*"))


def tried(folder: Path, name: str, source: random.Random, whole: tuple | None) -> tuple[str, float]:
    """Damage one file of a sample, load the sample, and say what came of it."""
    files = [p for p in related(name) if p.is_file() and ".expected." not in p.name]
    victim = source.choice(files)
    for path in files:
        data, copy = bytes_of(path), folder / path.relative_to((samples.folder() / name).parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(damaged(data, source) if path == victim else data)
    start = time.perf_counter()
    try:
        found = loaded(folder / Path(name).name, name)
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
    names = sorted({"/".join(n.split("/")[:2]) for n in samples.names()})  # folders as one sample
    names = [n for n in names if ".data-" not in n and "sharded_0" not in n]
    whole: dict[str, tuple | None] = {}
    for name in names:
        try:
            whole[name] = content(loaded(samples.folder() / name, name))
        except fastrms.CheckpointError:
            whole[name] = None
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    wrong, longest, done, start = 0, 0.0, 0, time.perf_counter()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where writing costs no disk
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        while done < options.count and time.perf_counter() - start < options.seconds:
            name = source.choice(names)
            for old in Path(folder).iterdir():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            form = name.partition(".")[2]
            try:
                kind, took = tried(Path(folder), name, source, whole[name])
            except Exception as error:  # what this program is looking for
                kind, took = "WRONG", 0.0
                wrong += 1
                kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                print(f"{name}: {type(error).__name__}: {error!s:.300} ({kept})", flush=True)
            counts[form][kind] += 1
            longest, done = max(longest, took), done + 1
            if done % 5000 == 0:
                spent = time.perf_counter() - start
                print(f"{done} loads, {wrong} wrong, {spent:.0f} s", file=sys.stderr, flush=True)
    kinds = sorted({kind for counter in counts.values() for kind in counter})
    print(f"| format | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for form, counter in sorted(counts.items()):
        print(f"| {form} | {' | '.join(str(counter[kind]) for kind in kinds)} |")
    total = sum(counts.values(), collections.Counter())
    print(f"| all {done} | {' | '.join(str(total[kind]) for kind in kinds)} |")
    isolation._discard()
    ours, readers = (
        resource.getrusage(who).ru_maxrss >> 10
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        f"\nSeed {options.seed}; longest load {longest:.1f} s; peak memory {ours} MiB, of the "
        f"HDF5 readers {readers} MiB; {time.perf_counter() - start:.0f} s in all."
    )
    return int(wrong > 0 or max(ours, readers) > MOST_MIB)


if __name__ == "__main__":
    raise SystemExit(main())
