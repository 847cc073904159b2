"""Nets keep their weights in HDF5 files of their generation, and read the real ones."""

import importlib

import numpy as np
import pytest

import fastrms
import samples
from fastrms import CheckpointError

h5py = pytest.importorskip("h5py")

# A file that the real system saved, of the net that `net` builds.
SAVED = {
    "keras1": "k12-tf/dflt_mlp.h5",
    "keras20": "k20-tf/dflt_mlp.h5",
    "keras22": "k22-tf/dflt_mlp.h5",
    "keras23": "k23-tf/dflt_mlp.h5",
    "tf_contrib": "contrib13/dflt_mlp.h5",
    "tf_keras_v1": "tfk113/dflt_mlp.h5",
}


def module(package, name):
    return importlib.import_module(f"fastrms.compat.{package}.{name}")


def net(package, *sizes):
    dense = module(package, "layers").Dense
    first, *rest = sizes or (4, 2)
    kept = [dense(first, input_dim=3), *(dense(size) for size in rest)]
    return module(package, "models").Sequential(kept)


def same(found, expected):
    return [a.tobytes() for a in found] == [a.tobytes() for a in expected]


@pytest.mark.parametrize("package", SAVED)
def test_a_net_takes_its_weights_back(package, tmp_path):
    model = net(package)
    kept = model.get_weights()
    model.save_weights(tmp_path / "w.h5")
    model.set_weights([np.zeros_like(w) for w in kept])
    model.load_weights(str(tmp_path / "w.h5"))
    assert same(model.get_weights(), kept)


@pytest.mark.parametrize(("package", "name"), SAVED.items(), ids=SAVED)
def test_a_net_takes_the_weights_that_the_real_system_saved(package, name):
    model, path = net(package), samples.folder() / name
    model.load_weights(path)
    assert same(model.get_weights(), list(fastrms.load(path).weights.values()))


def test_files_are_laid_out_as_keras_lays_them_out(tmp_path):
    inside, end = net("keras22"), module("keras22", "layers").Dense(2, name="end")
    inside.add(end)
    end.trainable = False
    inside.save_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as h5:
        assert h5.attrs["keras_version"] == b"2.2.4"
        assert h5.attrs["layer_names"].tolist() == [x.name.encode() for x in inside.layers]
        names = h5["end"].attrs["weight_names"].tolist()
        assert names == [b"end/kernel:0", b"end/bias:0"]
        assert h5["end"]["end/kernel:0"][()].tobytes() == end.get_weights()[0].tobytes()


@pytest.mark.parametrize(
    ("sizes", "options", "error", "message"),
    [
        (
            (4, 3),
            {},
            ValueError,
            r"has \[\(3, 4\), \(4,\), \(4, 3\), \(3,\)\].*Nothing was changed",
        ),
        ((4,), {}, ValueError, "Build the net that was saved"),
        ((4, 2), {"by_name": True}, ValueError, r"by_name=True; valid: False.*layer\.set_weights"),
    ],
    ids=["other shapes", "fewer layers", "by name"],
)
def test_other_nets_are_refused_unchanged(sizes, options, error, message, tmp_path):
    net("keras22").save_weights(tmp_path / "w.h5")
    other = net("keras22", *sizes)
    before = other.get_weights()
    with pytest.raises(error, match=message):
        other.load_weights(tmp_path / "w.h5", **options)
    assert same(other.get_weights(), before)


def test_files_in_the_way_or_missing_are_told(tmp_path):
    model, path = net("keras22"), tmp_path / "w.h5"
    with pytest.raises(CheckpointError, match=r"w\.h5"):
        model.load_weights(path)
    model.save_weights(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"overwrite=False.*Nothing was written"):
        model.save_weights(path, overwrite=False)
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    kept = model.get_weights()
    with pytest.raises(CheckpointError):
        model.load_weights(path)
    assert same(model.get_weights(), kept)
