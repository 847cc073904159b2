"""Recorded trajectories of the real systems, replayed in their own rows."""

from pathlib import Path

import numpy as np
import pytest

import exactness
import fastrms
from fastrms import hyper
from fastrms.hyper import rate
from replay import (
    DIFFERENCES,
    RENAMED,
    SYSTEMS,
    Case,
    cases,
    distances,
    gradients_at,
    named,
    new_optimizer,
    outcome,
    replay,
    runs,
    start,
)

# max|difference| / max|array| that each source allows, and why it is not 0.
TOLERANCES = {
    # TF 1 and torch take approximate square roots, XLA and Theano contract multiply-add, norms
    # depend on summation order: at most 6e-7 was measured between the real systems themselves.
    "float32": 1e-6,
    # Hyperparameters pass through float32 here exactly where they do there.
    "float64": 1e-14,
    # One unit in the last place of float16 is 1e-3.
    "float16": 2e-3,
    "counters": 0.0,
}
# Systems whose float16 arithmetic was recorded as exact, operation by operation.
EXACT_HALF = {
    "contrib13", "k12_tf", "k20_tf", "k22_tf", "k23_tf", "tfk113_v1", "tf210_v2", "tf212_v2",
    "tf210_exp", "tf13_train", "k3_tensorflow", "k3_jax",
}  # fmt: skip
# A norm's summation order shows, and XLA divides by a constant by multiplying.
INEXACT_HALF = {
    "k3_tensorflow": {"float16_clipnorm"},
    "k3_jax": {"float16_clipnorm", "float16_loss_scale_accum"},
}
RUNS = [case for system in SYSTEMS for case in runs(system)]


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_replay_equals_the_recording(case: Case):
    for kind, distance in outcome(case).found.items():
        assert not distance.wrong
        allowed = TOLERANCES[kind]
        inexact = case.name in INEXACT_HALF.get(case.system, set())
        if kind == "float16" and case.system in EXACT_HALF and not inexact:
            allowed = 0.0
        assert distance.scaled <= allowed


HALVES = [
    case
    for case in RUNS
    if case.system in EXACT_HALF and case.about["dtype"] == "float16" and case.name == "float16"
]


@pytest.mark.parametrize("case", HALVES, ids=str)
def test_rounding_once_a_step_instead_of_after_each_operation_fails(case: Case):
    live = [a.astype(np.float32) for a in start(case)]
    optimizer = new_optimizer(case, case.dialect, live)
    optimizer.build(named(case, live))
    optimizer._core.stepper._compiled = False
    apart = False
    for step in range(len(case.arrays["p0"]) - 1):
        optimizer.apply([g.astype(np.float32) for g in gradients_at(case, step)], live)
        for array in [*live, *optimizer._core.stepper.state.slots.values()]:
            array[...] = array.astype(np.float16)
        recorded = [case.arrays[f"p{i}"][step + 1] for i in range(case.count)]
        apart = apart or not all(map(np.array_equal, recorded, live))
    assert apart


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_recorded_run_is_replayed_or_differs(system):
    for case in cases(system):
        # Values of schedules, not of an optimizer: test_schedules.py has them.
        assert case.outside or not case.arrays or case in RUNS or case.name == "schedules"


@pytest.mark.parametrize("system", DIFFERENCES)
def test_listed_differences_are_real(system):
    named = {case.name: case for case in cases(system)}
    for name in set(DIFFERENCES[system]) & set(named):
        found = distances(named[name], replay(named[name]))
        assert any(d.wrong or d.scaled > TOLERANCES[kind] for kind, d in found.items()), name


CONFIGS = [case for case in RUNS if case.about.get("get_config") and case.system not in RENAMED]


