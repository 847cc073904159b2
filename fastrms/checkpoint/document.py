"""`Checkpoint`: what any file says about an optimizer, in one vocabulary, checked once."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastrms.checkpoint.converting import MARK, converted
from fastrms.checkpoint.health import suspicions
from fastrms.checkpoint.resuming import optimizer_of
from fastrms.checkpoint.scales import require_scale
from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError

Array = NDArray[Any]
DTYPES = ("float16", "float32", "float64", "bfloat16")
_MOST_LISTED = 8


class Variable(NamedTuple):
    """One trained variable as the file knows it; `dtype` may be "bfloat16"."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Writer(NamedTuple):
    """The system that wrote a file, as far as the file tells."""

    system: str
    version: str | None = None
    backend: str | None = None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of one optimizer, free of any file format.

    Attributes
    ----------
    dialect : str or None
        The dialect whose rule wrote the state; None where the file does not tell, and for
        optimizers other than RMSprop.
    writer : Writer
        System, version and backend that wrote the file.
    format : str
        The name of the file format.
    config : dict
        Hyperparameters under the names of the file, plain values only.
    iterations : int or None
        The counter; None where the file has none.
    variables : list of Variable
        Name, shape and dtype of the trained variables, in the optimizer's order.
    slots : dict of str to list of numpy.ndarray or None
        Slots by Keras 3's names (another optimizer's under its own), each a list in the order
        of `variables`, None where a variable has none. bfloat16 arrives as float32.
    loss_scale : dict or None
        The state of a LossScaleOptimizer: ``scale``, ``counter``, ``growth_steps`` and
        ``initial_scale``, those that are known; ``dynamic`` is False for a scale that stays.
    weights : dict of str to numpy.ndarray
        The model's weights by name, trained or not.
    notes : list of str
        What the file does not hold or leaves open, and what in it is suspicious.
    rule : str
        The optimizer's class name.

    Raises
    ------
    CheckpointError
        The parts contradict each other, or a value cannot be.
    """

    dialect: str | None
    writer: Writer
    format: str
    config: dict[str, Any]
    iterations: int | None
    variables: list[Variable]
    slots: dict[str, list[Array | None]]
    loss_scale: dict[str, Any] | None = None
    weights: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rule: str = "RMSprop"

    def __post_init__(self) -> None:
        _check_texts(self)
        _check_variables(self.variables)
        _check_slots(self)
        require_plain(self.config, "config")
        require_plain(self.loss_scale or {}, "loss_scale")
        require_scale(self.loss_scale)
        if self.dialect is not None and self.dialect not in DIALECTS:
            raise CheckpointError(
                f"unknown dialect {self.dialect!r}; valid: {', '.join(DIALECTS)}, or None."
            )
        whole = isinstance(self.iterations, int) and not isinstance(self.iterations, bool)
        if self.iterations is not None and not (whole and 0 <= self.iterations < 2**63):
            raise CheckpointError(
                f"iterations={self.iterations!r} cannot be; valid: a whole number from 0 that "
                "fits in 64 bits, or None. The file is damaged."
            )
        found = [note for note in suspicions(self) if note not in self.notes]
        object.__setattr__(self, "notes", [*self.notes, *found])  # the caller's list stays his

    @property
    def report(self) -> list[str]:
        """What `convert` said will differ from now on."""
        return [note.removeprefix(MARK) for note in self.notes if note.startswith(MARK)]

    def optimizer(self, variables: Any = None, dialect: Any = None, **hyper: Any) -> Any:
        """Return an optimizer that goes on from this state.

        Parameters
        ----------
        variables : list or (nested) dict of numpy.ndarray, optional
            The arrays to train, of the file's shapes: a dictionary is matched by the file's names
            (or the ends of their paths) and may name a part, a list by order. By default copies
            of the file's weights; `trainable_variables` returns them. None is changed here.
        dialect : str, optional
            Another dialect to go on in: `convert` is used.
        **hyper
            Hyperparameters that the file lacks, or that take the place of the file's; for a file
            with a loss scale also `initial_scale`, `dynamic_growth_steps` and `dynamic`.

        Returns
        -------
        fastrms.RMSprop or fastrms.LossScaleOptimizer
            The latter, with scale and counter, around the RMSprop of a file with a loss scale.

        Raises
        ------
        CheckpointError
            The state is another optimizer's, or does not fit the variables or hyperparameters.

        Examples
        --------
        >>> import numpy as np, fastrms
        >>> w = np.ones(2)
        >>> first = fastrms.RMSprop(learning_rate=0.1)
        >>> first.apply([np.ones(2)], [w])
        >>> second = first.checkpoint().optimizer()
        >>> second.iterations, second.trainable_variables[0].tobytes() == w.tobytes()
        (1, True)
        """
        return optimizer_of(self, variables, dialect, hyper)

    def convert(self, dialect: str, lossy: bool = False) -> "Checkpoint":
        """Return the same state in the terms of another dialect.

        Parameters
        ----------
        dialect : str
            The dialect's name.
        lossy : bool
            Whether what the dialect cannot hold is dropped, and what needs rounding rounded.

        Returns
        -------
        Checkpoint
            Its `report` says what will differ from now on.

        Raises
        ------
        CheckpointError
            The dialect cannot hold the state exactly, and `lossy` is false.

        Examples
        --------
        >>> import numpy as np, fastrms
        >>> optimizer = fastrms.RMSprop(dialect="keras-2.3")
        >>> optimizer.build([np.ones(2)])
        >>> optimizer.checkpoint().convert("keras-3").report[0]
        'keras-2.3 to keras-3: epsilon stands inside the square root, no longer outside.'
        """
        converted_state: Checkpoint = converted(self, dialect, lossy)
        return converted_state

    def __repr__(self) -> str:
        slots = ", ".join(self.slots) or "no slots"
        return (
            f"<Checkpoint of {self.rule} ({self.dialect}), {len(self.variables)} variables with "
            f"{slots}, iterations {self.iterations}, {self.format} by {self.writer.system} "
            f"{self.writer.version}>"
        )


def _check_texts(checkpoint: Checkpoint) -> None:
    """Raise unless what is to be text is."""
    system, *more = checkpoint.writer
    texts = (checkpoint.rule, checkpoint.format, system, *checkpoint.notes)
    if not all(isinstance(text, str) for text in texts):
        raise CheckpointError(
            f"rule, format, the writer's system and the notes are texts; received {texts!r:.120}."
        )
    if not all(isinstance(text, str | None) for text in (checkpoint.dialect, *more)):
        raise CheckpointError(
            f"dialect={checkpoint.dialect!r:.40} and the writer's {more!r:.80} are texts, or None "
            "where they are not known."
        )


def _check_variables(variables: list[Variable]) -> None:
    """Raise on a name given twice, or a dtype that no optimizer trains."""
    counts = Counter(v.name for v in variables)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise CheckpointError(f"the variable names {twice[:_MOST_LISTED]} stand there twice.")
    for name, shape, dtype in variables:
        if dtype not in DTYPES:
            raise CheckpointError(
                f"variable {name!r} has dtype {dtype}; valid: {', '.join(DTYPES)}."
            )
        if any(length < 0 for length in shape):
            raise CheckpointError(f"variable {name!r} has the impossible shape {shape}.")


def _check_slots(checkpoint: Checkpoint) -> None:
    """Raise unless every slot has one array of the right shape (or None) per variable."""
    count = len(checkpoint.variables)
    for slot, arrays in checkpoint.slots.items():
        if len(arrays) != count:
            raise CheckpointError(
                f"slot {slot!r} has {len(arrays)} arrays for {count} variables; each variable "
                "has one, or None."
            )
        for variable, array in zip(checkpoint.variables, arrays, strict=True):
            if array is None:
                continue
            # Adam of Keras 2 writes zeros of shape (1,) where AMSGrad would have its maxima.
            idle = checkpoint.rule != "RMSprop" and array.shape in ((), (1,))
            if array.shape != variable.shape and not idle:
                raise CheckpointError(
                    f"slot {slot!r} of variable {variable.name!r} has shape {array.shape}, "
                    f"expected {variable.shape}. The file is damaged, or the variables named "
                    "for it are not those it was written with."
                )
            if array.dtype.name not in DTYPES:
                raise CheckpointError(
                    f"slot {slot!r} of variable {variable.name!r} has dtype {array.dtype}; "
                    f"valid: {', '.join(DTYPES)}."
                )


def require_plain(value: Any, where: str, depth: int = 0) -> None:
    """Raise unless a value is JSON's kind of data, finite and not too deep."""
    if depth > 64:
        raise CheckpointError(f"{where} is nested more than 64 levels deep.")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            require_plain(inner, f"{where}[{str(key)[:60]!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            require_plain(inner, where, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise CheckpointError(f"{where} is {value!r}; valid: finite numbers. The file is damaged.")
    elif not isinstance(value, str | int | float | None):
        raise CheckpointError(f"{where} is of type {type(value).__name__}; valid: plain data.")
