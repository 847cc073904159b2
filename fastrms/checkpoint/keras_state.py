"""From a Keras file's ordered list of optimizer variables to a checkpoint, and back to the list."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.document import Checkpoint, Variable, Writer
from fastrms.checkpoint.keras_own import columns_of, variables_of, writer_of
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tables import (
    SYSTEMS,
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
    name, config = optimizer.get("class_name"), optimizer.get("config")
    if not isinstance(name, str) or not isinstance(config, Mapping):
        raise CheckpointError("the optimizer's class_name or config is missing; it is damaged.")
    if "inner_optimizer" in config:
        rule, inner, _ = _inner(config["inner_optimizer"])
        return rule, inner, {k: v for k, v in config.items() if k != "inner_optimizer"}
    return name.rpartition(">")[2], dict(config), {}


def _scalars(found: Found, system: System, rule: str, config: Any, scaler: Any) -> _Scalars:
    """Take the numbers off the front of the entries."""
    result, entries = _Scalars(), found.entries
    modern = system.dialect == "" or "learning_rate" in DIALECTS[system.dialect].weights.order
    if scaler or found.scaled:
        result.loss_scale = {
            "growth_steps": scaler.get("dynamic_growth_steps"),
            "initial_scale": scaler.get("initial_scale"),
        }
        if modern and len(entries) > 4:
            result.loss_scale |= {"counter": _counter(entries[2]), "scale": float(entries[3].array)}
            del entries[:4]
        else:
            found.notes.append(
                "no loss scale: such files never hold it; it restarts at initial_scale."
            )
    counts = rule not in ("RMSprop", "none") or not system.dialect
    counts = counts or "iterations" in DIALECTS[system.dialect].weights.order
    if entries and counts and entries[0].array.size == 1 and entries[0].dtype != "bfloat16":
        result.iterations = _counter(entries.pop(0))
    rate = config.get("learning_rate")
    if modern and entries and entries[0].array.shape == () and not isinstance(rate, Mapping):
        result.rate = float(entries.pop(0).array)
    return result


def assemble(found: Found, source: Source) -> Checkpoint:
    """Make a checkpoint of what a container holds."""
    own = found.own or {}
    if found.own is not None:
        _rename(found, own)
        found.system = named(own.get("dialect")) or found.system
    rule, config, scaler = _inner(found.optimizer)
    system = found.system or system_of(found.version, config)
    if source.dialect is not None:
        system = replace(named(source.dialect) or system, dialect=source.dialect)
    if rule == "none" and found.entries:
        rule = "RMSprop"
        found.notes.append("no optimizer config: the hyperparameters are not in the file.")
    scalars = _scalars(found, system, rule, config, scaler)
    if scalars.rate is not None and config.get("learning_rate", scalars.rate) != scalars.rate:
        found.notes.append(
            f"the variable learning_rate={scalars.rate!r} wins over the config's "
            f"{config['learning_rate']!r}."
        )
    if scalars.rate is not None:
        config["learning_rate"] = scalars.rate
    if own:
        variables = variables_of(own)
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


def _rename(found: Found, own: Mapping[str, Any]) -> None:
    """Give the weights the names that a file written here keeps apart."""
    names = own.get("weights")
    if not isinstance(names, list) or len(names) != len(found.weights):
        raise CheckpointError("the attribute fastrms and the weights do not fit together.")
    found.weights = [e._replace(name=str(n)) for e, n in zip(found.weights, names, strict=True)]


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
        groups = _guessed(found, groups, source)
    width = sum(len(group) for group in groups)
    if not entries:
        return _known(found, source, None, system), {}
    if not width or len(entries) % width:
        return _by_name(found, system, source, len(entries), width)
    count = len(entries) // width
    variables = _known(found, source, entries[: count * len(groups[0]) : len(groups[0])], system)
    if len(variables) != count:
        return _by_name(found, system, source, len(entries), width)
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
    found: Found, system: System, source: Source, total: int, width: int
) -> tuple[list[Variable], dict[str, list[Array | None]]]:
    """Assign slots by the names of OptimizerV2, where some variables have none, or raise."""
    guess = found.trained[0] if found.trained else []
    variables = source.variables or [Variable(e.name, e.array.shape, e.dtype) for e in guess]
    keys = {v.name.partition(":")[0]: i for i, v in enumerate(variables)}
    words = words_of(system.dialect or None)
    slots: dict[str, list[Array | None]] = {}
    for entry in found.entries:
        match = re.fullmatch(r"(?:.*?/)?RMSprop/(.+)/(\w+?)(?:_\d+)?(?::0)?", entry.name)
        if match is None or match[1] not in keys or match[2] not in words:
            raise CheckpointError(
                f"there are {total} slots for {len(variables)} variables; expected {width} for "
                f"each, and {entry.name!r} names no variable of the file. Slots are missing or "
                "there are too many: the file is damaged."
            )
        column = slots.setdefault(words[match[2]], [None] * len(variables))
        column[keys[match[1]]] = entry.array
    found.notes.append("some variables have no slots: they had no gradient yet.")
    return variables, slots


def _guessed(
    found: Found, groups: tuple[tuple[str, ...], ...], source: Source
) -> tuple[tuple[str, ...], ...]:
    """Guess which slots a file without hyperparameters has, from their number and values."""
    shapes = [entry.array.shape for entry in found.entries]
    if source.variables is not None:
        counts = [len(source.variables)]
    else:
        counts = [len(guess) for guess in found.trained]
        counts += range(len(shapes), 0, -1)
    names = [name for group in groups for name in group]
    for count in filter(None, counts):
        if found.optimizer is None and names and _repeat(shapes, count, 1):
            chosen = _likely(found, names, count, len(shapes) // count)
            if chosen or count == 1 or source.variables is not None:
                return tuple((name,) for name in chosen or _numbered(len(shapes) // count))
            continue
        for k in range(len(groups), 0, -1):
            if _tiled(shapes, groups[:k], count):
                return groups[:k]
        if found.optimizer is not None and _repeat(shapes, count, 1):
            found.notes.append("this optimizer's slots are not known by name: they are numbered.")
            return tuple((name,) for name in _numbered(len(shapes) // count))
    return groups


def _numbered(blocks: int) -> list[str]:
    """Return names for slots that are not known by name."""
    return [f"slot_{i}" for i in range(blocks)]


def _repeat(shapes: list[Any], count: int, width: int) -> bool:
    """Tell whether shapes are blocks of so many, each shape `width` times in a row."""
    block = [shape for shape in shapes[: count * width : width] for _ in range(width)]
    # Adam of Keras 2 writes zeros of shape (1,) where AMSGrad would have its maxima.
    return not len(shapes) % (count * width) and all(
        shape in (block[i % len(block)], (1,)) for i, shape in enumerate(shapes)
    )


def _tiled(shapes: list[Any], groups: tuple[tuple[str, ...], ...], count: int) -> bool:
    """Tell whether shapes are those of groups of slots over so many variables."""
    if len(shapes) != count * sum(len(group) for group in groups):
        return False
    first = 0
    for group in groups:
        block = shapes[first : first + count * len(group)]
        if not _repeat(block, count, len(group)):
            return False
        first += len(block)
    return True


def _likely(found: Found, names: list[str], count: int, blocks: int) -> list[str]:
    """Choose slot names for blocks of arrays, none if no choice can be; note what stays open."""
    from itertools import combinations

    parts = [found.entries[i * count : (i + 1) * count] for i in range(blocks)]
    fitting = [
        choice
        for choice in combinations(names, blocks)
        if "velocity" in choice and _possible(dict(zip(choice, parts, strict=True)), found)
    ]
    if not fitting:
        return []
    if len(fitting) > 1:
        found.notes.append(
            f"the file does not tell which slots it holds: {', '.join(fitting[0])} is one reading, "
            f"{' or '.join(', '.join(other) for other in fitting[1:])} another."
        )
    return list(fitting[0])


def _possible(slots: Mapping[str, Sequence[Entry]], found: Found) -> bool:
    """Tell whether values can be those of these slots."""

    def flat(name: str) -> Array:
        return np.concatenate([np.ravel(e.array).astype(np.float64) for e in slots[name]])

    velocity = flat("velocity")
    if (velocity < 0).any():
        return False
    # Weighted means with weights below 1 in sum: (sum w g)^2 <= sum w g^2.
    slack = velocity * (1 + 1e-5) + 1e-30
    if "average_gradient" in slots and (flat("average_gradient") ** 2 > slack).any():
        return False
    if "average" not in slots or not found.trained:
        return True
    trained = [np.ravel(e.array).astype(np.float64) for e in found.trained[0]]
    weights, average = np.concatenate([*trained, []]), flat("average")
    if weights.shape != average.shape:
        return False
    return bool(np.linalg.norm(weights - average) < 0.7 * np.linalg.norm(weights))


def disassemble(checkpoint: Checkpoint, system: System) -> Iterator[Entry]:
    """Yield a checkpoint's numbers and slots in the order of a system's files, named as there."""
    row = DIALECTS[system.dialect]
    order, names = row.weights.order, row.weights.names
    rule = str(checkpoint.config.get("name") or checkpoint.rule)
    named = {"name": rule, **({} if names else {"plain": ""})}
    counts = "iterations" in order or checkpoint.rule != "RMSprop"
    if checkpoint.loss_scale is not None and "learning_rate" in order:
        yield from _loss_scale(checkpoint)
    if counts and checkpoint.iterations is not None:
        template = names.get("iterations", "{name}/iterations:0")
        count = np.array(checkpoint.iterations, np.int64)
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
    found = own if own.dialect == checkpoint.dialect else named(checkpoint.dialect)
    if found is not None and found is not UNKNOWN:
        return found
    raise CheckpointError(
        f"{what} files are Keras's, and the dialect {checkpoint.dialect!r} is not; valid: "
        f"{', '.join(row.dialect for row in SYSTEMS)}. Use checkpoint.convert(dialect) first."
    )
