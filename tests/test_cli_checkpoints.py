"""`fastrms inspect`, `convert` and `diff`: what they print, write and exit with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastrms
import samples
from fastrms import cli
from fastrms.tools import commands, printing

ROOT = Path(__file__).parents[1]
OLD, NEW = "k22-tf/decay_mlp.h5", "k3-tf/mom_mlp.keras"


def sample(name):
    return str(samples.folder() / name)


def run(*arguments):
    return cli.main(list(map(str, arguments)))


def test_inspect_shows_what_a_file_holds(capsys):
    assert run("inspect", sample("tf210/cmom_emb.ckpt")) == 0
    out = capsys.readouterr().out
    assert re.search(r"^iterations +5$", out, re.MULTILINE)
    for words in ("tf-keras-v2", "6 variables", "lstm/lstm_cell/bias", "(12,)"):
        assert words in out
    for slot in ("velocity", "momentum", "average_gradient"):
        assert f"{slot} (least, mean, most)" in out
    assert "note: no epsilon" in out
    assert "\x1b" not in out


def test_inspect_gives_json(capsys):
    assert run("inspect", sample("tf210/mom_mlp.ckpt"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    expected = samples.expected("tf210/mom_mlp.x")
    assert (found["dialect"], found["iterations"]) == ("tf-keras-v2", 5)
    first = found["variables"][0]["slots"]["velocity"]
    true = expected.arrays["slot/rms"][:12]
    assert (first["min"], first["max"]) == (float(true.min()), float(true.max()))
    assert (first["zeros"], first["not_finite"]) == (0, 0)


def test_inspect_gives_json_of_values_that_json_lacks(tmp_path, capsys):
    optimizer = fastrms.RMSprop()
    optimizer.build({"w": np.ones(2)})
    optimizer.set_weights([1, 0.1, np.array([np.inf, np.nan])])
    fastrms.save(tmp_path / "odd.npz", optimizer)
    assert run("inspect", tmp_path / "odd.npz", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["variables"][0]["slots"]["velocity"]["not_finite"] == 2


def test_inspect_takes_the_dialect_of_a_bare_list(capsys):
    path = sample("k23-tf/dflt_mlp.optw.npz")
    assert run("inspect", path, "--source-dialect", "keras-2.3") == 0
    assert re.search(r"^iterations +5$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5", ".ckpt"])
def test_convert_moves_a_file_and_says_so(suffix, tmp_path, capsys):
    if suffix == ".h5":
        pytest.importorskip("h5py")
    target = tmp_path / f"out{suffix}"
    assert run("convert", sample("tf210/mom_mlp.ckpt"), target) == 0
    out = capsys.readouterr().out
    assert "4 variables with velocity, momentum, iterations 5; read again and bit-equal" in out
    one, other = fastrms.load(sample("tf210/mom_mlp.ckpt")), fastrms.load(target)
    for slot, column in one.slots.items():
        assert [a.tobytes() for a in column] == [a.tobytes() for a in other.slots[slot]]


def test_convert_to_another_dialect_reports_what_will_differ(tmp_path, capsys):
    pytest.importorskip("h5py")
    target = tmp_path / "out.npz"
    assert run("convert", sample(OLD), target, "--dialect", "keras-3") == 0
    out = capsys.readouterr().out
    assert "epsilon stands inside the square root" in out
    assert fastrms.load(target).dialect == "keras-3"


@pytest.mark.parametrize(
    ("source", "dialect", "template"),
    [
        ("k22-tf/dflt_mlp.h5", "keras-3", "k3-tf/dflt_mlp.keras"),  # has no counter
        ("k12-tf/bn_abc.h5", "keras-3", "k3-tf/bn.keras"),  # in the order of names
        ("k3-tf/bn.keras", "keras-1", "k12-tf/bn_abc.h5"),
        ("tf210/lso_mlp.h5", "keras-3", "k3-tf/lso_mlp.keras"),  # has no loss scale
        ("k22-tf/dflt_mlp.h5", "keras-3", None),
        ("tf210/lso_mlp.h5", "keras-3", None),
    ],
)
def test_convert_hands_an_old_file_to_another_system(source, dialect, template, tmp_path, capsys):
    pytest.importorskip("h5py")
    target = tmp_path / ("a.keras" if dialect == "keras-3" else "a.h5")
    options = ["--template", sample(template)] if template else []
    assert run("convert", sample(source), target, "--dialect", dialect, "--lossy", *options) == 0
    assert "read again and bit-equal" in capsys.readouterr().out
    assert fastrms.load(target).dialect == dialect


def test_convert_gives_a_bare_list_its_dialect(tmp_path):
    path = sample("k23-tf/dflt_mlp.optw.npz")
    assert run("convert", path, tmp_path / "a.npz", "--source-dialect", "keras-2.3") == 0
    assert fastrms.load(tmp_path / "a.npz").dialect == "keras-2.3"


@pytest.mark.parametrize("name", ["out.npz", "out.ckpt"])
def test_convert_never_overwrites_without_force(name, tmp_path, capsys):
    source, target = sample("tf210/mom_mlp.ckpt"), tmp_path / name
    assert run("convert", source, target) == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert run("convert", sample("tf210/cmom_emb.ckpt"), target) == 2
    assert "exists" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert run("convert", sample("tf210/cmom_emb.ckpt"), target, "--force") == 0
    assert len(fastrms.load(target).variables) == 6


def test_convert_says_when_the_file_does_not_hold_what_was_written(tmp_path, capsys, monkeypatch):
    real = commands.load

    def damaged(path, **options):
        found = real(path, **options)
        if Path(path).parent == tmp_path:
            found.slots["velocity"][0] = np.nextafter(found.slots["velocity"][0], np.float32(9))
        return found

    monkeypatch.setattr(commands, "load", damaged)
    assert run("convert", sample("tf210/mom_mlp.ckpt"), tmp_path / "a.npz") == 1
    error = capsys.readouterr().err
    assert "does not hold" in error
    assert re.search(r"velocity of \S+: 12 of 12 values differ", error)


@pytest.mark.parametrize("name", ["out.npz", "out.ckpt"])
def test_convert_replaces_an_older_file_only_by_one_that_holds(name, tmp_path, capsys, monkeypatch):
    target = tmp_path / name
    assert run("convert", sample("tf210/mom_mlp.ckpt"), target) == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    real = commands.load

    def damaged(path, **options):
        found = real(path, **options)
        if tmp_path in Path(path).parents:
            found.slots["velocity"][0] = np.nextafter(found.slots["velocity"][0], np.float32(9))
        return found

    monkeypatch.setattr(commands, "load", damaged)
    capsys.readouterr()
    assert run("convert", sample("tf210/cmom_emb.ckpt"), target, "--force") == 1
    assert "the older one was left as it was" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_refused_replacement_names_the_file_that_was_asked_for(tmp_path, capsys):
    pytest.importorskip("h5py")
    target = tmp_path / "a.h5"
    target.write_bytes(b"old")
    assert run("convert", sample("tf210/lso_mlp.ckpt"), target, "--force") == 2
    assert f"convert: {target}: the format cannot hold" in capsys.readouterr().err
    assert target.read_bytes() == b"old"
    assert run("convert", sample("tf210/lso_mlp.ckpt"), target, "--force", "--lossy") == 0
    assert capsys.readouterr().err.count("left out") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_convert_refuses_a_loss_unless_it_is_asked_for(tmp_path, capsys):
    pytest.importorskip("h5py")
    source, target = sample("tf210/lso_mlp.ckpt"), tmp_path / "a.h5"
    assert run("convert", source, target) == 2
    assert "loss scale" in capsys.readouterr().err.replace("_", " ")
    assert not target.exists()
    assert run("convert", source, target, "--lossy") == 0
    printed = capsys.readouterr()
    assert "left out" in printed.out + printed.err


def test_diff_finds_no_difference_between_containers(tmp_path, capsys):
    source = sample("tf210/mom_mlp.ckpt")
    run("convert", source, tmp_path / "a.npz")
    assert run("diff", source, tmp_path / "a.npz") == 0
    assert "no difference: 4 variables" in capsys.readouterr().out


def test_diff_names_every_difference(tmp_path, capsys):
    source = sample("tf210/mom_mlp.ckpt")
    found = fastrms.load(source)
    found.slots["velocity"][1] = found.slots["velocity"][1] * np.float32(2)
    found.config["rho"] = 0.5
    fastrms.save(tmp_path / "b.npz", found)
    assert run("diff", source, tmp_path / "b.npz") == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("config rho: 0.89999")
    assert re.match(r"velocity of hidden/bias: 4 of 4 values differ, by up to \S+", lines[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "missing.npz"), "no such file"),
        (("inspect", __file__), "no known format"),
        (("convert", __file__, "a.npz"), "no known format"),
        (("convert", __file__, "a.xyz"), "does not tell the format"),
        (("diff", __file__, __file__), "no known format"),
    ],
)
def test_refusals_are_one_line_without_traceback(arguments, message, capsys):
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"fastrms {arguments[0]}: ")
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("inspect",), ("convert", "a"), ("diff", "a"), ("inspect", "a", "--josn")]
)
def test_wrong_use_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m fastrms inspect {sample('tf210/mom_mlp.ckpt')} | head -1"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, env={**os.environ}
    )
    assert (done.stdout, done.stderr) == ("Checkpoint\n", "")


class Terminal:
    """A stream that a person looks at."""

    def __init__(self, stream):
        self.stream = stream

    def isatty(self):
        return True

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_a_terminal_gets_tables_and_a_bar(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(printing, "_LARGE", 1)
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    monkeypatch.setenv("COLUMNS", "200")
    assert run("inspect", sample("tf210/mom_mlp.ckpt")) == 0
    printed = capsys.readouterr()
    assert "┃" in printed.out
    assert "hidden/kernel" in printed.out
    assert "reading mom_mlp.ckpt" in printed.err


def test_names_in_a_table_are_not_markup(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    printing.table("t", ["name"], [["[red]a[/blue]"]])
    assert "[red]a[/blue]" in capsys.readouterr().out
