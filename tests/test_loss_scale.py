"""LossScaleOptimizer: what a step, a skipped step and a wrong argument do, in every dialect."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import battery
import fastrms
from fastrms import IndexedSlices, LossScaleOptimizer
from fastrms.plan import Plan

F4 = np.float32
SCALED = [name for name, row in fastrms.DIALECTS.items() if row.loss_scale is not None]
TF = [name for name in SCALED if name != "keras-3"]
SHAPES = ((), (7,), (3, 5))


def scene(
    dialect: str = "keras-3", compiled: bool = False, dtype: Any = F4, **options: Any
) -> tuple[Any, list[Any]]:
    """Return a wrapped optimizer with its variables, built."""
    names = ("initial_scale", "dynamic_growth_steps", "dynamic")
    own = {name: options.pop(name) for name in names if name in options}
    variables = [battery.numbers(shape, dtype) for shape in SHAPES]
    inner = battery.optimizer(dialect, options)
    optimizer = LossScaleOptimizer(inner, **own)
    optimizer.build(variables)
    inner._core.stepper._compiled = compiled
    return optimizer, variables


def gradients(seed: int = 1, scale: float = 1.0, dtype: Any = F4) -> list[Any]:
    return [np.asarray(battery.numbers(s, dtype, seed) * dtype(scale)) for s in SHAPES]


def state(optimizer: Any, variables: list[Any]) -> tuple[Any, ...]:
    """Return everything that a step may change, the scale and its counter included."""
    inner = optimizer.inner_optimizer
    return (
        battery.snapshot(inner, variables),
        optimizer.dynamic_scale,
        optimizer.step_counter,
        [w.tobytes() for w in optimizer.get_weights()],
    )


def free(dialect: str, **options: Any) -> tuple[Any, list[Any]]:
    """Return an optimizer without a scale."""
    variables = [battery.numbers(shape, F4) for shape in SHAPES]
    optimizer = battery.optimizer(dialect, options)
    optimizer.build(variables)
    optimizer._core.stepper._compiled = False
    return optimizer, variables


@pytest.mark.parametrize("dialect", SCALED)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "clipnorm": 0.5}, {"clipvalue": 0.5}])
def test_a_power_of_two_cancels_exactly(dialect: str, options: dict[str, Any]) -> None:
    scaled, ours = scene(dialect, initial_scale=1024.0, **options)
    plain, theirs = free(dialect, **options)
    for step in range(3):
        scaled.apply(gradients(step, 1024))
        plain.apply(gradients(step))
    assert battery.digest(ours) == battery.digest(theirs)
    assert scaled.iterations == 3


def test_keras_3_divides_and_tf_multiplies_by_the_reciprocal() -> None:
    found = {}
    for dialect in ("keras-3", "tf-keras-2.11"):
        optimizer, variables = scene(dialect, initial_scale=3.0, rho=0.0)
        optimizer.apply([np.full(v.shape, 7, F4) for v in variables])
        found[dialect] = optimizer.inner_optimizer._core.stepper.state.slots["velocity", 1][0]
    assert found["keras-3"] == (F4(7) / F4(3)) ** 2
    assert found["tf-keras-2.11"] == (F4(7) * (F4(1) / F4(3))) ** 2
    assert found["keras-3"] != found["tf-keras-2.11"]


# Gradients that are not finite -----------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("dialect", SCALED)
def test_one_bad_number_changes_nothing_but_the_scale(
    dialect: str, place: int, value: float
) -> None:
    optimizer, variables = scene(dialect, initial_scale=8.0, momentum=0.9)
    optimizer.apply(gradients())
    kept, weights = [v.copy() for v in variables], optimizer.inner_optimizer.get_weights()
    bad = gradients(2)
    bad[place][...] = value
    optimizer.apply(bad)
    assert optimizer.dynamic_scale == 4
    assert optimizer.step_counter == 0
    counted = dialect != "keras-3"
    assert optimizer.iterations == 1 + counted
    for before, after in zip(kept, variables, strict=True):
        np.testing.assert_array_equal(before, after)
    for old, new in zip(weights, optimizer.inner_optimizer.get_weights(), strict=True):
        np.testing.assert_array_equal(old + (counted if old.dtype.kind == "i" else 0), new)


@pytest.mark.parametrize("options", battery.OPTIONS)
def test_a_skipped_step_leaves_every_kind_of_state(options: str) -> None:
    chosen = battery.OPTIONS[options]
    if options in ("decay", "both_clips"):  # not of Keras 3
        chosen = {"clipvalue": 0.5}
    optimizer, variables = scene(initial_scale=4.0, **chosen)
    for step in range(3):
        optimizer.apply(gradients(step))
        before = battery.snapshot(optimizer.inner_optimizer, variables)
        optimizer.apply([None, gradients()[1] * F4(np.inf), None])
        assert battery.snapshot(optimizer.inner_optimizer, variables) == before
    assert optimizer.dynamic_scale == 0.5


MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("keras-3", {}),
    "clipped, averaged": ("keras-3", {"global_clipnorm": 0.75, **battery.OPTIONS["ema"]}),
    "each clipped": ("tf-keras-2.11", {"clipnorm": 0.75}),
    "accumulated": ("keras-3", {"gradient_accumulation_steps": 2, "clipnorm": 0.75}),
}


@pytest.mark.parametrize("mode", MODES)
def test_compiled_steps_equal_the_reference(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrms.plan.PARALLEL_BYTES", 1)
    dialect, options = MODES[mode]
    found = []
    for compiled in (False, True):
        variables = [battery.numbers(n, F4, n) for n in (1, 33, 40000)]
        variables += [battery.laid_out(battery.numbers((40, 30), F4), "strided")]
        inner = battery.optimizer(dialect, options)
        optimizer = LossScaleOptimizer(inner, initial_scale=3.0, dynamic_growth_steps=3)
        optimizer.build(variables)
        inner._core.stepper._compiled = compiled
        trail = []
        for step in range(9):
            given = [battery.numbers(v.shape, F4, step) for v in variables]
            if step in (2, 5):
                given[step % 4].flat[-1] = np.nan if step == 2 else np.inf
            optimizer.apply(given)
            trail += [optimizer.dynamic_scale, optimizer.step_counter, optimizer.iterations]
        plans = inner._core.stepper._plans.values()
        assert all(isinstance(plan, Plan) == compiled for plan in plans)
        found.append((trail, battery.digest([*variables, *optimizer.get_weights()])))
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_dtypes_equal_the_reference(dtype: Any) -> None:
    found = []
    for compiled in (False, True):
        # 2**17 is infinite in float16: the scale stays a float32 number, as in Keras 3.
        optimizer, variables = scene(compiled=compiled, dtype=dtype, initial_scale=2.0**17)
        optimizer.apply([g * dtype(100) for g in gradients(dtype=dtype)])
        optimizer.apply([g * dtype(np.nan) for g in gradients(dtype=dtype)])
        assert all(np.isfinite(v).all() for v in variables)
        assert optimizer.inner_optimizer._core.stepper.state.slots["velocity", 1].any() or (
            dtype == np.float16
        )
        found.append(battery.digest([*variables, *optimizer.get_weights()]))
    assert found[0] == found[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("given", [True, False])
def test_rows_that_are_not_finite_change_nothing(value: float, given: bool) -> None:
    table = np.ones((6, 3), F4)
    optimizer = LossScaleOptimizer(fastrms.RMSprop(), initial_scale=8.0)
    optimizer.build([table, np.ones(2, F4)])
    optimizer.inner_optimizer._core.stepper._compiled = given
    before = battery.snapshot(optimizer.inner_optimizer, [table])
    rows = np.ones((2, 3), F4)
    rows[1, 2] = value
    optimizer.apply([IndexedSlices(rows, [3, 3]), np.ones(2, F4)])
    assert optimizer.dynamic_scale == 4
    assert battery.snapshot(optimizer.inner_optimizer, [table]) == before
    optimizer.apply([IndexedSlices(np.ones((1, 3), F4), [3]), np.ones(2, F4)])
    assert optimizer.iterations == 1


def test_a_skipped_step_calls_no_constraint() -> None:
    class Constrained(np.ndarray):
        calls = 0

        @staticmethod
        def constraint(w: Any) -> Any:
            Constrained.calls += 1
            return w

    variable = np.ones(2, F4).view(Constrained)
    optimizer = LossScaleOptimizer(fastrms.RMSprop())
    optimizer.apply([np.full(2, np.nan, F4)], [variable])
    optimizer.apply([np.ones(2, F4)], [variable])
    assert Constrained.calls == 1


# The scale -------------------------------------------------------------------------------------


def test_growth_and_floors() -> None:
    for dialect, least in (("keras-3", 0.25), ("tf-keras-v2", 1.0), ("tf-keras-2.11", 1.0)):
        optimizer, _ = scene(dialect, initial_scale=2.0, dynamic_growth_steps=2)
        for _ in range(3):
            optimizer.apply([g * F4(np.nan) for g in gradients()])
        assert optimizer.dynamic_scale == least
        seen = []
        for _ in range(5):
            optimizer.apply(gradients())
            seen.append((optimizer.dynamic_scale / least, optimizer.step_counter))
        assert seen == [(1, 1), (2, 0), (2, 1), (4, 0), (4, 1)]


def test_a_scale_never_becomes_infinite() -> None:
    optimizer, _ = scene(initial_scale=2.0**127, dynamic_growth_steps=1)
    optimizer.apply(gradients())
    assert optimizer.dynamic_scale == 2.0**127


def test_a_fixed_scale_checks_nothing() -> None:
    optimizer, variables = scene("tf-keras-2.11", initial_scale=8.0, dynamic=False)
    optimizer.apply(gradients())
    assert (optimizer.dynamic_scale, optimizer.step_counter) == (8, 0)
    optimizer.apply([g * F4(np.nan) for g in gradients()])
    assert np.isnan(variables[0])


@settings(max_examples=20)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 4))
def test_the_scale_is_that_of_a_plain_account(finite: list[bool], growth: int) -> None:
    optimizer, _ = scene(initial_scale=64.0, dynamic_growth_steps=growth)
    scale, good = 64.0, 0
    for ok in finite:
        optimizer.apply(gradients(scale=1.0 if ok else np.inf))
        good = good + 1 if ok else 0
        scale = scale if ok else scale / 2
        if good == growth:
            scale, good = scale * 2, 0
        assert (optimizer.dynamic_scale, optimizer.step_counter) == (scale, good)
    assert optimizer.iterations == sum(finite)


def test_scale_loss() -> None:
    optimizer, _ = scene(initial_scale=8.0)
    assert optimizer.scale_loss(0.5) == 4
    np.testing.assert_array_equal(optimizer.scale_loss(np.ones(2, F4)), [8, 8])
    assert optimizer.scale_loss(np.ones(2, F4)).dtype == F4
    optimizer.apply([g * F4(np.nan) for g in gradients()])
    assert optimizer.scale_loss(0.5) == 2


# State in and out ------------------------------------------------------------------------------


def test_keras_3_holds_own_scalars_first() -> None:
    optimizer, _ = scene(initial_scale=16.0)
    optimizer.apply(gradients())
    names = [name.partition("/")[2] for name in optimizer.weight_names()]
    assert names[:6] == [
        *("iteration", "learning_rate", "step_counter", "dynamic_scale"),
        *("iteration", "learning_rate"),
    ]
    own = [(w.dtype.name, w.item()) for w in optimizer.get_weights()[:4]]
    assert own == [("int64", 0), ("float32", 0.0), ("int64", 1), ("float32", 16.0)]
    for view, weight in zip(optimizer.variables, optimizer.get_weights(), strict=True):
        np.testing.assert_array_equal(view, weight)
    assert len(LossScaleOptimizer(fastrms.RMSprop()).get_weights()) == 4


@pytest.mark.parametrize("dialect", SCALED)
def test_weights_move_to_another_optimizer(dialect: str) -> None:
    old, ours = scene(dialect, initial_scale=16.0, dynamic_growth_steps=2)
    old.apply(gradients())
    new, theirs = scene(dialect, initial_scale=16.0, dynamic_growth_steps=2)
    for target, source in zip(theirs, ours, strict=True):
        target[...] = source
    new.inner_optimizer._core.stepper.create_slots([0, 1, 2])
    new.set_weights(old.get_weights())
    new.inner_optimizer.iterations = old.iterations  # some systems do not save it
    if dialect != "keras-3":
        new._own = dict(old._own)  # TF keeps the scale outside the weights
    for step in range(3):
        old.apply(gradients(step))
        new.apply(gradients(step))
    assert state(old, ours) == state(new, theirs)


WRONG: dict[str, tuple[int, Any]] = {
    "counter below 0": (2, -1),
    "half a step": (2, 0.5),
    "NaN counter": (2, np.nan),
    "zero scale": (3, 0.0),
    "NaN scale": (3, np.nan),
    "infinite scale": (3, np.inf),
    "scale of shape (1,)": (3, np.ones(1)),
    "text": (3, "8"),
    "inner rate": (5, np.inf),
    "inner slot": (6, np.ones(3)),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_weights_change_nothing(case: str) -> None:
    optimizer, variables = scene()
    optimizer.apply(gradients())
    before, weights = state(optimizer, variables), optimizer.get_weights()
    place, value = WRONG[case]
    weights[place] = value
    weights[2] = weights[2] + 1 if place > 3 else weights[2]
    with pytest.raises(fastrms.StateError, match="Nothing was changed"):
        optimizer.set_weights(weights)
    assert state(optimizer, variables) == before
    good = optimizer.get_weights()
    for short in ([], good[:3], good[:-1], [*good, 1]):
        with pytest.raises(fastrms.StateError, match="weights were given"):
            optimizer.set_weights(short)
    assert state(optimizer, variables) == before


@pytest.mark.parametrize("dialect", SCALED)
@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies_go_on_alike(dialect: str, how: str) -> None:
    optimizer, variables = scene(dialect, dynamic_growth_steps=2, momentum=0.5)
    optimizer.apply(gradients())
    optimizer.apply([g * F4(np.nan) for g in gradients()])
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(optimizer))
    else:
        twin = copy.deepcopy(optimizer)
    others = twin.inner_optimizer._core.stepper.variables.arrays
    for step in range(3):
        optimizer.apply(gradients(step))
        twin.apply(gradients(step))
    assert state(optimizer, variables) == state(twin, others)
    with pytest.raises(fastrms.StateError, match="belongs to a LossScaleOptimizer"):
        twin.inner_optimizer.apply(gradients())


@pytest.mark.parametrize("dialect", SCALED)
def test_a_config_builds_the_same_optimizer(dialect: str) -> None:
    options = {"initial_scale": 8.0, "dynamic_growth_steps": 3}
    given = {"dynamic": False, "initial_scale": 8.0} if dialect in TF else options
    for chosen in (options, given):
        optimizer = LossScaleOptimizer(battery.optimizer(dialect, {"rho": 0.5}), **chosen)
        config = json.loads(json.dumps(optimizer.get_config()))
        again = LossScaleOptimizer.from_config(config)
        assert again.get_config() == optimizer.get_config()
        assert again.dialect == dialect
    instance = LossScaleOptimizer.from_config({"inner_optimizer": fastrms.RMSprop()})
    assert instance.initial_scale == 2.0**15


def test_state_survives_rebind() -> None:
    optimizer, variables = scene(initial_scale=4.0)
    optimizer.apply(gradients())
    moved = [v.copy() for v in variables]
    optimizer.inner_optimizer.rebind(moved)
    optimizer.apply([g * F4(np.inf) for g in gradients()])
    assert optimizer.dynamic_scale == 2
    assert battery.digest(moved) == battery.digest(variables)


# Wrapping and refusals -------------------------------------------------------------------------


def test_the_inner_optimizer_is_not_used_alone() -> None:
    optimizer, variables = scene()
    before = state(optimizer, variables)
    for call in (
        lambda: optimizer.inner_optimizer.apply(gradients()),
        lambda: optimizer.inner_optimizer.apply_gradients(zip(gradients(), variables, strict=True)),
    ):
        with pytest.raises(fastrms.StateError) as caught:
            call()
        battery.says_all(str(caught.value), ["belongs to a LossScaleOptimizer", "valid: apply"])
    assert state(optimizer, variables) == before
    optimizer.apply(gradients())


def test_an_optimizer_that_has_steps_behind_it_may_be_wrapped() -> None:
    plain, ours = free("keras-3")
    other, theirs = free("keras-3", loss_scale_factor=2.0)
    plain.apply(gradients())
    other.apply(gradients(scale=2))
    wrapped = LossScaleOptimizer(other, initial_scale=8.0)
    assert other.settings.loss_scale_factor is None
    plain.apply(gradients(2))
    wrapped.apply(gradients(2, 8.0))
    assert battery.digest(ours) == battery.digest(theirs)


def test_a_refused_step_changes_not_even_the_scale() -> None:
    optimizer, variables = scene()
    before = state(optimizer, variables)
    bad: list[Any] = gradients()
    bad[0], bad[1] = bad[0] * F4(np.nan), np.ones(3, F4)
    for wrong in (bad, gradients()[:2], [None, None, None]):
        with pytest.raises(fastrms.GradientError):
            optimizer.apply(wrong)
        assert state(optimizer, variables) == before
    rows = IndexedSlices(np.full((1, 5), np.nan, F4), [0])
    with pytest.raises(fastrms.GradientError):
        optimizer.apply([gradients()[0], np.ones(3, F4), rows])
    optimizer.apply(gradients())
    assert optimizer.iterations == 1


def test_a_first_step_builds_or_is_undone() -> None:
    for dialect in SCALED:
        optimizer = LossScaleOptimizer(fastrms.RMSprop(dialect=dialect), initial_scale=4.0)
        with pytest.raises(fastrms.GradientError):
            optimizer.apply([np.ones(3, F4)], [np.ones(2, F4)])
        assert not optimizer.built
        with pytest.raises(fastrms.VariableError, match="no \\(gradient, variable\\) pairs"):
            optimizer.apply_gradients([])
        assert optimizer.apply_gradients([(np.full(2, np.nan, F4), np.ones(2, F4))]) == (
            0 if dialect == "keras-3" else 1
        )
        assert optimizer.built
        assert optimizer.dynamic_scale == 2


def test_schedules_and_rates_are_the_inner_optimizers() -> None:
    optimizer, _ = scene()
    optimizer.learning_rate = 0.5
    assert optimizer.learning_rate == optimizer.inner_optimizer.learning_rate == 0.5


def test_averages_are_the_inner_optimizers() -> None:
    optimizer, variables = scene(use_ema=True)
    optimizer.apply(gradients())
    optimizer.finalize_variable_values(variables)
    average = optimizer.inner_optimizer._core.stepper.state.shaped("average", 1)
    np.testing.assert_array_equal(variables[1], average)


ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "zero": ({"initial_scale": 0.0}, r"initial_scale=0.0 is not valid; valid: a finite number"),
    "negative": ({"initial_scale": -1.0}, "initial_scale=-1.0"),
    "infinite": ({"initial_scale": np.inf}, "initial_scale=inf"),
    "overflows": ({"initial_scale": 1e39}, r"initial_scale=1e\+39"),
    "underflows": ({"initial_scale": 1e-60}, "initial_scale=1e-60"),
    "text": ({"initial_scale": "8"}, "initial_scale='8'"),
    "bool": ({"initial_scale": True}, "initial_scale=True"),
    "no steps": ({"dynamic_growth_steps": 0}, r"dynamic_growth_steps=0 .*an integer > 0"),
    "half steps": ({"dynamic_growth_steps": 2.5}, r"dynamic_growth_steps=2.5"),
    "no number of steps": ({"dynamic_growth_steps": None}, "dynamic_growth_steps=None"),
    "clipping": ({"clipnorm": 1.0}, r"no arguments \{'clipnorm': 1.0\}.*on the inner optimizer"),
    "idle steps": (
        {"dynamic": False, "dynamic_growth_steps": 3, "dialect": "tf-keras-v2"},
        "dynamic_growth_steps=3 has no effect with dynamic=False",
    ),
    "unknown": ({"scale": 1.0}, r"no arguments \{'scale': 1.0\}"),
    "dynamic": ({"dynamic": False}, r"no arguments \{'dynamic': False\} in the dialect 'keras-3'"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_wrong_arguments_are_refused(case: str) -> None:
    options, message = ARGUMENTS[case]
    chosen = dict(options)
    inner = fastrms.RMSprop(dialect=chosen.pop("dialect", "keras-3"))
    with pytest.raises(fastrms.ArgumentError, match=message):
        LossScaleOptimizer(inner, **chosen)
    inner.apply([np.ones(2, F4)], [np.ones(2, F4)])  # not wrapped by a refused attempt


def test_what_keras_lets_pass_passes() -> None:
    LossScaleOptimizer(fastrms.RMSprop(), clipnorm=None, use_ema=False, loss_scale_factor=None)


def test_what_cannot_be_wrapped() -> None:
    inner = fastrms.RMSprop()
    wrapped = LossScaleOptimizer(inner)
    for wrong in (wrapped, None, "rmsprop", fastrms.RMSprop):
        with pytest.raises(fastrms.ArgumentError, match=r"valid: a fastrms.RMSprop"):
            LossScaleOptimizer(wrong)  # type: ignore[arg-type]
    with pytest.raises(fastrms.ArgumentError, match="already belongs to a LossScaleOptimizer"):
        LossScaleOptimizer(inner)
    for dialect in set(fastrms.DIALECTS) - set(SCALED):
        with pytest.raises(fastrms.DialectError, match=f"'{dialect}' .* no LossScaleOptimizer"):
            LossScaleOptimizer(fastrms.RMSprop(dialect=dialect))


def test_names_count_up() -> None:
    one, two = (LossScaleOptimizer(fastrms.RMSprop()) for _ in range(2))
    assert one.name.startswith("loss_scale_optimizer")
    assert one.name != two.name
    assert LossScaleOptimizer(fastrms.RMSprop(), name="mine").name == "mine"
    assert repr(one).startswith(f"<fastrms.LossScaleOptimizer {one.name!r} around <fastrms.RMSprop")


# Keras' other methods --------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["keras-3", "tf-keras-2.11"])
def test_minimize_scales_the_loss_and_unscales_its_gradients(dialect: str) -> None:
    pytest.importorskip("autograd")
    v, u = (fastrms.Variable([1.0, 2.0]) for _ in range(2))
    optimizer = LossScaleOptimizer(fastrms.RMSprop(0.1, dialect=dialect), initial_scale=8.0)
    ((gradient, _),) = optimizer.compute_gradients(lambda: (v**2).sum(), [v])
    np.testing.assert_array_equal(gradient, [16, 32])
    optimizer.minimize(lambda: (v**2).sum(), [v])
    fastrms.RMSprop(0.1, dialect=dialect).minimize(lambda: (u**2).sum(), [u])
    np.testing.assert_array_equal(v, u)
    before = v.numpy()
    with np.errstate(all="ignore"):
        optimizer.minimize(lambda: np.log(v * 0).sum(), [v])
    np.testing.assert_array_equal(v, before)
    assert optimizer.dynamic_scale == 4


@pytest.mark.parametrize("bad", [False, True], ids=["finite", "not finite"])
def test_stateless_apply_is_apply_without_a_trace(bad: bool) -> None:
    optimizer, variables = scene(initial_scale=4.0)
    optimizer.apply(gradients())
    grads = [g * F4(np.inf) for g in gradients()] if bad else gradients(1)
    before = state(optimizer, variables)
    fresh, own = optimizer.stateless_apply(optimizer.variables, grads, variables)
    assert state(optimizer, variables) == before
    optimizer.apply(grads)
    for ours, theirs in zip([*fresh, *own], [*variables, *optimizer.get_weights()], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_own_variables_go_through_a_store() -> None:
    optimizer, _ = scene(initial_scale=4.0)
    optimizer.apply([g * F4(np.inf) for g in gradients()])
    optimizer.apply(gradients())
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    other, _ = scene(initial_scale=4.0)
    other.load_own_variables(store)
    assert other.dynamic_scale == 2
    for ours, theirs in zip(other.get_weights(), optimizer.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_would_have_no_effect_is_refused() -> None:
    optimizer, _ = scene()
    with pytest.raises(fastrms.StateError, match="clipnorm cannot be set"):
        optimizer.clipnorm = 1.0
    optimizer.lr = 0.5
    assert optimizer.inner_optimizer.learning_rate == 0.5


class Halved(fastrms.RMSprop):
    """A user's own optimizer inside."""


