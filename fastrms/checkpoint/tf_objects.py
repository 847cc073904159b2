"""Optimizers in TensorFlow's object graphs: tf.keras with slot variables, 2.11+ and Keras 3.

Sources: files of TF 1.15 to 2.12 and Keras 3.15.1; OptimizerV2 and BaseOptimizer of each.
"""

import re
from collections.abc import Mapping

from fastrms.checkpoint import graph
from fastrms.checkpoint.graph import Node
from fastrms.checkpoint.tables import words_of
from fastrms.checkpoint.tf_layout import File, Layout, unique, variable
from fastrms.errors import CheckpointError

_SLOTTED, _LISTED, _ODD, _KERAS3 = (
    *("tf-keras-v2", "tf-keras-2.11", "tf-keras-2.10-experimental", "keras-3"),
)
# How the newer classes call their lists of slots; each rule has its own attributes.
_LISTS: Mapping[str, str] = {
    "_model_variables_moving_average": "average",
    "_accumulated_gradients": "gradient_accumulator",
    **{"_velocities": "velocity", "_momentums": "momentum", "momentums": "momentum"},
    **{"_average_gradients": "average_gradient", "_velocity_hats": "velocity_hat"},
    **{"_accumulators": "accumulator", "_m": "m", "_v": "v", "_u": "u"},
}
_HYPER = ("learning_rate", "decay", "rho", "momentum", "beta_1", "beta_2", "epsilon")
# By the slots that a class always has, even when they are empty; the first that fits.
_RULES: tuple[tuple[str, set[str]], ...] = (
    ("RMSprop", {"velocity", "average_gradient"}),
    ("Adam", {"velocity", "momentum"}),
    ("SGD", {"momentum"}),
    ("unknown", set()),
)
_SCALES = {"current_loss_scale": "scale", "good_steps": "counter"}
_SCALES_3 = {"dynamic_scale": "scale", "step_counter": "counter"}


def layout_of(file: File) -> Layout:
    """Find the one optimizer of a file with an object graph.

    Parameters
    ----------
    file : Bundle
        The opened checkpoint.

    Raises
    ------
    CheckpointError
        There are several optimizers, or the graph names tensors that are not there.
    """
    nodes = graph.parse(bytes(file[graph.GRAPH_KEY].item()))
    for node in nodes:
        if node.key and node.key not in file.entries:
            raise CheckpointError(f"the object graph names {node.key!r}, which is not in the file.")
    found = _optimizers(nodes)
    if len(found) > 1:
        raise CheckpointError(
            f"the file holds {len(found)} optimizers, as objects {found}; save each in a file of "
            "its own."
        )
    layout = Layout(system="tf.keras")
    if not found:
        layout.rule, layout.notes = "none", ["no optimizer state: the file has model weights only."]
    elif "_iterations" in nodes[found[0]].children:
        _listed(file, nodes, nodes[found[0]], layout)
    else:
        _slotted(file, nodes, nodes[found[0]], layout)
    _weights(nodes, frozenset(found), layout)
    return layout


def _optimizers(nodes: list[Node]) -> list[int]:
    """Return the objects that are optimizers and are not inside another one."""
    marked = [
        k
        for k, node in enumerate(nodes)
        if node.slots or {"_iterations", "_variables"} <= set(node.children) or _old(node)
    ]
    inner = {
        nodes[k].children[name]
        for k in marked
        for name in ("inner_optimizer", "base_optimizer", "_optimizer")
        if name in nodes[k].children
    }
    return [k for k in marked if k not in inner]


def _old(node: Node) -> bool:
    """Whether an object has the counter and a hyperparameter of an OptimizerV2."""
    return "iter" in node.children and bool({"learning_rate", "decay"} & set(node.children))


