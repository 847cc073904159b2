"""Rows of tf.keras: TF 1.x's own class, OptimizerV2, 2.10's experimental class, 2.11 and later."""

from fastrms.dialects.fields import (
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
from fastrms.dialects.keras import KERAS_2_2, KERAS_3

_INSIDE = frozenset({"epsilon_inside"})
_NEGATIVE_REFUSED = Argument(low=0.0, none="off")
_WARM_UP = ("warmup_target", "warmup_steps")  # 2.10 and 2.12 raise a TypeError (recorded)
_LATE = Schedules(
    source="optimizers/optimizer.py:330-361, 545-565, 727-732",
    shows="last",
    lacks=_WARM_UP,
    config="class",
)
_LR_IGNORED = Argument(
    none="off", effect="ignored", note="tf.keras 2.10 to 2.15 ignored it: use learning_rate="
)

TF_KERAS_V1 = KERAS_2_2._replace(
    name="tf-keras-v1",
    systems="tf.keras of TensorFlow 1.4 to 1.13",
    source="tensorflow 1.13.2 python/keras/optimizers.py:49-158, 228-292; ops/clip_ops.py:113",
    golden_systems=("tfk113_v1",),
    arguments={
        **KERAS_2_2.arguments,
        "clipnorm": _NEGATIVE_REFUSED,
        "clipvalue": _NEGATIVE_REFUSED,
    },
    clipping=Clipping(order=("norm", "value"), zero_acts=True),
    sparse=Sparse("before clipping", "decay", "moves", norm_of_rows=True),
)

TF_KERAS_V2 = Dialect(
    name="tf-keras-v2",
    systems="tf.keras 2.0 to 2.10 (OptimizerV2), keras.optimizers.legacy later",
    source="keras 2.10.0 optimizers/optimizer_v2/rmsprop.py:94-268, optimizer_v2.py:306-430; "
    "tensorflow core/kernels/training_ops.cc ApplyRMSProp, ApplyCenteredRMSProp",
    golden_systems=("tf210_v2", "tf212_v2"),
    arguments={
        "learning_rate": Argument(default=0.001, kind="rate"),
        "rho": Argument(default=0.9),
        "momentum": Argument(default=0.0, low=0.0, high=1.0),
        "epsilon": Argument(
            default=1e-7, none="default", zero_is_default=True, fallback=1e-7, note="K.epsilon()"
        ),
        "centered": Argument(default=False, kind="bool"),
        "name": Argument(default="RMSprop", kind="name", none="off"),
        "clipnorm": _NEGATIVE_REFUSED,
        "clipvalue": _NEGATIVE_REFUSED,
        "global_clipnorm": _NEGATIVE_REFUSED,
        "decay": Argument(default=0.0, low=0.0),
        "lr": Argument(kind="rate", low=0.0, none="off", note="another name of learning_rate"),
    },
    form=Form(
        always=frozenset(),
        momentum=_INSIDE | {"incremental_velocity", "incremental_average"},
    ),
    weights=Weights(
        order=("iterations", "velocity", "momentum", "average_gradient"),
        names={"iterations": "{name}/iter:0", "slot": "{name}/{variable}/{slot}:0"},
        late="appended",
        optional_iterations=True,
    ),
    clipping=Clipping(order=("value", "norm", "global"), rivals="norms refused", zero_acts=True),
    config=(
        "name",
        "?clipnorm",
        "?clipvalue",
        "?global_clipnorm",
        "learning_rate",
        "decay",
        "rho",
        "momentum",
        "epsilon",
        "centered",
    ),
    rho_complement_in_dtype=True,
    float32_first=frozenset({"learning_rate", "rho", "momentum", "decay"}),
    decay=Decay(offset=0, reciprocal=False),
    sparse=Sparse(
        "after clipping",
        "decay without momentum",
        "stays",
        means_as_sums=True,
        constrained=False,
    ),
    loss_scale=LossScale(reciprocal=True, floor=1.0, skipped_step_counts=True, fixed=True),
    schedules=Schedules(
        source="optimizer_v2.py:871-906 (_set_hyper), 1161-1172 (_decayed_lr), 1220-1227",
        step="variable's dtype",
        settable=True,
        lacks=_WARM_UP,
        config="class",
    ),
    flushes_subnormals=True,
    constraints="after update",
    slot_names={"velocity": "rms", "momentum": "momentum", "average_gradient": "mg"},
    default_name="RMSprop",
)

TF_KERAS_2_11 = Dialect(
    name="tf-keras-2.11",
    systems="tf.keras 2.11 to 2.15",
    source="keras 2.12.0 optimizers/rmsprop.py:111-214, optimizers/optimizer.py:38-146, 278",
    golden_systems=("tf212_new",),
    arguments={
        **{
            name: KERAS_3.arguments[name]
            for name in (
                "rho",
                "momentum",
                "epsilon",
                "centered",
                "weight_decay",
                "clipnorm",
                "clipvalue",
                "global_clipnorm",
                "use_ema",
                "ema_momentum",
            )
        },
        "learning_rate": Argument(default=0.001, kind="rate"),
        "ema_overwrite_frequency": Argument(
            default=100, kind="count", low=0, none="off", only_with="use_ema", note="0 means never"
        ),
        "name": Argument(default="RMSprop", kind="name", none="off"),
        "lr": _LR_IGNORED,
        "mesh": Argument(
            kind="absent", none="off", note="arrays here lie in one process, on no DTensor mesh"
        ),
        "decay": Argument(
            effect="refused",
            note="tf.keras 2.11 and later refuse it; use the dialect tf-keras-v2, or "
            "learning_rate=fastrms.schedules.InverseTimeDecay(...)",
        ),
    },
    form=Form(_INSIDE | {"reciprocal"}),
    weights=Weights(
        order=("iterations", "average", "velocity", "momentum", "average_gradient"),
        names={"iterations": "iteration:0", "slot": "{slot}/{variable}:0"},
    ),
    clipping=Clipping(order=("norm", "global", "value"), rivals="first"),
    config=(
        "name",
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "learning_rate",
        "rho",
        "momentum",
        "epsilon",
        "centered",
    ),
    rho_complement_in_dtype=False,
    float32_first=frozenset({"learning_rate", "weight_decay"}),
    config_in_float32=frozenset({"learning_rate"}),
    average=Average(starts_at_variable=True, dtype_complement=False, shifts_past_none=True),
    sparse=Sparse("after clipping", "decay", "moves with momentum"),
    loss_scale=LossScale(
        reciprocal=True,
        floor=1.0,
        skipped_step_counts=True,
        fixed=True,
        class_name="LossScaleOptimizerV3",
    ),
    schedules=_LATE,
    flushes_subnormals=True,
    constraints="after update",
    slot_names=KERAS_3.slot_names,
    default_name="RMSprop",
    calls_rate_once=True,
    class_name="Custom>RMSprop",
    marks={"is_legacy_optimizer": False},
)

TF_KERAS_2_10_EXPERIMENTAL = TF_KERAS_2_11._replace(
    name="tf-keras-2.10-experimental",
    systems="tf.keras.optimizers.experimental of 2.10",
    source="keras 2.10.0 optimizers/optimizer_experimental/rmsprop.py:74-212, optimizer.py:38-118",
    golden_systems=("tf210_exp",),
    arguments={
        **{k: v for k, v in TF_KERAS_2_11.arguments.items() if k != "weight_decay"},
        "weight_decay": Argument(effect="refused", note="this class has no weight decay"),
        "decay": Argument(none="off", effect="ignored", note="this class ignored it"),
    },
    form=Form(frozenset({"rate_last"}), centered=frozenset({"squared_average"})),
    weights=TF_KERAS_2_11.weights._replace(
        order=("average", "velocity", "momentum", "average_gradient")
    ),
    config=tuple(k for k in TF_KERAS_2_11.config if k not in ("name", "weight_decay")),
    float32_first=frozenset({"learning_rate"}),
    schedules=_LATE._replace(
        source="optimizer_experimental/optimizer.py:285-310, 495-510, 590-597"
    ),
    constraints="never",
    notes=(
        "centered=True averages g^2 and stores the difference back as velocity, as shipped: "
        "weights soon become NaN",
    ),
)
