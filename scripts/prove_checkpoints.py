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

import dataclasses
import hashlib
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path[:0] = [str(Path(__file__).parent)]
import fastrms  # noqa: E402
import proving  # noqa: E402
import samples  # noqa: E402
from fastrms.checkpoint.keras_entries import disassemble, require_system  # noqa: E402

RESULTS = proving.RECORDS / "proven.json"


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
    slots = proving.marked(found.slots, len(name), {})
    return dataclasses.replace(found, slots=slots, iterations=proving.ITERATIONS, notes=[])


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
            "left_out": proving.left_out(caught),
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


def proven(name: str, python: str) -> dict[str, Any]:
    """Return the results of one reader."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        items, results = prepared(reader, folder)
        for found in proving.asked(
            "resume_checkpoint.py", reader.kind, python, reader.backend, items, folder
        ):
            results[found.pop("name")].update(found)
    for result in results.values():
        if "ratio" in result:
            low, high = result["ratio"]
            close = max(abs(low / result["rho"] - 1), abs(high / result["rho"] - 1)) < 1e-6
            result["in_effect"] = bool(close and result["slots_equal"])
    return {"template": reader.template, "files": results}


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
    return proving.recorded(READERS, RESULTS, proven)


if __name__ == "__main__":
    raise SystemExit(main())
