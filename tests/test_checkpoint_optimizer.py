"""Optimizers and checkpoints: matching, all or nothing, conversion, what formats cannot hold."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastrms
import samples
from fastrms import schedules
from fastrms.checkpoint.brain import narrowed, widened
from fastrms.checkpoint.document import Checkpoint, Variable, Writer

h5py = pytest.importorskip("h5py")
CheckpointError = fastrms.CheckpointError


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """No kernels are compiled here."""
    from numba import config

    monkeypatch.setattr(config, "DISABLE_JIT", 1)


def trained(steps=3, dtype="float32", **arguments):
    """An optimizer after some steps, with its variables by name."""
    random = np.random.default_rng(7)
    variables = {
        "a/kernel": random.normal(size=(3, 4)).astype(dtype),
        "a/bias": random.normal(size=4).astype(dtype),
        "b/kernel": random.normal(size=(4, 2)).astype(dtype),
        "b/bias": random.normal(size=2).astype(dtype),
    }
    optimizer = fastrms.RMSprop(**arguments)
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply({k: random.normal(size=v.shape) for k, v in variables.items()})
    return optimizer, variables


def state_of(optimizer):
    """Everything of an optimizer that a failed load must leave alone."""
    arrays = [a.tobytes() for a in optimizer.get_weights()]
    variables = [a.tobytes() for a in optimizer.trainable_variables] if optimizer.built else []
    return arrays, variables, optimizer.iterations, vars(optimizer.settings)


def step(optimizer, variables):
    random = np.random.default_rng(3)
    optimizer.apply({k: random.normal(size=v.shape) for k, v in variables.items()})


KINDS = {
    "plain": {},
    "all": {
        "momentum": 0.9,
        "centered": True,
        "use_ema": True,
        "gradient_accumulation_steps": 2,
        "weight_decay": 0.01,
    },
    "schedule": {"learning_rate": schedules.ExponentialDecay(0.1, 2, 0.5)},
    "keras-1 decay": {"dialect": "keras-1", "decay": 0.1},
    "keras-2.3 decay": {"dialect": "keras-2.3", "decay": 0.1, "clipnorm": 1.0},
    "tf-keras-v2": {"dialect": "tf-keras-v2", "momentum": 0.5, "centered": True},
    "tf-keras-2.11": {"dialect": "tf-keras-2.11", "use_ema": True, "momentum": 0.5},
    "tf-keras-2.10-experimental": {"dialect": "tf-keras-2.10-experimental", "momentum": 0.5},
    "keras-2.2": {"dialect": "keras-2.2"},
    "float64": {"dtype": "float64", "momentum": 0.5},
    "float16": {"dtype": "float16", "learning_rate": 0.01, "epsilon": 1e-3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_goes_on_from_its_file_as_if_it_had_not_stopped(kind, tmp_path):
    optimizer, variables = trained(**KINDS[kind])
    path = tmp_path / "run.h5"
    lossy = "iterations" not in optimizer._core.row.weights.order
    if lossy:
        with pytest.warns(fastrms.PortingWarning, match="iterations=3"):
            fastrms.save(path, optimizer, lossy=True)
    else:
        fastrms.save(path, optimizer)
    other = {k: v.copy() for k, v in variables.items()}
    resumed = fastrms.load(path).optimizer(other)
    if lossy:
        resumed.iterations = optimizer.iterations
    step(optimizer, variables)
    step(resumed, other)
    assert state_of(resumed)[:3] == state_of(optimizer)[:3]


@pytest.mark.parametrize("dialect", ["torch", "optax", "tf-train"])
def test_dialects_without_files_of_keras_are_sent_to_convert(dialect, tmp_path):
    optimizer, variables = trained(dialect=dialect, learning_rate=0.1)
    with pytest.raises(CheckpointError, match=r"convert\(dialect\)"):
        fastrms.save(tmp_path / "run.h5", optimizer)
    state = optimizer.checkpoint()
    resumed = state.optimizer({k: v.copy() for k, v in variables.items()})
    assert state_of(resumed)[0] == state_of(optimizer)[0]


def test_by_default_the_files_own_weights_are_trained_as_copies(tmp_path):
    optimizer, variables = trained()
    state = optimizer.checkpoint()
    resumed = state.optimizer()
    step(optimizer, variables)
    resumed.apply([np.random.default_rng(3).normal(size=(3, 4)), None, None, None])
    assert resumed.trainable_variables[0].tobytes() == variables["a/kernel"].tobytes()
    assert state.weights["a/kernel"].tobytes() != variables["a/kernel"].tobytes()
    with pytest.raises(fastrms.StateError, match="no variables yet"):
        _ = fastrms.RMSprop().trainable_variables


# ---- matching --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a/kernel", "a/bias", "b/kernel", "b/bias"], "the same order"),
        (["b/bias", "a/kernel", "b/kernel", "a/bias"], "another order"),
        (["b/bias:0", "a/kernel:0"], "a part, as TensorFlow spells it"),
    ],
)
def test_names_are_matched_not_places(names, why):
    optimizer, variables = trained()
    state = optimizer.checkpoint()
    chosen = {n: variables[n.partition(":")[0]].copy() for n in names}
    resumed = state.optimizer(chosen)
    for i, name in enumerate(names):
        index = list(variables).index(name.partition(":")[0])
        ours = resumed.checkpoint().slots["velocity"][i]
        assert ours.tobytes() == state.slots["velocity"][index].tobytes()


def test_the_end_of_a_path_is_a_name_if_it_is_the_only_one():
    found = fastrms.load(samples.folder() / "k3-tf/dflt_mlp.h5")
    arrays = {v.name.partition("/")[2]: found.weights[v.name].copy() for v in found.variables}
    assert found.optimizer(arrays).iterations == 5
    with pytest.raises(CheckpointError, match="not one alone"):
        found.optimizer({"kernel": np.ones((3, 4), "f4")})


WRONG = {
    "too few": [(3, 4), (4,)],
    "a wrong shape": [(3, 4), (4,), (2, 4), (2,)],
    "another order": [(4,), (3, 4), (4, 2), (2,)],
}


@pytest.mark.parametrize("kind", WRONG)
def test_lists_must_have_the_files_shapes_in_its_order(kind):
    optimizer, _ = trained()
    with pytest.raises(CheckpointError, match=r"expected|the same variables"):
        optimizer.checkpoint().optimizer([np.ones(s, "f4") for s in WRONG[kind]])


def test_unknown_names_are_told_beside_the_known_ones():
    optimizer, variables = trained()
    given = {**{k: v.copy() for k, v in list(variables.items())[:3]}, "c": np.ones(2, "f4")}
    with pytest.raises(CheckpointError, match=r"\['c'\].*'a/kernel'"):
        optimizer.checkpoint().optimizer(given)


def test_slots_of_a_wider_dtype_are_not_rounded_away():
    optimizer, variables = trained(dtype="float64")
    narrow = {k: v.astype("f4") for k, v in variables.items()}
    with pytest.raises(CheckpointError, match="would be rounded to float32"):
        optimizer.checkpoint().optimizer(narrow)
    assert optimizer.checkpoint().convert("keras-3").optimizer(variables).built


# ---- load into an optimizer ------------------------------------------------------------------


def test_load_restores_slots_counter_and_keras_3s_rate_but_not_the_variables(tmp_path):
    optimizer, variables = trained(learning_rate=0.5, momentum=0.9)
    fastrms.save(tmp_path / "a.keras", optimizer)
    fresh = {k: np.zeros_like(v) for k, v in variables.items()}
    other = fastrms.RMSprop(learning_rate=0.1, momentum=0.9)
    other.load(tmp_path / "a.keras", fresh)
    assert other.learning_rate == 0.5
    assert state_of(other)[0] == state_of(optimizer)[0]
    assert not any(v.any() for v in fresh.values())


def test_load_into_a_built_optimizer_finds_its_variables_by_name(tmp_path):
    optimizer, variables = trained()
    fastrms.save(tmp_path / "a.h5", optimizer)
    other = fastrms.RMSprop()
    mixed = {k: variables[k].copy() for k in sorted(variables, reverse=True)}
    other.build(mixed)
    other.load(tmp_path / "a.h5")
    order = [list(variables).index(k) for k in mixed]
    theirs = optimizer.checkpoint().slots["velocity"]
    for ours, index in zip(other.checkpoint().slots["velocity"], order, strict=True):
        assert ours.tobytes() == theirs[index].tobytes()


def test_a_part_is_loaded_by_an_explicit_mapping_and_the_rest_stays(tmp_path):
    optimizer, variables = trained()
    fastrms.save(tmp_path / "a.h5", optimizer)
    kept, new = variables["a/kernel"].copy(), np.ones((4, 7), "f4")
    other = fastrms.RMSprop()
    other.build([kept, new])
    other.load(tmp_path / "a.h5", {"a/kernel": kept})
    slots = other.checkpoint().slots["velocity"]
    assert slots[0].tobytes() == optimizer.checkpoint().slots["velocity"][0].tobytes()
    assert not slots[1].any()


def test_load_converts_where_that_is_exact_and_warns_of_other_hyperparameters(tmp_path):
    optimizer, variables = trained(dialect="keras-2.3", learning_rate=0.01)
    fastrms.save(tmp_path / "a.h5", optimizer)
    other = fastrms.RMSprop(learning_rate=0.01, rho=0.5)
    with pytest.warns(fastrms.PortingWarning, match=r"rho=0\.5 \(the file has 0\.8999"):
        other.load(tmp_path / "a.h5", {k: v.copy() for k, v in variables.items()})
    assert other.iterations == 3


FAILING = {
    "another model": lambda d: {**d, "weights": {}, "variables": d["variables"][:2]},
    "other slots": lambda d: {**d, "slots": {**d["slots"], "momentum": d["slots"]["velocity"]}},
    "NaN": lambda d: {**d, "slots": {"velocity": [a * np.nan for a in d["slots"]["velocity"]]}},
    "wider": lambda d: {
        **d,
        "slots": {"velocity": [a.astype("f8") / 3 for a in d["slots"]["velocity"]]},
    },
}


@pytest.mark.parametrize("built", [False, True], ids=["unbuilt", "built"])
@pytest.mark.parametrize("kind", FAILING)
def test_a_failed_load_changes_nothing(kind, built, tmp_path):
    optimizer, variables = trained()
    state = optimizer.checkpoint()
    fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    fields = FAILING[kind](fields)
    count = len(fields["variables"])
    fields["slots"] = {k: v[:count] for k, v in fields["slots"].items()}
    fastrms.save(tmp_path / "a.h5", Checkpoint(**{**fields, "notes": []}))
    other = trained(steps=1)[0] if built else fastrms.RMSprop()
    before = state_of(other)
    arrays = other.trainable_variables if built else [v.copy() for v in variables.values()]
    with pytest.raises(CheckpointError):
        other.load(tmp_path / "a.h5", arrays)
    assert state_of(other) == before
    assert other.built == built


def test_load_needs_variables_and_only_its_own(tmp_path):
    optimizer, variables = trained()
    fastrms.save(tmp_path / "a.h5", optimizer)
    with pytest.raises(CheckpointError, match="pass variables"):
        fastrms.RMSprop().load(tmp_path / "a.h5")
    with pytest.raises(CheckpointError, match="not a variable of this optimizer"):
        optimizer.load(tmp_path / "a.h5", [v.copy() for v in variables.values()])


# ---- what files cannot hold ------------------------------------------------------------------


def test_what_a_format_cannot_hold_is_named_and_left_out_only_on_demand(tmp_path):
    optimizer, _ = trained(dialect="keras-2.2")
    with pytest.raises(CheckpointError, match=r"iterations=3: the \.h5 of keras-2\.2"):
        fastrms.save(tmp_path / "a.h5", optimizer)
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(fastrms.PortingWarning, match="left out iterations=3"):
        fastrms.save(tmp_path / "a.h5", optimizer, lossy=True)
    assert fastrms.load(tmp_path / "a.h5").iterations is None


def test_a_loss_scale_is_kept_where_there_is_a_place_for_it(tmp_path):
    state = fastrms.load(samples.folder() / "k3-tf/lso_mlp.keras")
    assert state.loss_scale == {
        "growth_steps": 2000,
        "initial_scale": 1024.0,
        "counter": 4,
        "scale": 1024.0,
    }
    fastrms.save(tmp_path / "a.keras", state)
    assert fastrms.load(tmp_path / "a.keras").loss_scale == state.loss_scale
    with pytest.raises(CheckpointError, match="the loss scale"):
        fastrms.save(tmp_path / "a.h5", state.convert("tf-keras-2.11"))


def test_the_suffix_or_the_format_tells_what_to_write(tmp_path):
    optimizer, _ = trained()
    fastrms.save(tmp_path / "a.bin", optimizer, format="keras")
    assert fastrms.load(tmp_path / "a.bin").format == "keras"
    with pytest.raises(CheckpointError, match="does not tell the format"):
        fastrms.save(tmp_path / "b.bin", optimizer)
    with pytest.raises(CheckpointError, match="unknown format 'x'"):
        fastrms.save(tmp_path / "b.bin", optimizer, format="x")
    with pytest.raises(CheckpointError, match="cannot be saved"):
        fastrms.save(tmp_path / "b.h5", {"a": 1})
    with pytest.raises(CheckpointError, match="no such file"):
        fastrms.load(tmp_path / "b.h5")


def test_a_template_of_another_model_or_dialect_is_refused(tmp_path):
    state = fastrms.load(samples.folder() / "k22-tf/dflt_mlp.h5")
    template = samples.folder() / "k22-tf" / "dflt_mlp.h5"
    other = fastrms.load(samples.folder() / "k20-tf/bn.h5").convert("keras-2.2")
    with pytest.raises(CheckpointError, match="the same model"):
        fastrms.save(tmp_path / "a.h5", other, template=template)
    with pytest.raises(CheckpointError, match=r"convert\('keras-2\.2'\)"):
        fastrms.save(tmp_path / "a.h5", state.convert("keras-3"), template=template)
    assert list(tmp_path.iterdir()) == []


def test_attributes_are_written_as_bytes_never_as_text(tmp_path):
    """Keras up to TF 1.15 calls .decode() on them."""
    fastrms.save(tmp_path / "a.h5", trained(dialect="keras-2.3")[0])
    with h5py.File(tmp_path / "a.h5") as file:
        found = []
        file.visititems(lambda _, item: found.extend(item.attrs.get_id(n) for n in item.attrs))
        found += [file.attrs.get_id(name) for name in file.attrs]
        kinds = {a.get_type().get_cset() for a in found if hasattr(a.get_type(), "get_cset")}
    assert kinds == {h5py.h5t.CSET_ASCII}


def test_long_lists_of_names_are_split_as_keras_splits_them(tmp_path):
    variables = {f"{'n' * 300}{i}": np.ones(1, "f4") for i in range(600)}
    optimizer = fastrms.RMSprop(dialect="tf-keras-v2")
    optimizer.build(variables)
    fastrms.save(tmp_path / "a.h5", optimizer)
    with h5py.File(tmp_path / "a.h5") as file:
        names = [n for n in file["optimizer_weights"].attrs if n.startswith("weight_names")]
    assert len(names) > 2
    assert len(fastrms.load(tmp_path / "a.h5").slots["velocity"]) == 600


# ---- bfloat16 --------------------------------------------------------------------------------


def brain_checkpoint():
    bits = np.arange(12, dtype="<u2").reshape(3, 4) * 997 % 0x7F00
    weights = {"w": widened(bits)}
    slots = {"velocity": [widened(bits + 1)]}
    return Checkpoint(
        dialect="keras-3",
        writer=Writer("Keras", "3.15.1"),
        format="keras",
        config=fastrms.RMSprop(name="rm_sprop").get_config(),
        iterations=5,
        variables=[Variable("w", (3, 4), "bfloat16")],
        slots=slots,
        weights=weights,
    )


@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_bfloat16_arrives_as_float32_and_is_written_back_exactly(name, tmp_path):
    state = brain_checkpoint()
    fastrms.save(tmp_path / name, state)
    found = fastrms.load(tmp_path / name)
    assert found.variables == [Variable("w", (3, 4), "bfloat16")]
    assert found.slots["velocity"][0].dtype == np.float32
    assert found.slots["velocity"][0].tobytes() == state.slots["velocity"][0].tobytes()
    optimizer = found.optimizer()
    optimizer.apply([np.full((3, 4), 0.1, "f4")])
    after = dataclasses.replace(optimizer.checkpoint(), variables=state.variables, notes=[])
    with pytest.raises(CheckpointError, match="bfloat16 cannot hold exactly"):
        fastrms.save(tmp_path / name, after)
    assert fastrms.load(tmp_path / name).iterations == 5  # the old file is whole


CONTAINERS = ("a.keras", "a.h5", "a.weights.h5", "a.weights.json", "kdir", "a.npz", "a.safetensors")


@pytest.mark.filterwarnings("ignore:.*left out the hyperparameters")
@pytest.mark.parametrize("name", [*CONTAINERS, "a.ckpt"])
def test_every_container_holds_bfloat16(name, tmp_path):
    state = brain_checkpoint()
    form = "kdir" if name == "kdir" else None
    fastrms.save(tmp_path / name, state, format=form, lossy=True)
    found = fastrms.load(tmp_path / name)
    assert [v.dtype for v in found.variables] == ["bfloat16"]
    assert found.slots["velocity"][0].tobytes() == state.slots["velocity"][0].tobytes()
    assert [a.tobytes() for a in found.weights.values()] == [state.weights["w"].tobytes()]


def test_keras_3s_h5_forgets_the_name_of_bfloat16(tmp_path):
    """Recorded with Keras 3.15.1: model.save('x.h5') writes two opaque bytes without any mark."""
    state = brain_checkpoint()
    fastrms.save(tmp_path / "a.h5", state)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.visititems(lambda _, item: item.attrs.pop("dtype", None) and None)
    found = fastrms.load(tmp_path / "a.h5")
    assert found.slots["velocity"][0].tobytes() == state.slots["velocity"][0].tobytes()
    assert any("two nameless bytes" in note for note in found.notes)


@given(st.lists(st.integers(0, 0xFFFF), max_size=20))
def test_every_bfloat16_survives_float32(bits):
    raw = np.array(bits, "<u2")
    assert narrowed(widened(raw), "it").tobytes() == raw.tobytes()


# ---- conversion ------------------------------------------------------------------------------


OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.5},
    "centered": {"centered": True},
    "both": {"momentum": 0.5, "centered": True},
    "average": {"use_ema": True},
    "accumulation": {"gradient_accumulation_steps": 2},
    "decay": {"decay": 0.1},
    "clipnorm": {"clipnorm": 1.0},
    "clipvalue": {"clipvalue": 0.5},
    "global clipnorm": {"global_clipnorm": 1.0},
    "weight decay": {"weight_decay": 0.01},
    "schedule": {"learning_rate": schedules.ExponentialDecay(0.1, 2, 0.5)},
}


def described(state):
    slots = {k: [a.tobytes() for a in column] for k, column in state.slots.items()}
    config = {k: v for k, v in state.config.items() if k != "name"}
    return state.variables, slots, list(slots), state.iterations, config


@pytest.mark.parametrize("start", fastrms.DIALECTS)
def test_what_converts_without_loss_comes_back_bit_equal_from_every_dialect(start):
    """Of all pairs of dialects and all options; a pair that is not exact asks for lossy=True."""
    known = {k for k, a in fastrms.DIALECTS[start].arguments.items() if a.effect == "used"}
    exact, refusals = 0, []
    options = [option for option in OPTIONS.values() if option.keys() <= known]
    if fastrms.DIALECTS[start].schedules is None:
        options.remove(OPTIONS["schedule"])
    for option in options:
        state = trained(dialect=start, **{"learning_rate": 0.1, **option})[0].checkpoint()
        for dialect in fastrms.DIALECTS:
            try:
                there = state.convert(dialect)
            except CheckpointError as error:
                refusals.append(str(error))
                continue
            assert described(there.convert(start)) == described(state), (option, dialect)
            if not there.notes or not any("negative" in note for note in there.notes):
                assert there.optimizer().dialect == dialect
            exact += 1
    assert exact > 5
    assert all("lossy=True" in refusal for refusal in refusals)


def test_a_momentum_slot_that_does_nothing_is_dropped_only_on_demand():
    """TF 1 fills it even with momentum=0; the way back would bring zeros."""
    state = trained(dialect="tf-train", learning_rate=0.1)[0].checkpoint()
    with pytest.raises(CheckpointError, match="with momentum=0, where it is idle"):
        state.convert("keras-3")
    assert list(state.convert("keras-3", lossy=True).slots) == ["velocity"]


LOST = {
    "momentum": ({"momentum": 0.9}, "keras-2.3", "slot 'momentum'"),
    "centered": ({"centered": True}, "keras-1", "slot 'average_gradient'"),
    "average": ({"use_ema": True}, "tf-keras-v2", "slot 'average'"),
    "accumulator": ({"gradient_accumulation_steps": 2}, "tf-keras-2.11", "accumulator"),
    "global clip": ({"global_clipnorm": 1.0}, "keras-2.2", "no global_clipnorm"),
    "weight decay": ({"weight_decay": 0.1}, "tf-keras-v2", "no weight_decay"),
    "schedule": (
        {"learning_rate": schedules.ExponentialDecay(0.1, 2, 0.5)},
        "keras-2.2",
        "no schedules",
    ),
}


@pytest.mark.parametrize("kind", LOST)
def test_what_a_dialect_cannot_hold_is_refused_and_dropped_only_on_demand(kind):
    arguments, dialect, reason = LOST[kind]
    state = trained(**arguments)[0].checkpoint()
    with pytest.raises(CheckpointError, match=reason):
        state.convert(dialect)
    found = state.convert(dialect, lossy=True)
    assert any("dropped" in sentence for sentence in found.report)
    assert found.optimizer().built


def test_a_momentum_without_the_rate_is_scaled_only_on_demand():
    state = trained(momentum=0.9, learning_rate=0.1)[0].checkpoint()
    with pytest.raises(CheckpointError, match="includes the learning rate"):
        state.convert("torch")
    found = state.convert("torch", lossy=True)
    ratio = found.slots["momentum"][0] * np.float32(0.1) / state.slots["momentum"][0]
    assert np.allclose(ratio, 1, atol=1e-6)
    assert any("which rounds" in sentence for sentence in found.report)


def test_decay_becomes_a_schedule_that_gives_the_same_rates():
    optimizer, variables = trained(dialect="keras-2.0", decay=0.1, learning_rate=0.1)
    found = optimizer.checkpoint().convert("keras-3")
    assert found.config["learning_rate"]["class_name"] == "InverseTimeDecay"
    resumed = found.optimizer({k: v.copy() for k, v in variables.items()})
    assert resumed.learning_rate == pytest.approx(0.1 / (1 + 0.1 * 3), rel=1e-6)
    assert found.convert("keras-2.0").config["decay"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("start", "arguments", "dialect", "sentence"),
    [
        ("keras-2.3", {}, "keras-3", "epsilon stands inside the square root"),
        ("keras-3", {}, "torch", "epsilon stands outside the square root"),
        ("keras-2.2", {"clipnorm": 1.0}, "keras-3", "clipnorm acts otherwise"),
        ("keras-2.0", {"decay": 0.1}, "keras-2.2", "decay reads the iterations elsewhere"),
        ("torch", {"weight_decay": 0.1}, "keras-3", "weight decay acts on the variable in one"),
        ("keras-3", {}, "tf-train", "a momentum slot of zeros was added"),
    ],
)
def test_the_report_tells_what_will_differ(start, arguments, dialect, sentence):
    state = trained(dialect=start, **arguments)[0].checkpoint()
    report = state.convert(dialect).report
    assert any(sentence in line and line.startswith(f"{start} to {dialect}: ") for line in report)


def test_another_optimizers_state_is_kept_but_not_carried_out(tmp_path):
    state = fastrms.load(samples.folder() / "k3-tf/adam_mlp.keras")
    assert (state.rule, list(state.slots)) == ("Adam", ["momentum", "velocity"])
    with pytest.raises(CheckpointError, match="Adam, for which there is no rule"):
        state.optimizer()
    with pytest.raises(CheckpointError, match="only RMSprop's can be converted"):
        state.convert("keras-2.3")


# ---- the document ----------------------------------------------------------------------------

FIELDS = ("dialect", "writer", "format", "config", "iterations", "variables", "slots")


def test_a_document_is_frozen_and_leaves_its_parts_to_the_caller():
    state, notes = brain_checkpoint(), ["mine"]
    odd = {"velocity": [np.full((3, 4), np.nan, "f4")]}
    found = dataclasses.replace(state, slots=odd, notes=notes)
    assert len(found.notes) == 2
    assert notes == ["mine"]
    fields = [field.name for field in dataclasses.fields(state)]
    assert fields == [*FIELDS, "loss_scale", "weights", "notes", "rule"]
    for name in fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(state, name, None)


IMPOSSIBLE = {
    "iterations below 0": {"iterations": -1},
    "half an iteration": {"iterations": 2.5},
    "iterations over 64 bits": {"iterations": 2**63},
    "unknown dialect": {"dialect": "keras-9"},
    "NaN in the config": {"config": {"rho": float("nan")}},
    "an object in the config": {"config": {"rho": object()}},
    "a name twice": {"variables": [Variable("w", (3, 4), "float32")] * 2},
    "a strange dtype": {"variables": [Variable("w", (3, 4), "int32")]},
    "a negative shape": {"variables": [Variable("w", (-3, 4), "float32")], "slots": {}},
    "another shape": {"slots": {"velocity": [np.ones(3, "f4")]}},
    "one array too many": {"slots": {"velocity": [np.ones((3, 4), "f4")] * 2}},
    "integers in a slot": {"slots": {"velocity": [np.ones((3, 4), "i4")]}},
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_a_document_that_cannot_be_is_refused(kind):
    state = brain_checkpoint()
    with pytest.raises(CheckpointError):
        dataclasses.replace(state, **IMPOSSIBLE[kind])


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=4),
    st.integers(0, 2**62),
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from(["keras-2.3", "tf-keras-v2", "tf-keras-2.11", "keras-3"]),
)
def test_any_model_survives_the_round_trip(shapes, iterations, dtype, dialect):
    import tempfile
    from pathlib import Path

    random = np.random.default_rng(iterations)
    optimizer = fastrms.RMSprop(dialect=dialect)
    optimizer.build([random.normal(size=s).astype(dtype) for s in shapes])
    optimizer.iterations = iterations
    state = optimizer.checkpoint()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        fastrms.save(path, state)
        found = fastrms.load(path, trusted=True)
    assert found.variables == state.variables
    assert found.iterations == iterations
    for a, b in zip(found.slots["velocity"], state.slots["velocity"], strict=True):
        assert (a.tobytes(), a.shape) == (b.tobytes(), b.shape)


def test_import_stays_cheap():
    code = (
        "import sys, fastrms\n"
        "assert not {'h5py', 'fastrms.checkpoint.document', 'fastrms.checkpoint.files'} "
        "& set(sys.modules)\n"
        "fastrms.load, fastrms.save, fastrms.Checkpoint\n"
        "assert 'h5py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_template_with_other_weights_is_told_of(suffix, tmp_path):
    template = samples.folder() / f"k3-tf/dflt_mlp.{suffix}"
    optimizer = fastrms.load(template).optimizer()
    optimizer.trainable_variables[0][...] = 7
    with pytest.warns(fastrms.PortingWarning, match="stay as they are: load the file"):
        fastrms.save(tmp_path / f"a.{suffix}", optimizer, template=template)
