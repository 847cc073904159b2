"""The smaller methods of Keras 3's and tf.keras' RMSprop, with their meaning and signatures."""

import inspect

import numpy as np
import pytest

import fastrms
from fastrms import ArgumentError, RMSprop, StateError, Variable, VariableError

# keras 3.15.1 optimizers/base_optimizer.py and rmsprop.py: what each method takes.
SIGNATURES = {
    "add_variable": "shape initializer dtype aggregation layout name",
    "add_variable_from_reference": "reference_variable name initializer",
    "add_optimizer_variables": "trainable_variables name initializer",
    "assign": "variable value",
    "assign_add": "variable value",
    "assign_sub": "variable value",
    "apply_gradients": "grads_and_vars",
    "apply": "grads trainable_variables",
    "stateless_apply": "optimizer_variables grads trainable_variables",
    "scale_loss": "loss",
    "save_own_variables": "store",
    "load_own_variables": "store",
    "exclude_from_weight_decay": "var_list var_names",
    "from_config": "config custom_objects",
    "update_step": "gradient variable learning_rate",
    "minimize": "loss var_list tape",
    "compute_gradients": "loss var_list tape",
    "_clip_gradients": "grads",
}
# keras 3.15.1 optimizers/rmsprop.py:53-71: the constructor, in order.
CONSTRUCTOR = (
    "learning_rate rho momentum epsilon centered weight_decay clipnorm clipvalue global_clipnorm "
    "use_ema ema_momentum ema_overwrite_frequency loss_scale_factor gradient_accumulation_steps "
    "name"
)


@pytest.mark.parametrize("name", SIGNATURES)
def test_methods_take_what_keras_takes(name):
    parameters = inspect.signature(getattr(RMSprop(), name)).parameters.values()
    # What Keras lacks (the device's `stream`) may be given by keyword alone.
    taken = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert taken == SIGNATURES[name].split()


def test_the_constructor_takes_what_keras_takes_in_its_order():
    assert list(inspect.signature(RMSprop).parameters)[:15] == CONSTRUCTOR.split()


def slow(*arguments, **options):
    """An optimizer that needs no kernels."""
    return RMSprop(*arguments, jit_compile=False, **options)


def test_hyperparameters_are_attributes_that_cannot_be_set():
    optimizer = slow(0.5, rho=0.8, momentum=0.25, epsilon=1e-3, centered=True, clipnorm=2.0)
    found = (optimizer.rho, optimizer.momentum, optimizer.epsilon, optimizer.centered)
    assert found == (0.8, 0.25, 1e-3, True)
    assert (optimizer.clipnorm, optimizer.clipvalue, optimizer.use_ema) == (2.0, None, False)
    for name in ("rho", "clipnorm", "weight_decay", "use_ema"):
        with pytest.raises(StateError, match=f"{name} cannot be set"):
            setattr(optimizer, name, 0.5)
    optimizer.note = "free"
    with pytest.raises(AttributeError, match="no attribute 'foo'"):
        optimizer.foo  # noqa: B018


def test_built_says_whether_it_is():
    optimizer = slow()
    assert not optimizer.built
    w = np.ones(2)
    optimizer.build([w])
    assert optimizer.built
    optimizer.apply([np.ones(2)])
    optimizer.build([w])  # again changes nothing
    assert optimizer.iterations == 1
    with pytest.raises(VariableError, match="already built"):
        optimizer.build([w, np.ones(2)])


def test_learning_rate_and_its_other_name():
    optimizer = slow(0.5)
    assert optimizer.learning_rate == optimizer.lr == 0.5
    optimizer.lr = 0.25
    assert optimizer.learning_rate == 0.25
    optimizer.learning_rate = lambda: 0.125
    assert optimizer.learning_rate == 0.125


