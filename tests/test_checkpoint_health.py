"""What is looked for in slots: NaN, infinities and negative numbers, in every dtype and layout."""

import ml_dtypes
import numpy as np
import pytest

import fastrms
from fastrms.checkpoint import health
from fastrms.checkpoint.document import Variable, Writer

DTYPES = {
    **{name: np.dtype(name) for name in ("float16", "float32", "float64")},
    **{"big-endian": np.dtype(">f4"), "bfloat16": np.dtype(ml_dtypes.bfloat16)},
}
VALUES = {
    "one": (1.0, True, False),
    "zero": (0.0, True, False),
    "-0": (-0.0, True, False),
    "large": (65504.0, True, False),
    "small and negative": (-1e-7, True, True),
    "large and negative": (-60000.0, True, True),
    "infinity": (np.inf, False, None),
    "-infinity": (-np.inf, False, None),
    "NaN": (np.nan, False, None),
    "-NaN": (-np.nan, False, None),
}


@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", VALUES)
def test_one_value_among_others_is_seen(value, dtype, place):
    number, finite, negative = VALUES[value]
    for count in (1, health._CACHED + 1):
        array = np.ones(count, DTYPES[dtype])
        array[place] = number
        found = health._looked_at(array)
        assert found[0] is finite
        assert negative is None or found[1] is negative


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_layout_is_looked_at(dtype):
    array = np.ones((70, 1000), DTYPES[dtype])
    array[33, 500] = -1
    for view in (array, array.T, array[::3, ::5], array[33, 500]):
        assert health._looked_at(np.asarray(view)) == (True, True)
    assert health._looked_at(array[:, :500]) == (True, False)


def test_a_checkpoint_made_by_hand_is_flagged_too():
    state = [np.array([1, np.nan], np.float16)]
    variables = [Variable("w", (2,), "float16")]
    found = fastrms.Checkpoint(
        "keras-3", Writer("keras"), "memory", {}, 0, variables, {"velocity": state}
    )
    assert found.notes == ["slot 'velocity' of variable 'w' holds NaN or infinity."]
