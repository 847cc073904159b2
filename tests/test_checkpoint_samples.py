"""Every HDF5, zip, folder and sharded sample: read whole, continued, and written back."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

import fastrms
import samples

pytest.importorskip("h5py")

FORMS = re.compile(r".*(\.h5|\.keras|\.kdir/config\.json|\.weights\.json)$")
NAMES = [
    n.removesuffix("/config.json")
    for n in samples.names()
    if FORMS.match(n) and not re.search(r"sharded_\d+|kdir/model", n)
]
# Samples without optimizer state, as the systems that wrote them confirm.
WITHOUT_STATE = re.compile(
    r".*(noopt|weights_only|untrained).*|tf212legacy/.*(\.weights\.h5|\.keras)"
)
HELD = [n for n in NAMES if not WITHOUT_STATE.match(n)]
# The recorder's words for slots, by Keras 3's (and Adam's, which differ by generation).
ROLES = {
    "rms": ("velocity",),
    "momentum": ("momentum",),
    "mg": ("average_gradient",),
    "ema": ("average",),
    "gacc": ("gradient_accumulator",),
    "m": ("m", "momentum"),
    "v": ("v", "velocity"),
}
# Systems whose .h5 has no counter: their iterations are read as None, with a note.
COUNTERLESS = re.compile(r"(k12|k20|k22|contrib13|tfk113).*")


@pytest.fixture(scope="module")
def loaded():
    """Samples by name, each loaded once."""
    known = {}

    def load(name):
        if name not in known:
            known[name] = fastrms.load(samples.folder() / name)
        return known[name]

    return load


def config_of(meta):
    config = meta["optimizer"]["get_config"]
    return config.get("inner_optimizer", {}).get("config", config)


def test_the_archive_holds_every_kind():
    assert len(NAMES) == 90
    assert len(HELD) == 79


@pytest.mark.parametrize("name", HELD)
def test_everything_a_sample_holds_is_read_bit_for_bit(name, loaded):
    found, expected = loaded(name), samples.expected(name)
    roles = [key.removeprefix("slot/") for key in expected.arrays if key.startswith("slot/")]
    read = {next(n for n in ROLES[role] if n in found.slots): role for role in roles}
    idle = {"vhat"} if "k23" in name else set()
    assert set(found.slots) - idle == set(read)
    for slot, role in read.items():
        for ours, theirs in zip(found.slots[slot], expected.split(f"slot/{role}"), strict=True):
            assert ours.shape == theirs.shape
            assert ours.tobytes() == theirs.astype(ours.dtype).tobytes()
    for variable, theirs in zip(found.variables, expected.split("param"), strict=True):
        ours = found.weights[variable.name]
        assert variable.shape == theirs.shape
        assert variable.dtype == ours.dtype.name
        assert ours.tobytes() == theirs.astype(ours.dtype).tobytes()
    if COUNTERLESS.match(name) and found.rule == "RMSprop":
        assert found.iterations is None
        assert any("no iterations" in note for note in found.notes)
    else:
        assert found.iterations == expected.meta["iterations_live"]
    if "weights." not in name:
        theirs = config_of(expected.meta)
        assert {k: found.config[k] for k in theirs} == theirs


@pytest.mark.parametrize("name", [n for n in NAMES if n not in HELD])
def test_samples_without_state_say_so(name, loaded):
    found = loaded(name)
    assert found.slots == {}
    assert not found.iterations
    assert found.weights
    fresh = "untrained" in name and found.iterations == 0
    assert fresh or any("no optimizer state" in note for note in found.notes)


WRITERS = {
    "contrib13": ("tf-contrib", "tf.contrib.keras"),
    "k12-tf": ("keras-1", "Keras"),
    "k12-th": ("keras-1", "Keras"),
    "k20-tf": ("keras-2.0", "Keras"),
    "k20-th": ("keras-2.0", "Keras"),
    "k22-tf": ("keras-2.2", "Keras"),
    "k23-tf": ("keras-2.3", "Keras"),
    "tfk113": ("tf-keras-v1", "tf.keras"),
    "tfk115": ("tf-keras-v2", "tf.keras"),
    "tf210": ("tf-keras-v2", "tf.keras"),
    "tf212": ("tf-keras-2.11", "tf.keras"),
    "tf212legacy": ("tf-keras-v2", "tf.keras"),
    "k3-tf": ("keras-3", "Keras"),
    "k3-jax": ("keras-3", "Keras"),
    "k3-torch": ("keras-3", "Keras"),
}


@pytest.mark.parametrize("name", HELD)
def test_the_writer_and_its_dialect_are_recognised(name, loaded):
    found = loaded(name)
    assert (found.dialect, found.writer.system) == WRITERS[name.split("/")[0]]


# One step of a run that the real system continued: its parameters after each of three steps.
CONTINUED = [n for n in HELD if not re.search("adam|sgd|chunked", n)]


def continued(found, expected, mode, hyper):
    """Take the three recorded steps; return the worst |a - b| / (|b| + 1e-3)."""
    variables = [a.copy() for a in expected.split("param")]
    offsets = expected.meta.get("decay_iteration_offset", {}).get(mode, [0, 0, 0])
    row = fastrms.DIALECTS[found.dialect]
    if row.decay is not None and row.decay.reciprocal:
        hyper = {**hyper, "decay_offset": offsets[0]}
    optimizer = found.optimizer(variables, **hyper)
    if mode == "live" and found.iterations is None and config_of(expected.meta).get("decay"):
        optimizer.iterations = int(expected.meta["iterations_live"])
    worst = 0.0
    for step in range(3):
        if row.decay is not None and row.decay.reciprocal and offsets[step] != offsets[0]:
            state = optimizer.checkpoint()
            optimizer = state.optimizer(variables, **{**hyper, "decay_offset": offsets[step]})
            optimizer.iterations = state.iterations
        optimizer.apply(samples.gradients(expected.split("grad"), optimizer, step))
        theirs = expected.split(f"{mode}/param")
        for ours, other in zip(variables, theirs, strict=True):
            worst = max(worst, float(np.max(abs(ours - other[step]) / (abs(other[step]) + 1e-3))))
    return worst


@pytest.mark.filterwarnings("ignore:the list of variables is taken in")
@pytest.mark.parametrize("name", CONTINUED)
def test_three_continued_steps_match_the_real_system(name, loaded, monkeypatch):
    from numba import config

    monkeypatch.setattr(config, "DISABLE_JIT", 1)  # the reference engine: no kernels to compile
    found, expected = loaded(name), samples.expected(name)
    hyper = {}
    if "rho" not in found.config:
        hyper = {k: v for k, v in config_of(expected.meta).items() if v is not None}
    form = name.partition(".")[2]
    modes = [m for m in ("live", f"resumed:{form}") if f"{m}/param" in expected.arrays]
    worst = {mode: continued(found, expected, mode, hyper) for mode in modes}
    # Where the real system lost something on loading, ours must go on as if it had not.
    assert worst["live"] <= 2e-5
    if form == "h5" and "decay" in name:
        assert worst.get(f"resumed:{form}", 0) <= 2e-5


def difference(a, b):
    """Return what differs between two checkpoints; the format and the notes may."""
    for key in ("dialect", "rule", "iterations", "variables", "config", "loss_scale"):
        if getattr(a, key) != getattr(b, key):
            return key
    for one, other in ((a.slots, b.slots), ({"w": a.weights}, {"w": b.weights})):
        if list(one) != list(other):
            return f"{list(one)} {list(other)}"
    pairs = [(x, y) for k in a.slots for x, y in zip(a.slots[k], b.slots[k], strict=True)]
    pairs += [(a.weights[k], b.weights.get(k)) for k in a.weights]
    for x, y in pairs:
        if x is not None and (x.tobytes(), x.dtype, x.shape) != (y.tobytes(), y.dtype, y.shape):
            return "arrays"
    return None


TARGETS = ("a.h5", "a.keras", "a.weights.h5", "a.weights.json", "kdir")
NEW = ("keras-3", "tf-keras-2.11")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", HELD)
def test_round_trip_through_every_format_that_can_hold_it(name, target, loaded, tmp_path):
    found = loaded(name)
    if target != "a.h5" and found.dialect not in NEW:
        with pytest.raises(fastrms.CheckpointError, match="convert"):
            fastrms.save(tmp_path / target, found, format="kdir" if target == "kdir" else None)
    elif "weights" in target and len(found.config) > 1:
        with pytest.raises(fastrms.CheckpointError, match="the hyperparameters"):
            fastrms.save(tmp_path / target, found)
    else:
        fastrms.save(tmp_path / target, found, format="kdir" if target == "kdir" else None)
        again = fastrms.load(tmp_path / target)
        assert difference(found, again) is None
        assert again.writer == found.writer
        return
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [n for n in HELD if not n.endswith("json") and "legacy" not in n])
def test_a_template_keeps_its_model_and_gets_the_state(name, loaded, tmp_path):
    found = loaded(name)
    random = np.random.default_rng(1)
    slots = {
        k: [random.uniform(0.5, 1, a.shape).astype(a.dtype) for a in column]
        for k, column in found.slots.items()
    }
    if "gradient_accumulator" in slots:  # sums of gradients have signs, which tell them
        slots["gradient_accumulator"] = [-a for a in slots["gradient_accumulator"]]
    changed = dataclasses.replace(found, slots=slots, notes=[])
    path = tmp_path / ("b" + name[name.index(".") :])
    for _ in range(2):  # the second time over an older one
        fastrms.save(path, changed, template=samples.folder() / name)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    again = fastrms.load(path)
    assert difference(changed, again) is None
    assert again.format == found.format


@pytest.mark.parametrize("dialect", sorted({d for d, _ in WRITERS.values()}))
@pytest.mark.parametrize("name", [n for n in HELD if "dflt_mlp" in n or "decay" in n])
def test_the_cross_load_matrix_converts_and_comes_back_bit_equal(name, dialect, loaded):
    found = loaded(name)
    if "rho" not in found.config:
        return  # a .weights.h5 has no hyperparameters to convert
    there = found.convert(dialect)
    assert there.dialect == dialect
    back = there.convert(found.dialect)
    for slot, column in found.slots.items():
        for a, b in zip(column, back.slots[slot], strict=True):
            assert a.tobytes() == b.tobytes()
    same = {k: v for k, v in found.config.items() if k not in ("jit_compile", "name")}
    same.pop("is_legacy_optimizer", None)
    assert {k: back.config[k] for k in same} == same
    inside = ["epsilon_inside" in fastrms.DIALECTS[d].form.always for d in (dialect, found.dialect)]
    told = any("epsilon stands" in sentence for sentence in there.report)
    assert told == (inside[0] != inside[1])
