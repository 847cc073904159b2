"""Hostile and damaged tensor files: each a small builder, refused by name, and nothing is run.

TensorFlow bundles, `.npz`, `.npy`, pickles, torch files and `.safetensors`; Keras's own formats are
in test_checkpoint_hostile.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastrms
import samples
from fastrms.checkpoint import wire
from fastrms.checkpoint.bundle import write_bundle
from fastrms.checkpoint.checksum import crc32c, masked
from fastrms.checkpoint.leveldb import MAGIC, read_table, unsnap, write_table
from fastrms.checkpoint.opcodes import Machine
from fastrms.checkpoint.pending import Settled
from fastrms.checkpoint.tensors import Entry, slice_key, write_entry

SAMPLE = "tf210/mom_mlp.ckpt"
DATA = ".data-00000-of-00001"
HUGE = 1 << 42


def copied(path, change_index=None, change_data=None):
    """Copy a real checkpoint, changing the bytes of its files."""
    for suffix, change in ((".index", change_index), (DATA, change_data)):
        data = bytearray((samples.folder() / f"{SAMPLE}{suffix}").read_bytes())
        changed = change(data) if change else None
        path.with_name(path.name + suffix).write_bytes(data if changed is None else changed)
    return path


def flipped(position):
    def change(data):
        data[position] ^= 0x10

    return change


def cut(length):
    return lambda data: data[:length]


def reindexed(change):
    """Rewrite the index of the sample with other entries, checksums valid."""

    def change_index(data):
        entries = {key: bytes(value) for key, value in read_table(memoryview(bytes(data)))}
        change(entries)
        return write_table(sorted(entries.items()))

    return lambda path: copied(path, change_index)


def entry(**fields):
    """Put an entry of our own in the place of the first."""

    def change(entries):
        first = next(key for key in sorted(entries) if key and b"_CHECK" not in key)
        entries[first] = write_entry(Entry(**{"dtype": 1, "shape": (4,), "size": 16, **fields}))

    return reindexed(change)


def header(**fields):
    def change(entries):
        parts = {"shards": 1, "order": 0, **fields}
        entries[b""] = wire.field(1, parts["shards"]) + wire.field(2, parts["order"])

    return reindexed(change)


def unordered(path):
    pairs = [(b"b", b"x"), (b"a", b"x")]
    return copied(path, lambda data: write_table(pairs))


def long_keys(path):
    """Write a block whose 5,000 names each share 60,000 bytes with the one before."""
    block = wire.as_varint(0) + wire.as_varint(60_000) + wire.as_varint(0) + b"k" * 60_000
    for i in range(5000):
        sizes = wire.as_varint(60_000) + wire.as_varint(2) + wire.as_varint(0)
        block += sizes + i.to_bytes(2, "big")
    block += struct.pack("<2I", 0, 1)
    whole = block + b"\0" + struct.pack("<I", masked(crc32c(block + b"\0")))
    handle = wire.as_varint(0) + wire.as_varint(len(block))
    index = wire.as_varint(0) + wire.as_varint(1) + wire.as_varint(len(handle)) + b"z" + handle
    index += struct.pack("<2I", 0, 1)
    places = wire.as_varint(0) * 2 + wire.as_varint(len(whole)) + wire.as_varint(len(index))
    whole += index + b"\0" + struct.pack("<I", masked(crc32c(index + b"\0")))
    return copied(path, lambda data: whole + places.ljust(40, b"\0") + struct.pack("<Q", MAGIC))


def graph(message):
    """Write a checkpoint whose object graph is this message."""

    def build(path):
        write_bundle(path, {"_CHECKPOINTABLE_OBJECT_GRAPH": ("string", message)})
        return path

    return build


def missing_tensor():
    """Describe an optimizer whose counter and slots are tensors that the file lacks."""
    from fastrms.checkpoint.graph import Node, serialize

    key = "gone/.ATTRIBUTES/VARIABLE_VALUE"
    optimizer = Node({"iter": 2, "learning_rate": 2}, slots=[(2, "rms", 2)])
    return serialize([Node({"optimizer": 1, "w": 2}), optimizer, Node(name="w", key=key)])


def old_file(path):
    data = bytearray((samples.folder() / "tf13saver/v1fmt.ckpt").read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    return path


def partitioned(path):
    """Write a partitioned variable of which one part is missing."""
    parts = (((0, 2), (0, -1)), ((2, 1), (0, -1)))
    raw = np.arange(8, dtype="<f4").tobytes()
    whole = wire.field(1, 1) + wire.field(
        2, b"".join(wire.field(2, wire.field(1, n)) for n in (3, 4))
    )
    for extents in parts:
        one = b"".join(
            wire.field(1, wire.field(1, a) + (wire.field(2, n) if n >= 0 else b""))
            for a, n in extents
        )
        whole += wire.field(7, one)
    first = Entry(1, (2, 4), size=32, checksum=masked(crc32c(raw)))
    entries = {b"": b"\x08\x01", b"w": whole, slice_key("w", parts[0]): write_entry(first)}
    path.with_name(path.name + ".index").write_bytes(write_table(sorted(entries.items())))
    path.with_name(path.name + DATA).write_bytes(raw + bytes(100))
    return path


TENSORFLOW = {
    "index cut": (lambda p: copied(p, cut(400)), "cut or of another kind|no known format"),
    "index empty": (lambda p: copied(p, cut(0)), "cut or of another kind"),
    "flipped bit in a block": (lambda p: copied(p, flipped(60)), "checksum"),
    "flipped bit in the footer": (lambda p: copied(p, flipped(-45)), "claims|checksum|index"),
    "flipped bit in a tensor": (lambda p: copied(p, None, flipped(10)), "checksum of tensor"),
    "data cut": (lambda p: copied(p, None, cut(100)), "cut or damaged"),
    "data missing": (lambda p: (copied(p) and os.unlink(f"{p}{DATA}")) or p, "kept together"),
    "offset outside": (entry(offset=HUGE), "cut or damaged"),
    "size outside": (entry(size=HUGE), "cut or damaged"),
    "4 TiB shape": (entry(shape=(HUGE,)), "cut or damaged|cannot|has"),
    "shape that overflows": (entry(shape=(1 << 32, 1 << 32, 1 << 32)), "cut or damaged"),
    "negative size of an axis": (entry(shape=(-1, 4)), "sizes are >= 0"),
    "shard outside": (entry(shard=7), "cut or damaged"),
    "size that is not the shape's": (entry(size=12), "has 16 bytes, not 12"),
    "unknown dtype": (entry(dtype=99), "TensorFlow's type 99|dtype type 99"),
    "text where numbers belong": (entry(dtype=7), "text|dtype string"),
    "big-endian": (header(order=1), "byte order 1"),
    "no shards": (header(shards=0), "0 data files"),
    "a million shards": (header(shards=1 << 40), "data files"),
    "names out of order": (unordered, "not in order"),
    "names that grow without end": (long_keys, "not in order or exceed"),
    "a part of a variable missing": (partitioned, "missing or has another shape"),
    "graph with a wrong child": (graph(wire.field(1, wire.field(1, b"\x08\x63"))), "object 99"),
    "graph without objects": (graph(b""), "empty"),
    "graph that is no message": (graph(b"\xff" * 40), "number|damaged"),
    "graph with a name that is no text": (
        graph(wire.field(1, wire.field(1, b"\x12\x02\xff\xfe"))),
        "UTF-8",
    ),
    "graph with a tensor that is not there": (graph(missing_tensor()), "not in the file"),
    "an old file with a flipped bit": (old_file, "checksum"),
}


@pytest.mark.parametrize("kind", TENSORFLOW)
def test_hostile_tensorflow_files(kind, tmp_path):
    build, message = TENSORFLOW[kind]
    path = build(tmp_path / "run.ckpt")
    with bounded(16 << 20), pytest.raises(fastrms.CheckpointError, match=message):
        fastrms.load(path)


@contextlib.contextmanager
def bounded(most):
    """Fail if Python takes more memory than this in the block."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < most, f"{peak} bytes were taken"


