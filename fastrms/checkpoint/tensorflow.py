"""TensorFlow checkpoints: object graphs, TF 1 savers, SavedModels; read and written.

The path may be the prefix (`model.ckpt`), its `.index`, a folder of a SavedModel, or a file of
TensorFlow's first format.
"""

from pathlib import Path

from fastrms.checkpoint import tf_names, tf_objects, tf_write
from fastrms.checkpoint.bundle import Bundle, OldFile, write_bundle
from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.graph import GRAPH_KEY
from fastrms.checkpoint.keras_own import aligned
from fastrms.checkpoint.registry import Source
from fastrms.checkpoint.tf_layout import File, Layout, arranged, checkpoint_of, overlay
from fastrms.errors import CheckpointError


def opened(path: Path) -> File:
    """Open what lies at a path.

    Parameters
    ----------
    path : Path
        A prefix, an index, a data file, a folder, or one file of the first format.

    Raises
    ------
    CheckpointError
        Nothing readable is there.
    """
    prefix = _prefix(path)
    if Path(f"{prefix}.index").is_file():
        return Bundle(prefix)
    if path.is_file():
        return OldFile(path)
    raise CheckpointError(
        f"there is no {prefix}.index; give the prefix of a TensorFlow checkpoint."
    )


def _prefix(path: Path) -> Path:
    """Return a checkpoint's prefix from one of its names."""
    if path.is_dir():
        inside = path / "variables" / "variables"
        return inside if inside.parent.is_dir() else path / "variables"
    if path.name.endswith(".index"):
        return path.with_name(path.name.removesuffix(".index"))
    return path.with_name(path.name.partition(".data-")[0])


def layout_of(file: File) -> Layout:
    """Find the optimizer of an opened file."""
    return tf_objects.layout_of(file) if GRAPH_KEY in file else tf_names.layout_of(file)


def read(source: Source) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    source : Source
        The path, and what the caller knows.

    Raises
    ------
    CheckpointError
        The files are damaged, incomplete or ambiguous.
    """
    file = opened(source.path)
    return checkpoint_of(file, arranged(layout_of(file), source.variables), source)


def write(path: Path, checkpoint: Checkpoint, template: Path | None = None) -> None:
    """Write a checkpoint in the layout of its dialect, or into a copy of a template.

    Parameters
    ----------
    path : Path
        The prefix, or its `.index`.
    checkpoint : Checkpoint
        What to write.
    template : Path, optional
        A TensorFlow checkpoint of the same model; all but the optimizer's values is kept.

    Raises
    ------
    CheckpointError
        The dialect has no such files, or the template is of another model.
    """
    if template is None:
        tensors = tf_write.tensors_of(checkpoint)
    else:
        file = opened(template)
        layout = layout_of(file)
        source = Source(template, layout.dialect or checkpoint.dialect)
        known = checkpoint_of(file, layout, source)
        tensors = overlay(file, layout, aligned(checkpoint, known, str(template)))
    write_bundle(_prefix(path), tensors)


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what the format cannot hold."""
    return tf_write.lost(checkpoint)
