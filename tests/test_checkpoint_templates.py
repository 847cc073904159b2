"""State put into files of the real systems: in the right places, with all else of them kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

import fastrms
import samples

h5py = pytest.importorskip("h5py")


def marked(state, seed=1):
    """A state with other slots, each of its own values."""
    random = np.random.default_rng(seed)
    slots = {
        slot: [random.uniform(0.5, 1, a.shape).astype(a.dtype) for a in column]
        for slot, column in state.slots.items()
    }
    return dataclasses.replace(state, slots=slots)


def origins(found, state):
    """For each variable of a file, the name of the variable whose slot it got."""
    ours = {
        a.tobytes(): v.name for v, a in zip(state.variables, state.slots["velocity"], strict=True)
    }
    pairs = zip(found.variables, found.slots["velocity"], strict=True)
    return {v.name: ours[a.tobytes()] for v, a in pairs}


# ---- the order of variables ------------------------------------------------------------------

# Keras 1 sorts by name, so that beta stands before gamma: both have the same shape, and other
# systems call them otherwise.
SORTED = "k12-tf/bn_abc.h5"
LAYERS = ["a_W:0", "a_b:0", "b_gamma:0", "b_beta:0", "c_W:0", "c_b:0"]


@pytest.mark.parametrize("way", ["file", "optimizer"])
@pytest.mark.parametrize("template", ["k20-tf/bn.h5", "k23-tf/bn.h5", "k3-tf/bn.keras"])
@pytest.mark.filterwarnings("ignore:the model weights in")
def test_slots_of_keras_1_go_to_the_weights_they_belong_to(template, way, tmp_path):
    state = marked(fastrms.load(samples.folder() / SORTED))
    kept = samples.folder() / template
    there = fastrms.load(kept)
    given = state if way == "file" else state.optimizer().checkpoint()
    target = tmp_path / f"a{kept.suffix}"
    fastrms.save(target, given.convert(there.dialect), template=kept)
    found = origins(fastrms.load(target), state)
    assert list(found.values()) == LAYERS
    assert list(found) == [v.name for v in there.variables]


@pytest.mark.parametrize("source", ["k20-tf/bn.h5", "k3-tf/bn.keras", "k12-tf/bn.h5"])
@pytest.mark.filterwarnings("ignore:the model weights in", "ignore:.*left out iterations")
def test_slots_go_back_to_keras_1_in_the_order_of_its_names(source, tmp_path):
    state = marked(fastrms.load(samples.folder() / source))
    kept = samples.folder() / SORTED
    fastrms.save(tmp_path / "a.h5", state.convert("keras-1"), template=kept, lossy=True)
    found = origins(fastrms.load(tmp_path / "a.h5"), state)
    names = [v.name for v in state.variables]
    if source.startswith("k12"):  # itself in the order of names: gamma is the last
        assert found == dict(zip(LAYERS, [*names[:2], *names[:3:-1], *names[2:4]], strict=True))
    else:
        assert [found[name] for name in LAYERS] == names


def test_a_conversion_puts_variables_in_the_order_of_the_other_system_and_back():
    state = fastrms.load(samples.folder() / SORTED)
    names = [v.name for v in state.variables]
    assert names == sorted(names) != LAYERS
    there = state.convert("keras-3")
    assert [v.name for v in there.variables] == LAYERS
    assert any("Keras 1 sorts them by name" in sentence for sentence in there.report)
    back = there.convert("torch").convert("keras-1")
    assert back.variables == state.variables
    pairs = zip(back.slots["velocity"], state.slots["velocity"], strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in pairs)
    weights = state.optimizer().trainable_variables
    assert [w.tobytes() for w in weights] == [state.weights[n].tobytes() for n in LAYERS]


def test_a_list_that_would_fit_in_two_orders_is_told_of():
    state = fastrms.load(samples.folder() / SORTED)
    arrays = {v.name: np.ones(v.shape, v.dtype) for v in state.variables}
    with pytest.warns(fastrms.PortingWarning, match=r"in the file's order.*'b_beta:0', 'b_gamma"):
        state.optimizer(list(arrays.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state.optimizer(arrays)
        fastrms.load(samples.folder() / "k20-tf/bn.h5").optimizer(list(arrays.values()))


def test_two_variables_of_one_shape_are_never_guessed_apart(tmp_path):
    """A tf.train.Saver keeps no order of the layers, and Keras's names are others."""
    state = fastrms.load(samples.folder() / "k20-tf/bn.h5")
    names = [f"v{i}" for i in range(len(state.variables))]
    arrays = [np.ones(v.shape, v.dtype) for v in state.variables]
    native = fastrms.RMSprop(dialect="tf-train", learning_rate=0.01)
    native.build(dict(zip(names, arrays, strict=True)))
    with pytest.warns(fastrms.PortingWarning, match="left out the hyperparameters"):
        fastrms.save(tmp_path / "saver.ckpt", native, lossy=True)
    saver = fastrms.load(tmp_path / "saver.ckpt")
    kept = samples.folder() / "k20-tf/bn.h5"
    with pytest.raises(fastrms.CheckpointError, match="of those of one shape nobody can tell"):
        fastrms.save(tmp_path / "a.h5", saver.convert("keras-2.0", lossy=True), template=kept)
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.filterwarnings("ignore:the model weights in")
def test_a_tensorflow_template_is_filled_by_names_and_only_in_its_own_dialect(tmp_path):
    kept = samples.folder() / "tf210/dflt_mlp.ckpt"
    state = marked(fastrms.load(kept))
    order = [2, 0, 3, 1]
    mixed = dataclasses.replace(
        state,
        variables=[state.variables[i] for i in order],
        slots={k: [column[i] for i in order] for k, column in state.slots.items()},
    )
    fastrms.save(tmp_path / "a.ckpt", mixed, template=kept)
    found = origins(fastrms.load(tmp_path / "a.ckpt"), state)
    assert all(name == origin for name, origin in found.items())
    with pytest.raises(fastrms.CheckpointError, match=r"convert\('tf-keras-v2'\) first"):
        fastrms.save(tmp_path / "b.ckpt", state.convert("keras-3"), template=kept, lossy=True)


