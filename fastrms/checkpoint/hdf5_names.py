"""Names and arrays in HDF5 groups as Keras writes them: lists in order, bfloat16 as bytes."""

import re
from typing import Any

import numpy as np

from fastrms.checkpoint.brain import narrowed
from fastrms.checkpoint.isolation import Tree
from fastrms.checkpoint.keras_entries import Entry
from fastrms.errors import CheckpointError

_MOST_ATTRIBUTE = 64512  # HDF5 keeps no larger attribute in an object's header


def names_of(attributes: dict[str, Any], name: str, where: str) -> list[str] | None:
    """Return a list attribute, put together where Keras split it; None where there is none."""
    parts = [attributes[name]] if name in attributes else []
    numbers = [int(k[len(name) :]) for k in attributes if re.fullmatch(rf"{name}\d+", k)]
    if sorted(numbers) != list(range(len(numbers))) or (parts and numbers):
        raise CheckpointError(
            f"{where}: the parts of {name} are numbered {sorted(numbers)}; valid: 0, 1, 2, ... "
            "without a gap. The file is damaged."
        )
    parts += [attributes[f"{name}{i}"] for i in range(len(numbers))]
    if not parts:
        return None
    names = [n for part in parts for n in (part if isinstance(part, list) else [part])]
    for given in names:
        if not isinstance(given, str):
            raise CheckpointError(f"{where}: {name} is {given.get('odd')}; valid: UTF-8 texts.")
        steps = given.split("/")
        if any(step in ("", ".", "..") for step in steps):
            raise CheckpointError(
                f"{where}: the name {given!r} is not a plain path inside its group; refused."
            )
    if len(set(names)) != len(names):
        raise CheckpointError(f"{where}: {name} has a name twice; the file is damaged.")
    return names


def entry_of(tree: Tree, path: str, name: str) -> Entry:
    """Return one array, or raise what stands in its place."""
    if path in tree.arrays and tree.dtypes[path] != "V2":
        return Entry(name, tree.arrays[path], tree.dtypes[path])
    opaque = "opaque" if path in tree.arrays else "not there"
    what = "a group" if path in tree.groups else tree.odd.get(path, opaque)
    raise CheckpointError(
        f"{path} is {what}; expected an array of float16, float32, float64, bfloat16 or integers."
    )


def put_names(attributes: Any, name: str, names: list[str]) -> None:
    """Write a list attribute as bytes, in numbered parts where it is too long for one."""
    data = [n.encode() for n in names]
    if not data:
        attributes[name] = np.zeros(0)
        return
    widest = max(map(len, data))
    step = max(1, _MOST_ATTRIBUTE // max(1, widest))
    if len(data) <= step:
        attributes[name] = np.array(data, f"S{widest}")
        return
    for number, first in enumerate(range(0, len(data), step)):
        attributes[f"{name}{number}"] = np.array(data[first : first + step], f"S{widest}")


def put_entries(group: Any, entries: list[Entry]) -> None:
    """Write arrays under their names, and the names in order."""
    put_names(group.attrs, "weight_names", [entry.name for entry in entries])
    for entry in entries:
        put(group, entry.name, entry)


def put(group: Any, name: str, entry: Entry) -> None:
    """Write one array; bfloat16 as Keras 3 does, as opaque bytes that an attribute names."""
    if entry.dtype != "bfloat16":
        group.create_dataset(name, data=entry.array)
        return
    bits = narrowed(entry.array, entry.name)
    dataset = group.create_dataset(name, data=bits.view("V2"))
    dataset.attrs["dtype"] = "bfloat16"
