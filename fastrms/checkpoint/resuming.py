"""From a checkpoint to an optimizer that goes on: hyperparameters, variables, slots, counter.

The functions take any object with the fields of `Checkpoint`, which stands above this module.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.health import suspicions
from fastrms.checkpoint.ordering import layer_order
from fastrms.checkpoint.rules import RULES
from fastrms.checkpoint.scales import given_of, scaled
from fastrms.dialects import DIALECTS, Dialect, get_dialect
from fastrms.errors import ArgumentError, CheckpointError, PortingWarning
from fastrms.exclusion import undecayed
from fastrms.listing import members
from fastrms.stepper import Stepper
from fastrms.variables import Variables, collect, flatten
from fastrms.weights import Core

Array = NDArray[Any]
# Keys of configs that say nothing about the rule.
_IDLE = ("jit_compile", "is_legacy_optimizer", "dialect")
_POSITIONS = re.compile(r"(.*/)?vars/\d+|variable_\d+|\d+")


@dataclass
class Match:
    """The caller's arrays, and the index of each one's variable in the file."""

    tree: Any
    arrays: list[Array]
    indices: list[int]


def matched(checkpoint: Any, variables: Any) -> Match:
    """Pair arrays with the file's variables: by name if both have names, else by order."""
    known = checkpoint.variables
    if isinstance(variables, Mapping):
        leaves = [(str(name), leaf) for name, leaf in flatten(variables)]
        indices = _by_name(known, [name for name, _ in leaves])
        arrays = [leaf for _, leaf in leaves]
    else:
        arrays = [leaf for _, leaf in flatten(list_of(variables))]
        indices = list(range(len(arrays)))
        if len(arrays) != len(known):
            raise CheckpointError(
                f"{len(arrays)} variables were given, the file has {len(known)}: "
                f"{[(v.name, v.shape) for v in known][:8]}. Build the optimizer with the same "
                "variables, or pass variables={name: array} to load a part."
            )
        _warn_sorted(checkpoint)
    for array, index in zip(arrays, indices, strict=True):
        shape = getattr(array, "shape", None)
        if shape != known[index].shape:
            raise CheckpointError(
                f"the variable for {known[index].name!r} has shape {shape}, expected "
                f"{known[index].shape}. Give the variables in the order "
                f"{[v.name for v in known][:8]}, or as a dictionary with these names."
            )
    return Match(variables, arrays, indices)


def _warn_sorted(checkpoint: Any) -> None:
    """Warn where a list in the order of the layers would fit as well as one in the file's."""
    known, order = checkpoint.variables, layer_order(checkpoint) or []
    names, sorted_out = [v.name for v in known], [known[i] for i in order]
    if (
        sorted_out
        and sorted_out != known
        and [v.shape for v in sorted_out] == [v.shape for v in known]
    ):
        warnings.warn(
            f"the list of variables is taken in the file's order {names[:8]}: Keras 1 sorts them "
            "by name, and the order of the layers would fit as well; pass a dictionary by these "
            "names to be safe.",
            PortingWarning,
            stacklevel=5,
        )


def list_of(variables: Any) -> list[Any]:
    """Return variables as a list, or raise what is valid."""
    valid = "a list of arrays, or a (nested) dictionary of them by name"
    return members(variables, CheckpointError, "variables is", valid)


def _by_name(known: list[Any], names: list[str]) -> list[int]:
    """Return which of the file's variables each name means, exactly or by the end of its path."""
    plain = [v.name.partition(":")[0] for v in known]
    same: dict[str, list[int]] = {}
    for i, p in enumerate(plain):
        same.setdefault(p, []).append(i)
    result, missing = [], []
    for name in names:
        wanted = name.partition(":")[0]
        fitting = same.get(wanted) or [i for i, p in enumerate(plain) if p.endswith(f"/{wanted}")]
        if len(fitting) == 1:
            result += fitting
        else:
            missing.append(name)
    if missing == names and len(names) == len(known) and all(map(_POSITIONS.fullmatch, plain)):
        return list(range(len(names)))  # the file has no names, only places
    if missing or len(set(result)) != len(result):
        raise CheckpointError(
            f"the names {missing[:8] or names[:8]} mean no variable, or not one alone, of the "
            f"file's {plain[:8]}; use its names as keys, or pass a list in the file's order."
        )
    return result


