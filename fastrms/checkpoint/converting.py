"""A checkpoint re-expressed for another dialect: exact where it can be, and told where not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastrms.checkpoint.ordering import ordered
from fastrms.checkpoint.tables import SLOT_WORDS, present_slots
from fastrms.dialects import Dialect, get_dialect
from fastrms.errors import CheckpointError
from fastrms.schedules import deserialize

_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
MARK = "converted: "


def converted(checkpoint: Any, dialect: str, lossy: bool) -> Any:
    """Return a checkpoint in the terms of another dialect, its notes saying what will differ."""
    if checkpoint.rule != "RMSprop":
        raise CheckpointError(
            f"the state is that of {checkpoint.rule}: only RMSprop's can be converted between "
            "dialects. It can be saved in another container of its own system."
        )
    if checkpoint.dialect is None:
        raise CheckpointError("the file does not tell its dialect; load it with dialect=...")
    old, new = get_dialect(checkpoint.dialect), get_dialect(dialect)
    if old.name == new.name:
        return checkpoint
    values = _values(checkpoint, old)
    report: list[str] = []
    checkpoint = ordered(checkpoint, new.name, report)
    loss_scale = _loss_scale(checkpoint.loss_scale, old, new, report, lossy)
    rates = _rates(checkpoint, values, old, new, report, lossy)
    slots = _slots(checkpoint, values, (old, new), report, lossy)
    _scale_momentum(slots, values, (old, new), report, lossy)
    for name in old.weights.negated ^ new.weights.negated:
        if name in slots and name in checkpoint.slots:  # zeros that were added have no sign
            slots[name] = [None if a is None else -a for a in slots[name]]
    share, argument = values.get("momentum"), new.arguments.get("momentum")
    if argument and not share and (share is None or "momentum" not in slots):
        rates["momentum"] = argument.default  # no momentum is None to one dialect, 0 to others
    config = _config({**values, **rates}, new, checkpoint, report, lossy)
    report += _differences(values, old, new)
    notes = [note for note in checkpoint.notes if not note.startswith(MARK)]
    return replace(
        checkpoint,
        dialect=new.name,
        config=config,
        slots=slots,
        loss_scale=loss_scale,
        notes=notes + [f"{MARK}{old.name} to {new.name}: {sentence}" for sentence in report],
    )


def _values(checkpoint: Any, row: Dialect) -> dict[str, Any]:
    """Return every hyperparameter by Keras 3's name, those left out from the row."""
    values = {k: a.default for k, a in row.arguments.items() if a.effect == "used" and k != "lr"}
    for key, value in checkpoint.config.items():
        values["learning_rate" if key == "lr" else key] = value
    return values


def _refused(problem: str, lossy: bool, report: list[str]) -> None:
    """Raise with a loss, or report it where losses are allowed."""
    if not lossy:
        raise CheckpointError(f"{problem}; lossy=True drops it. Nothing was converted.")
    report.append(f"dropped: {problem}.")


def _slots(
    checkpoint: Any,
    values: Mapping[str, Any],
    rows: tuple[Dialect, Dialect],
    report: list[str],
    lossy: bool,
) -> dict[str, Any]:
    """Return the slots that the new dialect has, in its order."""
    old, new = rows
    order = tuple(name for name in new.weights.order if name in SLOT_WORDS)
    has = set(checkpoint.slots)
    if not has:
        return {}
    for name in sorted(has - set(present_slots(_acting(values, new), order))):
        if name in order and new.momentum_slot == "always" and name == "momentum":
            continue
        idle = name == "momentum" and not values.get("momentum")
        if idle and old.momentum_slot == "always" and not _bits(checkpoint.slots[name]):
            report.append("the momentum slot of zeros is left out: with momentum=0 it is idle.")
        else:
            why = "with momentum=0, where it is idle" if idle else "with these hyperparameters"
            _refused(f"{new.name} has no slot {name!r} ({why})", lossy, report)
        has.discard(name)
    slots = {name: list(checkpoint.slots[name]) for name in order if name in has}
    if new.momentum_slot == "always" and "momentum" not in slots:
        zeros = [None if a is None else np.zeros_like(a) for a in slots["velocity"]]
        slots["momentum"] = zeros
        report.append("a momentum slot of zeros was added, as the system always has one.")
    return {name: slots[name] for name in order if name in slots}


