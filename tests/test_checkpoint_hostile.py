"""Hostile and damaged Keras files: each a small builder, refused (or read, where legal) by name."""

from __future__ import annotations

import io
import json
import os
import resource
import stat
import struct
import time
import zipfile

import numpy as np
import pytest

import fastrms
import samples
from fastrms.checkpoint import isolation

h5py = pytest.importorskip("h5py")

SLOT = "training/RMSprop/Variable:0"  # the first slot of Keras 2.2's sample
GROUP = "optimizer_weights"


@pytest.fixture
def place(tmp_path):
    """A copy of Keras 2.2's file to damage, beside a secret that must never be read."""
    path = tmp_path / "run.h5"
    path.write_bytes((samples.folder() / "k22-tf/dflt_mlp.h5").read_bytes())
    (tmp_path / "secret").write_bytes(b"SECRETS!" * 64)
    return path


def on_h5(change):
    """Make a builder of a change to an open file."""

    def build(path):
        with h5py.File(path, "r+") as file:
            change(file, path.parent)

    return build


def replaced(value, name=SLOT, **options):
    """Put another dataset in a slot's place."""

    def change(file, folder):
        group = file[GROUP]
        del group[name]
        group.create_dataset(name, data=value, **options)

    return on_h5(change)


@on_h5
def external_storage(file, folder):
    group = file[GROUP]
    del group[SLOT]
    secret = str(folder / "secret")
    group.create_dataset(SLOT, (3, 4), "<f4", external=[(secret, 0, 48)])


@on_h5
def external_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((3, 4), "f4")
    del file[GROUP][SLOT]
    file[GROUP][SLOT] = h5py.ExternalLink("other.h5", "/x")


@on_h5
def soft_link(file, folder):
    del file[GROUP][SLOT]
    file[GROUP][SLOT] = h5py.SoftLink("/model_weights/dense_1/dense_1/kernel:0")


@on_h5
def hard_alias(file, folder):
    del file[GROUP][SLOT]
    file[GROUP][SLOT] = file["model_weights/dense_1/dense_1/kernel:0"]


@on_h5
def hard_cycle(file, folder):
    file[GROUP]["training/again"] = file[GROUP]


@on_h5
def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((3, 4), "f4")
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "x", (3, 4))
    del file[GROUP][SLOT]
    file[GROUP].create_virtual_dataset(SLOT, layout)


@on_h5
def four_tebibytes(file, folder):
    del file[GROUP][SLOT]
    file[GROUP].create_dataset(SLOT, (1 << 40,), "<f4")


@on_h5
def four_tebibytes_in_chunks(file, folder):
    del file[GROUP][SLOT]
    file[GROUP].create_dataset(SLOT, (1 << 40,), "<f4", chunks=(1 << 20,), compression="gzip")


@on_h5
def gzip_bomb(file, folder):
    del file[GROUP][SLOT]
    zeros = np.zeros(4 << 20, "<f4")
    file[GROUP].create_dataset(SLOT, data=zeros, chunks=(1 << 20,), compression="gzip")


@on_h5
def huge_chunk(file, folder):
    del file[GROUP][SLOT]
    options = {"chunks": (1 << 28,), "maxshape": (None,), "compression": "gzip"}
    file[GROUP].create_dataset(SLOT, (1,), "<f4", **options)


@on_h5
def group_for_dataset(file, folder):
    del file[GROUP][SLOT]
    file[GROUP].create_group(SLOT)


def names(*changed):
    """Write other names into weight_names."""

    def change(file, folder):
        old = [n.decode() for n in file[GROUP].attrs["weight_names"]]
        new = list(changed) + old[len(changed) :]
        file[GROUP].attrs["weight_names"] = np.array([n.encode() for n in new])

    return on_h5(change)


def attribute(where, name, value):
    """Write an attribute."""

    def change(file, folder):
        file[where].attrs.pop(name, None)
        if value is not None:
            file[where].attrs[name] = value

    return on_h5(change)


@on_h5
def chunk_gap(file, folder):
    old = file[GROUP].attrs.pop("weight_names")
    file[GROUP].attrs["weight_names0"] = old[:2]
    file[GROUP].attrs["weight_names2"] = old[2:]


@on_h5
def legal_chunks(file, folder):
    old = file[GROUP].attrs.pop("weight_names")
    file[GROUP].attrs["weight_names0"] = old[:2]
    file[GROUP].attrs["weight_names1"] = old[2:]


