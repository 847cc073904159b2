"""What runs the simulator's blocks in these tests sees missing barriers, and tells of errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import cuda


def reverse(out: Any, waits: bool, failing: int) -> None:
    """Give each thread what another one wrote."""
    shared = cuda.shared.array(4, np.float64)
    place = cuda.threadIdx.x
    shared[place] = place
    if waits:
        cuda.syncthreads()
    if place == failing:
        raise ZeroDivisionError
    out[4 * cuda.blockIdx.x + place] = shared[3 - place]
    if waits:
        cuda.syncthreads()


@pytest.mark.parametrize("waits", [True, False])
def test_a_missing_barrier_is_seen_in_every_block(waits: bool) -> None:
    out = np.zeros(8)
    cuda.jit(reverse)[2, 4](out, waits, -1)
    expected = np.array([[3.0, 2, 1, 0]] * 2)
    if not waits:
        expected[0, :2] = expected[1, 2:] = np.nan
    found = out.reshape(2, 4)
    assert any(np.array_equal(found, one, equal_nan=True) for one in (expected, expected[::-1]))


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("waits", [True, False])
def test_an_error_of_one_thread_ends_the_launch_and_spoils_no_later_one(
    waits: bool, failing: int
) -> None:
    out = np.zeros(4)
    with pytest.raises(ZeroDivisionError):
        cuda.jit(reverse)[1, 4](out, waits, failing)
    cuda.jit(reverse)[1, 4](out, True, -1)
    np.testing.assert_array_equal(out, [3, 2, 1, 0])
