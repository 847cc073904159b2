"""Checkpoints in unpractised hands: wrong paths, files and targets are told, nothing is changed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastrms
import samples
from fastrms import cli
from fastrms.errors import ArgumentError, CheckpointError, PortingWarning

NO_PATHS = [None, 3, 2.5, b"old.h5", [], "", "a\0b", fastrms.RMSprop]


def optimizer(**arguments):
    made = fastrms.RMSprop(**arguments)
    made.apply([np.ones((2, 2), np.float32)], [np.ones((2, 2), np.float32)])
    return made


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, beside real files and damaged copies of them."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(samples.folder() / "k22-tf/decay_mlp.h5", "old.h5")
    shutil.copy(samples.folder() / "k3-tf/dflt_mlp.keras", "k3.keras")
    Path("text.h5").write_text("no HDF5 at all\n")
    for name in ("old.h5", "k3.keras"):
        data = Path(name).read_bytes()
        Path(f"half.{name.rpartition('.')[2]}").write_bytes(data[: len(data) // 2])
    Path("folder.h5").mkdir()


def content():
    """Every file below the working folder with its bytes."""
    return {p: p.read_bytes() for p in sorted(Path().rglob("*")) if p.is_file()}


@pytest.mark.parametrize("path", NO_PATHS, ids=repr)
def test_what_is_no_path_is_told_with_what_is_one(path):
    made, scaler = optimizer(), fastrms.LossScaleOptimizer(fastrms.RMSprop())
    before = content()
    calls = [
        lambda: fastrms.load(path),
        lambda: fastrms.save(path, made),
        lambda: made.load(path),
        lambda: scaler.load(path),
    ]
    for call in calls:
        with pytest.raises(ArgumentError, match=r"path is .*; valid: the name of a file.*load\("):
            call()
    with pytest.raises(ArgumentError, match=r"template is .*; valid: "):
        fastrms.save("new.h5", made, template=path if path is not None else 3)
    assert content() == before


@pytest.mark.parametrize("state", [3, None, "old.h5", fastrms.RMSprop], ids=repr)
def test_what_has_no_state_is_not_saved(state):
    before = content()
    with pytest.raises(CheckpointError, match="cannot be saved; valid: an RMSprop"):
        fastrms.save("new.h5", state)
    assert content() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variables": 3}, "variables is int 3; valid: a list of arrays"),
        ({"format": []}, r"unknown format \[\]; valid: weights.h5"),
        ({"lossy": "no"}, "lossy='no' is not valid; valid: True, False"),
        ({"template": "nofile.h5"}, "nofile.h5: there is no such file"),
        ({"template": "text.h5"}, "text.h5: the bytes b'no HDF5 ' begin no known format"),
        ({"template": "half.h5"}, "the template half.h5 cannot be used: .*take a whole copy"),
        ({"template": "k3.keras", "format": "h5"}, "the template k3.keras cannot be used"),
    ],
    ids=str,
)
def test_a_wrong_argument_of_save_is_told(arguments, message):
    before = content()
    with pytest.raises((ArgumentError, CheckpointError), match=message):
        fastrms.save("new.h5", optimizer(), **arguments)
    assert content() == before


def test_other_wrong_arguments_are_told():
    with pytest.raises(ArgumentError, match="trusted='x' is not valid"):
        fastrms.load("old.h5", trusted="x")
    with pytest.raises(CheckpointError, match="variables is int 3; valid"):
        optimizer().checkpoint(3)
    with pytest.raises(CheckpointError, match="take a whole copy of the file"):
        fastrms.load("half.keras")


@pytest.mark.parametrize("name", ["folder.h5", "a.ckpt", "folder.h5/no/a.npz"])
def test_a_target_that_cannot_be_written_is_told(name):
    Path("a.ckpt.index").mkdir()
    before = content()
    with pytest.raises(CheckpointError, match=r"could not be written|cannot be written"):
        fastrms.save(name, optimizer())
    assert content() == before


@pytest.mark.parametrize(("decay", "offset"), [(0.1, 0), (0.1, 1), (0.0, 0)], ids=str)
def test_a_decay_offset_that_a_template_cannot_hold_is_told(decay, offset):
    arguments = {"dialect": "keras-2.2", "decay": decay, "decay_offset": offset}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PortingWarning)
        state = fastrms.load("old.h5").optimizer(**arguments)
        fastrms.save("new.h5", state, template="old.h5", lossy=True)
    told = [str(w.message) for w in caught if "decay_offset" in str(w.message)]
    assert len(told) == (offset == 0 and decay > 0)
    assert not told or "{'decay_offset': 0} is not written" in told[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("inspect nofile.h5", "nofile.h5: there is no such file"),
        ("inspect folder.h5", "folder.h5: a folder without"),
        ("inspect text.h5", "begin no known format"),
        ("inspect half.h5", "take a whole copy"),
        ("inspect old.h5 --source-dialect keras-9", "unknown dialect 'keras-9'; valid: keras-3"),
        ("convert old.h5 new.npz --dialect keras-9", "unknown dialect 'keras-9'; valid: keras-3"),
        ("convert old.h5 k3.keras --dialect keras-3", "k3.keras exists; .*--force"),
        ("convert old.h5 folder.h5 --force", "folder.h5 could not be written"),
        ("convert old.h5 new.npz --template old.h5", "leave --template out"),
        ("convert old.h5 n.keras --dialect keras-3 --template no.keras", "no.keras: there is no"),
        ("convert old.h5 n.keras --dialect keras-3 --template half.keras", "half.keras: the zip"),
        ("diff old.h5 nofile.h5", "nofile.h5: there is no such file"),
    ],
    ids=lambda words: words.split(";")[0][:60],
)
def test_wrong_use_of_the_command_is_told(words, message, capsys):
    before = content()
    assert cli.main(words.split()) == 2
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    assert re.search(message, found.err), found.err
    assert content() == before


@pytest.mark.parametrize("words", ["inspect old.h5", "diff old.h5 old.h5", "info"])
@pytest.mark.parametrize("output", ["closed", "full"])
def test_output_that_cannot_be_written_is_told_without_a_traceback(words, output):
    target = ">&-" if output == "closed" else "> /dev/full"
    command = f"exec {sys.executable} -m fastrms {words} {target} <&-"
    found = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "the output cannot be written" in found.stderr
