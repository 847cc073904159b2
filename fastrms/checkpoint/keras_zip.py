"""`.keras` of Keras 3 and tf.keras 2.12, and its directory form: a config beside the weights."""

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fastrms.checkpoint import keras_weights
from fastrms.checkpoint.archive import STEP, opened
from fastrms.checkpoint.atomic import replacing
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.hdf5_limits import FREE, RATIO
from fastrms.checkpoint.isolation import read_tree, require_h5py
from fastrms.checkpoint.jsons import parsed
from fastrms.checkpoint.keras_entries import Found, config_of, lost_of, scaler_config
from fastrms.checkpoint.keras_own import aligned, template_of
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tables import System
from fastrms.errors import CheckpointError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def read(source: Source) -> Checkpoint:
    """Read a zipped `.keras`."""
    with honest(source.path) as archive:
        if WEIGHTS not in archive.namelist():
            raise CheckpointError(f"the zip archive has no {WEIGHTS}: it is no .keras file.")
        config = json_of(archive, CONFIG)
        metadata = json_of(archive, METADATA)
        number = os.memfd_create("weights")
        try:
            with archive.open(WEIGHTS) as member, open(number, "wb", closefd=False) as copy:
                shutil.copyfileobj(member, copy, STEP)
            tree = read_tree(f"/proc/self/fd/{number}", source.trusted)
        finally:
            os.close(number)
    return keras_weights.from_tree(tree, source, found_of("keras", config, metadata), config)


def found_of(form: str, config: dict[str, Any], metadata: dict[str, Any]) -> Found:
    """Return what config and metadata say."""
    compiled = config.get("compile_config")
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    notes = []
    if isinstance(optimizer, str):  # compiled by name, never built
        optimizer = {"class_name": optimizer, "config": {}}
    if not isinstance(optimizer, dict):
        optimizer = None
        notes.append("the config names no optimizer (Keras 3 loads such a file with a fresh one).")
    version = metadata.get("keras_version")
    version = version if isinstance(version, str) else None
    module = str((optimizer or {}).get("module"))
    backend = "torch" if ".torch." in module else None
    return Found(form, [], optimizer, version, backend, notes=notes)


@contextmanager
def honest(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members neither overlap nor expand beyond measure."""
    with opened(path) as archive:
        listed = archive.infolist()
        if sum(member.compress_size for member in listed) > path.stat().st_size:
            raise CheckpointError(
                "the zip archive's members claim more bytes than it has; refused."
            )
        for member in listed:
            if member.file_size > max(FREE, RATIO * member.compress_size):
                raise CheckpointError(
                    f"the zip archive's member {member.filename[:80]!r} claims {member.file_size} "
                    f"bytes, but {member.compress_size} are stored; refused."
                )
        yield archive


def json_of(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    """Return a member's JSON; an absent one is empty."""
    if name not in archive.namelist():
        return {}
    if archive.getinfo(name).file_size > 64 << 20:
        raise CheckpointError(f"the member {name} is larger than 64 MiB.")
    return parsed(archive.read(name), name)


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what a `.keras` of the checkpoint's dialect cannot hold."""
    return lost_of(checkpoint, keras_weights.own_system(checkpoint, ".keras"))


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write a `.keras`, or put the state into a copy of an existing one."""
    require_h5py()
    system = keras_weights.own_system(checkpoint, ".keras")
    config, metadata = texts_of(checkpoint, system, {}, {})
    if template is not None:
        checkpoint = aligned(checkpoint, template_of(read, template), str(template))
    with (
        replacing(path) as file,
        tempfile.TemporaryFile(dir=path.parent) as weights,
        contextlib.nullcontext() if template is None else honest(template) as old,
    ):
        if old is not None:
            texts = json_of(old, CONFIG), json_of(old, METADATA)
            config, metadata = texts_of(checkpoint, system, *texts)
            with old.open(WEIGHTS) as member:
                shutil.copyfileobj(member, weights, STEP)
        keras_weights.put_state(weights, checkpoint, system, old is None)
        _pack(file, {METADATA: metadata, CONFIG: config}, weights, old)


def texts_of(
    checkpoint: Checkpoint, system: System, config: dict[str, Any], metadata: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a file's config with the optimizer in it, and its metadata or fresh ones."""
    old = config.get("compile_config")
    compiled = dict(old) if isinstance(old, dict) else {}
    compiled["optimizer"] = _optimizer(checkpoint, system)
    fresh = {"keras_version": _version(checkpoint, system), "date_saved": ""}
    return {**config, "compile_config": compiled}, metadata or fresh


def _version(checkpoint: Checkpoint, system: System) -> str:
    """Return the version to write: the writer's own, if it wrote such files."""
    same = checkpoint.writer.system == system.name and checkpoint.writer.version
    return (same and checkpoint.writer.version) or system.typical


def _optimizer(checkpoint: Checkpoint, system: System) -> dict[str, Any] | None:
    """Return the optimizer's entry in `compile_config`."""
    if checkpoint.rule == "none":
        return None
    optimizer = {
        "module": system.module,
        "class_name": checkpoint.rule,
        "config": config_of(checkpoint, system),
        "registered_name": None,
    }
    if checkpoint.loss_scale is None:
        return optimizer
    inner: dict[str, Any] = optimizer
    if system.scaler_module != system.module:  # tf.keras writes the inner one as an .h5 has it
        inner = {"class_name": system.prefix + checkpoint.rule, "config": optimizer["config"]}
    config = scaler_config(checkpoint, inner)
    scaler = {"module": system.scaler_module, "class_name": system.scaler, "config": config}
    return {**optimizer, **scaler}


def _pack(file: BinaryIO, texts: dict[str, Any], weights: Any, old: zipfile.ZipFile | None) -> None:
    """Write the three members as Keras does, stored, the weights last, then a template's others."""
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, content in texts.items():
            archive.writestr(zipfile.ZipInfo(name), json.dumps(content))
        weights.seek(0)
        member = zipfile.ZipInfo(WEIGHTS)
        member.file_size = os.fstat(weights.fileno()).st_size
        with archive.open(member, "w") as target:
            shutil.copyfileobj(weights, target, STEP)
        for other in old.infolist() if old is not None else ():
            if other.filename not in (*texts, WEIGHTS) and old is not None:
                fresh = zipfile.ZipInfo(other.filename, other.date_time)
                fresh.file_size = other.file_size
                with old.open(other) as source, archive.open(fresh, "w") as target:
                    shutil.copyfileobj(source, target, STEP)
