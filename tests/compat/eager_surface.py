"""What scripts ask of a tf.keras optimizer: one body, run on the real systems and on ours."""

import copy

import numpy as np


def attempt(act):
    """Return a result, or the name of what was raised."""
    try:
        return plain(act())
    except Exception as error:  # which exception comes is a result
        return ["raises", type(error).__name__]


def plain(value):
    """Replace what JSON cannot hold."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value).tolist()
    if hasattr(value, "numpy"):
        return plain(value.numpy())
    return f"<{type(value).__name__}>"


def pair(kit, dtype="float32"):
    """Return two parameters."""
    kernel = np.arange(6, dtype=dtype).reshape(2, 3) / 4
    return [kit.variable(kernel, "kernel", False), kit.variable(kernel[0], "bias", False)]


def feed(kit, variables, scale=1.0):
    """Return gradients paired with their parameters."""
    found = []
    for variable in variables:
        value = kit.value(variable)
        found.append(
            (kit.tensor(np.cos(value * 3).astype(value.dtype) * value.dtype.type(scale)), variable)
        )
    return found


def steps(kit, optimizer, variables, count):
    """Make some steps."""
    for _ in range(count):
        optimizer.apply_gradients(feed(kit, variables))


def rates(kit, create):
    """Read and write the learning rate in every way."""
    opt, out = create(learning_rate=0.25), []
    variables = pair(kit)
    out += [float(opt.lr), float(opt.learning_rate), opt.lr.numpy(), opt.lr * 2 + 1]
    opt.lr = 0.125
    out += [float(opt.learning_rate)]
    opt.learning_rate = 0.5
    out += [float(opt.lr)]
    steps(kit, opt, variables, 1)
    opt.lr.assign(0.0625)
    out += [float(opt.learning_rate), float(opt.lr.numpy()), hasattr(opt, "lr"), opt.lr < 0.1]
    opt.learning_rate.assign_add(0.5)
    out += [float(opt.lr), f"{float(opt.lr):.3f}", kit.value(opt.lr).dtype.name]
    steps(kit, opt, variables, 1)
    return [*out, kit.value(variables[0])]


def scheduled(kit, create):
    """Let a schedule own the learning rate."""
    rate = kit.schedules.ExponentialDecay(0.25, decay_steps=2, decay_rate=0.5)
    opt, variables, out = create(learning_rate=rate), pair(kit), []
    out.append(attempt(lambda: float(opt.lr)))
    steps(kit, opt, variables, 3)
    out.append(attempt(lambda: float(opt.learning_rate)))
    out.append(attempt(lambda: setattr(opt, "learning_rate", 0.5)))
    out.append(attempt(lambda: float(opt.lr)))
    steps(kit, opt, variables, 1)
    out.append(attempt(lambda: setattr(opt, "learning_rate", rate)))
    return [*out, opt.get_config(), kit.value(variables[1])]


def configuration(kit, create):
    """Move a configuration to another optimizer."""
    opt, variables = create(learning_rate=0.1, clipnorm=0.75), pair(kit)
    before = opt.get_config()
    steps(kit, opt, variables, 2)
    after = opt.get_config()
    again = type(opt).from_config(dict(before))
    return [before, after, again.get_config() == before, create().get_config()]


def foreign_configuration(kit, create):
    """Read configurations that other versions wrote."""
    kind = type(create())
    return [
        attempt(lambda: float(kind.from_config({"lr": 0.5}).lr)),
        attempt(lambda: kind.from_config({"learning_rate": 0.5, "nonsense": 1})),
        attempt(lambda: kind.from_config({"name": "mine"}).get_config()["name"]),
    ]


def state(kit, create):
    """Read and write weights before and after the slots exist."""
    opt, variables = create(), pair(kit)
    out = [attempt(lambda: kit.weights(opt))]
    steps(kit, opt, variables, 2)
    held = kit.weights(opt)
    out += [held, [kit.bare(v.name) for v in kit.weight_variables(opt)]]
    other = create()
    steps(kit, other, pair(kit), 1)
    out.append(attempt(lambda: other.set_weights(held)))
    out.append(kit.weights(other))
    out.append(attempt(lambda: other.set_weights([*held[:-1], np.zeros((7, 7), "float32")])))
    return out


def wrong_state(kit, create):
    """Set lists that do not fit; only OptimizerV2 looked at their length."""
    opt, variables = create(), pair(kit)
    steps(kit, opt, variables, 1)
    held = kit.weights(opt)
    if not kit.old:
        return []
    return [
        attempt(lambda: opt.set_weights(held[:1])),
        attempt(lambda: opt.set_weights([*held, *held, *held, *held])),
    ]


def shorter_state(kit, create):
    """Set a list without the counter, as older Keras wrote them."""
    if not kit.old:
        return []
    opt, variables = create(), pair(kit)
    steps(kit, opt, variables, 3)
    held = kit.weights(opt)
    out = [attempt(lambda: opt.set_weights(held[1:]))]
    return [*out, int(kit.value(opt.iterations))]


def counter(kit, create):
    """Read and write the counter."""
    opt, variables = create(), pair(kit)
    out = [int(kit.value(opt.iterations))]
    steps(kit, opt, variables, 2)
    out += [int(kit.value(opt.iterations)), kit.value(opt.iterations).dtype.name]
    opt.iterations.assign(7)
    steps(kit, opt, variables, 1)
    out += [int(kit.value(opt.iterations)), int(opt.iterations) % 5]
    return [*out, attempt(lambda: setattr(opt, "iterations", kit.counter()))]


def returned(kit, create):
    """Look at what apply_gradients returns."""
    opt, variables = create(), pair(kit)
    first = opt.apply_gradients(feed(kit, variables))
    return [plain(first), attempt(lambda: int(opt.apply_gradients(feed(kit, variables))))]


def malformed(kit, create):
    """Give apply_gradients what it cannot use."""
    opt, variables = create(), pair(kit)
    return [
        attempt(lambda: opt.apply_gradients([(None, v) for v in variables])),
        attempt(lambda: opt.apply_gradients(variables)),
        attempt(
            lambda: opt.apply_gradients([(kit.tensor(np.ones((9, 9), "float32")), variables[0])])
        ),
        attempt(lambda: opt.apply_gradients(None)),
        [kit.value(v) for v in variables],
    ]


def empty(kit, create):
    """Apply no pairs at all."""
    opt = create()
    return [attempt(lambda: (opt.apply_gradients([]), 0)[1]), int(kit.value(opt.iterations))]


def iterators(kit, create):
    """Give the pairs as zip does."""
    opt, variables = create(), pair(kit)
    found = feed(kit, variables)
    opt.apply_gradients(zip([g for g, _ in found], [v for _, v in found], strict=True))
    return [kit.value(v) for v in variables]


def parts(kit, create):
    """Update one part of the variables, then the other."""
    opt, variables = create(), pair(kit)
    out = [attempt(lambda: (steps(kit, opt, variables[:1], 2), 0)[1])]
    out.append(attempt(lambda: (steps(kit, opt, variables[1:], 1), 0)[1]))
    out.append(attempt(lambda: (steps(kit, opt, variables, 1), 0)[1]))
    return [*out, kit.weights(opt), [kit.value(v) for v in variables]]


def reversed_order(kit, create):
    """Give the pairs in another order than at the first step."""
    opt, variables = create(), pair(kit)
    steps(kit, opt, variables, 1)
    opt.apply_gradients(feed(kit, variables)[::-1])
    return [kit.weights(opt), [kit.value(v) for v in variables]]


def clipping_later(kit, create):
    """Set the bounds after construction."""
    opt, variables = create(learning_rate=0.5), pair(kit)
    steps(kit, opt, variables, 1)
    opt.clipvalue = 0.01
    steps(kit, opt, variables, 1)
    out = [opt.clipvalue, opt.clipnorm, opt.global_clipnorm, kit.value(variables[0])]
    opt.clipvalue = None
    opt.clipnorm = 0.02
    steps(kit, opt, variables, 1)
    return [*out, kit.value(variables[0])]


def names(kit, create):
    """Name optimizers."""
    return [
        attempt(lambda: create(name="mine").get_config().get("name")),
        attempt(lambda: create().get_config().get("name")),
        attempt(lambda: create(name="mine").name) if not kit.old else None,
    ]


def lookups(kit, create):
    """Find optimizers by name, configuration and instance."""
    find, write, read = kit.optimizers.get, kit.optimizers.serialize, kit.optimizers.deserialize
    opt = create(learning_rate=0.5)
    written = write(opt)
    kind = type(opt).__name__
    return [
        written["class_name"],
        written["config"],
        type(find(kind)).__name__,
        type(find(kind.lower())).__name__,
        find(opt) is opt,
        attempt(lambda: float(find({"class_name": kind, "config": {"learning_rate": 0.5}}).lr)),
        attempt(lambda: float(read(written).lr)),
        attempt(lambda: type(read({"class_name": kind.lower(), "config": {}})).__name__),
        attempt(lambda: find("nonsense")),
        attempt(lambda: find(7)),
        attempt(lambda: find(None)),
        attempt(lambda: read({"class_name": "Mine", "config": {}})),
        attempt(
            lambda: (
                type(
                    read({"class_name": "Mine", "config": {}}, custom_objects={"Mine": type(opt)})
                ).__name__
            )
        ),
    ]


def slots(kit, create):
    """Ask OptimizerV2 for its slots."""
    if not kit.old:
        return [hasattr(create(), name) for name in ("get_slot_names", "add_slot")]
    opt, variables = create(), pair(kit)
    out = [list(opt.get_slot_names())]
    steps(kit, opt, variables, 1)
    out.append(list(opt.get_slot_names()))
    for name in out[1]:
        slot = opt.get_slot(variables[0], name)
        out += [slot.numpy(), kit.bare(slot.name)]
    extra = opt.add_slot(variables[1], "extra")
    ones = opt.add_slot(variables[1], "ones", initializer="ones")
    out += [extra.numpy(), ones.numpy(), list(opt.get_slot_names()), len(opt.weights)]
    out.append(opt.add_slot(variables[1], "extra") is extra)
    out.append(attempt(lambda: opt.get_slot(variables[0], "nonsense")))
    return [*out, attempt(lambda: opt.get_slot(pair(kit)[0], "extra"))]


def reset(kit, create):
    """Set every weight to zero, as a script does between tasks."""
    opt, variables = create(), pair(kit)
    steps(kit, opt, variables, 2)
    for weight in kit.weight_variables(opt):
        weight.assign(np.zeros(kit.value(weight).shape, kit.value(weight).dtype))
    out = [kit.weights(opt)]
    steps(kit, opt, variables, 1)
    return [*out, [kit.value(v) for v in variables]]


def hyperparameters(kit, create):
    """Read and change the other hyperparameters while training."""
    opt, variables, out = create(), pair(kit), []
    steps(kit, opt, variables, 1)
    for name, value in (("rho", 0.5), ("beta_1", 0.5), ("momentum", 0.5), ("decay", 0.5)):
        if not hasattr(opt, name):
            out.append(name)
            continue
        out.append(float(getattr(opt, name)))
        if name in ("rho", "beta_1"):
            setattr(opt, name, value)
            out.append(float(getattr(opt, name)))
    steps(kit, opt, variables, 1)
    return [*out, opt.get_config(), kit.value(variables[0])]


def epsilon_later(kit, create):
    """Change epsilon while training, where there is one."""
    opt, variables = create(learning_rate=0.5), pair(kit)
    steps(kit, opt, variables, 1)
    if hasattr(opt, "epsilon"):
        opt.epsilon = 0.25
        steps(kit, opt, variables, 1)
        return [opt.epsilon, opt.get_config()["epsilon"], kit.value(variables[0])]
    return []


def transformers(kit, create):
    """Transform gradients, as OptimizerV2 let one do."""
    variables = pair(kit)

    def act(pairs):
        return [(g * 0.5, v) for g, v in pairs]

    opt = attempt(lambda: create(learning_rate=0.5, gradient_transformers=[act]))
    if kit.old:
        made = create(learning_rate=0.5, gradient_transformers=[act])
        steps(kit, made, variables, 1)
        refused = attempt(lambda: create(gradient_transformers=[act], clipnorm=1.0))
        later = attempt(lambda: setattr(made, "clipnorm", 1.0))
        return [kit.value(variables[0]), refused, later]
    return [opt if isinstance(opt, list) else "made"]


def aggregators(kit, create):
    """Aggregate gradients by a function, as OptimizerV2 let one do."""
    if not kit.old:
        return [attempt(lambda: type(create(gradient_aggregator=None)).__name__)]
    variables = pair(kit)
    made = create(
        learning_rate=0.5, gradient_aggregator=lambda pairs: [(g * 2.0, v) for g, v in pairs]
    )
    steps(kit, made, variables, 1)
    made.apply_gradients(feed(kit, variables), experimental_aggregate_gradients=False)
    return [kit.value(variables[0])]


def built(kit, create):
    """Build before the first step."""
    if kit.old:
        opt, variables = create(), pair(kit)
        opt._create_all_weights(variables)
        return [kit.weights(opt), len(opt.weights)]
    opt, variables = create(), pair(kit)
    out = [opt.build(variables), kit.weights(opt)]
    out.append(attempt(lambda: opt.build(variables)))
    steps(kit, opt, variables[1:], 2)
    return [*out, kit.weights(opt), [kit.value(v) for v in variables]]


def unknown_arguments(kit, create):
    """Pass arguments that do not exist or cannot be."""
    return [
        attempt(lambda: create(nonsense=1)),
        attempt(lambda: create(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, *range(20))),
        attempt(lambda: create(clipnorm=-1.0).clipnorm),
        attempt(lambda: create(clipnorm=1.0, global_clipnorm=1.0)),
        attempt(lambda: create(decay=-0.5)),
        attempt(lambda: float(create(lr=0.25).lr)),
        attempt(lambda: create(momentum=1.5)),
        attempt(lambda: create(use_ema=True, ema_momentum=1.5)),
    ]


def finalized(kit, create):
    """Let averages take the variables' place."""
    if kit.old:
        return []
    opt, variables = create(learning_rate=0.5, use_ema=True, ema_momentum=0.5), pair(kit)
    steps(kit, opt, variables, 2)
    out = [kit.value(v) for v in variables]
    opt.finalize_variable_values(variables)
    return [*out, [kit.value(v) for v in variables]]


