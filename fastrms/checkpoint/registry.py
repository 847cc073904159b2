"""Which file is of which format, and who reads and writes it.

A format is a module of this package with three functions:

- ``read(source) -> Checkpoint``: raises `CheckpointError` (without the path, which `load` puts in
  front) on whatever it does not understand. It opens nothing but `source.path` and the files that
  belong to it.
- ``write(path, checkpoint, template=None) -> None``: writes atomically; `template` is an existing
  file whose other contents are kept.
- ``lost(checkpoint) -> list[str]``: a sentence for each thing that the format cannot hold; `save`
  raises with them, or goes on where the caller said `lossy=True`.
"""

import importlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastrms.checkpoint.archive import COPY, DAMAGED
from fastrms.checkpoint.document import Variable
from fastrms.errors import CheckpointError

HDF5 = b"\x89HDF\r\n\x1a\n"
# Lists and dicts in protocols 0 and 1, which have no number in front.
_OLD_PICKLES = (b"(l", b"(d", b"]q", b"}q")
_TABLE_END = bytes.fromhex("57fb808b247547db")  # the last 8 bytes of a LevelDB table


@dataclass(frozen=True)
class Source:
    """A file to read, with what the caller knows about it."""

    path: Path
    dialect: str | None = None
    variables: list[Variable] | None = None
    trusted: bool = False


@dataclass(frozen=True)
class Format:
    """One row of the table: a format's name, its module, and the suffixes that mean it.

    `isolated` says that HDF5 is in it, which a process of its own parses.
    """

    name: str
    module: str
    suffixes: tuple[str, ...] = ()
    isolated: bool = False


# The first row whose suffix fits a path is the format to write; longer suffixes stand first.
FORMATS = (
    Format("weights.h5", "keras_weights", (".weights.h5",), isolated=True),
    Format("weights.json", "keras_shards", (".weights.json",), isolated=True),
    Format("h5", "keras_h5", (".h5", ".hdf5"), isolated=True),
    Format("keras", "keras_zip", (".keras",), isolated=True),
    Format("kdir", "keras_folder", isolated=True),
    Format("tensorflow", "tensorflow", (".ckpt", ".index")),
    Format("npz", "npz", (".npz",)),
    Format("npy", "pickles", (".npy",)),
    Format("safetensors", "safetensors", (".safetensors",)),
    Format("torch", "torch", (".pt", ".pth")),
    Format("pickle", "pickles", (".pkl", ".pickle")),
)
BY_NAME = {row.name: row for row in FORMATS}


def module_of(name: str) -> Any:
    """Import the module of a format, by the format's name."""
    row = BY_NAME.get(name) if isinstance(name, str) else None
    if row is None:
        raise CheckpointError(f"unknown format {name!r}; valid: {', '.join(BY_NAME)}.")
    return importlib.import_module(f"fastrms.checkpoint.{row.module}")


def format_of_suffix(path: Path) -> str:
    """Return the format that a file name asks for."""
    for row in FORMATS:
        if path.name.endswith(row.suffixes or ("\0",)):
            return row.name
    known = ", ".join(suffix for row in FORMATS for suffix in row.suffixes)
    raise CheckpointError(
        f"{path}: the name does not tell the format; valid endings: {known}. Pass format=..."
    )


def sniff(path: Path) -> str:
    """Return the format of what lies at a path, by its first and last bytes, never its name."""
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        if path.with_name(path.name + ".index").is_file():
            return "tensorflow"
        raise CheckpointError(f"{path}: there is no such file, and no {path.name}.index either.")
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(max(0, file.seek(0, 2) - 8))
        tail = file.read(8)
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if has_hdf5(path):
        return "h5"
    if tail == _TABLE_END:
        return "tensorflow"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.lstrip()[:1] == b"{":
        return "weights.json"
    if head[8:9] == b"{":
        return "safetensors"
    if head[:1] == b"\x80" or head[:2] in _OLD_PICKLES:
        return "pickle"
    raise CheckpointError(
        f"{path}: the bytes {head[:8]!r} begin no known format; valid: {', '.join(BY_NAME)}."
    )


def has_hdf5(path: Path) -> bool:
    """Tell whether HDF5 begins at 0 or, after a user block, at 512, 1024, 2048, ..."""
    size, offset = path.stat().st_size, 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            if file.read(8) == HDF5:
                return True
            offset = offset * 2 or 512
    return False


def _kind_of_folder(path: Path) -> str:
    """Tell Keras's directory form from a SavedModel."""
    if (path / "model.weights.h5").is_file() or (path / "model.weights.json").is_file():
        return "kdir"
    tables = sorted(p.name.removesuffix(".index") for p in path.glob("*.index"))
    if (path / "saved_model.pb").is_file() or (path / "variables").is_dir():
        return "tensorflow"
    if "variables" in tables:
        return "tensorflow"
    found = f"; give the prefix of one of its checkpoints: {tables[-8:]}" if tables else ""
    raise CheckpointError(
        f"{path}: a folder without model.weights.h5 (Keras) and saved_model.pb (SavedModel){found}."
    )


def _kind_of_zip(path: Path) -> str:
    """Tell .keras, .npz and .pt apart by their members' names."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGED as error:
        raise CheckpointError(f"{path}: the zip archive is damaged ({error}); {COPY}.") from error
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "keras"
