"""TensorFlow, torch, NumPy and pickle samples: read whole, continued, and written back."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastrms
import samples
from fastrms.checkpoint import tensorflow
from fastrms.checkpoint.bundle import Bundle
from fastrms.checkpoint.graph import GRAPH_KEY
from test_checkpoint_samples import config_of, difference

FORMS = re.compile(r".*(\.ckpt\.index|\.savedmodel/.*\.index|v1fmt\.ckpt|\.pt|\.safetensors)$")
LISTS = re.compile(r".*optw.*\.(npz|pkl|npy)$")
NAMES = [n.removesuffix(".index") for n in samples.names() if FORMS.match(n)]
LISTED = [n for n in samples.names() if LISTS.match(n)]
TREES = [n for n in samples.names() if "statetree" in n or re.match(r"optax/.*npz", n)]
WITHOUT_STATE = re.compile(r"tfk113/.*wtf|(tf210|tf212legacy)/.*optonly|.*keras_torch_module")
HELD = [n for n in NAMES if not WITHOUT_STATE.match(n)]
ROLES = {
    "rms": "velocity",
    "momentum": "momentum",
    "mg": "average_gradient",
    "ema": "average",
    "trace": "momentum",
    "gacc": "gradient_accumulator",
}
DIALECTS = {
    "contrib13": "tf-contrib",
    **dict.fromkeys(("k12-tf", "k12-th"), "keras-1"),
    **dict.fromkeys(("k20-tf", "k20-th"), "keras-2.0"),
    **{"k22-tf": "keras-2.2", "k23-tf": "keras-2.3", "tfk113": "tf-keras-v1"},
    **dict.fromkeys(("tfk115", "tf210", "tf212legacy"), "tf-keras-v2"),
    **dict.fromkeys(("k3-tf", "k3-jax", "k3-torch"), "keras-3"),
    **dict.fromkeys(("tf13saver", "tf115saver"), "tf-train"),
    **{"tf212": "tf-keras-2.11", "torch": "torch", "optax": "optax"},
}


def base_of(name):
    """The configuration's name, as samples.expected takes it."""
    return name.split(".savedmodel")[0] + ".x"


def dialect_of(name):
    return DIALECTS[name.split("/")[0]]


def loaded(name, **given):
    alike = ("sess" in name or LISTS.match(name)) and not name.startswith(("k12", "contrib", "k23"))
    return fastrms.load(samples.folder() / name, **({"dialect": dialect_of(name)} if alike else {}))


def trained(expected):
    """Names, shapes and order of the true variables."""
    found = expected.meta["trainable"]
    names = [(v.get("path") or v["name"]).removesuffix(":0") for v in found]
    return names, [tuple(v["shape"]) for v in found]


def split(flat, shapes):
    cuts = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]
    parts = np.split(flat, cuts, axis=-1)
    return [p.reshape(*flat.shape[:-1], *s) for p, s in zip(parts, shapes, strict=True)]


def order_in(found, expected):
    """Which of the file's variables each true one is: by name, else by position."""
    names, _ = trained(expected)
    ours = [v.name for v in found.variables]
    return [ours.index(n) for n in names] if set(ours) == set(names) else list(range(len(ours)))


def assert_slots(found, expected):
    _, shapes = trained(expected)
    order = order_in(found, expected)
    true = {k[5:]: v for k, v in expected.arrays.items() if k.startswith("slot/")}
    assert set(found.slots) == {ROLES[role] for role in true}
    for role, flat in true.items():
        column = found.slots[ROLES[role]]
        for i, theirs in zip(order, split(flat, shapes), strict=True):
            assert column[i].dtype == theirs.dtype
            assert column[i].tobytes() == theirs.tobytes()


def test_the_archive_holds_every_kind():
    assert (len(NAMES), len(HELD), len(LISTED), len(TREES)) == (71, 66, 54, 6)


@pytest.mark.parametrize("name", HELD)
def test_everything_a_sample_holds_is_read_bit_for_bit(name):
    found, expected = loaded(name), samples.expected(base_of(name))
    assert found.dialect == dialect_of(name)
    assert_slots(found, expected)
    if found.variables[0].name in found.weights:
        shapes = trained(expected)[1]
        pairs = zip(order_in(found, expected), split(expected.arrays["param"], shapes), strict=True)
        for i, theirs in pairs:
            assert found.weights[found.variables[i].name].tobytes() == theirs.tobytes()
    true = expected.meta.get("iterations_live", None)
    if true is None:
        true = expected.meta.get("global_step", found.iterations)
    assert found.iterations == true
    if "lso" in name:
        assert (found.loss_scale["scale"], found.loss_scale["counter"]) == (1024.0, 4)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in HELD])
