"""What the mirrored systems do to rows of a table: unscale and clip them, sum those given twice.

It is done here with the NumPy form of the rule, for both engines: rows are few, tables are large.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import reference
from fastrms.errors import GradientError
from fastrms.rule import EACH, GLOBAL, Variant
from fastrms.sparse import IndexedSlices, Rows
from fastrms.work import Item, Workshop

Array = NDArray[Any]


def read(shop: Workshop, index: int, value: Any) -> Array | Rows:
    """Return a gradient as an array of its variable's shape, or as rows made ready."""
    if isinstance(value, Rows):
        return value
    if not isinstance(value, IndexedSlices):
        return shop.as_array(index, value)
    variable = shop.variables.arrays[index]
    wide = shop.state.computed(variable.dtype) != variable.dtype
    if wide or not isinstance(variable, np.ndarray):
        where = "with slot_dtype" if wide else "on a GPU"
        raise GradientError(
            f"the gradient of variable {shop.variables.label(index)} is IndexedSlices, which a "
            f"step {where} does not take; valid: an array of the variable's shape in its memory. "
            "Nothing was changed."
        )
    return dense(shop, index, value) if shop.whole else prepared(shop, index, value)


def laid_out(shop: Workshop, index: int, value: Any) -> Array | Rows:
    """Return what `read` gave, an array as flat elements in its variable's order."""
    return value if isinstance(value, Rows) else shop.gradient(index, value)


def sums_first(shop: Workshop) -> bool:
    """Tell whether rows given twice are summed before they are clipped."""
    sparse = shop.row.sparse
    if sparse is None or sparse.duplicates == "before clipping":
        return True
    return sparse.duplicates == "squared apart" and shop.norm_kind == GLOBAL


def squares_apart(shop: Workshop) -> bool:
    """Tell whether rows given twice are squared before they are summed."""
    sparse = shop.row.sparse
    return sparse is not None and sparse.duplicates == "squared apart" and not sums_first(shop)


def as_table(shop: Workshop, item: Item) -> Item:
    """Turn a variable's share of an update into that of a step in which its gradient is rows."""
    sparse, whole = shop.row.sparse, item.variant
    if sparse is None:  # `checked` has refused the gradient
        return item
    touched = whole._replace(scaled=False, rescaled=False)
    if sparse.means_as_sums:
        touched = touched._replace(incremental_velocity=False, incremental_average=False)
    early, moving = sums_first(shop), sparse.untouched_variable == "moves"
    if not early:
        touched = touched._replace(
            value_first=False, factor=shop.norm_kind == GLOBAL, divisor=False, value_last=False
        )
    elif sparse.value_clips_rows and len(shop.acting) == 1:
        touched = touched._replace(value_last=False)
    rest: Variant | None = touched._replace(absent=True)
    if not moving and not (early and sparse.duplicates == "squared apart"):
        rest = touched._replace(absent=True, still=True, factor=False)
    if sparse.untouched_slots != "decay" and shop.has_momentum:
        rest = None
    touched = touched._replace(squares_given=squares_apart(shop))
    variable = shop.variables.arrays[item.index]
    size = variable.size // max(len(variable), 1)
    return replace(item, variant=touched, row_size=max(size, 1), rest=rest)


def refuse(shop: Workshop, index: int, what: str, valid: str) -> GradientError:
    """Build the error of rows that do not fit."""
    return GradientError(
        f"the gradient of variable {shop.variables.label(index)} is IndexedSlices with {what}; "
        f"valid: {valid}. Nothing was changed by this step."
    )


