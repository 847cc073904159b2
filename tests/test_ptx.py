"""What the GPU would run, read from PTX and machine code made here: no GPU is needed for either.

`VARIANTS` is the committed list: each dialect's default, momentum, centered and everything on.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastrms
from fastrms.arguments import settle
from fastrms.rule import EACH, GLOBAL, LEAVE_BELOW, Variant
from fastrms.state import State
from fastrms.variables import Variables
from fastrms.work import UPDATE, Workshop

NEEDED = ("numba_cuda", "nvidia")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{MISSING} are not installed: pip install 'fastrms[cuda-test]'",
)

# Threads of a block times this many registers fill the 65,536 of a multiprocessor twice over.
MOST_REGISTERS = 128
WIDTHS = {"float16": 8, "bfloat16": 8, "float32": 4, "float64": 2}


def variant(dialect: str, options: dict[str, Any], dtype: str) -> Variant:
    """Return the variant of a dialect's update on a device."""
    row = fastrms.DIALECTS[dialect]
    used = {name for name, argument in row.arguments.items() if argument.effect == "used"}
    settings = settle(row, {k: v for k, v in options.items() if k in used})
    host = "float32" if dtype == "bfloat16" else dtype
    variables = Variables([np.zeros(1, host)], ["variable"], named=False)
    shop = Workshop(row, settings, variables, State(variables, 0.0), frozenset())
    narrow = dtype in ("float16", "bfloat16")
    return shop.variant(0, UPDATE)._replace(
        flush=row.flushes_subnormals and dtype != "float16",
        half=dtype == "float16",
        brain=narrow and dtype == "bfloat16",
    )


EVERYTHING = {
    "momentum": 0.9,
    "centered": True,
    "weight_decay": 0.01,
    "use_ema": True,
    "global_clipnorm": 1.0,
    "loss_scale_factor": 2.0,
    "gradient_accumulation_steps": 2,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True},
    "everything": EVERYTHING,
}


def listed() -> dict[str, tuple[Variant, str, tuple[int, int]]]:
    """Return what is compiled: no variant twice."""
    found: dict[str, tuple[Variant, str, tuple[int, int]]] = {}
    wanted = [
        (dialect, name, "float32", (8, 0)) for dialect in fastrms.DIALECTS for name in OPTIONS
    ]
    for name in ("default", "everything"):
        wanted += [("keras-3", name, dtype, (8, 0)) for dtype in WIDTHS]
        wanted += [("keras-3", name, "float32", cc) for cc in ((7, 5), (9, 0))]
    for dialect, name, dtype, capability in wanted:
        case = (variant(dialect, OPTIONS[name], dtype), dtype, capability)
        if case not in found.values():
            label = f"{dialect}-{name}-{dtype}-sm_{capability[0]}{capability[1]}"
            found[label] = case
    return found


VARIANTS = listed()


@functools.cache
def compiled(shape: Any, capability: tuple[int, int]) -> str:
    """Compile a kernel to PTX."""
    from fastrms.cuda import kernels, target

    types = target.kernel_types(shape.dtypes)
    return str(target.ptx(kernels.kernel(shape), types, capability)[1])


def update_shape(case: tuple[Variant, str, tuple[int, int]], slots: str = "") -> Any:
    """Return the shape of an update kernel of one part."""
    from fastrms.cuda.kernels import Shape
    from fastrms.cuda.parts import Part

    choices, dtype, _ = case
    return Shape("update", (Part(choices, dtype, slots or dtype),), (0,))


def tool(name: str) -> str:
    """Return the path of one of the compiler's programs, which the packages bring."""
    for place in importlib.util.find_spec("nvidia").submodule_search_locations:  # type: ignore[union-attr]
        for found in sorted(Path(place).rglob(name)):
            return str(found)
    found_on_path = shutil.which(name)
    assert found_on_path, f"{name} is missing: pip install 'fastrms[cuda-test]'"
    return found_on_path


