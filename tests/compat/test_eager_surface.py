"""Each question put to the real tf.keras classes, put to ours: the same answers."""

import builtins
import math

import numba
import numpy as np
import pytest
from eager_kit import SYSTEMS, Kit, answers, decoded, numbers
from eager_runs import run, runs
from eager_surface import QUESTIONS, VARIANTS, ask, plain

from fastrms import errors
from fastrms.compat.eager import pairs as ours_only


@pytest.fixture(autouse=True)
def reference_engine(monkeypatch):
    """Let NumPy carry out the steps: what is asked here is not about the kernels."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)


# Answers that differ on purpose: (class, question), the position in the answer, and why.
DIFFERS = {
    ("tf210_exp", "state"): ({3, 4, 5}, "set_weights exists here, the real class had none"),
    ("tf210_exp", "parts"): ({3, 4}, "a refused step changes nothing here, there a part of it"),
    ("tf212_new", "parts"): ({3, 4}, "a refused step changes nothing here, there a part of it"),
}
ALLOWED = 3e-6  # of the largest value: tf.math.rsqrt is off by 2 ulp, norms sum in another order
ASKED = [
    (system, kind, variant, question)
    for system in SYSTEMS
    for kind, variants in VARIANTS.items()
    for variant in variants
    for question in QUESTIONS
]
RECORDED = {system: answers(system) for system in SYSTEMS}


def raised(answer):
    """Whether an answer is an exception."""
    return isinstance(answer, list) and len(answer) == 2 and answer[0] == "raises"


def kind_of(name):
    """Return the exception class of a name: Python's, ours, or what stands for TensorFlow's."""
    for place in (builtins, errors, ours_only):
        if hasattr(place, name):
            return getattr(place, name)
    return {"InvalidArgumentError": errors.GradientError}[name]


def compare(ours, theirs, where=""):
    """Assert that two answers are the same, numbers nearly."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs) or set(ours) == set(theirs), where
        for key, value in theirs.items():
            compare(ours[key], value, f"{where}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), (where, ours, theirs)
        assert len(ours) == len(theirs), (where, ours, theirs)
        for k, value in enumerate(theirs):
            compare(ours[k], value, f"{where}[{k}]")
    elif isinstance(theirs, float) and not math.isnan(theirs):
        assert abs(ours - theirs) <= ALLOWED * max(1.0, abs(theirs)), (where, ours, theirs)
    else:
        assert ours == theirs or (ours != ours and theirs != theirs), (where, ours, theirs)


@pytest.mark.filterwarnings("ignore::fastrms.PortingWarning")
@pytest.mark.parametrize(
    ("system", "kind", "variant", "question"), ASKED, ids=["-".join(each) for each in ASKED]
)
def test_answers_are_the_real_ones(system, kind, variant, question):
    theirs = RECORDED[system][f"{kind}-{variant}-{question}"]
    if raised(theirs):
        with pytest.raises(kind_of(theirs[1])):
            ask(Kit(system), kind, variant, question)
        return
    ours = ask(Kit(system), kind, variant, question)
    assert len(ours) == len(theirs)
    spared, _ = DIFFERS.get((system, question), ((), ""))
    for k, (mine, real) in enumerate(zip(ours, theirs, strict=True)):
        if k in spared:
            continue
        if raised(real):
            assert raised(mine), (k, mine, real)
            assert issubclass(kind_of(mine[1]), kind_of(real[1])), (k, mine, real)
        else:
            compare(mine, real, f"[{k}]")


RUNS = [(system, *each) for system in SYSTEMS for each in runs(system)]
NUMBERS = {system: numbers(system) for system in SYSTEMS}
# tf.clip_by_norm sums squares in another order than the kernels do: one ulp of the factor.
NOT_EXACT = ("clip",)


@pytest.mark.filterwarnings("ignore:the constraint of variable.*never applies")
@pytest.mark.parametrize(
    ("system", "kind", "name", "given"), RUNS, ids=[f"{s}-{k}-{n}" for s, k, n, _ in RUNS]
)
def test_sgd_and_adam_compute_the_recorded_bits(system, kind, name, given):
    theirs = NUMBERS[system][f"{kind}-{name}"]
    ours = run(Kit(system), kind, given)
    rows = zip(ours["trace"], theirs["trace"], strict=True)
    pairs = [pair for row in rows for pair in zip(*row, strict=True)]
    pairs += zip(ours["weights"], theirs["weights"], strict=True)
    for mine, coded in pairs:
        real = decoded(coded)
        assert (mine.dtype, mine.shape) == (real.dtype, real.shape)
        if any(word in name for word in NOT_EXACT):
            bound = np.max(np.abs(real), initial=0) * 1e-6
            np.testing.assert_allclose(mine, real, rtol=0, atol=bound)
        else:
            np.testing.assert_array_equal(mine, real)
    assert ours["names"] == theirs["names"]
    assert ours["iterations"] == theirs["iterations"]
    assert plain(ours["config"]) == theirs["config"]
