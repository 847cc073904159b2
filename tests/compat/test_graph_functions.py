"""K.function, expressions and variables, as scripts used them."""

import numpy as np
import pytest

from fastrms.compat.engine.derivatives import ordered
from fastrms.compat.keras1 import backend as K1  # noqa: N812
from fastrms.compat.keras22 import backend as K  # noqa: N812


@pytest.fixture
def x():
    return K.placeholder(shape=(None, 3), name="x")


def values(rows=2):
    return np.arange(3.0 * rows).reshape(rows, 3) / 4


ONE_MORE = [(K.zeros((1,)), np.ones(1))]
FORMS = {
    "positional": lambda x, w: K.function([x], [K.sum(x * w)], [(w, w + 1.0)]),
    "keyword updates": lambda x, w: K.function([x], [K.sum(x * w)], updates=[K.update_add(w, 1.0)]),
    "all keywords": lambda x, w: K.function(
        inputs=[x], outputs=[K.sum(x * w)], updates=[K.update(w, w + 1.0)]
    ),
    "concatenated": lambda x, w: K.function(
        [x],
        [K.sum(x * w)],
        [K.update_add(w, 1.0)] + ONE_MORE,  # noqa: RUF005
    ),
    "tuples": lambda x, w: K.function((x,), (K.sum(x * w),), ((w, w + 1.0),)),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_come_before_updates_in_every_form(form, x):
    w = K.variable(np.ones(3))
    f = FORMS[form](x, w)
    assert f([values()]) == [np.float32(3.75)]
    np.testing.assert_array_equal(K.get_value(w), [2, 2, 2])
    assert f([values().tolist()]) == [np.float32(7.5)]


def test_bare_outputs_are_returned_bare(x):
    assert K.function([x], K.sum(x))([values()]) == np.float32(3.75)
    assert isinstance(K.function([x], K.sum(x))([values()]), np.float32)
    assert K.function([x], [])([values()]) == []


def test_no_inputs_and_no_outputs():
    w = K.variable([3.0, -3.0])
    clamp = K.function(inputs=[], outputs=[], updates=[K.update(w, K.clip(w, -0.5, 0.5))])
    assert clamp([]) == []
    np.testing.assert_array_equal(K.get_value(w), [0.5, -0.5])


def test_updates_are_computed_from_old_values_and_assigned_together():
    a, b = K.variable([1.0, 2.0]), K.variable([3.0, 4.0])
    K.function([], [], [(a, b), (b, a)])([])
    np.testing.assert_array_equal(K.get_value(a), [3, 4])
    np.testing.assert_array_equal(K.get_value(b), [1, 2])


def test_updates_may_read_views_of_what_they_write():
    w = K.variable(np.arange(4.0).reshape(2, 2))
    K.function([], [], [(w, w.T)])([])
    np.testing.assert_array_equal(K.get_value(w), [[0, 2], [1, 3]])


def test_a_failing_call_changes_nothing():
    table, i = K.variable(np.zeros((2, 2))), K.placeholder((None,), dtype="int32")
    f = K.function([i], [K.gather(table, i)], [(table, table + 1.0)])
    with pytest.raises(IndexError):
        f([[5]])
    assert not K.get_value(table).any()


def test_returned_arrays_are_the_callers_own(x):
    w = K.variable(np.ones(3))
    f = K.function([x], [w, x * w], [(w, w + 1.0)])
    first = f([values()])
    kept = [a.copy() for a in first]
    f([values() + 1])
    for ours, theirs in zip(first, kept, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_any_node_can_be_fed(x):
    hidden = x * 2.0
    f = K.function([hidden], [hidden + 1.0])
    np.testing.assert_array_equal(f([np.ones((1, 3))])[0], [[2, 2, 2]])


def test_learning_phase_is_an_input_and_0_where_it_is_not_given(x):
    phase = K.learning_phase()
    y = K.in_train_phase(x * 10.0, x)
    f = K.function([x, phase], [y])
    np.testing.assert_array_equal(f([values(), 1])[0], (values() * 10).astype("f"))
    np.testing.assert_array_equal(f([values(), 0])[0], values().astype("f"))
    np.testing.assert_array_equal(f([values(), False])[0], values().astype("f"))
    np.testing.assert_array_equal(K.function([x], [y])([values()])[0], values().astype("f"))


def test_a_fixed_learning_phase_chooses_when_the_graph_is_made(x):
    try:
        K.set_learning_phase(1)
        y = K.in_train_phase(x * 10.0, x)
    finally:
        K.clear_session()
    np.testing.assert_array_equal(K.function([x], [y])([values()])[0], (values() * 10).astype("f"))


def test_placeholders_without_shape_take_any_shape():
    x, n = K.placeholder(), K.placeholder(ndim=2)
    w = K.variable(np.ones((3, 2)))
    loss = K.mean(K.square(K.dot(x, w))) + K.sum(n)
    f = K.function([x, n], [loss, *K.gradients(loss, [w])])
    for rows in (1, 2, 5):
        found = f([values(rows), [[0.0]]])
        product = values(rows) @ np.ones((3, 2))
        np.testing.assert_allclose(found[0], np.mean(product**2), rtol=1e-6)
        slope = 2 * values(rows).T @ product / product.size
        np.testing.assert_allclose(found[1], slope, rtol=1e-6)


@pytest.mark.parametrize("shape", [[None], (None,), None])
def test_shapes_of_placeholders_may_be_lists_or_unknown(shape):
    x = K.placeholder(shape=shape)
    assert K.function([x], [K.sum(x)])([[1, 2, 3]]) == [np.float32(6)]


def test_integer_placeholders_index_and_count():
    i = K.placeholder(shape=(None,), dtype="int32")
    one_hot = K.one_hot(i, 3)
    table = K.variable(np.arange(6.0).reshape(3, 2))
    found = K.function([i], [one_hot, K.gather(table, i), table[i], i + 1])([[2, 0]])
    np.testing.assert_array_equal(found[0], [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(found[1], [[4, 5], [0, 1]])
    np.testing.assert_array_equal(found[2], found[1])
    assert found[3].dtype == np.int32


NUMPY = {
    "ufunc": lambda a: np.exp(a),
    "array on the left": lambda a: np.ones(3) * a,
    "NumPy number on the left": lambda a: np.float64(2) - a,
    "np.mean": lambda a: np.mean(a, axis=1, keepdims=True),
    "np.sum": lambda a: np.sum(a),
    "np.dot": lambda a: np.dot(a, np.eye(3)),
    "np.clip": lambda a: np.clip(a, 0.1, 0.8),
    "np.maximum": lambda a: np.maximum(a, 0.5),
    "np.transpose": lambda a: np.transpose(a),
    "np.concatenate": lambda a: np.concatenate([a, a], axis=1),
    "np.reshape": lambda a: np.reshape(a, (-1,)),
    "np.argmax": lambda a: np.argmax(a, axis=1),
    "mean method": lambda a: a.mean(axis=0),
    "max method": lambda a: a.max(axis=1, keepdims=True),
    "sum and min": lambda a: a.sum() + a.min(),
    "T": lambda a: a.T,
    "flatten": lambda a: a.flatten(),
    "slice": lambda a: a[:, 1],
    "rows": lambda a: a[0],
    "ellipsis": lambda a: a[..., 1:],
    "new axis": lambda a: a[:, None],
    "arithmetic": lambda a: -((1 - a) ** 2) / (a + 2) * abs(a - 1) % 0.7,
    "comparison": lambda a: (a > 0.5) * 1.0 + (a <= 0.25),
    "matmul": lambda a: a @ np.eye(3),
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpy_and_theano_styles_give_what_numpy_gives(name, x):
    f = K.function([x], NUMPY[name](x))
    array = values().astype(np.float32)
    np.testing.assert_allclose(f([array]), NUMPY[name](array), rtol=2e-6)


def test_dimshuffle_and_get_shape():
    x = K.placeholder((2, 3))
    assert x.dimshuffle(1, "x", 0).shape == (3, 1, 2)
    assert x.get_shape().as_list() == [2, 3]
    assert K.int_shape(K.batch_flatten(K.placeholder((None, 2, 3)))) == (None, 6)


def test_variables_have_the_methods_of_both_backends():
    w = K.variable([[1, 2]], name="w", constraint=abs)
    assert (w.name, w.shape, w.dtype, w.constraint) == ("w", (1, 2), "float32", abs)
    w.set_value([[3, 4]])
    np.testing.assert_array_equal(w.get_value(), [[3, 4]])
    assert w.assign(np.array([[5, 6]])) is w
    np.testing.assert_array_equal(w.numpy(), w.eval())
    K.function([], [], [w.assign(w * 2.0)])([])
    np.testing.assert_array_equal(K.get_value(w), [[10, 12]])
    K.batch_set_value([(w, [[0, 0]])])
    assert K.batch_get_value([w])[0].tolist() == [[0, 0]]
    assert isinstance(K.get_value(K.variable(2.0)), np.float32)
    w.get_value()[:] = 7
    assert K.get_value(w).tolist() == [[0, 0]]


def test_no_float64_appears_in_a_float32_graph(x):
    w = K.variable(np.ones((3, 2)))
    y = K.softmax(K.dot(x, w) * np.float64(2) + np.ones(2)) + 1e-3
    y = K.switch(y > 0.5, y * np.pi, 1.0) ** 2 / np.arange(1.0, 3.0)
    loss = K.mean(K.binary_crossentropy(K.cast(y > 0.3, "float32"), K.clip(y, 0.1, 0.9)))
    gradient = K.gradients(K.sum(K.square(K.gradients(loss, [w])[0])), [w])[0]
    nodes = ordered([loss, gradient])
    assert {n.dtype for n in nodes} <= {"float32", "bool", "int32", "int64"}
    f = K.function([x], [loss, gradient])
    f([values()])
    (plan,) = f._plans.values()
    assert all(plan.bound.arrays[id(n)].dtype == n.dtype for n in f.order)


def test_gradients_nest():
    x = K.placeholder(shape=(None, 2))
    w = K.variable([[1.0], [2.0]])
    critic = K.sum(K.tanh(K.dot(x, w)))
    slope = K.gradients(critic, [x])[0]
    penalty = K.mean(K.square(K.sqrt(K.sum(K.square(slope), axis=1)) - 1.0))
    f = K.function([x], [penalty, K.gradients(penalty, [w])[0]])
    point = [[0.3, -0.2]]
    mine = f([point])[1]
    step = 1e-3
    for k in range(2):
        moved = np.array([[1.0], [2.0]])
        moved[k] += step
        K.set_value(w, moved)
        above = f([point])[0]
        moved[k] -= 2 * step
        K.set_value(w, moved)
        below = f([point])[0]
        K.set_value(w, [[1.0], [2.0]])
        np.testing.assert_allclose(mine[k, 0], (above - below) / (2 * step), rtol=1e-3)


def test_inputs_of_many_shapes_keep_a_bounded_number_of_plans(x):
    f = K.function([x], [K.sum(x)])
    for rows in (*range(1, 50), 1, 2):
        assert f([np.ones((rows, 3))]) == [np.float32(3 * rows)]
    assert len(f._plans) == 32


def test_common_parts_are_computed_once():
    x = K.placeholder((3,))
    f = K.function([x], [K.exp(x) + 1.0, K.exp(x) * 2.0])
    f([[1, 2, 3]])
    (plan,) = f._plans.values()
    assert len(plan.bound.calls) == 3


def test_random_numbers_are_new_at_each_call_and_follow_the_seed():
    np.random.seed(3)
    first = K.function(
        [], [K.random_normal((2,)), K.random_uniform((2,)), K.random_binomial((4,), 0.5)]
    )
    a, b = first([]), first([])
    assert all(not np.array_equal(p, q) for p, q in zip(a[:2], b[:2], strict=True))
    np.random.seed(3)
    again = K.function([], [K.random_normal((2,)), K.random_uniform((2,))])([])
    np.testing.assert_array_equal(again[0], a[0])
    np.testing.assert_array_equal(again[1], a[1])
    x = K.placeholder((None, 2))
    noisy = K.function(
        [x], [K.random_normal(shape=K.shape(x)), K.random_normal((K.shape(x)[0], 5))]
    )
    assert [v.shape for v in noisy([np.zeros((3, 2))])] == [(3, 2), (3, 5)]


def test_losses_equal_their_formulas():
    t, y = np.array([[0.0, 1.0]]), np.array([[0.25, 0.75]])
    one = K.eval(K.categorical_crossentropy(K.constant(t), K.constant(2 * y)))
    np.testing.assert_allclose(one, [-np.log(0.75)], rtol=1e-6)
    old = K1.eval(K1.categorical_crossentropy(K1.constant(2 * y), K1.constant(t)))
    np.testing.assert_array_equal(old, one)
    two = K.eval(K.binary_crossentropy(K.constant(t), K.constant(y)))
    np.testing.assert_allclose(two, -np.log([[0.75, 0.75]]), rtol=1e-5)
    three = K.eval(K.sparse_categorical_crossentropy(K.constant([1]), K.constant(y)))
    np.testing.assert_allclose(three, one, rtol=1e-6)


def test_other_functions_equal_numpy():
    a = np.arange(12.0).reshape(2, 3, 2) / 5 - 1
    x = K.constant(a)
    table = {
        "batch_dot 3-D": (
            K.batch_dot(x, K.permute_dimensions(x, (0, 2, 1))),
            a @ a.transpose(0, 2, 1),
        ),
        "batch_dot 2-D": (K.batch_dot(x[:, 0], x[:, 1], 1), np.sum(a[:, 0] * a[:, 1], 1)[:, None]),
        "repeat_elements": (K.repeat_elements(x, 2, 1), np.repeat(a, 2, 1)),
        "squeeze": (K.squeeze(K.expand_dims(x, 1), 1), a),
        "l2_normalize": (
            K.l2_normalize(x, axis=1),
            a / np.sqrt(np.maximum(np.sum(a**2, axis=1, keepdims=True), 1e-12)),
        ),
        "elu": (K.elu(x), np.where(a > 0, a, np.exp(a) - 1)),
        "leaky relu": (K.relu(x, alpha=0.3), np.where(a > 0, a, 0.3 * a)),
        "bounded relu": (K.relu(x, max_value=0.5), np.clip(a, 0, 0.5)),
        "hard_sigmoid": (K.hard_sigmoid(x), np.clip(0.2 * a + 0.5, 0, 1)),
        "switch": (K.switch(K.constant(1) > 0, x, lambda: -x), a),
        "pow": (K.pow(x, 2), a**2),
        "sum of bools": (K.sum(x > 0), np.sum(a > 0)),
        "ones and zeros": (K.ones_like(x) + K.zeros_like(x) + K.ones((2, 3, 2)), 2 + 0 * a),
        "shape": (K.shape(x), [2, 3, 2]),
    }
    for name, (ours, theirs) in table.items():
        np.testing.assert_allclose(K.eval(ours), theirs, rtol=2e-5, atol=1e-6, err_msg=name)


def test_functions_of_several_threads_do_not_mix():
    import threading

    x = K.placeholder((None, 64))
    f = K.function([x], [K.sum(K.tanh(x * 2.0), axis=1)])
    wrong = []

    def work(number):
        for _ in range(50):
            array = np.full((8, 64), number / 10)
            if not np.allclose(f([array])[0], 64 * np.tanh(number / 5), rtol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_functions_go_on_working_after_the_session_is_cleared():
    x = K.placeholder((None, 2))
    f = K.function([x], [K.in_train_phase(x * 2.0, x)])
    f([np.ones((1, 2))])
    K.clear_session()
    np.testing.assert_array_equal(f([np.ones((3, 2))])[0], np.ones((3, 2)))


def test_names_are_those_that_scripts_call():
    assert (K.mean.__name__, K.exp.__name__, K1.random_normal.__name__) == (
        "mean",
        "exp",
        "random_normal",
    )


COMPARED = {"greater": [0, 0, 1], "greater_equal": [0, 1, 1], "less": [1, 0, 0]}
COMPARED |= {"less_equal": [1, 1, 0], "not_equal": [1, 0, 1], "equal": [0, 1, 0]}


@pytest.mark.parametrize("name", COMPARED)
def test_comparisons(name):
    found = K.eval(getattr(K, name)(K.variable([1, 2, 3]), K.variable([2, 2, 2])))
    assert (found.dtype, found.tolist()) == (bool, [bool(x) for x in COMPARED[name]])


def test_settings_and_small_names():
    try:
        K.set_epsilon(0.25)
        K.set_image_data_format("channels_first")
        assert (K.epsilon(), K.image_data_format()) == (0.25, "channels_first")
    finally:
        K.set_epsilon(1e-7)
        K.set_image_data_format("channels_last")
    w = K.variable([[1.5, -0.5]])
    K.function([], [], [K.update_sub(w, 1.0)])([])
    assert K.get_value(w).tolist() == [[0.5, -1.5]]
    assert (K.ndim(w), K.eval(K.round(w)).tolist()) == (2, [[0, -2]])
    assert (K.set_session(None), K.symbolic(abs)) == (None, abs)
    assert K.get_uid("test of uids") == 1 == K.get_uid("test of uids") - 1
