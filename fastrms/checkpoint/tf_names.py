"""Optimizers in TensorFlow files without an object graph: `tf.train.Saver` of TF 1 and Keras 1-2.

Such files hold names only, and the names depend on who wrote them. Sources: files of TF 1.3 and
1.15 and of Keras 1.2 to 2.3, and `RMSPropOptimizer._create_slots` of TF 1.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fastrms.checkpoint.tables import words_of
from fastrms.checkpoint.tf_layout import File, Layout, variable
from fastrms.errors import CheckpointError

# What `tf.train` calls the first slot of each optimizer, and how many slots make which list.
_NATIVE: Mapping[str, tuple[str, Mapping[int, tuple[str, ...]]]] = {
    "RMSProp": (
        "RMSprop",
        {2: ("velocity", "momentum"), 3: ("velocity", "average_gradient", "momentum")},
    ),
    "Adam": ("Adam", {2: ("m", "v")}),
    "Momentum": ("SGD", {1: ("momentum",)}),
    "Adagrad": ("Adagrad", {1: ("accumulator",)}),
}
_NATIVE_DIALECT, _NAMED_DIALECT = "tf-train", "tf-keras-v2"


@dataclass(frozen=True)
class Session:
    """How the session of one Keras generation names things; `{}` is the number of a slot."""

    dialects: tuple[str, ...]
    scalars: Mapping[str, str]
    slot: str
    first: int = 0
    bare_first: bool = True
    name_order: bool = False
    counter: str = "int64"

    def slot_name(self, index: int) -> str:
        """Return the name of the slot of one variable."""
        number = index + self.first
        return self.slot.format("" if self.bare_first and not number else f"_{number}")


_CLASSIC = {"iterations": "RMSprop/iterations", "rho": "RMSprop/rho", "decay": "RMSprop/decay"}
SESSIONS = (
    Session(
        ("keras-2.0", "keras-2.2", "tf-keras-v1"),
        {**_CLASSIC, "lr": "RMSprop/lr"},
        "training/RMSprop/Variable{}",
    ),
    Session(
        ("keras-2.3",),
        {**_CLASSIC, "learning_rate": "RMSprop/learning_rate"},
        "training/RMSprop/accumulator{}_1",
        bare_first=False,
    ),
    Session(
        ("tf-contrib",),
        {"lr": "lr", "rho": "rho", "decay": "decay", "iterations": "iterations"},
        "Variable{}",
        counter="float32",
    ),
    Session(
        ("keras-1",),
        {"lr": "Variable", "rho": "Variable_1", "decay": "Variable_2", "iterations": "Variable_3"},
        "Variable{}",
        first=4,
        name_order=True,
        counter="float32",
    ),
)


def layout_of(file: File) -> Layout:
    """Find the optimizer of a file by the names in it.

    Parameters
    ----------
    file : Bundle or OldFile
        The opened checkpoint.

    Raises
    ------
    CheckpointError
        The names leave open which slot is which.
    """
    for find in (_native, _named, _session):
        layout = find(file)
        if layout is not None:
            break
    else:
        layout = Layout(rule="none", notes=["no optimizer state: the file has model weights only."])
    used = {key for keys in layout.slots.values() for key in keys}
    used |= {*layout.hyper.values(), layout.iterations}
    layout.weights = {name: name for name in file if name not in used}
    return layout


def _native(file: File) -> Layout | None:
    """Read slots named `<variable>/RMSProp`, `<variable>/RMSProp_1`, ..."""
    for word, (rule, lists) in _NATIVE.items():
        owners = sorted(name for name in file if f"{name}/{word}" in file)
        if not owners:
            continue
        counts = {_count(file, f"{name}/{word}") for name in owners}
        slots = lists.get(counts.pop()) if len(counts) == 1 else None
        if slots is None:
            raise CheckpointError(
                f"the slots of {owners[0]!r} and the others do not tell which optimizer's they "
                f"are: {sorted(n for n in file if n.startswith(f'{owners[0]}/{word}'))}. "
                f"Readable: {dict(lists)} slots of one {word} optimizer for each variable."
            )
        keys = {
            slot: [f"{name}/{word}{f'_{k}' if k else ''}" for name in owners]
            for k, slot in enumerate(slots)
        }
        _require_bound(file, keys)
        centered = {"centered": True} if "average_gradient" in keys else {}
        return Layout(
            rule=rule,
            dialect=_NATIVE_DIALECT if rule == "RMSprop" else None,
            iterations="global_step" if "global_step" in file else None,
            config=dict(centered),
            variables=[variable(file, name, name) for name in owners],
            slots={slot: list(column) for slot, column in keys.items()},
            notes=[
                "a tf.train.Saver keeps no order: the variables stand in the order of their names.",
                "no learning rate, decay, momentum's share and epsilon: pass those that are not "
                "the default.",
            ],
        )
    return None


def _count(file: File, first: str) -> int:
    """Return how many slots go on from a first one: name, name_1, name_2, ..."""
    count = 1
    while f"{first}_{count}" in file:
        count += 1
    return count


def _require_bound(file: File, keys: Mapping[str, list[str]]) -> None:
    """Refuse slots where a mean gradient's square exceeds the mean square, which cannot be."""
    pairs = zip(keys.get("average_gradient", []), keys.get("velocity", []), strict=False)
    for mean, square in pairs:
        if np.any(np.square(file[mean], dtype=np.float64) > file[square] * 1.001 + 1e-30):
            raise CheckpointError(
                f"{mean!r} cannot be the mean gradient that its place says: its square exceeds "
                f"{square!r}. Two optimizers may have used the variable; rename the slots."
            )