def config(**changed):
    """Change hyperparameters in training_config."""

    def change(file, folder):
        training = json.loads(file.attrs["training_config"])
        training["optimizer_config"]["config"].update(changed)
        file.attrs["training_config"] = np.bytes_(json.dumps(training).encode())

    return on_h5(change)


def in_k23(change):
    """Make a builder of a change to Keras 2.3's file, which has a counter."""

    def build(path):
        path.write_bytes((samples.folder() / "k23-tf/dflt_mlp.h5").read_bytes())
        on_h5(change)(path)

    return build


def counter(value):
    """Write another counter."""

    def change(file, folder):
        del file[GROUP]["RMSprop/iterations:0"]
        file[GROUP]["RMSprop/iterations:0"] = value

    return in_k23(change)


def cut(path):
    path.write_bytes(path.read_bytes()[:-2000])


def empty(path):
    path.write_bytes(b"")


def user_block(path):
    path.write_bytes(b"\0" * 512 + path.read_bytes())


def no_keras(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)


def unknown_filter(path):
    on_h5(lambda file, folder: file[GROUP].__delitem__(SLOT))(path)
    with h5py.File(path, "r+") as file:
        space, plist = h5py.h5s.create_simple((3, 4)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((3, 4))
        plist.set_filter(32004, h5py.h5z.FLAG_OPTIONAL, ())
        group = file[GROUP].require_group("training/RMSprop")
        h5py.h5d.create(group.id, b"Variable:0", h5py.h5t.NATIVE_FLOAT, space, plist)


def one_text_for_many(path):
    """Let 4,000 names of variable length all refer to one stored text of 9,000 letters."""
    with h5py.File(path, "w") as file:
        file.create_group("model_weights").attrs["layer_names"] = np.zeros(0)
        names = [b"x" * 9000, *(b"%d" % i for i in range(3999))]
        group, kind = file.create_group(GROUP), h5py.string_dtype("ascii")
        group.attrs.create("weight_names", names, dtype=kind)
    data, size = bytearray(path.read_bytes()), struct.pack("<I", 9000)
    first = data.index(size)
    while not data.startswith(b"GCOL", struct.unpack_from("<Q", data, first + 4)[0]):
        first = data.index(size, first + 1)
    data[first : first + 16 * 4000] = data[first : first + 16] * 4000
    path.write_bytes(data)


DEEP = "[" * 5000 + "]" * 5000
H5 = {
    "external raw storage": (external_storage, "external raw storage"),
    "external link": (external_link, "link \\(external\\)"),
    "soft link": (soft_link, "link \\(soft\\)"),
    "hard alias": (hard_alias, "alias or cycle"),
    "hard-link cycle": (hard_cycle, "alias or cycle"),
    "virtual dataset": (virtual, "virtual dataset"),
    "4 TiB, nothing stored": (four_tebibytes, "claims 4398046511104 bytes"),
    "4 TiB in chunks": (four_tebibytes_in_chunks, "claims"),
    "gzip bomb": (gzip_bomb, "claims 16777216 bytes"),
    "one huge chunk": (huge_chunk, "chunks of 1073741824 bytes"),
    "unknown filter": (unknown_filter, "filter 32004"),
    "strings": (replaced(np.array([b"a", b"b"])), "HDF5 class"),
    "variable-length strings": (replaced(["a", "b"], dtype=h5py.string_dtype()), "HDF5 class"),
    "compound": (replaced(np.zeros(3, "f4,i4")), "HDF5 class"),
    "complex": (replaced(np.zeros((3, 4), "c8")), "HDF5 class"),
    "references": (
        on_h5(
            lambda f, _: (
                f[GROUP].__delitem__(SLOT),
                f[GROUP].create_dataset(SLOT, (1,), dtype=h5py.ref_dtype),
            )
        ),
        "HDF5 class",
    ),
    "opaque": (replaced(np.zeros(4, "V2")), "opaque"),
    "group for dataset": (group_for_dataset, "is a group"),
    "wrong shape": (replaced(np.ones((4, 3), "f4")), "not those of the trained"),
    "integers": (replaced(np.ones((3, 4), "i4")), "dtype int32"),
    "name from the root": (names("/model_weights/dense_1"), "not a plain path"),
    "name with ..": (names("../model_weights/dense_1"), "not a plain path"),
    "name with .": (names("./training"), "not a plain path"),
    "empty name": (names(""), "not a plain path"),
    "name twice": (names(SLOT, SLOT), "twice"),
    "name of nothing": (names("training/nothing"), "not there"),
    "integer weight_names": (attribute(GROUP, "weight_names", np.arange(4)), "weight_names is"),
    "no weight_names": (attribute(GROUP, "weight_names", None), "no weight_names"),
    "not UTF-8": (
        attribute(GROUP, "weight_names", np.array([b"\xff\xfe"] * 4)),
        "not UTF-8",
    ),
    "a gap in the parts": (chunk_gap, "without a gap"),
    "one text for many names": (one_text_for_many, "more text than the file"),
    "bad JSON": (attribute("/", "training_config", "{oh"), "not valid JSON"),
    "JSON with a text that does not end": (
        attribute("/", "training_config", '{"' + '\\"' * 30_000),
        "not valid JSON",
    ),
    "deep JSON": (attribute("/", "training_config", DEEP), "nested 5000 levels"),
    "JSON key twice": (attribute("/", "training_config", '{"a": 1, "a": 2}'), "twice"),
    "JSON no object": (attribute("/", "training_config", "[]"), "not a JSON object"),
    "NaN hyperparameter": (config(rho=float("nan")), "finite"),
    "infinite hyperparameter": (config(lr=float("inf")), "finite"),
    "optimizer without class": (
        attribute("/", "training_config", '{"optimizer_config": {"config": {}}}'),
        "class_name",
    ),
    "optimizer that is a text": (
        attribute("/", "training_config", '{"optimizer_config": "x"}'),
        "class_name",
    ),
    "inner optimizer that is a number": (config(inner_optimizer=1.5), "class_name"),
    "momentum that is a text": (config(momentum="0.9"), "momentum is '0.9'"),
    "one slot missing": (
        on_h5(
            lambda f, _: f[GROUP].attrs.__setitem__(
                "weight_names", f[GROUP].attrs["weight_names"][:3]
            )
        ),
        "a slot is missing",
    ),
    "negative counter": (counter(np.int64(-1)), "counter"),
    "counter of shape (1,)": (counter(np.array([5])), "counter"),
    "counter of NaN": (counter(np.float32("nan")), "counter"),
    "counter of a half": (counter(np.float32(2.5)), "counter"),
    "cut off": (cut, "libhdf5 cannot read"),
    "no file of Keras": (no_keras, "none of Keras's"),
    "empty": (empty, "begin no known format"),
}


@pytest.mark.parametrize("kind", H5)
@pytest.mark.parametrize("trusted", [False, True], ids=["isolated", "trusted"])
def test_hostile_h5_is_refused_by_name(kind, trusted, place):
    build, reason = H5[kind]
    build(place)
    with pytest.raises(fastrms.CheckpointError, match=reason) as caught:
        fastrms.load(place, trusted=trusted)
    assert str(place) in str(caught.value)
    assert "SECRETS" not in str(caught.value)


HUGE = ("4 TiB, nothing stored", "4 TiB in chunks", "gzip bomb", "one text for many names")


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_claim_costs_a_few_megabytes(kind, place):
    fastrms.load(samples.folder() / "k22-tf/dflt_mlp.h5")
    H5[kind][0](place)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(fastrms.CheckpointError):
        fastrms.load(place)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # in KiB
    with open(f"/proc/{isolation._worker[0].process.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 150 << 10


LEGAL = {
    "user block": user_block,
    "names in parts": legal_chunks,
    "gzip": replaced(np.full((3, 4), 0.5, "f4"), compression="gzip", shuffle=True),
    "big endian": replaced(np.full((3, 4), 0.5, ">f4")),
    "float64 slots": replaced(np.full((3, 4), 0.5, "f8")),
    "every name changed": lambda path: on_h5(
        lambda f, _: (
            [f[GROUP].move(n.decode(), f"s{i}") for i, n in enumerate(weight_names(f))],
            f[GROUP].attrs.__setitem__(
                "weight_names", np.array([f"s{i}".encode() for i in range(4)])
            ),
        )
    )(path),
}


def weight_names(file):
    return list(file[GROUP].attrs["weight_names"])


@pytest.mark.parametrize("kind", LEGAL)
def test_legal_variations_are_read(kind, place):
    original = fastrms.load(place)
    LEGAL[kind](place)
    found = fastrms.load(place)
    assert len(found.slots["velocity"]) == 4
    last = [c.slots["velocity"][3].tobytes() for c in (found, original)]
    assert last[0] == last[1]
    if "slots" in kind or kind in ("gzip", "big endian"):
        assert (found.slots["velocity"][0] == 0.5).all()


def test_an_attribute_of_python_text_is_read_as_bytes_are(place):
    with h5py.File(place, "r+") as file:
        for name in ("keras_version", "training_config"):
            file.attrs[name] = file.attrs[name]
        file[GROUP].attrs["weight_names"] = [n.decode() for n in weight_names(file)]
    assert fastrms.load(place).iterations is None
    assert len(fastrms.load(place).slots["velocity"]) == 4


@pytest.mark.parametrize(
    ("value", "note"),
    [(np.nan, "NaN or infinity"), (-np.inf, "NaN or infinity"), (-0.5, "negative mean squares")],
)
def test_values_of_no_healthy_run_are_flagged_and_not_gone_on_with(value, note, place):
    replaced(np.full((3, 4), value, "f4"))(place)
    found = fastrms.load(place)
    assert any(note in n for n in found.notes)
    with pytest.raises(fastrms.CheckpointError, match=note):
        found.optimizer()


def test_an_extra_array_is_left_out_with_a_note(place):
    on_h5(lambda f, _: f[GROUP].create_dataset("more", data=np.ones(3)))(place)
    assert any("not in weight_names" in note for note in fastrms.load(place).notes)


def test_variables_given_by_the_caller_are_believed(place):
    H5["one slot missing"][0](place)
    shapes = [(3, 4), (4,), (4, 2)]
    given = {f"w{i}": np.empty(shape, "f4") for i, shape in enumerate(shapes)}
    found = fastrms.load(place, variables=given)
    assert [v.name for v in found.variables] == ["w0", "w1", "w2"]
    assert found.optimizer(list(given.values())).built
    with pytest.raises(fastrms.CheckpointError, match="in the optimizer's order"):
        fastrms.load(place, variables=list(given.values())[::-1])


@pytest.mark.parametrize("value", ["false", "0.9", [1]], ids=repr)
def test_a_text_for_a_number_or_switch_is_refused(value, place):
    path = place.with_name("b.h5")
    path.write_bytes((samples.folder() / "tf210/dflt_mlp.h5").read_bytes())
    config(centered=value)(path)
    with pytest.raises(fastrms.CheckpointError):
        fastrms.load(path).optimizer()


# ---- zip, folder and shards ------------------------------------------------------------------


@pytest.fixture
def members():
    """The members of Keras 3's .keras sample."""
    with zipfile.ZipFile(samples.folder() / "k3-tf/dflt_mlp.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members, path, extra=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in [*members.items(), *extra]:
            archive.writestr(name, data)


def link():
    info = zipfile.ZipInfo("model.weights.h5.link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


ZIPS = {
    "a name upwards": ([("../x", b"")], "leads out"),
    "an absolute name": ([("/etc/x", b"")], "leads out"),
    "a backslash": ([("a\\x", b"")], "leads out|two members"),
    "a symbolic link": ([(link(), b"/etc/passwd")], "is a link"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_hostile_zip_members_are_refused(kind, members, tmp_path):
    extra, reason = ZIPS[kind]
    zipped(members, tmp_path / "a.keras", extra)
    with pytest.raises(fastrms.CheckpointError, match=reason):
        fastrms.load(tmp_path / "a.keras")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(members, tmp_path):
    zipped(members, tmp_path / "a.keras", [("config.json", b"{}")])
    with pytest.raises(fastrms.CheckpointError, match="two members"):
        fastrms.load(tmp_path / "a.keras")


def test_a_zip_bomb_is_refused(members, tmp_path):
    bomb = {**members, "model.weights.h5": bytes(32 << 20)}
    zipped(bomb, tmp_path / "a.keras", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(fastrms.CheckpointError, match="claims 33554432 bytes"):
        fastrms.load(tmp_path / "a.keras")


def test_an_encrypted_member_is_refused(members, tmp_path):
    zipped(members, tmp_path / "a.keras")
    data = bytearray((tmp_path / "a.keras").read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 8] |= 1
    (tmp_path / "a.keras").write_bytes(data)
    with pytest.raises(fastrms.CheckpointError, match="encrypted"):
        fastrms.load(tmp_path / "a.keras")


def test_overlapping_members_are_refused(members, tmp_path):
    zipped(members, tmp_path / "a.keras", [("copy", b"x" * 3)])
    data = bytearray((tmp_path / "a.keras").read_bytes())
    place = data.rindex(b"PK\x01\x02")
    struct.pack_into("<II", data, place + 20, 1 << 30, 1 << 30)
    (tmp_path / "a.keras").write_bytes(data)
    with pytest.raises(fastrms.CheckpointError, match="more bytes than it has"):
        fastrms.load(tmp_path / "a.keras")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("config.json", b"\xff", "not UTF-8"),
        ("config.json", b"{", "not valid JSON"),
        ("config.json", DEEP.encode(), "nested 5000"),
        ("metadata.json", b"3", "not a JSON object"),
        ("model.weights.h5", b"no", "libhdf5 cannot read"),
    ],
    ids=["text", "json", "deep", "number", "weights"],
)
def test_damaged_zip_members_are_refused(name, data, reason, members, tmp_path):
    zipped({**members, name: data}, tmp_path / "a.keras")
    with pytest.raises(fastrms.CheckpointError, match=reason):
        fastrms.load(tmp_path / "a.keras")


def test_a_zip_without_weights_is_refused(members, tmp_path):
    del members["model.weights.h5"]
    zipped(members, tmp_path / "a.keras")
    with pytest.raises(fastrms.CheckpointError, match=r"no model\.weights\.h5"):
        fastrms.load(tmp_path / "a.keras")


def test_code_in_a_config_is_data(members, tmp_path):
    """A Lambda's byte code, or a module to import, is never looked at."""
    config = json.loads(members["config.json"])
    config["compile_config"]["optimizer"]["module"] = "os"
    config["config"]["layers"].append(
        {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}, "module": "os"}
    )
    zipped({**members, "config.json": json.dumps(config).encode()}, tmp_path / "a.keras")
    assert fastrms.load(tmp_path / "a.keras").rule == "RMSprop"
    config["compile_config"]["optimizer"]["class_name"] = "system"
    zipped({**members, "config.json": json.dumps(config).encode()}, tmp_path / "b.keras")
    found = fastrms.load(tmp_path / "b.keras")
    assert found.rule == "system"
    with pytest.raises(fastrms.CheckpointError, match="system, for which there is no rule"):
        found.optimizer()


def vars_of(members, change):
    """Change the optimizer's variables inside model.weights.h5."""
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        change(file["optimizer/vars"])
    return {**members, "model.weights.h5": data.getvalue()}


@pytest.mark.parametrize("new", ["7", "03", "abc"])
def test_variables_not_numbered_densely_are_refused(new, members, tmp_path):
    zipped(vars_of(members, lambda group: group.move("3", new)), tmp_path / "a.keras")
    with pytest.raises(fastrms.CheckpointError, match="without gaps"):
        fastrms.load(tmp_path / "a.keras")


def test_variables_are_sorted_by_number_and_the_variable_rate_wins(members, tmp_path):
    def change(group):
        group["1"][()] = 0.25

    zipped(vars_of(members, change), tmp_path / "a.keras")
    found = fastrms.load(tmp_path / "a.keras")
    assert found.config["learning_rate"] == 0.25
    assert any("wins over the config's" in note for note in found.notes)
    many = fastrms.load(samples.folder() / "k3-tf/cmom_emb.keras")
    assert [len(column) for column in many.slots.values()] == [6, 6, 6]


def test_a_file_without_the_optimizers_config_still_gives_its_slots(members, tmp_path):
    """Keras 3 writes such a .keras after a save to .h5, and loads it with a fresh optimizer."""
    config = json.loads(members["config.json"])
    del config["compile_config"]["optimizer"]
    zipped({**members, "config.json": json.dumps(config).encode()}, tmp_path / "a.keras")
    found = fastrms.load(tmp_path / "a.keras")
    assert any("names no optimizer" in note for note in found.notes)
    whole = fastrms.load(samples.folder() / "k3-tf/dflt_mlp.keras")
    assert found.slots["velocity"][0].tobytes() == whole.slots["velocity"][0].tobytes()
    assert found.optimizer(rho=0.9).iterations == 5


SHARDS = {
    "upwards": "../x.weights.h5",
    "absolute": "/tmp/x.weights.h5",
    "no weights": "secret",
    "missing": "gone.weights.h5",
    "a number": 3,
}


@pytest.mark.parametrize("kind", SHARDS)
def test_shards_outside_the_folder_are_refused(kind, tmp_path):
    content = {"metadata": {}, "weight_map": {"/optimizer/vars": [SHARDS[kind]]}}
    (tmp_path / "a.weights.json").write_text(json.dumps(content))
    with pytest.raises(fastrms.CheckpointError, match=r"beside it|not there"):
        fastrms.load(tmp_path / "a.weights.json")


def test_a_shard_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "x.weights.h5").symlink_to(samples.folder() / "k3-tf/dflt_mlp.weights.h5")
    content = {"weight_map": {"/optimizer/vars": "x.weights.h5"}}
    (tmp_path / "a.weights.json").write_text(json.dumps(content))
    with pytest.raises(fastrms.CheckpointError, match="or a link"):
        fastrms.load(tmp_path / "a.weights.json")


def many_layers(path, count):
    """Write as many layers as nobody has, in the two ways of Keras."""
    with h5py.File(path / "a.h5", "w", libver="latest") as file:
        names = [f"l{i}" for i in range(count)]
        model = file.create_group("model_weights")
        model.attrs["layer_names"] = np.array(names, "S")
        for name in names:
            model.create_group(name).attrs["weight_names"] = np.zeros(0)
    with h5py.File(path / "a.weights.h5", "w", libver="latest") as file:
        for name in names:
            file.create_group(f"layers/{name}")
        file["optimizer/vars/0"] = np.int64(1)
    return ["a.h5", "a.weights.h5"]


def test_time_grows_with_the_file_not_with_its_square(tmp_path):
    """3,000 empty layers took half a minute, when each was looked for among all."""
    for name in many_layers(tmp_path, 3000):
        start = time.process_time()
        fastrms.load(tmp_path / name)
        assert time.process_time() - start < 5


# ---- the reading process ---------------------------------------------------------------------


def test_a_reader_that_dies_is_an_error_and_the_next_load_works(place, monkeypatch):
    fastrms.load(place)
    isolation._worker[0].process.kill()
    isolation._worker[0].process.wait()
    assert fastrms.load(place).slots  # an idle reader's death is no error at all
    real = isolation._current

    def dying():
        worker = real()
        os.kill(worker.process.pid, 9)
        return worker

    monkeypatch.setattr(isolation, "_current", dying)
    with pytest.raises(fastrms.CheckpointError, match="the process that reads HDF5 ended"):
        fastrms.load(place)
    monkeypatch.undo()
    assert fastrms.load(place).slots


def test_a_reader_that_hangs_is_ended_in_time(place, monkeypatch):
    fastrms.load(place)
    os.kill(isolation._worker[0].process.pid, 19)  # stopped: it will never answer
    monkeypatch.setattr(isolation, "SECONDS", 0.3)
    start = time.perf_counter()
    with pytest.raises(fastrms.CheckpointError, match="did not end reading"):
        fastrms.load(place)
    assert time.perf_counter() - start < 5
    monkeypatch.undo()
    assert fastrms.load(place).slots


def test_arrays_outlive_the_reader(place):
    found = fastrms.load(place)
    before = found.slots["velocity"][0].tobytes()
    isolation._discard()
    assert found.slots["velocity"][0].tobytes() == before
    found.slots["velocity"][0][...] = 1  # ours to write


def test_a_forked_child_reads_with_a_reader_of_its_own(place):
    fastrms.load(place)
    child = os.fork()
    if child == 0:
        try:
            code = 0 if fastrms.load(place).slots else 1
            isolation._discard()
        except BaseException:
            code = 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fastrms.load(place).slots


def test_isolated_and_trusted_read_the_same(place):
    one, other = fastrms.load(place), fastrms.load(place, trusted=True)
    assert one.config == other.config
    for a, b in zip(one.slots["velocity"], other.slots["velocity"], strict=True):
        assert a.tobytes() == b.tobytes()


def test_without_h5py_the_pip_line_is_named(place, monkeypatch):
    monkeypatch.setattr(isolation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(fastrms.MissingExtraError, match=r"pip install 'fastrms\[keras\]'"):
        fastrms.load(place)
