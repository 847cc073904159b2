"""Users' optimizers: an update step of their own, and what cannot be overridden."""

import copy
import pickle

import numpy as np
import pytest

import fastrms
from fastrms import ArgumentError, RMSprop, Variable


class SGD(RMSprop):
    """As Keras 3's documentation of `Optimizer` writes one, in NumPy."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.momentum = 0.9

    def build(self, variables):
        super().build(variables)
        self.momentums = [
            self.add_variable_from_reference(reference_variable=variable, name="momentum")
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = np.asarray(learning_rate, variable.dtype)
        m = self.momentums[self._get_variable_index(variable)]
        self.assign(m, m * np.asarray(self.momentum, variable.dtype) - gradient * learning_rate)
        self.assign_add(variable, m)

    def get_config(self):
        config = super().get_config()
        config.update({"momentum": self.momentum})
        return config


class Through(RMSprop):
    """Calls the update step that it overrides."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)


class Failing(RMSprop):
    """Fails at the second variable."""

    def update_step(self, gradient, variable, learning_rate):
        if self._get_variable_index(variable):
            raise ZeroDivisionError
        super().update_step(gradient, variable, learning_rate)


class Signs(RMSprop):
    """With two parameters, as in tf.keras 2.11."""

    def update_step(self, gradient, variable):
        self.assign_sub(variable, self.learning_rate * np.sign(gradient))


def test_a_keras_3_style_optimizer():
    v = Variable([1.0, 2.0], name="w")
    optimizer = SGD(learning_rate=0.5)
    optimizer.apply([[1.0, -1.0]], [v])
    assert v.value.tolist() == [0.5, 2.5]
    optimizer.apply([[1.0, -1.0]], [v])
    assert v.value.tolist() == pytest.approx([-0.45, 3.45])
    assert optimizer.name.startswith("sgd")
    assert optimizer.variables[-1].path == f"{optimizer.name}/w_momentum"
    assert optimizer.iterations == 2
    optimizer.minimize(lambda: (v**2).sum(), [v])
    assert optimizer.get_config()["momentum"] == optimizer.momentum == 0.9


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_it_is_copied_with_its_variables(twin):
    v = Variable([1.0, 2.0])
    optimizer = SGD(learning_rate=0.5)
    optimizer.apply([[1.0, -1.0]], [v])
    again, w = twin((optimizer, v))
    for pair in ((optimizer, v), (again, w)):
        pair[0].apply([[0.5, 0.25]], [pair[1]])
    assert w.value.tobytes() == v.value.tobytes()
    assert again.momentums[0].value.tobytes() == optimizer.momentums[0].value.tobytes()


def test_it_is_applied_statelessly_and_rebound():
    v = Variable([1.0, 2.0])
    optimizer = SGD(learning_rate=0.5)
    optimizer.build([v])
    (new,), state = optimizer.stateless_apply(optimizer.variables, [[1.0, -1.0]], [v])
    assert (new.tolist(), v.value.tolist()) == ([0.5, 2.5], [1, 2])
    assert state[-1].tolist() == [-0.5, 0.5]
    assert optimizer.momentums[0].value.tolist() == [0, 0]
    w = Variable([5.0, 5.0])
    optimizer.rebind([w])
    optimizer.apply([[1.0, -1.0]])
    assert w.value.tolist() == [4.5, 5.5]


OPTIONS = [
    {"momentum": 0.9},
    {"centered": True, "momentum": 0.5},
    {"clipnorm": 0.5, "weight_decay": 0.1},
    {
        "global_clipnorm": 0.1,
        "use_ema": True,
        "ema_overwrite_frequency": 3,
        "loss_scale_factor": 8.0,
    },
    {"gradient_accumulation_steps": 2, "clipvalue": 0.3, "use_ema": True},
]


