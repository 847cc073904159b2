"""Recordings of graph-mode Keras, replayed as scripts ran: get_updates and K.function."""

import functools
import importlib
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastrms
from replay import Case, _array, cases

SYSTEMS = {
    "k12_tf": "keras1",
    "k12_theano": "keras1",
    "contrib13": "tf_contrib",
    "k20_tf": "keras20",
    "k20_theano": "keras20",
    "k22_tf": "keras22",
    "k23_tf": "keras23",
    "tfk113_v1": "tf_keras_v1",
}
# max|difference| / max|array|, with the reasons that test_goldens.py gives.
TOLERANCES = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3}
_KEPT = "Theano keeps subnormal numbers; the row follows TensorFlow, which flushes them"
DIFFERENCES = {
    ("k12_theano", "subnormal"): _KEPT,
    ("k12_theano", "subnormal_float64"): _KEPT,
    ("k20_theano", "subnormal"): _KEPT,
    ("k20_theano", "subnormal_float64"): _KEPT,
    ("k23_tf", "sparse_clipvalue"): "TF 1.15 clips each slice before the rows are summed",
    ("tfk113_v1", "sparse_clipnorm"): "the norm was taken over the slices before they are summed",
}


def runs():
    for system in SYSTEMS:
        for case in cases(system):
            if case.arrays and (system, case.name) not in DIFFERENCES:
                yield case


@functools.cache
def companions(system: str, kind: str) -> list[Case]:
    """Read the recordings of SGD or Adam of a system."""
    stem = Path(__file__).parent / "goldens" / f"{system}_{kind.lower()}"
    with np.load(stem.with_suffix(".npz")) as stored:
        flat = {name: stored[name] for name in stored.files}
    found = []
    for case in json.loads(stem.with_suffix(".json").read_text())["cases"]:
        arrays = {name: _array(flat, place) for name, place in case.pop("arrays", {}).items()}
        found.append(Case(system, case["case"], {**case, "class": kind}, arrays))
    return found


RUNS = list(runs())
COMPANIONS = [c for s in SYSTEMS for kind in ("SGD", "Adam") for c in companions(s, kind)]


def nonneg(K):  # noqa: N803 (as every script writes it)
    """The constraint that was recorded: p * (p >= 0)."""
    return lambda p: p * K.cast(p >= 0.0, K.floatx())


class Session:
    """One case, written as the recorder wrote it."""

    def __init__(self, case: Case, fused: bool):
        package = f"fastrms.compat.{SYSTEMS[case.system]}"
        self.K = importlib.import_module(f"{package}.backend")
        self.optimizers = importlib.import_module(f"{package}.optimizers")
        self.case, self.fused = case, fused
        dtype = np.asarray(case.arrays["p0"]).dtype.name
        self.K.set_floatx(dtype)
        self.params = [self.K.variable(case.arrays[f"p{i}"][0]) for i in range(case.count)]
        if "si0" in case.arrays:
            self.feeds = [
                self.K.placeholder(shape=case.arrays["si0"].shape[1:], dtype="int32"),
                self.K.placeholder(shape=case.arrays["sv0"].shape[1:]),
            ]
            self.loss = self.K.sum(self.K.gather(self.params[0], self.feeds[0]) * self.feeds[1])
        else:
            self.feeds = [self.K.placeholder(shape=p.shape) for p in self.params]
            terms = [self.K.sum(g * p) for g, p in zip(self.feeds, self.params, strict=True)]
            self.loss = sum(terms[1:], terms[0])
        self.build()

    def build(self):
        kwargs = dict(self.case.about["kwargs"])
        if self.case.about.get("decay_iter_offset") is not None:
            kwargs["decay_offset"] = self.case.about["decay_iter_offset"]
        self.opt = getattr(self.optimizers, self.case.about.get("class", "RMSprop"))(**kwargs)
        index = self.case.about.get("constraint_on")
        if self.opt.generation.call_constraints:
            bounded = {} if index is None else {self.params[index]: nonneg(self.K)}
            updates = self.opt.get_updates(self.params, bounded, self.loss)
        else:
            if index is not None:
                self.params[index].constraint = nonneg(self.K)
            updates = self.opt.get_updates(loss=self.loss, params=self.params)
        if not self.fused:
            updates = [(old, new) for old, new in updates]
        self.train = self.K.function(self.feeds, [self.loss], updates=updates)
        assert len(self.train.handles) == (self.fused and type(self.opt).__name__ == "RMSprop")

    def resume(self):
        weights = self.opt.get_weights()
        if "[1:]" in self.case.about["hook"]:
            weights = weights[1:]
        self.build()
        self.opt.set_weights(weights)

    def feed(self, step):
        names = ["si0", "sv0"] if "si0" in self.case.arrays else None
        names = names or [f"g{i}" for i in range(self.case.count)]
        return [self.case.arrays[name][step] for name in names]

    def run(self):
        case, hook = self.case, self.case.about.get("hook") or ""
        when = int(hook.split("before step ")[1].split()[0].rstrip(":")) if hook else None
        trace = SimpleNamespace(params=[[p.array.copy() for p in self.params]], weights=[], it=[])
        for step in range(len(case.arrays["p0"]) - 1):
            if step == when and "new optimizer" in hook:
                self.resume()
            elif step == when:
                self.K.set_value(self.opt.lr, 0.02)
            self.train(self.feed(step))
            trace.params.append([p.array.copy() for p in self.params])
            trace.weights.append(self.opt.get_weights())
            trace.it.append(self.K.get_value(self.opt.iterations))
        return trace


