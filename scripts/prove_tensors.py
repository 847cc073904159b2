"""Prove that real systems go on from the TensorFlow and torch files that we write.

    python scripts/prove_tensors.py ENVIRONMENTS.json [--only NAME ...]

ENVIRONMENTS.json maps the names of READERS to Python interpreters. For each reader, states are
written by us with marked slots and a counter, the real system restores them and takes a step of
zero gradient. The results go to tests/checkpoints/proven_tensors.json.
"""

import dataclasses
import hashlib
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

RESULTS = proving.RECORDS / "proven_tensors.json"


class Reader(NamedTuple):
    """A real system: how it is asked, and what is written for it."""

    kind: str
    dialect: str
    sources: tuple[str, ...]
    keras: str = ""
    backend: str = ""


_PLAIN, _TWO = "k20-tf/decay_mlp.h5", "tf210/mom_mlp.h5"
_OBJECTS = ("tf210/dflt_mlp.h5", _TWO, "tf210/cent_mlp.h5")
READERS = {
    "tf13 Saver": Reader("native", "tf-train", _OBJECTS[1:]),
    "tf113 Saver": Reader("native", "tf-train", _OBJECTS[1:]),
    "tf115 Saver": Reader("native", "tf-train", _OBJECTS[1:]),
    "k12-tf session": Reader("session", "keras-1", ("k12-tf/decay_mlp.h5",), backend="tensorflow"),
    "k20-tf session": Reader("session", "keras-2.0", (_PLAIN,), backend="tensorflow"),
    "contrib13 session": Reader("contrib", "tf-contrib", ("contrib13/decay_mlp.h5",)),
    "k22-tf session": Reader(
        "session", "keras-2.2", ("k22-tf/decay_mlp.h5",), backend="tensorflow"
    ),
    "tfk113 session": Reader("tf.keras-session", "tf-keras-v1", ("tfk113/decay_mlp.h5",)),
    "k23-tf session": Reader(
        "session", "keras-2.3", ("k23-tf/decay_mlp.h5",), backend="tensorflow"
    ),
    "tf210 Checkpoint": Reader("objects", "tf-keras-v2", _OBJECTS, "tf.keras"),
    "tf212legacy Checkpoint": Reader("objects", "tf-keras-v2", _OBJECTS, "legacy"),
    "tf212 Checkpoint": Reader("objects", "tf-keras-2.11", _OBJECTS, "tf.keras"),
    "k3-tf Checkpoint": Reader("objects", "keras-3", _OBJECTS, "keras", "tensorflow"),
    "torch": Reader("torch", "torch", ("torch/mom.pt", "torch/dflt.pt", "torch/cent_wd.pt")),
}
# A mean gradient's square cannot exceed the mean square.
_RANGES = {"average_gradient": (0.025, 0.1)}
# Files of the same model whose graph and weights are kept.
TEMPLATES = {
    "tf210 Checkpoint": ("tf210/mom_mlp.ckpt", "tf210/dflt_mlp.ckpt"),
    "tf212 Checkpoint": ("tf212/mom_mlp.ckpt", "tf212/dflt_mlp.ckpt"),
    "tf212legacy Checkpoint": ("tf212legacy/dflt_mlp.ckpt",),
    "k3-tf Checkpoint": ("k3-tf/dflt_mlp.ckpt",),
}


def marked(source: str, dialect: str) -> Any:
    """Load a sample and change its slots and counter to values of our own."""
    found = fastrms.load(samples.folder() / source)
    if found.dialect != dialect:
        found = found.convert(dialect, lossy=True)
    slots = proving.marked(found.slots, len(source), _RANGES)
    plain = [v._replace(name=v.name.removesuffix(":0")) for v in found.variables]
    weights = {name.removesuffix(":0"): array for name, array in found.weights.items()}
    config = {**found.config, "rho": 0.9}
    # It would give the zero gradient a value.
    config |= {"weight_decay": 0} if config.get("weight_decay") else {}
    return dataclasses.replace(
        found,
        slots=slots,
        iterations=proving.ITERATIONS,
        notes=[],
        variables=plain,
        weights=weights,
        config=config,
    )


def prepared(name: str, reader: Reader, folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Write the files for one reader."""
    items, results = [], {}
    jobs = [(source, None) for source in reader.sources]
    jobs += [(template, template) for template in TEMPLATES.get(name, ())]
    suffix = ".safetensors" if reader.kind == "torch" else ".ckpt"
    for source, template in jobs:
        label = f"template {template}" if template else source
        path = folder / f"{len(items)}{suffix}"
        state = marked(source, reader.dialect)
        kept = None if template is None else samples.folder() / template
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fastrms.save(path, state, template=kept, lossy=True)
        again = fastrms.load(path, dialect=reader.dialect)
        assert again.iterations == proving.ITERATIONS
        files = sorted(folder.glob(f"{path.name}*"))
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        results[label] = {"sha256": digest, "left_out": proving.left_out(caught)}
        arrays = {f"{s}_{i}": a for s, column in state.slots.items() for i, a in enumerate(column)}
        np.savez(folder / f"{len(items)}.npz", **arrays)
        items.append(
            {
                "name": label,
                "file": str(path),
                "arrays": str(folder / f"{len(items)}.npz"),
                "names": [v.name for v in state.variables],
                "shapes": [list(v.shape) for v in state.variables],
                "slots": list(state.slots),
                "template": template is not None,
                "keras": reader.keras,
                "arguments": {
                    "momentum": 0.5 if "momentum" in state.slots else 0.0,
                    "centered": "average_gradient" in state.slots,
                },
            }
        )
    return items, results


def proven(name: str, python: str) -> dict[str, Any]:
    """Return the results of one reader."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        items, results = prepared(name, reader, folder)
        answers = proving.asked(
            "restore_checkpoint.py", reader.kind, python, reader.backend, items, folder
        )
    for found in answers:
        result = results[found.pop("name")]
        result.update(found)
        if "ratio" in found:
            close = all(abs(value / 0.9 - 1) < 1e-6 for value in found["ratio"])
            counted = found["iterations"] == proving.ITERATIONS
            result["in_effect"] = bool(close and found["slots_equal"] and counted)
    return {"files": results}


def main() -> int:
    """Ask every reader of the environments' file."""
    return proving.recorded(READERS, RESULTS, proven)


if __name__ == "__main__":
    raise SystemExit(main())