def test_a_cycle_in_the_graph_is_legal(tmp_path):
    node = wire.field(1, wire.field(1, wire.field(1, 0) + wire.field(2, "self")))
    deep = b"".join(
        wire.field(1, wire.field(1, wire.field(1, i + 1) + wire.field(2, "next")))
        for i in range(5000)
    )
    for message in (node, deep + node):
        path = graph(message)(tmp_path / "run.ckpt")
        assert fastrms.load(path).rule == "none"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"\x0a\x04ab", "claims it|holds"),
        (b"\xff\xff\xff\xff\x0f\x00a", "claims to hold"),
        (b"\x04\x06\x02\x00", "from outside"),
        (b"\x04\x04ab\x06\x00\x00", "from outside"),
        (b"\x04\xf0\xff", "ends within"),
        (b"", "does not end"),
    ],
)
def test_hostile_compressed_blocks(block, message):
    with pytest.raises(fastrms.CheckpointError, match=message):
        unsnap(memoryview(block))


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_compressed_blocks_come_back(parts, repeats):
    """Literals and copies as Snappy writes them, with overlapping copies."""
    whole, packed = b"", b""
    for part in parts:
        packed += bytes([(len(part) - 1) << 2]) + part
        whole += part
        packed += bytes([(repeats - 1) << 2 | 2]) + struct.pack("<H", len(part))
        whole += (part * repeats)[:repeats]
    assert unsnap(memoryview(wire.as_varint(len(whole)) + packed)) == whole


