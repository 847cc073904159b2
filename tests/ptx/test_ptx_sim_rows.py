"""The tests of `test_sim_rows.py`, which the simulator runs as Python, run as compiled PTX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import BRAIN
from ptx_steps import borrowed

pytestmark = pytest.mark.usefixtures("gpu")
WIDE = "test_float32_slots_of_16_bit_tables"
globals().update(borrowed("test_sim_rows", WIDE))
CHOSEN = [
    ("keras-3", "global_clipnorm", np.dtype("float16")),
    ("keras-3", "ema_accumulated_clipped", BRAIN),
    ("tf-keras-2.11", "momentum_centered", BRAIN),
    ("tf-keras-v2", "clipnorm", np.dtype("float16")),
]


@pytest.mark.usefixtures("brain_on_the_host")
@pytest.mark.parametrize(("dialect", "options", "dtype"), CHOSEN)
def test_float32_slots_of_some_16_bit_tables(dialect: str, options: str, dtype: Any) -> None:
    """All dialects would take ten seconds to compile."""
    borrowed("test_sim_rows")[WIDE](dialect, options, dtype)
