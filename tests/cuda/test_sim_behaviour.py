"""What a step on a device takes, launches and refuses, and how its state moves."""

from __future__ import annotations

import gc
import pickle
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from devices import BRAIN, Cupy, Lender, counted, on_device

import battery
import fastrms
from fastrms.cuda import target
from fastrms.rule import Hyper

CLIPS = {"global_clipnorm": 0.5}


def pair(count: int = 3, dtype: str = "float32") -> tuple[list[Any], list[Any]]:
    """Return variables and gradients on the host."""
    variables = [battery.numbers(4 + k, dtype, k) for k in range(count)]
    return variables, [battery.numbers(4 + k, dtype, 10 + k) for k in range(count)]


def stepped(variables: list[Any], gradients: list[Any], **options: Any) -> list[Any]:
    """Return what the host makes of one step."""
    opt = fastrms.RMSprop(**options)
    opt.build(variables)
    opt._core.stepper._compiled = False
    opt.apply(gradients)
    return variables


@pytest.mark.parametrize("library", [Cupy, Lender, on_device])
def test_protocols_are_taken_and_updated_in_place(library: Any) -> None:
    host, changes = pair()
    live = [library(v) for v in host]
    opt = fastrms.RMSprop(learning_rate=0.1)
    opt.apply([library(g) for g in changes], live)
    opt.apply_gradients([(library(g), v) for g, v in zip(changes, live, strict=True)])
    twice = fastrms.RMSprop(learning_rate=0.1)
    twice.build(host)
    twice._core.stepper._compiled = False
    twice.apply(changes)
    twice.apply(changes)
    for ours, theirs in zip(live, host, strict=True):
        np.testing.assert_array_equal(np.asarray(getattr(ours, "kept", ours)), theirs)


def test_one_lone_array_needs_no_list() -> None:
    variable = Cupy(np.ones(3, np.float32))
    opt = fastrms.RMSprop()
    opt.build(variable)
    opt.apply(Cupy(np.ones(3, np.float32)), variable)
    assert opt.iterations == 1


def test_bfloat16_comes_by_dlpack() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    variable = Lender(np.ones(9, ml_dtypes.bfloat16))
    opt = fastrms.RMSprop(learning_rate=0.125)
    opt.apply([Lender(np.ones(9, ml_dtypes.bfloat16))], [variable])
    assert np.asarray(variable.kept).astype(np.float32).max() < 1
    assert opt.get_weights()[2].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("options", "launches"),
    [({}, 1), ({"momentum": 0.9, "centered": True, "use_ema": True}, 1), (CLIPS, 3),
     ({"clipnorm": 0.5}, 3), ({"clipvalue": 0.5}, 1), ({"gradient_accumulation_steps": 2}, 1)],
    ids=str,
)  # fmt: skip
def test_a_step_is_one_launch_or_three(log: Any, options: Any, launches: int) -> None:
    host, changes = pair()
    opt = fastrms.RMSprop(**options)
    live, moved = [on_device(v) for v in host], [on_device(g) for g in changes]
    opt.apply(moved, live)
    log.clear()
    opt.apply(moved)
    opt.apply(moved, live)
    found = counted(log)
    assert found["launch"] == 2 * launches
    assert found.get("read", 0) == 0
    assert found.get("upload", 0) <= (1 if "gradient_accumulation_steps" in options else 0)


def test_dtypes_and_exclusions_share_the_launch(log: Any) -> None:
    dtypes = ("float16", "float32", "float64", "float32")
    host = [battery.numbers(5, d, k) for k, d in enumerate(dtypes)]
    opt = fastrms.RMSprop(weight_decay=0.01)
    live = {f"{'bias' if k == 3 else 'kernel'}{k}": on_device(v) for k, v in enumerate(host)}
    opt.exclude_from_weight_decay(var_names=["bias"])
    opt.build(live)
    log.clear()
    opt.apply({name: on_device(v) for name, v in zip(live, host, strict=True)})
    assert counted(log) == {"launch": 1, "upload": 1}


