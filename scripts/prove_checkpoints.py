"""Prove that the real systems go on from files written here, and record it as data.

For every pair of writer and reader: a file that the writer's system once wrote is loaded, its
slots and counter are changed, it is converted to the reader's dialect and put into a file of the
reader's system (`template=`), which then loads it in its own environment, must hold our slots bit
for bit, and takes a step whose effect on the first mean square is known: v becomes rho * v.

    python scripts/prove_checkpoints.py ENVIRONMENTS.json [--only READER ...]
    python scripts/prove_checkpoints.py --table

The environments' file names the Python of each reader, as in {"k12-tf": "/a/python", ...}; how to
install them is written in scripts/recorders/README.md. Results go to tests/checkpoints/proven.json,
from which `--table` prints the matrix of docs/checkpoints.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import fastrms  # noqa: E402
import samples  # noqa: E402
from fastrms.checkpoint.keras_entries import disassemble, require_system  # noqa: E402

RESULTS = ROOT / "tests" / "checkpoints" / "proven.json"
ITERATIONS = 41


class Reader(NamedTuple):
    """A real system: how it is asked, its backend, and which of its files is the template."""

    kind: str
    template: str
    backend: str = ""


READERS = {
    "k12-tf": Reader("keras", "k12-tf/dflt_mlp.h5", "tensorflow"),
    "k12-th": Reader("keras", "k12-th/dflt_mlp.h5", "theano"),
    "k20-tf": Reader("keras", "k20-tf/dflt_mlp.h5", "tensorflow"),
    "k20-th": Reader("keras", "k20-th/dflt_mlp.h5", "theano"),
    "contrib13": Reader("contrib", "contrib13/dflt_mlp.h5"),
    "k22-tf": Reader("keras", "k22-tf/dflt_mlp.h5", "tensorflow"),
    "tfk113": Reader("tf.keras", "tfk113/dflt_mlp.h5"),
    "k23-tf": Reader("keras", "k23-tf/dflt_mlp.h5", "tensorflow"),
    "tfk115": Reader("tf.keras", "tfk115/dflt_mlp.h5"),
    "tf210": Reader("tf.keras", "tf210/dflt_mlp.h5"),
    "tf212": Reader("tf.keras", "tf212/dflt_mlp.h5"),
    "tf212 .keras": Reader("tf.keras", "tf212/dflt_mlp.keras"),
    "tf212legacy": Reader("tf.keras", "tf212legacy/dflt_mlp.h5"),
    "tf_keras 2.21": Reader("tf_keras", "tf212/dflt_mlp.h5"),
    "k3-tf": Reader("keras", "k3-tf/dflt_mlp.keras", "tensorflow"),
    "k3-jax": Reader("keras", "k3-jax/dflt_mlp.keras", "jax"),
    "k3-torch": Reader("keras", "k3-torch/dflt_mlp.keras", "torch"),
}
WRITERS = {
    **{name: r.template for name, r in READERS.items() if " " not in name},
    "k3-tf .h5": "k3-tf/dflt_mlp.h5",
    "k3-jax .h5": "k3-jax/dflt_mlp.h5",
    "tf210 momentum": "tf210/mom_mlp.h5",
    "tf212 momentum": "tf212/mom_mlp.keras",
    "k3-tf momentum": "k3-tf/mom_mlp.keras",
    "k3-tf centered": "k3-tf/cent_mlp.keras",
}


def marked(name: str) -> Any:
    """Load a writer's file and change its slots and counter to values of our own."""
    found = fastrms.load(samples.folder() / WRITERS[name])
    random = np.random.default_rng(len(name))
    slots = {
        slot: [random.uniform(0.25, 1, a.shape).astype(a.dtype) for a in column]
        for slot, column in found.slots.items()
    }
    return dataclasses.replace(found, slots=slots, iterations=ITERATIONS, notes=[])


