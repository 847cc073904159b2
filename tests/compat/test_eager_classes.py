"""What the tf.keras classes do beyond the recorded questions: own classes, state, bad input."""

import copy
import doctest
import pickle
import re
from pathlib import Path

import numba
import numpy as np
import pytest
from eager_kit import Parameter

import fastrms
from fastrms.compat import tf_keras, tf_keras_v2

V2, LATE = tf_keras_v2.optimizers, tf_keras.optimizers
EXPERIMENTAL = V2.experimental
FAMILIES = {"v2": V2, "experimental": EXPERIMENTAL, "late": LATE}
KINDS = [(family, kind) for family in FAMILIES for kind in ("RMSprop", "SGD", "Adam")]


# The recorder scaled gradients, not losses.
pytestmark = pytest.mark.filterwarnings("ignore:apply_gradients was called without")


@pytest.fixture(autouse=True)
def reference_engine(monkeypatch):
    """Let NumPy carry out the steps: what is asked here is not about the kernels."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)


def parameters(dtype="float32"):
    """Two parameters and a gradient for each."""
    values = [np.arange(6, dtype=dtype).reshape(2, 3) / 4, np.ones(3, dtype)]
    return [Parameter(v, n) for v, n in zip(values, ("kernel", "bias"), strict=True)]


def step(optimizer, variables, scale=1.0):
    """One step with gradients that depend on the variables."""
    arrays = [v if isinstance(v, np.ndarray) else v.array for v in variables]
    gradients = [np.cos(a) * a.dtype.type(scale) for a in arrays]
    return optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_arrays_are_variables_too(family, kind):
    make = getattr(FAMILIES[family], kind)
    one, two = parameters(), [p.array.copy() for p in parameters()]
    first, second = make(0.1), make(0.1)
    for _ in range(3):
        step(first, one)
        step(second, two)
    for parameter, array in zip(one, two, strict=True):
        np.testing.assert_array_equal(parameter.array, array)
    for mine, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_weights_set_before_the_slots_exist_arrive_with_them(family, kind):
    make = getattr(FAMILIES[family], kind)
    options = {"momentum": 0.5} if kind == "SGD" else {}
    source, variables = make(0.1, **options), parameters()
    step(source, variables)
    held = source.get_weights()
    copies = [Parameter(v.array, v.name) for v in variables]
    target = make(0.1, **options)
    target.set_weights(held)
    assert all(np.array_equal(a, b) for a, b in zip(target.get_weights(), held, strict=True))
    if family == "experimental":
        target.iterations = 1  # its weights do not hold the counter, as in the real class
    step(source, variables)
    step(target, copies)
    for mine, other in zip(copies, variables, strict=True):
        np.testing.assert_array_equal(mine.array, other.array)


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_weights_that_do_not_fit_are_refused_when_the_slots_come(family, kind):
    optimizer, variables = getattr(FAMILIES[family], kind)(), parameters()
    before = [v.array.copy() for v in variables]
    optimizer.set_weights([np.zeros(7), np.zeros(9), np.zeros(2)])
    with pytest.raises(fastrms.StateError, match=r"expected"):
        step(optimizer, variables)
    for variable, old in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.array, old)
    assert int(optimizer.iterations) == 0


class Signs(V2.Optimizer):
    """Somebody's optimizer for tf.keras 2.0 to 2.10, in NumPy."""

    def __init__(self, learning_rate=0.01, share=0.5, name="Signs", **kwargs):
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("share", share)

    def _create_slots(self, var_list):
        for variable in var_list:
            self.add_slot(variable, "last", initializer="ones")

    def _resource_apply_dense(self, grad, var, apply_state=None):
        last = self.get_slot(var, "last")
        last.assign(last * self._get_hyper("share", var.dtype) + np.sign(grad))
        var.assign_sub(self._decayed_lr(var.dtype) * last)

    def get_config(self):
        config = super().get_config()
        config["learning_rate"] = self._serialize_hyperparameter("learning_rate")
        config["share"] = self._serialize_hyperparameter("share")
        return config


