"""Replay recorded trajectories through `fastrms.RMSprop` and measure how far they are apart."""

import functools
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastrms
from fastrms import weights

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
    def outside(self) -> str | None:
        """Say why no row is meant to cover this case."""
        extra = set(self.about.get("kwargs", {})) & set(OUTSIDE)
        if extra:
            return OUTSIDE[min(extra)]
        return DIFFERENCES.get(self.system, {}).get(self.name)


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
    """Yield the recorded runs of an optimizer."""
    for case in cases(system):
        if case.arrays and case.name != "schedules" and case.outside is None:
            yield case


def schedule(recorded: list[Any]) -> fastrms.schedules.LearningRateSchedule:
    """Build a schedule from its recorded class and arguments."""
    name, given = recorded
    return getattr(fastrms.schedules, name)(**given)  # type: ignore[no-any-return]


def arguments(case: Case, dialect: str) -> dict[str, Any]:
    """Translate a recorded constructor call into ours."""
    given = dict(case.about["kwargs"])
    if isinstance(given.get("learning_rate"), list):
        given["learning_rate"] = schedule(given["learning_rate"])
    for foreign, ours in RENAMED.get(case.system, {}).items():
        if foreign in given:
            given[ours] = given.pop(foreign)
    note = case.about.get("note", "")
    if note.startswith("learning_rate=lambda count"):
        given["learning_rate"] = lambda count: 0.05 / (1 + 0.1 * count)
    elif note.startswith("learning_rate=lambda"):
        given["learning_rate"] = lambda: 0.05
    row = fastrms.DIALECTS[dialect]
    if row.decay is not None and "decay_iter_offset" in case.about:
        given["decay_offset"] = case.about["decay_iter_offset"]
    return given


# Options of torch and optax that RMSprop here does not have.
OUTSIDE = {
    "maximize": "negate the gradients instead",
    "nesterov": "optax only",
    "bias_correction": "optax only",
    "eps_in_sqrt": "optax's other form; the row is its default",
    "initial_scale": "optax only",
}
# Keras 3 backends that differ from TensorFlow, which the row keras-3 follows.
_NOT_CAST = "torch does not cast gradients to the variable's dtype"
_SCALARS = "torch rounds the clipping bound to float32 even for float64 variables"
_OPMATH = "torch computes in float32 inside one operation on float16"
_DECAY = "torch computes p *= 1 - wd * lr in double precision"
_KEPT = {
    name: "this backend keeps subnormal numbers; the row follows TensorFlow, which flushes them"
    for name in (
        "subnormal",
        "subnormal_float64",
        "subnormal_momentum_centered",
        "subnormal_float64_momentum_centered",
    )
}
DIFFERENCES = {
    "k12_theano": _KEPT,
    "k20_theano": _KEPT,
    "k3_jax": {
        "ema_freq0": "JAX's x % 0 is 0: the average overwrites the variable at every step",
        "accum_none_grad_at_update": "JAX keeps accumulators of variables without a gradient",
    },
    "torch_rmsprop": {"mixed_dtypes": _OPMATH},
    "k3_torch": {
        **_KEPT,
        "float64_clipnorm": _SCALARS,
        "float64_wd_ema": _DECAY,
        "float16_wd_ema": _DECAY,
        "mixed_f16_first": "torch casts the learning rate to the dtype of the first variable",
        "float32_var_float16_grad": _NOT_CAST,
    },
}
RENAMED = {
    "tf13_train": {"decay": "rho"},
    "torch_rmsprop": {"lr": "learning_rate", "alpha": "rho", "eps": "epsilon"},
    "optax_rmsprop": {"decay": "rho", "eps": "epsilon"},
}


class Constrained(np.ndarray):
    """An array that carries a constraint, as a framework's variables do."""

    constraint: Any = None


def not_negative(values: Array) -> Array:
    """Return values with zeros in place of negative numbers, computed as Keras's NonNeg does."""
    return np.multiply(values, (values >= 0).astype(values.dtype))


