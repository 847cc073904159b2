"""From a Keras file's ordered list of optimizer variables to a checkpoint."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.document import Checkpoint, Variable, Writer
from fastrms.checkpoint.keras_entries import Entry as Entry
from fastrms.checkpoint.keras_entries import Found as Found
from fastrms.checkpoint.keras_guesses import guessed
from fastrms.checkpoint.keras_own import columns_of, config_of, variables_of, writer_of
from fastrms.checkpoint.native import renamed
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tables import (
    UNKNOWN,
    System,
    named,
    present_slots,
    slots_of,
    system_of,
    words_of,
)
from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError

Array = NDArray[Any]


@dataclass
class _Scalars:
    """The numbers that stand before the slots."""

    iterations: int | None = None
    rate: float | None = None
    loss_scale: dict[str, Any] | None = None


def _counter(entry: Entry) -> int:
    """Return a counter's value, or raise."""
    value = float(entry.array) if entry.array.shape == () else -1.0
    if value < 0 or value != np.floor(value) or not np.isfinite(value):
        raise CheckpointError(
            f"{entry.name}, the counter of iterations, is {entry.array.tolist()!r}; valid: one "
            "whole number from 0. The file is damaged."
        )
    return int(entry.array)


def _inner(optimizer: Mapping[str, Any] | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return an optimizer's class name and config, and the config of a loss scaler around it."""
    if optimizer is None:
        return "none", {}, {}
    known = optimizer if isinstance(optimizer, Mapping) else {}
    name, config = known.get("class_name"), known.get("config")
    if not isinstance(name, str) or not isinstance(config, Mapping):
        raise CheckpointError("the optimizer's class_name or config is missing; it is damaged.")
    if "inner_optimizer" in config:
        rule, inner, _ = _inner(config["inner_optimizer"])
        return rule, inner, {k: v for k, v in config.items() if k != "inner_optimizer"}
    return name.rpartition(">")[2], dict(config), {}


def _scalars(found: Found, system: System, rule: str, config: Any, scaler: Any) -> _Scalars:
    """Take the numbers off the front of the entries."""
    result, entries = _Scalars(), found.entries
    modern = system is UNKNOWN or "learning_rate" in DIALECTS[system.dialect].weights.order
    if scaler or found.scaled:
        result.loss_scale = {
            "growth_steps": scaler.get("dynamic_growth_steps"),
            "initial_scale": scaler.get("initial_scale"),
            **({"dynamic": False} if scaler.get("dynamic") is False else {}),
        }
        if modern and len(entries) > 4:
            result.loss_scale |= {"counter": _counter(entries[2]), "scale": float(entries[3].array)}
            del entries[:4]
        else:
            if "dynamic" not in result.loss_scale:
                found.notes.append(
                    "no loss scale: such files never hold it; it restarts at initial_scale."
                )
    counts = rule not in ("RMSprop", "none") or not system.dialect
    counts = counts or "iterations" in DIALECTS[system.dialect].weights.order
    if entries and counts and entries[0].array.size == 1 and entries[0].dtype != "bfloat16":
        count = _counter(entries.pop(0))
        result.iterations = count if (found.own or {}).get("counted", True) else None
    rate = config.get("learning_rate")
    if modern and entries and entries[0].array.shape == () and not isinstance(rate, Mapping):
        result.rate = float(entries.pop(0).array)
    return result


def assemble(found: Found, source: Source) -> Checkpoint:
    """Make a checkpoint of what a container holds."""
    own = _renamed(found)
    rule, config, scaler = _inner(found.optimizer)
    system = found.system or system_of(found.version, config)
    if source.dialect is not None:
        system = replace(named(source.dialect) or system, dialect=source.dialect)
    if rule == "none" and found.entries:
        rule = "RMSprop"
        found.notes.append("no optimizer config: the hyperparameters are not in the file.")
    scalars = _scalars(found, system, rule, config, scaler)
    if scalars.rate is not None:
        if config.get("learning_rate", scalars.rate) != scalars.rate:
            found.notes.append(
                f"the variable learning_rate={scalars.rate!r} wins over the config's "
                f"{config['learning_rate']!r}."
            )
        config["learning_rate"] = scalars.rate
    if own:
        config |= config_of(own)
        variables = renamed(variables_of(own), source.variables)
        slots = columns_of(own, [entry.array for entry in found.entries])
    else:
        variables, slots = _slots(found, system, rule, config, source)
    if scalars.iterations is None:
        found.notes.append(_restart(found, config, bool(slots)))
    if system.name_order and slots:
        found.notes.append("Keras 1 stores slots in the order of the variables' sorted names.")
    return Checkpoint(
        dialect=system.dialect or None,
        writer=writer_of(own) if own else Writer(system.name, found.version, found.backend),
        format=found.format,
        config=config,
        iterations=scalars.iterations,
        variables=variables,
        slots=slots,
        loss_scale=scalars.loss_scale,
        weights={entry.name: entry.array for entry in found.weights},
        notes=found.notes,
        rule=rule,
    )


def _renamed(found: Found) -> dict[str, Any]:
    """Give weights and system the names that a file written here keeps apart; return the rest."""
    own = found.own
    if own is None:
        return {}
    found.system = named(own.get("dialect")) or found.system
    names = own.get("weights")
    if not isinstance(names, list) or len(names) != len(found.weights):
        raise CheckpointError("the attribute fastrms and the weights do not fit together.")
    found.weights = [e._replace(name=str(n)) for e, n in zip(found.weights, names, strict=True)]
    return own


def _restart(found: Found, config: Mapping[str, Any], has_slots: bool) -> str:
    """Say what a missing counter means."""
    if not has_slots:
        return "no optimizer state: slots and iterations start anew."
    return "no iterations: " + (
        f"the decay of this optimizer ({config['decay']!r}) restarts at 0."
        if config.get("decay")
        else "they restart at 0."
    )


def _slots(
    found: Found, system: System, rule: str, config: Any, source: Source
) -> tuple[list[Variable], dict[str, list[Array | None]]]:
    """Return the variables, and the entries as slots over them."""
    entries = found.entries
    groups = slots_of(rule, system.dialect, system.late)
    if rule == "RMSprop" and config.get("rho") is not None:
        order = present_slots(config, tuple(name for group in groups for name in group))
        groups = tuple((name,) for name in order)
    elif entries:
        groups = guessed(found, groups, source)
    if not entries:
        return _known(found, source, None, system), {}
    width = sum(len(group) for group in groups)
    expected = width * len(found.trained[0]) if found.trained else 0
    if len(entries) < expected and (partly := _by_name(found, system, source)):
        return partly
    if not width or len(entries) % width:
        raise CheckpointError(
            f"there are {len(entries)} slots; expected {width} for each variable "
            f"({', '.join(name for group in groups for name in group)}). Slots are missing or "
            "there are too many: the file is damaged."
        )
    count = len(entries) // width
    variables = _known(found, source, entries[: count * len(groups[0]) : len(groups[0])], system)
    slots: dict[str, list[Array | None]] = {}
    first = 0
    for group in groups:
        for k, name in enumerate(group):
            part = entries[first + k : first + count * len(group) : len(group)]
            slots[name] = [entry.array for entry in part]
        first += count * len(group)
    return variables, slots


def _known(
    found: Found, source: Source, block: Sequence[Entry] | None, system: System
) -> list[Variable]:
    """Return the variables that fit a block of slots: the caller's, or the file's weights."""
    shapes = None if block is None else [entry.array.shape for entry in block]
    if source.variables is not None:
        if shapes is not None and [v.shape for v in source.variables] != shapes:
            raise CheckpointError(
                f"the variables given have the shapes {[v.shape for v in source.variables][:8]}, "
                f"but the slots {shapes[:8]}; give them in the optimizer's order."
            )
        return source.variables
    for guess in found.trained:
        ordered = sorted(guess, key=lambda e: e.name) if system.name_order else guess
        if shapes is None or [entry.array.shape for entry in ordered] == shapes:
            return [Variable(e.name, e.array.shape, e.dtype) for e in ordered]
    if block is None:
        return []
    sizes = sorted(shapes or [])
    if found.trained and all(sorted(e.array.shape for e in g) != sizes for g in found.trained):
        raise CheckpointError(
            f"the slots have the shapes {(shapes or [])[:8]}, which are not those of the trained "
            f"weights {[e.array.shape for e in found.trained[0]][:8]}: a slot is missing, too many "
            "or damaged. If the model trains other weights, name them with variables=[...]."
        )
    found.notes.append(
        "the file does not tell the variables' names: they are numbered in the optimizer's order."
    )
    return [Variable(f"variable_{i}", e.array.shape, e.dtype) for i, e in enumerate(block)]


def _by_name(
    found: Found, system: System, source: Source
) -> tuple[list[Variable], dict[str, list[Array | None]]] | None:
    """Assign slots by the names of OptimizerV2, where a variable without gradients has none."""
    guess = found.trained[0] if found.trained else []
    variables = source.variables or [Variable(e.name, e.array.shape, e.dtype) for e in guess]
    keys = {v.name.partition(":")[0]: i for i, v in enumerate(variables)}
    words = words_of(system.dialect or None)
    slots: dict[str, list[Array | None]] = {}
    for entry in found.entries:
        match = re.fullmatch(r"(?:.*?/)?RMSprop/(.+)/(\w+?)(?:_\d+)?(?::0)?", entry.name)
        if match is None or match[1] not in keys or match[2] not in words:
            return None
        column = slots.setdefault(words[match[2]], [None] * len(variables))
        column[keys[match[1]]] = entry.array
    found.notes.append("some variables have no slots: they had no gradient yet.")
    return variables, slots
