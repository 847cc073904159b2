"""What the mirrored systems do to rows of a table: unscale and clip them, sum those given twice.

It is done here with the NumPy form of the rule, for both engines: rows are few, tables are large.
"""

import operator
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import reference
from fastrms.cuda import slices
from fastrms.cuda.slices import Scattered
from fastrms.errors import GradientError
from fastrms.rule import EACH, GLOBAL, Variant
from fastrms.sparse import IndexedSlices, Repeated, Rows
from fastrms.work import Item, Workshop

Array = NDArray[Any]
# Rows given several times are worked on by so many values at a time: larger results would be
# memory that the system hands out anew, and clears, in every step.
PIECE = 1 << 17


def read(shop: Workshop, index: int, value: Any) -> Any:
    """Return a gradient as an array of its variable's shape, or as rows made ready."""
    if isinstance(value, Rows | Scattered):
        return value
    if not isinstance(value, IndexedSlices):
        return shop.as_array(index, value)
    variable = shop.variables.arrays[index]
    if not isinstance(variable, np.ndarray):
        return there(shop, index, value)
    return dense(shop, index, value) if shop.whole else prepared(shop, index, value)


def there(shop: Workshop, index: int, given: IndexedSlices) -> Scattered:
    """Return rows whose values lie on a device, ready for a step there."""
    variable: Any = shop.variables.arrays[index]
    require_table(shop, index)
    values, indices = slices.read(given, variable, partial(refuse, shop, index))
    require_fitting(shop, index, given, values, indices)
    found = slices.scattered(values, indices)
    if not shop.whole:
        require_once(shop, index, found.indices.size < indices.size)
    return found


def laid_out(shop: Workshop, index: int, value: Any) -> Any:
    """Return what `read` gave, an array as flat elements in its variable's order."""
    return value if isinstance(value, Rows | Scattered) else shop.gradient(index, value)


def sums_first(shop: Workshop) -> bool:
    """Tell whether rows given twice are summed before they are clipped."""
    sparse = shop.row.sparse
    if sparse is None or sparse.duplicates == "before clipping":
        return True
    return sparse.duplicates == "squared apart" and shop.norm_kind == GLOBAL


def taken_apart(shop: Workshop) -> bool:
    """Tell whether each value of a row given twice is squared, and makes its step, by itself."""
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
    variable = shop.variables.arrays[item.index]
    size = variable.size // max(len(variable), 1)
    return replace(item, variant=touched, row_size=max(size, 1), rest=rest)


def refuse(shop: Workshop, index: int, what: str, valid: str) -> GradientError:
    """Build the error of rows that do not fit."""
    return GradientError(
        f"the gradient of variable {shop.variables.label(index)} is IndexedSlices with {what}; "
        f"valid: {valid}. Nothing was changed by this step."
    )


def require_table(shop: Workshop, index: int) -> None:
    """Raise if the gradient of a variable cannot be rows."""
    variable, row, refused = shop.variables.arrays[index], shop.row, partial(refuse, shop, index)
    if row.sparse is None:
        raise refused(f"the dialect {row.name!r}, which has none", "an array")
    if not row.sparse.constrained and index in shop.variables.constraints:
        raise refused("a constraint on the variable", "one of the two, as in the real system")
    if not variable.ndim or (not variable.flags.c_contiguous and variable.flags.f_contiguous):
        raise refused(f"a variable of shape {variable.shape}", "a table whose rows lie together")


def require_fitting(
    shop: Workshop, index: int, given: IndexedSlices, values: Any, indices: Array
) -> None:
    """Raise if rows are not rows of their variable."""
    variable, refused = shop.variables.arrays[index], partial(refuse, shop, index)
    if indices.ndim != 1 or (indices.dtype.kind not in "iu" and indices.size):
        found = f"indices of shape {indices.shape} and dtype {indices.dtype}"
        raise refused(found, "a list of integers")
    beyond = indices[(indices < 0) | (indices >= len(variable))]
    if beyond.size:
        raise refused(f"row {beyond[0]}", f"rows 0 to {len(variable) - 1}")
    shape = (indices.size, *variable.shape[1:])
    numbers = "f" if isinstance(given.values, np.ndarray) else "fiu"
    if values.shape != shape or (
        values.dtype.kind not in numbers and values.dtype != variable.dtype
    ):
        found = f"values of shape {values.shape} and dtype {values.dtype}"
        raise refused(found, f"floating-point numbers of shape {shape}")
    if given.dense_shape is not None and tuple(given.dense_shape) != variable.shape:
        valid = f"{variable.shape}, the variable's shape, or None"
        raise refused(f"dense_shape={given.dense_shape}", valid)


def checked(shop: Workshop, index: int, given: IndexedSlices) -> tuple[Array, Array]:
    """Return values (rows by width, in the dtype of the step) and indices, or raise."""
    require_table(shop, index)
    variable = shop.variables.arrays[index]
    # A copy: other threads may change the array between this check and the step.
    indices, values = np.array(given.indices), np.asarray(given.values)
    require_fitting(shop, index, given, values, indices)
    with np.errstate(over="ignore", under="ignore"):
        fitting = values.astype(variable.dtype, copy=False)  # the sums are of our own memory
        fitting = fitting.astype(shop.state.computed(fitting.dtype), copy=False)
        fitting = fitting.reshape(indices.size, variable.size // max(len(variable), 1))
    return fitting, indices.astype(np.uint64)


def _sorted(values: Array, indices: Array) -> tuple[Array, Array, list[Repeated]]:
    """Return the distinct rows in order, the first value of each, and those given several times."""
    count, place = indices.size, np.uint64(indices.size.bit_length())
    # Row and place in one number: a plain sort, twice as fast as a stable argsort.
    keys = np.sort(indices << place | np.arange(count, dtype=np.uint64))
    ordered, order = keys >> place, (keys & ~(~np.uint64(0) << place)).astype(np.intp)
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[:count])
    counts, distinct = np.diff(np.append(first, count)), (ordered[first], values[order[first]])
    often = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts > 1)]
    ends = np.cumsum(counts[often]) * values.shape[1] // PIECE
    pieces = np.split(often, np.flatnonzero(np.diff(ends)) + 1) if often.size else []
    return *distinct, [_in_turns(values, order, some, first, counts) for some in pieces]


