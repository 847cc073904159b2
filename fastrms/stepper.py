"""From the arguments of `apply` to one carried-out step: all checks first, then one call."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numba import config
from numpy.typing import NDArray

from fastrms.arguments import Settings
from fastrms.cuda import arrays as device
from fastrms.dialects.fields import Dialect
from fastrms.engines import ReferencePlan
from fastrms.errors import GradientError, VariableError
from fastrms.layout import facts_of, halves_in_hardware, layout_is_known
from fastrms.rates import scheduled
from fastrms.schedules import LearningRateSchedule
from fastrms.state import State
from fastrms.variables import Variables, describe, order_of
from fastrms.work import ACCUMULATE, CLEAR, IDLE, UPDATE, Item, Workshop

Array = NDArray[Any]
if TYPE_CHECKING:
    from fastrms.cuda.plan import DevicePlan
    from fastrms.plan import Plan

AnyPlan: TypeAlias = "Plan | ReferencePlan | DevicePlan"
_MOST_PLANS = 16


class Stepper:
    """The variables, slots and counter of one optimizer, and how a step changes them."""

    def __init__(
        self, row: Dialect, settings: Settings, variables: Variables, undecayed: frozenset[int]
    ) -> None:
        self.row, self.settings, self.variables = row, settings, variables
        self.state = State(variables, row.velocity_start)
        self.shop = Workshop(row, settings, variables, self.state, undecayed)
        self.counter = np.zeros(3, np.uint64)  # calls, what a step adds to them, steps carried out
        self.counter[1] = row.counts == "every step" or settings.decay > 0
        self.dtypes = [a.dtype for a in variables.arrays]
        self._facts = [facts_of(a, order_of(a)) for a in variables.arrays]
        self._plans: dict[tuple[str, tuple[bool, ...]], AnyPlan] = {}
        self._present: dict[str, tuple[bool, ...]] = {}
        self._advanced: tuple[Any, ...] | None = None
        self.last_rate: float | None = None  # what a schedule gave the last step
        self._scheduled: float | None = None  # what it gives the coming one
        half = any(dtype == np.float16 for dtype in self.dtypes)
        self._compiled = not config.DISABLE_JIT and (halves_in_hardware() or not half)
        self._on_device = not isinstance(variables.arrays[0], np.ndarray)
        self._swift = self._on_device or (layout_is_known() and self._compiled)

    @property
    def calls(self) -> int:
        """How often `apply` has been called."""
        return int(self.counter[0])

    @calls.setter
    def calls(self, value: int) -> None:
        self.counter[0] = value

    @property
    def carried_out(self) -> int:
        """How many steps were carried out here, counted by the row or not."""
        return int(self.counter[2])

    @property
    def iterations(self) -> int:
        """How many updates were made: calls divided by the accumulation steps."""
        return self.calls // (self.settings.gradient_accumulation_steps or 1)

    def create_slots(self, indices: list[int]) -> None:
        """Create the slots of some variables; moving averages may start as the variables."""
        names = self.shop.slot_names()
        fresh = [i for i in indices if ("average", i) not in self.state.slots]
        self.state.create(names, indices)
        if "average" in names and self.row.average and self.row.average.starts_at_variable:
            for i in fresh:
                self.state.shaped("average", i)[...] = self.variables.arrays[i]

    def step(
        self, gradients: list[Any], given: list[Any] | None, base: Any, stream: Any = None
    ) -> None:
        """Check everything, then carry out one step."""
        # Lists of our own: other threads may replace gradients in theirs while kernels read them.
        gradients, given = gradients[:], None if given is None else given[:]
        if self._on_device or stream is not None:
            device.choose_stream(self.variables.arrays[0], gradients, stream)
        steps, mode = self.settings.gradient_accumulation_steps, UPDATE
        if steps and (self.calls + 1) % steps:
            mode = ACCUMULATE
        self._advance(base)
        count = len(self.variables.arrays)
        expected = count if given is None else len(given)
        if len(gradients) != expected:
            raise GradientError(
                f"{len(gradients)} gradients were given for {expected} variables; give one "
                "(or None) for each."
            )
        if self.row.all_none == "no step" and all(g is None for g in gradients):
            return
        plan = self._plans.get((mode, self._present.get(mode, ())))
        if plan is None or not self._swift or expected != count:
            plan = self._check_slowly(mode, gradients, given)
        else:
            found = plan.look(gradients, given)
            if found:
                plan = self._attend(mode, plan, (gradients, given), found)
        plan.run()
        if self._scheduled is not None:
            self.last_rate = self._scheduled

    def _asked(self, schedule: LearningRateSchedule) -> list[float]:
        """Return what a schedule gives the coming step, for each dtype of the variables."""
        dtypes = [numbers.dtype for numbers in self.shop.numbers.values()]
        if self.row.schedules is None or self.row.schedules.step == "integer":
            return [scheduled(self.row, schedule, self.calls, dtypes[0])] * len(dtypes)
        return [scheduled(self.row, schedule, self.calls, dtype) for dtype in dtypes]

    def _advance(self, base: Any) -> None:
        """Set the numbers of the coming step where they differ from the last one's."""
        settings = self.settings
        decays = self.row.decay is not None and settings.decay > 0
        iterations = self.iterations if decays or settings.use_ema else 0
        first, overwrite = False, False
        if settings.use_ema and self.row.average is not None:
            first = iterations == 0 and not self.row.average.starts_at_variable
            frequency = settings.ema_overwrite_frequency
            overwrite = bool(frequency) and (iterations + 1) % (frequency or 1) == 0
        now = (base, iterations if decays else 0, first, overwrite)
        if now != self._advanced:
            # An error or interrupt below leaves some numbers new: nothing is up to date then.
            self._advanced = None
            asks = isinstance(base, LearningRateSchedule)
            bases = self._asked(base) if asks else [base] * len(self.shop.numbers)
            for numbers, own in zip(self.shop.numbers.values(), bases, strict=True):
                numbers.advance(own, *now[1:])
            self._scheduled = bases[0] if asks else None
            self._advanced = None if asks else now  # a schedule is asked before every step

    def _attend(self, mode: str, plan: AnyPlan, lists: tuple[Any, Any], found: int) -> AnyPlan:
        """Deal with what compiled inspection could not accept."""
        gradients, given = lists
        if found < 0 or tuple(g is not None for g in gradients) != plan.present:
            return self._check_slowly(mode, gradients, given)
        for index in plan.attention[:found].tolist():
            gradients[index] = self.shop.as_array(index, gradients[index])
        # Reading a foreign gradient ran code that is not ours: look again before any address.
        found = plan.look(gradients, given)
        if found < 0:
            return self._check_slowly(mode, gradients, given)
        indices = plan.attention[:found].tolist()
        for index, array in [(i, self.shop.gradient(i, gradients[i])) for i in indices]:
            plan.put(index, array)
        return plan

    def _check_slowly(self, mode: str, gradients: list[Any], given: list[Any] | None) -> AnyPlan:
        """Check every array through Python; find or build the plan of this step."""
        self.require_unchanged()
        ordered = gradients[:] if given is None else self._ordered(gradients, given)
        present = tuple(g is not None for g in ordered)
        self._require_some(present)
        indices = [i for i, p in enumerate(present) if p]
        for i in indices:
            ordered[i] = self.shop.as_array(i, ordered[i])
        self.require_unchanged()  # reading a foreign gradient ran code that is not ours
        checked = [(i, self.shop.gradient(i, ordered[i])) for i in indices]
        plan = self._plan(mode, present)
        for index, array in checked:
            plan.put(index, array)
        return plan

    def _ordered(self, gradients: list[Any], given: list[Any]) -> list[Any]:
        """Arrange gradients in the order in which the variables were built."""
        ordered: list[Any] = [None] * len(self.variables.arrays)
        seen: set[int] = set()
        for gradient, variable in zip(gradients, given, strict=True):
            index = self.variables.index(variable)
            if index is None:
                raise VariableError(
                    f"{describe(variable)} is not a variable of this optimizer, which was built "
                    f"with {len(self.variables.arrays)}: {self.variables.names[:5]}. Pass the "
                    "arrays given to build(), or move the state with rebind(new_variables)."
                )
            if index in seen:
                raise VariableError(
                    f"variable {self.variables.label(index)} is given twice; pass it once."
                )
            seen.add(index)
            ordered[index] = gradient
        return ordered

    def require_unchanged(self) -> None:
        """Raise if a variable's memory, shape, dtype or flags changed since it was recorded."""
        for i, array in enumerate(self.variables.arrays):
            if facts_of(array, order_of(array)) != self._facts[i]:
                raise VariableError(
                    f"variable {self.variables.label(i)} has changed since build(): it now is "
                    f"{describe(array)} (writeable: {array.flags.writeable}), with other memory, "
                    "shape, dtype or flags. Nothing was written. Undo that, or move the state "
                    "with rebind(new_variables)."
                )

    def _require_some(self, present: tuple[bool, ...]) -> None:
        """Raise where the system refuses None gradients, some or all."""
        if not any(present) and self.row.all_none == "refused":
            raise GradientError(
                "no gradients: every gradient is None. Give at least one variable a gradient."
            )
        if not all(present) and self.row.none_gradients == "refused":
            missing = [self.variables.label(i) for i, p in enumerate(present) if not p]
            raise GradientError(
                f"variables {', '.join(missing)} have no gradient (None), which the dialect "
                f"{self.row.name!r} refuses as the real system does. Leave them out of build()."
            )

    def _plan(self, mode: str, present: tuple[bool, ...]) -> AnyPlan:
        """Return the plan of a kind of step, built on first use."""
        plan = self._plans.get((mode, present))
        if plan is None:
            plan = self._built(mode, present)
            self._plans[mode, present] = plan
        self._present[mode] = present
        return plan

    def _built(self, mode: str, present: tuple[bool, ...]) -> AnyPlan:
        """Build a plan; slots that it needs first come to be with it, or not at all."""
        known = set(self.state.slots)
        try:
            self.create_slots([i for i, p in enumerate(present) if p])
            phases = self._phases(mode, present)
            kind: type[AnyPlan] = ReferencePlan
            if self._on_device or self._compiled:
                kind = _device_plan() if self._on_device else _compiled_plan()
            plan = kind(self.shop, phases, present, self.counter)
        except BaseException:
            for key in set(self.state.slots) - known:
                del self.state.slots[key]
            raise
        if len(self.state.slots) != len(known) or len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        return plan

    def _phases(self, mode: str, present: tuple[bool, ...]) -> list[list[Item]]:
        """Return what a kind of step does to which variable, in order."""
        settings, average = self.settings, self.row.average
        given = [i for i, p in enumerate(present) if p]
        phases = [[self.shop.item(i, mode) for i in given]]
        if settings.use_ema and average is not None and average.shifts_past_none:
            return [*phases, self.shop.shifted(given)]
        others = [i for i, p in enumerate(present) if not p]
        if settings.gradient_accumulation_steps and mode == UPDATE:
            phases[0] += [self.shop.item(i, CLEAR) for i in others]
        elif settings.use_ema:
            phases[0] += [self.shop.item(i, IDLE) for i in others]
        return phases


def _compiled_plan() -> "type[Plan]":
    """Import what needs Numba's compiler when it is needed: it costs a third of its import."""
    from fastrms.plan import Plan

    return Plan


def _device_plan() -> "type[DevicePlan]":
    """Import what needs Numba's CUDA target when an array on a GPU is given."""
    from fastrms.cuda.plan import DevicePlan

    return DevicePlan