def arguments_of(checkpoint: Any, row: Dialect) -> dict[str, Any]:
    """Return constructor arguments from a file's hyperparameters."""
    result: dict[str, Any] = {}
    for key, value in checkpoint.config.items():
        argument = row.arguments.get(key)
        if key in _IDLE or (argument is None and key == "name"):
            continue
        if argument is not None and argument.effect != "used" and not value:
            continue
        if argument is None and key != "decay_offset":
            raise CheckpointError(
                f"the file's hyperparameter {key}={value!r:.60} is unknown to the dialect "
                f"{row.name!r}; valid: {', '.join(row.arguments)}. Pass dialect=... if the file "
                "is of another system."
            )
        result[key] = value
    return result


def row_of(checkpoint: Any) -> Dialect | None:
    """Return a checkpoint's dialect, or None where the file does not tell it."""
    return DIALECTS.get(checkpoint.dialect or "")


def optimizer_of(checkpoint: Any, variables: Any, dialect: Any, hyper: dict[str, Any]) -> Any:
    """Build the optimizer of a checkpoint with its state on the given or its own variables."""
    bare = checkpoint.rule == "none" and not checkpoint.slots and dialect is not None
    rule = "RMSprop" if bare else checkpoint.rule
    if rule not in RULES:
        raise CheckpointError(
            f"the state is that of {rule}, for which there is no rule here; valid: "
            f"{', '.join(RULES)}. It can be inspected, converted and saved."
        )
    if checkpoint.dialect is None and dialect is None:
        raise CheckpointError("the file does not tell its dialect; pass dialect=...")
    wanted = row_of(checkpoint) if dialect is None else get_dialect(dialect)
    if wanted is not row_of(checkpoint) and not bare:
        checkpoint = checkpoint.convert(get_dialect(dialect).name)
    row = get_dialect(dialect if bare else checkpoint.dialect)
    arguments = arguments_of(checkpoint, row)
    hyper = {k: v for k, v in hyper.items() if k not in _IDLE}
    given = given_of(checkpoint, hyper)
    if {"learning_rate", "lr"} & hyper.keys():
        arguments = {k: v for k, v in arguments.items() if k not in ("learning_rate", "lr")}
    if checkpoint.writer.backend == "theano" and row.decay is not None:
        arguments.setdefault("decay_offset", 0)  # Theano reads the counter before it advances
    try:
        optimizer = RULES[rule](**{**arguments, **hyper}, dialect=row)
    except ArgumentError as error:
        if hyper:
            raise
        raise CheckpointError(f"the file's hyperparameters cannot be: {error}") from error
    match = matched(checkpoint, _own(checkpoint) if variables is None else variables)
    optimizer.build(match.tree)
    install(optimizer._core, checkpoint, match.indices, optimizer._core.stepper)
    state = checkpoint.loss_scale
    return optimizer if state is None else scaled(optimizer, state, given)


def _own(checkpoint: Any) -> dict[str, Array]:
    """Return copies of the trained weights in a file, in the order of its layers."""
    missing = [v.name for v in checkpoint.variables if v.name not in checkpoint.weights]
    if missing or not checkpoint.variables:
        raise CheckpointError(
            f"the file holds no weights for the variables {missing[:8]}; pass variables=..., a "
            "list in their order or a dictionary with their names."
        )
    order = layer_order(checkpoint) or range(len(checkpoint.variables))
    names = [checkpoint.variables[i].name for i in order]
    return {name: np.array(checkpoint.weights[name]) for name in names}


