"""Saving is atomic: killed at any moment, on a full disk, or failing, the old file stays whole."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastrms
from fastrms.checkpoint import atomic
from fastrms.checkpoint.atomic import replacing

ROOT = Path(__file__).parents[1]
# A child saves two states in turn, for ever, and is killed; what lies there must be one of them.
PROGRAM = """
import dataclasses, os, random, signal, sys, time
import numpy as np
import fastrms

path, kills = sys.argv[1], int(sys.argv[2])
form = {"format": "kdir"} if path.endswith("kdir") else {}
weights = np.ones(30_000)
optimizer = fastrms.RMSprop()
optimizer.build({"w": weights})
states = []
for value in (1.0, 2.0):
    optimizer.set_weights([int(value), 0.001, np.full(30_000, value)])
    state = optimizer.checkpoint({"w": weights})
    if path.endswith(".weights.json"):
        state = dataclasses.replace(state, config={"learning_rate": 0.5})
    states.append(state)
fastrms.save(path, states[0], **form)
moments, seen, count = random.Random(7), set(), 0
rests = lambda: any(name.endswith(".part") for name in os.listdir(os.path.dirname(path)))
# A loaded machine may give a child no time at all: then there are more of them.
while count < kills or (count < 40 * kills and not (len(seen) == 2 and rests())):
    count += 1
    child = os.fork()
    if not child:
        while True:
            for state in reversed(states):
                fastrms.save(path, state, **form)
    time.sleep(moments.uniform(0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = fastrms.load(path, trusted=True)
    seen.add(found.iterations)
    assert (found.slots["velocity"][0] == found.iterations).all()
print(sorted(seen), rests())
"""


KERAS = ("run.h5", "run.keras", "run.weights.json", "kdir")


@pytest.mark.parametrize("name", ["run.npz", "run.safetensors", "run.ckpt", *KERAS])
def test_a_process_killed_at_any_moment_leaves_a_whole_file(name, tmp_path):
    if name in KERAS:
        pytest.importorskip("h5py")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / name), "25"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    # Both states were there, and some kills fell into the writing of a temporary file.
    assert done.stdout == "[1, 2] True\n"


def state():
    weights = np.ones(1000)
    optimizer = fastrms.RMSprop()
    optimizer.apply([weights.copy()], [weights])
    return optimizer.checkpoint({"w": weights})


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.ckpt"])
@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_old_file_and_no_rest(name, step, tmp_path, monkeypatch):
    path = tmp_path / name
    fastrms.save(path, state())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "write":
        real = open

        def opened(file, *args, **kwargs):
            found = real(file, *args, **kwargs)
            return Full(found) if isinstance(file, int) else found

        monkeypatch.setattr(atomic, "open", opened, raising=False)
    else:
        monkeypatch.setattr(atomic.os, {"fsync": "fsync", "rename": "replace"}[step], full)
    with pytest.raises(fastrms.CheckpointError, match="No space left"):
        fastrms.save(path, state())
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


class Full:
    """A file on a disk that is full after 100 bytes."""

    def __init__(self, file):
        self.file, self.left = file, 100

    def write(self, data):
        self.left -= memoryview(data).nbytes
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    class Interrupted(BaseException):
        pass

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise Interrupted

    with pytest.raises(Interrupted):
        interrupted()
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_the_index_of_a_tensorflow_file_comes_last(tmp_path, monkeypatch):
    renamed, real = [], os.replace
    monkeypatch.setattr(
        atomic.os, "replace", lambda a, b: (renamed.append(Path(b).name), real(a, b))
    )
    for _ in range(2):
        fastrms.save(tmp_path / "a.ckpt", state())
    first, again = ["a.ckpt.data-00000-of-00001"], [f"a.ckpt.data-0000{k}-of-00002" for k in (1, 0)]
    assert renamed == [*first, "a.ckpt.index", *again, "a.ckpt.index"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [*sorted(again), "a.ckpt.index"]


def test_a_torn_tensorflow_pair_is_refused(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0)):
        weights = np.full(1000, value)
        optimizer = fastrms.RMSprop()
        optimizer.apply([weights.copy()], [weights])
        fastrms.save(tmp_path / f"{name}.ckpt", optimizer.checkpoint())
    data = ".ckpt.data-00000-of-00001"
    os.replace(tmp_path / f"b{data}", tmp_path / f"a{data}")
    with pytest.raises(fastrms.CheckpointError, match="checksum"):
        fastrms.load(tmp_path / "a.ckpt")


def test_permissions_and_links_are_kept(tmp_path):
    target, link = tmp_path / "real", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    with replacing(tmp_path / "new") as file:
        file.write(b"new")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes["new"] == modes["other"]


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.ckpt"])
def test_a_folder_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(fastrms.CheckpointError, match="folder that exists"):
        fastrms.save(tmp_path / "missing" / name, state())


# What each save leaves behind, when the disk takes only so many bytes of any file.
DISK = """
import dataclasses, os, pathlib, resource, signal, sys
import numpy as np
import fastrms

folder, weights = pathlib.Path(sys.argv[1]), np.ones(30_000)
optimizer = fastrms.RMSprop()
optimizer.apply([weights.copy()], [weights])
state = optimizer.checkpoint({"w": weights})
bare = dataclasses.replace(state, config={"learning_rate": 0.5})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for name in sys.argv[2:]:
    form = {"format": "kdir"} if name == "kdir" else {}
    what = bare if "weights" in name else state
    fastrms.save(folder / name, what, **form)
    files = {p: p.is_file() and p.read_bytes() for p in folder.rglob("*")}
    for most in (0, 100, 5000, 300_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            fastrms.save(folder / name, what, **form)
        except fastrms.CheckpointError as error:
            said = str(error)
        else:
            said = "saved"
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert "could not be written (File too large)" in said, (name, most, said)
        now = {p: p.is_file() and p.read_bytes() for p in folder.rglob("*")}
        assert now == files, (name, most, sorted(set(now) ^ set(files)))
"""


def test_a_disk_that_is_full_after_any_number_of_bytes_leaves_the_old_files(tmp_path):
    pytest.importorskip("h5py")
    names = ["a.npz", "a.safetensors", "a.ckpt", "a.h5", "a.keras", "a.weights.h5"]
    command = [sys.executable, "-c", DISK, str(tmp_path), *names, "b.weights.json", "kdir"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(fastrms.CheckpointError, match=r"thesis\.txt.*would be lost"):
        fastrms.save(tmp_path / "mine", state(), format="kdir")
    with pytest.raises(fastrms.CheckpointError, match="is a file"):
        fastrms.save(tmp_path / "mine" / "thesis.txt", state(), format="kdir")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_a_folder_is_replaced_where_two_cannot_change_places(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    from fastrms.checkpoint import keras_folder

    def unknown(*_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(keras_folder, "exchange", unknown)
    for count in (1, 2):
        optimizer = fastrms.RMSprop()
        optimizer.build([np.ones(2)])
        optimizer.iterations = count
        fastrms.save(tmp_path / "run", optimizer, format="kdir")
        assert fastrms.load(tmp_path / "run").iterations == count
        assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_the_map_of_shards_comes_last_and_never_names_a_shard_in_the_making(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    import dataclasses

    path, real, renamed = tmp_path / "a.weights.json", os.replace, []
    states = [
        dataclasses.replace(state(), config={"learning_rate": 0.5}, iterations=i) for i in range(3)
    ]
    fastrms.save(path, states[0])

    def replaced(a, b):
        assert fastrms.load(path, trusted=True).iterations == renamed.count("a.weights.json")
        renamed.append(Path(b).name)
        real(a, b)

    monkeypatch.setattr(atomic.os, "replace", replaced)
    for new in states[1:]:
        fastrms.save(path, new)
    shards = ["a_00001.weights.h5", "a_00000.weights.h5"]
    assert renamed == [shards[0], "a.weights.json", shards[1], "a.weights.json"]
    assert fastrms.load(path).iterations == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.weights.json", shards[1]]


def test_a_folder_is_never_away_while_it_is_replaced(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    fastrms.save(tmp_path / "run", state(), format="kdir")
    monkeypatch.setattr(Path, "rename", None)  # two names would have to change one by one
    fastrms.save(tmp_path / "run", state(), format="kdir")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
