"""The order of variables: that of a model's layers, or that of the variables' names.

Keras 1 sorts what it trains by name (engine/training.py `_collected_trainable_weights`), and a
`tf.train.Saver` keeps no order at all. Between variables of one shape no other thing tells them
apart where two systems name them differently. The functions take any object with the fields of
`Checkpoint`, which stands above this module.
"""

import re
from dataclasses import replace
from typing import Any

from fastrms.checkpoint.tables import named, system_of
from fastrms.errors import CheckpointError

_SAID = re.compile(r"order of (the|their) (variables' )?(sorted )?names")  # in notes


def plain(name: str) -> str:
    """Return a variable's name without what systems put around it."""
    return name.partition(":")[0]


def by_name(checkpoint: Any) -> bool:
    """Tell whether a state was written in the order of names."""
    row = system_of(checkpoint.writer.version, checkpoint.config)
    sorts = row.name_order and checkpoint.writer.system.startswith(row.name)
    return sorts or any(map(_SAID.search, checkpoint.notes))


def layer_order(checkpoint: Any) -> list[int] | None:
    """Return the variables' indices in the order of the layers, None where nobody knows it."""
    names = [v.name for v in checkpoint.variables]
    if not by_name(checkpoint):
        return list(range(len(names)))
    places = {name: i for i, name in enumerate(checkpoint.weights)}
    if checkpoint.writer.version is None or not places.keys() >= set(names):
        return None
    return sorted(range(len(names)), key=lambda i: places[names[i]])


def ordered(checkpoint: Any, dialect: str, report: list[str]) -> Any:
    """Return a state of Keras 1's files in the order that a dialect's files have."""
    there, order = named(dialect), layer_order(checkpoint)
    if not by_name(checkpoint) or order is None:
        return checkpoint
    names = [v.name for v in checkpoint.variables]
    if there is not None and there.name_order:
        order = sorted(order, key=names.__getitem__)
    if order == list(range(len(names))):
        return checkpoint
    report.append("the variables stand in that system's order: Keras 1 sorts them by name.")
    slots = {slot: [column[i] for i in order] for slot, column in checkpoint.slots.items()}
    return replace(checkpoint, variables=[checkpoint.variables[i] for i in order], slots=slots)


def paired(checkpoint: Any, known: Any, where: str) -> list[int]:
    """Return, for each variable of an existing file, which of as many of a checkpoint's it is.

    Raises
    ------
    CheckpointError
        Names, order and shapes leave it open.
    """
    ours, theirs = checkpoint.variables, known.variables
    places = {plain(v.name): i for i, v in enumerate(ours)}
    if len(places) == len(ours) and places.keys() == {plain(v.name) for v in theirs}:
        return [places[plain(v.name)] for v in theirs]
    orders = layer_order(checkpoint), layer_order(known)
    if orders[0] is not None and orders[1] is not None:
        found = dict(zip(orders[1], orders[0], strict=True))
        return [found[i] for i in range(len(theirs))]
    shapes = {v.shape: i for i, v in enumerate(ours)}
    if (orders[0] is None and by_name(known)) or shapes.keys() != {v.shape for v in theirs}:
        return list(range(len(ours)))
    if len(shapes) < len(ours):
        raise CheckpointError(
            f"the variables {[v.name for v in ours][:8]} and those of {where}, "
            f"{[v.name for v in theirs][:8]}, have other names, and on one side stand in the order "
            "of the names: of those of one shape nobody can tell which is which. Load the state "
            "with variables={name: array} under the names of the other file."
        )
    return [shapes[v.shape] for v in theirs]
