"""What a `state_dict` of `torch.optim.RMSprop` means, whichever file it came from.

Source: torch 2.13 optim/rmsprop.py and optimizer.py. States are numbered in the order of the
parameter groups, and a parameter that never had a gradient has none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.document import DTYPES, Checkpoint, Variable, Writer
from fastrms.checkpoint.native import renamed
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tables import words_of
from fastrms.errors import CheckpointError

Array = NDArray[Any]
_DIALECT = "torch"
_NAMES = {"lr": "learning_rate", "alpha": "rho", "eps": "epsilon"}
_SWITCHES = (
    *("capturable", "foreach", "differentiable", "fused", "params", "param_names"),
    "initial_lr",
)
_DEEPEST = 4


class Tensor(np.ndarray[Any, np.dtype[Any]]):
    """An array that remembers the dtype it had in the file."""

    dtype_there: str = ""


def dtype_of(array: Array) -> str:
    """Return an array's dtype in its file."""
    return getattr(array, "dtype_there", "") or array.dtype.name


def _found(value: Any, depth: int = 0) -> Mapping[str, Any] | None:
    """Find the optimizer's state_dict in what a file holds."""
    if not isinstance(value, dict) or depth > _DEEPEST:
        return None
    if isinstance(value.get("state"), dict) and isinstance(value.get("param_groups"), list):
        return value
    return next((f for v in value.values() if (f := _found(v, depth + 1)) is not None), None)


def _models(value: Any, depth: int = 0) -> dict[str, Array]:
    """Find the model's state_dict: a dict of tensors by name, elsewhere than in the optimizer."""
    if not isinstance(value, dict) or depth > _DEEPEST or {"state", "param_groups"} <= set(value):
        return {}
    arrays = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, np.ndarray)}
    if arrays and len(arrays) == len(value):
        return arrays
    return next((f for v in value.values() if (f := _models(v, depth + 1))), {})


def checkpoint_of(content: Any, kind: str, source: Source) -> Checkpoint:
    """Make a checkpoint of a file's content.

    Parameters
    ----------
    content : object
        Dicts, lists and arrays.
    kind : str
        The name of the format.
    source : Source
        What the caller knows.

    Raises
    ------
    CheckpointError
        The optimizer's state contradicts itself or is another optimizer's.
    """
    weights = _models(content)
    optimizer = _found(content)
    notes: list[str] = []
    writer = Writer("PyTorch", None, _DIALECT)
    if optimizer is None:
        notes.append("no optimizer state: the file has model weights only.")
        bare = {name: np.asarray(array) for name, array in weights.items()}
        return Checkpoint(None, writer, kind, {}, None, [], {}, None, bare, notes, "none")
    groups = [g for g in optimizer["param_groups"] if isinstance(g, dict)]
    ids = [number for group in groups for number in group.get("params", [])]
    states = optimizer["state"]
    if len(set(map(repr, ids))) != len(ids) or not set(states) <= set(ids):
        raise CheckpointError("the states do not belong to the parameter groups; it is damaged.")
    rule = "RMSprop" if all("alpha" in g and "centered" in g for g in groups) else "unknown"
    config = _config(groups, notes)
    variables, order = _variables(ids, states, weights, groups, notes)
    slots, counts = _slots([states.get(k) for k in order], rule)
    if len(set(counts)) > 1:
        notes.append(f"the parameters have made {sorted(set(counts))} steps; the most are taken.")
    return Checkpoint(
        dialect=source.dialect or (_DIALECT if rule == "RMSprop" else None),
        writer=writer,
        format=kind,
        config=config,
        iterations=max(counts, default=0),
        variables=renamed(variables, source.variables),
        slots=slots,
        weights={name: np.asarray(array) for name, array in weights.items()},
        notes=notes,
        rule=rule,
    )


