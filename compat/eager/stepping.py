"""Steps whose update a class writes itself; checks, clipping and rates are those of the core."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import reference
from fastrms.arguments import Settings
from fastrms.dialects import Dialect
from fastrms.engines import ReferencePlan, pairs_of
from fastrms.rule import Slots, Variant
from fastrms.stepper import Stepper
from fastrms.variables import Variables
from fastrms.weights import Core
from fastrms.work import UPDATE

Array = NDArray[Any]
Update = Callable[[int, Array], None]


class WrittenPlan(ReferencePlan):
    """One kind of step: condition the gradients, then call the class's update for each variable."""

    def __init__(self, stepper: "WrittenStepper", present: Any) -> None:
        items = [stepper.shop.item(i, UPDATE) for i, given in enumerate(present) if given]
        super().__init__(stepper.shop, [items], present, stepper.counter)
        self.stepper, self.items = stepper, items
        self._by_index = {item.index: item for item in items}

    def put(self, index: int, gradient: Any) -> None:
        """Set the gradient of a variable."""
        self._by_index[index].arrays["gradient"] = gradient

    def run(self) -> None:
        """Carry out the step in the system's order: clip, decay, update, average, count."""
        stepper, shop = self.stepper, self.stepper.shop
        with reference.flushing(stepper.row.flushes_subnormals), np.errstate(all="ignore"):
            pairs = pairs_of(shop, self.items)
            for item in self.items:
                hyper = stepper.hyper(item.index)
                clip = pairs.get(item.index, (hyper.one, hyper.one))
                flat = reference.condition(item.arrays["gradient"], None, clip, hyper, item.variant)
                if item.variant.decoupled_decay:
                    self._decay(item.index, hyper)
                stepper.update(item.index, stepper.like_variable(item.index, flat))
            self._average()
        phases, self.phases = self.phases, [[]]
        super().run()  # nothing is left to do but to count
        self.phases = phases

    def _decay(self, index: int, hyper: Any) -> None:
        """Decay a variable: what the rule does with a gradient of 0."""
        array = self.stepper.variables.arrays[index]
        zeros, still = np.zeros_like(array), hyper._replace(epsilon=hyper.one)
        variant = Variant(decoupled_decay=True)
        slots = Slots(zeros, zeros, zeros)
        array[...] = reference.update(array, zeros, slots, still, variant)[0]

    def _average(self) -> None:
        """Advance the moving averages, paired as the system pairs them past None gradients."""
        stepper = self.stepper
        if not stepper.settings.use_ema:
            return
        shifted = stepper.shop.shifted([item.index for item in self.items])
        for k, item in enumerate(shifted):
            variable, hyper = stepper.variables.arrays[item.index], stepper.hyper(item.index)
            average = stepper.state.shaped("average", k)
            average[...] = reference.average(average, variable, hyper, item.variant)
            if hyper.overwrite:
                variable[...] = average


class WrittenStepper(Stepper):
    """The variables, slots and counter of an optimizer that writes its own update."""

    def __init__(
        self,
        row: Dialect,
        settings: Settings,
        variables: Variables,
        undecayed: frozenset[int],
        update: Update,
    ) -> None:
        super().__init__(row, settings, variables, undecayed)
        self.update = update
        self._compiled = self._swift = False

    def hyper(self, index: int) -> Any:
        """Return the numbers of this step in a variable's dtype."""
        return self.shop.numbers[self.dtypes[index]].hyper

    def like_variable(self, index: int, flat: Array) -> Array:
        """Return a flat gradient in its variable's shape."""
        array = self.variables.arrays[index]
        columns = array.flags.f_contiguous and not array.flags.c_contiguous
        return flat.reshape(array.shape, order="F" if columns else "C")

    def create_slots(self, indices: list[int]) -> None:
        """Create the averages; the other slots are the class's to create."""
        if self.settings.use_ema:
            for i in (i for i in indices if ("average", i) not in self.state.slots):
                self.state.create(["average"], [i])
                self.state.shaped("average", i)[...] = self.variables.arrays[i]

    def _built(self, mode: str, present: Any) -> Any:
        """Return the plan of a kind of step."""
        return WrittenPlan(self, present)


def transplanted(old: Stepper | None, fresh: Stepper) -> Stepper:
    """Return a stepper, more variables or other settings, with the slots of an old one."""
    if old is not None:
        for name, index in old.state.slots:
            fresh.state.create([name], [index])
            fresh.state.shaped(name, index)[...] = old.state.shaped(name, index)
        fresh.calls, fresh.last_rate = old.calls, old.last_rate
    return fresh


@contextlib.contextmanager
def all_or_nothing(core: Core, arrays: list[Array]) -> Iterator[None]:
    """Undo everything inside when it raises; `arrays` are copied, slots too where there are any."""
    stepper = core.stepper
    slots = dict(stepper.state.slots) if stepper is not None else {}
    kept = [(a, a.copy()) for a in (*arrays, *(slots.values() if arrays else ()))]
    counter = stepper.counter.copy() if stepper is not None else None
    rate = stepper.last_rate if stepper is not None else None
    try:
        yield
    except BaseException:
        for array, value in kept:
            array[...] = value
        core.stepper = stepper
        if stepper is not None and counter is not None:
            stepper.state.slots.clear()
            stepper.state.slots.update(slots)
            stepper._plans.clear()
            stepper.counter[...], stepper.last_rate = counter, rate
        raise
