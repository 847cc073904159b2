"""`model.save('x.h5')` of every Keras: one group of model weights, one of optimizer weights."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from fastrms.checkpoint import keras_weights
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.hdf5_names import entry_of, names_of, put_entries, put_names
from fastrms.checkpoint.hdf5_writing import hdf5_in
from fastrms.checkpoint.isolation import Tree, read_tree, require_h5py
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.keras_entries import (
    Entry,
    Found,
    config_of,
    disassemble,
    lost_of,
    require_system,
    scaler_config,
    written,
)
from fastrms.checkpoint.keras_own import aligned, drop_own, own_of, put_copy, put_own, template_of
from fastrms.checkpoint.keras_state import assemble
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tables import UNTRAINED, System
from fastrms.errors import CheckpointError

_MOST_NAME = 1000


def read(source: Source) -> Checkpoint:
    """Read an HDF5 file of any Keras."""
    tree = read_tree(str(source.path), source.trusted)
    if "/optimizer/vars" in tree.groups or "/layers" in tree.groups:
        return keras_weights.from_tree(tree, source)
    if "/_layer_checkpoint_dependencies" in tree.groups:
        return keras_weights.from_tree(tree, source)
    found = _found(tree)
    found.own = own_of(tree.groups[""])
    return assemble(found, source)


def _found(tree: Tree) -> Found:
    """Return what the groups and attributes of an `.h5` hold."""
    root = tree.groups[""]
    home = "/model_weights" if "/model_weights" in tree.groups else ""
    if "/optimizer_weights" not in tree.groups and "layer_names" not in tree.groups[home]:
        raise CheckpointError("the HDF5 file is none of Keras's: it has no layers and no slots.")
    notes: list[str] = []
    nameless = [path for path, dtype in tree.dtypes.items() if dtype == "V2"]
    if nameless and str(root.get("keras_version")).startswith("3."):
        # keras 3.15.1 legacy_h5_format writes ml_dtypes' bfloat16, and HDF5 forgets its name.
        tree.dtypes.update(dict.fromkeys(nameless, "bfloat16"))
        notes.append("arrays of two nameless bytes are read as bfloat16, as Keras 3 writes it.")
    weights = _weights(tree, home, notes)
    training = root.get("training_config")
    config = parsed(training, "training_config") if training is not None else {}
    model = root.get("model_config")
    frozen = _frozen(parsed(model, "model_config")) if model is not None else set()
    trained = [e for e in weights if not e.name.partition(":")[0].endswith(UNTRAINED)]
    trained = [e for e in trained if e.dtype[:2] in ("fl", "bf")]
    thawed = [e for e in trained if not frozen & _owners(e.name)]
    version, backend = root.get("keras_version"), root.get("backend")
    return Found(
        format="h5",
        entries=_entries(tree, "/optimizer_weights", notes),
        optimizer=config.get("optimizer_config"),
        version=version if isinstance(version, str) else None,
        backend=backend if isinstance(backend, str) else None,
        weights=weights,
        trained=[thawed, trained],
        notes=notes,
    )


def _entries(tree: Tree, group: str, notes: list[str]) -> list[Entry]:
    """Return the arrays of a group in the order of its `weight_names`."""
    if group not in tree.groups:
        return []
    names = names_of(tree.groups[group], "weight_names", group)
    if names is None:
        if tree.counts[group]:
            raise CheckpointError(f"{group} has arrays but no weight_names: no order is known.")
        return []
    extra = tree.counts[group] - len(names)
    if extra > 0 and group == "/optimizer_weights":
        notes.append(f"{extra} arrays in {group} are not in weight_names and were left out.")
    return [entry_of(tree, f"{group}/{name}", name) for name in names]


def _weights(tree: Tree, home: str, notes: list[str]) -> list[Entry]:
    """Return the model's weights in the order of its layers."""
    weights: list[Entry] = []
    for layer in names_of(tree.groups[home], "layer_names", home or "/") or []:
        group = f"{home}/{layer}"
        if group not in tree.groups:
            raise CheckpointError(f"{group} is named in layer_names but is not there.")
        weights += _entries(tree, group, notes)
    top = f"{home}/top_level_model_weights"
    if top in tree.groups:
        weights += _entries(tree, top, notes)
    taken: set[str] = set()
    for i, entry in enumerate(weights):
        if entry.name in taken:
            weights[i] = entry._replace(name=f"{entry.name}#{i}")
        taken.add(weights[i].name)
    return weights


