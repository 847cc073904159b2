"""Gradients of rows on a device give the bits of the host, in a few launches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import BRAIN, Cupy, assert_same, counted, odd_numbers, on_device

import battery
import fastrms
from fastrms.cuda import target
from fastrms.cuda.plan import DevicePlan

F4 = np.float32
SPARSE = [name for name, row in fastrms.DIALECTS.items() if row.sparse is not None]
EACH = ("plain", "clipnorm", "both_clips")
ALSO = {
    "keras-3": ("momentum_centered", "clipvalue", "global_clipnorm", "ema", "weight_decay",
                "ema_accumulated_clipped"),
    "tf-keras-2.11": ("momentum_centered", "clipvalue", "global_clipnorm", "ema"),
    "tf-keras-2.10-experimental": ("momentum_centered", "ema", "global_clipnorm"),
    "tf-keras-v2": ("momentum", "momentum_centered", "clipvalue", "global_clipnorm"),
    "tf-train": ("momentum_centered",),
    "keras-2.3": ("clipvalue",),
    "tf-keras-v1": ("clipvalue",),
}  # fmt: skip
MODES = [
    (dialect, options)
    for dialect in SPARSE
    for options in (*EACH, *ALSO.get(dialect, ()))
    if battery.fits(fastrms.DIALECTS[dialect], battery.OPTIONS[options])
]
# With float32 slots of 16-bit tables: the dialects' own rules, norms of rows and of sums.
WIDE = [(dialect, "plain") for dialect in SPARSE]
WIDE += [("keras-3", options) for options in ("global_clipnorm", "ema_accumulated_clipped")]
WIDE += [("tf-keras-2.11", "momentum_centered"), ("tf-keras-v2", "clipnorm")]
SHAPES = ((5, 3), (6,), (3, 2, 1), (4, 0))


def slices(shape: Any, count: int, dtype: Any, seed: int, once: bool = False) -> Any:
    """Return rows of a table, some given twice, strange numbers among them."""
    generator = np.random.default_rng([seed, count, *shape])
    chosen = generator.permutation(shape[0])[:count]
    indices = chosen if once else generator.integers(0, shape[0], count)
    values = odd_numbers((len(indices), *shape[1:]), dtype, seed)
    return fastrms.IndexedSlices(values, indices, shape)


def there(given: Any, seed: int = 0) -> Any:
    """Return a gradient on the device, indices sometimes too."""
    if given is None or not isinstance(given, fastrms.IndexedSlices):
        return None if given is None else on_device(given)
    indices = on_device(given.indices.astype(np.int32)) if seed % 2 else given.indices
    return fastrms.IndexedSlices(on_device(given.values), indices, given.dense_shape)


def run(dialect: str, options: Any, dtype: Any, device: bool, steps: int = 4) -> list[Any]:
    """Make some steps with rows, arrays and nothing; return all that came of it."""
    host = [odd_numbers(s, dtype, k) for k, s in enumerate(SHAPES)]
    host.append(odd_numbers((7, 2), dtype, 7))
    variables = [on_device(v) for v in host] if device else host
    opt = battery.optimizer(dialect, options)
    opt.build(variables)
    opt._core.stepper._compiled = False
    row = fastrms.DIALECTS[dialect]
    skips = row.none_gradients == "skipped" and not (
        row.average is not None and row.average.shifts_past_none and opt.settings.use_ema
    )
    once = row.sparse.value_clips_rows and {"clipnorm", "clipvalue"} <= set(
        battery.OPTIONS[options] if isinstance(options, str) else options
    )
    for step in range(steps):
        gradients: list[Any] = [
            slices(v.shape, 2 + 3 * k, dtype, step, once) for k, v in enumerate(host)
        ]
        gradients[-1] = odd_numbers((7, 2), dtype, step)
        if step == 2:
            gradients[0] = None if skips else slices(SHAPES[0], 1, dtype, step)
            gradients[1] = slices(SHAPES[1], 0, dtype, step)
        if step == 3:
            gradients[2] = odd_numbers(SHAPES[2], dtype, step)
        opt.apply([there(g, step) for g in gradients] if device else gradients)
    plans = opt._core.stepper._plans.values()
    assert all(isinstance(plan, DevicePlan) == device for plan in plans)
    return [*(np.asarray(v) for v in variables), *opt.get_weights()]


@pytest.mark.parametrize(("dialect", "options"), MODES)
def test_every_dialect_with_rows(dialect: str, options: str) -> None:
    assert_same(*(run(dialect, options, "float32", device) for device in (True, False)))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("options", ["momentum_centered", "global_clipnorm"])
def test_other_dtypes(dtype: str, options: str) -> None:
    assert_same(*(run("keras-3", options, dtype, device, 2) for device in (True, False)))


@pytest.mark.usefixtures("brain_on_the_host")
@pytest.mark.parametrize("dtype", [np.dtype("float16"), BRAIN], ids=str)
@pytest.mark.parametrize(("dialect", "options"), WIDE)
def test_float32_slots_of_16_bit_tables(dialect: str, options: str, dtype: Any) -> None:
    """Rows are summed, taken out, updated in float32 and rounded when they are put back."""
    wide = {**battery.OPTIONS[options], "slot_dtype": "float32"}
    found = run(dialect, wide, dtype, True, 2)
    assert {a.dtype.name for a in found[len(SHAPES) + 1 :]} <= {"float32", "int64"}
    assert_same(found, run(dialect, wide, dtype, False, 2))


@pytest.mark.parametrize("options", ["clipnorm", "global_clipnorm"])
def test_rows_and_chunks_beyond_one(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm of more than a chunk of values is summed piece by piece, then over variables."""
    for module in ("reference", "cuda.rows", "cuda.passes", "cuda.plan"):
        monkeypatch.setattr(f"fastrms.{module}.CHUNK", 64)
    values = battery.numbers((5, 50), F4)
    rows = fastrms.IndexedSlices(battery.numbers((3, 50), F4, 1), [4, 1, 4])
    results = []
    for device in (False, True):
        variable = on_device(values) if device else values.copy()
        opt = battery.optimizer("keras-3", options)
        opt.build([variable])
        opt._core.stepper._compiled = False
        opt.apply([there(rows) if device else rows])
        results.append([np.asarray(variable), *opt.get_weights()])
    assert_same(results[1], results[0])