def test_samples_without_slots_say_so(name):
    found = fastrms.load(samples.folder() / name)
    assert found.slots == {}
    assert any(re.search("no (optimizer state|slots)", note) for note in found.notes)


@pytest.mark.parametrize("name", LISTED)
def test_lists_of_get_weights_are_read_bit_for_bit(name):
    found, expected = loaded(name), samples.expected(base_of(name))
    if re.match(r"k..-th/.*named", name) and len(found.variables) == 1:
        return  # Theano repeats names, so that this .npz keeps the last array only
    assert_slots(found, expected)
    counted = "iterations" in fastrms.DIALECTS[dialect_of(name)].weights.order
    assert found.iterations == (expected.meta["iterations_live"] if counted else None)


@pytest.mark.parametrize("name", TREES)
def test_state_trees_are_read_bit_for_bit(name):
    found, expected = fastrms.load(samples.folder() / name), samples.expected(base_of(name))
    assert found.dialect == dialect_of(name)
    flat = {k: v for k, v in expected.arrays.items() if k.startswith("slot/")}
    for key, value in flat.items():
        column = found.slots[ROLES[key.removeprefix("slot/")]]
        ours = {a.tobytes() for a in column}
        shapes = [tuple(v["shape"]) for v in expected.meta["trainable"]]
        assert ours == {a.tobytes() for a in split(value, shapes)}


# A torch file does not hold the scheduler that its run went on with.
CONTINUED = [n for n in HELD if "only" not in n and not n.startswith("torch/sched")]


@pytest.mark.parametrize("name", CONTINUED)
def test_three_continued_steps_match_the_real_system(name, monkeypatch):
    from numba import config

    monkeypatch.setattr(config, "DISABLE_JIT", 1)  # the reference engine: no kernels to compile
    found, expected = loaded(name), samples.expected(base_of(name))
    shapes = trained(expected)[1]
    order = order_in(found, expected)
    if "param_groups" in found.config:
        with pytest.raises(fastrms.CheckpointError, match="param_groups"):
            found.optimizer()
        return
    hyper = hyperparameters(found, expected)
    variables = [None] * len(order)
    for i, array in zip(order, split(expected.arrays["param"], shapes), strict=True):
        variables[i] = array.copy()
    offsets = expected.meta.get("decay_iteration_offset", {}).get("live", [0, 0, 0])
    row, worst = fastrms.DIALECTS[found.dialect], 0.0
    optimizer = None
    for step in range(3):
        if row.decay is not None and row.decay.reciprocal:
            hyper["decay_offset"] = offsets[step]
        state = found if optimizer is None else optimizer.checkpoint()
        given = hyper if optimizer is None else {"decay_offset": offsets[step]}
        if optimizer is None or (row.decay is not None and row.decay.reciprocal):
            count = state.iterations
            optimizer = state.optimizer(variables, **given)
            getattr(optimizer, "inner_optimizer", optimizer).iterations = count or 0
        recorded = split(expected.arrays["grad"], shapes)
        gradients = dict(zip(order, samples.gradients(recorded, optimizer, step), strict=True))
        optimizer.apply([gradients[i] for i in range(len(order))])
        for i, theirs in zip(order, split(expected.arrays["live/param"], shapes), strict=True):
            gap = np.abs(variables[i] - theirs[step]) / (np.abs(theirs[step]) + 1e-3)
            worst = max(worst, float(gap.max()))
    assert worst <= 2e-5


def hyperparameters(found, expected):
    """What the recorded configuration has and the file lacks."""
    if found.dialect == "torch":
        return {}  # the parameter groups hold all of them
    config = config_of(expected.meta)
    renamed = {"lr": "learning_rate", "alpha": "rho", "eps": "epsilon"}
    known = {renamed.get(k, k): v for k, v in config.items()}
    takes = fastrms.DIALECTS[found.dialect].arguments
    ours = {renamed.get(k, k) for k in found.config}
    lacking = {k: v for k, v in known.items() if k in takes and k not in ours and v is not None}
    return {k: v for k, v in lacking.items() if takes[k].effect == "used" and k != "name"}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", [*HELD, *LISTED, *TREES])
def test_round_trip_through_our_own_formats(name, suffix, tmp_path):
    found = loaded(name)
    fastrms.save(tmp_path / f"a{suffix}", found)
    again = fastrms.load(tmp_path / f"a{suffix}")
    assert difference(found, again) is None
    assert (again.notes, again.writer) == (found.notes, found.writer)