def assembled(text: str, capability: tuple[int, int], folder: Path) -> tuple[str, Path]:
    """Make machine code of PTX; return what the assembler says of it, and where it is."""
    (folder / "kernel.ptx").write_text(text)
    code = folder / "kernel.cubin"
    architecture = f"-arch=sm_{capability[0]}{capability[1]}"
    command = [tool("ptxas"), architecture, "-v", str(folder / "kernel.ptx"), "-o", str(code)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    return found.stderr, code


def require_strict(text: str) -> None:
    """Require every operation to be rounded by itself: no contraction, now or in the assembler."""
    assert not re.search(r"\bfma\.|\bmad\.[a-z.]*f\d", text)
    loose = re.findall(
        r"\b(?:add|sub|mul|div|sqrt|rcp|rsqrt)\.(?!rn\.)[a-z.]*f(?:16|32|64)\b", text
    )
    assert not loose, loose
    assert "approx" not in text
    assert ".ftz" not in text


@pytest.mark.parametrize("name", VARIANTS)
def test_an_update_is_strict_and_moves_whole_vectors(name: str) -> None:
    case = VARIANTS[name]
    choices, dtype, capability = case
    text = compiled(update_shape(case), capability)
    require_strict(text)
    wide = "f64" if dtype == "float64" else "f32"
    for operation in ("sqrt", "div"):
        assert text.count(f"{operation}.rn.{wide}") >= WIDTHS[dtype] + 1
    assert (".f64" in text) == (dtype == "float64")
    slots = 1 + choices.momentum + choices.centered + choices.ema + choices.accumulated
    vectors = r"global\.(v4\.[fub]32|v2\.[fub]64)"
    repeats, rest = divmod(len(re.findall(rf"\bst\.{vectors}", text)), 1 + slots)
    assert repeats >= 1, "the compiler may unroll the loop, which repeats all of it"
    assert rest == 0
    assert len(re.findall(rf"\bld\.{vectors}", text)) == repeats * (2 + slots)
    assert ".local" not in text


MACHINE = [n for n in VARIANTS if "everything" in n or n.startswith("keras-3-")]


@pytest.mark.parametrize("name", MACHINE)
def test_machine_code_spills_nothing(name: str, tmp_path: Path) -> None:
    case = VARIANTS[name]
    said, _ = assembled(compiled(update_shape(case), case[2]), case[2], tmp_path)
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in said
    assert int(re.search(r"Used (\d+) registers", said)[1]) <= MOST_REGISTERS  # type: ignore[index]


@pytest.mark.parametrize("dtype", WIDTHS)
def test_machine_code_moves_128_bits(dtype: str, tmp_path: Path) -> None:
    case = next(c for c in VARIANTS.values() if c[1] == dtype and not c[0].ema)
    _, code = assembled(compiled(update_shape(case), (8, 0)), (8, 0), tmp_path)
    command = [tool("nvdisasm"), str(code)]
    sass = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    repeats, rest = divmod(len(re.findall(r"\bSTG\.E\.128", sass)), 2)
    assert repeats >= 1
    assert rest == 0
    assert len(re.findall(r"\bLDG\.E\.128", sass)) == 3 * repeats
    assert not re.search(r"\b(?:LDL|STL)\b", sass)
    plain = {"float64": "D", "float16": "H?F"}.get(dtype, "F")
    assert re.search(rf"\b{plain}MUL", sass)


def test_float32_slots_of_a_narrow_variable_are_vectors_too() -> None:
    case = VARIANTS["keras-3-default-bfloat16-sm_80"]
    wide = (case[0]._replace(brain=False), *case[1:])
    text = compiled(update_shape(wide, "float32"), (8, 0))
    require_strict(text)
    assert len(re.findall(r"\bld\.global\.v4", text)) == 4
    assert len(re.findall(r"\bst\.global\.v4", text)) == 3


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("kind", ["squares", "clips", "guard"])
def test_norms_are_strict_and_need_no_atomics(kind: str, dtype: str, tmp_path: Path) -> None:
    from fastrms.cuda.kernels import Shape
    from fastrms.cuda.parts import Part

    plain = Variant(update=False, half=dtype == "float16", brain=dtype == "bfloat16", scaled=True)
    for norm in (LEAVE_BELOW, EACH, GLOBAL) if kind == "clips" else (0,):
        text = compiled(Shape(kind, (Part(plain, dtype, dtype),), (0,), norm), (8, 0))
        require_strict(text)
        assert not re.search(r"\b(?:atom|red)\.", text)
        said, _ = assembled(text, (8, 0), tmp_path)
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in said


def rows_of_keras_3(dtype: str, wide: str) -> dict[str, tuple[str, Any]]:
    """Return the parts that a step of Keras 3 with gradients of rows needs besides the usual."""
    from fastrms.cuda.parts import Part
    from fastrms.cuda.tables import Move, Sums, Total, Turns

    plain = Variant(update=False, half=wide == "float16", brain=wide == "bfloat16")
    touched = variant("keras-3", {"momentum": 0.9, "clipnorm": 1.0}, wide)
    rest = touched._replace(factor=False, divisor=False, absent=True)
    full = touched._replace(factor=False, divisor=False, centered=True, ema=True)
    again = plain._replace(value_last=True, factor=True, divisor=True)
    return {
        "sums": ("table", Sums(plain._replace(scaled=True), again, True, dtype, wide)),
        "out": ("table", Move(False, dtype, wide)),
        "back": ("table", Move(True, dtype, wide)),
        "totals": ("totals", Total(dtype)),
        "in order": ("table", Sums(plain, again, True, dtype, wide)),
        "turns": ("table", Turns(touched._replace(factor=False, divisor=False), wide)),
        "turns and all": ("table", Turns(full, wide)),
        "rest": ("update", Part(rest, dtype, wide)),
        "at rest": ("update", Part(rest._replace(still=True, momentum=False), dtype, wide)),
    }


ROWS = [
    (name, dtype, dtype)
    for name in (
        *("sums", "in order", "out", "back", "totals", "turns", "turns and all"),
        *("rest", "at rest"),
    )
    for dtype in WIDTHS
]
# With float32 slots; the others compute with none of 16 bits then.
ROWS += [(n, d, "float32") for n in ("sums", "out", "back", "rest") for d in list(WIDTHS)[:2]]


@pytest.mark.parametrize(("name", "dtype", "wide"), ROWS)
def test_rows_are_strict_and_need_no_atomics(
    name: str, dtype: str, wide: str, tmp_path: Path
) -> None:
    from fastrms.cuda.kernels import Shape

    kind, part = rows_of_keras_3(dtype, wide)[name]
    text = compiled(Shape(kind, (part,), (0,)), (8, 0))
    require_strict(text)
    assert not re.search(r"\b(?:atom|red)\.", text)
    assert ".local" not in text
    if name == "at rest":  # of the variable nothing is written
        moves = [len(re.findall(rf"\b{way}\.global\.v[24]", text)) for way in ("ld", "st")]
        assert 0 < moves[1] <= moves[0] <= 2 * moves[1]
    said, _ = assembled(text, (8, 0), tmp_path)
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in said


@contextmanager
def compiling_for(capability: tuple[int, int]) -> Iterator[None]:
    """Answer the question of numba-cuda's own dispatcher for the device."""
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def test_the_rule_for_users_compiles_in_their_own_kernels() -> None:
    """`fastrms.jit.update` under `cuda.jit`, which contracts: see docs/cuda.md."""
    from numba import cuda, types

    from fastrms.jit import Hyper, Slots, update

    def train(weights, gradients, velocities, numbers, choices):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < weights.size:
            slots = Slots(velocities[i], gradients[i], gradients[i])
            weights[i], slots = update(weights[i], gradients[i], slots, numbers, choices)
            velocities[i] = slots.velocity

    array = types.Array(types.float32, 1, "C")
    numbers = types.NamedUniTuple(types.float32, len(Hyper._fields), Hyper)
    choices = types.NamedUniTuple(types.boolean, len(Variant._fields), Variant)
    with compiling_for((8, 0)):
        signature = types.void(array, array, array, numbers, choices)
        text, _ = cuda.compile(train, signature, cc=(8, 0), device=False, abi="numba")
    assert "sqrt.rn.f32" in text
    assert "div.rn.f32" in text
    assert ".f64" not in text


def test_a_kernel_cannot_branch_on_what_only_the_device_knows() -> None:
    from fastrms.cuda import target

    def kernel(grid: Any, table: Any, rows: Any, hypers: Any) -> None:
        if grid.thread < rows:
            raise AssertionError

    with pytest.raises(TypeError, match="only the device knows"):
        target.ptx(kernel, target.kernel_types(("float32",)), (8, 0))


def test_parts_that_add_up_share_the_memory_of_a_block() -> None:
    from fastrms.cuda.kernels import Shape
    from fastrms.cuda.parts import Part

    parts = [Part(Variant(update=False), dtype, dtype) for dtype in ("float32", "float64")]
    text = compiled(Shape("clips", tuple(parts), (0, 1), GLOBAL), (8, 0))
    assert re.findall(r"\.shared .*\[(\d+)\];", text) == [str(8 * 256)]


def test_a_driver_that_cannot_read_the_ptx_gets_machine_code() -> None:
    from fastrms.cuda import target

    case = VARIANTS["keras-3-default-float32-sm_80"]
    code = target.machine_code(compiled(update_shape(case), case[2]), case[2])
    assert code[:4] == b"\x7fELF"


def test_a_mixed_step_is_one_kernel() -> None:
    from fastrms.cuda.kernels import Shape
    from fastrms.cuda.parts import Part

    parts = [Part(VARIANTS[f"keras-3-default-{d}-sm_80"][0], d, d) for d in ("float32", "float64")]
    text = compiled(Shape("update", tuple(parts), (0, 1)), (8, 0))
    require_strict(text)
    assert text.count(".visible .entry") == 1
    assert "sqrt.rn.f32" in text
    assert "sqrt.rn.f64" in text


@pytest.mark.parametrize(
    ("dtypes", "places"),
    [
        (("float32",), (0,)),
        (("bfloat16", "float64"), (0, 1)),
        (("float64", "float16", "float64"), (0, 1, 0)),
    ],
    ids=str,
)
def test_parameters_are_the_words_and_numbers_of_a_launch(
    dtypes: tuple[str, ...], places: tuple[int, ...]
) -> None:
    """The driver reads an address for each of them: their count, order and widths must be these."""
    from fastrms.cuda.kernels import Shape
    from fastrms.cuda.parts import Part
    from fastrms.cuda.target import Arguments
    from fastrms.rule import Hyper

    shape = Shape("squares", tuple(Part(Variant(update=False), d, d) for d in dtypes), places)
    numbers = [np.zeros(len(Hyper._fields), kind) for kind in shape.dtypes]
    head = compiled(shape, (8, 0)).split(".visible .entry")[1].split(")")[0]
    found = re.findall(r"\.param \.([a-z0-9]+) \w+_param_(\d+)\b", head)
    wanted = ["u64", "u64", *(f"f{8 * a.itemsize}" for a in numbers for _ in a)]
    assert found == [(kind, str(place)) for place, kind in enumerate(wanted)]
    arguments = Arguments(1, 2, numbers)
    starts = [a.ctypes.data for a in (arguments._values, *numbers)]
    sizes = [a.size for a in (arguments._values, *numbers)]
    assert len(arguments._places) == sum(sizes) == len(found)
    firsts = [int(arguments._places[k]) for k in np.cumsum([0, *sizes[:-1]])]
    assert firsts == starts
    assert arguments.pointers == arguments._places.ctypes.data


def test_contraction_would_be_seen() -> None:
    """The check of strictness fails on what the compiler makes without our options."""
    with pytest.raises(AssertionError):
        require_strict("fma.rn.f32 %f1, %f2, %f3, %f4;")
    with pytest.raises(AssertionError):
        require_strict("mul.f32 %f1, %f2, %f3;")


def test_every_dialect_is_compiled() -> None:
    named = {dialect for dialect in fastrms.DIALECTS for name in VARIANTS if dialect in name}
    whole = {variant(d, OPTIONS[n], "float32") for d in fastrms.DIALECTS for n in OPTIONS}
    assert whole == {c[0] for c in VARIANTS.values() if c[1:] == ("float32", (8, 0))}
    assert named
