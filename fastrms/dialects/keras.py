"""Rows of standalone Keras: 0, 1, 2.0, 2.2, 2.3, its copy in tf.contrib, and Keras 3."""

from fastrms.dialects.fields import (
    RECORDED,
    Argument,
    Average,
    Clipping,
    Decay,
    Dialect,
    Form,
    LossScale,
    Schedules,
    Sparse,
    Weights,
)

# K.sqrt takes the root of 0 for negative numbers, which rho > 1 gives (keras 1.2.2
# backend/tensorflow_backend.py:1210, theano_backend.py:379).
_ROOT = frozenset({"floored_root"})
_INSIDE = frozenset({"epsilon_inside"})
_LEARNING_RATE = Argument(default=0.001, kind="rate")
_OFF_BELOW_ZERO = Argument(none="off", note="0 and below mean no clipping")

_KERAS_1_ARGUMENTS = {
    "learning_rate": _LEARNING_RATE,
    "rho": Argument(default=0.9),
    "epsilon": Argument(default=1e-8),
    "decay": Argument(default=0.0),
    "clipnorm": _OFF_BELOW_ZERO,
    "clipvalue": _OFF_BELOW_ZERO,
    "lr": Argument(kind="rate", none="off", note="the same as learning_rate"),
}

KERAS_1 = Dialect(
    name="keras-1",
    systems="Keras 1.0.3 to 1.2.2",
    source="keras 1.2.2 optimizers.py:54-133 (Optimizer), 201-262 (RMSprop)",
    golden_systems=("k12_tf", "k12_theano"),
    arguments=_KERAS_1_ARGUMENTS,
    form=Form(_ROOT),
    weights=Weights(order=("velocity",)),
    clipping=Clipping(order=("norm", "value"), norm_spans_all=True),
    config=("lr", "rho", "decay", "epsilon", "?clipnorm", "?clipvalue"),
    rho_complement_in_dtype=True,
    config_in_float32=frozenset({"learning_rate", "rho", "decay"}),
    decay=Decay(offset=1, reciprocal=True),
    counts="steps with decay",
    sparse=Sparse("before clipping", "decay", "moves"),
    flushes_subnormals=True,
    constraints="before assignment",
    none_gradients="refused",
    slot_names={"velocity": "accumulator"},
    notes=("TensorFlow 1.3 flushes subnormal numbers (recorded); Theano keeps them",),
)

KERAS_0 = KERAS_1._replace(
    name="keras-0",
    systems="Keras 0.1.0 to 1.0.2",
    source="keras 0.3.3 optimizers.py: RMSprop.get_updates (read, not recorded)",
    golden_systems=(),
    arguments={
        **_KERAS_1_ARGUMENTS,
        "epsilon": Argument(default=1e-6),
        "decay": Argument(effect="refused", note="RMSprop has no decay before Keras 1.0.3"),
    },
    form=Form(_INSIDE | _ROOT),
    decay=None,
    flushes_subnormals=False,
    config=("lr", "rho", "epsilon", "?clipnorm", "?clipvalue"),
    notes=("not recorded: read from source",),
    evidence=dict.fromkeys(RECORDED, "read in the source, not recorded"),
)

TF_CONTRIB = KERAS_1._replace(
    name="tf-contrib",
    systems="tf.contrib.keras of TensorFlow 1.1 to 1.3",
    source="tensorflow 1.3.0 contrib/keras/python/keras/optimizers.py:67-150, 214-281",
    golden_systems=("contrib13",),
)

KERAS_2_0 = KERAS_1._replace(
    name="keras-2.0",
    systems="Keras 2.0.x",
    source="keras 2.0.8 optimizers.py:44-130, 192-254",
    golden_systems=("k20_tf", "k20_theano"),
    decay=Decay(offset=0, reciprocal=True),
    counts="every step",
)

KERAS_2_2 = KERAS_2_0._replace(
    name="keras-2.2",
    systems="Keras 2.1 and 2.2",
    source="keras 2.2.4 optimizers.py:60-158, 220-286",
    golden_systems=("k22_tf",),
    arguments={
        **_KERAS_1_ARGUMENTS,
        "epsilon": Argument(default=1e-7, none="default", fallback=1e-7, note="K.epsilon()"),
    },
    decay=Decay(offset=1, reciprocal=True),
)