def table(**options: Any) -> tuple[fastrms.RMSprop, Any]:
    """Return an optimizer of one table on the device."""
    variable, opt = on_device(battery.numbers((6, 3), F4)), fastrms.RMSprop(**options)
    opt.build([variable])
    return opt, variable


def rows_of(indices: Any = (4, 0, 4), values: Any = None, shape: Any = None) -> Any:
    """Return rows for the table."""
    values = on_device(battery.numbers((3, 3), F4, 1)) if values is None else values
    return fastrms.IndexedSlices(values, indices, shape)


@pytest.mark.parametrize(
    ("options", "launches"),
    [({}, 4), ({"clipnorm": 0.5}, 7), ({"gradient_accumulation_steps": 9}, 3)],
)
def test_a_step_is_a_few_launches_and_waits_for_nothing(
    log: Any, options: Any, launches: int
) -> None:
    opt, _ = table(**options)
    opt.apply([rows_of()])
    opt.apply([rows_of()])
    log.clear()
    opt.apply([rows_of()])
    assert counted(log) == {"launch": launches, "upload": 1}


def test_rows_are_queued_on_the_stream_of_their_values(log: Any) -> None:
    opt, _ = table()
    opt.apply([rows_of(values=Cupy(np.ones((3, 3), F4), stream=7))])
    assert "order 1 7" in log
    assert {line for line in log if line.startswith("launch")} == {"launch 7"}


def test_bfloat16_rows_given_once_are_the_dense_step() -> None:
    values = battery.numbers((4, 3), F4).astype(BRAIN)
    whole = np.zeros((4, 3), BRAIN)
    whole[[2, 0]] = change = battery.numbers((2, 3), F4, 1).astype(BRAIN)
    results = []
    for gradient in (fastrms.IndexedSlices(on_device(change), [2, 0]), on_device(whole)):
        variable, opt = on_device(values), battery.optimizer("keras-2.2", {"clipnorm": 0.5})
        opt.apply([gradient], [variable])
        results.append([np.asarray(a).tobytes() for a in (variable, *opt.get_weights())])
    assert results[0] == results[1]


def test_indices_on_the_device_are_read_once(log: Any) -> None:
    results = []
    for place in (list, lambda given: on_device(np.array(given, np.int64)), Cupy):
        opt, variable = table()
        log.clear()
        opt.apply([rows_of(place(np.array([4, 0, 4])))])
        assert counted(log).get("read", 0) == (place is not list)
        results.append(battery.digest([np.asarray(variable), *opt.get_weights()]))
    assert len(set(results)) == 1


def test_more_rows_than_before_find_room() -> None:
    opt, variable = table(momentum=0.9)
    host, theirs = np.asarray(variable), fastrms.RMSprop(momentum=0.9)
    theirs.build([host])
    theirs._core.stepper._compiled = False  # type: ignore[union-attr]
    for count in (1, 40, 2, 300):
        given = slices((6, 3), count, F4, count)
        opt.apply([there(given)])
        theirs.apply([given])
    assert_same([np.asarray(variable), *opt.get_weights()], [host, *theirs.get_weights()])


def test_values_may_be_rows_of_the_table_itself() -> None:
    whole = on_device(battery.numbers(18, F4))
    host = np.asarray(whole).reshape(6, 3)
    ours, theirs = fastrms.RMSprop(), fastrms.RMSprop()
    ours.build([whole.reshape(6, 3)])
    ours.apply([fastrms.IndexedSlices(whole[3:9].reshape(2, 3), [0, 2])])
    theirs.build([host])
    theirs._core.stepper._compiled = False  # type: ignore[union-attr]
    theirs.apply([fastrms.IndexedSlices(host[1:3], [0, 2])])
    np.testing.assert_array_equal(np.asarray(whole).reshape(6, 3), host)