@given(st.dictionaries(st.binary(max_size=30), st.binary(max_size=300), max_size=60))
@settings(max_examples=40, deadline=None)
def test_tables_come_back(entries):
    table = write_table(sorted(entries.items()))
    assert {k: bytes(v) for k, v in read_table(memoryview(table))} == entries


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1 << 15, (1 << 15) + 7, 100_003])
def test_the_compiled_checksum_is_the_plain_one(size):
    data = np.random.default_rng(size).integers(0, 256, size + 3, dtype=np.uint8)
    plain = 0xFFFFFFFF
    for octet in data[3:].tobytes():
        plain ^= octet
        for _ in range(8):
            plain = plain >> 1 ^ (0x82F63B78 if plain & 1 else 0)
    assert crc32c(data[3:]) == plain ^ 0xFFFFFFFF
    assert crc32c(data[3:][size // 3 :], crc32c(data[3:][: size // 3])) == crc32c(data[3:])


class Payload:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def npz(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def npy(text, data=b"", version=1):
    body = text.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(body)) + body + data


def described(descr="'<f4'", fortran="False", shape="(2,)", rest=""):
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, {rest}}}\n"


HEADERS = {
    "4 TiB shape": (npy(described(shape=f"({HUGE},)"), bytes(8)), "bytes follow|cut"),
    "negative shape": (npy(described(shape="(-1,)"), bytes(8)), "header"),
    "code in the header": (npy(described(descr="__import__('os').mkdir('x')")), "header"),
    "nested tuples": (npy(described(shape="(" * 5000 + ")" * 5000)), "header"),
    "void dtype": (npy(described("'|V0'")), "dtype 'V0'"),
    "structured dtype": (npy(described("[('a', '<f4')]")), "header"),
    "text dtype": (npy(described("'<U3'")), "dtype 'U3'"),
    "complex dtype": (npy(described("'<c8'")), "dtype 'c8'"),
    "a key too many": (npy(described(rest="'x': 1, ")), "header"),
    "version 9": (npy(described(), bytes(8), version=9), "does not begin"),
    "header beyond the end": (b"\x93NUMPY\x01\x00\xff\xffabc", "header"),
    "too few bytes": (npy(described(), bytes(7)), "cut or damaged"),
    "too many bytes": (npy(described(), bytes(9)), "cut or damaged"),
    "empty": (b"\x93NUMPY", "does not begin|header|begin"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_hostile_npy_headers(kind, tmp_path):
    data, message = HEADERS[kind]
    (tmp_path / "run.npy").write_bytes(data)
    npz(tmp_path / "run.npz", {"arr_0.npy": data})
    for name in ("run.npy", "run.npz"):
        with bounded(16 << 20), pytest.raises(fastrms.CheckpointError, match=message):
            fastrms.load(tmp_path / name, dialect="keras-2.2")


def named_twice(path):
    npz(path, {name: npy(described(), bytes(8)) for name in ("arr_0.npy", "arr_1.npy")})
    path.write_bytes(path.read_bytes().replace(b"arr_1.npy", b"arr_0.npy"))


def linked(path):
    info = zipfile.ZipInfo("arr_0.npy")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/hostname")


def encrypted(path):
    npz(path, {"arr_0.npy": npy(described(), bytes(8))})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)


def patched(find, offset, value, form="<I"):
    """Write an .npz, then change a number in its local or central header."""

    def build(path):
        npz(path, {"arr_0.npy": npy(described(), bytes(8))})
        data = bytearray(path.read_bytes())
        at = data.index(find) + offset
        data[at : at + struct.calcsize(form)] = struct.pack(form, value)
        path.write_bytes(data)

    return build


def bomb(path):
    zeros = npy(described(shape=f"({1 << 24},)"), bytes(1 << 26))
    npz(path, {"arr_0.npy": zeros}, zipfile.ZIP_DEFLATED)


def many_bombs(path):
    zeros = npy(described(shape=f"({1 << 18},)"), bytes(1 << 20))
    npz(path, {f"arr_{i}.npy": zeros for i in range(40)}, zipfile.ZIP_DEFLATED)


ARCHIVES = {
    "a member outside": (lambda p: npz(p, {"../arr_0.npy": b"x"}), "leads out"),
    "an absolute member": (lambda p: npz(p, {"/arr_0.npy": b"x"}), "leads out"),
    "a backslash": (lambda p: npz(p, {"..\\arr_0.npy": b"x"}), "leads out"),
    "two of one name": (named_twice, "two members"),
    "a link": (linked, "is a link"),
    "encrypted": (encrypted, "is encrypted"),
    "a lie about the size": (patched(b"PK\1\2", 24, 1 << 30), "lies about|claims"),
    "a lie about the checksum": (patched(b"PK\1\2", 16, 1), "checksum"),
    "an unknown method": (patched(b"PK\1\2", 10, 99, "<H"), "damaged|claims|method"),
    "a member beyond the end": (patched(b"PK\1\2", 42, 1 << 20), "no header|damaged"),
    "a compression bomb": (bomb, "compression bomb"),
    "many small compression bombs": (many_bombs, "40 members .* compression bomb"),
    "cut": (lambda p: (npz(p, {"a.npy": b"x"}), p.write_bytes(p.read_bytes()[:-9])), "damaged"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_hostile_archives(kind, tmp_path):
    build, message = ARCHIVES[kind]
    build(tmp_path / "run.npz")
    with bounded(16 << 20), pytest.raises(fastrms.CheckpointError, match=message):
        fastrms.load(tmp_path / "run.npz")


def pickled(value, protocol=2):
    return lambda folder: pickle.dumps(value(folder), protocol)


def laughs(depth):
    """Write a list of lists, each twice the one before: 2**depth leaves in few bytes."""
    body = b"\x80\x02]q\x00"
    for i in range(depth):
        body += b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
    return lambda folder: body + b"."


PICKLES = {
    "a payload": (pickled(lambda f: Payload(f / "ran")), "posix.mkdir"),
    "a payload in a list": (pickled(lambda f: [np.ones(2), Payload(f / "ran")]), "posix.mkdir"),
    "protocol 4": (pickled(lambda f: Payload(f / "ran"), 4), "posix.mkdir"),
    "protocol 0": (lambda f: b"\x80\x00cos\nsystem\n(S'true'\ntR.", "os.system"),
    "an instance": (lambda f: b"\x80\x02(ios\nsystem\n.", "INST"),
    "an object": (lambda f: b"\x80\x02(cnumpy\nndarray\no.", "OBJ"),
    "a new object": (lambda f: b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
    "an extension code": (lambda f: b"\x80\x02\x82\x01.", "EXT1"),
    "a set": (lambda f: b"\x80\x04\x8f.", "EMPTY_SET"),
    "eval": (lambda f: b"\x80\x02cbuiltins\neval\n.", "builtins.eval"),
    "a name with dots": (
        lambda f: b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.tofile.x\x93.",
        "ndarray.tofile",
    ),
    "the array class called": (lambda f: b"\x80\x02cnumpy\nndarray\n)R.", "calls"),
    "a persistent identifier": (lambda f: b"\x80\x02K\x01Q.", "outside itself"),
    "no end": (lambda f: b"\x80\x02]", "cut or damaged"),
    "an empty stack": (lambda f: b"\x80\x02.", "damaged"),
    "a mark that is missing": (lambda f: b"\x80\x02t.", "damaged"),
    "a memo that is missing": (lambda f: b"\x80\x02h\x09.", "damaged"),
    "4 GiB of bytes": (lambda f: b"\x80\x02B\xff\xff\xff\xff.", "cut or damaged"),
    "16 EiB of bytes": (lambda f: b"\x80\x04\x8e" + b"\xff" * 8 + b".", "cut or damaged"),
    "protocol 9": (lambda f: b"\x80\x09N.", "protocol 9"),
    "an unknown operation": (lambda f: b"\x80\x02\xfe.", "unknown operation"),
    "a dict key that is a list": (lambda f: b"\x80\x02}]N s.".replace(b" ", b""), "damaged"),
    "two to the 60 lists": (laughs(60), "more than 1000000 objects|levels deep"),
    "a list in itself": (lambda f: b"\x80\x02]q\x00h\x00a.", "levels deep"),
    "a byte order that is code": (
        lambda f: pickle.dumps([np.ones(2, ">f4")], 2).replace(
            b"X\x01\x00\x00\x00>", b"X\x01\x00\x00\x00("
        ),
        "dtype",
    ),
    "bytes with arguments": (
        lambda f: b"\x80\x02c__builtin__\nbytes\nK\x09\x85R.",
        "with arguments",
    ),
    "a structured dtype": (pickled(lambda f: [np.zeros(2, [("a", "f4")])]), "dtype"),
    "text": (pickled(lambda f: ["text"]), "not an array"),
    "a dict in a list": (pickled(lambda f: [{"a": 1}]), "not an array"),
    "complex numbers": (pickled(lambda f: [np.zeros(2, complex)]), "dtype 'c16'"),
    "a digit too many": (lambda f: b"\x80\x02L" + b"9" * 9000 + b"L\n.", "damaged|digits"),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_hostile_pickles(kind, tmp_path):
    build, message = PICKLES[kind]
    (tmp_path / "run.pkl").write_bytes(build(tmp_path))
    head = npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n")
    (tmp_path / "run.npy").write_bytes(head + build(tmp_path))
    npz(tmp_path / "run.npz", {"arr_0.npy": head + build(tmp_path)})
    npz(tmp_path / "run.pt", {"run/data.pkl": build(tmp_path)})
    for name in ("run.pkl", "run.npy", "run.npz"):
        with bounded(64 << 20), pytest.raises(fastrms.CheckpointError, match=message):
            fastrms.load(tmp_path / name, dialect="keras-2.2")
    with bounded(64 << 20), contextlib.suppress(fastrms.CheckpointError):
        # Text and numbers alone are read there, as part of whatever people save beside a state.
        assert fastrms.load(tmp_path / "run.pt").slots == {}
    assert not (tmp_path / "ran").exists()


def test_an_array_shared_a_million_times_is_refused(tmp_path):
    one = pickle.dumps(np.zeros(1000), 2)[2:-1]
    body = b"\x80\x02](" + one + b"r\xff\x00\x00\x00" + b"j\xff\x00\x00\x00" * 5000 + b"e."
    (tmp_path / "run.pkl").write_bytes(body)
    with pytest.raises(fastrms.CheckpointError, match="larger than the file"):
        fastrms.load(tmp_path / "run.pkl", dialect="keras-2.2")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_data_comes_back_as_pickle_wrote_it(value, protocol):
    raw = pickle.dumps(value, protocol)
    assert Settled(1 << 20)(Machine(memoryview(raw)).run()) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", ">i4", "u1", "?"])
@pytest.mark.parametrize("order", "CF")
def test_arrays_come_back_as_pickle_wrote_them(protocol, dtype, order):
    value = np.array([[0, 1, 2], [3, 4, 5]], dtype, order=order)
    raw = pickle.dumps([value, value[0, 1], OrderedDict(a=value)], protocol)
    found = Settled(1 << 20)(Machine(memoryview(raw)).run())
    for ours, theirs in zip(
        (found[0], found[1], found[2]["a"]), (value, value[0, 1], value), strict=True
    ):
        assert ours.dtype == value.dtype.newbyteorder("=")
        assert np.array_equal(ours, theirs)


def changed_torch(change):
    """Rewrite a torch file with other members."""

    def build(path):
        with zipfile.ZipFile(samples.folder() / "torch/mom.pt") as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        npz(path, members)

    return build


def set_member(name, value):
    def change(members):
        key = next(k for k in members if k.endswith(name))
        if value is None:
            del members[key]
        else:
            members[key] = value(members[key])

    return changed_torch(change)


def in_pickle(old, new):
    return set_member("data.pkl", lambda raw: raw.replace(old, new, 1))


TORCH = {
    "another global": (in_pickle(b"torch._utils\n_rebuild_tensor_v2", b"os\nsystem"), "os.system"),
    "another kind of storage": (in_pickle(b"FloatStorage", b"HalfXStorage"), "HalfXStorage"),
    "a storage missing": (set_member("data/5", None), "no member"),
    "a storage too short": (set_member("data/5", lambda raw: raw[:-1]), "has .* bytes"),
    "a storage too long": (set_member("data/5", lambda raw: raw + b"x"), "has .* bytes"),
    "big-endian": (set_member("byteorder", lambda raw: b"big"), "big-endian"),
    "no pickle": (set_member("data.pkl", lambda raw: b""), "cut or damaged"),
    "a stride that reaches outside": (
        in_pickle(b"K\x04K\x03\x86q", b"K\x04K\x7f\x86q"),
        "beyond its storage|shape|damaged",
    ),
}


@pytest.mark.parametrize("kind", TORCH)
def test_hostile_torch_files(kind, tmp_path):
    build, message = TORCH[kind]
    build(tmp_path / "run.pt")
    with bounded(16 << 20), pytest.raises(fastrms.CheckpointError, match=message):
        fastrms.load(tmp_path / "run.pt")


def test_a_deflated_torch_file_is_read(tmp_path):
    with zipfile.ZipFile(samples.folder() / "torch/mom.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    npz(tmp_path / "run.pt", members, zipfile.ZIP_DEFLATED)
    one, other = fastrms.load(tmp_path / "run.pt"), fastrms.load(samples.folder() / "torch/mom.pt")
    assert [a.tobytes() for a in one.slots["velocity"]] == [
        a.tobytes() for a in other.slots["velocity"]
    ]


def tensors(header, data=bytes(8), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**fields):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **fields}}


SAFETENSORS = {
    "header length beyond the end": tensors(one(), length=1 << 40),
    "header length overflows": tensors(one(), length=2**64 - 1),
    "header cut": tensors(one())[:20],
    "offset outside": tensors(one(data_offsets=[0, 1 << 40], shape=[1 << 38])),
    "offsets negative": tensors(one(data_offsets=[-8, 0])),
    "offsets reversed": tensors(one(data_offsets=[8, 0])),
    "overlap": tensors({**one(), "b": one()["a"]}),
    "gap": tensors(one(data_offsets=[8, 16]), bytes(16)),
    "rest behind the tensors": tensors(one(), bytes(9)),
    "shape of another size": tensors(one(shape=[3])),
    "shape that overflows": tensors(one(shape=[1 << 40, 1 << 40])),
    "shape of fractions": tensors(one(shape=[2.0])),
    "shape of truths": tensors(one(shape=[True, 2])),
    "unknown dtype": tensors(one(dtype="F128")),
    "no dtype": tensors({"a": {"shape": [2], "data_offsets": [0, 8]}}),
    "a name twice": tensors(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
    ),
    "not JSON": tensors(b"{nonsense"),
    "5000 deep": tensors(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "not UTF-8": tensors(b'{"\xff":1}'),
    "metadata that is no text": tensors({"__metadata__": {"a": 1}, **one()}),
    "states without groups": tensors(
        {"optimizer.state.0.square_avg": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    ),
    "our description, damaged": tensors({"__metadata__": {"fastrms": "{}"}, **one()}),
    "our description, wrong": tensors(
        {"__metadata__": {"fastrms": '{"format": 1, "variables": [["a"]]}'}, **one()}
    ),
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_hostile_safetensors(kind, tmp_path):
    (tmp_path / "run.safetensors").write_bytes(SAFETENSORS[kind])
    with bounded(16 << 20), pytest.raises(fastrms.CheckpointError):
        fastrms.load(tmp_path / "run.safetensors")


DESCRIPTIONS = {
    "a dialect that is a list": {"dialect": []},
    "a rule that is a dict": {"rule": {}},
    "a writer's version that is a number": {"writer": ["w", 1.5, None]},
    "a writer of four parts": {"writer": ["w", None, None, None]},
    "notes that are numbers": {"notes": [1]},
    "an endless shape": {"variables": [["w", [float("inf")], "float32"]]},
    "slots that are no lists": {"slots": {"velocity": None}},
    "a tensor by a number": {"slots": {"velocity": [1]}},
    "a config that is a text": {"config": "rho"},
    "a counter that is a text": {"iterations": "1"},
    "a format that is a text": {"format": "1"},
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_hostile_descriptions_of_our_own(kind, tmp_path):
    optimizer = fastrms.RMSprop()
    optimizer.build({"w": np.ones(2, "f4")})
    fastrms.save(tmp_path / "run.npz", optimizer)
    with np.load(tmp_path / "run.npz") as arrays:
        found = dict(arrays)
    text = json.dumps(json.loads(found["fastrms"].tobytes()) | DESCRIPTIONS[kind])
    found["fastrms"] = np.frombuffer(text.encode(), np.uint8)
    np.savez(tmp_path / "run.npz", **found)
    with pytest.raises(fastrms.CheckpointError):
        fastrms.load(tmp_path / "run.npz")


FUZZED = (
    *("tf210/mom_mlp.ckpt.index", f"tf210/mom_mlp.ckpt{DATA}", "tf13saver/v1fmt.ckpt"),
    *("torch/mom.pt", "torch/dflt.legacy.pt", "torch/mom.safetensors"),
    *("tf210/dflt_mlp.optw.npz", "tf210/dflt_mlp.optw.pkl", "tf210/dflt_mlp.optw_object.npy"),
)


@pytest.mark.parametrize("name", FUZZED)
def test_mutations_raise_nothing_but_checkpoint_errors(name, tmp_path):
    moments, original = random.Random(zlib.crc32(name.encode())), samples.folder() / name
    data = original.read_bytes()
    path = tmp_path / original.name
    for sibling in original.parent.glob(original.name.partition(".ckpt")[0] + ".ckpt*"):
        (tmp_path / sibling.name).write_bytes(sibling.read_bytes())
    target = tmp_path / original.name.removesuffix(".index").removesuffix(DATA)
    for _ in range(60):
        mutated = bytearray(data)
        at = moments.randrange(len(data))
        kind = moments.randrange(4)
        if kind == 0:
            mutated[at] ^= 1 << moments.randrange(8)
        elif kind == 1:
            del mutated[at:]
        elif kind == 2:
            mutated[at : at + 8] = moments.randbytes(8)
        else:
            other = moments.randrange(len(data))
            mutated[at : at + 30] = data[other : other + 30]
        path.write_bytes(mutated)
        with contextlib.suppress(fastrms.CheckpointError):
            fastrms.load(target, dialect="tf-keras-v2" if "optw" in name else None)


def far_away(data, offset):
    """Give a zip archive a Zip64 end that claims so many bytes before its directory."""
    end = data.rindex(b"PK\5\6")
    count, size, _ = struct.unpack("<H2L", data[end + 10 : end + 20])
    sizes = (0, 0, count, count, size, offset)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, *sizes)
    return data[:end] + record + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1) + data[end:]


@pytest.mark.parametrize("offset", [2**30, 2**62, 2**63, 255 << 56], ids=hex)
@pytest.mark.parametrize("name", ["k3-tf/dflt_mlp.optw.npz", "k3-tf/dflt_mlp.keras"])
def test_a_zip_member_before_the_beginning_is_refused(name, offset, tmp_path):
    """`zipfile` takes what it misses at the front off the offsets, which become negative."""
    (tmp_path / "a").write_bytes(far_away((samples.folder() / name).read_bytes(), offset))
    with pytest.raises(fastrms.CheckpointError, match=str(tmp_path)):
        fastrms.load(tmp_path / "a", dialect="keras-3")


def test_a_damaged_zip64_end_in_a_file_of_torch_is_refused(tmp_path):
    data = bytearray((samples.folder() / "torch/mom.pt").read_bytes())
    data[data.rindex(b"PK\6\6") + 55] = 0xFF
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(fastrms.CheckpointError, match="beyond the end"):
        fastrms.load(tmp_path / "a.pt")


def test_a_file_that_may_not_be_read_is_an_error_with_its_name(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK")

    def forbidden(self, *_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", forbidden)
    with pytest.raises(fastrms.CheckpointError, match=r"a\.npz cannot be read .*denied"):
        fastrms.load(path)