def _in_turns(values: Array, order: Any, often: Any, first: Any, counts: Any) -> Repeated:
    """Put the first value of each of some rows before the second of any, and so on."""
    counts = counts[often]
    turns = np.arange(counts[0])
    sizes = np.searchsorted(-counts, -turns)  # how many rows have a value for each turn
    ends = np.cumsum(sizes)
    owners = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
    given = values[order[first[often][owners] + np.repeat(turns, sizes)]]
    return Repeated(often, given, owners, list(map(slice, (ends - sizes).tolist(), ends.tolist())))


def _summed(values: Array, indices: Array) -> tuple[Array, Array]:
    """Return the distinct rows in order and the sums of their values."""
    found, sums, repeated = _sorted(values, indices)
    for some in repeated:
        sums[some.places] = some.added(some.values)
    return found, sums


def dense(shop: Workshop, index: int, given: IndexedSlices) -> Array:
    """Return rows as a gradient of the variable's shape and dtype."""
    values, indices = checked(shop, index, given)
    variable = shop.variables.arrays[index]
    whole = np.zeros((len(variable), values.shape[1]), variable.dtype)
    with np.errstate(all="ignore"):
        found, sums = _summed(values, indices)
        whole[found.astype(np.intp)] = sums
    return whole.reshape(variable.shape)


def prepared(shop: Workshop, index: int, given: IndexedSlices) -> Rows:
    """Return rows ready for a step: unscaled, clipped and summed in the order of the dialect."""
    values, indices = checked(shop, index, given)
    finite = not shop.guarded or bool(np.isfinite(values).all())
    with reference.flushing(shop.row.flushes_subnormals), np.errstate(all="ignore"):
        values = _conditioned(shop, index, values, before_norm(shop, index))
        total, of_sums = 0.0, norm_is_of_sums(shop)
        if not of_sums and shop.norm_kind is not None:
            total = _total(values)
        values = _clipped(shop, index, values, total)
        if taken_apart(shop):
            return Rows(*_sorted(values, indices), total, finite)
        found, sums = _summed(values, indices)
        require_once(shop, index, found.size < indices.size)
        if of_sums and shop.norm_kind is not None:
            seen = shop.before_norm(index)._replace(scaled=False, rescaled=False)
            total = _total(_conditioned(shop, index, sums, seen))
    return Rows(found, sums, [], total, finite)


def _total(values: Array) -> float:
    """Add up squares, chunk after chunk: `sum` rounds otherwise since Python 3.12."""
    return reduce(operator.add, reference.chunk_sums(values.reshape(-1)), 0.0)


def norm_is_of_sums(shop: Workshop) -> bool:
    """Tell whether a norm is that of the sums of rows, not of rows as given."""
    return sums_first(shop) and not (shop.row.sparse is not None and shop.row.sparse.norm_of_rows)


def before_norm(shop: Workshop, index: int) -> Variant:
    """Return what happens to rows before anything is summed."""
    variant = shop.before_norm(index)
    return variant._replace(value_first=False) if sums_first(shop) else variant


def before_sums(shop: Workshop, index: int) -> Variant | None:
    """Return how rows are clipped before they are summed, where the dialect does it then."""
    row, kinds, kind = shop.row, list(shop.acting), shop.norm_kind
    value_last = shop.target(index)._replace(value_last="value" in kinds[-1:])
    if not sums_first(shop):
        if kind == EACH:
            return value_last._replace(factor=True, divisor=True)
        return None if kind == GLOBAL else value_last
    clips = row.sparse is not None and row.sparse.value_clips_rows and "value" in kinds
    return value_last if clips and kind is None else None


def require_once(shop: Workshop, index: int, twice: bool) -> None:
    """Raise if rows are given twice where it is not known what the real system does."""
    row = shop.row
    clips = row.sparse is not None and row.sparse.value_clips_rows and "value" in shop.acting
    if twice and clips and sums_first(shop) and shop.norm_kind is not None:
        valid = "each row once, or one kind of clipping: the real system's order was not recorded"
        what = f"rows given twice, clipnorm and clipvalue in the dialect {row.name!r}"
        raise refuse(shop, index, what, valid)


def _conditioned(
    shop: Workshop, index: int, values: Array, variant: Variant, clip: Any = (1, 1)
) -> Array:
    """Apply the conditioning of a variant to values."""
    hyper = shop.numbers[shop.variables.arrays[index].dtype].hyper
    condition: Callable[..., Array] = reference.condition
    return condition(values, values, clip, hyper, variant)


def _clipped(shop: Workshop, index: int, values: Array, total: float) -> Array:
    """Clip rows before they are summed, where the dialect does it then."""
    variant = before_sums(shop, index)
    hyper = shop.numbers[shop.variables.arrays[index].dtype].hyper
    if variant is None:
        return values
    clip: Any = (1, 1)
    if variant.factor:
        norm, target = values.dtype.type(np.sqrt(total)), shop.target(index)
        numbers = hyper.clipnorm, hyper.inverse_clipnorm, hyper.one
        clip = reference.clip_pair(norm, *numbers, shop.norm_kind, target)
    return _conditioned(shop, index, values, variant, clip)