@pytest.mark.parametrize("name", [n for n in HELD if "ckpt" in n or "savedmodel" in n])
def test_round_trip_through_tensorflow_files(name, tmp_path):
    found = loaded(name)
    fastrms.save(tmp_path / "a.ckpt", found)
    again = fastrms.load(tmp_path / "a.ckpt", dialect=found.dialect)
    by_name = sorted(again.variables), sorted(found.variables)
    assert by_name[0] == by_name[1]
    order = [again.variables.index(v) for v in found.variables]
    assert again.iterations == found.iterations
    assert set(again.slots) == set(found.slots)
    for slot, column in found.slots.items():
        for k, array in zip(order, column, strict=True):
            assert again.slots[slot][k].tobytes() == array.tobytes()
    assert again.loss_scale == found.loss_scale
    numbers = {k: v for k, v in found.config.items() if k in ("learning_rate", "rho", "decay")}
    assert {k: again.config[k] for k in numbers} == numbers


@pytest.mark.parametrize("name", [n for n in HELD if "ckpt" in n and "v1fmt" not in n])
def test_a_template_keeps_its_model_and_gets_the_state(name, tmp_path):
    found = loaded(name)
    slots = {k: [a * 0.5 for a in column] for k, column in found.slots.items()}
    changed = dataclasses.replace(found, slots=slots, iterations=99, notes=[])
    fastrms.save(tmp_path / "a.ckpt", changed, template=samples.folder() / name)
    again = fastrms.load(tmp_path / "a.ckpt", dialect=found.dialect)
    assert again.iterations == 99
    assert difference(dataclasses.replace(again, notes=[]), changed) is None
    old, new = Bundle(samples.folder() / name), Bundle(tmp_path / "a.ckpt")
    assert set(old) == set(new)
    if GRAPH_KEY in old:
        assert old[GRAPH_KEY].item() == new[GRAPH_KEY].item()


def test_a_tensorflow_file_has_many_names(tmp_path):
    prefix = samples.folder() / "tf210/mom_mlp.ckpt"
    found = fastrms.load(prefix)
    for path in (f"{prefix}.index", prefix):
        assert difference(found, fastrms.load(path)) is None
    model = samples.folder() / "tf210/mom_mlp.savedmodel"
    assert fastrms.load(model).iterations == found.iterations


def test_variables_put_a_savers_slots_in_order():
    path = samples.folder() / "tf13saver/mom.ckpt"
    names, shapes = trained(samples.expected("tf13saver/mom.x"))
    given = dict(zip(names, (np.zeros(s, np.float32) for s in shapes), strict=True))
    found = fastrms.load(path, variables=given)
    assert [v.name for v in found.variables] == names
    assert names != sorted(names)
    with pytest.raises(fastrms.CheckpointError, match="shapes"):
        fastrms.load(path, variables=[np.zeros(1)])


def test_the_slots_of_two_native_optimizers_are_refused(tmp_path):
    path = samples.folder() / "tf13saver/cent.ckpt"
    file = tensorflow.opened(path)
    tensors = {name: (file.dtype(name), file[name]) for name in file}
    for name in list(tensors):
        if name.endswith("RMSProp_2"):
            tensors[name.replace("_2", "_3")] = tensors[name]
    tensorflow.write_bundle(tmp_path / "two.ckpt", tensors)
    with pytest.raises(fastrms.CheckpointError, match="do not tell which"):
        fastrms.load(tmp_path / "two.ckpt")


def test_a_mean_gradient_that_cannot_be_one_is_refused(tmp_path):
    file = tensorflow.opened(samples.folder() / "tf13saver/cent.ckpt")
    tensors = {name: (file.dtype(name), file[name]) for name in file}
    for name in tensors:
        if name.endswith("RMSProp_1"):
            tensors[name] = ("float32", tensors[name][1] + 100)
    tensorflow.write_bundle(tmp_path / "odd.ckpt", tensors)
    with pytest.raises(fastrms.CheckpointError, match="cannot be the mean gradient"):
        fastrms.load(tmp_path / "odd.ckpt")


def test_other_optimizers_of_tensorflow_keep_their_own_slots(tmp_path):
    weights = {"w": ("float32", np.ones(2, np.float32))}
    slots = {
        f"w/{n}": ("float32", np.full(2, i, np.float32)) for i, n in ((1, "Adam"), (2, "Adam_1"))
    }
    tensorflow.write_bundle(tmp_path / "adam.ckpt", {**weights, **slots})
    found = fastrms.load(tmp_path / "adam.ckpt")
    assert (found.rule, found.dialect, list(found.slots)) == ("Adam", None, ["m", "v"])
    with pytest.raises(fastrms.CheckpointError, match="Adam"):
        found.optimizer()
    fastrms.save(tmp_path / "adam.npz", found)
    assert difference(found, fastrms.load(tmp_path / "adam.npz")) is None


