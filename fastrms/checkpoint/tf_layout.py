"""Where in a TensorFlow checkpoint each part of an optimizer lies, and reading it from there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastrms.checkpoint.bundle import Bundle, OldFile
from fastrms.checkpoint.document import Checkpoint, Variable, Writer
from fastrms.checkpoint.registry import Source
from fastrms.errors import CheckpointError

File = Bundle | OldFile


@dataclass
class Layout:
    """The keys of one optimizer's parts; `slots` has None where a variable has no slot."""

    rule: str = "RMSprop"
    dialect: str | None = None
    system: str = "TensorFlow"
    iterations: str | None = None
    hyper: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    slots: dict[str, list[str | None]] = field(default_factory=dict)
    loss_scale: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def variable(file: File, name: str, key: str) -> Variable:
    """Return what the file says about a variable."""
    return Variable(name, file.entry(key).shape, file.dtype(key))


def checkpoint_of(file: File, layout: Layout, source: Source) -> Checkpoint:
    """Read the values of a layout.

    Parameters
    ----------
    file : Bundle or OldFile
        The opened checkpoint.
    layout : Layout
        Where things lie.
    source : Source
        What the caller knows.

    Raises
    ------
    CheckpointError
        Something is missing or damaged.
    """
    notes = list(layout.notes)
    count = None if layout.iterations is None else int(scalar(file, layout.iterations))
    if count is None:
        notes.append("no iterations: what depends on the step counter restarts at 0.")
    config = {name: scalar(file, key) for name, key in layout.hyper.items()} | layout.config
    unread = [name for name, key in layout.weights.items() if file.dtype(key)[:4] == "type"]
    if unread:
        notes.append(f"not read, for they are of unusual types: {unread[:5]}.")
    weights = {n: file[k] for n, k in layout.weights.items() if n not in unread}
    return Checkpoint(
        dialect=source.dialect or layout.dialect,
        writer=Writer(layout.system, None, "tensorflow"),
        format="tensorflow",
        config=config,
        iterations=count,
        variables=layout.variables,
        slots={
            slot: [None if key is None else file[key] for key in keys]
            for slot, keys in layout.slots.items()
        },
        loss_scale={n: scalar(file, k) for n, k in layout.loss_scale.items()} or None,
        weights=weights,
        notes=notes,
        rule=layout.rule,
    )


def scalar(file: File, key: str) -> Any:
    """Return a tensor of one number as a Python number; whole ones of any dtype as int."""
    value = file[key]
    if value.size != 1 or value.dtype.kind not in "fiub":
        raise CheckpointError(f"{key!r} has shape {value.shape}, not one number; it is damaged.")
    if key.endswith(("/iter", "iterations")) and not np.isfinite(value).all():
        raise CheckpointError(f"{key!r} is {value}, not a count; it is damaged.")
    return value.reshape(()).item()


def arranged(layout: Layout, given: list[Variable] | None) -> Layout:
    """Put variables in the order that the caller names, or give them the caller's names.

    Parameters
    ----------
    layout : Layout
        What the file says.
    given : list of Variable or None
        What the caller says.

    Raises
    ------
    CheckpointError
        The two do not fit.
    """
    if not given:
        return layout
    known = [v.name for v in layout.variables]
    names = [v.name for v in given]
    plain = [[name.removesuffix(":0") for name in n] for n in (names, known)]
    by_name = set(plain[0]) == set(plain[1])
    order = [plain[1].index(name) for name in plain[0]] if by_name else list(range(len(known)))
    shapes = [layout.variables[i].shape for i in order]
    if shapes != [tuple(v.shape) for v in given]:
        raise CheckpointError(
            f"the variables given have the shapes {[v.shape for v in given][:8]}, those of the "
            f"file {shapes[:8]} ({known[:8]}); give them in the optimizer's order, or by name."
        )
    layout.variables = [
        v._replace(name=n) for v, n in zip((layout.variables[i] for i in order), names, strict=True)
    ]
    layout.slots = {slot: [keys[i] for i in order] for slot, keys in layout.slots.items()}
    return layout


def unique(names: list[str], keys: list[str]) -> list[str]:
    """Return names, or, where one stands twice, the paths of the keys."""
    if len(set(names)) == len(names) and all(names):
        return names
    return [key.split("/.ATTRIBUTES/")[0] for key in keys]


def overlay(file: File, layout: Layout, checkpoint: Checkpoint) -> dict[str, tuple[str, Any]]:
    """Return a file's tensors with a checkpoint's values in the places of its own.

    Parameters
    ----------
    file : Bundle or OldFile
        The template.
    layout : Layout
        Where its parts lie.
    checkpoint : Checkpoint
        The values to put there.

    Raises
    ------
    CheckpointError
        The template has other variables or slots.
    """
    expected = [v.shape for v in layout.variables]
    found = [v.shape for v in checkpoint.variables]
    if expected != found or set(layout.slots) != set(checkpoint.slots):
        raise CheckpointError(
            f"the template has slots {sorted(layout.slots)} for shapes {expected[:8]}, the "
            f"checkpoint {sorted(checkpoint.slots)} for {found[:8]}; use a template of this model."
        )
    values: dict[str, Any] = {}
    for slot, keys in layout.slots.items():
        for key, array in zip(keys, checkpoint.slots[slot], strict=True):
            if (key is None) != (array is None):
                raise CheckpointError(f"slot {slot!r} exists on one side only, at {key!r}.")
            if key is not None:
                values[key] = array
    if layout.iterations is not None and checkpoint.iterations is not None:
        values[layout.iterations] = checkpoint.iterations
    renamed = {"lr": "learning_rate"}
    config = {renamed.get(k, k): v for k, v in checkpoint.config.items()}
    for name, key in layout.hyper.items():
        given = config.get(renamed.get(name, name))
        if isinstance(given, int | float) and not isinstance(given, bool):
            values[key] = given
    for name, key in layout.loss_scale.items():
        if checkpoint.loss_scale and name in checkpoint.loss_scale:
            values[key] = checkpoint.loss_scale[name]
    return {key: _typed(file, key, values.get(key)) for key in file}


def _typed(file: File, key: str, value: Any) -> tuple[str, Any]:
    """Return a tensor's dtype and its value, a new one in the old dtype."""
    dtype = file.dtype(key)
    if value is None or dtype == "string":
        kept = file[key]
        return dtype, kept[()] if dtype == "string" else kept
    kind = file[key].dtype
    return dtype, np.asarray(value).astype(kind)


def plain_config(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a configuration, `lr` under its newer name."""
    numbers = {"learning_rate" if k == "lr" else k: v for k, v in config.items()}
    return {
        k: float(v)
        for k, v in numbers.items()
        if isinstance(v, int | float) and not isinstance(v, bool)
    }
