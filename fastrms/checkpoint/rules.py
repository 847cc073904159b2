"""Which class carries out which optimizer of the files; the classes enter themselves."""

from typing import Any

# Filled by `fastrms.savable`, so that the checkpoints need not know the optimizers above them.
RULES: dict[str, Any] = {}
SCALERS: list[Any] = []  # the one class that goes around them
