"""What Keras's containers are made of: entries, in the order in which a system writes them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.document import Checkpoint, Variable
from fastrms.checkpoint.tables import SYSTEMS, UNKNOWN, System, named, slots_of, system_of
from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError

Array = NDArray[Any]


class Entry(NamedTuple):
    """One array of a file: its name there, its values, and its dtype ("bfloat16" too)."""

    name: str
    array: Array
    dtype: str


@dataclass
class Found:
    """What a Keras container holds, before anything is made of it.

    `trained` lists which weights the optimizer may have trained, best guess first.
    """

    format: str
    entries: list[Entry]
    optimizer: Mapping[str, Any] | None = None
    version: str | None = None
    backend: str | None = None
    weights: list[Entry] = field(default_factory=list)
    trained: list[list[Entry]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    system: System | None = None
    scaled: bool = False
    own: dict[str, Any] | None = None


def disassemble(checkpoint: Checkpoint, system: System) -> Iterator[Entry]:
    """Yield a checkpoint's numbers and slots in the order of a system's files, named as there."""
    row = DIALECTS[system.dialect]
    order, names = row.weights.order, row.weights.names
    rule = str(checkpoint.config.get("name") or checkpoint.rule)
    named = {"name": rule, **({} if names else {"plain": ""})}
    counts = "iterations" in order or checkpoint.rule != "RMSprop"
    if checkpoint.loss_scale is not None and has_scale(system):
        yield from _loss_scale(checkpoint)
    if counts and (checkpoint.iterations is not None or checkpoint.slots):
        # Without a counter the real systems take the next number for it, or start anew.
        template = names.get("iterations", "{name}/iterations:0")
        count = np.array(checkpoint.iterations or 0, np.int64)
        yield Entry(template.format(**named), count, "int64")
    rate = checkpoint.config.get("learning_rate")
    if "learning_rate" in order and isinstance(rate, int | float):
        template = names.get("learning_rate", "learning_rate")
        yield Entry(template.format(**named), np.array(rate, np.float32), "float32")
    for group in written(checkpoint, system):
        for i, variable in enumerate(checkpoint.variables):
            for slot in group:
                array = checkpoint.slots[slot][i]
                if array is not None:
                    yield Entry(_name_of(checkpoint, system, slot, i), array, _of(array, variable))


def has_scale(system: System) -> bool:
    """Tell whether a system's files hold a loss scale, before the optimizer's own variables."""
    return "learning_rate" in DIALECTS[system.dialect].weights.order


def _of(array: Array, variable: Variable) -> str:
    """Return the dtype to write a slot in."""
    return variable.dtype if variable.dtype == "bfloat16" else array.dtype.name


def written(checkpoint: Checkpoint, system: System) -> Iterator[tuple[str, ...]]:
    """Yield the groups of slots that a checkpoint has, in a system's order."""
    left = set(checkpoint.slots)
    for group in slots_of(checkpoint.rule, system.dialect, system.late):
        if set(group) <= left:
            yield group
            left -= set(group)
    yield from ((name,) for name in checkpoint.slots if name in left)


def _name_of(checkpoint: Checkpoint, system: System, slot: str, index: int) -> str:
    """Return a slot's name in a file; unusual names of variables give way to numbers."""
    row = DIALECTS[system.dialect]
    variable = checkpoint.variables[index].name.removesuffix(":0")
    if not re.fullmatch(r"[\w-]+(/[\w-]+)*", variable):
        variable = f"variable_{index}"
    template = row.weights.names.get("slot", "training/{name}/{variable}/{slot}:0")
    word = row.slot_names.get(slot, slot)
    name = str(checkpoint.config.get("name") or checkpoint.rule)
    return template.format(name=name, variable=variable, slot=word)


def _loss_scale(checkpoint: Checkpoint) -> Iterator[Entry]:
    """Yield what Keras 3's LossScaleOptimizer keeps before its inner optimizer."""
    state = checkpoint.loss_scale or {}
    prefix = "loss_scale_optimizer"
    yield Entry(f"{prefix}/iteration", np.array(0, np.int64), "int64")
    yield Entry(f"{prefix}/learning_rate", np.array(0, np.float32), "float32")
    yield Entry(f"{prefix}/step_counter", np.array(state.get("counter") or 0, np.int64), "int64")
    scale = state.get("scale") or state.get("initial_scale") or 2.0**15
    yield Entry(f"{prefix}/dynamic_scale", np.array(scale, np.float32), "float32")


def require_system(checkpoint: Checkpoint, what: str) -> System:
    """Return the system that reads a dialect's files, or raise where there is none."""
    own = system_of(checkpoint.writer.version, checkpoint.config)
    same = DIALECTS.get(own.dialect) is DIALECTS.get(checkpoint.dialect or "")
    found = own if same else named(checkpoint.dialect)
    if found is not None and found is not UNKNOWN:
        return found
    raise CheckpointError(
        f"{what} files are Keras's, and the dialect {checkpoint.dialect!r} is not; valid: "
        f"{', '.join(row.dialect for row in SYSTEMS)}. Use checkpoint.convert(dialect) first."
    )


def lost_of(checkpoint: Checkpoint, system: System) -> list[str]:
    """Name what no file of a system can hold."""
    order = DIALECTS[system.dialect].weights.order
    found = []
    if checkpoint.loss_scale and not has_scale(system):
        kept = {k: v for k, v in checkpoint.loss_scale.items() if k in ("scale", "counter")}
        if any(v is not None for v in kept.values()):
            found.append(f"the loss scale {kept}: {system.name}'s .h5 has no place for it")
    counts = "iterations" in order or checkpoint.rule != "RMSprop"
    if not counts and checkpoint.iterations:
        found.append(
            f"iterations={checkpoint.iterations}: the .h5 of {system.dialect} has no counter"
        )
    return found


# Keras has no such hyperparameters: the class, or the backend it ran on, decides.
OURS = ("decay_offset", "dialect")


def config_of(checkpoint: Checkpoint, system: System) -> dict[str, Any]:
    """Return hyperparameters with the keys that the system's class wants beside them."""
    theirs = {k: v for k, v in checkpoint.config.items() if k not in OURS}
    return {**system.extra, **theirs} if theirs else {}


def scaler_config(checkpoint: Checkpoint, inner: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a LossScaleOptimizer around an optimizer's."""
    state = checkpoint.loss_scale or {}
    initial, growth = state.get("initial_scale"), state.get("growth_steps")
    fixed = state.get("dynamic") is False
    return {
        "inner_optimizer": inner,
        **({"dynamic": False} if fixed else {}),
        "initial_scale": 2.0**15 if initial is None else initial,
        "dynamic_growth_steps": 2000 if growth is None and not fixed else growth,
    }
