"""Variables in a GPU's memory: values, NumPy, loans to other libraries, constraints, state."""

from __future__ import annotations

import copy
import gc
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from devices import Cupy, Lender, on_device

import battery
import fastrms
from fastrms.cuda import lending, target

F4 = np.float32
ONES = np.ones(2, F4)


def variable(value: Any = (1.0, 2.0), **options: Any) -> fastrms.Variable:
    """Return a Variable in the device's memory."""
    return fastrms.Variable(list(value), **{"device": "cuda", **options})


def test_it_says_where_it_lies() -> None:
    made = variable(name="v")
    assert made.device == "cuda:0"
    assert repr(made) == (
        "<Variable name='v', shape=(2,), dtype=float32, device='cuda:0', value=[1., 2.]>"
    )
    assert fastrms.Variable(1.0).device == "cpu"
    assert "device" not in repr(fastrms.Variable(1.0))


@pytest.mark.parametrize("value", [Cupy(ONES), Lender(ONES), on_device(ONES)], ids=type)
def test_a_value_on_a_device_stays_there_as_a_copy(value: Any) -> None:
    log = target.machine(0).log
    log.clear()
    made = fastrms.Variable(value)
    assert "read" not in log
    assert made.device == "cuda:0"
    kept = getattr(value, "kept", value)
    made.assign([5, 6])
    np.testing.assert_array_equal(np.asarray(kept), 1)
    host = fastrms.Variable(value, device="cpu")
    assert host.device == "cpu"
    np.testing.assert_array_equal(host, 1)
    np.testing.assert_array_equal(fastrms.Variable(made, dtype="float64", device="cuda"), [5, 6])