@dataclass
class Trace:
    """What a replay gave: variables, weights and counters after each step."""

    variables: list[list[Array]]
    weights: list[list[Array]]
    iterations: list[int]
    rates: list[float]
    final: list[Array] | None
    optimizer: Any
    scales: list[Any] = field(default_factory=list)


def new_optimizer(case: Case, dialect: str, variables: list[Array]) -> Any:
    """Build the optimizer of a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastrms.PortingWarning)
        optimizer: Any = fastrms.RMSprop(dialect=dialect, **arguments(case, dialect))
    scaling = case.about.get("lso_kwargs")
    if scaling is not None:
        optimizer = fastrms.LossScaleOptimizer(optimizer, **scaling)
    names = names_of(case)
    excluded = case.about.get("exclude_from_weight_decay")
    if excluded:
        chosen = [variables[k] for k in excluded["var_list"] or []]
        optimizer.exclude_from_weight_decay(var_list=chosen, var_names=excluded["var_names"])
    if fastrms.DIALECTS[dialect].weights.late == "no":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastrms.PortingWarning)
            optimizer.build({names[i]: variables[i] for i in known(case)})
    return optimizer


def inner_of(optimizer: Any) -> fastrms.RMSprop:
    """Return the optimizer that makes the steps, inside a LossScaleOptimizer or alone."""
    return getattr(optimizer, "inner_optimizer", optimizer)  # type: ignore[no-any-return]


def names_of(case: Case) -> list[str]:
    """Return what the variables of a case were called."""
    usual = ["embedding"] if case.about.get("sparse") else list(NAMES[: case.count])
    return case.about.get("variable_names") or usual


def named(case: Case, values: list[Any]) -> dict[str, Any]:
    """Name the variables of a case, or their gradients."""
    return dict(zip(names_of(case), values, strict=True))


def start(case: Case) -> list[Array]:
    """Return a case's variables before the first step, one perhaps with a constraint."""
    live = [np.array(case.arrays[f"p{i}"][0]) for i in range(case.count)]
    constrained = case.about.get("constraint_on")
    if constrained is not None:
        live[constrained] = live[constrained].view(Constrained)
        live[constrained].constraint = not_negative  # type: ignore[attr-defined]
    return live


def gradients_at(case: Case, step: int) -> list[Any]:
    """Return what a recorded step was given: arrays, rows of a table, or None."""
    if case.about.get("sparse"):
        return [fastrms.IndexedSlices(case.arrays["sv0"][step], case.arrays["si0"][step])]
    gradients: list[Any] = [np.asarray(case.arrays[f"g{i}"][step]) for i in range(case.count)]
    mask = case.arrays.get("none_mask")
    if mask is not None:
        gradients = [None if m else g for g, m in zip(gradients, mask[step], strict=True)]
    return gradients


def known(case: Case) -> list[int]:
    """Return the variables that the recorded optimizer knew: 2.10's took those with gradients."""
    mask = case.arrays.get("none_mask")
    if mask is None or case.dialect != "tf-keras-2.10-experimental":
        return list(range(case.count))
    return [i for i in range(case.count) if not mask[:, i].all()]


def _resume(case: Case, dialect: str, old: Any, live: list[Array]) -> Any:
    """Hand the state over to a new optimizer, as the recording did."""
    optimizer = new_optimizer(case, dialect, live)
    if not optimizer.built:
        optimizer.build(named(case, live))
    values = old.get_weights()
    if "[1:]" in case.about["hook"]:
        values = values[1:]
    optimizer.set_weights(values)
    if "state_dict" in case.about["hook"]:
        optimizer.iterations = old.iterations
    return optimizer


def _spare_the_compiler(optimizer: Any) -> None:
    """Let NumPy replay a case; test_sparse.py and test_loss_scale.py compare the two engines."""
    core = inner_of(optimizer)._core
    core.settings.jit_compile = False
    if core.stepper is not None:
        core.stepper._compiled = False


