"""What is timed in turn for each kind of work of ours."""

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarking.limit import limit, step_bytes, triad
from benchmarking.scripted import training_function
from benchmarking.timing import Arm
from benchmarking.works import OPTIONS, Case, Ours, fill, plan_of, sizes_of

Arms = dict[str, Arm]
Facts = dict[str, Any]


def _step(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time whole steps against the yardstick; a second yardstick keeps the first honest."""
    ours = Ours(sizes_of(case.sizes, quick), OPTIONS[case.options])
    arms = {"limit": Arm(limit(ours.plan).run), "ours": Arm(ours.step)}
    return arms, {"bytes": step_bytes(ours.plan)}


def _stream(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time the yardstick against a copy and a STREAM triad over the same bytes."""
    ours = Ours(sizes_of(case.sizes, quick), {})
    variable, gradient = ours.variables[0], ours.gradients[0]
    halves = np.array_split(np.arange(variable.size), 2)
    bounds = [(int(half[0]), int(half[-1]) + 1) for half in halves]
    threads = ThreadPoolExecutor(len(bounds))

    def copy() -> None:
        list(threads.map(lambda b: np.copyto(variable[slice(*b)], gradient[slice(*b)]), bounds))

    arms = {"limit": Arm(limit(ours.plan).run), "copyto": Arm(copy)}
    arms["triad"] = Arm(triad(ours.plan).run)
    facts = {"bytes": step_bytes(ours.plan), "copyto": 2 * variable.nbytes}
    return arms, {**facts, "triad": 3 * variable.nbytes}


def _flat(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time a step over many tensors against one over a flat tensor of as many elements.

    Each comes after the yardstick over its own arrays, so that neither finds more of them in cache.
    """
    sizes = sizes_of(case.sizes, quick)
    many, one = Ours(sizes, OPTIONS[case.options]), Ours([sum(sizes)], OPTIONS[case.options])
    flat, scattered = limit(one.plan), limit(many.plan)
    arms = {"limit": Arm(flat.run), "flat": Arm(one.step)}
    arms |= {"limit of many": Arm(scattered.run), "ours": Arm(many.step)}
    return arms, {"bytes": step_bytes(many.plan)}


def _variables(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time whole steps over Variables, handed over each time, against the same over arrays."""
    import fastrms

    plain = Ours(sizes_of(case.sizes, quick), OPTIONS[case.options])
    held = [fastrms.Variable(v) for v in plain.variables]
    optimizer = fastrms.RMSprop(**OPTIONS[case.options])
    optimizer.build(held)

    def arrays() -> None:
        plain.optimizer.apply(plain.gradients, plain.variables)

    def ours() -> None:
        optimizer.apply(plain.gradients, held)

    ours()
    again = limit(plan_of(optimizer))
    arms = {"limit": Arm(limit(plain.plan).run), "arrays": Arm(arrays)}
    arms |= {"limit of Variables": Arm(again.run), "ours": Arm(ours)}
    return arms, {"bytes": step_bytes(plain.plan)}


def _fresh(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time steps on gradient arrays never seen before, and on rewritten known ones."""
    ours = Ours(sizes_of(case.sizes, quick), OPTIONS[case.options])
    yardstick, source = limit(ours.plan), [g.copy() for g in ours.gradients]
    known, kept = ours.gradients, [ours.gradients]

    def renew() -> None:
        kept.append([numbers.copy() for numbers in source])
        del kept[:-2]
        ours.gradients = kept[-1]

    def rewrite() -> None:
        renew()  # so that both steps find the caches as this leaves them
        ours.gradients = known
        for gradient, numbers in zip(known, source, strict=True):
            np.copyto(gradient, numbers)

    arms = {"limit": Arm(yardstick.run, rewrite), "same": Arm(ours.step, rewrite)}
    return {**arms, "ours": Arm(ours.step, renew)}, {}


def _numpy_step(ours: Ours) -> Callable[[], None]:
    """Return the same step as a user writes it in NumPy, in place."""
    rho, rate, epsilon = np.float32(0.9), np.float32(0.001), np.float32(1e-7)
    velocities = [np.zeros_like(v) for v in ours.variables]
    spare = [np.zeros_like(v) for v in ours.variables]

    def step() -> None:
        arrays = zip(ours.variables, ours.gradients, velocities, spare, strict=True)
        for variable, gradient, velocity, scratch in arrays:
            np.multiply(gradient, gradient, out=scratch)
            scratch *= 1 - rho
            velocity *= rho
            velocity += scratch
            np.add(velocity, epsilon, out=scratch)
            np.sqrt(scratch, out=scratch)
            np.divide(gradient, scratch, out=scratch)
            scratch *= rate
            variable -= scratch

    return step


def _small(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time whole steps over little data, with in-place NumPy beside them."""
    arms, facts = _step(case, quick)
    other = Ours(sizes_of(case.sizes, quick), OPTIONS[case.options])
    return {**arms, "numpy": Arm(_numpy_step(other))}, facts


def _subnormal(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time steps from subnormal slots, set anew before each step, against normal ones."""
    ours = Ours(sizes_of(case.sizes, quick), OPTIONS[case.options])
    slots = [*ours.slots("velocity"), *ours.slots("momentum")]
    yardstick = limit(ours.plan)

    def setter(value: float, gradient: float) -> Callable[[], None]:
        def prepare() -> None:
            for slot in slots:
                slot.fill(value)
            ours.gradients[0].fill(gradient)

        return prepare

    normal, decayed = setter(1e-3, 0.1), setter(1e-39, 1e-30)
    arms = {"limit": Arm(yardstick.run, normal), "normal": Arm(ours.step, normal)}
    return {**arms, "ours": Arm(ours.step, decayed)}, {}


def _decay(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time steps on slots that zero gradients let decay past the smallest normal number."""
    sizes, options = sizes_of(case.sizes, quick), OPTIONS[case.options]
    ours, normal = Ours(sizes, options), Ours(sizes, options)
    ours.gradients[0].fill(0.0)
    slots = [*ours.slots("velocity"), *ours.slots("momentum")]
    while min(float(slot.max()) for slot in slots) > 1.2e-38:
        for _ in range(10):
            ours.step()
    saved = [slot.copy() for slot in slots]

    def decayed() -> None:
        for slot, numbers in zip(slots, saved, strict=True):
            np.copyto(slot, numbers)

    twins = [*normal.slots("velocity"), *normal.slots("momentum")]
    started = [slot.copy() for slot in twins]

    def fresh() -> None:
        for slot, numbers in zip(twins, started, strict=True):
            np.copyto(slot, numbers)

    arms = {"limit": Arm(limit(normal.plan).run, fresh), "normal": Arm(normal.step, fresh)}
    arms["limit of decayed"] = Arm(limit(ours.plan).run, decayed)  # else `normal` alone begins warm
    return {**arms, "ours": Arm(ours.step, decayed)}, {}


def _memory(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Measure what steps after the first allocate, at their peak and for good."""
    ours = Ours(sizes_of(case.sizes, quick), OPTIONS[case.options])
    ours.step()
    tracemalloc.start()
    peaks = []
    for _ in range(20):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        ours.step()
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    held = tracemalloc.take_snapshot().filter_traces([arrays]).statistics("filename")
    tracemalloc.stop()
    return {}, {"peak": max(peaks), "held": sum(entry.size for entry in held)}


def _script(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time an old script's training function beside a step over variables of its sizes."""
    ours = Ours(sizes_of(case.sizes, quick), {})
    return {"limit": Arm(limit(ours.plan).run), "ours": Arm(training_function())}, {}


def _sparse(case: Case, quick: bool) -> tuple[Arms, Facts]:
    """Time whole steps in which a few rows of a table have gradients against their traffic."""
    import fastrms
    from fastrms.rows import prepared

    count, width, given = (1 << (12 if quick else 20)), 64, 256 if quick else 4096
    table = fill(count * width, 0).reshape(count, width)
    rows = np.random.default_rng(0).integers(0, count, given)
    gradient = fastrms.IndexedSlices(fill(given * width, 1).reshape(given, width), rows)
    optimizer = fastrms.RMSprop(**OPTIONS[case.options])
    optimizer.apply([gradient], [table])
    plan = plan_of(optimizer)
    kept = prepared(plan.shop, 0, gradient)
    plan.put(0, kept)
    yardstick = limit(plan)
    arrays = 1 + (case.options == "momentum")  # the velocity; with momentum all rows move
    moved = 2 * table.nbytes * (arrays + (arrays > 1))

    def step() -> None:
        optimizer.apply([gradient])

    def traffic(rows: Any = kept) -> None:  # which must outlive the yardstick
        yardstick.run()

    return {"limit": Arm(traffic), "ours": Arm(step)}, {"bytes": moved}


MAKERS: dict[str, Callable[[Case, bool], tuple[Arms, Facts]]] = {
    "step": _step,
    "stream": _stream,
    "flat": _flat,
    "fresh": _fresh,
    "variables": _variables,
    "small": _small,
    "subnormal": _subnormal,
    "decay": _decay,
    "memory": _memory,
    "script": _script,
    "sparse": _sparse,
}
