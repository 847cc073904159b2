"""What wrappers and subclasses of old Keras optimizers relied on."""

import copy
import importlib
import pickle
import types
import warnings

import numpy as np
import pytest

import fastrms
from fastrms.compat.keras1 import backend as K1  # noqa: N812
from fastrms.compat.keras1 import optimizers as optimizers1
from fastrms.compat.keras22 import backend as K  # noqa: N812
from fastrms.compat.keras22 import optimizers
from fastrms.compat.keras22.legacy import interfaces

GENERATIONS = ("keras1", "keras20", "keras22", "keras23", "tf_contrib", "tf_keras_v1")
START = np.array([[1.0, -2.0], [0.5, 3.0]])


def problem(backend=K):
    """A weight, a bias and a loss that moves both."""
    w, b = backend.variable(START, name="w"), backend.zeros((2,), name="b")
    loss = backend.sum(backend.square(backend.dot(backend.constant([[1.0, 2.0]]), w) + b - 1.0))
    return w, b, loss


def trained(updates, steps=3, backend=K):
    f = backend.function([], [], updates)
    for _ in range(steps):
        f([])
    return f


def result(make, steps=3, **kwargs):
    """The parameters after some steps with what `make` returns as updates."""
    w, b, loss = problem()
    trained(make(optimizers.RMSprop(lr=0.1, **kwargs), [w, b], loss), steps)
    return K.get_value(w), K.get_value(b)


def same(one, two):
    for a, b in zip(one, two, strict=True):
        assert a.tobytes() == b.tobytes()


FORMS = {
    "(params, [], loss)": lambda o, p, loss: o.get_updates(p, [], loss),
    "(params, {}, loss)": lambda o, p, loss: o.get_updates(p, {}, loss),
    "(loss, params)": lambda o, p, loss: o.get_updates(loss, p),
    "(params, loss)": lambda o, p, loss: o.get_updates(p, loss),
    "(loss, tuple)": lambda o, p, loss: o.get_updates(loss, tuple(p)),
    "loss=, params=": lambda o, p, loss: o.get_updates(loss=loss, params=p),
    "params=, loss=": lambda o, p, loss: o.get_updates(params=p, loss=loss),
    "constraints=[]": lambda o, p, loss: o.get_updates(params=p, constraints=[], loss=loss),
    "(params, loss=)": lambda o, p, loss: o.get_updates(p, loss=loss),
    "(params, constraints=, loss=)": lambda o, p, loss: o.get_updates(p, constraints={}, loss=loss),
    "grads= expressions": lambda o, p, loss: o.get_updates(params=p, grads=K.gradients(loss, p)),
    "(params, [], grads)": lambda o, p, loss: o.get_updates(p, [], K.gradients(loss, p)),
    "loss=, grads=": lambda o, p, loss: o.get_updates(
        loss=loss, params=p, grads=K.gradients(loss, p)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_get_updates_gives_the_same_steps(form):
    same(result(FORMS[form]), result(FORMS["(loss, params)"]))


def test_gradients_may_be_arrays():
    w = K.variable(START)
    trained(optimizers.RMSprop(lr=0.1).get_updates(params=[w], grads=[np.ones((2, 2))]), 1)
    expected = START - 0.1 / (np.sqrt(0.1) + 1e-7)
    np.testing.assert_allclose(K.get_value(w), expected, rtol=1e-6)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_numeric_form_returns_new_arrays_and_keeps_its_state(generation):
    module = importlib.import_module(f"fastrms.compat.{generation}.optimizers")
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(2, 3)).astype("f"), rng.normal(size=4)]
    row = module.RMSprop.generation.dialect
    reference = fastrms.RMSprop(learning_rate=np.float32(0.1), dialect=row)
    ours, theirs = [w.copy() for w in weights], [w.copy() for w in weights]
    optimizer = module.RMSprop(lr=0.1)
    for _ in range(4):
        grads = [rng.normal(size=w.shape) for w in weights]
        before = [w.copy() for w in ours]
        fresh = optimizer.get_updates(ours, [], grads)
        same(ours, before)
        ours = fresh
        reference.apply(grads, theirs)
    assert [w.dtype for w in ours] == [np.float32, np.float64]
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