def _bits(column: Sequence[Any]) -> bool:
    """Tell whether any bit of a slot is set."""
    return any(a is not None and a.tobytes().strip(b"\0") for a in column)


def _loss_scale(state: Any, old: Dialect, new: Dialect, report: list[str], lossy: bool) -> Any:
    """Return the state of a loss scale, if the new dialect has such."""
    if state is None:
        return None
    if new.loss_scale is None:
        _refused(f"{new.name} has no loss scale ({state})", lossy, report)
        return None
    if state.get("dynamic") is False and not new.loss_scale.fixed:
        _refused(f"{new.name} has no loss scale that stays (dynamic=False)", lossy, report)
        return {k: v for k, v in state.items() if k != "dynamic"}
    if old.loss_scale != new.loss_scale:
        report.append("a step that the loss scale skips counts otherwise, or its floor differs.")
    return state


def _acting(values: Mapping[str, Any], new: Dialect) -> dict[str, Any]:
    """Return the hyperparameters that the new dialect knows."""
    known = {k for k, a in new.arguments.items() if a.effect == "used"}
    return {k: v for k, v in values.items() if k in known}


def _scale_momentum(
    slots: dict[str, Any],
    values: Mapping[str, Any],
    rows: tuple[Dialect, Dialect],
    report: list[str],
    lossy: bool,
) -> None:
    """Multiply the momentum by the learning rate, or divide, where only one dialect holds it."""
    if "momentum" not in slots or not values.get("momentum"):
        return
    centered = bool(values.get("centered"))
    outside = ["rate_last" in row.form.choices(True, centered) for row in rows]
    if outside[0] == outside[1]:
        return
    rate = values.get("learning_rate")
    if not lossy or not isinstance(rate, int | float) or rate == 0:
        raise CheckpointError(
            f"the momentum of {rows[0].name} {'leaves out' if outside[0] else 'includes'} the "
            f"learning rate ({rate!r}), that of {rows[1].name} does not: that needs a rounding "
            f"{'multiplication' if outside[0] else 'division'}; valid with a number and lossy=True."
        )
    for i, array in enumerate(slots["momentum"]):
        if array is not None:
            factor = array.dtype.type(rate)
            slots["momentum"][i] = array * factor if outside[0] else array / factor
    report.append(f"the momentum was scaled by the learning rate {rate!r}, which rounds.")


def _rates(
    checkpoint: Any,
    values: Mapping[str, Any],
    old: Dialect,
    new: Dialect,
    report: list[str],
    lossy: bool,
) -> dict[str, Any]:
    """Return learning rate and decay as the new dialect takes them."""
    rate, decay = values.get("learning_rate"), values.get("decay") or 0.0
    takes_decay = "decay" in new.arguments and new.arguments["decay"].effect == "used"
    if isinstance(rate, Mapping) and (takes_decay or new.schedules is None):
        inner = rate.get("config")
        inner = inner if isinstance(inner, Mapping) else {}
        inverse = rate.get("class_name") == "InverseTimeDecay" and inner.get("decay_steps") == 1
        if takes_decay and inverse and not inner.get("staircase"):
            report.append("the schedule InverseTimeDecay is written as decay.")
            return {"learning_rate": inner["initial_learning_rate"], "decay": inner["decay_rate"]}
        if new.schedules is not None:
            return {}
        _refused(f"{new.name} has no schedules ({rate.get('class_name')})", lossy, report)
        return {"learning_rate": float(deserialize(rate)(checkpoint.iterations or 0))}
    if decay and not takes_decay:
        if new.schedules is None or not isinstance(rate, int | float):
            _refused(f"{new.name} has no decay ({decay!r}) and no schedule", lossy, report)
            return {}
        report.append(
            "decay is written as the schedule InverseTimeDecay, read at the iterations before "
            "the step; the last bits may differ."
        )
        config = {
            "initial_learning_rate": rate,
            "decay_steps": 1,
            "decay_rate": decay,
            "staircase": False,
        }
        return {"learning_rate": _schedule(config, new)}
    if decay and (old.decay != new.decay or "decay_offset" in values):
        report.append("decay reads the iterations elsewhere (before or after the step) or rounds.")
    return {}


