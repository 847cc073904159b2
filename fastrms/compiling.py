"""Compile functions once per process, through Numba's disk cache where there is one."""

import functools
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import cfunc, njit
from numba.core.caching import FunctionCache

OPTIONS: dict[str, Any] = {"error_model": "numpy"}
# For functions that only compiled code calls; each wrapper left out saves a tenth of a second.
INNER: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


# This file too: Numba's key of a cached function does not hold the options it is compiled with.
STAMPED: tuple[str, ...] = ("rule", "layout", "compiling", "instructions", "elements", "emitting")
STAMPED += ("program", "inspection", "kernels", "tables", "errors")


@functools.cache
def stamp() -> str:
    """Digest the sources that end up in machine code, to be closed over by what is compiled."""
    sources = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in STAMPED)
    return hashlib.sha256(b"".join(sources)).hexdigest()


_reasons: list[str] = []
_kept: list[Any] = []


def _advice(python: Callable[..., Any]) -> str:
    """Say what helps where the cache has a folder, and where Numba found none."""
    try:
        folder = FunctionCache(python).cache_path
    except RuntimeError:  # Numba found no place that can be written
        return "Set NUMBA_CACHE_DIR to a writable folder."
    return f"Delete the folder {folder}, if it is damaged, or set NUMBA_CACHE_DIR to another."


def _warn_uncached(reason: str, python: Callable[..., Any]) -> None:
    """Say once that every process will compile anew."""
    _reasons.append(reason)
    if len(_reasons) > 1:
        return
    warnings.warn(
        f"fastrms cannot use Numba's disk cache ({reason}). Everything works, but each process "
        f"compiles its kernels anew (about a second). {_advice(python)}",
        RuntimeWarning,
        stacklevel=2,
    )


def _with_cache(build: Callable[[bool], Any], python: Callable[..., Any]) -> Any:
    """Build with the disk cache, or without it where it cannot be written or is damaged."""
    try:
        return build(True)
    except Exception as error:  # damaged files raise anything
        built = build(False)  # which raises again what has nothing to do with the cache
        _warn_uncached(f"{type(error).__name__}: {error}", python)
        return built


@functools.cache
def function(
    make: Callable[[str], Callable[..., Any]], signature: Any, nogil: bool = True
) -> Callable[..., Any]:
    """Compile what a factory writes; other Python threads run meanwhile if `nogil`."""
    python = make(stamp())
    built = _with_cache(
        lambda cache: njit(signature, cache=cache, nogil=nogil, no_cfunc_wrapper=True, **OPTIONS)(
            python
        ),
        python,
    )
    # Past the dispatcher, which looks at the types of arguments that can have only these: half a
    # microsecond. A member of Numba's own `CompileResult` (seen in 0.61.2 and 0.68.1).
    direct: Callable[..., Any] = built.overloads[signature.args].entry_point
    _kept.append(built)
    return direct


def address(python: Callable[..., Any], signature: Any) -> int:
    """Return the address of a C function; the machine code lives as long as the process."""
    built = _with_cache(lambda cache: cfunc(signature, cache=cache, **OPTIONS)(python), python)
    _kept.append(built)
    return int(built.address)