def test_the_numeric_form_applies_constraints():
    def nonneg(p):
        return p * K.cast(p >= 0.0, K.dtype(p))

    found = optimizers.SGD(lr=1.0).get_updates(
        [np.array([1.0, -1.0])], [nonneg], [np.ones(2) * 0.5]
    )
    np.testing.assert_array_equal(found[0], [0.5, 0.0])


def test_an_instance_may_override_get_gradients():
    def doubled(self, loss, params):
        self.grads = [2.0 * g for g in K.gradients(loss, params)]
        return self.grads

    def overridden(o, p, loss):
        o.get_gradients = types.MethodType(doubled, o)
        return o.get_updates(loss, p)

    same(
        result(overridden),
        result(lambda o, p, loss: o.get_updates(p, [], [2.0 * g for g in K.gradients(loss, p)])),
    )


def test_an_override_of_get_gradients_is_not_clipped_again():
    def raw(o, p, loss):
        o.get_gradients = lambda loss, params: K.gradients(loss, params)
        return o.get_updates(loss, p)

    same(result(raw, clipnorm=1e-3), result(raw))


def test_the_first_update_is_the_counter_and_may_be_sliced_off():
    w, b, loss = problem()
    optimizer = optimizers.RMSprop(lr=0.1)
    updates = optimizer.get_updates(loss, [w, b])
    assert updates[0][0] is optimizer.iterations
    f = trained(updates[1:])
    assert not f.handles
    assert K.get_value(optimizer.iterations) == 0
    same((K.get_value(w), K.get_value(b)), result(FORMS["(loss, params)"]))


REWRITES = {
    "sliced": lambda updates: updates[1:],
    "as tuples": lambda updates: [tuple(u) for u in updates],
    "one rewritten": lambda updates: [*updates[:-1], (updates[-1][0], updates[-1][1])],
    "one scaled": lambda updates: [*updates[:-1], K.update(updates[-1][0], updates[-1][1] * 1.0)],
    "one again": lambda updates: [*updates, (updates[-1][0], updates[-1][1])],
}


@pytest.mark.parametrize("rewrite", REWRITES)
@pytest.mark.parametrize(
    "kwargs", [{}, {"decay": 0.3}, {"clipnorm": 0.5}, {"clipnorm": 1.0, "clipvalue": 0.1}], ids=str
)
def test_rewritten_updates_run_as_expressions_with_the_same_bits(rewrite, kwargs):
    w, b, loss = problem()
    whole = trained(optimizers.RMSprop(lr=0.1, **kwargs).get_updates(loss, [w, b]))
    assert len(whole.handles) == 1
    v, c, loss = problem()
    apart = optimizers.RMSprop(lr=0.1, **kwargs)
    updates = REWRITES[rewrite](apart.get_updates(loss, [v, c]))
    if rewrite == "sliced" and kwargs.get("decay"):
        updates.append(K.update_add(apart.iterations, 1))
    assert not trained(updates).handles
    same((w.array, b.array), (v.array, c.array))


def test_the_kernel_call_covers_all_variables_and_other_updates_keep_old_values():
    w, b, loss = problem()
    before = K.variable(np.zeros((2, 2)))
    updates = optimizers.RMSprop(lr=0.1).get_updates(loss, [w, b])
    f = K.function([], [loss], [(before, w), *updates])
    assert len(f.handles) == 1
    f([])
    np.testing.assert_array_equal(K.get_value(before), START)
    assert not np.array_equal(K.get_value(w), START)


def test_the_rate_may_be_an_expression():
    def halved(o, p, loss):
        base = o.lr
        o.lr = base * 0.5
        updates = o.get_updates(loss, p)
        o.lr = base
        return updates

    w, b, loss = problem()
    trained(optimizers.RMSprop(lr=0.05).get_updates(loss, [w, b]))
    same(result(halved), (w.array, b.array))


