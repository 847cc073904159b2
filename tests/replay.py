"""Replay recorded trajectories through `fastrms.RMSprop` and measure how far they are apart."""

import functools
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastrms

Array = NDArray[Any]
FOLDER = Path(__file__).parent / "goldens"
SYSTEMS = {system: row.name for row in fastrms.DIALECTS.values() for system in row.golden_systems}
NAMES = ("scalar_bias", "vec_kernel", "mat_kernel", "cube_gamma")


@dataclass(frozen=True)
class Case:
    """One recorded run: how it was made and every array that was stored."""

    system: str
    name: str
    about: dict[str, Any] = field(hash=False, compare=False)
    arrays: dict[str, Array] = field(hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.system}-{self.name}"

    @property
    def dialect(self) -> str:
        """The row that this case must pass in."""
        return SYSTEMS[self.system]

    @property
    def count(self) -> int:
        """How many variables there are."""
        return len(self.about["shapes"])

    @property
    def waits_for(self) -> str | None:
        """Name the part of the library, not there yet, that this case needs."""
        given = self.about.get("kwargs", {})
        rate = given.get("learning_rate", given.get("lr"))
        if self.name == "schedules" or isinstance(rate, list) or "schedule" in str(
            self.about.get("hook")
        ):
            return "schedules"
        if self.about.get("lso_kwargs") is not None or self.name.startswith("lso"):
            return "LossScaleOptimizer"
        if self.about.get("sparse") or self.name.startswith("sparse"):
            return "sparse"
        return "constraints" if self.about.get("constraint_on") is not None else None


def _array(flat: Any, place: list[Any]) -> Array:
    """Cut one array out of a system's flat storage."""
    dtype, shape, first = place
    size = int(np.prod(shape, dtype=np.int64))
    return flat[dtype][first : first + size].reshape(shape)  # type: ignore[no-any-return]


@functools.cache
def cases(system: str) -> list[Case]:
    """Read every recorded case of a system, runs and exceptions."""
    about = json.loads((FOLDER / f"{system}.json").read_text())
    with np.load(FOLDER / f"{system}.npz") as stored:
        flat = {name: stored[name] for name in stored.files}
    found = []
    for case in about["cases"]:
        arrays = {name: _array(flat, place) for name, place in case.pop("arrays", {}).items()}
        found.append(Case(system, case["case"], case, arrays))
    return found


def runs(system: str) -> Iterator[Case]:
    """Yield the recorded runs that today's library can replay."""
    for case in cases(system):
        if case.arrays and case.waits_for is None:
            yield case


def arguments(case: Case, dialect: str) -> dict[str, Any]:
    """Translate a recorded constructor call into ours."""
    given = dict(case.about["kwargs"])
    for foreign, ours in RENAMED.get(case.system, {}).items():
        if foreign in given:
            given[ours] = given.pop(foreign)
    if case.about.get("note", "").startswith("learning_rate=lambda"):
        given["learning_rate"] = lambda: 0.05
    row = fastrms.DIALECTS[dialect]
    if row.decay is not None and "decay_iter_offset" in case.about:
        given["decay_offset"] = case.about["decay_iter_offset"]
    return given


RENAMED = {
    "tf13_train": {"decay": "rho"},
    "torch_rmsprop": {"lr": "learning_rate", "alpha": "rho", "eps": "epsilon"},
    "optax_rmsprop": {"decay": "rho", "eps": "epsilon"},
}


@dataclass
class Trace:
    """What a replay gave: variables, weights and counters after each step."""

    variables: list[list[Array]]
    weights: list[list[Array]]
    iterations: list[int]
    final: list[Array] | None
    optimizer: fastrms.RMSprop