def _named(file: File) -> Layout | None:
    """Read slots that a tf.keras session names `training/RMSprop/<variable>/rms`."""
    words = words_of(_NAMED_DIALECT)
    found: dict[str, dict[str, str]] = {}
    prefix = ""
    for name in file:
        match = re.fullmatch(r"((?:.*/)?RMSprop(?:_\d+)?)/(.+)/([a-z_]+)", name)
        if match and match[3] in words and match[2] in file:
            prefix = match[1]
            found.setdefault(match[2], {})[words[match[3]]] = name
    if not found:
        return None
    owners = sorted(found)
    slots = dict.fromkeys(slot for by_slot in found.values() for slot in by_slot)
    hyper = {n: f"{prefix}/{n}" for n in ("learning_rate", "decay", "rho", "momentum")}
    return Layout(
        dialect=_NAMED_DIALECT,
        system="tf.keras",
        iterations=f"{prefix}/iter" if f"{prefix}/iter" in file else None,
        hyper={n: key for n, key in hyper.items() if key in file},
        config={"centered": True} if "average_gradient" in slots else {},
        variables=[variable(file, name, name) for name in owners],
        slots={slot: [found[name].get(slot) for name in owners] for slot in slots},
        notes=[
            "a session's Saver keeps no order: the variables stand in the order of their names.",
            "no epsilon: pass it if it is not the default.",
        ],
    )


def _session(file: File) -> Layout | None:
    """Read slots that Keras 1 and 2 number without saying whose they are."""
    for row in SESSIONS:
        if not all(name in file and not file.entries[name].shape for name in row.scalars.values()):
            continue
        slots = list(_numbered(file, row))
        if not slots:
            continue
        scalars = dict(row.scalars)
        used = {*slots, *scalars.values()}
        weights = sorted(name for name in file if name not in used)
        names, notes = _matched(file, slots, weights, row)
        if len(row.dialects) > 1:
            notes.append(
                f"{', '.join(row.dialects)} write such files alike: pass dialect= to use one."
            )
        notes.append("no epsilon and clipping: pass those that are not the default.")
        pairs = zip(names, slots, strict=True)
        return Layout(
            dialect=row.dialects[0] if len(row.dialects) == 1 else None,
            system="Keras",
            iterations=scalars.pop("iterations"),
            hyper=scalars,
            variables=[variable(file, name, key) for name, key in pairs],
            slots={"velocity": list(slots)},
            notes=notes,
        )
    return None


def _numbered(file: File, row: Session) -> Iterator[str]:
    """Yield the names of a row's slots for as long as they go on."""
    index = 0
    while row.slot_name(index) in file:
        yield row.slot_name(index)
        index += 1


def _matched(
    file: File, slots: list[str], weights: list[str], row: Session
) -> tuple[list[str], list[str]]:
    """Return a weight's name for each slot, as far as order or shapes tell, with notes."""
    shapes = {name: file.entries[name].shape for name in weights}
    wanted = [file.entries[key].shape for key in slots]
    if row.name_order and [shapes[name] for name in weights] == wanted:
        return list(weights), ["Keras 1 stores slots in the order of the sorted names."]
    fitting = [[n for n in weights if shapes[n] == shape] for shape in wanted]
    if all(len(names) == 1 for names in fitting) and len(set(wanted)) == len(wanted):
        return [names[0] for names in fitting], []
    return list(slots), [
        "the slots do not say whose they are, and several weights have the same shape: the "
        "variables are named after the slots, in the order of the trainable weights."
    ]