def load_into(core: Core, checkpoint: Any, variables: Any) -> None:
    """Load a checkpoint into an optimizer, built or not, all or nothing."""
    row = core.row
    if row_of(checkpoint) is not row:
        checkpoint = checkpoint.convert(row.name)
    if core.stepper is None:
        if variables is None:
            raise CheckpointError("the optimizer has no variables yet; pass variables=...")
        match = matched(checkpoint, variables)
        known = collect(variables)
        stepper = Stepper(row, core.settings, known, undecayed(core.excluded, known))
        stepper.create_slots(list(range(len(known.arrays))))
        if core.scaling is not None:
            stepper.scale_by(*core.scaling)
        install(core, checkpoint, match.indices, stepper)
        core.stepper = stepper
        return
    stepper, known = core.stepper, core.stepper.variables
    if variables is None:
        variables = dict(zip(known.names, known.arrays, strict=True)) if known.named else None
    match = matched(checkpoint, known.arrays if variables is None else variables)
    install(core, checkpoint, match.indices, stepper, _places(known, match.arrays))


def _places(known: Variables, arrays: list[Array]) -> list[int]:
    """Return which of an optimizer's variables arrays are."""
    found = [known.index(array) for array in arrays]
    if None in found:
        raise CheckpointError(
            f"array {found.index(None)} is not a variable of this optimizer, which was built with "
            f"{known.names[:8]}; pass those arrays, or none at all."
        )
    return [i for i in found if i is not None]


def install(
    core: Core, checkpoint: Any, indices: list[int], stepper: Stepper, places: Any = None
) -> None:
    """Check every slot, then write all of them, the counter and the learning rate."""
    places = list(range(len(indices))) if places is None else places
    row, wanted = core.row, set(stepper.shop.slot_names())
    if checkpoint.slots and set(checkpoint.slots) != wanted:
        raise CheckpointError(
            f"the file has the slots {sorted(checkpoint.slots)}, the optimizer {sorted(wanted)}; "
            "they come from momentum, centered, use_ema and gradient_accumulation_steps: pass "
            "those of the run that wrote the file."
        )
    if "squared_average" not in row.form.centered and (bad := list(suspicions(checkpoint))):
        raise CheckpointError(f"{bad[0]} No run can go on from that; nothing was changed.")
    _compare(core, checkpoint)
    fresh = []
    for name, column in checkpoint.slots.items():
        for place, index in zip(places, indices, strict=True):
            if column[index] is not None:
                value = -column[index] if name in row.weights.negated else column[index]
                target = stepper.state.shaped(name, place)
                fresh.append((target, _exact(value, target, checkpoint.variables[index], name)))
    for target, value in fresh:
        target[...] = value
    stepper.calls = checkpoint.iterations or 0
    rate = checkpoint.config.get("learning_rate")
    stored = "learning_rate" in row.weights.order and isinstance(rate, float)
    if stored and not callable(core.settings.learning_rate):
        core.settings.learning_rate = rate


def _exact(value: Array, target: Array, variable: Any, name: str) -> Array:
    """Return a slot in its variable's dtype, or raise where values would be rounded."""
    with np.errstate(over="ignore", under="ignore"):
        cast = value.astype(target.dtype, copy=False)
    if cast is not value and not np.array_equal(cast, value):
        raise CheckpointError(
            f"slot {name!r} of variable {variable.name!r} is {value.dtype} in the file and would "
            f"be rounded to {target.dtype}; use variables of {value.dtype}. Nothing was changed."
        )
    return cast


def _compare(core: Core, checkpoint: Any) -> None:
    """Warn where an optimizer goes on with other hyperparameters than the file's."""
    other = []
    for name, value in checkpoint.config.items():
        own = getattr(core.settings, "learning_rate" if name == "lr" else name, value)
        numbers = isinstance(own, int | float) and isinstance(value, int | float)
        restored = name == "learning_rate" and name in core.row.weights.order
        if name in _IDLE or not numbers or restored:
            continue
        if np.float32(own) != np.float32(value):
            other.append(f"{name}={own!r} (the file has {value!r})")
    if other:
        warnings.warn(
            f"the optimizer goes on with its own {', '.join(other)}; use "
            "fastrms.load(path).optimizer(variables) to go on with the file's.",
            PortingWarning,
            stacklevel=4,
        )