def spared(kit, create):
    """Spare variables from weight decay."""
    if not hasattr(create(), "exclude_from_weight_decay"):
        return []
    out = []
    for given in ({"var_names": ["bias"]}, {"var_list": 0}):
        opt, variables = create(learning_rate=0.5, weight_decay=0.25), pair(kit)
        if "var_list" in given:
            given = {"var_list": variables[:1]}
        opt.exclude_from_weight_decay(**given)
        steps(kit, opt, variables, 2)
        out.append([kit.value(v) for v in variables])
        out.append(attempt(lambda opt=opt: opt.exclude_from_weight_decay(var_names=["x"])))
    return out


def scaled(kit, create):
    """Wrap an optimizer for loss scaling."""
    opt = kit.scaler(create(learning_rate=0.25), initial_scale=16.0, dynamic_growth_steps=2)
    variables, out = pair(kit), []
    out += [float(opt.loss_scale), opt.initial_scale, opt.dynamic, opt.dynamic_growth_steps]
    out += [
        float(opt.get_scaled_loss(kit.tensor(np.float32(3.0)))),
        float(opt.lr) if kit.old else 0,
    ]
    for time in range(6):
        found = feed(kit, variables, 16.0 if time != 3 else np.inf)
        kept = opt.get_unscaled_gradients([g for g, _ in found])
        opt.apply_gradients(list(zip(kept, variables, strict=True)))
        out += [
            float(opt.loss_scale),
            int(kit.value(opt.dynamic_counter)),
            int(kit.value(opt.iterations)),
        ]
    opt.learning_rate = 0.5
    out += [float(opt.learning_rate), float(opt.inner_optimizer.learning_rate)]
    return [*out, [kit.value(v) for v in variables]]