def _config(groups: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    """Return the hyperparameters that all groups share; the others as they are, in a list."""
    plain = [
        {_NAMES.get(k, k): v for k, v in group.items() if k not in _SWITCHES} for group in groups
    ]
    if any("initial_lr" in group for group in groups):
        notes.append("a scheduler had set the learning rate; its own state is not part of this.")
    config = dict(plain[0] if plain else {})
    differing = sorted(k for k in config if any(g.get(k) != config[k] for g in plain))
    if differing:
        notes.append(
            f"the parameter groups differ in {differing}: those stand under param_groups, and one "
            "optimizer here has one value of each."
        )
        config = {k: v for k, v in config.items() if k not in differing}
        config["param_groups"] = [
            {"count": len(g.get("params", [])), **{k: p.get(k) for k in differing}}
            for g, p in zip(groups, plain, strict=True)
        ]
    if not config.get("maximize"):
        config.pop("maximize", None)
    return config


def _slots(states: list[Any], rule: str) -> tuple[dict[str, list[Array | None]], list[int]]:
    """Return the slots over the parameters, and each parameter's steps."""
    words = words_of(_DIALECT) if rule == "RMSprop" else {}
    slots: dict[str, list[Array | None]] = {}
    counts = []
    for i, state in enumerate(states):
        for word, value in (state or {}).items():
            if word == "step":
                step = float(np.asarray(value).reshape(-1)[0]) if np.size(value) == 1 else -1.0
                if step < 0 or step != np.floor(step):
                    raise CheckpointError(f"a parameter's step is {value!r}; the file is damaged.")
                counts.append(int(step))
            elif isinstance(value, np.ndarray):
                column = slots.setdefault(words.get(word, word), [None] * len(states))
                column[i] = np.asarray(value)
            elif value is not None:
                raise CheckpointError(f"the state {word!r} is {type(value).__name__}, no tensor.")
    return slots, counts


def _variables(
    ids: list[Any],
    states: Mapping[Any, Any],
    weights: Mapping[str, Array],
    groups: list[dict[str, Any]],
    notes: list[str],
) -> tuple[list[Variable], list[Any]]:
    """Return the parameters, named where the file tells how; those of unknown shape left out."""
    shapes: dict[Any, Array] = {}
    for k in ids:
        arrays = [v for w, v in (states.get(k) or {}).items() if w != "step"]
        if arrays and isinstance(arrays[0], np.ndarray):
            shapes[k] = arrays[0]
    names = _names(ids, shapes, weights, groups)
    known = [k for k in ids if k in shapes or names.get(k) in weights]
    if len(known) < len(ids):
        notes.append(f"{len(ids) - len(known)} parameters have no state and no shape: left out.")
    if known and not names:
        notes.append("the file does not name the parameters: they are numbered by their groups.")
    like = {k: shapes[k] if k in shapes else weights[names[k]] for k in known}
    return [
        Variable(names.get(k, f"variable_{k}"), like[k].shape, dtype_of(like[k])) for k in known
    ], known


def _names(
    ids: list[Any],
    shapes: Mapping[Any, Array],
    weights: Mapping[str, Array],
    groups: list[dict[str, Any]],
) -> dict[Any, str]:
    """Return names for the parameters: the file's own, those in order, or those of one shape."""
    given = [name for group in groups for name in group.get("param_names", [])]
    if len(given) == len(ids) and all(isinstance(name, str) for name in given):
        return dict(zip(ids, given, strict=True))
    last = ("running_mean", "running_var", "num_batches_tracked")
    trained = [n for n, a in weights.items() if dtype_of(a) in DTYPES and not n.endswith(last)]
    in_order = len(trained) == len(ids) and all(
        k not in shapes or shapes[k].shape == weights[n].shape
        for k, n in zip(ids, trained, strict=True)
    )
    if in_order and len(groups) == 1:
        return dict(zip(ids, trained, strict=True))
    fitting = {
        k: [n for n in trained if k in shapes and weights[n].shape == shapes[k].shape] for k in ids
    }
    chosen = [names[0] for names in fitting.values() if len(names) == 1]
    if len(chosen) == len(ids) == len(set(chosen)):
        return {k: names[0] for k, names in fitting.items()}
    return {}


def groups_of(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Return torch's parameter groups of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        One of the torch dialect.
    """
    config = dict(checkpoint.config)
    groups = config.pop("param_groups", None) or [{"count": len(checkpoint.variables)}]
    first, result = 0, []
    shared = {"momentum": 0, "maximize": False, "centered": False, "weight_decay": 0} | config
    back = {ours: theirs for theirs, ours in _NAMES.items()}
    for group in groups:
        numbers = {k: v for k, v in {**shared, **group}.items() if k not in ("count", "name")}
        switches = {"capturable": False, "foreach": None, "differentiable": False}
        params = list(range(first, first + group["count"]))
        named = {back.get(k, k): v for k, v in numbers.items()}
        result.append({**named, **switches, "params": params})
        first += group["count"]
    return result
