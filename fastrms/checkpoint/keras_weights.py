"""`.weights.h5` of Keras 3 and tf.keras 2.12, alone or inside a `.keras`: numbered arrays."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.hdf5_names import entry_of, put
from fastrms.checkpoint.hdf5_writing import hdf5_in
from fastrms.checkpoint.isolation import Tree, read_tree, require_h5py
from fastrms.checkpoint.keras_entries import (
    OURS,
    Entry,
    Found,
    disassemble,
    has_scale,
    lost_of,
    require_system,
    written,
)
from fastrms.checkpoint.keras_own import aligned, drop_own, own_of, put_copy, put_own, template_of
from fastrms.checkpoint.keras_state import assemble
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tables import SYSTEMS, System
from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError

# Where the groups of a model's layers lie, and whose files have them there.
_HOMES = {row.home: row for row in SYSTEMS if row.home}
# Sublayers in the order of their variables, where it is not the alphabet's.
_SUBLAYERS = ("forward_layer", "query_dense", "key_dense", "value_dense", "output_dense")
_UNTRAINED_TAIL = {"batch_normalization": 2, "normalization": 3}


def read(source: Source) -> Checkpoint:
    """Read a `.weights.h5`."""
    return from_tree(read_tree(str(source.path), source.trusted), source)


def from_tree(
    tree: Tree, source: Source, found: Found | None = None, model: dict[str, Any] | None = None
) -> Checkpoint:
    """Make a checkpoint of an HDF5 tree, with what a config beside it says."""
    found = found or Found("weights.h5", [])
    home = next((h for h in _HOMES if h in tree.groups), "/layers")
    found.system = None if found.version else _HOMES[home]
    for path in ("/optimizer/vars", "/optimizer/_optimizer/vars"):
        found.entries = found.entries or _numbered(tree, path)
    found.scaled = "/optimizer/inner_optimizer" in tree.groups
    layers = list(_layers(tree, home.rpartition("/")[0], model or {}, True))
    found.weights = [entry for entry, _ in layers]
    found.trained = [[entry for entry, trained in layers if trained]]
    found.own = own_of(tree.groups[""])
    return assemble(found, source)


def _numbered(tree: Tree, group: str) -> list[Entry]:
    """Return the arrays 0, 1, 2, ... of a group, in the order of the numbers."""
    inside = [p.rpartition("/")[2] for p in tree.below.get(group, [])]
    wanted = [str(i) for i in range(len(inside))]
    if sorted(inside) != sorted(wanted):
        raise CheckpointError(
            f"{group} holds {sorted(inside)[:8]}; valid: 0, 1, 2, ... without gaps and leading "
            "zeros. The file is damaged."
        )
    return [entry_of(tree, f"{group}/{i}", f"{group[1:]}/{i}") for i in wanted]


def _natural(name: str) -> tuple[bool, int, list[tuple[str, int]]]:
    """Sort `dense_2` before `dense_10`, and sublayers as their layers order them."""
    base = name.rpartition("/")[2]
    parts = re.findall(r"(\D*)(\d*)", base)
    rank = _SUBLAYERS.index(base) if base in _SUBLAYERS else len(_SUBLAYERS)
    return rank == len(_SUBLAYERS), rank, [(text, int(digits or 0)) for text, digits in parts]


def _snake(name: str) -> str:
    """Return the name of a class as Keras names its groups."""
    step = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", step).lower()


def _layers(
    tree: Tree, path: str, layer: dict[str, Any], trained: bool
) -> Iterator[tuple[Entry, bool]]:
    """Yield a layer's weights, its own before its sublayers', and whether each is trained."""
    config = layer.get("config")
    config = config if isinstance(config, dict) else {}
    trained = trained and config.get("trainable", True) is not False
    own = _numbered(tree, f"{path}/vars")
    base = re.sub(r"_\d+$", "", path.rpartition("/")[2])
    tail = len(own) - _UNTRAINED_TAIL.get(base, 0)
    for i, entry in enumerate(own):
        yield entry, trained and i < tail and entry.dtype[:2] in ("fl", "bf")
    inner = config.get("layers")
    for home in _HOMES:
        groups = sorted(tree.below.get(path + home, []), key=_natural)
        for group, config_of in _matched(tree, groups, inner if isinstance(inner, list) else []):
            yield from _layers(tree, group, config_of, trained)
    for group in sorted(tree.below.get(path, []), key=_natural):
        known = (f"{path}/vars", "/optimizer", "/metrics", *(path + home for home in _HOMES))
        if group in tree.groups and group not in known:
            yield from _layers(tree, group, {}, trained)


def _matched(
    tree: Tree, groups: list[str], layers: list[Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield groups in the order of a model's config, then those it does not name."""
    left, fitting = dict.fromkeys(groups), dict[tuple[str, str], list[str]]()
    for group in reversed(groups):
        base = group.rpartition("/")[2]
        title = tree.groups.get(f"{group}/vars", {}).get("name")
        keys = {("kind", base), ("kind", re.sub(r"_\d+$", "", base))}
        for key in keys | ({("name", title)} if isinstance(title, str) else set()):
            fitting.setdefault(key, []).append(group)
    for layer in layers:
        config = layer.get("config") if isinstance(layer, dict) else None
        name = config.get("name") if isinstance(config, dict) else None
        if name is None:
            continue
        for key in (("name", str(name)), ("kind", _snake(str(layer.get("class_name"))))):
            waiting = fitting.get(key, [])
            while waiting and waiting[-1] not in left:
                waiting.pop()
            if waiting:
                del left[waiting[-1]]
                yield waiting.pop(), layer
                break
    yield from ((group, {}) for group in left)


