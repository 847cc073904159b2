"""What `prove_checkpoints.py` and `prove_tensors.py` share: asking real systems, and records."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

RECORDS = ROOT / "tests" / "checkpoints"
ITERATIONS = 41
_RANGE = (0.25, 1.0)
_VERSIONS = """
import json, sys
found = {'python': sys.version.split()[0]}
for name in 'numpy h5py tensorflow tensorflow-cpu keras tf_keras theano jax torch'.split():
    try:
        try:
            from importlib.metadata import version
        except ImportError:
            import pkg_resources
            version = lambda name: pkg_resources.get_distribution(name).version
        found.setdefault(name.replace('-cpu', ''), version(name))
    except Exception:
        pass
print(json.dumps(found))
"""


def marked(
    slots: Mapping[str, Sequence[Any]], seed: int, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, list[Any]]:
    """Return slots of the same shapes with values of our own."""
    random = np.random.default_rng(seed)
    return {
        slot: [random.uniform(*ranges.get(slot, _RANGE), a.shape).astype(a.dtype) for a in column]
        for slot, column in slots.items()
    }


def versions(python: str) -> dict[str, str]:
    """Return the versions of the packages that matter in an environment."""
    command = [*python.split(), "-W", "ignore", "-c", _VERSIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def asked(
    program: str, kind: str, python: str, backend: str, items: list[dict[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """Let a recorder in a real system's environment answer, one result for each item."""
    request = folder / "request.json"
    request.write_text(json.dumps(items))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    if backend:
        environment["KERAS_BACKEND"] = backend
    command = [*python.split(), str(ROOT / "scripts" / "recorders" / program), kind, str(request)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, cwd=folder
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


def left_out(caught: Sequence[Any]) -> list[str]:
    """Return what `save` said that it left out; its other warnings are of the model's weights."""
    said = [str(warning.message) for warning in caught]
    return [text.partition(": ")[2] for text in said if ": left out " in text]


def recorded(
    readers: Mapping[str, Any], results: Path, proven: Callable[[str, str], dict[str, Any]]
) -> int:
    """Ask every reader of the environments' file, and write down each answer when it has come."""
    parser = argparse.ArgumentParser(description="Ask the real systems about files written here.")
    parser.add_argument("environments", type=Path, help="JSON: a Python for each reader")
    parser.add_argument("--only", nargs="*", default=[], choices=readers)
    options = parser.parse_args()
    pythons, failed = json.loads(options.environments.read_text()), 0
    for name in readers:
        if name not in pythons or (options.only and name not in options.only):
            continue
        found = proven(name, pythons[name])
        files = found["files"]
        good = sum(bool(result.get("in_effect")) for result in files.values())
        print(f"{name}: {good} of {len(files)} in effect", flush=True)
        for label, result in files.items():
            if not result.get("in_effect"):
                failed += "refused" not in result
                print(f"    {label}: {result}", flush=True)
        content = json.loads(results.read_text()) if results.exists() else {}
        content[name] = {"versions": versions(pythons[name]), **found}
        content = {key: content[key] for key in readers if key in content}
        results.write_text(json.dumps(content, indent=1) + "\n")
    return int(failed > 0)
