"""Moving averages in the place of the variables: for good after training, or for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastrms.errors import StateError, VariableError
from fastrms.stepper import Stepper
from fastrms.variables import leaves_of
from fastrms.weights import Core

_SWAPPED = (
    "the variables hold their moving averages (swapped_ema), so nothing may change or save them; "
    "leave the `with` block first. Nothing was changed."
)


def _chosen(stepper: Stepper, variables: Any) -> list[int]:
    """Return which variables are meant, all by default, of those that have an average."""
    chosen = list(range(len(stepper.variables.arrays)))
    if variables is not None:
        leaves = leaves_of(variables)
        found = [stepper.variables.index(leaf) for leaf in leaves]
        if None in found:
            raise VariableError(
                f"array {found.index(None)} is not a variable of this optimizer; pass those given "
                "to build(), or none at all."
            )
        chosen = [i for i in found if i is not None]
    return [i for i in chosen if ("average", i) in stepper.state.slots]


def require_live(core: Core) -> None:
    """Raise while the variables hold their moving averages."""
    if core.refusal is _SWAPPED:
        raise StateError(_SWAPPED)


def finalize(core: Core, variables: Any) -> None:
    """Copy moving averages into variables."""
    require_live(core)
    stepper = core.stepper
    if stepper is None or not core.settings.use_ema:
        return
    chosen = _chosen(stepper, variables)
    stepper.require_unchanged()
    for i in chosen:
        stepper.variables.arrays[i][...] = stepper.state.shaped("average", i)


@contextmanager
def swapped(core: Core, variables: Any) -> Iterator[None]:
    """Hold the moving averages in the variables until the block ends, however it ends."""
    stepper = core.stepper
    with core.lock:
        if core.refusal != core.at_rest:
            raise StateError(core.refusal)
        if stepper is None or not core.settings.use_ema or not stepper.calls:
            raise StateError(
                "there are no moving averages to swap in (use_ema="
                f"{core.settings.use_ema}, calls: {stepper.calls if stepper else 0}); valid: "
                "an optimizer with use_ema=True that has made a step."
            )
        chosen, before = _chosen(stepper, variables), core.refusal
        stepper.require_unchanged()
        arrays = [stepper.variables.arrays[i] for i in chosen]
        live = [array.copy() for array in arrays]
        core.refusal = _SWAPPED
    try:
        for i, array in zip(chosen, arrays, strict=True):
            array[...] = stepper.state.shaped("average", i)
        yield
    finally:
        core.refusal = before
        for array, values in zip(arrays, live, strict=True):
            if array.shape == values.shape:
                array[...] = values
        stepper.require_unchanged()