def checked(shop: Workshop, index: int, given: IndexedSlices) -> tuple[Array, Array]:
    """Return values (rows by width, in the variable's dtype) and indices, or raise."""
    variable, row, refused = shop.variables.arrays[index], shop.row, partial(refuse, shop, index)
    if row.sparse is None:
        raise refused(f"the dialect {row.name!r}, which has none", "an array")
    if not row.sparse.constrained and index in shop.variables.constraints:
        raise refused("a constraint on the variable", "one of the two, as in the real system")
    if not variable.ndim or (not variable.flags.c_contiguous and variable.flags.f_contiguous):
        raise refused(f"a variable of shape {variable.shape}", "a table whose rows lie together")
    # A copy: other threads may change the array between this check and the step.
    indices, values = np.array(given.indices), np.asarray(given.values)
    if indices.ndim != 1 or (indices.dtype.kind not in "iu" and indices.size):
        found = f"indices of shape {indices.shape} and dtype {indices.dtype}"
        raise refused(found, "a list of integers")
    beyond = indices[(indices < 0) | (indices >= len(variable))]
    if beyond.size:
        raise refused(f"row {beyond[0]}", f"rows 0 to {len(variable) - 1}")
    shape = (indices.size, *variable.shape[1:])
    numbers = "f" if isinstance(given.values, np.ndarray) else "fiu"
    if values.shape != shape or values.dtype.kind not in numbers:
        found = f"values of shape {values.shape} and dtype {values.dtype}"
        raise refused(found, f"floating-point numbers of shape {shape}")
    if given.dense_shape is not None and tuple(given.dense_shape) != variable.shape:
        valid = f"{variable.shape}, the variable's shape, or None"
        raise refused(f"dense_shape={given.dense_shape}", valid)
    with np.errstate(over="ignore", under="ignore"):
        fitting = values.astype(variable.dtype, copy=False)  # the sums are of our own memory
        fitting = fitting.reshape(indices.size, variable.size // max(len(variable), 1))
    return fitting, indices.astype(np.uint64)


def _summed(values: Array, indices: Array, squared: bool) -> tuple[Array, Array, Array | None]:
    """Return the distinct rows in order, the sums of their values and perhaps of their squares."""
    count, place = indices.size, np.uint64(indices.size.bit_length())
    # Row and place in one number: a plain sort, twice as fast as a stable argsort.
    keys = np.sort(indices << place | np.arange(count, dtype=np.uint64))
    ordered, order = keys >> place, (keys & ~(~np.uint64(0) << place)).astype(np.intp)
    fresh = np.append(True, ordered[1:] != ordered[:-1])[:count]
    first = np.flatnonzero(fresh)
    # One piece of memory, which the allocator keeps from step to step; two pieces it gives back.
    parts = np.empty((1 + squared, *values.shape), values.dtype)
    chosen = np.concatenate([order[first], order[~fresh]])
    np.take(values, chosen, axis=0, out=parts[0], mode="clip")
    if squared:
        np.multiply(parts[0], parts[0], out=parts[1])
    counts = np.diff(np.append(first, count))
    for k in range(1, int(counts.max(initial=1))):
        again = np.flatnonzero(counts > k)
        parts[:, again] += parts[:, first.size + first[again] - again + k - 1]
    kept = parts[:, : first.size]
    return ordered[first], kept[0], kept[1].reshape(-1) if squared else None


def dense(shop: Workshop, index: int, given: IndexedSlices) -> Array:
    """Return rows as a gradient of the variable's shape."""
    values, indices = checked(shop, index, given)
    found, sums, _ = _summed(values, indices, False)
    variable = shop.variables.arrays[index]
    whole = np.zeros((len(variable), values.shape[1]), variable.dtype)
    whole[found.astype(np.intp)] = sums
    return whole.reshape(variable.shape)


def prepared(shop: Workshop, index: int, given: IndexedSlices) -> Rows:
    """Return rows ready for a step: unscaled, clipped and summed in the order of the dialect."""
    values, indices = checked(shop, index, given)
    finite = not shop.guarded or bool(np.isfinite(values).all())
    late = sums_first(shop)
    with reference.flushing(shop.row.flushes_subnormals), np.errstate(all="ignore"):
        before = shop.before_norm(index)
        before = before._replace(value_first=before.value_first and not late)
        values = _conditioned(shop, index, values, before)
        total, of_sums = 0.0, late and not (shop.row.sparse and shop.row.sparse.norm_of_rows)
        if not of_sums and shop.norm_kind is not None:
            total = sum(reference.chunk_sums(values.reshape(-1)))
        values = _clipped(shop, index, values, indices, total)
        found, sums, squares = _summed(values, indices, squares_apart(shop))
        if of_sums and shop.norm_kind is not None:
            seen = shop.before_norm(index)._replace(scaled=False, rescaled=False)
            total = sum(reference.chunk_sums(_conditioned(shop, index, sums, seen).reshape(-1)))
    return Rows(found, sums.reshape(-1), squares, total, finite)


def _conditioned(
    shop: Workshop, index: int, values: Array, variant: Variant, clip: Any = (1, 1)
) -> Array:
    """Apply the conditioning of a variant to values."""
    hyper = shop.numbers[values.dtype].hyper
    condition: Callable[..., Array] = reference.condition
    return condition(values, values, clip, hyper, variant)


def _clipped(shop: Workshop, index: int, values: Array, indices: Array, total: float) -> Array:
    """Clip rows before they are summed, where the dialect does it then."""
    row, kinds, kind = shop.row, list(shop.acting), shop.norm_kind
    target, hyper = shop.target(index), shop.numbers[values.dtype].hyper
    value_last = target._replace(value_last="value" in kinds[-1:])
    if not sums_first(shop):
        if kind == EACH:
            norm = values.dtype.type(np.sqrt(total))
            clip = reference.clip_pair(norm, hyper.clipnorm, hyper.one, kind, target)
            each = value_last._replace(factor=True, divisor=True)
            return _conditioned(shop, index, values, each, clip)
        return values if kind == GLOBAL else _conditioned(shop, index, values, value_last)
    if row.sparse is None or not row.sparse.value_clips_rows or "value" not in kinds:
        return values
    if kind is None:
        return _conditioned(shop, index, values, value_last)
    if np.unique(indices).size < indices.size:
        valid = "each row once, or one kind of clipping: the real system's order was not recorded"
        what = f"rows given twice, clipnorm and clipvalue in the dialect {row.name!r}"
        raise refuse(shop, index, what, valid)
    return values
