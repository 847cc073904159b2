"""What is given in the wrong form is named, with what is valid, and changes nothing."""

import re
from typing import Any

import numpy as np
import pytest

import battery
import fastrms
from fastrms import ArgumentError, GradientError, LossScaleOptimizer, StateError, VariableError

F4 = np.float32


def scene(wrapped: bool) -> tuple[Any, list[Any]]:
    """Return an optimizer that has made a step, and its variables."""
    inner = fastrms.RMSprop(learning_rate=0.5, momentum=0.5)
    optimizer = LossScaleOptimizer(inner) if wrapped else inner
    variables = [np.ones(2, F4), np.ones((2, 2), F4)]
    optimizer.apply([np.ones(2, F4), np.ones((2, 2), F4)], variables)
    return optimizer, variables


ONES = [np.ones(2, F4), np.ones((2, 2), F4)]
CALLS: dict[str, tuple[Any, ...]] = {
    "store_list": (
        lambda o, v: o.load_own_variables([1, 2]),
        *(StateError, r"the store is list \[1, 2\]; valid: a dictionary.*set_weights"),
    ),
    "store_none": (lambda o, v: o.load_own_variables(None), StateError, "NoneType None; valid"),
    "store_array": (
        lambda o, v: o.load_own_variables(np.ones(3)),
        *(StateError, r"an array of shape \(3,\).*valid: a dictionary"),
    ),
    "store_mixed_keys": (
        lambda o, v: o.load_own_variables({0: 1, "a": 2}),
        *(StateError, r"keys \[0, 'a'\]; expected \['0', '1'\]"),
    ),
    "saved_into_a_list": (
        lambda o, v: o.save_own_variables([]),
        *(StateError, r"the store is list \[\]; valid: a dictionary"),
    ),
    "weights_number": (
        lambda o, v: o.set_weights(5),
        *(StateError, "the weights are int 5; valid: a list of arrays"),
    ),
    "weights_text": (lambda o, v: o.set_weights("abc"), StateError, "the weights are str 'abc'"),
    "stateless_state": (
        lambda o, v: o.stateless_apply(5, ONES, v),
        *(StateError, "the weights are int 5; valid: a list"),
    ),
    "stateless_gradients": (
        lambda o, v: o.stateless_apply(o.variables, 5, v),
        *(GradientError, "the gradients are int 5; valid: a list"),
    ),
    "stateless_variables": (
        lambda o, v: o.stateless_apply(o.variables, ONES, 5),
        *(VariableError, "the variables are int 5; valid: a list"),
    ),
    "pairs_number": (
        lambda o, v: o.apply_gradients(5),
        *(VariableError, "given is int 5; valid: a list of pairs"),
    ),
    "pairs_bare": (
        lambda o, v: o.apply_gradients([5]),
        *(VariableError, r"no \(gradient, variable\) pairs, or not only such, .*\[5\]; give"),
    ),
    "pairs_of_three": (
        lambda o, v: o.apply_gradients([(ONES[0], v[0], 1)]),
        *(VariableError, "not only such"),
    ),
    "clip_number": (
        lambda o, v: o._clip_gradients(5),
        *(GradientError, "the gradients are int 5; valid: a list"),
    ),
    "minimize_number": (
        lambda o, v: o.minimize(lambda: 1.0, 5),
        *(VariableError, "the variables are int 5; valid: a list"),
    ),
    "config_number": (
        lambda o, v: type(o).from_config(5),
        *(ArgumentError, "config=5 is not valid; valid: a dictionary"),
    ),
    "iterations": (
        lambda o, v: setattr(o, "iterations", "5"),
        *(ArgumentError, "iterations='5' is not valid; valid: an integer >= 0"),
    ),
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["RMSprop", "LossScaleOptimizer"])
@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_form_is_named_and_changes_nothing(case: str, wrapped: bool) -> None:
    action, error, message = CALLS[case]
    optimizer, variables = scene(wrapped)
    before = battery.digest([*optimizer.get_weights(), *variables])
    with pytest.raises(error) as caught:
        action(optimizer, variables)
    assert re.search(message, str(caught.value), flags=re.S), str(caught.value)
    assert battery.digest([*optimizer.get_weights(), *variables]) == before


