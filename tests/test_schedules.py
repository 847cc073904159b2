"""Schedules: their values and forms as recorded, and what an optimizer does with them."""

import copy
import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest

import battery
import fastrms
import replay
from fastrms import jit, schedules
from fastrms.errors import ArgumentError
from fastrms.rates import written
from fastrms.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
    deserialize,
    serialize,
)

F4 = np.float32
WITH = [row.name for row in fastrms.DIALECTS.values() if row.schedules is not None]
WITHOUT = [row.name for row in fastrms.DIALECTS.values() if row.schedules is None]
MADE = [
    ExponentialDecay(0.05, 5, 0.7, staircase=True),
    PiecewiseConstantDecay([2.5, 7.5], [0.05, 0.02, 0.005]),
    PolynomialDecay(0.05, 5, 0.004, 2.0, cycle=True),
    InverseTimeDecay(0.05, 4, 0.6),
    CosineDecay(0.05, 9, alpha=0.1),
    CosineDecayRestarts(0.05, 4, t_mul=1.5, m_mul=0.8, alpha=0.05),
]
VALUES = [c for s in replay.SYSTEMS for c in replay.cases(s) if c.name == "schedules"]
# These take their powers and cosines from other libraries than TensorFlow's.
CLOSE = {"k3_jax", "k3_torch"}


