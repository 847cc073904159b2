"""From an optimizer to a checkpoint."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastrms import weights
from fastrms.checkpoint.document import Checkpoint, Variable, Writer
from fastrms.checkpoint.native import version
from fastrms.checkpoint.resuming import list_of
from fastrms.checkpoint.tables import SLOT_WORDS
from fastrms.errors import CheckpointError
from fastrms.rates import called
from fastrms.schedules import LearningRateSchedule
from fastrms.variables import flatten


def described(core: weights.Core, variables: Any) -> Checkpoint:
    """Return an optimizer's state, with copies of its variables."""
    with core.lock:
        stepper, row = core.stepper, core.row
        names, values = _named(core, variables)
        slots: dict[str, list[Any]] = {}
        order = [name for name in row.weights.order if name in SLOT_WORDS]
        present = {name for name, _ in stepper.state.slots} if stepper is not None else set()
        for name in (n for n in order if n in present and stepper is not None):
            assert stepper is not None
            column: list[Any] = []
            for i in range(len(values)):
                if (name, i) not in stepper.state.slots:
                    column.append(None)
                    continue
                array = np.array(stepper.state.shaped(name, i))
                column.append(-array if name in row.weights.negated else array)
            slots[name] = column
        notes: list[str] = []
        return Checkpoint(
            dialect=row.name,
            writer=Writer("fastrms", version()),
            format="memory",
            config=_config(core, notes),
            iterations=stepper.calls if stepper is not None else core.calls_before_build,
            variables=[
                Variable(n, a.shape, a.dtype.name) for n, a in zip(names, values, strict=True)
            ],
            slots=slots,
            weights={n: np.array(a) for n, a in zip(names, values, strict=True)},
            notes=notes,
        )


def _named(core: weights.Core, variables: Any) -> tuple[list[str], list[Any]]:
    """Return the variables' names, those the caller gives before those of `build`, and arrays."""
    if core.stepper is None:
        if variables is not None:
            raise CheckpointError(
                "the optimizer has no variables yet; call build(variables), or pass none here."
            )
        return [], []
    known = core.stepper.variables
    names = known.names[:]
    if variables is not None:
        leaves = list(flatten(variables if isinstance(variables, Mapping) else list_of(variables)))
        found = [known.index(leaf) for _, leaf in leaves]
        if sorted(i for i in found if i is not None) != list(range(len(names))) or None in found:
            raise CheckpointError(
                f"the variables given are not those of the optimizer, which was built with "
                f"{names[:8]}; pass all of them once, or none."
            )
        for (name, _), index in zip(leaves, found, strict=True):
            if index is not None and name is not None:
                names[index] = name
    return names, known.arrays


def _config(core: weights.Core, notes: list[str]) -> dict[str, Any]:
    """Return the hyperparameters as plain data."""
    config = {k: v for k, v in weights.config(core).items() if k != "dialect"}
    for key, value in config.items():
        if isinstance(value, LearningRateSchedule) or callable(value):
            config[key] = float(called(value))
            notes.append(f"{key} came from a callable; its present value is kept.")
        elif isinstance(value, np.generic):
            config[key] = value.item()
    return config