def scaled_fixed(kit, create):
    """Keep the scale fixed, and wrap wrongly."""
    inner = create(learning_rate=0.25)
    opt = kit.scaler(inner, dynamic=False, initial_scale=8)
    out = [float(opt.loss_scale), opt.dynamic, opt.dynamic_counter, opt.dynamic_growth_steps]
    out += [
        opt.initial_scale,
        [
            None if g is None else kit.value(g)
            for g in opt.get_unscaled_gradients([None, kit.tensor(np.float32(4))])
        ],
    ]
    config = opt.get_config()
    out += [{k: v for k, v in config.items() if k != "inner_optimizer"}]
    out += [config["inner_optimizer"]["class_name"]]
    again = type(opt).from_config(config)
    out += [again.initial_scale, float(again.inner_optimizer.learning_rate)]
    return [
        *out,
        attempt(lambda: kit.scaler(inner)),
        attempt(lambda: kit.scaler(opt)),
        attempt(lambda: kit.scaler("rmsprop")),
        attempt(lambda: kit.scaler(create(), dynamic="yes")),
        attempt(lambda: kit.scaler(create(), dynamic=False)),
        attempt(
            lambda: kit.scaler(create(), dynamic=False, initial_scale=1, dynamic_growth_steps=3)
        ),
        attempt(lambda: (opt.apply_gradients([(None, v) for v in pair(kit)]), 0)[1]),
    ]