def new_optimizer(case: Case, dialect: str, variables: list[Array]) -> fastrms.RMSprop:
    """Build the optimizer of a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastrms.PortingWarning)
        optimizer = fastrms.RMSprop(dialect=dialect, **arguments(case, dialect))
    names = case.about.get("variable_names") or list(NAMES[: case.count])
    excluded = case.about.get("exclude_from_weight_decay")
    if excluded:
        chosen = [variables[k] for k in excluded["var_list"] or []]
        optimizer.exclude_from_weight_decay(var_list=chosen, var_names=excluded["var_names"])
    if not fastrms.DIALECTS[dialect].weights.late:
        optimizer.build(dict(zip(names, variables, strict=True)))
    return optimizer


def _resume(case: Case, dialect: str, old: fastrms.RMSprop, live: list[Array]) -> fastrms.RMSprop:
    """Hand the state over to a new optimizer, as the recording did."""
    optimizer = new_optimizer(case, dialect, live)
    if not optimizer.built:
        optimizer.build(live)
    values = old.get_weights()
    if "[1:]" in case.about["hook"]:
        values = values[1:]
    optimizer.set_weights(values)
    return optimizer


def replay(case: Case, dialect: str | None = None) -> Trace:
    """Run a case, in its own dialect or another."""
    dialect = dialect or case.dialect
    live = [np.array(case.arrays[f"p{i}"][0]) for i in range(case.count)]
    optimizer = new_optimizer(case, dialect, live)
    trace = Trace([[v.copy() for v in live]], [], [], None, optimizer)
    hook = case.about.get("hook") or ""
    when = int(hook.split("before step ")[1].split()[0].rstrip(":")) if hook else None
    mask = case.arrays.get("none_mask")
    for step in range(len(case.arrays["p0"]) - 1):
        if step == when and "new optimizer" in hook:
            optimizer = _resume(case, dialect, optimizer, live)
        elif step == when:
            optimizer.learning_rate = 0.02
        gradients: list[Any] = [np.asarray(case.arrays[f"g{i}"][step]) for i in range(case.count)]
        if mask is not None:
            gradients = [None if m else g for g, m in zip(gradients, mask[step], strict=True)]
        optimizer.apply(gradients, live)
        trace.variables.append([v.copy() for v in live])
        trace.weights.append(optimizer.get_weights())
        trace.iterations.append(optimizer.iterations)
    if "pfinal0" in case.arrays:
        optimizer.finalize_variable_values(live)
        trace.final = live
    trace.optimizer = optimizer
    return trace


@dataclass
class Distance:
    """How far a replay is from its recording, in the worst place."""

    scaled: float = 0.0
    ulps: int = 0
    equal: bool = True
    wrong: list[str] = field(default_factory=list)

    def add(self, what: str, ours: Array, theirs: Array) -> None:
        """Compare one array."""
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        if ours.shape != theirs.shape or (ours.dtype.kind == "f") != (theirs.dtype.kind == "f"):
            self.wrong.append(f"{what}: {ours.shape} {ours.dtype}, not {theirs.shape} {theirs.dtype}")
            return
        if theirs.dtype.kind != "f":
            if not np.array_equal(ours, theirs):
                self.wrong.append(f"{what}: {ours}, not {theirs}")
            return
        if ours.dtype != theirs.dtype:
            self.wrong.append(f"{what}: dtype {ours.dtype}, not {theirs.dtype}")
            return
        odd = ~np.isfinite(theirs)
        same_odd = np.array_equal(ours[odd], theirs[odd], equal_nan=True)
        if not same_odd or not np.isfinite(ours[~odd]).all():
            self.wrong.append(f"{what}: NaN or inf in other places")
            return
        self._measure(ours[~odd], theirs[~odd])

    def _measure(self, ours: Array, theirs: Array) -> None:
        """Update the worst distances with finite values."""
        if not theirs.size or np.array_equal(ours, theirs):
            return
        self.equal = False
        largest = float(np.max(np.abs(theirs))) or 1.0
        gap = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        self.scaled = max(self.scaled, float(np.max(gap)) / largest)
        kind = np.dtype(f"i{theirs.dtype.itemsize}")
        bits = [np.where(x.view(kind) < 0, np.iinfo(kind).min - x.view(kind), x.view(kind))
                for x in (np.ascontiguousarray(ours), np.ascontiguousarray(theirs))]
        self.ulps = max(self.ulps, int(np.max(np.abs(bits[0].astype(float) - bits[1].astype(float)))))


def distances(case: Case, trace: Trace) -> dict[str, Distance]:
    """Compare a replay with its recording, by dtype of the arrays ("float32", ...)."""
    found: dict[str, Distance] = {}

    def add(what: str, ours: Any, theirs: Any) -> None:
        kind = np.asarray(theirs).dtype.name if np.asarray(theirs).dtype.kind == "f" else "counters"
        found.setdefault(kind, Distance()).add(what, ours, theirs)

    for i in range(case.count):
        recorded = case.arrays[f"p{i}"]
        add(f"variable {i}", np.stack([v[i] for v in trace.variables]), recorded)
    start = case.about.get("weight_start") or {}
    for k in range(case.about["n_weights"]):
        first = int(start.get(str(k), 0))
        ours = [w[k] for w in trace.weights[first:] if k < len(w)]
        theirs = case.arrays[f"w{k}"]
        if len(ours) != len(theirs):
            found.setdefault("counters", Distance()).wrong.append(f"weight {k} is missing")
            continue
        stacked = np.stack(ours)
        if theirs.dtype.kind in "iu":
            stacked = stacked.astype(theirs.dtype) if stacked.dtype.kind in "iu" else stacked
        add(f"weight {k} ({case.about['weight_names'][k]})", stacked, theirs)
    counts = np.array(trace.iterations)
    recorded = case.arrays["it"]
    add("iterations", counts.astype(recorded.dtype), recorded)
    if len(trace.weights[-1]) != case.about["n_weights"]:
        found["counters"].wrong.append(f"{len(trace.weights[-1])} weights")
    for i in range(case.count if trace.final is not None else 0):
        add(f"final variable {i}", (trace.final or [])[i], case.arrays[f"pfinal{i}"])
    return found
