"""What all graphs share: the float type, epsilon, the learning phase and the names in use."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOATS = ("float16", "float32", "float64")


@dataclass
class Session:
    """The settings that old Keras kept per process (`K.floatx()`, `K.epsilon()`, ...)."""

    floatx: str = "float32"
    epsilon: float = 1e-7
    image_format: str = "channels_last"
    learning_phase: Any = None  # None: a placeholder; 0 or 1 after K.set_learning_phase
    phase_expression: Any = None
    counts: dict[tuple[str, ...], "itertools.count[int]"] = field(default_factory=dict)

    def number(self, *key: str) -> int:
        """Return how often a number was asked for under a key before."""
        return next(self.counts.setdefault(key, itertools.count()))

    def name(self, prefix: str) -> str:
        """Return `prefix`, `prefix_1`, ...: a name not given before."""
        number = self.number(prefix)
        return f"{prefix}_{number}" if number else prefix


SESSION = Session()


def number_kind(what: str, dtype: Any) -> str:
    """Return the name of a dtype of numbers, or raise with what received it."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if dtype is None or found.kind not in "fiub":
        raise TypeError(
            f"{what} received {dtype!r:.60}; valid: the name of a number's dtype, such as "
            "'float32' or 'int32'."
        )
    return str(found.name)
