"""What the documentation of Keras 3's and tf.keras' RMSprop says, sentence by sentence."""

import numpy as np
import pytest

import fastrms
from fastrms import RMSprop, Variable

G = np.array([0.5, -2.0])
START = np.array([1.0, 3.0])
RATE = 0.1


def stepped(gradients, names=("velocity",), **options):
    """A float64 variable after some steps, and slots by name."""
    w = START.copy()
    options.setdefault("learning_rate", RATE)
    optimizer = RMSprop(jit_compile=False, **options)
    for gradient in gradients:
        optimizer.apply([gradient], [w])
    found = {v.path.rpartition("variable_0_")[2]: v.numpy() for v in optimizer.variables}
    return w, {name: found[name] for name in names}


def near(found, expected):
    """Equal but for the float32 in which Keras keeps the learning rate."""
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_keeps_a_discounted_mean_of_squares_and_divides_by_its_root():
    w, slots = stepped([G, 2 * G], rho=0.75, epsilon=0.0)
    first = 0.25 * G**2
    second = 0.75 * first + 0.25 * (2 * G) ** 2
    near(slots["velocity"], second)
    near(w, START - RATE * G / np.sqrt(first) - RATE * 2 * G / np.sqrt(second))


def test_momentum_is_plain_and_kept_only_above_zero():
    w, slots = stepped([G, G], ("velocity", "momentum"), momentum=0.5, rho=0.75, epsilon=0.0)
    steps = [RATE * G / np.sqrt(v) for v in (0.25 * G**2, (0.75 * 0.25 + 0.25) * G**2)]
    near(slots["momentum"], 0.5 * steps[0] + steps[1])
    near(w, START - steps[0] - (0.5 * steps[0] + steps[1]))  # Nesterov would look ahead
    assert len(RMSprop(momentum=0.0).variables) == 2
    for momentum, count in ((0.0, 3), (0.5, 4)):
        optimizer = RMSprop(momentum=momentum)
        optimizer.build([START.copy()])
        assert len(optimizer.variables) == count


def test_centered_divides_by_the_estimated_variance():
    w, slots = stepped([G], ("velocity", "average_gradient"), centered=True, rho=0.75)
    near(slots["average_gradient"], 0.25 * G)
    near(w, START - RATE * G / np.sqrt(0.25 * G**2 - (0.25 * G) ** 2 + 1e-7))


def test_epsilon_stands_under_the_root():
    near(stepped([G], epsilon=0.5)[0], START - RATE * G / np.sqrt(0.1 * G**2 + 0.5))


def test_weight_decay_takes_a_share_of_the_variable():
    w = stepped([G], weight_decay=0.25, epsilon=0.0, rho=0.75)[0]
    near(w, START - 0.25 * RATE * START - RATE * G / np.sqrt(0.25 * G**2))


def test_excluded_variables_do_not_decay():
    kernel, bias = Variable([2.0], name="kernel"), Variable([2.0], name="bias")
    optimizer = RMSprop(1.0, weight_decay=0.004, jit_compile=False)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([[0.0], [0.0]], [kernel, bias])
    assert (kernel.value[0], bias.value[0]) == (np.float32(1.992), 2.0)
    with pytest.raises(fastrms.StateError, match=r"before build|before\s"):
        optimizer.exclude_from_weight_decay(var_list=[kernel])


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ({"clipnorm": 1.0}, G / np.sqrt(np.sum(G**2))),
        ({"clipvalue": 1.0}, np.clip(G, -1, 1)),
        ({"global_clipnorm": 1.0}, G / np.sqrt(np.sum(G**2))),
    ],
    ids=str,
)
def test_gradients_are_clipped_before_they_are_used(options, used):
    near(stepped([G], **options)[1]["velocity"], 0.1 * used**2)


def test_clipnorm_is_each_gradients_and_global_clipnorm_all_gradients():
    gradients = [np.array([3.0]), np.array([4.0])]
    each = RMSprop(clipnorm=1.0)._clip_gradients(gradients)
    every = RMSprop(global_clipnorm=1.0)._clip_gradients(gradients)
    near([a[0] for a in each], [1, 1])
    near([a[0] for a in every], [0.6, 0.8])