def _owners(weight: str) -> set[str]:
    """Return what a weight's layer may be called: a step of its path, or a start before a `_`."""
    starts = {weight[: mark.start()] for mark in re.finditer("_", weight[:_MOST_NAME])}
    return starts | set(re.split(r"[/:]", weight))


def _frozen(value: Any) -> set[str]:
    """Return the names of the layers that a model's config calls not trainable."""
    found: set[str] = set()
    if isinstance(value, dict):
        if value.get("trainable") is False and isinstance(value.get("name"), str):
            found.add(value["name"])
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            found |= _frozen(inner)
    return found


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what an `.h5` of the checkpoint's dialect cannot hold."""
    return lost_of(checkpoint, require_system(checkpoint, "h5"))


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write an `.h5`, or put the state into a copy of an existing one."""
    require_h5py()
    system = require_system(checkpoint, "h5")
    if template is not None:
        known = template_of(read, template)
        if known.format == "weights.h5":
            keras_weights.write(path, checkpoint, template)
            return
        checkpoint = aligned(checkpoint, known, str(template))
        system = require_system(known, "h5")
    with replacing(path) as file:
        if template is not None:
            put_copy(template, file)
        with hdf5_in(file, fresh=template is None) as h5:
            if template is None:
                _put_model(h5, checkpoint, system)
                put_own(h5.attrs, checkpoint, list(written(checkpoint, system)))
            else:
                drop_own(h5.attrs)
            _put_config(h5, checkpoint, system)
            if checkpoint.slots or checkpoint.iterations is not None:
                h5.pop("optimizer_weights", None)
                group = h5.create_group("optimizer_weights")
                put_entries(group, list(disassemble(checkpoint, system)))


def _put_model(h5: Any, checkpoint: Checkpoint, system: System) -> None:
    """Write version, backend and the model's weights, without an architecture."""
    same = checkpoint.writer.system == system.name
    version = checkpoint.writer.version if same else None
    h5.attrs["keras_version"] = np.bytes_(version or system.typical)
    if checkpoint.writer.backend or not system.name_order:
        h5.attrs["backend"] = np.bytes_(checkpoint.writer.backend or "tensorflow")
    home = h5.create_group("model_weights")
    put_names(home.attrs, "layer_names", ["weights"] if checkpoint.weights else [])
    if checkpoint.weights:
        dtypes = {v.name: v.dtype for v in checkpoint.variables}
        entries = [
            Entry(f"w{i}", a, dtypes[n] if dtypes.get(n) == "bfloat16" else a.dtype.name)
            for i, (n, a) in enumerate(checkpoint.weights.items())
        ]
        put_entries(home.create_group("weights"), entries)


def _put_config(h5: Any, checkpoint: Checkpoint, system: System) -> None:
    """Put the optimizer's class and config into `training_config`."""
    if checkpoint.rule == "none":
        return
    old = h5.attrs.get("training_config")
    config = parsed(old, "training_config") if old is not None else {}
    optimizer: dict[str, Any] = {
        "class_name": system.prefix + checkpoint.rule,
        "config": config_of(checkpoint, system),
    }
    if checkpoint.loss_scale is not None:
        optimizer = {"class_name": system.scaler, "config": scaler_config(checkpoint, optimizer)}
    config["optimizer_config"] = optimizer
    h5.attrs["training_config"] = np.bytes_(json.dumps(config).encode())
