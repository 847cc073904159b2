"""Recordings of Keras and TensorFlow, stepped as compiled PTX beside the host.

`ptx_installed.py` replays all of them, which takes some minutes.
"""

from __future__ import annotations

import pytest
from ptx_steps import borrowed

pytestmark = pytest.mark.usefixtures("gpu")
# What is left out starts the script itself, and needs the simulator.
globals().update(borrowed("test_sim_check", "test_a_section_in_a_process_of_its_own"))
