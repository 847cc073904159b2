"""From the arguments of `apply` to one carried-out step: all checks first, then one call."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import config
from numpy.typing import NDArray

from fastrms import constraints, rows
from fastrms.arguments import Settings
from fastrms.cuda import arrays as device
from fastrms.dialects.fields import Dialect
from fastrms.engines import kind_of_plan
from fastrms.errors import GradientError, VariableError
from fastrms.layout import Count, facts_of, halves_in_hardware, layout_is_known
from fastrms.overwriting import set_aside
from fastrms.pairing import arranged, require_some
from fastrms.rates import scheduled
from fastrms.schedules import LearningRateSchedule
from fastrms.sparse import ROWS, Rows, kinds_of
from fastrms.state import State
from fastrms.variables import Variables, describe
from fastrms.work import ACCUMULATE, CLEAR, IDLE, UPDATE, Item, Workshop

Array = NDArray[Any]
AnyPlan: TypeAlias = Any  # Plan, ReferencePlan or DevicePlan: the engines share a surface
_MOST_PLANS = 16
_CALLS, _ENDED, _STOP = int(Count.CALLS), int(Count.ENDED), int(Count.STOP)


class Stepper:
    """The variables, slots and counter of one optimizer, and how a step changes them."""

    def __init__(
        self, row: Dialect, settings: Settings, variables: Variables, undecayed: frozenset[int]
    ) -> None:
        self.row, self.settings, self.variables = row, settings, variables
        self.constraints = constraints.acting(row, variables)
        self.state = State(variables, row.velocity_start, settings.slot_dtype)
        self.shop = Workshop(row, settings, variables, self.state, undecayed)
        self.counter = np.zeros(len(Count), np.uint64)
        self._counts = self.counter.data  # plain integers, read three times as fast
        self.counter[Count.ADDED] = row.counts == "every step" or settings.decay > 0
        self.dtypes = [a.dtype for a in variables.arrays]
        self._facts = [facts_of(a) for a in variables.arrays]
        self._plans: dict[tuple[str, tuple[int, ...]], AnyPlan] = {}
        self._present: dict[str, tuple[int, ...]] = {}
        self._replaced = False  # whether some gradients replace their variables in this step
        self._advanced: tuple[Any, ...] | None = None
        self.last_rate: float | None = None  # what a schedule gave the last step
        self._scheduled: float | None = None  # what it gives the coming one
        half = any(dtype == np.float16 for dtype in self.dtypes)
        wide = any(self.state.computed(d) != d for d in self.dtypes)  # the NumPy engine's
        self._compiled = not (config.DISABLE_JIT or wide) and (halves_in_hardware() or not half)
        self._compiled = self._compiled and settings.jit_compile
        self._on_device = not isinstance(variables.arrays[0], np.ndarray)
        self._swift = self._on_device or (layout_is_known() and self._compiled)
        self.engine: Callable[..., AnyPlan] | None = None  # a subclass's own way to carry out steps

    def hand_over(self, engine: Callable[..., AnyPlan]) -> None:
        """Let another engine carry out all steps, and look at every array through Python."""
        self.engine, self._compiled, self._swift, self.shop.whole = engine, False, False, True

    @property
    def calls(self) -> int:
        """How often `apply` has been called."""
        return self._counts[_CALLS]

    @calls.setter
    def calls(self, value: int) -> None:
        self.counter[Count.CALLS] = value

    @property
    def carried_out(self) -> int:
        """How many steps came to an end here, counted by the row or not, stopped or not."""
        return self._counts[_ENDED]

    @property
    def stopped(self) -> bool:
        """Whether the last step found a gradient that is not finite and changed nothing."""
        return self._counts[_STOP] != 0

    @property
    def iterations(self) -> int:
        """How many updates were made: calls divided by the accumulation steps."""
        return self.calls // (self.settings.gradient_accumulation_steps or 1)

    def scale_by(self, scale: Any, guarded: bool) -> None:
        """Divide gradients by a scale from the next step on; perhaps stop at one not finite."""
        if self.shop.scale is None:
            self._plans.clear()
        self.shop.rescale(scale, guarded)

    def resume(self) -> None:
        """Let steps go on after one that was stopped."""
        self.counter[Count.STOP] = 0

    def create_slots(self, indices: list[int]) -> None:
        """Create the slots of some variables; moving averages may start as the variables."""
        names = self.shop.slot_names()
        replaced = [i for i in indices if i in self.variables.overwritten()]
        indices = [i for i in indices if i not in replaced]
        self.state.create([n for n in names if n == "gradient_accumulator"], replaced)
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
        aside: list[tuple[Array, Array]] = []
        if self.variables.overwritten():
            self.require_unchanged()
            gradients = gradients if given is None else arranged(self.variables, gradients, given)
            aside, given = set_aside(self.shop, mode, gradients), None
        self._replaced = bool(aside)
        if self.variables.sources and self.variables.moved() is not None:
            self.require_unchanged()
        if self.variables.constrained_anew():
            self.constraints = constraints.acting(self.row, self.variables)
        if self.constraints:
            with constraints.undone_on_error(self):
                self._carry_out(mode, gradients, given, aside)
        else:
            self._carry_out(mode, gradients, given, aside)
        if self._scheduled is not None and not self.stopped:
            self.last_rate = self._scheduled

    def _carry_out(
        self, mode: str, gradients: list[Any], given: list[Any] | None, aside: list[Any]
    ) -> None:
        """Carry out a step, with gradients that replace their variables, and constraints."""
        plan = self._ready(mode, gradients, given)
        plan.run()
        if self.stopped:
            return
        for target, value in aside:
            target[...] = value
        if self.constraints:
            constraints.enforce(self, plan.present)

    def _ready(self, mode: str, gradients: list[Any], given: list[Any] | None) -> AnyPlan:
        """Return the plan of a step with its gradients in place, everything checked."""
        plan = self._plans.get((mode, self._present.get(mode, ())))
        count = len(self.variables.arrays)
        if plan is None or not self._swift or len(gradients) != count:
            return self._check_slowly(mode, gradients, given)
        found = plan.look(gradients, given)
        return self._attend(mode, plan, (gradients, given), found) if found else plan

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
        if found < 0 or self._kinds(gradients) != plan.present:
            return self._check_slowly(mode, gradients, given)
        for index in plan.attention[:found].tolist():
            gradients[index] = rows.read(self.shop, index, gradients[index])
        # Reading a foreign gradient ran code that is not ours: look again before any address.
        found = plan.look(gradients, given)
        if found < 0 or (self.variables.sources and self.variables.moved() is not None):
            return self._check_slowly(mode, gradients, given)
        indices = plan.attention[:found].tolist()
        for index, array in [(i, rows.laid_out(self.shop, i, gradients[i])) for i in indices]:
            self._put(plan, index, array)
        return plan

    def _kinds(self, gradients: list[Any]) -> tuple[int, ...]:
        """Tell what each variable has in a step: nothing, a gradient of its shape, or rows."""
        return kinds_of(gradients, self.shop.whole)

    def _put(self, plan: AnyPlan, index: int, gradient: "Array | Rows") -> None:
        """Set a checked gradient; rows were looked at for numbers that are not finite."""
        plan.put(index, gradient)
        if isinstance(gradient, Rows) and not gradient.finite:
            self.counter[Count.STOP] = 1

    def _check_slowly(self, mode: str, gradients: list[Any], given: list[Any] | None) -> AnyPlan:
        """Check every array through Python; find or build the plan of this step."""
        self.require_unchanged()
        ordered = gradients[:] if given is None else arranged(self.variables, gradients, given)
        present = self._kinds(ordered)
        if not self._replaced:
            require_some(self.row, self.variables, present)
        indices = [i for i, p in enumerate(present) if p]
        for i in indices:
            ordered[i] = rows.read(self.shop, i, ordered[i])
        self.require_unchanged()  # reading a foreign gradient ran code that is not ours
        checked = [(i, rows.laid_out(self.shop, i, ordered[i])) for i in indices]
        plan = self._plan(mode, present)
        for index, array in checked:
            self._put(plan, index, array)
        return plan

    def require_unchanged(self) -> None:
        """Raise if a variable's memory, shape, dtype or flags changed since it was recorded."""
        elsewhere = self.variables.moved()
        for i, array in enumerate(self.variables.arrays):
            if i == elsewhere or facts_of(array) != self._facts[i]:
                raise VariableError(
                    f"variable {self.variables.label(i)} has changed since build(): it now is "
                    f"{describe(self.variables.given[i])} (writeable: {array.flags.writeable}), "
                    "with other memory, shape, dtype or flags. Nothing was written. Undo that, or "
                    "move the state with rebind(new_variables)."
                )

    def _plan(self, mode: str, present: tuple[int, ...]) -> AnyPlan:
        """Return the plan of a kind of step, built on first use."""
        plan = self._plans.get((mode, present))
        if plan is None:
            plan = self._built(mode, present)
            self._plans[mode, present] = plan
        self._present[mode] = present
        return plan

    def _built(self, mode: str, present: tuple[int, ...]) -> AnyPlan:
        """Build a plan; slots that it needs first come to be with it, or not at all."""
        known = set(self.state.slots)
        try:
            self.create_slots([i for i, p in enumerate(present) if p])
            phases = self._phases(mode, present)
            kind = self.engine or kind_of_plan(self._on_device, self._compiled)
            plan: AnyPlan = kind(self.shop, phases, present, self.counter)
        except BaseException:
            self.forget_slots(set(self.state.slots) - known)
            raise
        if len(self.state.slots) != len(known) or len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        return plan

    def forget_slots(self, keys: set[tuple[str, int]]) -> None:
        """Drop slots that a step has made in vain, and the plans that know them."""
        self._plans.clear()
        for key in keys:
            del self.state.slots[key]

    def _phases(self, mode: str, present: tuple[int, ...]) -> list[list[Item]]:
        """Return what a kind of step does to which variable, in order."""
        settings, average = self.settings, self.row.average
        given = [i for i, p in enumerate(present) if p]
        items = [self.shop.item(i, mode) for i in given]
        sliced = {i for i in given if present[i] == ROWS}
        phases = [[rows.as_table(self.shop, k) if k.index in sliced else k for k in items]]
        if settings.use_ema and average is not None and average.shifts_past_none:
            return [*phases, self.shop.shifted(given)]
        spared = self.variables.overwritten()
        others = [i for i, p in enumerate(present) if not p and i not in spared]
        if settings.gradient_accumulation_steps and mode == UPDATE:
            phases[0] += [self.shop.item(i, CLEAR) for i in others]
        elif settings.use_ema:
            phases[0] += [self.shop.item(i, IDLE) for i in others]
        return phases