# ---- what the target must have ---------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_without_a_counter_goes_to_keras_3_which_begins_one(suffix, tmp_path):
    """Keras 2.2 keeps no iterations; without any, Keras 3 would take the learning rate for them."""
    state = fastrms.load(samples.folder() / "k22-tf/dflt_mlp.h5")
    assert state.iterations is None
    kept = samples.folder() / f"k3-tf/dflt_mlp.{suffix}"
    with pytest.warns(fastrms.PortingWarning, match="the model weights in"):
        fastrms.save(tmp_path / "a", state.convert("keras-3"), template=kept)
    found = fastrms.load(tmp_path / "a")
    assert found.iterations == 0
    assert found.config["learning_rate"] == pytest.approx(state.config["lr"])
    assert [a.tobytes() for a in found.slots["velocity"]] == [
        a.tobytes() for a in state.slots["velocity"]
    ]
    fastrms.save(tmp_path / f"b.{suffix}", state.convert("keras-3"))
    assert fastrms.load(tmp_path / f"b.{suffix}").iterations is None  # kept apart in files of ours


# ---- what of a template is kept --------------------------------------------------------------


@pytest.mark.parametrize("system", ["k3-tf", "k3-torch"])
def test_shards_keep_their_model_and_get_the_state(system, tmp_path):
    """Written so and resumed from by Keras 3.15.1: slots equal, v becomes 0.9 v."""
    kept = samples.folder() / f"{system}/mom_mlp.sharded.weights.json"
    state, path = marked(fastrms.load(kept)), tmp_path / "a.weights.json"
    for _ in range(2):
        fastrms.save(path, state, template=kept)
        found = fastrms.load(path)
        assert origins(found, state) == {v.name: v.name for v in state.variables}
        assert list(found.weights) == list(state.weights)
        assert all(np.array_equal(found.weights[n], a) for n, a in state.weights.items())
    assert len(list(tmp_path.iterdir())) == 2
    fastrms.save(path, marked(found, 2), template=path)  # into itself
    assert origins(fastrms.load(path), marked(found, 2)).keys() == origins(found, state).keys()
    groups = json.loads(path.read_text())["weight_map"]
    assert {"/layers/dense/vars", "/layers/dense_1/vars", "/optimizer/vars"} == set(groups)


def test_a_folder_with_shards_and_assets_is_a_template(tmp_path):
    source = samples.folder() / "k3-tf"
    kept = tmp_path / "kept"
    shutil.copytree(source / "mom_mlp.kdir", kept)
    (kept / "model.weights.h5").unlink()
    text = (source / "mom_mlp.sharded.weights.json").read_text()
    (kept / "model.weights.json").write_text(text.replace("mom_mlp.sharded_", "model_"))
    for i in range(2):
        shutil.copy(
            source / f"mom_mlp.sharded_0000{i}.weights.h5", kept / f"model_0000{i}.weights.h5"
        )
    (kept / "assets").mkdir()
    (kept / "assets" / "words.txt").write_text("vocabulary")
    state = marked(fastrms.load(kept))
    fastrms.save(tmp_path / "new", state, template=kept)
    found = fastrms.load(tmp_path / "new")
    assert origins(found, state) == {v.name: v.name for v in state.variables}
    assert (tmp_path / "new" / "assets" / "words.txt").read_text() == "vocabulary"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        *("assets", "config.json", "metadata.json", "model.weights.h5"),
    ]


def test_the_assets_of_a_zipped_template_are_kept(tmp_path):
    kept = tmp_path / "kept.keras"
    shutil.copy(samples.folder() / "k3-tf/dflt_mlp.keras", kept)
    with zipfile.ZipFile(kept, "a") as archive:
        archive.writestr("assets/words.txt", "vocabulary")
    state = marked(fastrms.load(kept))
    fastrms.save(tmp_path / "new.keras", state, template=kept)
    with zipfile.ZipFile(tmp_path / "new.keras") as archive:
        assert archive.read("assets/words.txt") == b"vocabulary"
        assert len(archive.namelist()) == 4
    assert origins(fastrms.load(tmp_path / "new.keras"), state)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_template_is_copied_in_parts(suffix, tmp_path):
    """Beside the model's arrays, which are compared, no second copy of the file is made."""
    kept, size = tmp_path / f"kept.{suffix}", 32 << 20
    weights = {"w": np.zeros(size // 8, "f4"), "v": np.zeros(size // 8, "f4")}
    optimizer = fastrms.RMSprop()
    optimizer.build(weights)
    fastrms.save(kept, optimizer)
    state = fastrms.load(kept)
    tracemalloc.start()
    fastrms.save(tmp_path / f"new.{suffix}", state, template=kept)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * size * 2