BAD = {
    "device": ({"device": "gpu"}, r"device='gpu' is not valid; valid: 'cpu', 'cuda', 'cuda:1'"),
    "whole numbers": ({"dtype": int}, "a GPU takes bfloat16, float16, float32, float64, not int"),
    "no device": ({"device": 0}, "device=0 is not valid"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_made_is_refused(name: str) -> None:
    options, message = BAD[name]
    with pytest.raises(fastrms.VariableError, match=message):
        variable(**options)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    made = variable(dtype=dtype)
    assert made.dtype.name == dtype
    made.assign_add(np.asarray(made))
    assert np.asarray(made).astype(F4).tolist() == [2.0, 4.0]
    opt = fastrms.RMSprop(0.5)
    opt.apply([variable(dtype=dtype)], [made])
    assert (np.asarray(made).astype(F4) < [2.0, 4.0]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("value", [[1e300], np.array([1e300]), [np.finfo(F4).max]], ids=repr)
def test_numbers_too_large_for_a_dtype_are_refused(value: Any, dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    made = variable([np.inf], dtype=dtype)
    if dtype == "float32" and float(value[0]) < 1e300:
        made.assign(value)
        return
    with pytest.raises(fastrms.VariableError, match=f"too large for {dtype}"):
        variable(value, dtype=dtype)
    with pytest.raises(fastrms.VariableError, match="no number too large"):
        made.assign(value)
    assert np.isinf(np.asarray(made).astype(F4)).all()


def test_numpy_computes_with_a_copy() -> None:
    made = variable([[1.0, 2.0], [3.0, 4.0]])
    host = made.numpy()
    assert isinstance(host, np.ndarray)
    for found, expected in (
        (made * 2, host * 2), (np.sum(made), np.sum(host)), (made.sum(0), host.sum(0)),
        (made[1], host[1]), (made[:, 0], host[:, 0]), (made[0:1], host[0:1]), (made.T, host.T),
        (made.reshape(-1, 4), host.reshape(-1, 4)), (np.clip(made, 2, 3), np.clip(host, 2, 3)),
        (np.concatenate([made, made]), np.concatenate([host, host])), (made @ made, host @ host),
        (np.add.reduce(made, axis=1), np.add.reduce(host, axis=1)), (list(made), list(host)),
    ):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert (len(made), made.ndim, made.size) == (2, 2, 4)
    assert float(made[1, 1]) == 4.0
    columns = fastrms.Variable(np.asfortranarray(host), device="cuda")
    np.testing.assert_array_equal(np.asarray(columns.reshape(4)), host.reshape(4))


def test_it_changes_in_place() -> None:
    made = variable()
    address = made.__cuda_array_interface__["data"][0]
    made += 1
    np.testing.assert_array_equal(made, [2, 3])
    np.add.at(made, [0, 0], 5)
    np.testing.assert_array_equal(made, [12, 3])
    np.multiply(made, 2, out=made)
    made[1] = 9
    np.testing.assert_array_equal(made, [24, 9])
    np.testing.assert_array_equal(made.assign_sub([4, 4]), [20, 5])
    made.assign(variable([7, 8]))
    np.testing.assert_array_equal(made, [7, 8])
    assert made.__cuda_array_interface__["data"][0] == address


@pytest.mark.parametrize("value", [Cupy(np.ones(3, F4)), Cupy(np.ones(2)), [1, 2, 3], "text"])
def test_a_value_that_does_not_fit_changes_nothing(value: Any) -> None:
    made = variable()
    with pytest.raises(fastrms.VariableError, match="Nothing was changed"):
        made.assign(value)
    np.testing.assert_array_equal(made, [1, 2])


def test_an_assignment_waits_for_the_stream_of_the_value_and_is_waited_for() -> None:
    log, made = target.machine(0).log, variable()
    log.clear()
    made.assign(Cupy(ONES, stream=7))
    assert log == ["order 7 1", "order 1 7"]


@pytest.mark.parametrize("versioned", [False, True])
def test_numpy_takes_it_by_dlpack(monkeypatch: pytest.MonkeyPatch, versioned: bool) -> None:
    """The simulator's device memory is the host's, so that NumPy can be the borrower."""
    monkeypatch.setattr(lending, "CUDA", 1)
    held = [variable([1.0, 2.0, 3.0])]

    class Asked:
        def __dlpack_device__(self) -> Any:
            return held[0].__dlpack_device__()

        def __dlpack__(self, **asked: Any) -> Any:
            return held[0].__dlpack__(max_version=(1, 0) if versioned else None)

    borrowed = np.from_dlpack(Asked())
    np.testing.assert_array_equal(borrowed, [1, 2, 3])
    held[0].assign([4, 5, 6])
    np.testing.assert_array_equal(borrowed, [4, 5, 6])
    assert len(lending._lent) == 1
    held.clear()
    gc.collect()
    np.testing.assert_array_equal(borrowed, [4, 5, 6])
    del borrowed
    assert not lending._lent


def test_a_loan_that_nobody_takes_is_forgotten_and_the_borrower_waits() -> None:
    log, made = target.machine(0).log, variable()
    log.clear()
    capsule = made.__dlpack__(stream=9)
    assert log == ["order 1 9"]
    assert len(lending._lent) == 1
    del capsule
    assert not lending._lent
    made.__dlpack__(stream=-1)
    assert log == ["order 1 9"]
    with pytest.raises(BufferError, match="lent only there"):
        made.__dlpack__(dl_device=(1, 0))


def test_another_library_takes_it_as_its_own() -> None:
    made = variable()
    shown = made.__cuda_array_interface__
    assert (shown["typestr"], shown["shape"], shown["stream"]) == ("<f4", (2,), 1)
    assert made.__dlpack_device__() == (2, 0)
    with pytest.raises(AttributeError):
        _ = fastrms.Variable(1.0).__cuda_array_interface__


def test_copies_and_pickles_stay_on_the_device() -> None:
    made = variable(name="v", constraint=abs)
    for other in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert (other.device, other.name, other.constraint) == ("cuda:0", "v", abs)
        made.assign([0, 0])
        np.testing.assert_array_equal(other, [1, 2])
        made.assign([1, 2])


def trained(**options: Any) -> tuple[fastrms.RMSprop, fastrms.Variable]:
    """Return an optimizer of a Variable on the device, and one step."""
    made, opt = variable(name="v"), fastrms.RMSprop(0.1, momentum=0.9, **options)
    opt.apply([variable()], [made])
    return opt, made


def test_its_state_moves_as_that_of_the_host(tmp_path: Any) -> None:
    opt, made = trained(use_ema=True, ema_momentum=0.5)
    host, theirs = fastrms.Variable([1.0, 2.0], name="v"), fastrms.RMSprop(
        0.1, momentum=0.9, use_ema=True, ema_momentum=0.5)  # fmt: skip
    theirs.build([host])
    theirs._core.stepper._compiled = False  # type: ignore[union-attr]
    theirs.apply([[1.0, 2.0]])
    assert battery.digest(opt.get_weights()) == battery.digest(theirs.get_weights())
    fastrms.save(tmp_path / "run.npz", opt)
    again = fastrms.RMSprop(0.1, momentum=0.9, use_ema=True, ema_momentum=0.5)
    again.build([variable(made.numpy())])
    again.load(tmp_path / "run.npz")
    assert battery.digest(again.get_weights()) == battery.digest(theirs.get_weights())
    with opt.swapped_ema(), theirs.swapped_ema():
        np.testing.assert_array_equal(made, host)
    pair = pickle.loads(pickle.dumps((opt, made)))
    pair[0].apply([variable()], [pair[1]])
    opt.apply([variable()])
    np.testing.assert_array_equal(*(np.asarray(v) for v in (pair[1], made)))


def test_variables_given_again_are_known(log: Any) -> None:
    made, change = variable(), variable()
    opt = fastrms.RMSprop()
    opt.apply([change], [made])
    plan = next(iter(opt._core.stepper._plans.values()))
    log.clear()
    assert plan.look([change], [made]) == 0
    opt.apply([change], [made])
    assert log == ["launch 1"]


def test_a_stateless_step_leaves_everything_and_gives_arrays_there() -> None:
    opt, made = trained()
    before = battery.digest([made.numpy(), *opt.get_weights()])
    new, state = opt.stateless_apply(opt.variables, [variable()], [made])
    assert battery.digest([made.numpy(), *opt.get_weights()]) == before
    opt.apply([variable()])
    assert battery.digest([np.asarray(a) for a in (*new, *state)]) == battery.digest(
        [made.numpy(), *opt.get_weights()]
    )


def test_a_gradient_that_replaces_its_variable() -> None:
    made, other = variable(), variable()
    made.overwrite_with_gradient = True
    fastrms.RMSprop(0.1).apply([Cupy(3 * ONES), Cupy(ONES)], [made, other])
    np.testing.assert_array_equal(made, 3)
    assert (other.numpy() < [1, 2]).all()


def test_losses_are_not_differentiated_on_a_device() -> None:
    made = variable(name="v")
    with pytest.raises(fastrms.VariableError, match=r"'v' is on cuda:0.*valid: Variables with dev"):
        fastrms.RMSprop().minimize(lambda: (made**2).sum(), [made])


def test_host_and_device_do_not_mix() -> None:
    with pytest.raises(fastrms.VariableError, match="device 0, the host"):
        fastrms.RMSprop().build([variable(), fastrms.Variable(1.0)])
    opt = fastrms.RMSprop()
    opt.build([fastrms.Variable([1.0, 2.0])])
    with pytest.raises(fastrms.GradientError, match="is on a GPU"):
        opt.apply([variable()])


def clipped(found: Any) -> Any:
    """Return values between 0 and 1 as CuPy would."""
    return Cupy(np.clip(np.asarray(found), 0, 1))


CONSTRAINTS = {"NumPy": lambda w: np.clip(w, 0, 1), "operators": lambda w: w * (w >= 0)}
CONSTRAINTS["CuPy"] = clipped


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_act_on_a_device(name: str) -> None:
    results = []
    for device in ("cpu", "cuda"):
        rule = (lambda w: clipped(w).get()) if (name, device) == ("CuPy", "cpu") else None
        made = variable([1.5, -2.0], device=device, constraint=rule or CONSTRAINTS[name])
        opt = fastrms.RMSprop(0.1, momentum=0.9)
        opt.build([made])
        opt._core.stepper._compiled = False  # type: ignore[union-attr]
        for _ in range(2):
            opt.apply([variable(device=device)])
        results.append([made.numpy(), *opt.get_weights()])
    assert battery.digest(results[0]) == battery.digest(results[1])


def test_a_constraint_gets_what_was_given_on_its_librarys_stream() -> None:
    log, seen = target.machine(0).log, []
    live, change = Cupy(ONES, stream=7), Cupy(ONES)
    live.constraint = lambda w: seen.append(w) or Cupy(0 * ONES, stream=7)  # type: ignore[attr-defined]
    opt = fastrms.RMSprop()
    opt.build([live])
    log.clear()
    opt.apply([change])
    assert seen == [live]
    assert log[-4:] == ["launch 1", "order 1 7", "order 7 1", "order 1 7"]
    assert "read" not in log
    np.testing.assert_array_equal(live.get(), 0)


BROKEN = {
    "a shape": lambda w: np.ones(3, F4),
    "a dtype there": lambda w: Cupy(np.ones(2)),
    "a list": lambda w: [1.0, 2.0],
    "an error": lambda w: 1 / 0,
    "a change and an error": lambda w: w.assign([0, 0]) and 1 / 0,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_constraint_that_fails_leaves_everything_as_it_was(name: str) -> None:
    good, made = variable([3.0, 4.0]), variable(constraint=BROKEN[name])
    opt = fastrms.RMSprop(0.1, momentum=0.9)
    opt.build([good, made])
    with pytest.raises((fastrms.VariableError, ZeroDivisionError, ValueError)):
        opt.apply([variable(), variable()])
    np.testing.assert_array_equal(good, [3, 4])
    np.testing.assert_array_equal(made, [1, 2])
    assert opt.iterations == 0
    assert not any(w.any() for w in opt.get_weights()[2:])


def test_streams_go_with_the_step() -> None:
    log, made = target.machine(0).log, variable()
    opt = fastrms.RMSprop()
    opt.apply([variable()], [made], stream=SimpleNamespace(ptr=9))
    assert log[-1] == "launch 9"
    assert made.__cuda_array_interface__["stream"] == 9


class Traced(fastrms.RMSprop):
    """Keeps a variable of its own and computes in NumPy."""

    def build(self, variables: Any) -> None:
        super().build(variables)
        self.traces = [self.add_variable_from_reference(v, "trace") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        assert isinstance(gradient, np.ndarray)
        trace = self.traces[self._get_variable_index(variable)]
        self.assign(trace, 0.9 * trace + gradient)
        self.assign_sub(variable, learning_rate * trace)


class Inherited(fastrms.RMSprop):
    """Calls the update step that it overrides."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, learning_rate)


SUBCLASSED: tuple[dict[str, Any], ...] = (
    {"momentum": 0.9, "centered": True},
    {"weight_decay": 0.1, "clipnorm": 0.5, "loss_scale_factor": 2.0},
    {"use_ema": True, "gradient_accumulation_steps": 2, "global_clipnorm": 0.5},
)


@pytest.mark.parametrize("options", SUBCLASSED, ids=str)
@pytest.mark.parametrize("kind", [Traced, Inherited])
def test_an_update_step_of_ones_own_gets_copies_on_the_host(kind: Any, options: Any) -> None:
    results = []
    for device in ("cpu", "cuda"):
        live = [battery.numbers((2, 3), F4, k) for k in range(2)]
        made = [fastrms.Variable(v, device=device, name=f"v{k}") for k, v in enumerate(live)]
        opt = kind(0.1, **options)
        opt.build(made)
        for step in range(3):
            changes = [battery.numbers((2, 3), F4, 10 * step + k) for k in range(2)]
            opt.apply([on_device(g) for g in changes] if device == "cuda" else changes)
        results.append([*(v.numpy() for v in made), *opt.get_weights()])
    assert battery.digest(results[0]) == battery.digest(results[1])


def test_an_update_step_that_fails_changes_nothing_on_a_device() -> None:
    class Broken(fastrms.RMSprop):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            self.assign(variable, 0 * variable)
            raise ZeroDivisionError

    made, opt = variable(), Broken(momentum=0.9)
    with pytest.raises(ZeroDivisionError):
        opt.apply([variable()], [made])
    np.testing.assert_array_equal(made, [1, 2])
    opt = Inherited()
    opt.build([made])
    with pytest.raises(
        fastrms.GradientError, match="is IndexedSlices on a GPU, which only RMSprop's own"
    ):
        opt.apply([fastrms.IndexedSlices(on_device(np.ones(1, F4)), [0])])
    with pytest.raises(fastrms.GradientError, match="in the host's memory"):
        opt.apply([np.ones(2, F4)])
    with pytest.raises(fastrms.GradientError, match="has shape"):
        opt.update_step(np.ones(3, F4), made, 0.1)
    np.testing.assert_array_equal(made, [1, 2])