def own_system(checkpoint: Checkpoint, what: str) -> System:
    """Return the system of a checkpoint whose files have this form, or raise."""
    system = require_system(checkpoint, what)
    if not system.home:
        raise CheckpointError(
            f"{what} files are those of {' and '.join(s.dialect for s in _HOMES.values())}, not of "
            f"{system.dialect!r}; write an .h5, or use checkpoint.convert(dialect) first."
        )
    return system


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what a `.weights.h5` cannot hold: it has no config."""
    system = own_system(checkpoint, ".weights.h5")
    found = lost_of(checkpoint, system)
    order, rate = DIALECTS[system.dialect].weights.order, checkpoint.config.get("learning_rate")
    held = {*OURS, *(order if isinstance(rate, int | float) else ())}
    if names := [k for k, v in checkpoint.config.items() if not (k in held or v is None)]:
        found.append(
            f"the hyperparameters {', '.join(names)}: a .weights.h5 has no place for them (a "
            ".keras has)"
        )
    return found


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write a `.weights.h5`, or put the state into a copy of an existing one."""
    require_h5py()
    system = own_system(checkpoint, ".weights.h5")
    with replacing(path) as file:
        if template is not None:
            checkpoint = aligned(checkpoint, template_of(read, template), str(template))
            put_copy(template, file)
        put_state(file, checkpoint, system, template is None)


def put_state(file: Any, checkpoint: Checkpoint, system: System, fresh: bool) -> None:
    """Write weights (in a fresh file) and the optimizer's variables to an HDF5 file."""
    with hdf5_in(file, fresh) as h5:
        if fresh:
            put_own(h5.attrs, checkpoint, list(written(checkpoint, system)))
            group = h5.create_group(f"{system.home}/weights/vars")
            for i, (name, array) in enumerate(checkpoint.weights.items()):
                put(group, str(i), Entry(name, array, _dtype(checkpoint, name, array)))
        else:
            drop_own(h5.attrs)
        h5.pop("optimizer", None)
        entries = list(disassemble(checkpoint, system))
        homes = {"vars": entries}
        if checkpoint.loss_scale is not None and has_scale(system):
            homes["inner_optimizer/vars"] = entries[4:]
        elif checkpoint.loss_scale is not None:
            homes["_optimizer/vars"] = entries
        for place, part in homes.items():
            group = h5.create_group(f"optimizer/{place}")
            for i, entry in enumerate(part):
                put(group, str(i), entry)


def _dtype(checkpoint: Checkpoint, name: str, array: Any) -> str:
    """Return the dtype to write a weight in."""
    brain = any(v.name == name and v.dtype == "bfloat16" for v in checkpoint.variables)
    return "bfloat16" if brain else np.asarray(array).dtype.name
