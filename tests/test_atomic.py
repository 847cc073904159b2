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
import os, random, signal, sys, time
import numpy as np
import fastrms

path, kills = sys.argv[1], int(sys.argv[2])
weights = np.ones(30_000)
optimizer = fastrms.RMSprop()
optimizer.build({"w": weights})
states = []
for value in (1.0, 2.0):
    optimizer.set_weights([int(value), 0.001, np.full(30_000, value)])
    states.append(optimizer.checkpoint({"w": weights}))
fastrms.save(path, states[0])
moments, seen, count = random.Random(7), set(), 0
rests = lambda: any(name.endswith(".part") for name in os.listdir(os.path.dirname(path)))
# A loaded machine may give a child no time at all: then there are more of them.
while count < kills or (count < 40 * kills and not (len(seen) == 2 and rests())):
    count += 1
    child = os.fork()
    if not child:
        while True:
            for state in reversed(states):
                fastrms.save(path, state)
    time.sleep(moments.uniform(0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = fastrms.load(path)
    seen.add(found.iterations)
    assert (found.slots["velocity"][0] == found.iterations).all()
print(sorted(seen), rests())
"""


@pytest.mark.parametrize("name", ["run.npz", "run.safetensors", "run.ckpt"])
def test_a_process_killed_at_any_moment_leaves_a_whole_file(name, tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / name), "50"]
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
