"""The rule compiles to PTX as it stands, without a GPU, where numba-cuda and its compiler are."""

import importlib.util
import math
import types as python_types

import pytest

from fastrms.rule import Hyper, Slots, Variant, make_rule

NEEDED = ("numba_cuda", "nvidia")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{MISSING} are not installed: pip install numba-cuda nvidia-cuda-nvcc "
    "nvidia-cuda-nvrtc (the extra cuda-test will bring them)",
)

VARIANTS = {
    "keras-3-momentum": Variant(momentum=True, epsilon_inside=True),
    "keras-2-plain": Variant(),
    "everything-flushed": Variant(
        momentum=True, centered=True, decoupled_decay=True, epsilon_inside=True, flush=True
    ),
}


@pytest.fixture
def cuda(monkeypatch):
    from numba import cuda
    from numba.cuda import dispatcher

    device = python_types.SimpleNamespace(compute_capability=(8, 0))
    # Device functions ask the current GPU for its capability; there is none here.
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: device)
    return cuda


@pytest.mark.parametrize("name", VARIANTS)
def test_the_rule_compiles_to_ptx(cuda, name):
    from numba import types

    from fastrms.elements import fit, smaller

    variant = VARIANTS[name]
    update = make_rule(math.sqrt, fit, smaller, cuda.jit(device=True)).update

    def step(weight, gradient, velocity, momentum, average, number):
        hyper = Hyper(
            number, number, number, number, number, number, number,
            number, number, number, number, number, number, number,
        )  # fmt: skip
        slots = Slots(velocity, momentum, average)
        weight, slots = update(weight, gradient, slots, hyper, variant)
        return weight

    real = types.float32
    ptx, _ = cuda.compile(step, real(*[real] * 6), cc=(8, 0), device=True, abi="c")
    assert "sqrt.rn.f32" in ptx
    assert "div.rn.f32" in ptx
    assert ".f64" not in ptx
