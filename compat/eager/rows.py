"""SGD and Adam as rows: a generation's RMSprop row with other arguments and slots."""

from collections.abc import Mapping

from fastrms.dialects import DIALECTS, Argument, Dialect

_OWN = ("rho", "momentum", "epsilon", "centered")
_SHARE = Argument(default=0.0, low=0.0, high=1.0, note="momentum lies between 0 and 1")


def _derived(
    row: Dialect, kind: str, arguments: Mapping[str, Argument], slots: tuple[str, ...]
) -> Dialect:
    """Return the row of another optimizer of the same system."""
    kept = {k: v for k, v in row.arguments.items() if k not in _OWN}
    if "ema_overwrite_frequency" in kept:  # 100 is RMSprop's alone (keras 2.12.0 sgd.py:104)
        kept["ema_overwrite_frequency"] = kept["ema_overwrite_frequency"]._replace(default=None)
    if "name" in kept:
        kept["name"] = kept["name"]._replace(default=kind)
    scalars = tuple(name for name in row.weights.order if name == "iterations")
    average = tuple(name for name in row.weights.order if name == "average")
    used = tuple(k for k, v in arguments.items() if v.effect == "used")
    config = tuple(k for k in row.config if k not in (*_OWN, "learning_rate", "decay"))
    rates = tuple(k for k in row.config if k in ("learning_rate", "decay"))
    own = tuple(k for k in used if k != "learning_rate")
    return row._replace(
        name=f"{row.name} {kind}",
        arguments={**kept, **arguments},
        weights=row.weights._replace(
            order=(*scalars, *average, *slots),
            late="appended",
            optional_iterations=False,
        ),
        config=(*config, *rates, *own),
        # tf.cast of a Python number goes through float32 (gradient_descent.py:141, sgd.py:159).
        float32_first=row.float32_first | {"momentum", "beta_1", "beta_2"},
        slot_names={},
        default_name=kind,
    )


def sgd(row: Dialect, slot: str) -> Dialect:
    """Return the row of a generation's SGD; `slot` is what it calls its momentum."""
    arguments = {
        "learning_rate": row.arguments["learning_rate"]._replace(default=0.01),
        "momentum": _SHARE,
        "nesterov": Argument(default=False, kind="bool"),
    }
    return _derived(row, "SGD", arguments, (slot,))


def adam(row: Dialect) -> Dialect:
    """Return the row of a generation's Adam."""
    arguments = {
        "learning_rate": row.arguments["learning_rate"],
        "beta_1": Argument(default=0.9),
        "beta_2": Argument(default=0.999),
        "epsilon": row.arguments["epsilon"],
        "amsgrad": Argument(default=False, kind="bool"),
    }
    return _derived(row, "Adam", arguments, ("m", "v", "vhat"))


def own(row: Dialect) -> Dialect:
    """Return the row of a class that a user derives from a generation's `Optimizer`."""
    found = _derived(row, "Optimizer", {"learning_rate": row.arguments["learning_rate"]}, ())
    return found._replace(config=tuple(k for k in found.config if k not in _RATES))


_RATES = ("learning_rate", "decay")
# The order of each class's own arguments, the same in all generations.
RMSPROP = ("learning_rate", "rho", "momentum", "epsilon", "centered")
SGD_ORDER = ("learning_rate", "momentum", "nesterov")
ADAM = ("learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad")
_ARGUMENT = Argument(none="off", effect="ignored", note="tf.keras 2.10's new classes ignored it")
V2 = DIALECTS["tf-keras-v2"]
LATE = DIALECTS["tf-keras-2.11"]
_EXPERIMENTAL = DIALECTS["tf-keras-2.10-experimental"]
EXPERIMENTAL = _EXPERIMENTAL._replace(
    arguments={
        **_EXPERIMENTAL.arguments,
        "gradient_transformers": _ARGUMENT,
        "gradient_aggregator": _ARGUMENT,
    },
)
_SGD_2_10 = sgd(EXPERIMENTAL, "m")
# It stands in the signature without a use (keras 2.10.0 optimizer_experimental/sgd.py:98).
_UNUSED = Argument(none="off", effect="ignored", note="SGD never used it")
EXPERIMENTAL_SGD = _SGD_2_10._replace(arguments={**_SGD_2_10.arguments, "amsgrad": _UNUSED})
