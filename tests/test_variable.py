"""`Variable`: what it holds, how NumPy reads it, and how optimizers update it."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastrms
from fastrms import RMSprop, Variable, VariableError


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (10.0, None, "float32"),
        (3, None, "float32"),
        ([1, 2], None, "float32"),
        ([[1.0], [2.0]], None, "float32"),
        (np.ones(2), None, "float64"),
        (np.float64(1), None, "float64"),
        (np.ones(2, np.float16), None, "float16"),
        (np.arange(3), None, "int64"),
        (np.ones(2), "float32", "float32"),
        (Variable(np.ones(2)), None, "float64"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_array_keeps_its_dtype_and_numbers_become_float32(value, dtype, expected):
    v = Variable(value, dtype=dtype)
    assert v.dtype == expected
    assert np.array_equal(v, np.asarray(value))
    assert (v.shape, v.ndim) == (np.shape(value), np.ndim(value))


def test_the_value_is_copied():
    source = np.ones(3)
    v = Variable(source)
    source[:] = 7
    assert v.numpy().tolist() == [1, 1, 1]
    v.numpy()[:] = 7
    assert v.value.tolist() == [1, 1, 1]
    v.value[0] = 7
    assert v.numpy().tolist() == [7, 1, 1]


@pytest.mark.parametrize(
    "value",
    ["3.5", None, [[1], [1, 2]], 1j, np.ma.ones(2), np.array([None]), np.ones(2, ">f4"), {}],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_not_made_of_real_numbers_is_refused(value):
    with pytest.raises(VariableError, match="valid: "):
        Variable(value)


@pytest.mark.parametrize(
    "arguments", [{"name": "a/b"}, {"name": 3}, {"constraint": 3}, {"dtype": object}]
)
def test_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises(VariableError, match="valid: "):
        Variable(1.0, **arguments)


def test_names_count_up_and_paths_follow():
    first, second = Variable(1.0), Variable(1.0)
    assert first.name != second.name
    assert first.name.startswith("variable")
    assert Variable(1.0, name="w").path == "w"


def test_it_prints_name_shape_dtype_and_value():
    v = Variable(9.683772, name="var1")
    assert repr(v) == "<Variable name='var1', shape=(), dtype=float32, value=9.683772>"
    assert str(v.numpy()) == "9.683772"
    assert str(float(v)) == "9.683772"
    assert f"{v:.2f}" == "9.68"
    assert "..." in repr(Variable(np.zeros(1000)))


@given(st.floats(width=32, allow_nan=False))
def test_float_names_the_same_float32(number):
    assert np.float32(float(Variable(number))) == np.float32(number)


def test_float_and_int_and_bool_of_a_number():
    assert float(Variable([2.5])) == 2.5
    assert int(Variable(np.array([7]))) == 7
    assert bool(Variable(0.0)) is False
    with pytest.raises(ValueError, match=r"."):
        float(Variable([1.0, 2.0]))


A, B = np.arange(6.0).reshape(2, 3) + 1, np.full((2, 3), 2.0)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: 2 - a,
        lambda a, b: a**2 / b,
        lambda a, b: a @ b.T,
        lambda a, b: -abs(a) // b,
        lambda a, b: a > b,
        lambda a, b: np.maximum(a, b),
        lambda a, b: np.concatenate([a, b], axis=1),
        lambda a, b: np.where(a > 3, a, b),
        lambda a, b: np.einsum("ij,ij->i", a, b),
        lambda a, b: np.linalg.norm(a),
        lambda a, b: np.add.reduce(a),
        lambda a, b: np.multiply.outer(a, b),
        lambda a, b: a.sum(axis=0) + b.mean(),
        lambda a, b: a.reshape(-1)[1:4],
        lambda a, b: a[0] * b[..., 1][0],
        lambda a, b: np.stack(list(a)),
        lambda a, b: len(a) + a.size,
        lambda a, b: np.sum(a, where=b > 1),
        lambda a, b: sum(a),
    ],
)
def test_numpy_reads_it_as_an_array(function):
    expected = function(A, B)
    for a, b in ((Variable(A), Variable(B)), (Variable(A), B), (A, Variable(B))):
        found = function(a, b)
        assert not isinstance(found, Variable)
        assert np.array_equal(found, expected)


def test_it_is_compared_by_elements_and_hashed_by_identity():
    v, w = Variable([1.0]), Variable([1.0])
    assert (v == w).tolist() == [True]
    assert {v: 1, w: 2}[v] == 1


@pytest.mark.parametrize("name", ["resize", "sort", "fill", "setflags", "foo"])
def test_what_moves_or_hides_its_memory_is_not_offered(name):
    with pytest.raises(AttributeError, match=name):
        getattr(Variable([1.0]), name)


def test_assignments():
    v = Variable([1.0, 2.0])
    memory = v.value
    assert v.assign([3, 4]).tolist() == [3, 4]
    assert v.assign_add(np.ones(2)).tolist() == [4, 5]
    assert v.assign_sub(Variable([1.0, 1.0])).tolist() == [3, 4]
    v += 1
    v[0] = 9
    v[...] = v * 2
    np.add(v, 1, out=v)
    np.add.at(v, [0], 1)
    assert v.value is memory
    assert memory.tolist() == [20, 11]
    array = np.zeros(2, np.float32)
    array += v
    assert array.tolist() == [20, 11]


@pytest.mark.parametrize(
    "value", [[1.0], [[1.0, 2.0]], 1.0, "ab", [1j, 2], None, [None, 1]], ids=repr
)
def test_an_assignment_that_does_not_fit_changes_nothing(value):
    v = Variable([1.0, 2.0])
    for method in (v.assign, v.assign_add, v.assign_sub):
        with pytest.raises(VariableError, match="Nothing was changed"):
            method(value)
    assert v.value.tolist() == [1, 2]


def test_integers_take_no_fractions():
    with pytest.raises(VariableError, match="float64"):
        Variable(np.arange(2)).assign([0.5, 1.5])


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies_keep_everything_and_share_nothing(twin):
    v = Variable([1.0, 2.0], name="w", trainable=False, constraint=np.abs)
    v.overwrite_with_gradient = True
    w = twin(v)
    assert (w.name, w.path, w.trainable, w.constraint) == ("w", "w", False, np.abs)
    assert w.overwrite_with_gradient
    w.assign([5, 6])
    assert v.value.tolist() == [1, 2]


def test_constraint_and_overwriting_are_checked():
    v = Variable(1.0)
    v.constraint = np.abs
    v.constraint = None
    with pytest.raises(VariableError, match="callable"):
        v.constraint = 3
    with pytest.raises(VariableError, match="True or False"):
        v.overwrite_with_gradient = 1


def trajectories(dialect="keras-3", **options):
    """The same steps on arrays and on Variables."""
    random = np.random.default_rng(0)
    start = [random.normal(size=s).astype(np.float32) for s in [(), (3,), (2, 2)]]
    steps = [[random.normal(size=a.shape).astype(np.float32) for a in start] for _ in range(4)]
    for kind in (np.copy, Variable):
        variables = [kind(a) for a in start]
        yield RMSprop(0.1, dialect=dialect, **options), variables, steps


def test_steps_through_variables_are_bit_equal_however_they_are_given():
    found = []
    for optimizer, variables, steps in trajectories():
        optimizer.apply(steps[0], variables)
        optimizer.apply(steps[1])
        optimizer.apply_gradients(zip(steps[2][::-1], variables[::-1], strict=True))
        optimizer.apply([None, *steps[3][1:]], variables)
        found.append([np.asarray(v).tobytes() for v in [*variables, *optimizer.get_weights()]])
    assert found[0] == found[1]


def test_arrays_of_variables_are_known_too():
    v = Variable([1.0, 2.0])
    optimizer = RMSprop(jit_compile=False)
    optimizer.build([v])
    optimizer.apply([np.ones(2)], [v.value])
    with pytest.raises(VariableError, match="is not a variable of this optimizer"):
        optimizer.apply([np.ones(2)], [Variable([1.0, 2.0])])


def test_variables_name_themselves():
    optimizer = RMSprop(name="o", weight_decay=0.5, jit_compile=False)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    kernel, bias, other = (Variable(1.0, name=n) for n in ("kernel", "bias", "kernel"))
    optimizer.apply([0.0, 0.0, 0.0], [kernel, bias, other])
    assert [v.path for v in optimizer.variables[2:]] == [
        "o/kernel_velocity",
        "o/bias_velocity",
        "o/kernel_2_velocity",
    ]
    assert float(bias) == 1 > float(kernel)


def test_one_variable_and_dictionaries_of_them():
    v = Variable(1.0)
    optimizer = RMSprop(jit_compile=False)
    optimizer.build(v)
    optimizer.apply({"a": 1.0}, {"a": v})
    assert optimizer.iterations == 1


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_an_optimizer_and_its_variables_stay_together(twin):
    v = Variable([1.0, 2.0])
    optimizer = RMSprop(0.1, jit_compile=False)
    optimizer.apply([np.ones(2)], [v])
    again, w = twin((optimizer, v))
    again.apply([np.ones(2)])
    assert w.value.tolist() != v.value.tolist()
    optimizer.apply([np.ones(2)])
    assert w.value.tolist() == v.value.tolist()


def test_rebind_moves_state_to_variables():
    w = np.ones(2, np.float32)
    optimizer = RMSprop(0.1, jit_compile=False)
    optimizer.apply([np.ones(2)], [w])
    v = Variable(w)
    optimizer.rebind([v])
    optimizer.apply([np.ones(2)], [v])
    assert (v.value < w).all()


def test_a_variable_whose_memory_moved_is_noticed():
    v = Variable([1.0, 2.0])
    optimizer = RMSprop()
    optimizer.apply([np.ones(2)], [v])
    v.value.resize((1000,), refcheck=False)
    with pytest.raises(VariableError, match="has changed since build"):
        optimizer.apply([np.ones(2)])


def test_integers_are_not_trained():
    with pytest.raises(VariableError, match="float16, float32 or float64"):
        RMSprop().build([Variable(np.arange(3))])


def test_a_gradient_that_replaces_its_variable():
    v, w = Variable([1.0, 2.0]), Variable([1.0, 2.0])
    v.overwrite_with_gradient = True
    for jit_compile in (True, False):
        optimizer = RMSprop(0.5, clipnorm=0.1, loss_scale_factor=4.0, jit_compile=jit_compile)
        before = w.numpy()
        optimizer.apply([[8.0, 9.0], [1.0, 1.0]], [v, w])
        assert v.value.tolist() == [8, 9]
        assert (w.value < before).all()
        assert [s.path.rpartition("_")[2] for s in optimizer.variables[2:]] == ["velocity"]
        optimizer.apply([[3.0, 3.0], None])
        assert v.value.tolist() == [3, 3]
        assert optimizer.iterations == 2


def test_with_accumulation_the_largest_gradients_replace_it():
    v = Variable([1.0, 2.0])
    v.overwrite_with_gradient = True
    optimizer = RMSprop(gradient_accumulation_steps=2, jit_compile=False)
    optimizer.apply([[5.0, 1.0]], [v])
    assert v.value.tolist() == [1, 2]
    optimizer.apply([[3.0, 4.0]], [v])
    assert v.value.tolist() == [5, 4]
    assert optimizer.variables[2].numpy().tolist() == [0, 0]


def test_a_replacing_gradient_that_does_not_fit_changes_nothing():
    v, w = Variable([1.0, 2.0]), Variable([1.0, 2.0])
    v.overwrite_with_gradient = True
    optimizer = RMSprop(jit_compile=False)
    for gradients in ([[8.0], [1.0, 1.0]], [[8.0, 9.0], [1.0]]):
        with pytest.raises(fastrms.GradientError):
            optimizer.apply(gradients, [v, w])
        assert (v.value.tolist(), w.value.tolist()) == ([1, 2], [1, 2])


def test_a_constraint_acts_from_the_step_after_it_is_set():
    v = Variable([1.0, -3.0])
    for jit_compile in (True, False):
        v.constraint = None
        v.assign([1.0, -3.0])
        optimizer = RMSprop(0.5, jit_compile=jit_compile)
        optimizer.apply([[0.0, 0.0]], [v])
        assert v.value.tolist() == [1, -3]
        v.constraint = lambda w: np.maximum(w, 0)
        optimizer.apply([[0.0, 0.0]], [v])
        assert v.value.tolist() == [1, 0]
        v.constraint = None
        v.assign([1.0, -3.0])
        optimizer.apply([[0.0, 0.0]])
        assert v.value.tolist() == [1, -3]


def test_a_constraint_that_fails_leaves_replacing_gradients_undone():
    v, w = Variable([1.0]), Variable([1.0], constraint=lambda w: 1 / 0)
    v.overwrite_with_gradient = True
    optimizer = RMSprop(jit_compile=False)
    with pytest.raises(ZeroDivisionError):
        optimizer.apply([[5.0], [1.0]], [v, w])
    assert (v.value.tolist(), w.value.tolist()) == ([1], [1])


def test_a_shallow_copy_does_not_follow_the_variable():
    v = Variable([1.0, 2.0], name="v", constraint=np.abs)
    kept = copy.copy(v)
    v.assign([3.0, 4.0])
    assert kept.numpy().tolist() == [1, 2]
    assert (kept.name, kept.constraint) == ("v", np.abs)


def test_python_rounds_and_divides_it():
    v = Variable([2.567, -1.5])
    assert round(v).tolist() == [3, -2]
    assert round(v).dtype == np.float32  # as in Keras 3, not a Python integer
    assert round(Variable(2.567), 1) == np.float32(2.6)
    assert [part.tolist() for part in divmod(Variable([5.0, -5.0]), 2)] == [[2, -3], [1, 1]]
    assert (v // 1).tolist() == [2, -2]
    assert abs(v).tolist() == [np.float32(2.567), 1.5]


@pytest.mark.parametrize(
    ("ask", "value"),
    [
        (float, [1.0, 2.0]),
        (int, [1.0, 2.0]),
        (bool, [1.0, 2.0]),
        (bool, []),
        (len, 1.0),
        (iter, 1.0),
    ],
    ids=["float", "int", "bool", "bool of none", "len", "iter"],
)
def test_what_python_cannot_ask_of_a_shape(ask, value):
    v = Variable(value)
    shape = str(v.shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(TypeError, match=f"of a Variable of shape {shape}; valid: "):
        ask(v)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(1e300, None), ([0.0, -1e39], None), (np.array([1e300]), "float32"), (1e5, "float16")],
    ids=["number", "list", "array", "half"],
)
def test_a_number_does_not_silently_become_infinite(value, dtype):
    # Keras 3 stores inf; nobody means that by a finite number.
    with pytest.raises(VariableError, match=r"too large for float(16|32): pass dtype='float64'"):
        Variable(value, dtype=dtype)


def test_what_is_infinite_or_fits_is_kept():
    assert np.isposinf(Variable(np.inf))
    assert np.isnan(Variable(np.nan, dtype="float16"))
    assert Variable(1e300, dtype="float64").numpy() == 1e300
    assert Variable(np.array(1e300)).dtype == np.float64


@pytest.mark.parametrize("method", ["assign", "assign_add", "assign_sub"])
def test_an_assigned_number_does_not_become_infinite(method):
    v = Variable(2.0)
    with pytest.raises(VariableError, match=r"got 1e\+300 .*expected float32.*too large. Nothing"):
        getattr(v, method)(1e300)
    assert v.numpy() == 2
    assert np.isposinf(v.assign(np.inf))