def test_a_rate_that_switches_accumulates_gradients():
    w, b, loss = problem()
    optimizer = optimizers.SGD(lr=0.1)
    due = K.equal(optimizer.iterations % 2, 1)
    optimizer.lr = K.switch(due, optimizer.lr, 0.0)
    f = K.function([], [], optimizer.get_updates(loss, [w, b]))
    f([])
    np.testing.assert_array_equal(w.array, START)
    f([])
    assert not np.array_equal(w.array, START)


def test_repeated_get_updates_with_disjoint_params():
    w, b, loss = problem()
    optimizer = optimizers.RMSprop(lr=0.1)
    first = optimizer.get_updates(loss, [w])
    held = optimizer.weights
    second = optimizer.get_updates(loss, [b])
    assert optimizer.weights[0] is not held[0]
    assert optimizer.weights[0].shape == (2,)
    f = trained(first + second[1:])
    assert K.get_value(optimizer.iterations) == 3
    same((w.array, b.array), result(FORMS["(loss, params)"]))
    assert len(f.handles) == 1


def test_update_functions_are_looked_up_late(monkeypatch):
    seen = []
    original = K.update
    monkeypatch.setattr(K, "update", lambda x, new: seen.append(x) or original(x, new * 1.0))
    w, b, loss = problem()
    updates = optimizers.RMSprop(lr=0.1).get_updates(loss, [w, b])
    assert [x.name for x in seen if x in (w, b)] == ["w", "b"]
    assert len(seen) == 4
    assert not trained(updates).handles
    monkeypatch.undo()
    same((w.array, b.array), result(FORMS["(loss, params)"]))


def test_two_optimizers_share_variables_and_keep_their_own_state():
    trunk, head = K.variable(START), K.variable(np.ones((2, 1)))
    y = K.dot(K.constant([[1.0, 2.0]]), trunk)
    actor, critic = K.sum(K.square(y)), K.mean(K.square(K.dot(y, head) - 1.0))
    one, two = (optimizers.RMSprop(lr=0.01, epsilon=0.1, rho=0.99) for _ in range(2))
    f = K.function([], [actor], one.get_updates([trunk], [], actor))
    g = K.function([], [critic], two.get_updates([trunk, head], [], critic))
    f([]), g([])
    assert f.handles
    assert g.handles
    assert not np.array_equal(one.get_weights()[0], two.get_weights()[0])
    both = K.function(
        [], [], one.get_updates([trunk], [], actor) + two.get_updates([trunk, head], [], critic)
    )
    assert not both.handles
    both([])


def test_state_is_reset_through_set_value_on_weights():
    w, b, loss = problem()
    optimizer = optimizers.RMSprop(lr=0.1)
    f = trained(optimizer.get_updates(loss, [w, b]))
    after = w.array.copy(), b.array.copy()
    K.set_value(w, START), K.set_value(b, np.zeros(2))
    K.set_value(optimizer.iterations, 0)
    for weight in optimizer.weights:
        K.set_value(weight, np.zeros(K.int_shape(weight)))
    for _ in range(3):
        f([])
    same((w.array, b.array), after)


