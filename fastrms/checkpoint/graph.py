"""TensorFlow's object graph: which variable of a checkpoint belongs to which object.

Source: tensorflow/core/protobuf/trackable_object_graph.proto. Walks keep their own stack and
visit each object once, so that neither depth nor cycles matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastrms.checkpoint import wire
from fastrms.errors import CheckpointError

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"


@dataclass
class Node:
    """One object: its children by name, and, if it is a variable, its name and its key."""

    children: dict[str, int] = field(default_factory=dict)
    name: str = ""
    key: str = ""
    slots: list[tuple[int, str, int]] = field(default_factory=list)


def parse(data: bytes) -> list[Node]:
    """Read the graph.

    Parameters
    ----------
    data : bytes
        A TrackableObjectGraph message.

    Raises
    ------
    CheckpointError
        It is damaged or names objects that are not there.

    Examples
    --------
    >>> parse(serialize([Node({"x": 1}), Node(name="x", key="x/.ATTRIBUTES/VARIABLE_VALUE")]))[1]
    Node(children={}, name='x', key='x/.ATTRIBUTES/VARIABLE_VALUE', slots=[])
    """
    nodes = [_node(part) for part in wire.gathered(memoryview(data)).get(1, [])]
    for node in nodes:
        slots = [number for one, _, other in node.slots for number in (one, other)]
        wrong = [n for n in (*node.children.values(), *slots) if n >= len(nodes)]
        if wrong:
            raise CheckpointError(
                f"the object graph names object {wrong[0]} of {len(nodes)}; the file is damaged."
            )
    if not nodes:
        raise CheckpointError("the object graph is empty; the file is damaged.")
    return nodes


def _node(data: wire.Value) -> Node:
    """Read one object."""
    found, node = wire.gathered(data), Node()
    for part in map(wire.gathered, found.get(1, [])):
        node.children[wire.text(part, 2)] = wire.number(part, 1)
    for part in map(wire.gathered, found.get(2, [])):
        if wire.text(part, 1) == _VALUE:
            node.name, node.key = wire.text(part, 2), wire.text(part, 3)
    for part in map(wire.gathered, found.get(3, [])):
        node.slots.append((wire.number(part, 1), wire.text(part, 2), wire.number(part, 3)))
    return node


def serialize(nodes: list[Node]) -> bytes:
    """Write the graph."""
    out = []
    for node in nodes:
        parts = [wire.field(1, _pair(k, name)) for name, k in node.children.items()]
        if node.key:
            texts = enumerate((_VALUE, node.name, node.key), start=1)
            parts.append(wire.field(2, b"".join(wire.field(i, text) for i, text in texts)))
        for one, word, other in node.slots:
            slot = wire.field(1, one) + wire.field(2, word) + wire.field(3, other)
            parts.append(wire.field(3, slot))
        out.append(wire.field(1, b"".join(parts)))
    return b"".join(out)


def _pair(number: int, name: str) -> bytes:
    """Write a child's reference."""
    return wire.field(1, number) + wire.field(2, name)


def walk(nodes: list[Node], start: int = 0, without: frozenset[int] = frozenset()) -> Iterator[int]:
    """Yield each object reachable from one, once, children in their order, depth first.

    Parameters
    ----------
    nodes : list of Node
        The graph.
    start : int
        Where to begin.
    without : frozenset of int
        Objects not to enter.
    """
    seen, waiting = set(without), [start]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        yield current
        waiting.extend(reversed(nodes[current].children.values()))


def items(nodes: list[Node], number: int) -> list[Node]:
    """Return the elements of a list object, in the order of their indices."""
    children = nodes[number].children
    found = sorted((int(name), k) for name, k in children.items() if name.isdecimal())
    return [nodes[k] for _, k in found]