def test_the_learning_rate_is_not_settable_when_a_schedule_owns_it():
    optimizer = slow(fastrms.schedules.ExponentialDecay(0.5, 10, 0.5))
    with pytest.raises(TypeError, match="cannot be set to"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = fastrms.schedules.ExponentialDecay(0.25, 10, 0.5)
    assert optimizer.learning_rate == 0.25


def test_variables_are_views_of_the_state():
    v = Variable([1.0, 2.0], name="w")
    optimizer = slow(0.5, name="o", momentum=0.5)
    assert [s.path for s in optimizer.variables] == ["o/iteration", "o/learning_rate"]
    optimizer.build([v])
    optimizer.apply([[1.0, 1.0]])
    iteration, rate, velocity, momentum = optimizer.variables
    assert (int(iteration), float(rate)) == (1, 0.5)
    assert [s.path for s in (velocity, momentum)] == ["o/w_velocity", "o/w_momentum"]
    assert [s.name for s in (velocity, momentum)] == ["w_velocity", "w_momentum"]
    before = velocity.numpy()
    optimizer.apply([[1.0, 1.0]])
    assert (velocity.value > before).all()
    velocity.assign([0, 0])
    assert optimizer.get_weights()[2].tolist() == [0, 0]


def test_assigning_to_scalars_sets_them():
    optimizer = slow()
    iteration, rate = optimizer.variables
    iteration.assign(7)
    rate.assign(0.25)
    assert (optimizer.iterations, optimizer.learning_rate) == (7, 0.25)
    with pytest.raises(StateError, match="Nothing was changed"):
        iteration.assign(-1)
    assert (optimizer.iterations, int(iteration)) == (7, 7)
    iteration += 1
    rate[...] = 0.5
    assert (optimizer.iterations, optimizer.learning_rate) == (8, 0.5)


def test_a_schedule_takes_the_learning_rate_out_of_the_variables():
    optimizer = slow(0.001)
    assert len(optimizer.variables) == 2
    optimizer.learning_rate = fastrms.schedules.PolynomialDecay(optimizer.learning_rate, 4)
    assert len(optimizer.variables) == 1


def test_added_variables_are_part_of_the_state():
    v = Variable([1.0, 2.0], name="w")
    optimizer = slow(0.5, name="o")
    optimizer.build([v])
    one = optimizer.add_variable((2, 3), "ones", "float64", name="trust")
    two = optimizer.add_variable_from_reference(v, "shadow", lambda shape, dtype: [3.0, 4.0])
    assert (one.path, one.shape, one.dtype) == ("o/trust", (2, 3), "float64")
    assert (two.path, two.value.tolist(), two.dtype) == ("o/w_shadow", [3, 4], "float32")
    assert [s.path for s in optimizer.variables[-2:]] == ["o/trust", "o/w_shadow"]
    assert optimizer.variables[-1] is two
    weights = optimizer.get_weights()
    weights[-1] = np.array([5.0, 6.0])
    optimizer.set_weights(weights)
    assert two.value.tolist() == [5, 6]


def test_add_optimizer_variables_makes_lists():
    v, w = Variable([1.0], name="v"), Variable([1.0], name="w")
    w.overwrite_with_gradient = True
    optimizer = slow(name="o")
    made = optimizer.add_optimizer_variables([v, w], "m")
    assert made[0].path == "o/v_m"
    assert made[1] is None
    first, second = optimizer.add_optimizer_variables([v], ["a", "b"], ["zeros", "ones"])
    assert (first[0].path, second[0].path, float(second[0])) == ("o/v_a", "o/v_b", 1)
    with pytest.raises(ArgumentError, match="2 names and 1 initializers"):
        optimizer.add_optimizer_variables([v], ["a", "b"], ["zeros"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"shape": (None,)},
        {"shape": (2,), "initializer": "typo"},
        {"shape": (2,), "initializer": lambda shape, dtype: [1.0]},
        {"shape": (2,), "aggregation": "max"},
        {"shape": (2,), "layout": "x"},
        {"shape": (2,), "name": "a/b"},
        {"shape": (2,), "dtype": "str"},
        {"shape": (2,), "dtype": "typo"},
        {"shape": "23"},
        {"shape": (2.5,)},
        {"shape": -1},
    ],
    ids=[
        *("open shape", "typo", "short values", "aggregation", "layout", "name", "dtype"),
        *("unknown dtype", "text for a shape", "fraction", "negative"),
    ],
)
def test_added_variables_that_cannot_be(arguments):
    optimizer = slow()
    with pytest.raises((ArgumentError, VariableError), match=r"valid|expected"):
        optimizer.add_variable(**arguments)
    assert len(optimizer.variables) == 2