def prepared(reader: Reader, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write the files for one reader; return what to ask it and what was refused."""
    items, results = [], {}
    template = samples.folder() / reader.template
    target = fastrms.load(template)
    for name in WRITERS:
        path = folder / f"{len(items)}{template.suffix}"
        try:
            state = marked(name).convert(target.dialect)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fastrms.save(path, state, template=template, lossy=True)
        except fastrms.CheckpointError as error:
            results[name] = {"refused": str(error).rpartition(": ")[2]}
            continue
        again = fastrms.load(path)
        entries = list(disassemble(again, require_system(again, "h5")))
        arrays = [entry.array for entry in entries if entry.array.ndim]
        np.savez(folder / f"{len(items)}.npz", *arrays)
        velocity = next(iter(again.slots["velocity"]))
        first = next(i for i, a in enumerate(arrays) if a is velocity)
        results[name] = {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "left_out": [str(w.message).partition(": ")[2] for w in caught],
            "rho": again.config["rho"],
        }
        items.append(
            {
                "name": name,
                "file": str(path),
                "arrays": str(folder / f"{len(items)}.npz"),
                "first_velocity": first,
            }
        )
    return items, results


def asked(reader: Reader, python: str, items: list[dict[str, Any]], folder: Path) -> str:
    """Let the real system answer."""
    request = folder / "request.json"
    request.write_text(json.dumps(items))
    program = ROOT / "scripts" / "recorders" / "resume_checkpoint.py"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    if reader.backend:
        environment["KERAS_BACKEND"] = reader.backend
    command = [*python.split(), str(program), reader.kind, str(request)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, cwd=folder
    )
    if "RESULT" not in done.stdout:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return done.stdout


def versions(python: str) -> dict[str, str]:
    """Return the versions of the packages that matter in an environment."""
    code = (
        "import json, sys\n"
        "found = {'python': sys.version.split()[0]}\n"
        "for name in ('numpy h5py tensorflow keras tf_keras theano jax torch'.split()):\n"
        "    try:\n"
        "        import pkg_resources\n"
        "        found[name] = pkg_resources.get_distribution(name).version\n"
        "    except Exception:\n"
        "        try:\n"
        "            from importlib.metadata import version\n"
        "            found[name] = version(name)\n"
        "        except Exception:\n"
        "            pass\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [*python.split(), "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def proven(reader: Reader, python: str) -> dict[str, Any]:
    """Return the results of one reader."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items, results = prepared(reader, folder)
        for line in asked(reader, python, items, folder).splitlines():
            if line.startswith("RESULT "):
                found = json.loads(line.removeprefix("RESULT "))
                results[found.pop("name")].update(found)
    for result in results.values():
        if "ratio" in result:
            low, high = result["ratio"]
            close = max(abs(low / result["rho"] - 1), abs(high / result["rho"] - 1)) < 1e-6
            result["in_effect"] = bool(close and result["slots_equal"])
    return {"versions": versions(python), "template": reader.template, "files": results}


def mark_of(result: dict[str, Any] | None) -> str:
    """Return what the matrix shows of one pair."""
    if result is None:
        return ""
    if "refused" in result:
        return "refused"
    if not result.get("in_effect"):
        return "no"
    return "S*" if result["left_out"] else "S"


def table() -> list[str]:
    """Return the matrix in Markdown, as the results say it."""
    content = json.loads(RESULTS.read_text())
    readers = [name for name in READERS if name in content]
    lines = [f"| written by | {' | '.join(readers)} |", f"|---|{'---|' * len(readers)}"]
    for writer in WRITERS:
        marks = [mark_of(content[reader]["files"].get(writer)) for reader in readers]
        lines.append(f"| {writer} | {' | '.join(marks)} |")
    return lines


def main() -> int:
    """Ask every reader of the environments' file, or print what they said."""
    if "--table" in sys.argv:
        print("\n".join(table()))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("environments", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    pythons = json.loads(options.environments.read_text())
    for name, reader in READERS.items():
        if name not in pythons or (options.only and name not in options.only):
            continue
        found = proven(reader, pythons[name])
        files = found["files"]
        good = sum(bool(result.get("in_effect")) for result in files.values())
        print(f"{name}: {good} of {len(files)} in effect", flush=True)
        for writer, result in files.items():
            if not result.get("in_effect"):
                print(f"    {writer}: {result}", flush=True)
        content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        content = {k: {**content, name: found}[k] for k in READERS if k in {*content, name}}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
