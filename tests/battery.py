"""What several tests share: a table of options, arrays of every layout, and exact comparison."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastrms
from fastrms.dialects import Dialect

Array = NDArray[Any]

# Options by readable name; a row takes part where it has every argument named.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True, "epsilon": 1e-3},
    "momentum_centered": {"momentum": 0.9, "centered": True, "epsilon": 1e-3},
    "decay": {"decay": 0.25},
    "weight_decay": {"weight_decay": 0.125, "momentum": 0.9},
    "clipnorm": {"clipnorm": 0.75},
    "clipvalue": {"clipvalue": 0.5},
    "both_clips": {"clipvalue": 0.5, "clipnorm": 0.75},
    "global_clipnorm": {"global_clipnorm": 0.75},
    "ema": {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 2},
    "scaled_accumulated": {"loss_scale_factor": 8.0, "gradient_accumulation_steps": 2},
    "ema_accumulated_clipped": {
        "use_ema": True,
        "ema_momentum": 0.75,
        "gradient_accumulation_steps": 2,
        "global_clipnorm": 0.75,
        "weight_decay": 0.125,
    },
}


def fits(row: Dialect, options: dict[str, Any]) -> bool:
    """Tell whether a dialect has these options and lets them stand together."""
    used = {name for name, argument in row.arguments.items() if argument.effect == "used"}
    rivals = {"clipnorm", "clipvalue"} <= set(options) and row.clipping.rivals == "refused"
    return set(options) <= used and not rivals


def combinations(*names: str) -> Iterator[tuple[str, str]]:
    """Yield every (dialect, option name) that fits, for some option names or all."""
    for row in fastrms.DIALECTS.values():
        for name in names or OPTIONS:
            if fits(row, OPTIONS[name]):
                yield row.name, name


def optimizer(dialect: str, options: str | dict[str, Any] = "plain") -> fastrms.RMSprop:
    """Make an optimizer whose steps are large enough to see."""
    chosen = OPTIONS[options] if isinstance(options, str) else options
    return fastrms.RMSprop(**{"learning_rate": 0.0625, "epsilon": 1e-4, **chosen}, dialect=dialect)


def numbers(shape: Any, dtype: Any, seed: int = 0) -> Array:
    """Return random numbers of a dtype."""
    values = np.random.default_rng([seed, *np.atleast_1d(shape)]).standard_normal(shape)
    return np.asarray(values, dtype)


def odd_numbers(shape: Any, dtype: Any, seed: int = 0) -> Array:
    """Return random numbers among which NaN, infinities, zeros and subnormals are strewn."""
    values, limits = numbers(shape, dtype, seed), np.finfo(dtype)
    tiny, least = limits.tiny, limits.smallest_subnormal
    strange = [np.nan, np.inf, -np.inf, 0.0, -0.0, least, -least, tiny / 2, tiny, limits.max, -tiny]
    flat = values.reshape(-1)
    for k, value in enumerate(strange):
        flat[7 * k + 1 :: 97] = value
    return values


LAYOUTS = ("C", "F", "strided", "backward", "offset")


def laid_out(values: Array, layout: str) -> Array:
    """Return an array with these values in a memory layout."""
    if layout == "C":
        return np.array(values, order="C")
    if layout == "F":
        return np.array(values, order="F")
    if layout == "offset":
        store = np.zeros(values.size + 1, values.dtype)
        result = store[1:].reshape(values.shape)
    else:
        wide = (*values.shape[:-1], 2 * values.shape[-1]) if values.ndim else (2,)
        store = np.zeros(wide, values.dtype)
        result = store[..., ::2] if values.ndim else store[1:].reshape(())
        if layout == "backward" and values.ndim:
            result = result[..., ::-1]
    result[...] = values
    return result


def canonical(array: Array) -> bytes:
    """Return an array's bits in C order, every NaN written alike."""
    array = np.array(array, order="C")
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.tobytes()


def digest(arrays: Iterable[Array]) -> str:
    """Hash arrays by their bits."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype} {array.shape}".encode() + canonical(array))
    return total.hexdigest()


def snapshot(opt: fastrms.RMSprop, arrays: Iterable[Array]) -> tuple[Any, ...]:
    """Return all that a step may change, as bits."""
    core = opt._core
    stepper = core.stepper
    slots = stepper.state.slots if stepper else {}
    return (
        opt.iterations,
        [canonical(a) for a in arrays],
        [(key, canonical(slot)) for key, slot in slots.items()],
        [canonical(w) for w in opt.get_weights()] if stepper else None,
        stepper.calls if stepper else core.calls_before_build,
    )


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter with this session's caches."""
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def says_all(message: str, parts: Any) -> None:
    """Check the parts of a message: what, received, valid, what to do."""
    for part in parts:
        assert re.search(part, message), f"{part!r} is not in: {message}"
    assert len(message) < 700


LARGE = 300_000  # several chunks, and enough bytes for threads
CLIPPED: dict[str, Any] = {"momentum": 0.9, "centered": True, "global_clipnorm": 5.0}


def scene(seed: int = 0, size: int = LARGE, **options: Any) -> tuple[fastrms.RMSprop, Any, Any]:
    """Return an optimizer with its variables and gradients, one step made."""
    variables = [numbers(size, "float32", seed), numbers((3, 5), "float64", seed)]
    gradients = [numbers(v.shape, v.dtype, seed + 1) for v in variables]
    optimizer = fastrms.RMSprop(**{"learning_rate": 0.01, **CLIPPED, **options})
    optimizer.apply(gradients, variables)
    return optimizer, variables, gradients


def bits(optimizer: fastrms.RMSprop, variables: Any) -> str:
    """Hash variables and state."""
    return digest([*variables, *optimizer.get_weights()])


def references(steps: int, size: int = LARGE, **options: Any) -> list[str]:
    """Return the hashes after each number of steps."""
    optimizer, variables, gradients = scene(size=size, **options)
    found = ["", bits(optimizer, variables)]
    for _ in range(steps):
        optimizer.apply(gradients)
        found.append(bits(optimizer, variables))
    return found