@pytest.mark.parametrize("make", [Variable, lambda value: np.array(value, np.float32)])
def test_assign_changes_variables_and_arrays(make):
    target, optimizer = make([1.0, 2.0]), slow()
    assert optimizer.assign(target, [3.0, 4.0]) is None
    optimizer.assign_add(target, [1.0, 1.0])
    optimizer.assign_sub(target, [2.0, 0.0])
    assert np.asarray(target).tolist() == [2, 5]
    with pytest.raises(VariableError):
        optimizer.assign(target, [1.0])
    with pytest.raises(VariableError, match="cannot be assigned to"):
        optimizer.assign([1.0], [1.0])


OPTIONS = [
    {"momentum": 0.5, "centered": True},
    {"use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2},
    {"learning_rate": fastrms.schedules.ExponentialDecay(0.5, 2, 0.5), "weight_decay": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_stateless_apply_is_apply_without_a_trace(options):
    w = np.array([1.0, 2.0])
    optimizer, mirror = slow(**options), slow(**options)
    start = w.copy()
    mirror.build([start])
    optimizer.build([w])
    values, state = [w.copy()], mirror.get_weights()
    for k in range(4):
        gradient = np.array([0.5, -1.0]) * (k + 1)
        optimizer.apply([gradient])
        given = [a.copy() for a in [*values, *state]]
        new, fresh = mirror.stateless_apply(state, [gradient], values)
        for kept, old in zip([*values, *state], given, strict=True):
            assert np.array_equal(kept, old)
        values, state = new, fresh
        assert values[0].tobytes() == w.tobytes()
        for ours, other in zip(state, optimizer.get_weights(), strict=True):
            assert np.array_equal(ours, other)
    assert mirror.iterations == 0
    assert start.tolist() == [1, 2]


def test_stateless_apply_takes_dictionaries():
    optimizer, tree = RMSprop(0.1), {"b": np.ones(2), "a": {"k": np.zeros(3)}}
    optimizer.build(tree)
    turned = {"a": {"k": np.zeros(3)}, "b": np.ones(2)}
    grads = {"a": {"k": np.ones(3)}, "b": np.full(2, 2.0)}
    fresh, _ = optimizer.stateless_apply(optimizer.variables, grads, turned)
    optimizer.apply(grads)
    assert [f.tolist() for f in fresh] == [tree["b"].tolist(), tree["a"]["k"].tolist()]
    with pytest.raises(VariableError, match=r"expected \['a/k', 'b'\]"):
        optimizer.stateless_apply(optimizer.variables, grads, {"b": np.ones(2)})


def test_stateless_apply_refuses_what_does_not_fit():
    optimizer = slow()
    with pytest.raises(StateError, match="needs a built optimizer"):
        optimizer.stateless_apply([], [], [])
    optimizer.build([np.ones(2)])
    state = optimizer.variables
    with pytest.raises(VariableError, match="2 trainable variables were given; expected 1"):
        optimizer.stateless_apply(state, [np.ones(2)], [np.ones(2)] * 2)
    with pytest.raises(StateError, match="1 weights were given"):
        optimizer.stateless_apply(state[:1], [np.ones(2)], [np.ones(2)])


def test_scale_loss():
    assert slow().scale_loss(2.0) == 2.0
    assert slow(loss_scale_factor=4.0).scale_loss(2.0) == 8.0


def test_own_variables_are_stored_and_read_back():
    v, store = Variable([1.0, 2.0]), {}
    optimizer = slow(0.5)
    optimizer.apply([[1.0, 1.0]], [v])
    optimizer.save_own_variables(store)
    assert list(store) == ["0", "1", "2"]
    other = slow()
    other.build([Variable([1.0, 2.0])])
    other.load_own_variables(store)
    assert (other.iterations, other.learning_rate) == (1, 0.5)
    assert np.array_equal(other.variables[2], optimizer.variables[2])


@pytest.mark.parametrize("change", [{"3": 1.0}, {"2": None}, {"2": np.ones(3)}, {"1": np.nan}])
def test_a_store_that_does_not_fit_changes_nothing(change):
    optimizer = slow()
    optimizer.build([np.ones(2)])
    store = {}
    optimizer.save_own_variables(store)
    store.update({"0": np.array(5)})
    store.update(change)
    store = {key: value for key, value in store.items() if value is not None}
    with pytest.raises(StateError):
        optimizer.load_own_variables(store)
    assert optimizer.iterations == 0


def test_a_store_of_h5py():
    h5py = pytest.importorskip("h5py")
    optimizer = slow()
    optimizer.iterations = 3
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        optimizer.save_own_variables(file)
        other = slow()
        other.load_own_variables(file)
    assert other.iterations == 3


GRADIENTS = [np.array([30.0, 40.0]), None, np.array([[0.0], [-120.0]])]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[30, 40], [[0], [-120]]]),
        ({"clipnorm": 5.0}, [[3, 4], [[0], [-5]]]),
        ({"clipvalue": 35.0}, [[30, 35], [[0], [-35]]]),
        ({"global_clipnorm": 13.0}, [[3, 4], [[0], [-12]]]),
        ({"clipnorm": 5.0, "loss_scale_factor": 2.0}, [[3, 4], [[0], [-5]]]),
    ],
    ids=str,
)
def test_gradients_are_clipped_and_nothing_else(options, expected):
    found = slow(**options)._clip_gradients(GRADIENTS)
    assert found[1] is None
    for ours, wanted in zip([found[0], found[2]], expected, strict=True):
        np.testing.assert_allclose(ours, wanted)
    assert GRADIENTS[0].tolist() == [30, 40]