def _scalars(nodes: list[Node], node: Node, names: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of those children that are variables, under other names."""
    pairs = ((names[n], nodes[k].key) for n, k in node.children.items() if n in names)
    return {name: key for name, key in pairs if key}


def _slotted(file: File, nodes: list[Node], node: Node, layout: Layout) -> None:
    """Read an OptimizerV2, whose slots are tied to the variables in the graph."""
    layout.dialect = _SLOTTED
    layout.hyper = _scalars(nodes, node, {name: name for name in _HYPER})
    layout.iterations = _scalars(nodes, node, {"iter": "iter"}).get("iter")
    for child in node.children.values():
        layout.loss_scale.update(_scalars(nodes, nodes[child], _SCALES))
    layout.rule = _rule(nodes, node)
    words = words_of(_SLOTTED) if layout.rule == "RMSprop" else {}
    owners = {one for one, _, _ in node.slots}
    order = [k for k in graph.walk(nodes) if k in owners]
    firsts = {one: nodes[other].key for one, _, other in reversed(node.slots)}
    keys = [nodes[k].key or firsts[k] for k in order]
    names = unique([nodes[k].name for k in order], keys)
    layout.variables = [variable(file, n, key) for n, key in zip(names, keys, strict=True)]
    for one, word, other in node.slots:
        slot = layout.slots.setdefault(words.get(word, word), [None] * len(order))
        if one not in order:
            raise CheckpointError(f"slot {word!r} belongs to an object that is out of reach.")
        slot[order.index(one)] = nodes[other].key
    _finish(layout, "epsilon and clipping")
    if not layout.slots:
        layout.notes.append(
            "no slots: a tf.train.Checkpoint of the optimizer alone holds its numbers only."
        )


def _rule(nodes: list[Node], node: Node) -> str:
    """Return an OptimizerV2's class, by its hyperparameters or its variables' names."""
    if {"rho", "momentum"} <= set(node.children):
        return "RMSprop"
    parts = nodes[node.children["iter"]].name.split("/") if "iter" in node.children else []
    return re.sub(r"_\d+$", "", parts[-2]) if len(parts) > 1 else "unknown"


def _listed(file: File, nodes: list[Node], node: Node, layout: Layout) -> None:
    """Read an optimizer of tf.keras 2.11 or later, or of Keras 3."""
    scales = nodes[node.children["loss_scale"]] if "loss_scale" in node.children else node
    layout.loss_scale = _scalars(nodes, scales, {**_SCALES_3, **_SCALES})
    inner = nodes[node.children["inner_optimizer"]] if "inner_optimizer" in node.children else node
    if not {"_iterations", "_variables"} <= set(inner.children):
        raise CheckpointError("the inner optimizer has no counter; the file is damaged.")
    trained = inner.children.get("_trainable_variables")
    counter = inner.children["_iterations"]
    counted = counter in nodes[inner.children["_variables"]].children.values()
    layout.dialect = _KERAS3 if trained is not None else _LISTED if counted else _ODD
    layout.system = "Keras" if trained is not None else "tf.keras"
    layout.hyper = _scalars(nodes, inner, {"_learning_rate": "learning_rate"})
    layout.iterations = nodes[counter].key or None
    lists = {
        slot: graph.items(nodes, inner.children[name])
        for name, slot in _LISTS.items()
        if name in inner.children
    }
    layout.rule = next(rule for rule, needed in _RULES if needed <= set(lists))
    lists = {slot: members for slot, members in lists.items() if members}
    owners = graph.items(nodes, trained) if trained is not None else []
    if lists and not owners:
        owners = _owners(nodes, *next(iter(lists.items())))
    firsts = [m.key for m in next(iter(lists.values()), owners)] + [""] * len(owners)
    keys = [owner.key or first for owner, first in zip(owners, firsts, strict=False)]
    titles = unique([owner.name for owner in owners], keys)
    layout.variables = [variable(file, n, key) for n, key in zip(titles, keys, strict=True)]
    layout.slots = {slot: [m.key or None for m in members] for slot, members in lists.items()}
    _finish(layout, "rho, epsilon, momentum's share, clipping and weight decay")


def _owners(nodes: list[Node], word: str, slots: list[Node]) -> list[Node]:
    """Return the variables that slots are named after; stand-ins where the file has none."""
    named = {node.name: node for node in nodes if node.key}
    found = []
    for slot in slots:
        name = slot.name.partition(f"/{word}/")[2] or slot.name
        found.append(named.get(name) or Node(name=name, key=slot.key))
    return found


def _finish(layout: Layout, missing: str) -> None:
    """Say what such a file cannot hold, and what its slots tell."""
    if layout.rule == "RMSprop":
        layout.config |= {"centered": True} if "average_gradient" in layout.slots else {}
        layout.config |= {"use_ema": True} if "average" in layout.slots else {}
    layout.notes.append(
        f"no {missing}: a TensorFlow checkpoint holds none; pass those that are not the default."
    )
    if "momentum" in layout.slots and "momentum" not in layout.hyper:
        layout.notes.append("a momentum slot, but not how much of it is kept: pass momentum=.")


def _weights(nodes: list[Node], optimizers: frozenset[int], layout: Layout) -> None:
    """Enter the model's variables, by the names that they had in the model."""
    apart = {"metrics", "keras_api", "_metrics", "save_counter"}
    hidden = {k for node in nodes for name, k in node.children.items() if name in apart}
    reached = list(graph.walk(nodes, without=frozenset(hidden) | optimizers))
    for k in optimizers:
        trained = nodes[k].children.get("_trainable_variables")
        reached += [] if trained is None else nodes[trained].children.values()
    slots = {key for keys in layout.slots.values() for key in keys}
    found = [nodes[k] for k in dict.fromkeys(reached) if nodes[k].key]
    keys = [node.key for node in found]
    for name, key in zip(unique([node.name for node in found], keys), keys, strict=True):
        if key not in slots:
            layout.weights[name] = key
