"""For each pair of dialects a recording that one passes and the other fails, or why none can."""

import functools
import itertools
from pathlib import Path

import pytest

import fastrms
from replay import Case, cases, distances, replay, runs
from test_goldens import TOLERANCES

# Pairs that no recording can tell apart, with the reason.
SAME_NUMBERS = {
    ("keras-1", "tf-contrib"): "tf.contrib.keras 1.x is a copy of Keras 1's optimizers; names "
    "and modules differ, numbers do not",
}
# Tried first because they separate most pairs.
TELLING = (
    "eps",
    "defaults",
    "lr",
    "decay",
    "clipnorm",
    "clip_both",
    "momentum_eps",
    "momentum",
    "clipnorm0",
    "resume",
    "subnormal",
    "float64",
    "ema_freq",
    "weight_decay",
    "rho",
)


def passes(case: Case, dialect: str) -> bool | None:
    """Tell whether a dialect reproduces a recording's numbers; None if it refuses the case."""
    try:
        found = distances(case, replay(case, dialect))
    except fastrms.FastrmsError:
        return None
    return all(not d.wrong and d.scaled <= TOLERANCES[kind] for kind, d in found.items())


def candidates(dialect: str) -> list[Case]:
    """Return a dialect's recordings, the most telling ones first."""
    systems = fastrms.DIALECTS[dialect].golden_systems
    found = [case for system in systems for case in runs(system)]
    order = {name: k for k, name in enumerate(TELLING)}
    return sorted(found, key=lambda case: order.get(case.name, len(order)))


@functools.cache
def separating(dialect: str, other: str) -> str | None:
    """Name the first recording of a dialect that the other one computes otherwise."""
    for case in candidates(dialect):
        if passes(case, other) is False:
            return str(case)
    return None


PAIRS = list(itertools.combinations(fastrms.DIALECTS, 2))


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{a}-vs-{b}" for a, b in PAIRS])
def test_a_recording_tells_two_dialects_apart(one, other):
    found = separating(one, other) or separating(other, one)
    reason = SAME_NUMBERS.get((one, other)) or SAME_NUMBERS.get((other, one))
    assert (found is None) == (reason is not None), (found, reason)


def test_recordings_pass_at_home():
    for dialect in fastrms.DIALECTS:
        for case in candidates(dialect)[:2]:
            assert passes(case, dialect), str(case)


def test_every_system_has_recordings():
    for row in fastrms.DIALECTS.values():
        for system in row.golden_systems:
            assert cases(system)


def test_the_page_is_what_the_script_prints():
    import neighbours  # the script reads this module's pairs

    page = Path(__file__).resolve().parents[1] / "docs" / "neighbours.md"
    written = page.read_text(encoding="utf-8")
    assert written == neighbours.page(), (
        "run: python scripts/neighbours.py --output docs/neighbours.md"
    )
