"""Sharded weights of Keras 3: a `.weights.json` that says which `.weights.h5` holds which group."""

import json
import os
import re
from itertools import count
from pathlib import Path
from typing import Any

from fastrms.checkpoint import keras_weights
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.isolation import Tree, read_tree, require_h5py
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.keras_own import aligned, template_of
from fastrms.checkpoint.keras_state import Found
from fastrms.checkpoint.keras_weights import lost as lost
from fastrms.checkpoint.registry import Source
from fastrms.errors import CheckpointError

_MOST_SHARDS = 10_000


def read(source: Source) -> Checkpoint:
    """Read all shards that the file names."""
    return keras_weights.from_tree(tree_of(source), source, Found("weights.json", []))


def tree_of(source: Source) -> Tree:
    """Return the shards put together as if they were one HDF5 file."""
    whole = Tree({}, {}, {}, {})
    for name in _shards(_map_of(source.path)):
        path = source.path.with_name(name)
        if not path.is_file() or path.is_symlink():
            raise CheckpointError(f"the shard {name} is not there (or a link); all are needed.")
        part = read_tree(str(path), source.trusted)
        twice = (part.arrays.keys() | part.odd.keys()) & whole.arrays.keys()
        if twice:
            raise CheckpointError(f"{sorted(twice)[:4]} are in more than one shard.")
        for group, attributes in part.groups.items():
            whole.groups.setdefault(group, {}).update(attributes)
        whole.arrays.update(part.arrays)
        whole.dtypes.update(part.dtypes)
        whole.odd.update(part.odd)
    return whole


def _map_of(path: Path) -> dict[str, Any]:
    """Return which group is in which shards."""
    if path.stat().st_size > 64 << 20:
        raise CheckpointError("the weight map is larger than 64 MiB.")
    found = parsed(path.read_bytes(), "the weight map").get("weight_map")
    if not isinstance(found, dict):
        raise CheckpointError("there is no weight_map: it is no sharded checkpoint of Keras 3.")
    return found


def _shards(found: dict[str, Any]) -> list[str]:
    """Return the names of the shards, each of them beside the map."""
    names = {n for given in found.values() for n in (given if isinstance(given, list) else [given])}
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0:]+\.weights\.h5", name):
            raise CheckpointError(
                f"the weight map names the file {str(name)[:80]!r}; valid: a .weights.h5 beside it."
            )
    if not 0 < len(names) <= _MOST_SHARDS:
        raise CheckpointError(f"the weight map names {len(names)} files.")
    return sorted(names)


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write one shard under a name that is free, and then the map that makes it count."""
    require_h5py()
    system = keras_weights.own_system(checkpoint, ".weights.json")
    if template is not None:
        checkpoint = aligned(checkpoint, template_of(read, template), str(template))
    stem, old = path.name.removesuffix(".weights.json"), _older(path)
    names = (f"{stem}_{k:05d}.weights.h5" for k in count())
    places = (path.with_name(name) for name in names if name not in old)
    shard = next(place for place in places if not os.path.lexists(place))
    try:
        with replacing(path) as file, replacing(shard) as weights:
            if template is not None:
                merge(template, weights)
            keras_weights.put_state(weights, checkpoint, system, template is None)
            file.write(json.dumps(_described(weights, shard.name), indent=4).encode())
    except BaseException:
        shard.unlink(missing_ok=True)
        raise
    for name in old:
        if re.fullmatch(rf"{re.escape(stem)}_\d+\.weights\.h5", name):
            path.with_name(name).unlink(missing_ok=True)


def _older(path: Path) -> list[str]:
    """Return the shards that an older map at a place names, none if it is not readable."""
    try:
        return _shards(_map_of(path))
    except (CheckpointError, OSError):
        return []


def _described(weights: Any, name: str) -> dict[str, Any]:
    """Return the map of an HDF5 file that is the only shard."""
    import h5py

    groups: dict[str, list[str]] = {}
    sizes = []

    def noted(place: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            groups["/" + place.rpartition("/")[0]] = [name]
            sizes.append(float(item.nbytes))

    with h5py.File(weights, "r") as file:
        file.visititems(noted)
    return {"metadata": {"total_size": sum(sizes)}, "weight_map": groups}


def merge(path: Path, target: Any) -> None:
    """Put the shards that a map names together into one HDF5 file."""
    import h5py

    def copied(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            whole.copy(item, whole, name)
        else:
            whole.require_group(name).attrs.update(item.attrs)

    with h5py.File(target, "w") as whole:
        for name in _shards(_map_of(path)):
            with h5py.File(path.with_name(name), "r") as part:
                copied("/", part)
                part.visititems(copied)