READS = {
    "K.get_value": lambda o: float(K.get_value(o.lr)),
    "K.eval": lambda o: float(K.eval(o.lr)),
    "get_value()": lambda o: float(o.lr.get_value()),
    "numpy()": lambda o: float(o.lr.numpy()),
    "float": lambda o: float(o.lr),
    "learning_rate": lambda o: float(K.get_value(o.learning_rate)),
}
WRITES = {
    "K.set_value": lambda o: K.set_value(o.lr, 0.5),
    "set_value()": lambda o: o.lr.set_value(0.5),
    "assign": lambda o: o.lr.assign(0.5),
    "learning_rate": lambda o: K.set_value(o.learning_rate, 0.5),
    "batch_set_value": lambda o: K.batch_set_value([(o.lr, 0.5)]),
    "plain, before get_updates": lambda o: setattr(o, "lr", 0.5),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("read", READS)
def test_the_rate_is_read_and_written_in_every_idiom(read, write):
    optimizer = optimizers.RMSprop(lr=0.1)
    assert READS[read](optimizer) == pytest.approx(0.1)
    WRITES[write](optimizer)
    assert READS[read](optimizer) == 0.5
    w, b, loss = problem()
    trained(optimizer.get_updates(loss, [w, b]))
    v, c, loss = problem()
    trained(optimizers.RMSprop(lr=0.5).get_updates(loss, [v, c]))
    same((w.array, b.array), (v.array, c.array))


def test_a_plain_rate_after_get_updates_has_no_effect_there_and_warns():
    w, b, loss = problem()
    optimizer = optimizers.RMSprop(lr=0.1)
    updates = optimizer.get_updates(loss, [w, b])
    with pytest.warns(fastrms.PortingWarning, match=r"K\.set_value"):
        optimizer.lr = 7.0
    assert float(K.get_value(optimizer.lr)) == 7.0
    trained(updates)
    same((w.array, b.array), result(FORMS["(loss, params)"]))


def test_hasattr_tells_whether_there_is_a_rate():
    assert hasattr(optimizers.RMSprop(), "lr")
    assert hasattr(optimizers.RMSprop(), "learning_rate")
    assert not hasattr(optimizers.Optimizer(), "lr")


def test_initial_decay_and_its_old_spelling():
    optimizer = optimizers.RMSprop(decay=0.25)
    assert optimizer.initial_decay == optimizer.inital_decay == 0.25
    optimizer.inital_decay = 0.0
    assert optimizer.initial_decay == 0.0
    assert float(K.get_value(optimizer.decay)) == 0.25


class Descent(optimizers.Optimizer):
    """A user's class with Keras 2's signature."""

    def __init__(self, lr=0.01, **kwargs):
        super().__init__(**kwargs)
        with K.name_scope(self.__class__.__name__):
            self.iterations = K.variable(0, dtype="int64", name="iterations")
            self.lr = K.variable(lr, name="lr")

    @interfaces.legacy_get_updates_support
    def get_updates(self, loss, params):
        grads = self.get_gradients(loss, params)
        self.updates = [K.update_add(self.iterations, 1)]
        moments = [K.zeros(K.int_shape(p), dtype=K.dtype(p)) for p in params]
        self.weights = [self.iterations, *moments]
        for p, g, m in zip(params, grads, moments, strict=True):
            fresh = 0.9 * m - self.lr * g
            self.updates.append(K.update(m, fresh))
            new_p = p + fresh
            if getattr(p, "constraint", None) is not None:
                new_p = p.constraint(new_p)
            self.updates.append(K.update(p, new_p))
        return self.updates

    def get_config(self):
        return {**super().get_config(), "lr": float(K.get_value(self.lr))}


class OldDescent(optimizers1.Optimizer):
    """A user's class with Keras 1's signature and habits."""

    def __init__(self, lr=0.01, momentum=0.9, **kwargs):
        super().__init__(**kwargs)
        self.__dict__.update(locals())
        self.iterations = K1.variable(0.0)
        self.lr = K1.variable(lr)

    def get_updates(self, params, constraints, loss):
        grads = self.get_gradients(loss, params)
        self.updates = [(self.iterations, self.iterations + 1.0)]
        shapes = [K1.get_variable_shape(p) for p in params]
        moments = [K1.zeros(shape) for shape in shapes]
        self.weights = moments
        for p, g, m in zip(params, grads, moments, strict=True):
            fresh = self.momentum * m - self.lr * g
            self.updates.append((m, fresh))
            new_p = p + fresh
            if p in constraints:
                new_p = constraints[p](new_p)
            self.updates.append((p, new_p))
        return self.updates


def test_users_subclasses_run_in_both_signatures():
    w, b, loss = problem()
    trained(optimizers.SGD(lr=0.01, momentum=0.9).get_updates(loss, [w, b]))
    for make in (
        lambda p, loss: Descent(clipnorm=1e9).get_updates(loss, p),
        lambda p, loss: Descent().get_updates(p, [], loss),
        lambda p, loss: Descent().get_updates(params=p, loss=loss),
        lambda p, loss: OldDescent().get_updates(p, {}, loss),
    ):
        v, c, loss = problem()
        trained(make([v, c], loss))
        np.testing.assert_allclose(v.array, w.array, rtol=1e-6)
        np.testing.assert_allclose(c.array, b.array, rtol=1e-6)


def test_users_subclasses_have_the_bases_clipping_and_weights():
    w, b, loss = problem()
    optimizer = Descent(clipvalue=0.1)
    optimizer.set_weights([np.array(5), START, np.ones(2)])
    trained(optimizer.get_updates(loss, [w, b]), 1)
    assert K.get_value(optimizer.iterations) == 6
    np.testing.assert_allclose(np.abs(optimizer.get_weights()[1] - 0.9 * START), 0.001, rtol=1e-3)
    assert optimizer.get_config() == {"clipvalue": 0.1, "lr": pytest.approx(0.01)}
    assert isinstance(optimizer, optimizers.Optimizer)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_constraints_act_where_the_generation_looked_for_them(generation):
    package = f"fastrms.compat.{generation}"
    backend = importlib.import_module(f"{package}.backend")
    module = importlib.import_module(f"{package}.optimizers")

    def zero(p):
        return p * 0.0

    w, b, loss = problem(backend)
    optimizer = module.RMSprop(lr=0.1)
    if module.RMSprop.generation.call_constraints:
        f = trained(optimizer.get_updates([w, b], {w: zero}, loss), 1, backend)
    else:
        with pytest.warns(fastrms.PortingWarning, match="no effect"):
            trained(optimizer.get_updates([w, b], {w: zero}, loss), 1, backend)
        assert w.array.all()
        w.constraint = zero
        f = trained(module.RMSprop(lr=0.1).get_updates([w, b], [], loss), 1, backend)
    assert f.handles
    assert not w.array.any()
    assert b.array.all()


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("kind", ["RMSprop", "SGD", "Adam"])
def test_optimizers_are_found_by_name_and_survive_their_config(generation, kind):
    module = importlib.import_module(f"fastrms.compat.{generation}.optimizers")
    cls = getattr(module, kind)
    assert getattr(module, kind.lower()) is cls
    made = cls(lr=0.25, decay=0.5, clipnorm=2.0)
    for again in (
        module.get(module.serialize(made)),
        module.deserialize(module.serialize(made)),
        cls.from_config(made.get_config()),
    ):
        assert type(again) is cls
        assert again.get_config() == made.get_config()
    assert type(module.get(kind.lower())) is cls
    assert module.get(made) is made
    assert hasattr(module, "optimizer_from_config") == (generation in ("keras1", "tf_contrib"))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_positional_arguments_keep_their_order(generation):
    module = importlib.import_module(f"fastrms.compat.{generation}.optimizers")
    config = module.RMSprop(0.25, 0.5).get_config()
    name = "learning_rate" if generation == "keras23" else "lr"
    assert (config[name], config["rho"]) == (0.25, 0.5)
    if generation != "keras23":
        config = module.RMSprop(0.25, 0.5, 0.125, 0.75).get_config()
        assert (config["epsilon"], config["decay"]) == (0.125, 0.75)
        assert module.SGD(0.25, 0.5, 0.75, True).get_config()["nesterov"] is True


@pytest.mark.parametrize("generation", GENERATIONS)
def test_weights_may_be_set_before_or_after_they_exist(generation):
    package = f"fastrms.compat.{generation}"
    backend = importlib.import_module(f"{package}.backend")
    module = importlib.import_module(f"{package}.optimizers")
    w, b, loss = problem(backend)
    old = module.RMSprop(lr=0.1)
    trained(old.get_updates([w, b], [], loss), 2, backend)
    saved = old.get_weights()
    assert len(saved) == 2 + (generation == "keras23")
    early, late = module.RMSprop(lr=0.1), module.RMSprop(lr=0.1)
    early.set_weights(np.array([*saved, None], dtype=object)[:-1])
    same(early.get_weights(), saved)
    early.get_updates([w, b], [], loss)
    late.get_updates([w, b], [], loss)
    late.set_weights(saved)
    same(early.get_weights(), saved)
    same(late.get_weights(), saved)
    if generation == "keras23":
        late.set_weights(saved[1:])
        assert late.get_weights()[0] == 0


def test_the_counter_is_the_first_weight_of_keras_2_3_and_may_be_changed():
    from fastrms.compat.keras23 import backend, optimizers

    w, b, loss = problem(backend)
    optimizer = optimizers.RMSprop(lr=0.1, decay=0.1)
    f = trained(optimizer.get_updates(loss, [w, b]), 3, backend)
    weights = optimizer.get_weights()
    assert weights[0] == 3
    weights[0] = 10
    optimizer.set_weights(weights)
    f([])
    assert backend.get_value(optimizer.iterations) == 11


def test_a_lost_counter_warns():
    w, b, loss = problem()
    optimizer = optimizers.RMSprop(decay=0.5)
    trained(optimizer.get_updates(loss, [w, b]), 2)
    again = optimizers.RMSprop(decay=0.5)
    again.get_updates(loss, [w, b])
    with pytest.warns(fastrms.PortingWarning, match="iterations"):
        again.set_weights(optimizer.get_weights())
    assert K.get_value(again.iterations) == 0


def test_epsilon_warns_only_where_no_dialect_is_named():
    from fastrms.compat import RMSprop

    with pytest.warns(fastrms.PortingWarning, match="10x"):
        RMSprop(epsilon=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RMSprop(epsilon=1e-5)
        RMSprop(epsilon=0.01, dialect="keras-2.2")
        optimizers.RMSprop(epsilon=0.01)
    assert type(RMSprop()) is optimizers.RMSprop
    assert type(RMSprop(dialect="keras-1")) is optimizers1.RMSprop


@pytest.mark.parametrize("move", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_optimizers_are_copied_and_pickled_with_their_state(move):
    w, b, loss = problem()
    optimizer = optimizers.RMSprop(lr=0.1, decay=0.1)
    trained(optimizer.get_updates(loss, [w, b]), 2)
    again = move(optimizer)
    assert again.get_config() == optimizer.get_config()
    same(again.get_weights(), optimizer.get_weights())
    assert K.get_value(again.iterations) == 2


def test_decay_offset_overrides_the_measured_majority():
    found = {}
    for offset in (None, 0, 1):
        w, b, loss = problem()
        given = {} if offset is None else {"decay_offset": offset}
        trained(optimizers.RMSprop(lr=0.1, decay=1.0, **given).get_updates(loss, [w, b]), 1)
        found[offset] = w.array.copy()
    assert np.array_equal(found[None], found[1])
    assert not np.array_equal(found[0], found[1])


def test_decay_does_not_run_ahead_of_a_counter_that_the_function_leaves_alone():
    def losses(cut, **kwargs):
        w, b, loss = problem()
        optimizer = optimizers.RMSprop(lr=0.1, decay=0.5, **kwargs)
        f = K.function([], [loss], optimizer.get_updates(loss, [w, b])[cut:])
        return [float(f([])[0]) for _ in range(3)]

    assert losses(1) == losses(1, decay_offset=0) == losses(1, decay_offset=1)
    assert losses(0) != losses(0, decay_offset=0)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((0.5, None), [0.5, 2.0]), ((None, 0.5), [-1.0, 0.5]), ((None, None), [-1.0, 2.0])],
    ids=str,
)
def test_clip_takes_none_for_no_bound(bounds, expected):
    assert K.eval(K.clip(K.variable([-1.0, 2.0]), *bounds)).tolist() == expected


class Foreign:
    """A tensor of another framework that holds numbers."""

    __module__ = "torch"

    def __array__(self, *_, **__):
        return np.array([1.0, 2.0], np.float32)


def test_finished_gradients_may_be_tensors_of_any_framework():
    found = []
    for gradient in (Foreign(), np.array([1.0, 2.0]), [1.0, 2.0]):
        w = K.variable([1.0, 1.0])
        updates = optimizers.RMSprop().get_updates(params=[w], grads=[gradient])
        K.function([], [], updates)([])
        found.append(K.get_value(w).tolist())
    assert found[0] == found[1] == found[2] != [1.0, 1.0]


# lr=1e-9, the loss sum(w * w) from (1, 2, -3): the last of three steps, epsilon as each had it.
# Recorded with Keras 1.2.2 (also on Theano), 2.0.8 and 2.2.4 on TensorFlow.
OUTSIDE = {
    ("keras1", 1.5): [0.5119999647140503, 1.0239999294281006, -1.5360000133514404],
    ("keras1", -2.0): [0.800000011920929, 1.600000023841858, -2.4000000953674316],
    ("keras20", 1.5): [0.5119999647140503, 1.0239999294281006, -1.5360000133514404],
    ("keras20", -2.0): [0.800000011920929, 1.600000023841858, -2.4000000953674316],
    ("keras22", 1.5): [0.9411920309066772, 1.8823840618133545, -2.823575973510742],
    ("keras22", -2.0): [0.9800000190734863, 1.9600000381469727, -2.940000057220459],
}


@pytest.mark.parametrize(("module", "rho"), OUTSIDE)
@pytest.mark.parametrize("sliced", [False, True], ids=["fused", "as expressions"])
def test_rho_beyond_one_and_below_zero_counts_negative_velocities_as_zero(module, rho, sliced):
    generation = importlib.import_module(f"fastrms.compat.{module}.optimizers")
    w = K.variable([1.0, 2.0, -3.0])
    optimizer = generation.RMSprop(lr=1e-9, rho=rho)
    updates = optimizer.get_updates([w], [], K.sum(K.square(w)))
    f = K.function([], [], [tuple(u) for u in updates] if sliced else updates)
    for _ in range(3):
        f([])
    assert K.get_value(w).tolist() == OUTSIDE[module, rho]


# Recorded: what each entry of Adam's list updates, for two parameters. In tf.keras 1.13 the count
# is a control dependency of the rate: whatever computes a parameter advances it.
ADAM_LISTS = {
    ("keras20", False): "t m v p m v p",
    ("keras22", False): "t m v p m v p",
    ("keras22", True): "t vhat m v p vhat m v p",
    ("keras23", True): "t vhat m v p vhat m v p",
    ("tf_keras_v1", False): "m v p m v p",
    ("tf_keras_v1", True): "vhat m v p vhat m v p",
}


@pytest.mark.parametrize(("package", "amsgrad"), ADAM_LISTS)
def test_adams_updates_stand_in_the_order_of_their_system(package, amsgrad):
    optimizers = importlib.import_module(f"fastrms.compat.{package}.optimizers")
    adam = optimizers.Adam(**({"amsgrad": True} if amsgrad else {}))
    params = [K.variable(np.ones(n), name="p") for n in (3, 2)]
    updates = adam.get_updates(loss=sum(K.sum(p * p) for p in params), params=params)
    words = {id(adam.iterations): "t", **{id(p): "p" for p in params}}
    blocks = zip(("m", "v", "vhat"), (adam.weights[k : k + 2] for k in (1, 3, 5)), strict=True)
    words |= {id(w): name for name, block in blocks for w in block}
    assert " ".join(words[id(entry[0])] for entry in updates) == ADAM_LISTS[package, amsgrad]
    K.function([], [], updates)([])
    assert int(adam.iterations) == 1
    last = [entry for entry in updates if entry[0] is params[1]]
    K.function([], [], last)([])
    K.function([], [], [entry for entry in updates if words[id(entry[0])] == "m"])([])
    assert int(adam.iterations) == 1 + (package == "tf_keras_v1")