class Halving(LearningRateSchedule):
    """A user's schedule."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: Any) -> Any:
        return self.rate / 2**step

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate}


class Broken(Halving):
    """A schedule that gives something else from step 2 on: an exception is raised."""

    wrong: Any = ZeroDivisionError("no rate")

    def __call__(self, step: Any) -> Any:
        if step < 2:
            return self.rate
        if isinstance(self.wrong, Exception):
            raise self.wrong
        return self.wrong


def stepped(rate: Any, steps: int = 3, dtype: Any = F4, **options: Any) -> Any:
    """Return an optimizer and its variable after some steps."""
    optimizer = fastrms.RMSprop(rate, **options)
    variable = np.ones(3, dtype)
    for _ in range(steps):
        optimizer.apply([np.ones(3, dtype)], [variable])
    return optimizer, variable


@pytest.mark.parametrize("case", VALUES, ids=str)
def test_values_are_the_recorded_ones(case: replay.Case) -> None:
    for name, recorded in case.about["kwargs"].items():
        if name in case.about["schedule_errors"]:
            continue
        schedule = replay.schedule(recorded)
        for suffix, dtype in (("int", np.int64), ("f32", F4)):
            steps, theirs = np.arange(41).astype(dtype), case.arrays[f"{name}__{suffix}"]
            ours = np.stack([schedule(step) for step in steps])
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=2e-7, atol=1e-8, err_msg=name)
            assert case.system in CLOSE or np.array_equal(ours, theirs), name
            np.testing.assert_array_equal(schedule(steps), ours)


@pytest.mark.parametrize("case", VALUES, ids=str)
def test_configurations_are_the_recorded_ones(case: replay.Case) -> None:
    row = fastrms.DIALECTS[case.dialect]
    for name, config in case.about["get_config"].items():
        assert written(row, replay.schedule(case.about["kwargs"][name]))["config"] == config


@pytest.mark.parametrize("case", VALUES, ids=str)
def test_arguments_the_real_system_lacked_are_refused(case: replay.Case) -> None:
    for name in case.about["schedule_errors"]:
        schedule = replay.schedule(case.about["kwargs"][name])
        with pytest.raises(ArgumentError) as caught:
            fastrms.RMSprop(schedule, dialect=case.dialect)
        battery.says_all(str(caught.value), ["CosineDecay", "warmup_target", case.dialect, "Leave"])


REFUSED = [
    case
    for system in replay.SYSTEMS
    for case in replay.cases(system)
    if case.name in ("err_sched_set_lr", "sched_set_lr") and "raises" in case.about
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_number_cannot_replace_a_schedule_where_it_could_not(case: replay.Case) -> None:
    rate = replay.schedule(case.about["kwargs"]["learning_rate"])
    steps = case.about["raises"]["after_steps"]
    optimizer, variable = stepped(rate, steps, dialect=case.dialect)
    before = battery.snapshot(optimizer, [variable])
    with pytest.raises(ArgumentError) as caught:
        optimizer.learning_rate = 0.02
    battery.says_all(str(caught.value), ["callable", "0.02", "valid: ", "Build"])
    assert battery.snapshot(optimizer, [variable]) == before
    optimizer.learning_rate = Halving(0.5)
    assert optimizer.settings.learning_rate.rate == 0.5


def test_signatures_are_those_of_keras() -> None:
    expected = {
        "ExponentialDecay": "initial_learning_rate decay_steps decay_rate staircase name",
        "PiecewiseConstantDecay": "boundaries values name",
        "PolynomialDecay": "initial_learning_rate decay_steps end_learning_rate power cycle name",
        "InverseTimeDecay": "initial_learning_rate decay_steps decay_rate staircase name",
        "CosineDecay": "initial_learning_rate decay_steps alpha name warmup_target warmup_steps",
        "CosineDecayRestarts": "initial_learning_rate first_decay_steps t_mul m_mul alpha name",
    }
    for name, names in expected.items():
        assert list(inspect.signature(getattr(schedules, name)).parameters) == names.split()


@pytest.mark.parametrize("schedule", MADE, ids=lambda s: type(s).__name__)
def test_forms_go_there_and_back(schedule: LearningRateSchedule) -> None:
    form = serialize(schedule)
    assert form["module"] == "keras.optimizers.schedules"
    assert form["registered_name"] is None
    steps = np.arange(30)
    again = [
        deserialize(json.loads(json.dumps(form))),
        deserialize({"class_name": form["class_name"], "config": form["config"]}),
        type(schedule).from_config(schedule.get_config()),
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
        deserialize(schedule),
    ]
    for other in again:
        assert type(other) is type(schedule)
        assert other.get_config() == schedule.get_config()
        np.testing.assert_array_equal(other(steps), schedule(steps))


def test_the_form_is_that_of_keras_3() -> None:
    assert serialize(ExponentialDecay(np.float32(0.5), np.int64(5), 0.7)) == {
        "module": "keras.optimizers.schedules",
        "class_name": "ExponentialDecay",
        "config": {
            "initial_learning_rate": 0.5,
            "decay_steps": 5,
            "decay_rate": 0.7,
            "staircase": False,
            "name": "ExponentialDecay",
        },
        "registered_name": None,
    }


@pytest.mark.parametrize("dialect", WITH)
@pytest.mark.parametrize("schedule", MADE, ids=lambda s: type(s).__name__)
def test_an_optimizer_comes_back_from_its_configuration(dialect: str, schedule: Any) -> None:
    optimizer = fastrms.RMSprop(schedule, dialect=dialect)
    config = optimizer.get_config()
    if fastrms.DIALECTS[dialect].schedules.config == "value":
        assert config["learning_rate"] == optimizer.learning_rate
        return
    text = json.loads(json.dumps(config))
    for again in (fastrms.RMSprop.from_config(text), fastrms.RMSprop(**text)):
        assert again.get_config() == config
        assert type(again.settings.learning_rate) is type(schedule)
    assert fastrms.RMSprop.from_config(config).get_config() == config


@pytest.mark.parametrize("dialect", WITH)
def test_a_users_schedule_steps_resumes_and_travels(dialect: str) -> None:
    optimizer, variable = stepped(Halving(0.5), 4, dialect=dialect)
    expected = np.ones(3, F4)
    by_hand = fastrms.RMSprop(0.5, dialect=dialect)
    for step in range(4):
        by_hand.learning_rate = 0.5 / 2**step
        by_hand.apply([np.ones(3, F4)], [expected])
    np.testing.assert_array_equal(variable, expected)
    shows = fastrms.DIALECTS[dialect].schedules.shows
    assert optimizer.learning_rate == 0.5 / 2 ** (3 if shows == "last" else 4)
    copies = [
        pickle.loads(pickle.dumps((optimizer, variable))),
        copy.deepcopy((optimizer, variable)),
    ]
    optimizer.apply([np.ones(3, F4)])
    for other, moved in copies:
        assert other.learning_rate == 0.5 / 2 ** (3 if shows == "last" else 4)
        other.apply([np.ones(3, F4)], [moved])
        np.testing.assert_array_equal(moved, variable)


def test_a_users_class_is_found_by_name_or_by_its_module() -> None:
    form = serialize(Halving(0.5))
    assert (form["module"], form["registered_name"]) == (__name__, "Halving")
    assert deserialize(form).rate == 0.5
    config = {**fastrms.RMSprop(Halving(0.5)).get_config()}
    config["learning_rate"] = {**form, "module": None}
    with pytest.raises(ArgumentError, match=r"unknown schedule 'Halving'.*custom_objects"):
        fastrms.RMSprop.from_config(config)
    again = fastrms.RMSprop.from_config(config, custom_objects={"Halving": Halving})
    assert again.learning_rate == 0.5
    with pytest.raises(NotImplementedError, match=r"must override `__call__\(self, step\)`"):
        LearningRateSchedule()(1)
    with pytest.raises(NotImplementedError, match=r"must override `get_config\(\)`"):
        LearningRateSchedule().get_config()


@pytest.mark.parametrize("dialect", WITHOUT)
def test_systems_without_schedules_refuse_them(dialect: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        fastrms.RMSprop(ExponentialDecay(0.1, 5, 0.5), dialect=dialect)
    battery.says_all(str(caught.value), [dialect, "no schedules", "valid: ", "before each step"])


@pytest.mark.parametrize("dialect", fastrms.DIALECTS)
def test_callables_without_arguments_still_work(dialect: str) -> None:
    optimizer, variable = stepped(lambda: 0.25, dialect=dialect)
    _, expected = stepped(0.25, dialect=dialect)
    np.testing.assert_array_equal(variable, expected)
    assert optimizer.learning_rate == 0.25


def test_any_callable_of_the_step_is_a_schedule_for_optax_alone() -> None:
    for dialect in fastrms.DIALECTS:
        if dialect == "optax":
            optimizer, _ = stepped(lambda count: 0.5 / (1 + count), dialect=dialect)
            assert optimizer.learning_rate == 0.125
        else:
            with pytest.raises(ArgumentError, match="needs arguments"):
                fastrms.RMSprop(lambda count: 0.5, dialect=dialect)
    with pytest.raises(ArgumentError, match="needs arguments"):
        fastrms.RMSprop(ExponentialDecay)  # the class, not an instance


WRONG = [ZeroDivisionError("no rate"), float("nan"), np.inf, "fast", None, [0.1], np.ones(1), 1j]


@pytest.mark.parametrize("dialect", WITH)
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_schedule_that_fails_changes_nothing(dialect: str, wrong: Any) -> None:
    rate = Broken(0.5)
    rate.wrong = wrong
    optimizer, variable = stepped(rate, 2, dialect=dialect)
    before, shown = battery.snapshot(optimizer, [variable]), optimizer._core.stepper.last_rate
    kind = ZeroDivisionError if isinstance(wrong, Exception) else ArgumentError
    with pytest.raises(kind, match=r"no rate|returned .*; valid: a finite number"):
        optimizer.apply([np.ones(3, F4)])
    assert battery.snapshot(optimizer, [variable]) == before
    assert optimizer._core.stepper.last_rate == shown
    rate.wrong = 0.25
    optimizer.apply([np.ones(3, F4)])
    assert optimizer.iterations == 3

    fresh = fastrms.RMSprop(rate, dialect=dialect)
    fresh.iterations, rate.wrong = 5, wrong
    with pytest.raises(kind):
        fresh.apply([np.ones(3, F4)], [variable])
    assert not fresh.built


def test_a_refused_gradient_leaves_the_shown_rate() -> None:
    optimizer, variable = stepped(Halving(0.5), 2, dialect="tf-keras-2.11")
    with pytest.raises(fastrms.GradientError):
        optimizer.apply([np.ones(4, F4)], [variable])
    assert optimizer.learning_rate == 0.25


HOSTILE: dict[str, Any] = {
    "zero steps": lambda: ExponentialDecay(0.1, 0, 0.5),
    "negative steps": lambda: CosineDecay(0.1, -1),
    "text for steps": lambda: PolynomialDecay(0.1, "5"),
    "NaN steps": lambda: InverseTimeDecay(0.1, float("nan"), 0.5),
    "zero first steps": lambda: CosineDecayRestarts(0.1, 0),
    "None": lambda: ExponentialDecay(None, 5, 0.5),
    "True": lambda: ExponentialDecay(True, 5, 0.5),
    "a list": lambda: ExponentialDecay([0.1], 5, 0.5),
    "an array": lambda: CosineDecay(np.ones(2), 5),
    "a huge integer": lambda: CosineDecay(10**400, 5),
    "infinite end": lambda: PolynomialDecay(0.1, 5, float("inf")),
    "complex": lambda: CosineDecayRestarts(0.1, 5, t_mul=1j),
    "no target but text": lambda: CosineDecay(0.1, 5, warmup_target="0.1"),
    "no boundaries": lambda: PiecewiseConstantDecay([], [0.1]),
    "too few values": lambda: PiecewiseConstantDecay([3, 4], [0.1, 0.2]),
    "falling boundaries": lambda: PiecewiseConstantDecay([3, 1], [0.1, 0.2, 0.3]),
    "no lists": lambda: PiecewiseConstantDecay(3, 0.1),
    "text as a list": lambda: PiecewiseConstantDecay("3", "01"),
    "text in a list": lambda: PiecewiseConstantDecay(["3"], [0.1, 0.2]),
    "a step of text": lambda: MADE[0]("3"),
    "a step of None": lambda: MADE[1](None),
    "True as a step": lambda: MADE[1](True),
    "not a form": lambda: deserialize({"foo": 1}),
    "None for a form": lambda: deserialize(None),
    "a name for a form": lambda: deserialize("ExponentialDecay"),
    "no class": lambda: deserialize({"class_name": "path", "config": {}, "module": "sys"}),
    "another class": lambda: deserialize(
        {"class_name": "RMSprop", "config": {}, "module": "fastrms"}
    ),
    "unknown arguments": lambda: deserialize(
        {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "speed": 3}}
    ),
    "wrong arguments": lambda: deserialize(
        {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 0}}
    ),
    "no schedule": lambda: serialize(0.1),
    "a form for a rate": lambda: fastrms.RMSprop({"class_name": "Nope", "config": {}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arguments_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        HOSTILE[name]()
    said = "valid: |must be|must rise|should be|cannot be built"
    battery.says_all(str(caught.value), [said, r"\.$"])


def test_numbers_keep_their_dtype() -> None:
    for dtype in (np.float16, F4, np.float64):
        for rate in (dtype(0.25), np.array(0.25, dtype)):
            assert ExponentialDecay(rate, 5, 0.5)(3).dtype == dtype
            assert CosineDecay(rate, 5, warmup_target=0.5, warmup_steps=2)(3).dtype == dtype
    # Integers are floats here; Keras 3 cannot run this example of its own documentation.
    warm = CosineDecay(0, 1000, warmup_target=0.1, warmup_steps=1000)
    assert warm(500) == F4(0.5) * F4(0.1)
    assert PiecewiseConstantDecay([3], [1, 0.5])(9) == 0.5
    assert ExponentialDecay(0.5, float("inf"), 0.1)(10**9) == 0.5


def test_double_precision_rates_reach_double_precision_variables() -> None:
    for dialect in ("keras-3", "tf-keras-2.11", "tf-keras-v2"):
        narrow, wide = PolynomialDecay(0.1, 7), PolynomialDecay(np.float64(0.1), 7)
        moved = [stepped(rate, 1, np.float64, dialect=dialect)[1][0] for rate in (narrow, wide)]
        expected = stepped(0.1, 1, np.float64, dialect=dialect)[1][0]
        assert moved[0] == expected != moved[1]  # numbers pass through float32
        assert abs(moved[0] - moved[1]) < 1e-7


def test_steps_arrive_as_each_system_gives_them() -> None:
    class Seen(Halving):
        def __call__(self, step: Any) -> Any:
            seen.append(step)
            return 0.5

    for dialect in WITH:
        seen: list[Any] = []
        optimizer = fastrms.RMSprop(Seen(0.5), dialect=dialect)
        variables = [np.ones(3, F4), np.ones(3, np.float64)]
        optimizer.build(variables)
        optimizer.apply([np.ones(3), np.ones(3)])
        cast = fastrms.DIALECTS[dialect].schedules.step != "integer"
        assert [type(step) for step in seen] == ([F4, np.float64] if cast else [int])
    pieces = PiecewiseConstantDecay([2.5], [0.5, 0.25])  # 2 for integers
    assert [pieces(2), pieces(3), pieces(F4(2.25)), pieces(2.75)] == [0.5, 0.25, 0.5, 0.25]


def test_schedules_count_calls_while_gradients_accumulate() -> None:
    optimizer, _ = stepped(Halving(0.5), 5, gradient_accumulation_steps=3)
    assert optimizer.iterations == 1
    assert optimizer.learning_rate == 0.5 / 2**5


def test_weights_hold_no_rate_that_a_schedule_owns() -> None:
    optimizer, variable = stepped(0.5)
    assert len(optimizer.get_weights()) == 3
    optimizer.learning_rate = serialize(MADE[0])
    assert len(optimizer.get_weights()) == 2
    other = fastrms.RMSprop(MADE[0])
    moved = variable.copy()
    other.build([moved])
    other.set_weights(optimizer.get_weights())
    optimizer.apply([np.ones(3, F4)])
    other.apply([np.ones(3, F4)])
    np.testing.assert_array_equal(moved, variable)


def test_optimizer_v2_composes_decay_and_takes_numbers_back() -> None:
    optimizer, variable = stepped(Halving(0.5), 3, dialect="tf-keras-v2", decay=0.25)
    by_hand, expected = fastrms.RMSprop(0.5, dialect="tf-keras-v2"), np.ones(3, F4)
    for step in range(3):
        by_hand.learning_rate = float(F4(0.5 / 2**step) / F4(1 + 0.25 * step))
        by_hand.apply([np.ones(3, F4)], [expected])
    np.testing.assert_array_equal(variable, expected)
    optimizer.learning_rate = 0.125
    assert optimizer.learning_rate == 0.125


@pytest.mark.parametrize("dialect", WITH)
def test_compiled_code_gets_the_same_rate(dialect: str) -> None:
    numbers = jit.hyper(F4, dialect=dialect, iterations=6, learning_rate=MADE[3])
    assert numbers.learning_rate == MADE[3](6)
    optimizer, _ = stepped(MADE[3], 7, dialect=dialect)
    assert optimizer._core.stepper.last_rate == MADE[3](6)
