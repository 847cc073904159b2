"""What compilers make of each dialect's kernels gives the bits of the CPU, run as PTX.

The whole way is the real one: `apply`, the plan, tables, `target`, the driver's calls.
"""

from __future__ import annotations

import numpy as np
import pytest
from devices import odd_numbers
from ptx_driver import StandIn
from ptx_steps import OPTIONS, cases, compare, taken

import fastrms


@pytest.mark.parametrize(("dialect", "name"), list(cases()))
def test_a_dialect_gives_the_bits_of_the_cpu(gpu: StandIn, dialect: str, name: str) -> None:
    values = [odd_numbers(shape, np.float32, k) for k, shape in enumerate([(3, 3), (1301,)])]
    options = taken(dialect, name)
    compare(dialect, options, values)
    if name != "everything":
        assert len(gpu.launches) == 3, "a step is one launch"


def test_every_dialect_and_option_is_run() -> None:
    assert {dialect for dialect, _ in cases()} == set(fastrms.DIALECTS)
    assert {name for dialect, name in cases() if dialect == "keras-3"} == set(OPTIONS)
