"""What all graphs share: the float type, epsilon, the learning phase and the names in use."""

import itertools
from dataclasses import dataclass, field
from typing import Any

FLOATS = ("float16", "float32", "float64")


@dataclass
class Session:
    """The settings that old Keras kept per process (`K.floatx()`, `K.epsilon()`, ...)."""

    floatx: str = "float32"
    epsilon: float = 1e-7
    image_format: str = "channels_last"
    learning_phase: Any = None  # None: a placeholder; 0 or 1 after K.set_learning_phase
    phase_expression: Any = None
    uids: dict[str, int] = field(default_factory=dict)
    counts: dict[str, "itertools.count[int]"] = field(default_factory=dict)

    def name(self, prefix: str) -> str:
        """Return `prefix`, `prefix_1`, ...: a name not given before."""
        number = next(self.counts.setdefault(prefix, itertools.count()))
        return f"{prefix}_{number}" if number else prefix


SESSION = Session()
