"""The tests of `test_sim_variables.py`, which the simulator runs as Python, run as compiled PTX."""

from __future__ import annotations

import pytest
from ptx_steps import borrowed

pytestmark = pytest.mark.usefixtures("gpu")
# NumPy would read a device's memory as the host's, which the simulator's is.
globals().update(borrowed("test_sim_variables", "test_numpy_takes_it_by_dlpack"))