@pytest.mark.parametrize("given", [5, None, "weights"])
def test_what_is_no_list_of_variables(given: Any) -> None:
    for optimizer in (fastrms.RMSprop(), LossScaleOptimizer(fastrms.RMSprop())):
        with pytest.raises(VariableError, match=r"the variables are .*; valid: a list or a dict"):
            optimizer.build(given)
        assert not optimizer.built


def test_a_lone_text_is_no_list_of_names() -> None:
    optimizer = fastrms.RMSprop(weight_decay=0.1)
    with pytest.raises(ArgumentError, match=r"var_names is str 'bias'; valid: a list, as \['bias"):
        optimizer.exclude_from_weight_decay(var_names="bias")  # its letters would match anything
    spared = np.ones(2, F4)
    optimizer.exclude_from_weight_decay(spared)
    optimizer.apply([np.zeros(2, F4)], [spared])
    assert spared.tolist() == [1, 1]


def test_a_reference_without_a_shape() -> None:
    with pytest.raises(ArgumentError, match="shape=None with dtype=None is not valid"):
        fastrms.RMSprop().add_variable_from_reference(5)


@pytest.mark.parametrize("value", [0, 2, np.int64(2), np.array(0.25), np.array(2)])
def test_a_rate_may_be_set_to_what_keras_assigns(value: Any) -> None:
    # keras 3.15.1: assigned to a Variable; only the constructor wants a float.
    optimizer, _ = scene(False)
    optimizer.learning_rate = value
    assert optimizer.learning_rate == float(value)
    assert type(optimizer.learning_rate) is float


@pytest.mark.parametrize("value", [True, np.ones(1), np.array(1j), "1", [1.0]])
def test_a_rate_is_one_number(value: Any) -> None:
    optimizer, _ = scene(False)
    with pytest.raises(ArgumentError, match=r"learning_rate=.* is not valid"):
        optimizer.learning_rate = value
    assert optimizer.learning_rate == 0.5


# dir() of both, built, in Keras 3.15.1 on TensorFlow.
OF_ALL = re.findall(
    r"\w+",
    "add_optimizer_variables add_variable add_variable_from_reference apply apply_gradients "
    "assign assign_add assign_sub build built clipnorm clipvalue ema_momentum "
    "ema_overwrite_frequency exclude_from_weight_decay finalize_variable_values from_config "
    "get_config global_clipnorm gradient_accumulation_steps iterations learning_rate "
    "load_own_variables loss_scale_factor name save_own_variables scale_loss set_weights "
    "stateless_apply update_step use_ema variables weight_decay",
)
OF_SCALERS = ("check_finite", "dynamic_scale", "initial_scale", "inner_optimizer", "step_counter")
ON_INNER = ("add_optimizer_variables", "add_variable", "add_variable_from_reference", "update_step")


def test_every_public_name_of_keras_3_is_there_or_says_where() -> None:
    plain, _ = scene(False)
    wrapped, _ = scene(True)
    for name in [*OF_ALL, "centered", "epsilon", "momentum", "rho"]:
        getattr(plain, name)
    for name in [*OF_ALL, *OF_SCALERS, "dynamic_growth_steps", "rebind"]:
        if name not in (*ON_INNER, "rebind"):
            getattr(wrapped, name)
            continue
        with pytest.raises(AttributeError, match=f"'{name}' of its own; valid: inner_optimizer"):
            getattr(wrapped, name)
        getattr(wrapped.inner_optimizer, name)
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'\.$"):
        wrapped.nonsense  # noqa: B018


def test_a_wrapped_count_is_settable() -> None:
    optimizer, _ = scene(True)
    optimizer.iterations = 7
    assert optimizer.iterations == optimizer.inner_optimizer.iterations == 7


def test_finite_gradients_are_told_from_others() -> None:
    optimizer, _ = scene(True)
    rows = fastrms.IndexedSlices(np.array([[np.nan, 1]], F4), [0])
    assert optimizer.check_finite([*ONES, None])
    assert not optimizer.check_finite([ONES[0], np.array([1, np.inf])])
    assert not optimizer.check_finite([rows])
    with pytest.raises(GradientError, match="the gradients are int 5; valid: a list"):
        optimizer.check_finite(5)