def scaled_state(kit, create):
    """Move a wrapped optimizer's weights."""
    opt, variables = kit.scaler(create(learning_rate=0.25)), pair(kit)
    opt.apply_gradients(
        list(
            zip(
                opt.get_unscaled_gradients([g for g, _ in feed(kit, variables)]),
                variables,
                strict=True,
            )
        )
    )
    if not kit.old:
        return [int(kit.value(opt.iterations))]
    return [
        len(opt.get_weights()),
        attempt(lambda: opt.set_weights(opt.get_weights())),
        float(opt.lr),
    ]


def backend(kit, create):
    """Read and set values as callbacks do."""
    opt, variables, k = create(learning_rate=0.25), pair(kit), kit.backend
    out = [float(k.get_value(opt.lr))]
    k.set_value(opt.lr, 0.5)
    steps(kit, opt, variables, 2)
    out += [float(k.get_value(opt.learning_rate)), int(k.get_value(opt.iterations))]
    k.set_value(opt.iterations, 0)
    held = kit.weight_variables(opt)
    k.batch_set_value([(w, k.get_value(w) * 0) for w in held[1:]])
    steps(kit, opt, variables, 1)
    return [*out, k.batch_get_value(held), [kit.value(v) for v in variables]]


def copied(kit, create):
    """Copy an optimizer deeply and let both go on."""
    opt, variables = create(learning_rate=0.25), pair(kit)
    steps(kit, opt, variables, 2)
    held = copy.deepcopy(kit.weights(opt))
    other = type(opt).from_config(copy.deepcopy(opt.get_config()))
    if kit.old:
        other._create_all_weights(variables)
        other.set_weights(held)
        return [other.get_weights(), float(other.lr)]
    other.build(variables)
    return [kit.weights(other), float(other.lr)]


QUESTIONS = {
    act.__name__: act
    for act in (
        *(rates, scheduled, configuration, foreign_configuration, state, wrong_state),
        *(shorter_state, counter, returned, malformed, empty, iterators, parts, reversed_order),
        *(clipping_later, names, lookups, slots, reset, hyperparameters, epsilon_later),
        *(transformers, aggregators, built, unknown_arguments, finalized, spared),
        *(scaled, scaled_fixed, scaled_state, backend, copied),
    )
}
VARIANTS = {
    "RMSprop": {"plain": {}, "full": {"momentum": 0.75, "centered": True}},
    "SGD": {"plain": {}, "full": {"momentum": 0.75, "nesterov": True}},
    "Adam": {"plain": {}, "full": {"amsgrad": True}},
}


def ask(kit, kind, variant, question):
    """Return the answer of one class in one variant to one question."""

    def create(*args, **kwargs):
        # A table of bad arguments must not be completed by good ones.
        extra = {k: v for k, v in VARIANTS[kind][variant].items() if not args and k not in kwargs}
        return getattr(kit.optimizers, kind)(*args, **{**extra, **kwargs})

    return plain(QUESTIONS[question](kit, create))
