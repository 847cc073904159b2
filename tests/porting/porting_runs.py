"""Runs a porting script here and compares what it leaves with what the old system recorded."""

import contextlib
import functools
import hashlib
import importlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).resolve().parent
PACKAGES = {
    "k12_tf": "keras1",
    "k12_theano": "keras1",
    "k20_tf": "keras20",
    "k22_tf": "keras22",
    "k23_tf": "keras23",
}
PEER = "tf_keras"
IMPORTS = re.compile(r"^(from|import) keras\b", re.M)


class Outcome(NamedTuple):
    """How far a run is from its record; each number is scaled by the largest recorded value."""

    same_start: bool
    gradient: float
    losses: float
    weights: float


@functools.cache
def index(system: str) -> dict[str, Any]:
    """Return what is known about the records of a system."""
    return json.loads((FOLDER / "records" / f"{system}.json").read_text(encoding="utf-8"))


@functools.cache
def arrays(system: str) -> dict[str, Any]:
    """Return the recorded arrays of a system."""
    with np.load(FOLDER / "records" / f"{system}.npz") as data:
        return dict(data)


def runs() -> Iterator[tuple[str, str]]:
    """Return every system and script that were recorded."""
    for system in PACKAGES:
        for name in index(system)["scripts"]:
            yield system, name


def source(name: str) -> str:
    """Return the text of a script."""
    return (FOLDER / "scripts" / f"{name}.py").read_text(encoding="utf-8")


def digest(name: str) -> str:
    """Return the digest of a script as it was recorded."""
    return hashlib.sha256((FOLDER / "scripts" / f"{name}.py").read_bytes()).hexdigest()


def ported(name: str, package: str) -> str:
    """Return a script with other import lines, and nothing else changed."""
    return IMPORTS.sub(rf"\1 fastrms.compat.{package}", source(name))


def run(system: str, name: str) -> dict[str, Any]:
    """Run a script in the package of a system and return the names it leaves."""
    backend = "theano" if system.endswith("theano") else "tensorflow"
    before, state = os.environ.get("KERAS_BACKEND"), np.random.get_state()
    os.environ["KERAS_BACKEND"] = backend
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        importlib.import_module(f"fastrms.compat.{PACKAGES[system]}.backend").clear_session()
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(ported(name, PACKAGES[system]), f"{name}.py", "exec"), names)
    finally:
        np.random.set_state(state)
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    return names


def group(system: str, name: str, key: str) -> list[Any]:
    """Return the recorded arrays of a group: initial, gradient or final."""
    found = arrays(system)
    number = sum(k.startswith(f"{name}.{key}") for k in found)
    return [found[f"{name}.{key}{i}"] for i in range(number)]


def worst(found: Any, expected: list[Any]) -> float:
    """Return the largest scaled difference of some arrays."""
    values = list(found) if isinstance(found, list | tuple) else [found]
    pairs = zip(values, expected, strict=True)
    scaled = [np.max(np.abs(np.asarray(a) - b)) / max(np.max(np.abs(b)), 1e-30) for a, b in pairs]
    return float(np.max(scaled)) if np.all(np.isfinite(scaled)) else float("inf")


def apart(losses: Any, expected: Any) -> float:
    """Return the largest difference of the first losses, scaled by the largest of them."""
    return worst([np.array([float(x) for x in losses])[: len(expected)]], [expected])


def compare(system: str, name: str, names: dict[str, Any]) -> Outcome:
    """Compare the names that a script left with its record."""
    start = zip(names["initial"], group(system, name, "initial"), strict=True)
    return Outcome(
        all(np.array_equal(np.asarray(a), b) and np.asarray(a).dtype == b.dtype for a, b in start),
        worst(names["gradient"], group(system, name, "gradient")),
        apart(names["losses"], arrays(system)[f"{name}.losses"]),
        worst(names["final"], group(system, name, "final")),
    )
