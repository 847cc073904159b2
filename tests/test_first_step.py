"""What a first step pays for: how few functions Numba types, and what the check of arrays sees."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastrms
from fastrms import compiling, emitting
from fastrms.rule import Variant

EVERYTHING = "momentum=0.9, centered=True, weight_decay=0.01, clipvalue=0.5, use_ema=True"
_FIRST_STEP = """
import json
import numpy as np
import fastrms
from numba.core import event

class Names(event.Listener):
    found = []
    def on_start(self, event):
        self.found.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

with event.install_listener("numba:compile", Names()):
    fastrms.RMSprop({options}).apply([np.ones(3, np.float32)], [np.ones(3, np.float32)])
print(json.dumps(Names.found))
"""


@pytest.mark.parametrize("options", ["", EVERYTHING], ids=["plain", "everything"])
def test_a_first_step_lets_numba_type_two_small_functions(tmp_path: Path, options: str) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    code = _FIRST_STEP.format(options=options)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert sorted(json.loads(done.stdout)) == ["drive", "look"]  # the loop is a C function


MODULES = {path.stem for path in Path(fastrms.__file__).parent.glob("*.py")}


def imported(module: str) -> set[str]:
    """Return the modules of ours that a module imports."""
    tree = ast.parse((Path(fastrms.__file__).parent / f"{module}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module != "fastrms":
            found |= {node.module.removeprefix("fastrms.")} & MODULES
        elif isinstance(node, ast.ImportFrom) and node.module == "fastrms":
            found |= {alias.name for alias in node.names}
    return found


def test_all_sources_behind_machine_code_are_in_the_stamp_of_the_disk_cache() -> None:
    reached, waiting = set(), {"tables", "inspection"}  # these and `kernels` are what plans use
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= imported(module) - reached
    assert {"rule", "kernels", "compiling"} <= reached
    assert reached == set(compiling.STAMPED)


@pytest.mark.parametrize("name", Variant._fields)
def test_a_variants_code_tells_each_choice_from_the_others(name: str) -> None:
    variant = Variant()._replace(**{name: not getattr(Variant(), name)})
    assert emitting._variant(emitting.code(variant)) == variant


def stepped(variables: list[Any]) -> Any:
    """Return the plan of an optimizer that has made a step."""
    optimizer = fastrms.RMSprop()
    optimizer.build(variables)
    optimizer.apply([np.ones_like(v) for v in variables])
    (plan,) = optimizer._core.stepper._plans.values()  # type: ignore[union-attr]
    return plan


@pytest.mark.parametrize("first", range(0, 49, 4))
def test_only_a_gradient_apart_from_all_variables_is_taken_as_it_lies(first: int) -> None:
    buffer = np.zeros(64, np.float32)
    variables = [buffer[8:24], buffer[40:56]]
    plan, gradient = stepped(variables), buffer[first : first + 16]
    apart = not any(np.shares_memory(gradient, v) for v in variables)
    assert plan.look([np.ones(16, np.float32), gradient], None) == (0 if apart else 1)
    assert (plan.accepted[1] == gradient.ctypes.data) == apart


@pytest.mark.parametrize(
    ("gradient", "found"),
    [
        (np.ones((2, 3), np.float32), 0),
        (np.ones((2, 3), np.float32, order="F"), 1),
        (np.ones((3, 2), np.float32), 1),
        (np.ones(6, np.float32), 1),
        (np.ones((2, 3)), 1),
        (np.ones((2, 6), np.float32)[:, ::2], 1),
        (np.ones((2, 3), ">f4"), 1),
        ([[1.0] * 3] * 2, 1),
        (None, 1),
        (np.ma.ones((2, 3), np.float32), 1),
    ],
    ids=["as_is", "order", "shape", "axes", "dtype", "strided", "endian", "list", "none", "masked"],
)
def test_a_gradient_that_needs_work_is_listed(gradient: Any, found: int) -> None:
    plan = stepped([np.zeros((2, 3), np.float32), np.zeros(0), np.array(0.0)])
    others = [np.zeros(0), np.array(1.0)]
    assert plan.look([gradient, *others], None) == found
    assert found == 0 or plan.attention[0] == 0


@pytest.mark.parametrize("place", [0, 1])
def test_other_variables_are_not_taken_for_those_known(place: int) -> None:
    variables = [np.zeros(3), np.zeros(3)]
    plan, gradients = stepped(variables), [np.ones(3), np.ones(3)]
    assert plan.look(gradients, variables) == 0
    passed = list(variables)
    passed[place] = np.zeros(3)
    assert plan.look(gradients, passed) == -1