class LateSigns(LATE.Optimizer):
    """The same for tf.keras 2.11 to 2.15."""

    def __init__(self, learning_rate=0.01, share=0.5, name="Signs", **kwargs):
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.share = share

    def build(self, var_list):
        super().build(var_list)
        if hasattr(self, "_built") and self._built:
            return
        self._lasts = [
            self.add_variable_from_reference(v, "last", initial_value=np.ones(v.array.shape))
            for v in var_list
        ]
        self._built = True

    def update_step(self, gradient, variable):
        last = self._lasts[self._index_dict[self._var_key(variable)]]
        last.assign(last * self.share + np.sign(gradient))
        variable.assign_sub(self.learning_rate * last)

    def get_config(self):
        config = super().get_config()
        config["learning_rate"] = self._serialize_hyperparameter(self._learning_rate)
        return {**config, "share": self.share}


@pytest.mark.parametrize("kind", [Signs, LateSigns], ids=["v2", "late"])
def test_a_class_of_ones_own(kind):
    variables = parameters()
    start = [v.array.copy() for v in variables]
    optimizer = kind(learning_rate=0.5, clipvalue=0.25)
    optimizer.apply_gradients([(np.full_like(v.array, -3), v) for v in variables])
    for variable, old in zip(variables, start, strict=True):
        np.testing.assert_array_equal(variable.array, old + np.float32(0.25))
    assert int(optimizer.iterations) == 1
    assert [w.shape for w in optimizer.get_weights()] == [(), (2, 3), (3,)]
    assert "last" in optimizer.weights[1].name
    config = optimizer.get_config()
    assert (config["learning_rate"], config["share"], config["clipvalue"]) == (0.5, 0.5, 0.25)
    again = kind.from_config(config)
    assert again.get_config() == config
    written = V2.serialize(optimizer)
    assert written["class_name"] == kind.__name__
    found = V2.deserialize(written, custom_objects={kind.__name__: kind})
    assert isinstance(found, kind)


class HalvedV2(V2.RMSprop):
    """RMSprop of tf.keras 2.0 to 2.10 on half of each gradient."""

    def _resource_apply_dense(self, grad, var, apply_state=None):
        return super()._resource_apply_dense(grad * np.float32(0.5), var, apply_state)


class HalvedLate(LATE.RMSprop):
    """The same for tf.keras 2.11 to 2.15."""

    def update_step(self, gradient, variable):
        return super().update_step(gradient * np.float32(0.5), variable)


class HalvedSGD(LATE.SGD):
    """SGD on half of each gradient."""

    def update_step(self, gradient, variable):
        super().update_step(gradient * np.float32(0.5), variable)