def test_a_moved_gradient_is_uploaded_once(log: Any) -> None:
    host, changes = pair(1)
    live, first, second = on_device(host[0]), on_device(changes[0]), on_device(changes[0])
    opt = fastrms.RMSprop()
    opt.build([live])
    opt.apply([first])
    log.clear()
    opt.apply([first])
    assert "upload 1" not in log
    opt.apply([second])
    assert log.count("upload 1") == 1


def test_another_gradient_at_the_same_place_is_not_uploaded(log: Any) -> None:
    """What an allocator gives again lies where the last gradient lay, in an object of its own."""
    variable, first, second = (Cupy(np.ones(3, np.float32)) for _ in range(3))
    second.kept, second.data = first.kept, first.data
    opt = fastrms.RMSprop()
    opt.apply([first], [variable])
    log.clear()
    opt.apply([second], [variable])
    assert counted(log) == {"launch": 1}


def test_a_gradient_that_moves_inside_its_object_is_noticed() -> None:
    variable, gradient = Cupy(np.ones(3, np.float32)), Cupy(np.ones(3, np.float32))
    opt = fastrms.RMSprop(learning_rate=0.1)
    opt.apply([gradient], [variable])
    other = on_device(np.full(3, -1, np.float32))
    gradient.kept, gradient.data.ptr = other, other.address
    before = variable.get()
    opt.apply([gradient])
    assert (variable.get() > before).all()


def test_streams_are_the_producers_or_the_callers(log: Any) -> None:
    variable, gradient = Cupy(np.ones(3, np.float32)), Cupy(np.ones(3, np.float32), stream=7)
    opt = fastrms.RMSprop()
    opt.build([variable])
    opt.apply([gradient])
    assert "order 1 7" in log, "the state was made on the variable's stream"
    assert log[-1] == "launch 7"
    log.clear()
    opt.apply([gradient], stream=SimpleNamespace(ptr=9))
    assert log == ["order 7 9", "order 7 9", "launch 9"], "gradients, then our state"
    for stream in (
        SimpleNamespace(cuda_stream=9),
        SimpleNamespace(handle=SimpleNamespace(value=9)),
    ):
        log.clear()
        opt.apply([gradient], stream=stream)
        assert log[-1] == "launch 9"
    with pytest.raises(fastrms.ArgumentError, match="stream='main' is not valid"):
        opt.apply([gradient], stream="main")