KERAS_2_3 = KERAS_2_2._replace(
    name="keras-2.3",
    systems="Keras 2.3",
    source="keras 2.3.1 optimizers.py:61-160, 229-300",
    golden_systems=("k23_tf",),
    arguments={
        **_KERAS_1_ARGUMENTS,
        "epsilon": Argument(default=1e-7),
    },
    weights=Weights(order=("iterations", "velocity"), optional_iterations=True),
    config=("learning_rate", "rho", "decay", "epsilon", "?clipnorm", "?clipvalue"),
    sparse=Sparse("before clipping", "decay", "moves", value_clips_rows=True),
)

KERAS_3 = Dialect(
    name="keras-3",
    systems="Keras 3 (3.15.1 measured)",
    source="keras 3.15.1 optimizers/rmsprop.py:53-167, optimizers/base_optimizer.py:63-1071",
    golden_systems=("k3_tensorflow", "k3_jax", "k3_torch"),
    arguments={
        "learning_rate": Argument(default=0.001, kind="float rate"),
        "rho": Argument(default=0.9),
        "momentum": Argument(default=0.0, note="negative means none, as in Keras 3"),
        "epsilon": Argument(default=1e-7),
        "centered": Argument(default=False, kind="bool"),
        "weight_decay": Argument(none="off"),
        "clipnorm": _OFF_BELOW_ZERO,
        "clipvalue": _OFF_BELOW_ZERO,
        "global_clipnorm": _OFF_BELOW_ZERO,
        "use_ema": Argument(default=False, kind="bool"),
        "ema_momentum": Argument(default=0.99, low=0.0, high=1.0, only_with="use_ema"),
        "ema_overwrite_frequency": Argument(
            kind="count", low=0, none="off", only_with="use_ema", note="0 means never"
        ),
        "loss_scale_factor": Argument(none="off"),
        "gradient_accumulation_steps": Argument(
            kind="count", low=2, none="off", zero_is_default=True, fallback=0
        ),
        "name": Argument(kind="name", none="off"),
        "decay": Argument(
            none="off",
            effect="ignored",
            note="use learning_rate=fastrms.schedules.InverseTimeDecay(...)",
        ),
        "lr": Argument(effect="refused", note="use learning_rate="),
    },
    form=Form(_INSIDE),
    weights=Weights(
        order=(
            "iterations",
            "learning_rate",
            "average",
            "gradient_accumulator",
            "velocity",
            "momentum",
            "average_gradient",
        ),
        names={
            "iterations": "{name}/iteration",
            "learning_rate": "{name}/learning_rate",
            "slot": "{name}/{variable}_{slot}",
        },
    ),
    clipping=Clipping(order=("norm", "global", "value"), rivals="refused", inverse_in_double=True),
    config=(
        "name",
        "learning_rate",
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "loss_scale_factor",
        "gradient_accumulation_steps",
        "rho",
        "momentum",
        "epsilon",
        "centered",
    ),
    rho_complement_in_dtype=False,
    float32_first=frozenset({"learning_rate", "weight_decay"}),
    config_in_float32=frozenset({"learning_rate"}),
    average=Average(starts_at_variable=False, dtype_complement=True),
    sparse=Sparse("squared apart", "decay", "moves with momentum", norm_of_rows=True),
    loss_scale=LossScale(
        reciprocal=False,
        floor=None,
        skipped_step_counts=False,
        own=("iterations", "learning_rate", "step_counter", "dynamic_scale"),
    ),
    schedules=Schedules(source="optimizers/base_optimizer.py:706-729, 777-786, 1041-1053"),
    flushes_subnormals=True,
    constraints="after update",
    counts_names=True,
    named_in_config=False,
    rate_in_config="callable",
    slot_names={
        "average": "average",
        "gradient_accumulator": "gradient_accumulator",
        "velocity": "velocity",
        "momentum": "momentum",
        "average_gradient": "average_gradient",
    },
)