def test_reading_needs_neither_tensorflow_nor_torch_nor_safetensors():
    program = (
        "import sys; sys.modules.update(dict.fromkeys("
        "('tensorflow', 'torch', 'safetensors', 'h5py', 'ml_dtypes', 'pickle5')))\n"
        "import fastrms\n"
        "for path in sys.argv[1:]: fastrms.load(path)\n"
    )
    names = ("k3-tf/lso_mlp.ckpt", "torch/mom.pt", "torch/mom.safetensors", "optax/sched.npz")
    paths = [str(samples.folder() / name) for name in names]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, cwd=root
    )
    assert done.returncode == 0, done.stderr


def test_bfloat16_is_written_back_exactly(tmp_path):
    values = np.array([1.0, -2.5, 3e38], np.float32)
    values = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    found = dataclasses.replace(
        fastrms.load(samples.folder() / "k3-tf/dflt_mlp.ckpt"),
        variables=[fastrms.checkpoint.document.Variable("w", (3,), "bfloat16")],
        slots={"velocity": [np.abs(values)]},
        weights={"w": values},
    )
    for name in ("a.ckpt", "a.npz", "a.safetensors"):
        fastrms.save(tmp_path / name, found)
        again = fastrms.load(tmp_path / name)
        assert again.variables == found.variables
        assert again.slots["velocity"][0].tobytes() == np.abs(values).tobytes()
        assert again.weights["w"].tobytes() == values.tobytes()
    bad = dataclasses.replace(found, slots={"velocity": [np.full(3, 0.1, np.float32)]})
    for name in ("b.ckpt", "b.safetensors"):
        with pytest.raises(fastrms.CheckpointError, match="bfloat16"):
            fastrms.save(tmp_path / name, bad)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(("b", ".b"))]


def test_the_safetensors_library_reads_ours(tmp_path):
    library = pytest.importorskip("safetensors")
    found = fastrms.load(samples.folder() / "torch/mom.pt")
    fastrms.save(tmp_path / "a.safetensors", found)
    with library.safe_open(tmp_path / "a.safetensors", "np") as file:
        names = set(file.keys())
        groups = json.loads(file.metadata()["optimizer.param_groups"])
        assert file.get_tensor("optimizer.state.0.step") == found.iterations
        for i, array in enumerate(found.slots["momentum"]):
            ours = file.get_tensor(f"optimizer.state.{i}.momentum_buffer")
            assert ours.tobytes() == array.tobytes()
    assert len(names) == 4 + 4 * 3
    assert groups[0]["lr"] == found.config["learning_rate"]
    assert groups[0]["params"] == [0, 1, 2, 3]


def test_a_native_file_of_a_newer_format_is_refused(tmp_path, monkeypatch):
    from fastrms.checkpoint import native

    found = fastrms.load(samples.folder() / "torch/mom.pt")
    monkeypatch.setattr(native, "FORMAT", 2)
    fastrms.save(tmp_path / "a.npz", found)
    monkeypatch.undo()
    with pytest.raises(fastrms.CheckpointError, match="Install a newer fastrms"):
        fastrms.load(tmp_path / "a.npz")


def test_numpy_reads_our_npz_without_pickle(tmp_path):
    found = fastrms.load(samples.folder() / "tf210/mom_mlp.ckpt")
    fastrms.save(tmp_path / "a.npz", found)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        key = f"velocity/0/{found.variables[0].name}"
        assert arrays[key].tobytes() == found.slots["velocity"][0].tobytes()
        assert json.loads(arrays["fastrms"].tobytes())["dialect"] == "tf-keras-v2"


def test_a_moved_index_without_its_data_is_refused(tmp_path):
    shutil.copy(samples.folder() / "tf210/mom_mlp.ckpt.index", tmp_path / "a.ckpt.index")
    with pytest.raises(fastrms.CheckpointError, match="kept together"):
        fastrms.load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("name", ["new.ckpt", "old.ckpt"])
def test_a_partitioned_variable_is_put_together(name, tmp_path):
    """Written by TensorFlow 1.15.5: one variable in three parts, in both of its formats."""
    folder = samples.ARCHIVE.parent / "partitioned"
    found = fastrms.load(folder / name)
    with np.load(folder / "expected.npz") as arrays:
        true = {key.replace("|", "/"): arrays[key] for key in arrays}
    assert [(v.name, v.shape) for v in found.variables] == [("scope/w", (300, 1))]
    assert found.weights["scope/w"].tobytes() == true["scope/w"].tobytes()
    assert found.slots["velocity"][0].tobytes() == true["scope/w/RMSProp"].tobytes()
    assert found.slots["momentum"][0].tobytes() == true["scope/w/RMSProp_1"].tobytes()


