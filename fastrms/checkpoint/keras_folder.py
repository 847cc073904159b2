"""The directory form of `.keras`: config, metadata and weights side by side."""

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastrms.checkpoint import keras_shards, keras_weights
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.isolation import read_tree, require_h5py
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.keras_own import aligned, template_of
from fastrms.checkpoint.keras_zip import CONFIG, METADATA, WEIGHTS, found_of, texts_of
from fastrms.checkpoint.keras_zip import lost as lost
from fastrms.checkpoint.registry import Source
from fastrms.errors import CheckpointError


def read(source: Source) -> Checkpoint:
    """Read the directory form, its weights in one file or in shards."""
    config, metadata = (_json(source.path / name) for name in (CONFIG, METADATA))
    found = found_of("kdir", config, metadata)
    weights = source.path / WEIGHTS
    if weights.is_file():
        tree = read_tree(str(weights), source.trusted)
    else:
        tree = keras_shards.tree_of(replace(source, path=source.path / "model.weights.json"))
    return keras_weights.from_tree(tree, source, found, config)


def _json(path: Path) -> dict[str, Any]:
    """Return a file's JSON; an absent one is empty."""
    if not path.is_file():
        return {}
    if path.stat().st_size > 64 << 20:
        raise CheckpointError(f"{path.name} is larger than 64 MiB.")
    return parsed(path.read_bytes(), path.name)


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write a new folder beside the place, then let it take the place of an older one."""
    require_h5py()
    system = keras_weights.own_system(checkpoint, ".keras")
    config, metadata = texts_of(checkpoint, system, {}, {})
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written ({error.strerror}).") from error
    try:
        with open(fresh / WEIGHTS, "w+b") as weights:
            if template is not None:
                checkpoint = aligned(checkpoint, template_of(read, template), str(template))
                texts = _json(template / CONFIG), _json(template / METADATA)
                config, metadata = texts_of(checkpoint, system, *texts)
                weights.write((template / WEIGHTS).read_bytes())
            keras_weights.put_state(weights, checkpoint, system, template is None)
            os.fsync(weights.fileno())
        (fresh / CONFIG).write_text(json.dumps(config))
        (fresh / METADATA).write_text(json.dumps(metadata))
        fresh.chmod(0o755)
        _put(fresh, path)
    except OSError as error:
        raise CheckpointError(f"{path} could not be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _put(fresh: Path, path: Path) -> None:
    """Move a folder to its place; the older one is gone only when the new one is there."""
    if not path.exists():
        fresh.rename(path)
        return
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file; give the path of a folder, or of none.")
    old = fresh.with_name(fresh.name + ".old")
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)
