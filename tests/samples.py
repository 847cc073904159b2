"""Files of the real systems with their true content, unpacked from tests/checkpoints once.

`samples.tar.xz` holds, per system, files of every format and, for each configuration, an
`.expected.json` (what the file holds, as the real system told it) and an `.expected.npz` (arrays,
and the next three steps of the run that wrote the file). They were recorded by the real systems and
are not edited.
"""

import atexit
import functools
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

ARCHIVE = Path(__file__).parent / "checkpoints" / "samples.tar.xz"


@functools.cache
def folder() -> Path:
    """The unpacked samples."""
    target = Path(tempfile.mkdtemp(prefix="fastrms-samples-"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            path = target / member.name
            if member.isfile():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.extractfile(member).read())
    return target


@functools.cache
def names() -> list[str]:
    """Every file of the archive but the expectations, as system/file."""
    with tarfile.open(ARCHIVE) as archive:
        found = [m.name.removeprefix("./") for m in archive if m.isfile()]
    return sorted(n for n in found if ".expected." not in n)


class Expected(NamedTuple):
    """What a sample holds: its description and its arrays."""

    meta: dict
    arrays: dict

    def split(self, name, shapes="param"):
        """Cut a packed row of arrays into the arrays of the model."""
        flat, found, first = self.arrays[name], [], 0
        for shape in self.meta["shapes"][shapes]:
            count = int(np.prod(shape))
            part = flat[..., first : first + count]
            found.append(part.reshape(*flat.shape[:-1], *shape))
            first += count
        assert first == flat.shape[-1]
        return found


def gradients(recorded: list, optimizer, step: int) -> list:
    """The recorded gradients of a step as `apply` takes them: of the scaled loss, if it is scaled.

    Keras 3's were recorded scaled, those of tf.keras unscaled.
    """
    scale = getattr(optimizer, "dynamic_scale", 1.0) if optimizer.dialect != "keras-3" else 1.0
    found = (np.ascontiguousarray(g[step]) for g in recorded)
    return [g * g.dtype.type(scale) for g in found]


@functools.cache
def expected(name: str) -> Expected:
    """The truth about a sample, by system/configuration.format."""
    system, file = name.split("/", 1)
    base = folder() / system / file.split(".")[0]
    with np.load(f"{base}.expected.npz", allow_pickle=False) as arrays:
        return Expected(json.loads(Path(f"{base}.expected.json").read_text()), dict(arrays))