def _schedule(config: dict[str, Any], new: Dialect) -> dict[str, Any]:
    """Return the serialized form of an InverseTimeDecay in the new dialect's spelling."""
    full = new.schedules is not None and new.schedules.config == "module and class"
    name = {"name": "InverseTimeDecay" if full else None}
    found: dict[str, Any] = {"class_name": "InverseTimeDecay", "config": {**config, **name}}
    if full:
        found = {"module": "keras.optimizers.schedules", **found, "registered_name": None}
    return found


def _config(
    values: Mapping[str, Any], new: Dialect, checkpoint: Any, report: list[str], lossy: bool
) -> dict[str, Any]:
    """Return hyperparameters in the keys and order of the new dialect's files."""
    known = _acting(values, new)
    for key, value in values.items():
        plain = value in (None, False, 0, 0.0) or isinstance(value, Mapping)
        has_default = key in new.arguments and value == new.arguments[key].default
        idle = key in ("name", "learning_rate", "decay", "jit_compile", "is_legacy_optimizer")
        idle = idle or key == "decay_offset"  # `_rates` reports it where there is a decay
        idle = idle or (key.startswith("ema_") and not values.get("use_ema"))
        if key not in known and not plain and not idle and not has_default:
            _refused(f"{new.name} has no {key} ({value!r})", lossy, report)
    result = {}
    for key in new.config:
        name = "learning_rate" if key == "lr" else key.removeprefix("?")
        argument = new.arguments.get(name)
        value = known.get(name, argument.default if argument is not None else None)
        if name == "name":
            value = new.default_name
        if not (key.startswith("?") and value is None):
            result[key.removeprefix("?")] = value
    return result


def _differences(values: Mapping[str, Any], old: Dialect, new: Dialect) -> list[str]:
    """Say what the same state will do otherwise from now on."""
    has_momentum, centered = bool(values.get("momentum")), bool(values.get("centered"))
    forms = [row.form.choices(has_momentum, centered) for row in (old, new)]
    inside = ["inside" if "epsilon_inside" in form else "outside" for form in forms]
    found = []
    if inside[0] != inside[1]:
        found.append(f"epsilon stands {inside[1]} the square root, no longer {inside[0]}.")
    if forms[0] - {"epsilon_inside"} != forms[1] - {"epsilon_inside"}:
        found.append("the update is computed in another order: the last bits differ.")
    clips = [name for name in _CLIPS if values.get(name) is not None]
    if clips and old.clipping != new.clipping:
        kinds = ["all gradients" if r.clipping.norm_spans_all else "each" for r in (old, new)]
        found.append(
            f"{', '.join(clips)} acts otherwise (norms over {kinds[1]}, before: {kinds[0]})."
        )
    if values.get("weight_decay") and {"coupled_decay"} & (forms[0] ^ forms[1]):
        found.append(
            "weight decay acts on the variable in one system, on the gradient in the other."
        )
    roundings = (old.rho_complement_in_dtype, old.float32_first)
    if roundings != (new.rho_complement_in_dtype, new.float32_first):
        found.append("hyperparameters are rounded elsewhere: the last bits differ.")
    if values.get("use_ema") and old.average != new.average:
        found.append("the moving average starts and rounds otherwise.")
    return found
