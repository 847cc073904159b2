"""Arrays changed behind the optimizer's back: the step is refused and nothing at all changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import battery
import fastrms

OPTIONS = {"momentum": 0.9, "centered": True, "use_ema": True}


def c_order() -> Any:
    """An array that owns its memory."""
    return np.array(battery.numbers((6, 8), "float32"))


def f_order() -> Any:
    """A Fortran-ordered array that owns its memory."""
    return np.array(battery.numbers((6, 8), "float32"), order="F")


def strided() -> Any:
    """A view of every second column: its memory belongs to `.base`."""
    return np.array(battery.numbers((6, 16), "float32"))[:, ::2]


def part() -> Any:
    """A contiguous piece of a larger array, as in a flat parameter vector."""
    return np.array(battery.numbers((96,), "float32"))[48:].reshape(6, 8)


LAYOUTS: dict[str, Callable[[], Any]] = {
    "c_order": c_order,
    "f_order": f_order,
    "strided": strided,
    "part": part,
}


def owner(array: Any) -> Any:
    """Return the array that owns the memory."""
    return array if array.base is None else owner(array.base)


def resize(factor: float) -> Callable[[Any], None]:
    """Write a mutation that moves or cuts the memory."""

    def mutate(array: Any) -> None:
        root = owner(array)
        root.resize(int(root.size * factor), refcheck=False)

    return mutate


def set_attribute(name: str, value: Any) -> Callable[[Any], None]:
    """Write a mutation that assigns an attribute."""

    def mutate(array: Any) -> None:
        setattr(array, name, value)

    return mutate


def freeze(array: Any) -> None:
    """Make an array read-only."""
    array.flags.writeable = False


def double(array: Any) -> None:
    """View the same bytes as half as many wider numbers."""
    array.dtype = np.float64


MUTATIONS: dict[str, Callable[[Any], None]] = {
    "resize_larger": resize(1000),
    "resize_smaller": resize(0.5),
    "resize_to_nothing": resize(0),
    "dtype_integer": set_attribute("dtype", np.int32),
    "dtype_wider": double,
    "shape_flat": set_attribute("shape", (48,)),
    "shape_transposed": set_attribute("shape", (8, 6)),
    "shape_more_axes": set_attribute("shape", (2, 3, 8)),
    "strides_zero": set_attribute("strides", (0, 0)),
    "strides_swapped": set_attribute("strides", (4, 24)),
    "read_only": freeze,
}
# What NumPy itself cannot do to these arrays, or what leaves them as they are.
IMPOSSIBLE = {
    ("strided", "dtype_wider"): "NumPy needs a contiguous last axis",
    ("f_order", "dtype_wider"): "NumPy needs a contiguous last axis",
    ("f_order", "shape_flat"): "NumPy cannot flatten it in place",
    ("f_order", "shape_transposed"): "NumPy cannot reshape it in place",
    ("f_order", "strides_swapped"): "these are its strides already",
}
CASES = [
    pytest.param(layout, mutation, id=f"{layout}-{mutation}")
    for layout in LAYOUTS
    for mutation in MUTATIONS
    if (layout, mutation) not in IMPOSSIBLE
]


class Scene:
    """An optimizer that has made steps on three arrays; the middle one is about to change."""

    def __init__(self, layout: str) -> None:
        self.target = LAYOUTS[layout]()
        self.others = [np.ones(5, np.float64), np.ones((4, 4), np.float32)[:, 1:3]]
        self.variables = [self.others[0], self.target, self.others[1]]
        self.optimizer = fastrms.RMSprop(0.05, **OPTIONS)
        self.optimizer.build(self.variables)
        self.gradients = [battery.numbers(v.shape, v.dtype, 9) for v in self.variables]
        for _ in range(3):
            self.optimizer.apply(self.gradients)

    def state(self) -> Any:
        """Return all that must stay: the others, slots, counters; not the mutated array."""
        stepper = self.optimizer._core.stepper
        assert stepper is not None
        slots = [(key, battery.canonical(slot)) for key, slot in stepper.state.slots.items()]
        return slots, [battery.canonical(a) for a in self.others], self.optimizer.iterations

    def content(self) -> bytes:
        """Return the memory of the target; a view of moved memory is read by nobody."""
        return battery.canonical(owner(self.target))

    def refused(self, *arguments: Any) -> None:
        """Check that a step is refused and changes nothing."""
        before, content = self.state(), self.content()
        with pytest.raises(
            fastrms.VariableError, match=r"1 \('variable_1'\) has changed"
        ) as caught:
            self.optimizer.apply(*arguments)
        for part_of_message in ("has changed since build()", "now is an array", "Undo", "rebind("):
            assert part_of_message in str(caught.value)
        assert self.state() == before
        assert self.content() == content


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy 2.4's, of assigning strides
@pytest.mark.parametrize(("layout", "mutation"), CASES)
def test_a_mutated_variable_is_never_written(layout: str, mutation: str) -> None:
    scene = Scene(layout)
    MUTATIONS[mutation](scene.target)
    scene.refused(scene.gradients)
    scene.refused(scene.gradients, scene.variables)
    scene.refused([g.tolist() for g in scene.gradients])
    scene.refused([g.copy() for g in scene.gradients])
    with pytest.raises(fastrms.VariableError):
        scene.optimizer.finalize_variable_values()


def test_impossible_mutations_are_impossible() -> None:
    for layout, mutation in IMPOSSIBLE:
        if mutation == "strides_swapped":
            assert LAYOUTS[layout]().strides == (4, 24)
            continue
        with pytest.raises((AttributeError, ValueError)):
            MUTATIONS[mutation](LAYOUTS[layout]())


@pytest.mark.parametrize("layout", ["c_order", "f_order"])
def test_a_resize_to_the_same_size_is_no_change(layout: str) -> None:
    scene = Scene(layout)
    scene.target.resize(scene.target.shape, refcheck=False)
    scene.optimizer.apply(scene.gradients)
    assert scene.optimizer.iterations == 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_undoing_a_mutation_lets_the_steps_go_on(layout: str) -> None:
    scene, twin = Scene(layout), Scene(layout)
    freeze(scene.target)
    scene.refused(scene.gradients)
    scene.target.flags.writeable = True
    scene.optimizer.apply(scene.gradients)
    twin.optimizer.apply(twin.gradients)
    assert scene.state() == twin.state()
    assert battery.canonical(scene.target) == battery.canonical(twin.target)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_state_survives_a_lost_variable_and_moves_by_rebind(layout: str) -> None:
    scene, twin = Scene(layout), Scene(layout)
    fresh = np.array(scene.target)
    resize(1000)(scene.target)
    scene.refused(scene.gradients)
    scene.optimizer.rebind([scene.others[0], fresh, scene.others[1]])
    scene.optimizer.apply(scene.gradients)
    twin.optimizer.apply(twin.gradients)
    assert scene.state() == twin.state()
    assert battery.canonical(fresh) == battery.canonical(twin.target)


GRADIENT_MUTATIONS: dict[str, Callable[[Any], None]] = {
    "resize": resize(1000),
    "smaller": resize(0.5),
    "dtype": set_attribute("dtype", np.int32),
    "shape": set_attribute("shape", (8, 6)),
}


@pytest.mark.parametrize("mutation", GRADIENT_MUTATIONS)
def test_a_mutated_gradient_is_refused(mutation: str) -> None:
    scene = Scene("c_order")
    GRADIENT_MUTATIONS[mutation](scene.gradients[1])
    before, content = scene.state(), battery.canonical(scene.target)
    with pytest.raises(fastrms.GradientError, match="gradient of variable 1"):
        scene.optimizer.apply(scene.gradients)
    assert (scene.state(), battery.canonical(scene.target)) == (before, content)


def test_gradients_that_change_between_steps_are_read_anew() -> None:
    scene, twin = Scene("c_order"), Scene("c_order")
    for step in range(6):
        for i, gradient in enumerate(scene.gradients):
            gradient *= step - 2
            if step % 2:
                gradient.resize(gradient.shape, refcheck=False)
            twin.gradients[i] = gradient.copy(order="F") if step % 3 else gradient.tolist()
        scene.optimizer.apply(scene.gradients)
        twin.optimizer.apply(twin.gradients)
    assert scene.state() == twin.state()
    assert battery.canonical(scene.target) == battery.canonical(twin.target)


class Hostile:
    """A gradient whose conversion to an array changes a variable."""

    def __init__(self, variable: Any, values: Any) -> None:
        self.variable, self.values = variable, values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        root = owner(self.variable)
        root.resize(100_000 if root.size < 100_000 else 200_000, refcheck=False)
        return np.array(self.values, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("slowly", [True, False], ids=["slow_way", "swift_way"])
def test_a_variable_that_changes_while_gradients_are_read(layout: str, slowly: bool) -> None:
    scene = Scene(layout)
    old = scene.content() if layout != "f_order" else b""  # resize reinterprets the order
    gradients: list[Any] = [*scene.gradients[:2], Hostile(scene.target, scene.gradients[2])]
    given = [[scene.variables[i] for i in (0, 2, 1)]] if slowly else []
    if slowly:
        gradients = [gradients[i] for i in (0, 2, 1)]
    before = scene.state()
    with pytest.raises(fastrms.VariableError, match="has changed since"):
        scene.optimizer.apply(gradients, *given)
    assert scene.state() == before
    assert scene.content()[: len(old)] == old


def test_a_step_holds_on_to_arrays_that_only_it_knows() -> None:
    optimizer = fastrms.RMSprop(0.05)
    variable = c_order()
    optimizer.build([variable])
    gone = weakref.ref(variable)
    expected = battery.canonical(variable)
    del variable
    array = gone()
    assert array is not None, "the optimizer keeps its variables alive"
    assert battery.canonical(array) == expected
    for _ in range(3):
        optimizer.apply([battery.numbers((6, 8), "float32")])  # freed as soon as it was read
    assert optimizer.iterations == 3
