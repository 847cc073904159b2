"""The surface of `RMSprop` that Keras 3's users expect: signature, names, counters."""

import inspect
import pydoc

import numpy as np
import pytest

import battery
import fastrms

KERAS_3_DEFAULTS = {
    "learning_rate": 0.001,
    "rho": 0.9,
    "momentum": 0.0,
    "epsilon": 1e-07,
    "centered": False,
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
    "name": None,
}


def test_signature_has_keras_3s_arguments_in_order():
    parameters = inspect.signature(fastrms.RMSprop).parameters
    assert list(parameters)[: len(KERAS_3_DEFAULTS)] == list(KERAS_3_DEFAULTS)
    assert parameters["dialect"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(("name", "value"), KERAS_3_DEFAULTS.items())
def test_help_shows_keras_3s_default(name, value):
    shown = pydoc.render_doc(fastrms.RMSprop, renderer=pydoc.plaintext)
    start = shown.index(name + ":")
    assert f"= {value!r}" in shown[start : start + 120]


def test_names_count_up_as_in_keras_3():
    def number(name: str) -> int:
        return int(name.removeprefix("rm_sprop").removeprefix("_") or 0)

    first, second = fastrms.RMSprop().name, fastrms.RMSprop().name
    assert number(second) == number(first) + 1
    assert fastrms.RMSprop(name="mine").name == "mine"
    assert fastrms.RMSprop(dialect="tf-keras-v2").name == "RMSprop"


def test_iterations_count_updates_not_calls():
    optimizer = fastrms.RMSprop(gradient_accumulation_steps=3)
    variable = np.ones(4)
    counts = []
    for _ in range(7):
        optimizer.apply([np.ones(4)], [variable])
        counts.append(optimizer.iterations)
    assert counts == [0, 0, 1, 1, 1, 2, 2]


def test_dialect_enters_the_config_except_keras_3():
    for name in fastrms.DIALECTS:
        config = fastrms.RMSprop(dialect=name).get_config()
        assert config.get("dialect") == (None if name == "keras-3" else name)
        assert fastrms.RMSprop.from_config(config).get_config() == config


def test_an_optimizer_names_itself_in_its_repr():
    optimizer = fastrms.RMSprop(name="mine", dialect="torch")
    assert repr(optimizer) == "<fastrms.RMSprop 'mine', dialect 'torch', 0 variables>"


def test_an_exclusion_without_effect_says_so():
    optimizer = fastrms.RMSprop(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["gamma"])
    with pytest.warns(fastrms.PortingWarning, match="'gamma' matches no variable"):
        optimizer.build({"kernel": np.ones(2)})
    optimizer = fastrms.RMSprop(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_list=[np.ones(2)])
    with pytest.raises(fastrms.VariableError, match="not among the variables"):
        optimizer.build({"kernel": np.ones(2)})
    assert not optimizer.built


# Recorded on Keras 1.2.2 (TensorFlow and Theano), 2.0.8, 2.2.4, 2.3.1 and tf.keras 1.13, which
# agree: K.sqrt takes the root of 0 where rho beyond 1 has made the mean of squares negative.
BELOW_ZERO = ["0x1.f5c2900000000p-1", "0x1.0a3d720000000p+1", "-0x1.ae147a0000000p+1"]


@pytest.mark.parametrize(
    "dialect", ["keras-1", "tf-contrib", "keras-2.0", "keras-2.2", "keras-2.3", "tf-keras-v1"]
)
def test_rows_with_a_root_of_zero_go_on_below_zero(dialect):
    variable = np.array([1, 2, -3], "f")
    optimizer = fastrms.RMSprop(0.01, rho=1.5, epsilon=0.125, dialect=dialect)
    for gradient in ([1, -2, 0.5], [0.25, 0, 3], [-1, 1, 1]):
        optimizer.apply([np.array(gradient, "f")], [variable])
    assert [float(x).hex() for x in variable] == BELOW_ZERO


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_kernels_take_the_root_of_zero_as_the_reference_does(dtype):
    found = []
    for compiled in (True, False):
        variable = battery.odd_numbers((40,), dtype, 1)
        optimizer = fastrms.RMSprop(0.01, rho=1.5, epsilon=0.125, dialect="keras-2.2")
        optimizer.build([variable])
        optimizer._core.stepper._compiled = compiled
        for seed in (2, 3):
            optimizer.apply([battery.odd_numbers((40,), dtype, seed)], [variable])
        found.append(variable)
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).sum() > 15