@pytest.fixture(autouse=True)
def float32_again():
    yield
    importlib.import_module("fastrms.compat.keras22.backend").set_floatx("float32")


def scaled(ours, theirs):
    """The largest difference, scaled, and whether NaN and inf stand at the same places."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(np.isfinite(ours), finite)
    largest = np.max(np.abs(theirs[finite]), initial=0.0) or 1.0
    return np.max(np.abs(ours[finite] - theirs[finite]), initial=0.0) / largest


def replayed(case, fused):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastrms.PortingWarning)
        return Session(case, fused).run()


def require_recorded(case, trace, share=1.0):
    """Compare a trace with what was recorded: parameters, weights and counters."""
    allowed = share * TOLERANCES[np.asarray(case.arrays["p0"]).dtype.name]
    for i in range(case.count):
        ours = np.stack([values[i] for values in trace.params])
        assert scaled(ours, case.arrays[f"p{i}"]) <= allowed
    assert len(trace.weights[-1]) == case.about["n_weights"]
    for k in range(case.about["n_weights"]):
        theirs = case.arrays[f"w{k}"]
        assert scaled(np.stack([values[k] for values in trace.weights]), theirs) <= allowed
    np.testing.assert_array_equal(np.stack(trace.it), case.arrays["it"])


def same_bits(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_scripts_give_the_recorded_numbers_and_rewritten_updates_the_same_bits(case):
    trace, rewritten = replayed(case, fused=True), replayed(case, fused=False)
    same_bits(trace.params, rewritten.params)
    same_bits(trace.weights, rewritten.weights)
    require_recorded(case, trace)


@pytest.mark.parametrize(
    "case", [c for c in COMPANIONS if c.arrays], ids=lambda c: f"{c}-{c.about['class']}"
)
def test_sgd_and_adam_give_the_recorded_numbers(case):
    # Adam's powers and two more roots than RMSprop's: each may differ in the last place.
    require_recorded(case, replayed(case, fused=False), share=2.0)


@pytest.mark.parametrize("case", [c for c in RUNS if c.about["get_config"]], ids=str)
def test_configs_are_the_recorded_ones(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastrms.PortingWarning)
        session = Session(case, fused=True)
    config = session.opt.get_config()
    config.pop("decay_offset", None)
    assert config == case.about["get_config"]
    again = type(session.opt).from_config(session.opt.get_config())
    assert again.get_config() == session.opt.get_config()


@pytest.mark.parametrize(("system", "name"), DIFFERENCES)
def test_listed_differences_are_real(system, name):
    (case,) = [case for case in cases(system) if case.name == name]
    trace = replayed(case, fused=True)
    pairs = [
        (np.stack([values[k] for values in trace.weights]), case.arrays[f"w{k}"])
        for k in range(case.about["n_weights"])
    ]
    if name.startswith("subnormal"):
        assert any(ours.tobytes() != theirs.tobytes() for ours, theirs in pairs)
    else:
        assert any(scaled(ours, theirs) > 1e-3 for ours, theirs in pairs)


def test_every_recording_is_replayed_or_listed():
    folder = Path(__file__).parents[1] / "goldens"
    for system in SYSTEMS:
        recorded = json.loads((folder / f"{system}.json").read_text())["cases"]
        names = {c["case"] for c in recorded if "arrays" in c}
        replayed_names = {c.name for c in RUNS if c.system == system}
        listed = {name for s, name in DIFFERENCES if s == system}
        assert names == replayed_names | (listed & names)