@pytest.mark.parametrize("protocol", range(6))
def test_a_list_of_weights_in_any_protocol_is_read(protocol, tmp_path):
    weights = [np.array(7), np.array(0.5, np.float32), np.full((2, 3), 0.25), np.zeros(3)]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(weights, protocol))
    found = fastrms.load(tmp_path / "a.pkl", dialect="keras-3")
    assert (found.iterations, found.config["learning_rate"]) == (7, 0.5)
    assert [a.tobytes() for a in found.slots["velocity"]] == [a.tobytes() for a in weights[2:]]


def test_a_list_that_python_2_pickled_is_read(tmp_path):
    raw = np.array([0.5, 0.25], "<f4").tobytes().decode("latin-1").encode("unicode_escape")
    body = (
        b"(lp0\ncnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\n"
        b"p4\ntp5\nRp6\n(I1\n(I2\ntp7\ncnumpy\ndtype\np8\n(S'f4'\np9\nI0\nI1\ntp10\nRp11\n"
        b"(I3\nS'<'\np12\nNNNI-1\nI-1\nI0\ntp13\nbI00\nS'" + raw + b"'\np14\ntp15\nba."
    )
    (tmp_path / "a.pkl").write_bytes(body)
    found = fastrms.load(tmp_path / "a.pkl", dialect="keras-2.2")
    assert found.slots["velocity"][0].tolist() == [0.5, 0.25]


def test_a_tensorflow_file_refuses_hyperparameters_that_it_would_lose(tmp_path):
    optimizer = fastrms.RMSprop(0.1, epsilon=1e-3, clipnorm=1.0)
    optimizer.build({"w": np.ones(2, np.float32)})
    with pytest.raises(fastrms.CheckpointError, match=r"'clipnorm': 1\.0, .*'epsilon': 0\.001"):
        fastrms.save(tmp_path / "a.ckpt", optimizer)
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(fastrms.PortingWarning, match="the hyperparameters"):
        fastrms.save(tmp_path / "a.ckpt", optimizer, lossy=True)
    plain = fastrms.RMSprop(0.25)
    plain.build({"w": np.ones(2, np.float32)})
    fastrms.save(tmp_path / "b.ckpt", plain)
    assert fastrms.load(tmp_path / "b.ckpt").config["learning_rate"] == 0.25


def test_variables_given_with_tensorflows_suffix_mean_those_of_the_file():
    path = samples.folder() / "tfk115/decay_mlp.sess.ckpt"
    plain = fastrms.load(path)
    given = [v._replace(name=v.name.removesuffix(":0") + ":0") for v in plain.variables[::-1]]
    found = fastrms.load(path, variables=given)
    assert [v.name for v in found.variables] == [v.name for v in given]
    for a, b in zip(found.slots["velocity"], plain.slots["velocity"][::-1], strict=True):
        assert a.tobytes() == b.tobytes()


def test_an_optimizer_without_the_models_weights_goes_through_tensorflow(tmp_path):
    """`tf.train.Checkpoint(optimizer=...)` of 2.11 and later: slots, but no weights."""
    state = fastrms.load(samples.folder() / "tf212/dflt_mlp.optonly.ckpt")
    assert state.slots.keys() == {"velocity"}
    assert not state.weights
    for dialect in ("keras-3", "tf-keras-2.11", "tf-keras-v2"):
        given = state.convert(dialect)
        fastrms.save(tmp_path / "a.ckpt", given)
        again = fastrms.load(tmp_path / "a.ckpt")
        assert again.iterations == given.iterations == 5
        for a, b in zip(again.slots["velocity"], given.slots["velocity"], strict=True):
            assert (a.tobytes(), a.shape) == (b.tobytes(), b.shape)


def test_the_folder_of_a_saved_models_variables_is_read_and_others_are_explained(tmp_path):
    model = samples.folder() / "tf210/mom_mlp.savedmodel"
    assert difference(fastrms.load(model / "variables"), fastrms.load(model)) is None
    fastrms.save(tmp_path / "model.ckpt-3", fastrms.load(model), format="tensorflow", lossy=True)
    with pytest.raises(fastrms.CheckpointError, match=r"prefix of one .*: \['model\.ckpt-3'\]"):
        fastrms.load(tmp_path)
