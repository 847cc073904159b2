"""What in a state is no state of a run in good health."""

import math
from collections.abc import Iterator
from typing import Any


def suspicions(checkpoint: Any) -> Iterator[str]:
    """Name slots that hold values which no run in good health has."""
    for slot, arrays in checkpoint.slots.items():
        for variable, array in zip(checkpoint.variables, arrays, strict=True):
            if array is None or not array.size:
                continue
            low, high = float(array.min()), float(array.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                yield f"slot {slot!r} of variable {variable.name!r} holds NaN or infinity."
            elif low < 0 and slot == "velocity":
                yield f"slot {slot!r} of variable {variable.name!r} holds negative mean squares."
