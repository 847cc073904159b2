"""Facts about the writers of files, as data: systems, their dialects, and their orders of slots.

Sources: the files of each system in tests/checkpoints, and the classes of keras 1.2.2 to 3.15.1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError


@dataclass(frozen=True)
class System:
    """One row: a version as files spell it, and a key that only this system's config has.

    `typical` is the version that a file written for the dialect names; `prefix` stands before the
    class name in an `.h5`; `extra` are config keys that the class writes beside the row's own.
    """

    versions: str
    dialect: str
    name: str
    typical: str = ""
    key: str = ""
    prefix: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    scaler: str = "LossScaleOptimizer"
    name_order: bool = False  # slots stand in the order of the variables' sorted names
    late: bool = False  # other optimizers' slots are interleaved per variable
    home: str = ""  # where a `.weights.h5` has the groups of the layers
    module: str = ""  # the class's module in the config of a `.keras`
    scaler_module: str = ""


# The first row whose version matches and whose key the config has.
SYSTEMS = (
    System(r"1\.", "keras-1", "Keras", "1.2.2", name_order=True),
    System(r"2\.0\.\d+-tf", "tf-contrib", "tf.contrib.keras", "2.0.6-tf"),
    System(r"2\..*-tf", "tf-keras-v2", "tf.keras", "2.2.4-tf", key="learning_rate"),
    System(r"2\..*-tf", "tf-keras-v1", "tf.keras", "2.2.4-tf"),
    System(r"2\.0\.", "keras-2.0", "Keras", "2.0.8"),
    System(r"2\.[12]\.", "keras-2.2", "Keras", "2.2.4"),
    System(r"2\.3\.", "keras-2.3", "Keras", "2.3.1"),
    System(
        *(r"2\.10\.", "tf-keras-2.10-experimental", "tf.keras", "2.10.0", "jit_compile"),
        extra={"jit_compile": False},
        late=True,
    ),
    System(
        *(
            r"2\.(1[1-9]|[2-9]\d)\.",
            "tf-keras-2.11",
            "tf.keras",
            "2.12.0",
            "jit_compile",
        ),
        prefix="Custom>",
        extra={"jit_compile": False, "is_legacy_optimizer": False},
        scaler="LossScaleOptimizerV3",
        late=True,
        home="/_layer_checkpoint_dependencies",
        module="keras.optimizers.experimental",
        scaler_module="keras.mixed_precision.loss_scale_optimizer",
    ),
    System(r"2\.", "tf-keras-v2", "tf.keras", "2.10.0"),
    System(
        *(r"3\.", "keras-3", "Keras", "3.15.1"),
        late=True,
        home="/layers",
        module="keras.optimizers",
        scaler_module="keras.optimizers",
    ),
)
_BY_DIALECT = {row.dialect: row for row in SYSTEMS}
UNKNOWN = System(r"", "", "unknown")

# Which slots another optimizer's file holds, in order; the last may be missing. Those in one
# tuple are interleaved, variable by variable.
_LATE = {
    "Adam": (("momentum", "velocity"), ("velocity_hat",)),
    "AdamW": (("momentum", "velocity"), ("velocity_hat",)),
    "Nadam": (("momentum", "velocity"),),
    "SGD": (("momentum",),),
    "Adagrad": (("accumulator",),),
}
_EARLY = {
    "Adam": (("m",), ("v",), ("vhat",)),
    "Nadam": (("m",), ("v",)),
    "Adamax": (("m",), ("v",)),
    "SGD": (("momentum",),),
    "Adagrad": (("accumulator",),),
}
# Keras 3's parameters that no gradient reaches, by the ends of their names.
UNTRAINED = (
    "running_mean",
    "running_std",
    "moving_mean",
    "moving_variance",
    "seed_generator_state",
)
SLOT_WORDS = ("velocity", "momentum", "average_gradient", "average", "gradient_accumulator")


def system_of(version: str | None, config: Mapping[str, Any]) -> System:
    """Return the row of a `keras_version` and an optimizer's config."""
    for row in SYSTEMS:
        if version and re.match(row.versions, version) and (not row.key or row.key in config):
            return row
    return UNKNOWN


def slots_of(rule: str, dialect: str | None, late: bool) -> tuple[tuple[str, ...], ...]:
    """Return the groups of slots that an optimizer's file may hold, in order."""
    if rule == "RMSprop":
        order = DIALECTS[dialect or "keras-3"].weights.order
        return tuple((name,) for name in order if name in SLOT_WORDS)
    return (_LATE if late else _EARLY).get(rule, ())


def words_of(dialect: str | None) -> dict[str, str]:
    """Return Keras 3's slot name by the word that a dialect's files use."""
    names = DIALECTS[dialect].slot_names if dialect else {}
    return {word: name for name, word in names.items()} | {word: word for word in SLOT_WORDS}


def present_slots(config: Mapping[str, Any], order: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of a dialect's slots a run with this config has."""
    momentum = config.get("momentum") or 0
    if not isinstance(momentum, int | float):
        raise CheckpointError(f"momentum is {momentum!r:.60}; valid: a number. It is damaged.")
    switches = {
        "velocity": True,
        "momentum": momentum > 0,
        "average_gradient": bool(config.get("centered")),
        "average": bool(config.get("use_ema")),
        "gradient_accumulator": bool(config.get("gradient_accumulation_steps")),
    }
    return tuple(name for name in order if switches.get(name))


def named(dialect: str | None) -> System | None:
    """Return the last row of a dialect, the one that new files are written as."""
    return _BY_DIALECT.get(dialect or "")
