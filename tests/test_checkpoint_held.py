"""Every writer by every hyperparameter: it comes back as it was, or saving names it and refuses."""

import os

import numpy as np
import pytest

import fastrms
from fastrms.cli import main
from fastrms.dialects import DIALECTS

# .safetensors holds what .npz does, .weights.json what .weights.h5 does: one function each.
FORMATS = (".npz", ".h5", ".keras", ".weights.h5", ".ckpt")
UNUSUAL = {
    **{"learning_rate": 0.25, "lr": 0.25, "rho": 0.5, "momentum": 0.5, "epsilon": 0.125},
    **{"decay": 0.5, "centered": True, "weight_decay": 0.125, "loss_scale_factor": 8.0},
    **{"clipnorm": 2.0, "clipvalue": 3.0, "global_clipnorm": 4.0, "use_ema": True},
    **{"ema_momentum": 0.5, "ema_overwrite_frequency": 3, "gradient_accumulation_steps": 2},
}
WITH = {"ema_momentum": {"use_ema": True}, "ema_overwrite_frequency": {"use_ema": True}}
# Not hyperparameters of the rule, or of one value only.
LABELS = {"name", "jit_compile", "mesh"}


def used(row):
    """The hyperparameters of a dialect that act, with the offset of its decay."""
    names = [n for n, a in row.arguments.items() if a.effect == "used" and n not in LABELS]
    return [*names, *(["decay_offset"] if row.decay is not None else [])]


def unusual(row, name):
    """Arguments that give a hyperparameter a value that is not its default."""
    if name == "decay_offset":
        return {"decay": 0.5, name: 1 - row.decay.offset}
    return {name: UNUSUAL[name], **WITH.get(name, {})}


def refused(path, state):
    """Save, and return why not."""
    try:
        fastrms.save(path, state)
    except fastrms.CheckpointError as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def unforced(monkeypatch):
    """Nothing here asks what a power cut would leave."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_hyperparameter_is_held_or_named(dialect, suffix, tmp_path):
    row, path = DIALECTS[dialect], tmp_path / f"a{suffix}"
    for name in used(row):
        optimizer = fastrms.RMSprop(dialect=dialect, **unusual(row, name))
        optimizer.build({"w": np.ones(2, np.float32)})
        state = optimizer.checkpoint()
        key = name if name in state.config else {"lr": "learning_rate"}.get(name, "lr")
        if refusal := refused(path, state):
            if "the format cannot hold" not in refusal:
                assert "convert" in refusal  # the dialect has no such files at all
                return
            with pytest.warns(fastrms.PortingWarning) as caught:
                fastrms.save(path, state, lossy=True)
            named = [text for text in (refusal, str(caught[0].message)) if key in text]
            found = fastrms.load(path, dialect=dialect)
            assert len(named) == 2 or found.config[key] == state.config[key], name
            continue
        found = fastrms.load(path, dialect=dialect)
        again = found.optimizer({"w": np.ones(2, np.float32)})
        assert again.checkpoint().config.get(key) == state.config[key], name


def test_every_hyperparameter_of_every_dialect_is_asked_about():
    for row in DIALECTS.values():
        assert {name for name in used(row) if name != "decay_offset"} <= set(UNUSUAL)
        for name in used(row):
            argument = row.arguments.get(name)
            assert argument is None or argument.default != UNUSUAL[name]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5", ".ckpt"])
def test_an_optimizer_without_variables_is_saved(suffix, tmp_path):
    optimizer = fastrms.RMSprop(dialect="keras-2.2")
    fastrms.save(tmp_path / f"a{suffix}", optimizer)
    found = fastrms.load(tmp_path / f"a{suffix}", dialect="keras-2.2")
    assert (found.slots, found.variables, found.iterations or 0) == ({}, [], 0)


@pytest.mark.parametrize("given", [3, "ab", None.__class__], ids=["number", "text", "class"])
def test_variables_that_are_no_list_are_refused(given, tmp_path):
    optimizer = fastrms.RMSprop()
    optimizer.build({"w": np.ones(2, np.float32)})
    fastrms.save(tmp_path / "a.npz", optimizer)
    with pytest.raises(fastrms.CheckpointError, match="valid: a list of arrays"):
        fastrms.load(tmp_path / "a.npz", variables=given)
    with pytest.raises(fastrms.CheckpointError, match="valid: a list of arrays"):
        optimizer.checkpoint().optimizer(given)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".keras"])
def test_variables_of_other_shapes_are_not_ignored_for_files_written_here(suffix, tmp_path):
    optimizer = fastrms.RMSprop()
    optimizer.build({"w": np.ones(2, np.float32)})
    fastrms.save(tmp_path / f"a{suffix}", optimizer)
    with pytest.raises(fastrms.CheckpointError, match="the variables given have the shapes"):
        fastrms.load(tmp_path / f"a{suffix}", variables=[np.ones(3, np.float32)])
    found = fastrms.load(tmp_path / f"a{suffix}", variables={"v": np.ones(2, np.float32)})
    assert [v.name for v in found.variables] == ["v"]


def test_the_command_line_names_its_own_options(tmp_path, capsys):
    optimizer = fastrms.RMSprop(momentum=0.5)
    optimizer.build({"w": np.ones(2, np.float32)})
    fastrms.save(tmp_path / "a.h5", optimizer)
    old, new = str(tmp_path / "a.h5"), str(tmp_path / "b.h5")
    assert main(["convert", old, new, "--dialect", "keras-2.2"]) == 2
    said = capsys.readouterr().err
    assert "--lossy drops it" in said
    assert "lossy=True" not in said
    assert main(["convert", old, str(tmp_path / "b.foo")]) == 2
    assert "format=" not in capsys.readouterr().err
