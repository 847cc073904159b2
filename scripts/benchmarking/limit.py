"""The yardstick: our own program on the same arrays with the same threads, less the arithmetic.

Every array that a variant reads is read and every array that it writes is written; the values stay
as they were, because what is mixed into them is masked by a zero that the compiler cannot see.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, cfunc, types

from fastrms import kernels
from fastrms.elements import pointer
from fastrms.layout import Count
from fastrms.program import ALONE, Column, Order
from fastrms.rule import Variant, moves
from fastrms.tables import Slate
from fastrms.work import Item

_POINTERS = [types.CPointer(kind) for kind in (types.uint64, types.float32, types.uint32)]
_SIGNATURE = types.void(*_POINTERS)
_STREAM = types.void(*_POINTERS[:2], types.CPointer(types.float32))
_kept: list[Any] = []


def make_traffic(variant: Variant) -> Callable[..., None]:
    """Write the loop of `fastrms.kernels.make_loop` with memory traffic alone."""
    updates, ema = variant.update, variant.ema
    centered, has_momentum = variant.centered, variant.momentum
    loads, stores = updates and not variant.absent, moves(variant)

    def loop(row, numbers, like):  # type: ignore[no-untyped-def]
        n = row[2]
        mask = np.uint32(n >> np.uint64(32))
        variables = carray(pointer(like, row[3]), (n,))
        gradients = carray(pointer(like, row[4]), (n,))
        velocities = carray(pointer(like, row[5]), (n,))
        momenta = carray(pointer(like, row[6]), (n,))
        average_gradients = carray(pointer(like, row[7]), (n,))
        averages = carray(pointer(like, row[8]), (n,))
        for i in range(n):
            # All loads come first: a load behind a store to the same place in another page waits.
            variable = variables[i] if stores or ema else ~np.uint32(0)
            mixed = (gradients[i] if loads else variable) & mask
            velocity = velocities[i] if updates else mixed
            momentum = momenta[i] if has_momentum else mixed
            average_gradient = average_gradients[i] if centered else mixed
            average = averages[i] if ema else mixed
            if updates:
                velocities[i] = velocity ^ mixed
            if stores:
                variables[i] = variable ^ mixed
            if has_momentum:
                momenta[i] = momentum ^ mixed
            if centered:
                average_gradients[i] = average_gradient ^ mixed
            if ema:
                averages[i] = average ^ (variable & mask)

    return loop


def _read(row, numbers, like):  # type: ignore[no-untyped-def]
    """Read a gradient once, as the sum of its squares does."""
    n = row[2]
    mask = np.uint32(n >> np.uint64(32))
    gradients, total = carray(pointer(like, row[4]), (n,)), np.uint32(0)
    for i in range(n):
        total ^= gradients[i]
    pointer(like, row[3])[0] ^= total & mask


def _triad(row, numbers, like):  # type: ignore[no-untyped-def]
    """Make a STREAM triad: a = b + s * c."""
    n, scale = row[2], numbers[0]
    a = carray(pointer(like, row[3]), (n,))
    b = carray(pointer(like, row[4]), (n,))
    c = carray(pointer(like, row[5]), (n,))
    for i in range(n):
        a[i] = b[i] + scale * c[i]


def _address(python: Callable[..., None], signature: Any) -> int:
    """Compile a loop with the options of the library's own."""
    built = cfunc(signature, error_model="numpy")(python)
    _kept.append(built)
    return int(built.address)


def _replaced(plan: Any, exchange: Callable[[int], int]) -> Any:
    """Copy a plan with other functions in its rows: same table, chunks, phases and pool."""
    other = copy.copy(plan)
    other.rows = plan.rows.copy()
    for row in range(len(other.rows)):
        other.rows[row, Column.FUNCTION] = exchange(int(plan.rows[row, Column.FUNCTION]))
    for slate in plan._slates.values():
        walked = slate.copy()
        for word in (Slate.TOUCHED, Slate.REST):
            walked[word] = exchange(int(slate[word]))
        _kept.append(walked)
        here = plan.rows[:, Column.TABLE] == slate.ctypes.data
        other.rows[here, Column.TABLE] = walked.ctypes.data
    counter = np.zeros(len(Count), np.uint64)
    # A state of its own: a worker late from the plan's step must not help here with its table.
    other.state, words = np.zeros_like(plan.state), plan.order.tolist()
    words[Order.MODE] &= ~ALONE
    words[Order.TABLE], words[Order.STATE] = other.rows.ctypes.data, other.state.ctypes.data
    words[Order.COUNTER], other._counter = counter.ctypes.data, counter
    other.give_orders(words)
    return other


def limit(plan: Any) -> Any:
    """Return a plan's yardstick; float32 variables of one variant."""
    items: list[Item] = [item for items in plan.phases for item in items]
    variants = {item.variant for item in items} | {item.rest for item in items if item.rest}
    exchanged = {
        kernels.loop_address(v, "float32"): _address(make_traffic(v), _SIGNATURE) for v in variants
    }
    if plan.shop.norm_kind is not None:
        squares = {
            kernels.squares_address(plan.shop.before_norm(i.index), False, "float32") for i in items
        }
        exchanged |= dict.fromkeys(squares, _address(_read, _SIGNATURE))
    return _replaced(plan, lambda function: exchanged.get(function, function))


def triad(plan: Any) -> Any:
    """Return a plan that runs a STREAM triad over the arrays of a plain step."""
    address = _address(_triad, _STREAM)
    return _replaced(plan, lambda _: address)


def step_bytes(plan: Any) -> int:
    """Return the bytes that a step must read and write."""
    total = 0
    for item in (item for items in plan.phases for item in items):
        size = item.arrays["variable"].nbytes
        reads_gradient = 1 + (plan.shop.norm_kind is not None)
        total += size * (2 * len(item.arrays) + reads_gradient * item.variant.update)
    return total