@pytest.mark.parametrize("kind", [HalvedV2, HalvedLate, HalvedSGD])
def test_a_class_derived_from_a_shipped_one_is_asked_for_its_update(kind):
    mine, theirs = parameters(), parameters()
    derived, plain = kind(0.1, momentum=0.5), kind.__base__(0.1, momentum=0.5)
    for _ in range(3):
        step(derived, mine)
        step(plain, theirs, 0.5)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
    for one, other in zip(derived.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", [V2.Optimizer, LATE.Optimizer], ids=["v2", "late"])
def test_a_class_without_an_update_is_told_which_method_to_write(kind):
    optimizer, variables = kind("nothing"), parameters()
    with pytest.raises(NotImplementedError, match=r"_resource_apply_dense.*update_step"):
        step(optimizer, variables)
    assert not [w for w in optimizer.get_weights() if w.ndim]


@pytest.mark.parametrize("kind", [Signs, LateSigns], ids=["v2", "late"])
def test_an_own_class_that_raises_leaves_nothing_changed(kind):
    class Failing(kind):
        def _resource_apply_dense(self, grad, var, apply_state=None):
            super()._resource_apply_dense(grad, var)
            self._fail(var)

        def update_step(self, gradient, variable):
            super().update_step(gradient, variable)
            self._fail(variable)

        def _fail(self, variable):
            if variable.shape == (3,) and int(self.iterations) == 1:
                raise RuntimeError("on purpose")

    optimizer, variables = Failing(0.5), parameters()
    step(optimizer, variables)
    kept = [v.array.copy() for v in variables], optimizer.get_weights()
    with pytest.raises(RuntimeError, match="on purpose"):
        step(optimizer, variables)
    for mine, old in zip([v.array for v in variables], kept[0], strict=True):
        np.testing.assert_array_equal(mine, old)
    for mine, old in zip(optimizer.get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(mine, old)


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_a_constraint_that_fails_undoes_the_step(family, kind):
    def failing(variable):
        raise ZeroDivisionError

    variables = parameters()
    optimizer = getattr(FAMILIES[family], kind)(0.1)
    step(optimizer, variables)
    kept = [v.array.copy() for v in variables], optimizer.get_weights()
    variables[1].constraint = failing
    if family == "experimental":
        with pytest.warns(fastrms.PortingWarning, match="never applies constraints"):
            step(optimizer, variables)
        return
    for constraint, error in ((failing, ZeroDivisionError), (np.sum, fastrms.VariableError)):
        variables[1].constraint = lambda v, act=constraint: act(v.array)
        with pytest.raises(error):
            step(optimizer, variables)
        for mine, old in zip([v.array for v in variables], kept[0], strict=True):
            np.testing.assert_array_equal(mine, old)
        for mine, old in zip(optimizer.get_weights(), kept[1], strict=True):
            np.testing.assert_array_equal(mine, old)
        assert int(optimizer.iterations) == 1


@pytest.mark.parametrize(("family", "kind"), KINDS)
@pytest.mark.parametrize("built", [False, True], ids=["first", "later"])
def test_a_refused_step_changes_nothing(family, kind, built):
    optimizer, variables = getattr(FAMILIES[family], kind)(0.1), parameters()
    if built:
        step(optimizer, variables)
    kept = [v.array.copy() for v in variables]
    weights = optimizer.get_weights()
    wrong = [np.ones((2, 3), np.float32), np.ones(4, np.float32)]
    with pytest.raises(fastrms.GradientError, match=r"shape \(4,\)"):
        optimizer.apply_gradients(list(zip(wrong, variables, strict=True)))
    for mine, old in zip([v.array for v in variables], kept, strict=True):
        np.testing.assert_array_equal(mine, old)
    now = optimizer.get_weights()
    assert len(now) == len(weights)
    for mine, old in zip(now, weights, strict=True):
        np.testing.assert_array_equal(mine, old)
    step(optimizer, variables)
    assert int(optimizer.iterations) == 1 + built


def test_a_hyperparameter_that_a_dtype_cannot_hold_is_refused_later_too():
    optimizer, variables = LATE.RMSprop(0.1, epsilon=0.01), parameters("float16")
    step(optimizer, variables)
    with pytest.raises(fastrms.ArgumentError, match="underflows to 0 in float16"):
        optimizer.epsilon = 1e-20
    assert optimizer.epsilon == 0.01
    step(optimizer, variables)
    assert int(optimizer.iterations) == 2


def test_a_shared_counter_counts_for_both():
    counter = Parameter(np.array(5, np.int64), "global_step")
    counter.assign = lambda value: counter.array.fill(value)
    first, second = V2.SGD(0.1, decay=0.5), V2.RMSprop(0.1)
    first.iterations = second.iterations = counter
    step(first, parameters())
    step(second, parameters())
    assert int(counter.array) == 7
    assert int(second.iterations) == 7


def test_momentum_cannot_come_or_go_later():
    optimizer = V2.RMSprop()
    with pytest.raises(fastrms.ArgumentError, match="momentum was 0"):
        optimizer.momentum = 0.9
    optimizer = LATE.RMSprop(momentum=0.5)
    optimizer.momentum = 0.0  # not built yet: as if it were made so
    step(optimizer, parameters())
    with pytest.raises(fastrms.ArgumentError, match="Make a new optimizer"):
        optimizer.momentum = 0.9


def test_what_the_old_system_ignored_is_named():
    with pytest.warns(fastrms.PortingWarning, match="lr=0.1 has no effect"):
        optimizer = LATE.RMSprop(lr=0.1)
    assert float(optimizer.learning_rate) == np.float32(0.001)
    optimizer = V2.RMSprop(decay=0.25)
    with pytest.warns(fastrms.PortingWarning, match="setting decay later has no effect"):
        optimizer.decay = 0.5
    assert float(optimizer.decay) == 0.25
    with pytest.warns(fastrms.PortingWarning, match="decay=0.1 has no effect"):
        EXPERIMENTAL.RMSprop(decay=0.1)
    with pytest.warns(fastrms.PortingWarning, match="gradient_transformers"):
        EXPERIMENTAL.SGD(gradient_transformers=[len])
    with pytest.warns(fastrms.PortingWarning, match="amsgrad=True has no effect"):
        EXPERIMENTAL.SGD(amsgrad=True)
    scaled = tf_keras.mixed_precision.LossScaleOptimizer(V2.SGD(0.1))
    with pytest.warns(fastrms.PortingWarning, match="get_scaled_loss and get_unscaled_gradients"):
        step(scaled, parameters())
    scaled = tf_keras.mixed_precision.LossScaleOptimizer(LATE.SGD(0.1))
    scaled.get_unscaled_gradients([])
    with pytest.warns(fastrms.PortingWarning, match="without get_scaled_loss before"):
        step(scaled, parameters())


def test_lr_and_epsilon_need_no_warning_in_a_generations_own_module(recwarn):
    V2.RMSprop(lr=0.1, epsilon=0.1)
    LATE.RMSprop(0.1, epsilon=0.1)
    assert not recwarn.list


BAD = {
    "too many": (lambda: V2.SGD(1, 2, 3, 4, 5), "takes 4 positional"),
    "far too many": (lambda: LATE.SGD(*range(20)), "takes 12 positional"),
    "twice later": (lambda: LATE.SGD(0.1, learning_rate=0.1), "twice"),
    "twice": (lambda: V2.SGD(0.1, learning_rate=0.1), "twice"),
    "text": (lambda: V2.RMSprop("fast"), "learning_rate='fast'"),
    "unknown": (lambda: LATE.Adam(beta_3=1), "beta_3"),
    "decay": (lambda: LATE.Adam(decay=0.1), "decay=0.1"),
    "loss": (lambda: V2.SGD().minimize(3.0, []), "callable"),
    "tape": (lambda: LATE.SGD().minimize(lambda: 3.0, [], tape=object()), "tape"),
    "tensor": (lambda: step_on(object()), "is not a variable"),
    "pairs": (lambda: V2.SGD().apply_gradients([1, 2]), "(gradient, variable) pairs"),
    "name": (lambda: V2.get("nadam"), "unknown optimizer 'nadam'"),
    "nothing": (lambda: V2.get(None), "None does not name an optimizer"),
    "config": (lambda: V2.deserialize({"class_name": "SGD"}), "not a serialized optimizer"),
    "slot shape": (lambda: V2.SGD().add_slot(np.ones(3), "a", shape=(2,)), "shape=(2,)"),
    "initializer": (lambda: V2.SGD().add_slot(np.ones(3), "a", "glorot"), "'glorot'"),
    "scale": (lambda: scaled(initial_scale=-1), "initial_scale=-1"),
    "growth": (lambda: scaled(dynamic_growth_steps=0), "dynamic_growth_steps=0"),
    "loss_scale": (
        lambda: tf_keras_v2.mixed_precision.experimental.LossScaleOptimizer(V2.SGD(), "static"),
        "loss_scale='static'",
    ),
    "compiled": (lambda: LATE.legacy.RMSprop(jit_compile=False), "no argument 'jit_compile'"),
    "half a step": (lambda: V2.SGD().iterations.assign(1.5), "iterations=1.5"),
    "half a step later": (lambda: setattr(LATE.SGD(), "iterations", Parameter(0.5, "n")), "=0.5"),
    "aggregate": (lambda: LATE.SGD().apply_gradients([], nonsense=1), "nonsense"),
    "shape": (lambda: V2.SGD().lr.assign([1.0, 2.0]), "shape ()"),
}


def step_on(thing):
    """Step with what is no variable."""
    V2.SGD().apply_gradients([(np.ones(2), thing)])


def scaled(**kwargs):
    """Wrap an optimizer for loss scaling."""
    return V2.LossScaleOptimizer(V2.SGD(), **kwargs)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_what_is_valid(name):
    act, said = BAD[name]
    with pytest.raises((fastrms.ArgumentError, fastrms.VariableError), match=re.escape(said)):
        act()


def test_an_unknown_variable_is_named():
    optimizer, (kernel, bias) = LATE.RMSprop(), parameters()
    step(optimizer, [kernel])
    with pytest.raises(KeyError, match=r"named 'bias'; it was built with \['kernel'\]"):
        step(optimizer, [bias])


def test_loss_scaling_of_earlier_versions():
    make = tf_keras_v2.mixed_precision.experimental.LossScaleOptimizer
    assert (make(V2.SGD()).dynamic, make(V2.SGD(), loss_scale=8).initial_scale) == (True, 8.0)
    kind = type(make(V2.SGD()))
    inner = {"class_name": "SGD", "config": {"learning_rate": 0.5}}
    fixed = {"class_name": "FixedLossScale", "config": {"loss_scale_value": 4.0}}
    read = kind.from_config({"optimizer": inner, "loss_scale": fixed})
    assert (read.dynamic, read.initial_scale, float(read.lr)) == (False, 4.0, 0.5)
    about = {"initial_loss_scale": 2.0, "increment_period": 3, "multiplier": 2.0}
    moving = {"class_name": "DynamicLossScale", "config": about}
    read = kind.from_config({"optimizer": inner, "loss_scale": moving})
    assert (read.initial_scale, read.dynamic_growth_steps) == (2.0, 3)
    about["multiplier"] = 3.0
    with pytest.raises(fastrms.ArgumentError, match="multiplier 2"):
        kind.from_config({"optimizer": inner, "loss_scale": moving})


@pytest.mark.parametrize("family", ["v2", "late"])
def test_a_wrapped_optimizer_is_one_of_its_family(family):
    module = FAMILIES[family]
    wrapped = module.LossScaleOptimizer(module.RMSprop(0.5))
    assert isinstance(wrapped, module.Optimizer)
    assert isinstance(wrapped, module.LossScaleOptimizer)
    assert isinstance(wrapped.inner_optimizer, module.RMSprop)
    again = module.deserialize(module.serialize(wrapped))
    assert isinstance(again, type(wrapped))
    assert float(again.learning_rate) == 0.5


def test_generations_differ_where_they_did():
    def after(make):
        variable = Parameter(np.ones(2, np.float32), "w")
        optimizer = make(0.1, epsilon=0.01)
        for _ in range(3):
            optimizer.apply_gradients([(np.full(2, 0.1, np.float32), variable)])
        return float(variable.array[0])

    found = {name: after(module.RMSprop) for name, module in FAMILIES.items()}
    assert found["v2"] == pytest.approx(found["experimental"], rel=1e-6)
    assert abs(found["v2"] - found["late"]) > 0.05


@pytest.mark.parametrize("module", [tf_keras, tf_keras_v2], ids=["late", "v2"])
def test_the_paths_are_the_old_ones(module):
    optimizers = module.optimizers
    assert optimizers.rmsprop is optimizers.RMSprop
    assert optimizers.legacy.RMSprop is V2.RMSprop
    assert optimizers.schedules.ExponentialDecay is fastrms.schedules.ExponentialDecay
    assert module.mixed_precision.LossScaleOptimizer is optimizers.LossScaleOptimizer
    written = optimizers.schedules.serialize(fastrms.schedules.ExponentialDecay(0.1, 2, 0.5))
    assert written["class_name"] == "ExponentialDecay"
    assert float(optimizers.schedules.deserialize(written)(0)) == np.float32(0.1)


def test_the_guide_shows_what_happens():
    page = Path(__file__).resolve().parents[2] / "docs" / "porting-tf-keras.md"
    text = re.sub(r"^```.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, page.name, 0)
    assert len(examples.examples) > 10
    said = []
    result = doctest.DocTestRunner().run(examples, out=said.append)
    assert result.failed == 0, "".join(said)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_rows_are_refused_where_they_have_no_rule(kind):
    optimizer, (kernel, _) = getattr(V2, kind)(), parameters()
    rows = fastrms.IndexedSlices(np.ones((1, 3), np.float32), [0])
    with pytest.raises(fastrms.GradientError, match="only RMSprop's own update takes"):
        optimizer.apply_gradients([(rows, kernel)])
    assert not optimizer.get_weights()


def test_rows_are_unscaled_and_looked_at():
    optimizer, (kernel, _) = V2.LossScaleOptimizer(V2.RMSprop(), initial_scale=4), parameters()
    start = kernel.array.copy()
    rows = fastrms.IndexedSlices(np.full((1, 3), 8, np.float32), [1])
    (kept,) = optimizer.get_unscaled_gradients([rows])
    assert kept.values.tolist() == [[2, 2, 2]]
    (lost,) = optimizer.get_unscaled_gradients([fastrms.IndexedSlices(rows.values * np.inf, [1])])
    optimizer.apply_gradients([(lost, kernel)])
    np.testing.assert_array_equal(kernel.array, start)
    optimizer.apply_gradients([(kept, kernel)])
    assert (kernel.array != start).any(axis=1).tolist() == [False, True]
    assert (int(optimizer.iterations), float(optimizer.loss_scale)) == (2, 2.0)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "scaled"])
@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_a_copy_goes_on_by_itself(family, kind, wrapped, how):
    module, variables = FAMILIES[family], parameters()
    optimizer = getattr(module, kind)(0.1, clipnorm=0.5)
    if wrapped:
        optimizer = V2.LossScaleOptimizer(optimizer, initial_scale=2)
        optimizer.get_unscaled_gradients([])
    step(optimizer, variables)
    other, others = COPIES[how]((optimizer, variables))
    kept = optimizer.get_weights()
    step(other, others)
    assert (int(optimizer.iterations), int(other.iterations)) == (1, 2)
    for mine, old in zip(optimizer.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(mine, old)
    step(optimizer, variables)
    for mine, theirs in zip(variables, others, strict=True):
        np.testing.assert_array_equal(mine.array, theirs.array)
    other.lr = 0.5
    assert (float(optimizer.lr), float(other.lr)) == (np.float32(0.1), 0.5)


def test_a_copy_of_an_own_class_keeps_its_weights():
    optimizer, variables = LateSigns(0.5), parameters()
    step(optimizer, variables)
    other, others = copy.deepcopy((optimizer, variables))
    step(other, others)
    assert other._lasts[0] is not optimizer._lasts[0]
    assert optimizer._lasts[1].numpy().tolist() == [1.5] * 3
    assert other._lasts[1].numpy().tolist() == [1.75] * 3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernels_compute_what_the_reference_does(family, monkeypatch):
    def after(disabled):
        monkeypatch.setattr(numba.config, "DISABLE_JIT", disabled)
        variables = parameters()
        optimizer = FAMILIES[family].RMSprop(0.1)
        for _ in range(3):
            step(optimizer, variables)
        return [v.array for v in variables] + optimizer.get_weights()

    for mine, theirs in zip(after(True), after(False), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_scales_are_those_of_the_core(family):
    """The core scales inside a step, TensorFlow's surface outside; the rules are one."""
    module, (mine, theirs) = FAMILIES[family], (parameters()[1], parameters()[1])
    inner = fastrms.RMSprop(0.1, dialect=module.RMSprop.ROW.name)
    core = fastrms.LossScaleOptimizer(inner, initial_scale=4.0, dynamic_growth_steps=2)
    ours = V2.LossScaleOptimizer(module.RMSprop(0.1), initial_scale=4, dynamic_growth_steps=2)
    for factor in (1, 1, np.inf, 1, np.nan, np.inf, np.inf, np.inf, 1, 1, 1):
        gradient = np.cos(mine.array) * np.float32(factor)
        kept = ours.get_unscaled_gradients([gradient * ours.loss_scale.numpy()])
        ours.apply_gradients([(kept[0], mine)])
        core.apply([gradient * np.float32(core.dynamic_scale)], [theirs.array])
        assert ours.loss_scale() == core.dynamic_scale
        np.testing.assert_array_equal(mine.array, theirs.array)
        assert int(ours.iterations) == core.iterations


def test_a_callback_reads_and_sets_through_the_backend():
    backend, optimizer = tf_keras_v2.backend, V2.SGD(0.5)
    backend.batch_set_value([(optimizer.lr, 0.25), (optimizer.momentum, 0.0)])
    assert backend.batch_get_value([optimizer.lr, optimizer.iterations]) == [0.25, 0]
    array = np.ones(2)
    backend.set_value(array, [3.0, 4.0])
    assert array.tolist() == backend.get_value(array).tolist() == [3.0, 4.0]
    with pytest.raises(AttributeError, match=r"backend\.mean is not provided"):
        tf_keras.backend.mean(array)
    with pytest.raises(fastrms.ArgumentError, match="loss_scale cannot be set"):
        scaled().loss_scale.assign(3.0)
