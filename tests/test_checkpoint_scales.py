"""Files of LossScaleOptimizers: scale and counter come back, and go where there is a place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fastrms
import samples

pytest.importorskip("h5py")

SCALED = [n for n in samples.names() if "/lso" in n and n.endswith((".h5", ".keras", ".index"))]
SCALED = [n for n in SCALED if not n.endswith("weights.h5")]


@pytest.fixture(autouse=True)
def reference_engine(monkeypatch):
    from numba import config

    monkeypatch.setattr(config, "DISABLE_JIT", 1)


def test_there_are_samples():
    assert len(SCALED) >= 6


def trained(dialect="keras-3", **own):
    own = {"initial_scale": 64.0, "dynamic_growth_steps": 3, **own}
    variables = [np.array([1, -2], np.float32), np.ones((2, 2), np.float32)]
    inner = fastrms.RMSprop(0.1, momentum=0.5, dialect=dialect)
    optimizer = fastrms.LossScaleOptimizer(inner, **own)
    for bad in (False, True, False, False):
        gradients = [np.full_like(v, np.inf if bad else 32) for v in variables]
        if not bad or optimizer.dynamic:
            optimizer.apply(gradients, variables)
    return optimizer, variables


def state_of(optimizer):
    arrays = [a.tobytes() for a in optimizer.inner_optimizer.get_weights()]
    return (optimizer.dynamic_scale, optimizer.step_counter, optimizer.iterations, arrays)


@pytest.mark.parametrize("name", SCALED)
def test_a_real_file_gives_back_the_whole_optimizer(name):
    expected = samples.expected(name)
    found = fastrms.load(samples.folder() / name)
    variables = [a.copy() for a in expected.split("param")]
    meta = expected.meta["optimizer"]["get_config"]
    inner = {k: v for k, v in meta["inner_optimizer"]["config"].items() if v is not None}
    hyper = {k: inner[k] for k in ("rho", "momentum", "epsilon") if k not in found.config}
    optimizer = found.optimizer(variables, **hyper)
    assert isinstance(optimizer, fastrms.LossScaleOptimizer)
    assert optimizer.initial_scale == optimizer.dynamic_scale == 1024.0
    assert optimizer.step_counter == (found.loss_scale.get("counter") or 0)
    for step in range(3):
        optimizer.apply(samples.gradients(expected.split("grad"), optimizer, step))
        for ours, theirs in zip(variables, expected.split("live/param"), strict=True):
            assert np.max(abs(ours - theirs[step]) / (abs(theirs[step]) + 1e-3)) <= 2e-5


@pytest.mark.parametrize(
    ("dialect", "file"),
    [
        *(("keras-3", f) for f in ("a.npz", "a.safetensors", "a.h5", "a.keras", "a.ckpt")),
        *(("tf-keras-v2", f) for f in ("a.npz", "a.safetensors", "a.ckpt")),
        *(("tf-keras-2.11", f) for f in ("a.npz", "a.safetensors", "a.ckpt")),
    ],
)
def test_an_optimizer_goes_through_every_format_with_a_place(dialect, file, tmp_path):
    optimizer, variables = trained(dialect)
    if file == "a.ckpt" and dialect != "tf-keras-v2":  # whose checkpoints have no momentum
        with pytest.warns(
            fastrms.PortingWarning, match=r"the hyperparameters \{'momentum': 0\.5\}"
        ):
            fastrms.save(tmp_path / file, optimizer, lossy=True)
    else:
        fastrms.save(tmp_path / file, optimizer)
    copies = [v.copy() for v in variables]
    hyper = {"dynamic_growth_steps": 3, "momentum": 0.5} if file == "a.ckpt" else {}
    again = fastrms.load(tmp_path / file).optimizer(copies, **hyper)
    assert state_of(again) == state_of(optimizer)
    assert optimizer.dynamic_scale != 64.0 or optimizer.step_counter
    for _ in range(4):
        for one, two in zip(variables, copies, strict=True):
            assert one.tobytes() == two.tobytes()
        optimizer.apply([v * np.float32(8) for v in variables])
        again.apply([v * np.float32(8) for v in copies])
    assert state_of(again) == state_of(optimizer)


@pytest.mark.parametrize("dialect", ["tf-keras-v2", "tf-keras-2.11"])
@pytest.mark.parametrize("file", ["a.h5", "a.keras"])
def test_a_format_without_a_place_refuses_unless_lossy(dialect, file, tmp_path):
    if (dialect, file) == ("tf-keras-v2", "a.keras"):
        return
    optimizer, variables = trained(dialect)
    with pytest.raises(fastrms.CheckpointError, match="the loss scale"):
        fastrms.save(tmp_path / file, optimizer)
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(fastrms.PortingWarning, match="the loss scale"):
        fastrms.save(tmp_path / file, optimizer, lossy=True)
    again = fastrms.load(tmp_path / file).optimizer(variables)
    assert (again.dynamic_scale, again.dynamic_growth_steps) == (64.0, 3)
    assert again.iterations == optimizer.iterations


@pytest.mark.parametrize("file", ["a.npz", "a.h5", "a.ckpt"])
def test_a_scale_that_stays_goes_on_staying(file, tmp_path):
    optimizer, variables = trained("tf-keras-v2", dynamic=False, dynamic_growth_steps=None)
    fastrms.save(tmp_path / file, optimizer)
    hyper = {"dynamic": False, "momentum": 0.5} if file == "a.ckpt" else {}
    again = fastrms.load(tmp_path / file).optimizer(variables, **hyper)
    assert (again.dynamic, again.dynamic_scale) == (False, 64.0)
    assert state_of(again) == state_of(optimizer)


@pytest.mark.parametrize("built", [False, True])
def test_load_restores_scale_and_slots_or_changes_nothing(built, tmp_path):
    first, variables = trained()
    fastrms.save(tmp_path / "a.npz", first)
    inner = fastrms.RMSprop(0.1, momentum=0.5)
    second = fastrms.LossScaleOptimizer(inner, 64.0, dynamic_growth_steps=3)
    if built:
        second.build(variables)
    second.load(tmp_path / "a.npz", variables)
    assert state_of(second) == state_of(first)
    copies = [v.copy() for v in variables]
    second.apply([np.full_like(v, 8) for v in variables])
    other = first.checkpoint().optimizer(copies)
    other.apply([np.full_like(v, 8) for v in copies])
    assert [v.tobytes() for v in copies] == [v.tobytes() for v in variables]
    before = state_of(second)
    bad = dataclasses.replace(first.checkpoint(), variables=[], slots={}, weights={})
    fastrms.save(tmp_path / "b.npz", bad)
    with pytest.raises(fastrms.CheckpointError, match="2 variables were given"):
        second.load(tmp_path / "b.npz")
    assert state_of(second) == before


def test_load_says_what_stays(tmp_path):
    first, variables = trained()
    fastrms.save(tmp_path / "a.npz", first)
    with pytest.warns(fastrms.PortingWarning, match="LossScaleOptimizer to go on"):
        fastrms.RMSprop(0.1, momentum=0.5).load(tmp_path / "a.npz", variables)
    second = fastrms.LossScaleOptimizer(fastrms.RMSprop(0.1, momentum=0.5))
    with pytest.warns(fastrms.PortingWarning, match=r"dynamic_growth_steps=2000 .the file has 3."):
        second.load(tmp_path / "a.npz", variables)
    plain = fastrms.RMSprop(0.1, momentum=0.5)
    plain.build(variables)
    fastrms.save(tmp_path / "b.npz", plain)
    with pytest.warns(fastrms.PortingWarning, match="the file holds none"):
        second.load(tmp_path / "b.npz")
    fixed, _ = trained("tf-keras-v2", dynamic=False, dynamic_growth_steps=None)
    fastrms.save(tmp_path / "c.npz", fixed)
    inner = fastrms.RMSprop(0.1, momentum=0.5, dialect="tf-keras-v2")
    with pytest.raises(fastrms.CheckpointError, match=r"dynamic=False\. Nothing was changed"):
        fastrms.LossScaleOptimizer(inner).load(tmp_path / "c.npz", variables)


def test_a_dialect_without_loss_scales_refuses_one():
    state = trained()[0].checkpoint()
    with pytest.raises(fastrms.CheckpointError, match=r"keras-2\.3 has no loss scale"):
        state.convert("keras-2.3")
    dropped = dataclasses.replace(state, config={}, slots={}).convert("keras-2.3", lossy=True)
    assert dropped.loss_scale is None
    assert any("has no loss scale" in line for line in dropped.report)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": 1e300},
        {"scale": "1"},
        {"scale": True},
        {"counter": -1},
        {"counter": 1.5},
        {"growth_steps": 0},
        {"dynamic": 1},
        {"other": 1},
        [1],
    ],
    ids=str,
)
def test_a_scale_that_cannot_be_is_refused(wrong):
    state = trained()[0].checkpoint()
    with pytest.raises(fastrms.CheckpointError, match="loss_scale"):
        dataclasses.replace(state, loss_scale=wrong)
