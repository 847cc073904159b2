"""Print what the porting scripts gave here and on the old systems, as Markdown.

python scripts/porting_table.py [--output docs/porting-results.md]
"""

import functools
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import offer

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = {
    "k12_tf": "Keras 1.2.2, TF",
    "k12_theano": "Keras 1.2.2, Theano",
    "k20_tf": "Keras 2.0.8",
    "k22_tf": "Keras 2.2.4",
    "k23_tf": "Keras 2.3.1",
}


@functools.cache
def runner() -> Any:
    """Return the module that runs the scripts for the tests."""
    path = ROOT / "tests" / "porting" / "porting_runs.py"
    spec = importlib.util.spec_from_file_location("porting_runs", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peer(name: str, system: str) -> str:
    """Say what the living peer gave for a script recorded on a system."""
    found = runner().index(runner().PEER)["scripts"][name]
    if "raises" in found:
        return f"does not run: {found['raises'][0]}"
    losses = runner().arrays(runner().PEER)[f"{name}.losses"]
    distance = runner().apart(losses, runner().arrays(system)[f"{name}.losses"])
    return "within 1e-4" if distance <= 1e-4 else f"other losses ({distance:.0e})"


def bound(value: float) -> str:
    """Return the bound that a difference keeps: those that the tests hold it to."""
    limits = (2e-6, 1e-4)
    return next((f"≤ {limit:.0e}" for limit in limits if value <= limit), f"{value:.0e}")


def outcome(system: str, name: str) -> Any:
    """Run a script here and compare it with its record."""
    return runner().compare(system, name, runner().run(system, name))


def rows() -> Iterator[tuple[str, ...]]:
    """Return one row for each script and system."""
    for system, name in runner().runs():
        found = outcome(system, name)
        losses = runner().arrays(system)[f"{name}.losses"]
        yield (
            f"`{name}`",
            SYSTEMS[system],
            "bit-equal" if found.same_start else "OTHER",
            bound(found.gradient),
            bound(max(found.losses, 1e-5)),
            bound(max(found.weights, 1e-5)),
            f"{losses[0]:.4f} → {losses[-1]:.4f}",
            peer(name, system),
        )


HEAD = (
    "script",
    "recorded on",
    "initial weights",
    "first gradient",
    "50 losses",
    "last weights",
    "loss there, 1 → 50",
    "the same script on tf_keras",
)


def document() -> str:
    """Return the page."""
    versions = runner().index(runner().PEER)["versions"]
    lines = [
        "# What old scripts give here",
        "",
        "Printed by `python scripts/porting_table.py` from the recordings in",
        "`tests/porting/records`. Each script in `tests/porting/scripts` ran as it is on the old",
        "system, and here with its import lines changed and nothing else. Differences are the",
        "largest, divided by the largest recorded value; CPUs differ in the last bits, so they are",
        "given as bounds. The last column is the same script with its imports changed to",
        f"tf_keras {versions['keras']} on TensorFlow {versions['tensorflow']} (graph mode, its",
        "`optimizers.legacy`).",
        "",
        f"| {' | '.join(HEAD)} |",
        "|" + "---|" * len(HEAD),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines += [f"| {' | '.join(row)} |" for row in sorted(rows())]
    about = sorted({(n, runner().index(s)["scripts"][n]["title"]) for s, n in runner().runs()})
    lines += ["", *[f"- `{name}`: {title}" for name, title in about]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    offer(__doc__, document)