BAD = {
    "values on the host": (lambda: rows_of(values=np.ones((3, 3), F4)), "values in the host's mem"),
    "a dtype": (lambda: rows_of(values=on_device(np.ones((3, 3)))), "values of dtype float64"),
    "a shape": (lambda: rows_of(values=on_device(np.ones((3, 2), F4))), r"values of shape \(3, 2"),
    "columns": (lambda: rows_of(values=on_device(np.asfortranarray(np.eye(3, dtype=F4)))),
                "with strides"),
    "a row beyond": (lambda: rows_of([0, 6, 1]), "row 6; valid: rows 0 to 5"),
    "a row beyond there": (lambda: rows_of(on_device(np.array([0, -1, 1]))), "row -1; valid"),
    "no whole indices": (lambda: rows_of([0.0, 1.0, 2.0]), "dtype float64; valid: a list of int"),
    "no whole indices there": (lambda: rows_of(Cupy(np.ones(3, F4))), "valid: whole numbers"),
    "too few": (lambda: rows_of([0, 1]), "values of shape"),
    "another table": (lambda: rows_of(shape=(7, 3)), r"dense_shape=\(7, 3\)"),
    "freed": (lambda: rows_of(values=Cupy(np.ones((3, 3), F4), data=(0, False))), "freed"),
}  # fmt: skip


@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_rows_that_do_not_fit_are_refused(name: str, accumulates: bool) -> None:
    make, message = BAD[name]
    opt, variable = table(**({"gradient_accumulation_steps": 2} if accumulates else {}))
    opt.apply([rows_of()])
    before = battery.digest([np.asarray(variable), *opt.get_weights()])
    with pytest.raises(fastrms.GradientError, match=message):
        opt.apply([make()])
    assert battery.digest([np.asarray(variable), *opt.get_weights()]) == before


def test_a_dialect_without_rows_says_so() -> None:
    opt, _ = table(dialect="torch")
    with pytest.raises(fastrms.GradientError, match="the dialect 'torch', which has none"):
        opt.apply([rows_of()])


def test_a_step_without_the_gradient_of_a_table_uses_none_of_the_last() -> None:
    opt, variable = table()
    other = on_device(np.ones(2, F4))
    opt = fastrms.RMSprop()
    opt.build([variable, other])
    opt.apply([rows_of(), on_device(np.ones(2, F4))])
    before = np.asarray(variable)
    opt.apply([None, on_device(np.ones(2, F4))])
    np.testing.assert_array_equal(np.asarray(variable), before)


def test_no_memory_for_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    opt, variable = table(momentum=0.9)
    opt.apply([rows_of()])
    before = battery.digest([np.asarray(variable), *opt.get_weights()])

    def refuse(nbytes: int) -> int:
        raise fastrms.DeviceError("the CUDA driver answered CUDA_ERROR_OUT_OF_MEMORY")

    many = there(slices((6, 3), 500, F4, 1))
    with monkeypatch.context() as patch:
        patch.setattr(target.machine(0), "allocate", refuse)
        with pytest.raises(fastrms.DeviceError, match=r"OUT_OF_MEMORY.*Nothing was changed"):
            opt.apply([many])
    assert battery.digest([np.asarray(variable), *opt.get_weights()]) == before
    opt.apply([many])


@pytest.mark.parametrize("accumulates", [None, 2])
def test_dynamic_loss_scaling_finds_odd_rows(accumulates: int | None) -> None:
    results = []
    for device in (False, True):
        variable = battery.numbers((6, 3), F4)
        variable = on_device(variable) if device else variable
        inner = fastrms.RMSprop(0.1, gradient_accumulation_steps=accumulates)
        opt = fastrms.LossScaleOptimizer(inner, initial_scale=4.0)
        opt.build([variable])
        inner._core.stepper._compiled = False  # type: ignore[union-attr]
        for odd in (1.0, np.nan, 1.0, np.inf):
            values = np.full((2, 3), 4, F4)
            values[1, 1] = odd
            given = fastrms.IndexedSlices(values, [3, 3])
            opt.apply([there(given) if device else given])
        results.append([np.asarray(variable), *opt.get_weights()])
    assert_same(results[1], results[0])


def test_a_table_with_a_constraint() -> None:
    results = []
    for device in ("cpu", "cuda"):
        made = fastrms.Variable(battery.numbers((6, 3), F4), device=device, constraint=np.abs)
        opt = fastrms.RMSprop(0.1)
        opt.build([made])
        opt._core.stepper._compiled = False  # type: ignore[union-attr]
        values = battery.numbers((2, 3), F4, 1)
        given = on_device(values) if device == "cuda" else values
        opt.apply([fastrms.IndexedSlices(given, [5, 5])])
        results.append([made.numpy(), *opt.get_weights()])
    assert_same(results[1], results[0])
