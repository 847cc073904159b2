"""Damaged samples and random structures: nothing but CheckpointError comes out."""

from __future__ import annotations

import contextlib
import json
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastrms
import samples
from damage import damaged
from fastrms.checkpoint import isolation

h5py = pytest.importorskip("h5py")
NAMES = [
    n for n in samples.names() if re.search(r"/(dflt|lso|cmom)\w+(\.weights)?\.(h5|keras)$", n)
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(isolation, "SECONDS", 2.0)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_samples_are_read_or_refused(name, tmp_path):
    source = random.Random(name)
    data = (samples.folder() / name).read_bytes()
    for _ in range(12):
        path = tmp_path / "a"
        path.write_bytes(damaged(data, source))
        caught = None
        try:
            found = fastrms.load(path)
        except fastrms.CheckpointError as error:
            caught = error
        assert str(path) in str(caught) if caught else found.format in ("h5", "weights.h5", "keras")


TEXTS = st.text("abz/.:0_ \0é", max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ARRAYS = st.sampled_from(
    [np.float32(1), np.int64(5), np.ones(4, "f4"), np.ones((3, 4), "f8"), np.zeros(0), b"text"]
)


@settings(max_examples=60)
@given(
    st.lists(TEXTS, max_size=5),
    st.dictionaries(st.sampled_from(["a", "a/b", "c", "RMSprop/iter:0"]), ARRAYS, max_size=4),
    JSON,
    st.sampled_from(["1.2.2", "2.2.4", "2.3.1", "2.10.0", "2.12.0", "3.15.1", "9", ""]),
)
def test_any_structure_of_groups_names_and_configs_is_read_or_refused(
    names, arrays, config, version
):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("optimizer_weights")
            for name, array in arrays.items():
                if name not in group and not (name == "a/b" and "a" in group):
                    group[name] = array
            encoded = [n.encode() for n in [*names, *arrays] if "\0" not in n]
            group.attrs["weight_names"] = np.array(encoded or [b"x"])
            file.attrs["keras_version"] = version
            training = {"optimizer_config": {"class_name": "RMSprop", "config": config}}
            file.attrs["training_config"] = json.dumps(training)
        try:
            found = fastrms.load(path, trusted=True)
        except fastrms.CheckpointError:
            return
    try:
        found.optimizer()
    except fastrms.CheckpointError:
        pass
    else:
        assert found.slots == {} or found.variables


@settings(max_examples=40)
@given(JSON, JSON)
def test_any_config_in_a_zip_is_read_or_refused(optimizer, layers):
    import io
    import tempfile
    import zipfile
    from pathlib import Path

    with zipfile.ZipFile(samples.folder() / "k3-tf/dflt_mlp.keras") as archive:
        weights = archive.read("model.weights.h5")
    config = {"compile_config": {"optimizer": optimizer}, "config": {"layers": layers}}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.keras"
        path.write_bytes(data.getvalue())
        with contextlib.suppress(fastrms.CheckpointError):
            assert fastrms.load(path, trusted=True).slots
