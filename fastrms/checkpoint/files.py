"""`load` and `save`: any file to a checkpoint, and a checkpoint or optimizer to a file."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastrms.checkpoint import isolation
from fastrms.checkpoint.document import Checkpoint, Variable
from fastrms.checkpoint.registry import BY_NAME, Source, format_of_suffix, module_of, sniff
from fastrms.checkpoint.resuming import list_of, load_into
from fastrms.checkpoint.scales import require_fitting, resume
from fastrms.dialects import get_dialect
from fastrms.errors import ArgumentError, CheckpointError, PortingWarning
from fastrms.variables import flatten


def load(
    path: str | os.PathLike[str], dialect: Any = None, variables: Any = None, trusted: bool = False
) -> Checkpoint:
    """Read optimizer state from a file of any system, telling the format by its bytes.

    Parameters
    ----------
    path : str or path
        A file, a folder, a `.weights.json`, or the prefix of a TensorFlow checkpoint.
    dialect : str, optional
        Whose RMSprop wrote it, where the file does not tell or tells wrong.
    variables : list or (nested) dict of arrays or shapes, or list of Variable, optional
        Names, shapes and dtypes of the trained variables, where the file does not tell.
    trusted : bool
        Whether HDF5 is parsed in this process: faster, and without limits on size and time; but a
        damaged file may then crash or hang this process.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ArgumentError
        The path is none, or `trusted` no switch.
    CheckpointError
        The file is damaged or hostile, or of no known format. Nothing in it is ever executed.
    MissingExtraError
        A package that reads the format is not installed.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, fastrms
    >>> optimizer = fastrms.RMSprop()
    >>> optimizer.build({"w": np.ones(2)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "run.h5"
    ...     fastrms.save(path, optimizer)
    ...     fastrms.load(path).variables
    [Variable(name='w', shape=(2,), dtype='float64')]
    """
    source = Source(
        _path(path),
        None if dialect is None else get_dialect(dialect).name,
        None if variables is None else _declared(variables),
        _flag("trusted", trusted),
    )
    try:
        name = sniff(source.path)
        if BY_NAME[name].isolated and not trusted:
            isolation.begin()
        return module_of(name).read(source)  # type: ignore[no-any-return]
    except CheckpointError as error:
        raise CheckpointError(_located(path, error)) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error


def _path(path: Any, what: str = "path") -> Path:
    """Return a path as such, or raise what is valid."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ArgumentError(
            f"{what} is {path!r:.80}; valid: the name of a file as text or pathlib.Path, as in "
            'fastrms.load("old.h5") and fastrms.save("new.npz", optimizer).'
        )
    return Path(text)


def _flag(name: str, value: Any) -> bool:
    """Return a switch, or raise where something else stands in its place."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name}={value!r:.80} is not valid; valid: True, False.")
    return bool(value)


def _located(path: Any, error: CheckpointError) -> str:
    """Return an error's message with the file's name in front."""
    return str(error) if str(error).startswith(str(path)) else f"{path}: {error}"


def _declared(variables: Any) -> list[Variable]:
    """Return what a caller says about the variables of a file."""
    if not isinstance(variables, Mapping):
        listed = list_of(variables)
        if all(isinstance(v, Variable) for v in listed):
            return listed
        variables = listed
    found = []
    for i, (name, leaf) in enumerate(flatten(variables)):
        array = np.asarray(leaf) if isinstance(leaf, list | int | float) else leaf
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise CheckpointError(
                f"variables[{i}] is {type(leaf).__name__}; valid: arrays, or Variable(name, shape, "
                "dtype)."
            )
        found.append(Variable(name or f"variable_{i}", tuple(array.shape), str(array.dtype)))
    return found


def save(
    path: str | os.PathLike[str],
    state: Any,
    variables: Any = None,
    *,
    format: str | None = None,
    template: str | os.PathLike[str] | None = None,
    lossy: bool = False,
) -> None:
    """Write an optimizer's state to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
        The file; an older one there is replaced only when the new one is complete.
    state : RMSprop, LossScaleOptimizer or Checkpoint
        What to write.
    variables : list or (nested) dict of numpy.ndarray, optional
        An optimizer's variables, to give them names.
    format : str, optional
        The format's name; by default the path's suffix, or the template's format, tells.
    template : str or path, optional
        A file of the real system: its model is kept, slots, counter and config are replaced.
    lossy : bool
        Whether what the format cannot hold is left out with a warning.

    Raises
    ------
    ArgumentError
        A path is none, or `lossy` no switch.
    CheckpointError
        The format cannot hold something, the template is another model's, or the disk is full.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastrms
    >>> optimizer = fastrms.RMSprop()
    >>> optimizer.build([np.ones(2)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastrms.save(os.path.join(folder, "run.keras"), optimizer)
    ...     fastrms.load(os.path.join(folder, "run.keras")).format
    'keras'
    """
    target, model = _path(path), None if template is None else _path(template, "template")
    lossy = _flag("lossy", lossy)
    checkpoint = state if isinstance(state, Checkpoint) else _described(state, variables)
    if isinstance(state, Checkpoint) and variables is not None:
        raise CheckpointError("variables=... belongs to an optimizer; a checkpoint has its own.")
    found = None if model is None else sniff(model)
    if format is None:
        format = found or format_of_suffix(target)
    module = module_of(format)
    try:
        lost = module.lost(checkpoint)
        if lost and not lossy:
            raise CheckpointError(
                f"the format cannot hold {'; nor '.join(lost)}. Choose another format, or pass "
                "lossy=True to leave that out."
            )
        module.write(target, checkpoint, model)
    except CheckpointError as error:
        raise CheckpointError(_located(path, error)) from error
    except OSError as error:
        raise CheckpointError(f"{path} could not be written ({error}).") from error
    if lost:
        warnings.warn(f"{path}: left out {'; and '.join(lost)}.", PortingWarning, stacklevel=2)


def load_scaled(scaler: Any, path: Any, variables: Any, trusted: bool) -> None:
    """Load a file into a LossScaleOptimizer and its inner optimizer, all or nothing."""
    found, core = load(path, trusted=trusted), scaler.inner_optimizer._core
    with core.lock:
        require_fitting(scaler, found)
        load_into(core, found, variables)
        resume(scaler, found)


def _described(state: Any, variables: Any) -> Checkpoint:
    """Return the checkpoint of an optimizer."""
    if isinstance(state, type) or not hasattr(state, "checkpoint"):
        raise CheckpointError(
            f"{state!r:.80} cannot be saved; valid: an RMSprop, a LossScaleOptimizer "
            'or a Checkpoint, as in fastrms.save("new.npz", optimizer).'
        )
    return state.checkpoint(variables)  # type: ignore[no-any-return]