def test_the_callers_stream_is_kept_for_as_long_as_it_is_ours() -> None:
    """A handle whose stream was destroyed could no longer be waited for."""

    class Stream:
        ptr = 9

    variable, stream = Cupy(np.ones(3, np.float32)), Stream()
    alive = weakref.ref(stream)
    opt = fastrms.RMSprop()
    opt.apply([Cupy(np.ones(3, np.float32))], [variable], stream=stream)
    del stream
    gc.collect()
    assert alive() is not None
    opt.apply([Cupy(np.ones(3, np.float32), stream=7)], [variable])
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("sparse", [False, True], ids=["whole", "rows"])
def test_a_table_that_cannot_be_copied_changes_nothing(
    sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it would become part of a graph."""
    device = target.machine(0)
    live = [on_device(battery.numbers((4, 3), np.float32, 0))]
    opt = fastrms.RMSprop(momentum=0.9)

    def given(seed: int) -> Any:
        values = on_device(battery.numbers((4, 3), np.float32, seed))
        return [fastrms.IndexedSlices(values, [0, 2, 0, 3]) if sparse else values]

    opt.apply(given(1), live)
    before = [np.array(a) for a in (*live, *opt.get_weights())]

    def refused(*given: Any) -> None:
        raise fastrms.DeviceError("no")

    changes = given(2)
    with monkeypatch.context() as patch:
        patch.setattr(device, "upload", refused)
        with pytest.raises(fastrms.DeviceError, match="no"):
            opt.apply(changes, live)
    for one, other in zip(before, (*live, *opt.get_weights()), strict=True):
        np.testing.assert_array_equal(one, np.asarray(other))
    opt.apply(changes, live)
    again = [on_device(battery.numbers((4, 3), np.float32, 0))]
    twin = fastrms.RMSprop(momentum=0.9)
    twin.apply(given(1), again)
    twin.apply(given(2), again)
    np.testing.assert_array_equal(np.asarray(live[0]), np.asarray(again[0]))


@pytest.mark.parametrize("options", [{}, CLIPS, {"slot_dtype": "float32", **CLIPS}], ids=str)
def test_numbers_have_the_widths_of_the_parameters(
    options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver reads them by address alone; what the PTX takes is in `test_ptx.py`."""
    launched: list[tuple[Any, Any]] = []
    loaded, arguments = target.loaded, target.Arguments
    monkeypatch.setattr(
        target, "loaded", lambda *a: launched.append((a[2], ())) or loaded(*a)
    )  # fmt: skip

    def noted(address: int, rows: int, numbers: list[Any]) -> Any:
        launched[-1] = launched[-1][0], numbers
        return arguments(address, rows, numbers)

    monkeypatch.setattr(target, "Arguments", noted)
    dtypes = [BRAIN, *map(np.dtype, ("float16", "float64", "float32"))]
    live = [on_device(np.ones((3, 2), dtype)) for dtype in dtypes]
    gradients = [on_device(np.ones((3, 2), dtype)) for dtype in dtypes]
    fastrms.RMSprop(**options).apply(gradients, live)
    assert len(launched) == (3 if "global_clipnorm" in options else 1)
    for wanted, numbers in launched:
        assert [a.dtype.name for a in numbers] == list(wanted)
        assert all(a.size == len(Hyper._fields) and a.flags.c_contiguous for a in numbers)


def test_a_stream_for_numpy_arrays_is_refused() -> None:
    variable = np.ones(3)
    with pytest.raises(fastrms.ArgumentError, match="no effect on NumPy arrays"):
        fastrms.RMSprop().apply([variable * 2], [variable], stream=1)
    np.testing.assert_array_equal(variable, 1)


ONES = np.ones((2, 3), np.float32)


def read_only(array: Cupy) -> Cupy:
    """Say of an array that it may not be written."""
    array.changes["data"] = (array.data.ptr, True)
    return array


BAD_VARIABLES = {
    "read-only": (lambda: read_only(Cupy(ONES)), "read-only"),
    "strided": (lambda: Cupy(ONES, strides=(24, 8)), r"strides \(24, 8\).*not contiguous.*copy"),
    "masked": (lambda: Cupy(ONES, mask=1), "masked"),
    "whole numbers": (lambda: Cupy(ONES, typestr="<i4"), "dtype is '<i4'; valid: native float16"),
    "foreign bytes": (lambda: Cupy(ONES, typestr=">f4"), "dtype is '>f4'"),
    "freed": (lambda: Cupy(ONES, data=(0, False)), "has been freed"),
    "stream 0": (lambda: Cupy(ONES, stream=0), "stream is 0"),
    "read-only DLPack": (lambda: Lender(ONES, versioned=True, read_only=True), "read-only"),
    "strided DLPack": (lambda: Lender(ONES, packed=True, strides=(24, 8)), "not contiguous"),
    "complex DLPack": (lambda: Lender(ONES, code=5), "number 5 of DLPack"),
    "freed DLPack": (lambda: Lender(ONES, address=None), "has been freed"),
}


@pytest.mark.parametrize("name", BAD_VARIABLES)
def test_variables_that_cannot_be_updated_are_refused(name: str) -> None:
    make, message = BAD_VARIABLES[name]
    opt = fastrms.RMSprop()
    with pytest.raises(fastrms.VariableError, match=message):
        opt.build([make()])
    assert not opt.built


BAD_GRADIENTS = {
    "on the host": (lambda: ONES, r"in the host's memory \(ndarray\).*Copy it there first"),
    "a list": (lambda: [[1.0] * 3] * 2, "in the host's memory"),
    "another shape": (lambda: Cupy(np.ones((3, 2), np.float32)), r"has shape \(3, 2\)"),
    "another dtype": (lambda: Cupy(np.ones((2, 3), np.float64)), "dtype float64; expected"),
    "columns": (lambda: on_device(np.asfortranarray(ONES)), "strides .* use one order"),
    "freed": (lambda: Cupy(ONES, data=(0, False)), "has been freed"),
    "another device": (lambda: Lender(ONES, device=10), "in the host's memory"),
}


@pytest.mark.parametrize("name", BAD_GRADIENTS)
def test_gradients_that_do_not_fit_are_refused(name: str) -> None:
    make, message = BAD_GRADIENTS[name]
    variable, good = Cupy(ONES), Cupy(ONES)
    opt = fastrms.RMSprop()
    opt.build([variable])
    opt.apply([good])
    before = battery.digest([variable.get(), *opt.get_weights()])
    with pytest.raises(fastrms.GradientError, match=message):
        opt.apply([make()])
    assert battery.digest([variable.get(), *opt.get_weights()]) == before


def test_a_gradient_on_a_device_for_a_variable_on_the_host_is_refused() -> None:
    variable = ONES.copy()
    opt = fastrms.RMSprop()
    opt.build([variable])
    with pytest.raises(fastrms.GradientError, match=r"is on a GPU \(Cupy\), the variable in the"):
        opt.apply([Cupy(ONES)])
    np.testing.assert_array_equal(variable, 1)


def test_host_and_device_in_one_optimizer_are_refused() -> None:
    with pytest.raises(fastrms.VariableError, match="device 0, the host; valid: all in the host's"):
        fastrms.RMSprop().build([ONES.copy(), Cupy(ONES)])


def test_two_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Cupy(ONES), Cupy(ONES)
    places = {first.data.ptr: 0, second.data.ptr: 1}
    monkeypatch.setattr(target.machine(0), "device_of", places.__getitem__)
    with pytest.raises(fastrms.VariableError, match="device 0, device 1"):
        fastrms.RMSprop().build([first, second])


def test_a_gradient_on_another_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    variable, gradient = Cupy(ONES), Cupy(ONES)
    opt = fastrms.RMSprop()
    opt.build([variable])
    places = {variable.data.ptr: 0, gradient.data.ptr: 1}
    monkeypatch.setattr(target.machine(0), "device_of", places.__getitem__)
    with pytest.raises(fastrms.GradientError, match="is on device 1, the variable on 0"):
        opt.apply([gradient])


def test_variables_that_share_memory_are_refused() -> None:
    whole = on_device(np.ones(8, np.float32))
    with pytest.raises(fastrms.VariableError, match="share elements"):
        fastrms.RMSprop().build([whole[0:5], whole[4:8]])


def test_a_gradient_that_is_the_variable_is_refused() -> None:
    variable = on_device(np.ones(8, np.float32))
    opt = fastrms.RMSprop()
    opt.build([variable])
    with pytest.raises(fastrms.GradientError, match="shares memory"):
        opt.apply([variable])


def test_a_variable_that_moved_is_refused() -> None:
    variable, gradient = Cupy(ONES), Cupy(ONES)
    opt = fastrms.RMSprop()
    opt.apply([gradient], [variable])
    variable.kept = on_device(ONES)
    variable.data.ptr = variable.kept.address
    with pytest.raises(fastrms.VariableError, match=r"has changed since build.*rebind"):
        opt.apply([gradient])


def test_running_out_of_memory_leaves_nothing_half_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(nbytes: int) -> int:
        raise fastrms.DeviceError("the CUDA driver answered CUDA_ERROR_OUT_OF_MEMORY")

    variables = [on_device(ONES), on_device(np.ones(4))]
    opt = fastrms.RMSprop()
    with monkeypatch.context() as patch:
        patch.setattr(target.machine(0), "allocate", refuse)
        with pytest.raises(fastrms.DeviceError, match=r"OUT_OF_MEMORY.*Nothing was changed.*Free"):
            opt.apply([on_device(ONES), on_device(np.ones(4))], variables)
    assert not opt.built
    opt.apply([on_device(ONES), on_device(np.ones(4))], variables)


def test_memory_is_given_back() -> None:
    blocks = target.machine(0)._blocks
    gc.collect()
    before = len(blocks)
    opt = fastrms.RMSprop(**CLIPS)
    opt.apply([on_device(ONES)], [on_device(ONES)])
    assert len(blocks) > before
    del opt
    gc.collect()
    assert len(blocks) == before


def trained(**options: Any) -> tuple[fastrms.RMSprop, list[Any], list[Any]]:
    """Return an optimizer on a device after two steps."""
    host, changes = pair()
    live, moved = [on_device(v) for v in host], [on_device(g) for g in changes]
    opt = fastrms.RMSprop(**{"momentum": 0.9, **options})
    opt.build(live)
    opt.apply(moved)
    opt.apply(moved)
    return opt, live, moved


def test_weights_move_between_device_and_host() -> None:
    opt, live, moved = trained(centered=True)
    host = fastrms.RMSprop(momentum=0.9, centered=True)
    variables = [np.asarray(v) for v in live]
    host.build(variables)
    host._core.stepper._compiled = False
    host.set_weights(opt.get_weights())
    host.apply([np.asarray(g) for g in moved])
    opt.apply(moved)
    assert battery.digest(host.get_weights()) == battery.digest(opt.get_weights())
    again = fastrms.RMSprop(momentum=0.9, centered=True)
    again.build([on_device(v) for v in variables])
    again.set_weights(host.get_weights())
    assert battery.digest(again.get_weights()) == battery.digest(host.get_weights())


def test_weights_that_do_not_fit_change_nothing() -> None:
    opt, _, _ = trained()
    before = battery.digest(opt.get_weights())
    with pytest.raises(fastrms.StateError, match="Nothing was changed"):
        opt.set_weights([np.zeros(2)] * len(opt.get_weights()))
    assert battery.digest(opt.get_weights()) == before


def test_a_pickle_keeps_variables_and_state() -> None:
    opt, _, moved = trained()
    copy = pickle.loads(pickle.dumps(opt))
    opt.apply(moved)
    copy.apply(moved)
    assert battery.digest(copy.get_weights()) == battery.digest(opt.get_weights())
    ours, theirs = (o._core.stepper.variables.arrays for o in (copy, opt))
    assert battery.digest(map(np.asarray, ours)) == battery.digest(map(np.asarray, theirs))


def test_rebind_moves_the_state_to_other_arrays_on_the_device() -> None:
    opt, live, moved = trained()
    others = [on_device(np.asarray(v)) for v in live]
    before = battery.digest(opt.get_weights())
    opt.rebind(others)
    assert battery.digest(opt.get_weights()) == before
    opt.apply(moved)
    assert battery.digest(map(np.asarray, others)) != battery.digest(map(np.asarray, live))


@pytest.mark.parametrize("options", [{}, CLIPS])
def test_more_pieces_than_a_launch_has_blocks_are_refused(
    options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, changes = pair(3)
    live, opt = [on_device(v) for v in host], fastrms.RMSprop(**options)
    opt.build(live)
    before = battery.digest(opt.get_weights())
    with monkeypatch.context() as patch:
        patch.setattr("fastrms.cuda.passes.MOST_ROWS", 2)
        with pytest.raises(fastrms.DeviceError, match=r"needs 3 pieces .* valid: at most 2\. Noth"):
            opt.apply([on_device(g) for g in changes])
    assert battery.digest(map(np.asarray, live)) == battery.digest(host)
    assert battery.digest(opt.get_weights()) == before
    opt.apply([on_device(g) for g in changes])


def test_averages_become_the_variables() -> None:
    opt, live, _ = trained(use_ema=True, ema_momentum=0.5)
    state = opt._core.stepper.state
    averages = [np.asarray(state.shaped("average", i)) for i in range(len(live))]
    opt.finalize_variable_values()
    assert battery.digest(map(np.asarray, live)) == battery.digest(averages)


def test_state_is_shown_as_variables_on_the_device() -> None:
    opt, _, _ = trained()
    slot = opt.variables[2]
    assert isinstance(slot, fastrms.Variable)
    assert slot.device == "cuda:0"
    shown = slot.__cuda_array_interface__
    assert shown["version"] == 3
    assert shown["shape"] == slot.shape
    with pytest.raises(ValueError, match="can only be copied"):
        np.asarray(slot, copy=False)
    slot.assign(np.zeros(slot.shape))
    assert not opt.get_weights()[2].any()


def test_schedules_cross_as_scalars(log: Any) -> None:
    variable, gradient = on_device(ONES), on_device(ONES)
    rate = fastrms.schedules.ExponentialDecay(0.1, 1, 0.5)
    opt = fastrms.RMSprop(learning_rate=rate)
    opt.build([variable])
    opt.apply([gradient])
    log.clear()
    opt.apply([gradient])
    assert counted(log) == {"launch": 1}
    host = ONES.copy()
    theirs = fastrms.RMSprop(learning_rate=rate)
    theirs.build([host])
    theirs._core.stepper._compiled = False
    theirs.apply([ONES])
    theirs.apply([ONES])
    np.testing.assert_array_equal(np.asarray(variable), host)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_dynamic_loss_scaling_looks_on_the_device_and_skips(log: Any, odd: float) -> None:
    """The scale needs to know, so that each step waits once; nothing else comes to the host."""
    bad = np.ones((2, 3), np.float32)
    bad[1, 2] = odd
    results = []
    for place in (np.array, on_device):
        variable = place(ONES)
        opt = fastrms.LossScaleOptimizer(fastrms.RMSprop(0.1), initial_scale=4.0)
        opt.build([variable])
        if place is np.array:
            opt.inner_optimizer._core.stepper._compiled = False
        opt.apply([place(4 * ONES)])
        log.clear()
        opt.apply([place(bad)])
        if place is on_device:
            assert counted(log) == {"launch": 1, "upload": 1, "read": 1}
        opt.apply([place(4 * ONES)])
        results.append([np.asarray(variable), *opt.get_weights()])
    assert battery.digest(results[0]) == battery.digest(results[1])


def test_averages_can_be_swapped_in() -> None:
    opt, live, _ = trained(use_ema=True, ema_momentum=0.5)
    before = battery.digest(map(np.asarray, live))
    averages = [np.asarray(opt._core.stepper.state.shaped("average", i)) for i in range(3)]
    with opt.swapped_ema():
        assert battery.digest(map(np.asarray, live)) == battery.digest(averages)
    assert battery.digest(map(np.asarray, live)) == before


def test_a_checkpoint_is_written_and_read_from_the_device(tmp_path: Any) -> None:
    opt, live, moved = trained(centered=True)
    fastrms.save(tmp_path / "run.npz", opt)
    again = fastrms.RMSprop(momentum=0.9, centered=True)
    again.build([on_device(np.asarray(v)) for v in live])
    again.load(tmp_path / "run.npz")
    assert battery.digest(again.get_weights()) == battery.digest(opt.get_weights())
    opt.apply(moved)
    again.apply(moved)
    assert battery.digest(again.get_weights()) == battery.digest(opt.get_weights())