def test_the_average_and_its_overwriting():
    """The class documentation's example of tf.keras 2.11: the third value is -0.125."""

    class SGD(RMSprop):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, learning_rate * gradient)

    options = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}
    v = Variable(2.0)
    optimizer = SGD(learning_rate=1.0, dialect="tf-keras-2.11", **options)
    found = []
    for _ in range(3):
        optimizer.minimize(lambda: v * 1.0, [v])
        found.append(float(v))
    assert found == [1.0, 0.0, -0.125]


def test_without_a_frequency_the_average_waits_for_the_end():
    w = START.copy()
    optimizer = RMSprop(0.1, use_ema=True, ema_momentum=0.5, jit_compile=False)
    values = []
    for _ in range(2):
        optimizer.apply([G], [w])
        values.append(w.copy())
    near(optimizer.variables[2], 0.5 * values[0] + 0.5 * values[1])
    near(w, values[1])
    optimizer.finalize_variable_values([w])
    near(w, 0.5 * values[0] + 0.5 * values[1])


def test_gradients_are_divided_by_the_loss_scale():
    plain = stepped([G])[0]
    assert stepped([8 * G], loss_scale_factor=8.0)[0].tobytes() == plain.tobytes()


def test_accumulated_gradients_are_averaged_into_one_update():
    _, slots = stepped([G, 3 * G], gradient_accumulation_steps=2)
    near(slots["velocity"], 0.1 * (2 * G) ** 2)
    assert stepped([G], gradient_accumulation_steps=2)[0].tolist() == START.tolist()


def test_averages_count_updates_and_schedules_count_calls():
    seen = []

    class Watch(fastrms.schedules.LearningRateSchedule):
        def __call__(self, step):
            seen.append(int(step))
            return 0.1

    w = START.copy()
    options = {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2}
    optimizer = RMSprop(Watch(), jit_compile=False, **options)
    for _ in range(4):
        optimizer.apply([G], [w])
    assert seen[-1] == 3
    assert optimizer.iterations == 2
    assert int(optimizer.variables[0]) == 4


def test_the_learning_rate_is_a_number_a_schedule_or_a_callable():
    plain = stepped([G])[0]
    constant = fastrms.schedules.PiecewiseConstantDecay([100], [RATE, 0.0])
    for rate in (constant, lambda: RATE):
        assert stepped([G], learning_rate=rate)[0].tobytes() == plain.tobytes()
    with pytest.raises(ValueError, match="float"):
        RMSprop(learning_rate=1)


def test_gradients_may_be_worked_on_before_they_are_applied():
    var1, var2 = Variable(1.0), Variable(2.0)
    optimizer = RMSprop(0.1, jit_compile=False)
    pairs = optimizer.compute_gradients(lambda: 3 * var1 * var1 + 2 * var2 * var2, [var1, var2])
    assert [float(g) for g, _ in pairs] == [6, 8]
    (first, _), second = pairs
    assert optimizer.apply_gradients([(first + 1, var1), second]) == 1
    assert float(optimizer.variables[2]) == pytest.approx(0.1 * 49)


def test_apply_builds_or_wants_to_be_built_and_counts():
    optimizer = RMSprop(jit_compile=False)
    with pytest.raises(ValueError, match="build"):
        optimizer.apply([G])
    w = START.copy()
    optimizer.apply([G], [w])
    optimizer.apply([G])
    assert optimizer.iterations == 2
    with pytest.raises(ValueError, match="gradients were given"):
        optimizer.apply([G, G])
    with pytest.raises(ValueError, match="not a variable of this optimizer"):
        optimizer.apply([G], [START.copy()])


def test_what_distributes_over_replicas_is_not_there():
    w = START.copy()
    optimizer = RMSprop(dialect="tf-keras-2.11", jit_compile=False)
    with pytest.raises(AttributeError, match="aggregate_gradients"):
        optimizer.aggregate_gradients([(G, w)])
    with pytest.raises(TypeError, match="skip_gradients_aggregation"):
        optimizer.apply_gradients([(G, w)], skip_gradients_aggregation=True)


def test_old_keyword_arguments_warn_or_raise():
    with pytest.warns(fastrms.PortingWarning, match="decay"):
        RMSprop(decay=0.1)
    with pytest.raises(ValueError, match="no argument 'lr'"):
        RMSprop(lr=0.1)
    with pytest.warns(fastrms.PortingWarning, match="lr"):
        RMSprop(lr=0.1, dialect="tf-keras-2.11")
