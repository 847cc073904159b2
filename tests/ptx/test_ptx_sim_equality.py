"""The tests of `test_sim_equality.py`, which the simulator runs as Python, run as compiled PTX."""

from __future__ import annotations

import pytest
from ptx_steps import borrowed

pytestmark = pytest.mark.usefixtures("gpu")
# `test_ptx_arrays.py` has these two with more numbers.
LARGER = ("test_mixed_dtypes_in_one_step", "test_float32_slots_of_16_bit_variables")
globals().update(borrowed("test_sim_equality", *LARGER))