@pytest.mark.parametrize("dialect", ["keras-3", "tf-keras-2.11", "keras-1"])
def test_jit_compile_chooses_the_engine_and_changes_no_bit(dialect):
    found = []
    for jit_compile in (True, False):
        w = np.linspace(-1, 1, 7, dtype=np.float32)
        optimizer = RMSprop(learning_rate=0.1, dialect=dialect, jit_compile=jit_compile)
        for k in range(3):
            optimizer.apply([np.cos(w * k)], [w])
        plan = next(iter(optimizer._core.stepper._plans.values()))
        found.append((w.tobytes(), type(plan).__name__))
    assert found[0][0] == found[1][0]
    assert [name for _, name in found] == ["Plan", "ReferencePlan"]


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_jit_compile_is_true_or_false(value):
    with pytest.raises(ArgumentError, match="jit_compile"):
        RMSprop(jit_compile=value)


def test_mesh_can_only_be_none():
    assert RMSprop(dialect="tf-keras-2.11", mesh=None).mesh is None
    with pytest.raises(ArgumentError, match="in one process, on no DTensor mesh"):
        RMSprop(dialect="tf-keras-2.11", mesh=object())
    with pytest.raises(ArgumentError, match="no argument 'mesh'"):
        RMSprop(mesh=None)


def test_old_messages_are_found_by_those_who_search_for_them():
    with pytest.raises(ValueError, match="Only one of `clipnorm`, `clipvalue` and `global_clipno"):
        RMSprop(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match=r"You are calling set_weights\(\)"):
        RMSprop().set_weights([0, 0.1, np.ones(2)])
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        RMSprop().apply([None], [np.ones(2)])
