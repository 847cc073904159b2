"""Rows of systems outside Keras: TF 1's own optimizer, PyTorch and optax."""

from fastrms.dialects.fields import Argument, Clipping, Dialect, Form, Schedules, Sparse, Weights

_INSIDE = frozenset({"epsilon_inside"})
_NO_CLIPPING = Clipping(order=())
_CENTERED = Argument(default=False, kind="bool")

TF_TRAIN = Dialect(
    name="tf-train",
    systems="tf.train.RMSPropOptimizer of TensorFlow 1",
    source="tensorflow 1.13.2 python/training/rmsprop.py:50-290; "
    "core/kernels/training_ops.cc ApplyRMSProp, ApplyCenteredRMSProp",
    golden_systems=("tf13_train",),
    arguments={
        "learning_rate": Argument(default=0.001, kind="rate", note="required there"),
        "rho": Argument(default=0.9, note="called decay there"),
        "momentum": Argument(default=0.0),
        "epsilon": Argument(default=1e-10),
        "centered": _CENTERED,
        "name": Argument(default="RMSProp", kind="name", none="off"),
    },
    form=Form(
        _INSIDE | {"incremental_velocity", "incremental_average"},
    ),
    weights=Weights(
        order=("velocity", "average_gradient", "momentum"),
        names={"slot": "{variable}/{slot}"},
        late="in place",
    ),
    clipping=_NO_CLIPPING,
    config=("name", "learning_rate", "rho", "momentum", "epsilon", "centered"),
    rho_complement_in_dtype=True,
    float32_first=frozenset({"learning_rate", "rho", "momentum", "epsilon"}),
    sparse=Sparse("after clipping", "decay without momentum", "stays", means_as_sums=True),
    flushes_subnormals=True,
    velocity_start=1.0,
    momentum_slot="always",
    slot_names={"velocity": "rms", "average_gradient": "mg", "momentum": "momentum"},
    default_name="RMSProp",
)

TORCH = Dialect(
    name="torch",
    systems="torch.optim.RMSprop (2.13.0 measured)",
    source="torch 2.13.0 optim/rmsprop.py:264-340 (_single_tensor_rmsprop)",
    golden_systems=("torch_rmsprop",),
    arguments={
        "learning_rate": Argument(default=0.01, kind="rate", low=0.0, note="called lr there"),
        "rho": Argument(default=0.99, low=0.0, note="called alpha there"),
        "momentum": Argument(default=0.0, low=0.0),
        "epsilon": Argument(default=1e-8, low=0.0, note="called eps there"),
        "centered": _CENTERED,
        "weight_decay": Argument(default=0.0, low=0.0, none="off"),
        "name": Argument(kind="name", none="off"),
    },
    form=Form(
        always=frozenset({"square_last", "incremental_average", "coupled_decay"}),
        momentum=frozenset({"square_last", "incremental_average", "coupled_decay", "rate_last"}),
    ),
    weights=Weights(
        order=("velocity", "momentum", "average_gradient"),
        names={"slot": "{variable}/{slot}"},
        late="in place",
    ),
    clipping=_NO_CLIPPING,
    config=("learning_rate", "rho", "epsilon", "weight_decay", "momentum", "centered"),
    rho_complement_in_dtype=False,
    all_none="no step",
    slot_names={
        "velocity": "square_avg",
        "momentum": "momentum_buffer",
        "average_gradient": "grad_avg",
    },
    notes=(
        "torch fuses multiply-add inside an operation; float32 differs from ours in last bits",
        "torch counts steps per parameter; iterations here counts calls",
    ),
)

OPTAX = Dialect(
    name="optax",
    systems="optax.rmsprop (0.2.8 measured)",
    source="optax 0.2.8 _src/alias.py:1935-2046, _src/transform.py:95-235",
    golden_systems=("optax_rmsprop",),
    arguments={
        "learning_rate": Argument(default=0.001, kind="rate", note="required there"),
        "rho": Argument(default=0.9, note="called decay there"),
        "momentum": Argument(none="off"),
        "epsilon": Argument(default=1e-8, note="called eps there"),
        "centered": _CENTERED,
        "name": Argument(kind="name", none="off"),
    },
    form=Form(_INSIDE | {"reciprocal", "rate_on_quotient"}),
    weights=Weights(
        order=("velocity", "average_gradient", "momentum"),
        names={"slot": "{variable}/{slot}"},
        negated=frozenset({"momentum"}),
    ),
    clipping=_NO_CLIPPING,
    config=("learning_rate", "rho", "epsilon", "momentum", "centered"),
    rho_complement_in_dtype=False,
    flushes_subnormals=True,
    schedules=Schedules(
        source="_src/transform.py scale_by_learning_rate, scale_by_schedule",
        functions=True,
        config="value",
    ),
    momentum_slot="if given",
    slot_names={"velocity": "nu", "average_gradient": "mu", "momentum": "trace"},
)