@pytest.mark.parametrize("case", CONFIGS, ids=str)
def test_config_is_the_recorded_one(case: Case):
    live = [np.array(case.arrays[f"p{i}"][0]) for i in range(case.count)]
    config = new_optimizer(case, case.dialect, live).get_config()
    # The next part of the library has jit_compile; the other names a class, not an option.
    ignored = {"is_legacy_optimizer", "jit_compile"}
    recorded = dict(case.about["get_config"])
    if "inner_optimizer" in recorded:
        theirs, ours = recorded.pop("inner_optimizer"), config.pop("inner_optimizer")
        config.pop("name", None)
        if "dialect" not in ours["config"]:  # told by its keys, as another system reads them
            assert ours["class_name"] == theirs["class_name"]
            ours["config"]["dialect"] = fastrms.deserialize(ours).dialect
        assert ours["class_name"].rpartition(">")[2] == "RMSprop"
        if theirs.get("module") == "keras.optimizers":
            assert {**ours, "config": None} == {**theirs, "config": None}
        recorded.pop("name", None)
        assert config == recorded
        recorded = theirs["config"]
        config = {k: v for k, v in ours["config"].items() if k not in ignored}
    expected = {k: v for k, v in recorded.items() if k not in ignored}
    given = case.about["kwargs"].get("learning_rate")
    if isinstance(given, list):  # not recorded; test_schedules.py compares the forms
        assert config.pop("learning_rate")["class_name"] == given[0]
        expected.pop("learning_rate", None)
    elif case.name == "lr_callable" and "learning_rate" not in expected:
        assert callable(config.pop("learning_rate"))
    assert config.pop("dialect", "keras-3") == case.dialect
    config.pop("decay_offset", None)
    if "name" in expected:
        config["name"] = expected["name"]
    assert config == expected


def bare(name: str) -> str:
    """Drop what TensorFlow adds depending on where a weight was created."""
    return name.removeprefix("b/").removeprefix("RMSprop/").removesuffix(":0")


TELLS_NAMES = {
    "tf210_v2", "tf210_exp", "tf212_new", "tf212_v2", "k3_tensorflow", "k3_jax", "k3_torch"
}  # fmt: skip
NAMED = [case for case in RUNS if case.system in TELLS_NAMES and case.about["weight_names"]]


@pytest.mark.parametrize("case", NAMED, ids=str)
def test_weights_are_named_as_there(case: Case):
    recorded = [bare(name) for name in case.about["weight_names"]]
    assert [bare(name) for name in outcome(case).names] == recorded


def test_every_row_is_recorded_or_says_why_not():
    for row in fastrms.DIALECTS.values():
        assert row.source
        assert row.golden_systems or any("not recorded" in note for note in row.notes)
        told = {"name", "systems", "source", "golden_systems", "notes", "evidence", "slot_names"}
        told |= {"default_name", "counts_names", "named_in_config", "rate_in_config"}
        assert set(row._fields) - told == set(row.evidence)


def test_recordings_hold_numbers():
    for case in RUNS:
        assert np.isfinite(case.arrays["p0"][0]).all()


SCHEDULED = [
    case
    for case in RUNS
    if isinstance(case.about["kwargs"].get("learning_rate"), list) and "lr" in case.arrays
]


@pytest.mark.parametrize("case", SCHEDULED, ids=str)
def test_the_rate_shown_after_each_step_is_the_recorded_one(case: Case):
    row, known = fastrms.DIALECTS[case.dialect], outcome(case)
    # OptimizerV2 was asked for the decayed rate; the property is the rate without decay.
    single = np.dtype(np.float32)
    ours = [rate(row, known.settings, shown, count, single) for shown, count in known.rates]
    np.testing.assert_allclose(ours, case.arrays["lr"], rtol=2e-7, atol=0)


UNREACHED = [
    case
    for system in ("k3_tensorflow", "k3_jax", "tf210_v2", "tf210_exp", "tf212_v2")
    for case in runs(system)
    if case.name == "global_clipnorm_unreached"
]


@pytest.mark.parametrize("case", UNREACHED, ids=str)
def test_the_inverse_of_an_unreached_bound_is_rounded_as_recorded(case: Case, monkeypatch):
    row, inverse = fastrms.DIALECTS[case.dialect], hyper._inverse
    assert all(distance.equal for distance in outcome(case).found.values())
    other = row.clipping._replace(inverse_in_double=not row.clipping.inverse_in_double)
    changed = row._replace(clipping=other)
    monkeypatch.setattr(hyper, "_inverse", lambda _, *given: inverse(changed, *given))
    assert not outcome.__wrapped__(case).found["float32"].equal


# Shares of eager float32 runs without norm clipping that equal the recording bit for bit.
@pytest.mark.parametrize("system", exactness.BARS)
def test_most_runs_are_bit_equal(system):
    _, count, *_ = exactness.measure(system, "float32 eager")
    assert count >= 49
    shares = exactness.shares(system)  # the second with runs of rows
    assert min(shares) >= exactness.BARS[system]


def test_the_page_is_what_the_script_prints():
    page = Path(__file__).resolve().parents[1] / "docs" / "exactness.md"
    written = page.read_text(encoding="utf-8")
    assert written == exactness.page(), (
        "run: python scripts/exactness.py --output docs/exactness.md"
    )
