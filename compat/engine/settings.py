"""Settings of the backend: the float type, epsilon, the learning phase, names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .session import FLOATS, SESSION
from .variables import placeholder


def backend() -> str:
    """Return the name of what computes: "fastrms"."""
    return "fastrms"


def floatx() -> str:
    """Return the dtype of new variables."""
    return SESSION.floatx


def set_floatx(floatx: str) -> None:
    """Set the dtype of new variables: "float16", "float32" or "float64"."""
    if floatx not in FLOATS:
        raise ValueError(f"floatx={floatx!r} is not valid; valid: {', '.join(FLOATS)}.")
    SESSION.floatx = str(floatx)


def epsilon() -> float:
    """Return the small number that losses and optimizers add: 1e-7 unless set."""
    return SESSION.epsilon


def set_epsilon(value: float) -> None:
    """Set the small number that losses and optimizers add."""
    SESSION.epsilon = float(value)


def image_data_format() -> str:
    """Return "channels_last" unless set otherwise."""
    return SESSION.image_format


def set_image_data_format(data_format: str) -> None:
    """Keep the setting; no operation here depends on it."""
    SESSION.image_format = str(data_format)


def learning_phase() -> Any:
    """Return the learning phase: an input that is 0 (test) where a function is not given it."""
    if SESSION.learning_phase is not None:
        return SESSION.learning_phase
    if SESSION.phase_expression is None:
        phase = placeholder((), dtype="int32", name="keras_learning_phase")
        phase.given["unfed"] = lambda written: 0
        SESSION.phase_expression = phase
    return SESSION.phase_expression


def set_learning_phase(value: int) -> None:
    """Fix the learning phase for graphs made from now on: 0 (test) or 1 (training)."""
    if value not in (0, 1):
        raise ValueError(f"learning phase {value!r} is not valid; valid: 0 (test), 1 (training).")
    SESSION.learning_phase = int(value)


def clear_session() -> None:
    """Forget names, of layers too, and the learning phase; old graphs go on working."""
    SESSION.counts.clear()
    SESSION.learning_phase = SESSION.phase_expression = None


def set_session(session: Any) -> None:
    """Do nothing: there is no session."""


@contextmanager
def name_scope(name: str) -> Iterator[str]:
    """Do nothing but name a block."""
    yield name


def symbolic(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function itself: everything is symbolic."""
    return func


def get_uid(prefix: str = "") -> int:
    """Return how often a prefix was asked for, counted from 1."""
    return SESSION.number("of layers", prefix) + 1
