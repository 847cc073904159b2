"""The tests of `test_sim_behaviour.py`, which the simulator runs as Python, run as compiled PTX."""

from __future__ import annotations

import pytest
from ptx_steps import borrowed

pytestmark = pytest.mark.usefixtures("gpu")
globals().update(borrowed("test_sim_behaviour"))
