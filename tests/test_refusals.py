"""Everything refused says what, what was received, what is valid, what to do; nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import battery
import fastrms
from fastrms import ArgumentError, GradientError, StateError, VariableError

F4 = np.float32


def ready() -> tuple[fastrms.RMSprop, list[Any]]:
    """Return an optimizer after two steps, and its variables."""
    variables = [battery.numbers((2, 3), "float32"), np.asfortranarray(np.ones((3, 2), np.float64))]
    optimizer = fastrms.RMSprop(0.05, momentum=0.9, use_ema=True)
    optimizer.build({"kernel": variables[0], "bias": variables[1]})
    for _ in range(2):
        optimizer.apply([np.ones((2, 3), F4), np.ones((3, 2))])
    return optimizer, variables


def grads(first: Any) -> Callable[[Any, Any], Any]:
    """Write a step whose first gradient is odd."""
    return lambda o, v: o.apply([first(v) if callable(first) else first, np.ones((3, 2))])


GOOD = [np.ones((2, 3), F4), np.ones((3, 2))]
NUMBERS = r"valid: an array of shape \(2, 3\), a list of numbers, or None"
# id: (action, error, what, received, valid, what to do), the last four as regular expressions.
STEPS: dict[str, tuple[Any, ...]] = {
    "shape": (
        grads(np.ones((3, 2), F4)),
        GradientError,
        "'kernel'",
        r"\(3, 2\)",
        r"\(2, 3\)",
        "expec",
    ),
    "ndim": (grads(np.ones(6, F4)), GradientError, "'kernel'", r"\(6,\)", r"\(2, 3\)", "expected"),
    "integer": (
        grads(np.ones((2, 3), int)),
        GradientError,
        "'kernel'",
        "int64",
        "float32",
        "astype",
    ),
    "boolean": (
        grads(np.ones((2, 3), bool)),
        GradientError,
        "'kernel'",
        "bool",
        "float32",
        "astype",
    ),
    "complex": (
        *(grads(np.ones((2, 3), complex)), GradientError),
        *("'kernel'", "complex128", "float32", "astype"),
    ),
    "object": (
        grads(np.ones((2, 3), object)),
        GradientError,
        "'kernel'",
        "object",
        "float32",
        "ast",
    ),
    "jagged": (grads([[1.0], [1.0, 2.0]]), GradientError, "'kernel'", "list", NUMBERS, "None"),
    "text": (grads([["1"] * 3] * 2), GradientError, "'kernel'", "list", NUMBERS, "None"),
    "none_inside": (grads([[None] * 3] * 2), GradientError, "'kernel'", "list", NUMBERS, "None"),
    "huge_integer": (grads([[10**400] * 3] * 2), GradientError, "'kernel'", "list", NUMBERS, "Non"),
    "string": (grads("gradient"), GradientError, "'kernel'", "str 'gradient'", NUMBERS, "None"),
    "masked": (
        *(grads(np.ma.masked_array(np.ones((2, 3), F4), True)), GradientError),
        *("'kernel'", "masked array", NUMBERS.split(",")[0], "filled"),
    ),
    "is_the_variable": (grads(lambda v: v[0]), GradientError, "'kernel'", "shares", "own", "copy"),
    "view_of_a_variable": (
        *(grads(lambda v: v[1].T.view(F4)[:, ::2]), GradientError),
        *("'kernel'", "shares memory with 'bias'", "of its own", "copy"),
    ),
    "is_a_slot": (
        lambda o, v: o.apply([o.variables[2], GOOD[1]]),
        *(GradientError, "'kernel'", "a slot", "of its own", "copy"),
    ),
    "too_few": (lambda o, v: o.apply([GOOD[0]]), GradientError, "gradients", "1", "2 var", "one"),
    "too_many": (lambda o, v: o.apply(GOOD * 2), GradientError, "gradients", "4", "2 var", "one"),
    "none_at_all": (
        lambda o, v: o.apply([None, None]),
        *(GradientError, "No gradients", "None", "at least one", "Give"),
    ),
    "no_list": (lambda o, v: o.apply(None), GradientError, "gradients", "None", "list", "pass"),
    "a_number": (lambda o, v: o.apply(5), GradientError, "gradients", "5", "list", "pass"),
    "unknown_variable": (
        lambda o, v: o.apply(GOOD, [v[0].copy(), v[1]]),
        *(VariableError, "is not a variable", r"shape \(2, 3\)", "given to build", "rebind"),
    ),
    "variable_twice": (
        lambda o, v: o.apply([GOOD[0]] * 2, [v[0], v[0]]),
        *(VariableError, "'kernel'", "given twice", "once", "pass it once"),
    ),
    "variable_twice_by_view": (
        lambda o, v: o.apply([GOOD[0]] * 2, [v[0], v[0][:]]),
        *(VariableError, "'kernel'", "given twice", "once", "pass it once"),
    ),
    "other_names": (
        lambda o, v: o.apply({"kernel": GOOD[0], "b": GOOD[1]}),
        *(VariableError, "names", "'b'", "'bias'", "same keys"),
    ),
    "no_pairs": (
        lambda o, v: o.apply_gradients([]),
        VariableError,
        "pairs",
        "no ",
        "least",
        "give",
    ),
    "built_again": (
        lambda o, v: o.build([np.ones(2)]),
        *(VariableError, "already built", "other variables", "new_variables", "rebind"),
    ),
    "excluded_late": (
        lambda o, v: o.exclude_from_weight_decay(var_names=["x"]),
        *(StateError, "exclude_from_weight_decay", "after", "before", "call it"),
    ),
    "weights_count": (
        lambda o, v: o.set_weights([1]),
        *(StateError, "1 weights", "1", "8 expected", "iteration"),
    ),
    "weights_shape": (
        lambda o, v: o.set_weights([*o.get_weights()[:-1], np.ones(4)]),
        *(StateError, "bias", r"\(4,\)", r"\(3, 2\)", "Nothing was changed"),
    ),
    "weights_kind": (
        lambda o, v: o.set_weights([*o.get_weights()[:-1], np.ones((3, 2), complex)]),
        *(StateError, "bias", "complex128", "numbers", "Nothing was changed"),
    ),
    "weights_iterations": (
        lambda o, v: o.set_weights([-1, *o.get_weights()[1:]]),
        *(StateError, "iterations", "-1", ">= 0", "Nothing was changed"),
    ),
    "weights_iterations_nan": (
        lambda o, v: o.set_weights([np.nan, *o.get_weights()[1:]]),
        *(StateError, "iterations", "nan", ">= 0", "Nothing was changed"),
    ),
    "weights_iterations_half": (
        lambda o, v: o.set_weights([1.5, *o.get_weights()[1:]]),
        *(StateError, "iterations", r"1\.5", ">= 0", "Nothing was changed"),
    ),
    "weights_rate": (
        lambda o, v: o.set_weights([1, np.inf, *o.get_weights()[2:]]),
        *(StateError, "learning_rate", "inf", "finite", "Nothing was changed"),
    ),
    **{
        f"iterations_{value!r}": (
            lambda o, v, value=value: setattr(o, "iterations", value),
            *(ArgumentError, "iterations", str(value), ">= 0", "integer"),
        )
        for value in (-1, 1.0, True, None, 2**64, 2**70)
    },
    **{
        f"rate_{value!r}": (
            lambda o, v, value=value: setattr(o, "learning_rate", value),
            *(ArgumentError, "learning_rate", str(value), "valid: ", "[Pp]ass|callable"),
        )
        for value in (float("nan"), float("inf"), None, 1j, True)
    },
}


@pytest.mark.parametrize("case", STEPS)
def test_a_refused_call_changes_nothing(case: str) -> None:
    action, error, *parts = STEPS[case]
    optimizer, variables = ready()
    before = battery.snapshot(optimizer, variables)
    with pytest.raises(error) as caught:
        action(optimizer, variables)
    battery.says_all(str(caught.value), parts)
    assert battery.snapshot(optimizer, variables) == before
    twin, twins = ready()
    for some, arrays in ((optimizer, variables), (twin, twins)):
        some.apply(GOOD, arrays)
    assert battery.snapshot(optimizer, variables) == battery.snapshot(twin, twins)


def read_only() -> Any:
    """Return an array that cannot be written."""
    array = np.ones(3)
    array.flags.writeable = False
    return array


VARIABLES: dict[str, tuple[Any, ...]] = {
    "complex": (np.ones(3, complex), "<c16", "float16, float32 or float64"),
    "integer": (np.ones(3, int), "'<i8'", "float16, float32 or float64"),
    "boolean": (np.ones(3, bool), "bool|b1", "float16, float32 or float64"),
    "object": (np.ones(3, object), "O", "float16, float32 or float64"),
    "longdouble": (np.ones(3, np.longdouble), "f16", "float16, float32 or float64"),
    "big_endian": (np.ones(3, ">f4"), ">f4", "native"),
    "record": (np.ones(3, [("x", "f4")]), "V4", "float16, float32 or float64"),
    "number": (1.0, "float 1.0", "NumPy array"),
    "scalar": (np.float32(1), "float32", "NumPy array"),
    "none": (None, "None", "NumPy array"),
    "text": ("weights", "'weights'", "NumPy array"),
    "masked": (np.ma.zeros(3), r"shape \(3,\)", "NumPy array"),
    "read_only": (read_only(), "read-only", "copy"),
    "broadcast": (np.broadcast_to(np.ones(1), (3,)), "read-only", "copy"),
    "stride_zero": (
        np.lib.stride_tricks.as_strided(np.ones(3), (3,), (0,)),
        *("repeats", "copy"),
    ),
    "sliding": (
        np.lib.stride_tricks.as_strided(np.ones(9), (3, 3), (8, 8)),
        *("repeats", "copy"),
    ),
    "unaligned": (np.zeros(13, np.uint8)[1:].view("f4"), "not aligned", "copy"),
}


@pytest.mark.parametrize("case", VARIABLES)
@pytest.mark.parametrize("named", [True, False], ids=["named", "listed"])
def test_what_cannot_be_a_variable(case: str, named: bool) -> None:
    array, received, valid = VARIABLES[case]
    good = np.ones(3)
    tree = {"good": good, "odd": array} if named else [good, array]
    for late in (False, True):
        optimizer = fastrms.RMSprop()
        with pytest.raises(VariableError) as caught:
            optimizer.apply([good.copy(), good.copy()], tree) if late else optimizer.build(tree)
        battery.says_all(str(caught.value), ["'odd'" if named else "1", received, valid])
        assert not optimizer.built
        assert optimizer.iterations == 0
        assert (good == 1).all()


@pytest.mark.parametrize("dialect", ["keras-3", "tf-keras-v2"])
@pytest.mark.parametrize("gradient", [np.ones(4), np.ones(3, int), None, "x"], ids=repr)
def test_a_refused_first_step_builds_nothing(dialect: str, gradient: Any) -> None:
    optimizer, wrong, right = fastrms.RMSprop(0.05, dialect=dialect), np.ones(3), np.ones(3)
    optimizer.iterations = 5
    weights = battery.digest(optimizer.get_weights())
    for variables in ([wrong], {"w": wrong}, (wrong,)):
        with pytest.raises(GradientError):
            optimizer.apply(
                {"w": gradient} if isinstance(variables, dict) else [gradient], variables
            )
        assert not optimizer.built
        assert (optimizer.iterations, battery.digest(optimizer.get_weights())) == (5, weights)
    optimizer.apply([np.ones(3)], [right])
    assert optimizer.iterations == 6
    assert (wrong == 1).all()
    assert (right < 1).all()


def test_a_rate_that_fails_on_the_first_step_builds_nothing() -> None:
    optimizer = fastrms.RMSprop(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        optimizer.apply([np.ones(3)], [np.ones(3)])
    assert not optimizer.built


def test_more_pieces_than_tickets_can_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrms.program.MOST_ROWS", 2)
    live = [np.ones(3, np.float32) for _ in range(3)]
    opt = fastrms.RMSprop()
    opt.build(live)
    before = battery.snapshot(opt, live)
    with pytest.raises(fastrms.VariableError, match=r"has 3 pieces; valid: at most 2 in one"):
        opt.apply([v + 1 for v in live])
    assert battery.snapshot(opt, live) == before
    monkeypatch.undo()
    opt.apply([v + 1 for v in live])
    assert opt.iterations == 1
