"""What may be a variable or a gradient, who is who, what overlaps, and moving to other arrays."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import battery
import fastrms

OPTIONS = {"momentum": 0.9, "centered": True}
SHAPES = ((), (0,), (3, 0, 2), (1,), (7,), (4, 5), (2, 3, 4), (1, 6, 1))


def stepped(variables: Any, gradients: Any, steps: int = 3, **options: Any) -> fastrms.RMSprop:
    """Build an optimizer and make some steps."""
    optimizer = fastrms.RMSprop(0.05, **{**OPTIONS, **options})
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply(gradients)
    return optimizer


def expected(values: list[Any], gradients: list[Any]) -> list[Any]:
    """Return the variables and weights of plain C-ordered arrays."""
    variables = [np.array(v, order="C") for v in values]
    made = stepped(
        variables, [np.array(g, dtype=v.dtype) for g, v in zip(gradients, values, strict=True)]
    )
    return [*variables, *made.get_weights()]


def assert_same(found: Any, wanted: Any) -> None:
    """Compare bit for bit."""
    assert [battery.canonical(a) for a in found] == [battery.canonical(a) for a in wanted]
    assert [np.shape(a) for a in found] == [np.shape(a) for a in wanted]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", battery.LAYOUTS)
def test_any_shape_and_memory_order(shape: tuple[int, ...], layout: str) -> None:
    for dtype in ("float16", "float32", "float64"):
        value, gradient = battery.numbers(shape, dtype), battery.numbers(shape, dtype, 1)
        variable = battery.laid_out(value, layout)
        made = stepped([variable], [gradient])
        assert_same([variable, *made.get_weights()], expected([value], [gradient]))


def test_strided_variables_leave_their_neighbours_alone() -> None:
    store = np.full((6, 10), 7, np.float32)
    odd, even = store[:, 1::2], store[::2, ::4]  # interleaved, without a shared element
    values = [odd.copy(), even.copy()]
    gradients = [battery.numbers(v.shape, "float32") for v in values]
    made = stepped([odd, even], gradients)
    assert_same([odd, even, *made.get_weights()], expected(values, gradients))
    untouched = np.ones(store.shape, bool)
    untouched[:, 1::2] = untouched[::2, ::4] = False
    assert (store[untouched] == 7).all()


GRADIENTS: dict[str, Any] = {
    "list": lambda g: g.tolist(),
    "tuple": lambda g: tuple(map(tuple, g.tolist())),
    "float16": lambda g: g.astype(np.float16),
    "float64": lambda g: g.astype(np.float64),
    "longdouble": lambda g: g.astype(np.longdouble),
    "fortran": lambda g: np.asfortranarray(g),
    "strided": lambda g: battery.laid_out(g, "strided"),
    "backward": lambda g: battery.laid_out(g, "backward"),
    "big_endian": lambda g: g.astype(">f4"),
    "unaligned": lambda g: np.frombuffer(b"x" + g.tobytes(), np.float32, offset=1).reshape(g.shape),
    "read_only": lambda g: np.broadcast_to(g, g.shape),
    "memmap_like": lambda g: g.view(type("Sub", (np.ndarray,), {})),
    "converts_itself": lambda g: type("Foreign", (), {"__array__": lambda s, *a, **k: g})(),
}


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradient_kinds_in_turn(kind: str, order: str) -> None:
    value = battery.numbers((4, 6), "float32")
    plain = battery.numbers((4, 6), "float16", 1).astype(np.float32)  # exact in every dtype
    variable = battery.laid_out(value, order)
    gradient = GRADIENTS[kind](plain)
    optimizer = fastrms.RMSprop(0.05, **OPTIONS)
    optimizer.build([variable])
    for one in (plain, gradient, gradient, plain, gradient, plain * 1):
        optimizer.apply([one])
    twin = value.copy()
    made = stepped([twin], [plain], steps=6)
    assert_same([variable, *optimizer.get_weights()], [twin, *made.get_weights()])


def test_scalar_gradients() -> None:
    kinds = (0.5, np.float16(0.5), np.float64(0.5), np.array(0.5), np.array(0.5, ">f8"), 1 / 2)
    variable, twin = np.array(1.0, np.float32), np.array(1.0, np.float32)
    optimizer, other = fastrms.RMSprop(0.05), fastrms.RMSprop(0.05)
    for kind in kinds:
        optimizer.apply([kind], [variable])
        other.apply([np.float32(0.5)], [twin])
    assert variable == twin != 1.0


def test_wide_gradients_round_once_to_half() -> None:
    variable = np.ones(3, np.float16)
    fastrms.RMSprop(0.05).apply([np.array([1e6, -1e6, 1e-9])], [variable])
    assert np.isnan(variable[:2]).all()  # inf / sqrt(inf), as the real systems have it
    assert variable[2] == 1.0


def test_none_gradients_leave_a_variable_alone_in_every_pattern() -> None:
    variables = [battery.numbers((5,), "float32", k) for k in range(5)]
    twins = [v.copy() for v in variables]
    optimizer = fastrms.RMSprop(0.05, **OPTIONS)
    optimizer.build(variables)
    singles = [fastrms.RMSprop(0.05, **OPTIONS) for _ in twins]
    for single, twin in zip(singles, twins, strict=True):
        single.build([twin])
    for step, mask in enumerate(itertools.product([True, False], repeat=5)):
        if not any(mask):
            continue
        gradients = [battery.numbers((5,), "float32", 10 + step + k) for k in range(5)]
        optimizer.apply([g if m else None for g, m in zip(gradients, mask, strict=True)])
        for k in range(5):
            if mask[k]:
                singles[k].apply([gradients[k]])
    assert_same(variables, twins)


def test_some_variables_in_any_order() -> None:
    variables = [battery.numbers((4, 3), "float32", k) for k in range(4)]
    twins = [v.copy() for v in variables]
    gradients = [battery.numbers((4, 3), "float32", 10 + k) for k in range(4)]
    optimizer, twin = fastrms.RMSprop(0.05, **OPTIONS), fastrms.RMSprop(0.05, **OPTIONS)
    optimizer.build(variables)
    twin.build(twins)
    for order in ((0, 1, 2, 3), (3, 1, 0, 2), (2,), (1, 3), (0, 1, 2, 3)):
        optimizer.apply([gradients[i] for i in order], [variables[i] for i in order])
        twin.apply([gradients[i] if i in order else None for i in range(4)])
        optimizer.apply_gradients([(gradients[i], variables[i]) for i in order])
        twin.apply([gradients[i] if i in order else None for i in range(4)])
        assert optimizer.iterations == twin.iterations
    assert_same([*variables, *optimizer.get_weights()], [*twins, *twin.get_weights()])


def test_views_are_recognised_by_their_buffer() -> None:
    square, column = np.ones((4, 6), np.float32), np.ones((8, 6), np.float32)[:, 2]
    optimizer = fastrms.RMSprop(0.05)
    optimizer.build([square, column])
    gradients = [np.ones_like(square), np.ones_like(column)]
    optimizer.apply(gradients, [square[:], column[...]])
    optimizer.apply([gradients[1]], [column.base[:, 2]])
    assert optimizer.iterations == 2
    foreign = {
        "transposed": square.T,
        "part": square[:2],
        "other dtype": square.view(np.int32),
        "other shape": square.reshape(24),
        "copy": square.copy(),
        "read-only view": np.broadcast_to(square, square.shape),
        "list": square.tolist(),
    }
    for what, array in foreign.items():
        before = battery.snapshot(optimizer, [square, column])
        with pytest.raises(fastrms.VariableError, match="is not a variable of this optimizer"):
            optimizer.apply([np.zeros(np.shape(array), np.float32)], [array])
        assert battery.snapshot(optimizer, [square, column]) == before, what


def test_nested_names() -> None:
    tree = {
        "encoder": {"kernel": np.ones((2, 3)), "biases": [np.ones(3), np.ones(2)]},
        7: np.ones(1),
    }
    optimizer = fastrms.RMSprop(0.05, **OPTIONS)
    gradients = {7: [0.5], "encoder": {"biases": [np.ones(3), None], "kernel": np.ones((2, 3))}}
    optimizer.apply(gradients, tree)
    names = ["encoder/kernel", "encoder/biases/0", "encoder/biases/1", "7"]
    assert optimizer._core.stepper.variables.names == names
    assert tree["encoder"]["biases"][1].tolist() == [1, 1]
    assert tree["encoder"]["kernel"][0, 0] < 1 > tree[7][0]
    optimizer.apply(gradients)
    assert optimizer.iterations == 2
    with pytest.raises(fastrms.VariableError, match="same keys"):
        optimizer.apply({"encoder": gradients["encoder"]})


@pytest.mark.parametrize("given", [{"a": {"b": 1}, "a/b": 2}, {1: 1, "1": 2}], ids=str)
def test_two_variables_never_have_one_name(given: Any) -> None:
    def arrays(tree: Any) -> Any:
        return {k: arrays(v) if isinstance(v, dict) else np.ones(2) for k, v in tree.items()}

    with pytest.raises(fastrms.VariableError, match="more than one variable"):
        fastrms.RMSprop().build(arrays(given))


def test_iterables_of_all_kinds() -> None:
    variables = {"a": np.ones(2), "b": np.ones(2)}
    gradient = np.ones(2)
    optimizer = fastrms.RMSprop(0.05)
    optimizer.apply((g for g in [gradient, gradient]), (v for v in variables.values()))
    optimizer.apply((gradient, gradient), variables.values())
    optimizer.apply(iter([gradient, gradient]))
    optimizer.apply_gradients(zip([gradient, gradient], variables.values(), strict=True))
    single = fastrms.RMSprop(0.05)
    alone = np.ones(2)
    for _ in range(4):
        single.apply(gradient, alone)
    assert optimizer.iterations == single.iterations == 4
    assert_same([variables["a"], variables["b"]], [alone, alone])


def test_overlaps_are_exact() -> None:
    store = np.zeros((4, 6))
    apart = [store[:, :2], store[:, 2:3], store[::2, 3:], store[1::2, 3:], store[0:0]]
    fastrms.RMSprop().build(apart)
    fastrms.RMSprop().build([store[:, 0::3], store[:, 1::3], store[:, 5:1:-3]])
    flat = store.reshape(-1)
    for first, second in [
        (store, store),
        (store, store[1:2, 2:3]),
        (store[:, ::2], store[:, 2:3]),
        (flat[::2], flat[::3]),
        (flat[::-1], flat[:1]),
        (store.T, flat[23:]),
    ]:
        for pair in ([first, second], [second, first], {"p": first, "q": [np.ones(1), second]}):
            with pytest.raises(fastrms.VariableError, match="share elements"):
                fastrms.RMSprop().build(pair)


def rebound(kind: str, layout: str) -> tuple[Any, Any]:
    """Return variables and other arrays with their values, by name or by position."""
    old = {"k": battery.numbers((4, 3), "float32"), "b": battery.numbers((5,), "float64")}
    new = {name: battery.laid_out(a, layout) for name, a in reversed(old.items())}
    if kind == "name":
        return old, new
    return list(old.values()), [new["k"], new["b"]]


@pytest.mark.parametrize("layout", battery.LAYOUTS)
@pytest.mark.parametrize("kind", ["name", "position"])
def test_rebind_moves_all_state(kind: str, layout: str) -> None:
    old, new = rebound(kind, layout)
    twins, _ = rebound("position", "C")
    arrays = list(new.values() if kind == "name" else new)
    moved = sorted(arrays, key=lambda a: -a.ndim)
    gradients = [battery.numbers(t.shape, t.dtype, 5) for t in twins]
    optimizer = fastrms.RMSprop(0.05, **OPTIONS, use_ema=True)
    optimizer.build(old)
    twin = stepped(twins, gradients, use_ema=True, steps=4)
    for _ in range(2):
        optimizer.apply(gradients)
    originals = list(old.values() if kind == "name" else old)
    for target, source in zip(moved, originals, strict=True):
        target[...] = source
    optimizer.rebind(new)
    kept = [a.copy() for a in originals]
    for _ in range(2):
        optimizer.apply(gradients)
    assert_same(originals, kept)
    assert_same([*moved, *optimizer.get_weights()], [*twins, *twin.get_weights()])
    assert optimizer.iterations == 4


BAD_REBINDS: dict[str, Any] = {
    "too few": lambda a: [a[0].copy()],
    "too many": lambda a: [x.copy() for x in (*a, *a)],
    "shape": lambda a: [a[0].copy(), np.ones(6)],
    "dtype": lambda a: [a[0].copy(), a[1].astype(np.float32)],
    "twice": lambda a: [a[0], a[0]],
    "overlap": lambda a: [a[0], a[0].reshape(-1)[:5]],
    "read-only": lambda a: [a[0], np.broadcast_to(a[1], a[1].shape)],
    "names": lambda a: {"k": a[0].copy(), "c": a[1].copy()},
    "one name": lambda a: {"k": a[0].copy()},
    "nothing": lambda a: [],
    "not arrays": lambda a: [1.0, 2.0],
}


@pytest.mark.parametrize("what", BAD_REBINDS)
def test_rebind_is_all_or_nothing(what: str) -> None:
    variables, _ = rebound("name", "C")
    optimizer = stepped(variables, [np.ones((4, 3)), np.ones(5)])
    arrays = list(variables.values())
    before = battery.snapshot(optimizer, arrays)
    with pytest.raises(fastrms.VariableError):
        optimizer.rebind(BAD_REBINDS[what](arrays))
    assert battery.snapshot(optimizer, arrays) == before
    optimizer.apply({"k": np.ones((4, 3)), "b": np.ones(5)})
    assert optimizer.iterations == 4
