"""Sharded weights of Keras 3: a `.weights.json` that says which `.weights.h5` holds which group."""

import json
import re
from pathlib import Path
from typing import Any

from fastrms.checkpoint import keras_weights
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.isolation import Tree, read_tree
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
    if source.path.stat().st_size > 64 << 20:
        raise CheckpointError("the weight map is larger than 64 MiB.")
    found = parsed(source.path.read_bytes(), "the weight map").get("weight_map")
    if not isinstance(found, dict):
        raise CheckpointError("there is no weight_map: it is no sharded checkpoint of Keras 3.")
    whole = Tree({}, {}, {}, {})
    for name in _shards(found):
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
    """Write one shard and then the map that makes it count."""
    if template is not None:
        checkpoint = aligned(checkpoint, template_of(read, template), str(template))
    shard = path.with_name(path.name.removesuffix(".weights.json") + "_00000.weights.h5")
    keras_weights.write(shard, checkpoint)
    arrays = read_tree(str(shard), True).arrays
    groups = {name.rpartition("/")[0]: [shard.name] for name in arrays}
    total = float(sum(array.nbytes for array in arrays.values()))
    with replacing(path) as file:
        content = {"metadata": {"total_size": total}, "weight_map": groups}
        file.write(json.dumps(content, indent=4).encode())
