"""The directory form of `.keras`: config, metadata and weights side by side."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastrms.checkpoint import keras_shards, keras_weights
from fastrms.checkpoint.atomic import exchange, force
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.isolation import read_tree, require_h5py
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.keras_own import aligned, put_copy, template_of
from fastrms.checkpoint.keras_zip import CONFIG, METADATA, WEIGHTS, found_of, texts_of
from fastrms.checkpoint.keras_zip import lost as lost
from fastrms.checkpoint.registry import Source
from fastrms.errors import CheckpointError

_MAP, _ASSETS = "model.weights.json", "assets"
_OURS = re.compile(rf"{CONFIG}|{METADATA}|{_ASSETS}|model(_\d+)?\.weights\.(h5|json)")


def read(source: Source) -> Checkpoint:
    """Read the directory form, its weights in one file or in shards."""
    config, metadata = (_json(source.path / name) for name in (CONFIG, METADATA))
    found = found_of("kdir", config, metadata)
    weights = source.path / WEIGHTS
    if weights.is_file():
        tree = read_tree(str(weights), source.trusted)
    else:
        tree = keras_shards.tree_of(replace(source, path=source.path / _MAP))
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
    _require_own(path)
    if template is not None:
        checkpoint = aligned(checkpoint, template_of(read, template), str(template))
        texts = _json(template / CONFIG), _json(template / METADATA)
        config, metadata = texts_of(checkpoint, system, *texts)
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written ({error.strerror}).") from error
    try:
        if template is not None:
            shutil.copytree(template, fresh, symlinks=True, ignore=_replaced, dirs_exist_ok=True)
        with open(fresh / WEIGHTS, "w+b") as weights:
            if template is not None and (template / WEIGHTS).is_file():
                put_copy(template / WEIGHTS, weights)
            elif template is not None:
                keras_shards.merge(template / _MAP, weights)
            keras_weights.put_state(weights, checkpoint, system, template is None)
            os.fsync(weights.fileno())
        for name, content in ((CONFIG, config), (METADATA, metadata)):
            with open(fresh / name, "w", encoding="utf-8") as file:
                file.write(json.dumps(content))
                file.flush()
                os.fsync(file.fileno())
        fresh.chmod(0o755)
        force(fresh)
        _put(fresh, path)
        force(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path} could not be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _require_own(path: Path) -> None:
    """Raise where a folder holds more than a model, for all of it would be replaced."""
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"{path} is a file; give the path of a folder, or of none.")
    others = (
        [p.name for p in path.iterdir() if not _OURS.fullmatch(p.name)] if path.exists() else []
    )
    if others:
        raise CheckpointError(
            f"{path} is a folder with other things in it ({others[:4]}), which would be lost; give "
            "the path of a new folder, or of one in Keras's directory form."
        )


def _replaced(folder: str, names: list[str]) -> list[str]:
    """Return what of a template's folder is written anew."""
    return [name for name in names if _OURS.fullmatch(name) and name != _ASSETS]


def _put(fresh: Path, path: Path) -> None:
    """Move a folder to its place; an older one changes places with it, in one step."""
    if not path.exists():
        fresh.rename(path)
        return
    try:
        exchange(fresh, path)
    except OSError:  # a file system that has no such step, as some over networks
        old = fresh.with_name(fresh.name + ".old")
        path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old)