@pytest.mark.parametrize("dialect", ["keras-3", "tf-keras-2.11", "tf-keras-v2", "keras-2.3"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_calling_the_overridden_step_is_bit_equal(dialect, options, dtype):
    if not set(options) <= set(fastrms.DIALECTS[dialect].arguments):
        options = {"clipnorm": 0.5}
    random = np.random.default_rng(1)
    start = [random.normal(size=s).astype(dtype) for s in [(), (5,), (3, 4)]]
    start += [np.asfortranarray(start[2]), random.normal(size=(6, 4)).astype(dtype)[::2, ::2]]
    twin = [Variable(a) if i % 2 else a.copy(order="A") for i, a in enumerate(start)]
    plain = RMSprop(0.05, dialect=dialect, jit_compile=False, **options)
    through = Through(0.05, dialect=dialect, **options)
    for step in range(6):
        gradients = [random.normal(size=a.shape).astype(dtype) for a in start]
        if step == 3 and dialect == "keras-3":
            gradients[1] = None
        plain.apply(gradients, start)
        through.apply(list(gradients), twin)
    for ours, other in zip(start, twin, strict=True):
        assert np.array_equal(ours, other)
    for ours, other in zip(plain.get_weights(), through.get_weights(), strict=True):
        assert np.array_equal(ours, other)


def test_a_step_that_raises_leaves_everything_as_it_was():
    v, w = Variable([1.0, 2.0]), Variable([1.0])
    optimizer = Failing(0.5, weight_decay=0.1, gradient_accumulation_steps=2)
    optimizer.apply([[1.0, 1.0], [1.0]], [v, w])
    before = [np.asarray(a).tobytes() for a in [v, w, *optimizer.get_weights()]]
    with pytest.raises(ZeroDivisionError):
        optimizer.apply([[1.0, 1.0], [1.0]])
    assert [np.asarray(a).tobytes() for a in [v, w, *optimizer.get_weights()]] == before
    optimizer.apply([[1.0, 1.0], None])
    assert v.value[0] < 1


def test_a_first_step_that_raises_builds_nothing():
    optimizer = SGD(learning_rate=0.5)
    with pytest.raises(fastrms.GradientError):
        optimizer.apply([[1.0]], [Variable([1.0, 2.0])])
    assert not optimizer.built
    assert len(optimizer.variables) == 2


def test_two_parameters_are_enough():
    v = Variable([1.0, 1.0])
    Signs(0.25, dialect="tf-keras-2.11").apply([[3.0, -3.0]], [v])
    assert v.value.tolist() == [0.75, 1.25]


def test_the_step_can_be_called_alone():
    v, w = Variable([1.0, 2.0]), Variable([1.0, 2.0])
    one, two = (RMSprop(0.5, jit_compile=False, momentum=0.5) for _ in range(2))
    one.build([v])
    one.update_step(np.ones(2), v, 0.5)
    two.apply([np.ones(2)], [w])
    assert v.value.tobytes() == w.value.tobytes()
    assert (one.iterations, two.iterations) == (0, 1)
    with pytest.raises(fastrms.VariableError, match="not a variable of this optimizer"):
        one.update_step(np.ones(2), w, 0.5)
    with pytest.raises(fastrms.GradientError, match="shape"):
        one.update_step(np.ones(3), v, 0.5)


@pytest.mark.parametrize(
    "name",
    [
        *("apply", "apply_gradients", "minimize", "stateless_apply", "learning_rate", "variables"),
        *("_clip_gradients", "_apply_weight_decay", "_resource_apply_dense", "get_updates"),
        *("set_weights", "assign", "_step", "aggregate_gradients"),
    ],
)
def test_other_overrides_raise_when_the_class_is_made(name):
    with pytest.raises(ArgumentError, match=f"overrides '{name}'.*valid: build"):
        type("Mine", (RMSprop,), {name: lambda self: None})
    mixin = type("Mixin", (), {name: lambda self: None})
    with pytest.raises(ArgumentError, match=f"overrides '{name}'"):
        type("Mine", (mixin, SGD), {})


@pytest.mark.parametrize("name", ["rho", "clipnorm", "use_ema"])
def test_a_hyperparameter_of_the_class_would_not_be_used(name):
    with pytest.raises(ArgumentError, match=f"overrides '{name}'"):
        type("Mine", (RMSprop,), {name: 0.5})
    kind = type("Mine", (SGD,), {"rho": 0.5})  # its own step may read it
    assert kind(learning_rate=0.5).rho == 0.5


def test_new_names_are_free():
    kind = type("Mine", (SGD,), {"helper": lambda self: 3, "__repr__": lambda self: "mine"})
    assert kind(learning_rate=0.5).helper() == 3


def test_only_what_the_step_no_longer_reads_can_be_set():
    optimizer = SGD(learning_rate=0.5)
    optimizer.momentum = 0.5
    with pytest.raises(fastrms.StateError, match="clipnorm cannot be set"):
        optimizer.clipnorm = 1.0


def test_build_must_call_what_it_overrides():
    kind = type("Mine", (RMSprop,), {"build": lambda self, variables: None})
    with pytest.raises(fastrms.StateError, match=r"call super\(\)\.build"):
        kind().apply([1.0], [np.ones(())])


def test_coupled_weight_decay_cannot_stand_before_a_step():
    with pytest.raises(fastrms.DialectError, match="adds weight decay to the gradients"):
        Through(dialect="torch", weight_decay=0.1).build([np.ones(2)])


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1.0}, {"loss_scale_factor": 4.0}])
def test_rows_of_a_table_come_as_an_array_of_its_size(options):
    seen = []

    class Seeing(RMSprop):
        def update_step(self, gradient, variable, learning_rate):
            seen.append(gradient.copy())
            super().update_step(gradient, variable, learning_rate)

    rows = fastrms.IndexedSlices(np.array([[1, 2], [3, 4], [10, 20]], np.float32), [1, 3, 1])
    whole = np.array([[0, 0], [11, 22], [0, 0], [3, 4]], np.float32)
    table, twin = np.ones((4, 2), np.float32), np.ones((4, 2), np.float32)
    Seeing(learning_rate=0.5, **options).apply([rows], [table])
    Seeing(learning_rate=0.5, **options).apply([whole], [twin])
    assert seen[0].tolist() == seen[1].tolist()
    assert table.tolist() == twin.tolist()
    assert seen[0][[0, 2]].any() == np.False_


def test_wrong_rows_for_an_update_step_change_nothing():
    table = np.ones((4, 2), np.float32)
    optimizer = Through(learning_rate=0.5)
    optimizer.build([table])
    with pytest.raises(fastrms.GradientError, match="row 4; valid: rows 0 to 3"):
        optimizer.apply([fastrms.IndexedSlices(np.ones((1, 2), np.float32), [4])])
    assert (optimizer.iterations, table.tolist()) == (0, [[1, 1]] * 4)