def test_the_inner_optimizers_class_is_kept_or_refused() -> None:
    optimizer = LossScaleOptimizer(Halved(rho=0.5))
    again = fastrms.deserialize(fastrms.serialize(optimizer), {"Halved": Halved})
    assert type(again.inner_optimizer) is Halved
    for config in ({"class_name": "Adam", "config": {}}, {"config": {}}, {}):
        with pytest.raises(fastrms.ArgumentError, match=r"unknown optimizer|not a serialized"):
            LossScaleOptimizer.from_config({"inner_optimizer": config})


# As TensorFlow 2.12.0 serializes LossScaleOptimizer(RMSprop(0.01, momentum=0.9)) on a CPU.
WRITTEN = {
    "class_name": "LossScaleOptimizerV3",
    "config": {
        "inner_optimizer": {
            "class_name": "Custom>RMSprop",
            "config": {
                "name": "RMSprop",
                "weight_decay": None,
                "clipnorm": None,
                "global_clipnorm": None,
                "clipvalue": None,
                "use_ema": False,
                "ema_momentum": 0.99,
                "ema_overwrite_frequency": 100,
                "jit_compile": False,
                "is_legacy_optimizer": False,
                "learning_rate": 0.01,
                "rho": 0.9,
                "momentum": 0.9,
                "epsilon": 1e-07,
                "centered": False,
            },
        },
        "dynamic": True,
        "initial_scale": 8.0,
        "dynamic_growth_steps": 7,
    },
}


def test_what_tensorflow_wrote_is_read_with_its_dialect_and_runs_the_kernels() -> None:
    optimizer = fastrms.deserialize(json.loads(json.dumps(WRITTEN)))
    assert (optimizer.dialect, optimizer.initial_scale) == ("tf-keras-2.11", 8)
    assert optimizer.inner_optimizer.momentum == 0.9
    assert optimizer.inner_optimizer.jit_compile is True
    inner = json.loads(json.dumps(optimizer.get_config()["inner_optimizer"]))
    expected = json.loads(json.dumps(WRITTEN["config"]["inner_optimizer"]))
    del expected["config"]["jit_compile"]
    assert {**inner["config"], "learning_rate": 0.01} == expected["config"]
    # TensorFlow 2.12.0 read this; under the name LossScaleOptimizer it raised a TypeError.
    assert fastrms.serialize(optimizer)["class_name"] == WRITTEN["class_name"]