def replay(case: Case, dialect: str | None = None) -> Trace:
    """Run a case, in its own dialect or another."""
    dialect = dialect or case.dialect
    live = start(case)
    optimizer = new_optimizer(case, dialect, live)
    if case.about.get("sparse") or case.about.get("lso_kwargs") is not None:
        _spare_the_compiler(optimizer)
    trace = Trace([[v.copy() for v in live]], [], [], [], None, optimizer)
    hook = case.about.get("hook") or ""
    when = int(hook.split("before step ")[1].split()[0].rstrip(":")) if hook else None
    for step in range(len(case.arrays["p0"]) - 1):
        if step == when and "new optimizer" in hook:
            optimizer = _resume(case, dialect, optimizer, live)
        elif step == when:
            optimizer.learning_rate = 0.02
        gradients, chosen = gradients_at(case, step), known(case)
        if fastrms.DIALECTS[dialect].weights.late == "no":
            optimizer.apply([gradients[i] for i in chosen], [live[i] for i in chosen])
        else:
            optimizer.apply(named(case, gradients), named(case, live))
        trace.variables.append([v.copy() for v in live])
        trace.weights.append(optimizer.get_weights())
        trace.iterations.append(optimizer.iterations)
        trace.rates.append(optimizer.learning_rate)
        if case.about.get("lso_kwargs") is not None:
            trace.scales.append((optimizer.dynamic_scale, optimizer.step_counter))
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
            self.wrong.append(
                f"{what}: {ours.shape} {ours.dtype}, not {theirs.shape} {theirs.dtype}"
            )
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
        bits = [
            np.where(x.view(kind) < 0, np.iinfo(kind).min - x.view(kind), x.view(kind))
            for x in (np.ascontiguousarray(ours), np.ascontiguousarray(theirs))
        ]
        self.ulps = max(
            self.ulps, int(np.max(np.abs(bits[0].astype(float) - bits[1].astype(float))))
        )


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
        in_place = fastrms.DIALECTS[trace.optimizer.dialect].weights.late == "in place"
        ours = []
        for step, held in enumerate(trace.weights[first:], first):
            missing = sum(s > step for j, s in start.items() if int(j) < k) if in_place else 0
            ours += held[k - missing : k - missing + 1]
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
    for k, what in enumerate(("loss_scale", "good_steps") if trace.scales else ()):
        ours = np.array([pair[k] for pair in trace.scales], case.arrays[what].dtype)
        add(what, ours, case.arrays[what])
    if len(trace.weights[-1]) != case.about["n_weights"]:
        counters = found.setdefault("counters", Distance())
        counters.wrong.append(f"{len(trace.weights[-1])} weights")
    for i in range(case.count if trace.final is not None else 0):
        add(f"final variable {i}", (trace.final or [])[i], case.arrays[f"pfinal{i}"])
    return found


class Outcome(NamedTuple):
    """What is kept of a replay: how far each dtype's arrays are off, and the weights' names."""

    found: dict[str, Distance]
    names: list[str]


@functools.cache
def outcome(case: Case) -> Outcome:
    """Replay a case in its own row, once for all who ask in this process."""
    trace, named = replay(case), fastrms.DIALECTS[case.dialect].weights.names
    return Outcome(distances(case, trace), _names(case, trace.optimizer) if named else [])


def _names(case: Case, optimizer: Any) -> list[str]:
    """Return the weights' names, of an optimizer that is called what the recorded one was."""
    core, recorded = inner_of(optimizer)._core, case.about["weight_names"]
    first = len(optimizer.get_weights()) - len(inner_of(optimizer).get_weights())
    core.name = recorded[first].rpartition("/")[0] or "RMSprop"
    if inner_of(optimizer) is optimizer:
        return weights.names(core)
    prefix = "^loss_scale_optimizer_[0-9]+"
    return [re.sub(prefix, "loss_scale_optimizer", name) for name in optimizer.weight_names()]
