"""The rows of the table: each work with its bar, and how its number comes from the times."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarking.timing import ratio
from benchmarking.works import Case

Times = dict[str, list[float]]
Facts = dict[str, Any]
MANY, TINY, FEW = "300 tensors of 64..65536", "300 tensors of 64", "6 tensors of at most 1k"


class Bar(NamedTuple):
    """What is asked for: a bound, from which side, in which unit, and what else is hoped for."""

    sign: str
    value: float
    unit: str
    aim: str = ""

    def met(self, measured: float) -> bool:
        """Tell whether a number holds the bar."""
        return measured >= self.value if self.sign == ">=" else measured <= self.value

    @property
    def text(self) -> str:
        """Write the bar."""
        return f"{self.sign} {self.value:g}{self.unit}{self.aim}"


class Row(NamedTuple):
    """One row of the table; `values` has a number per fresh process."""

    work: str
    bar: Bar
    values: list[float]
    discarded: int = 0
    note: str = ""
    problem: str = ""

    @property
    def measured(self) -> float | None:
        """Return the median process's number."""
        return statistics.median(self.values) if self.values else None

    @property
    def met(self) -> bool | None:
        """Tell whether the bar is held; None where nothing was measured."""
        return None if self.measured is None else self.bar.met(self.measured)


class Spec(NamedTuple):
    """A row to be measured in our own processes."""

    group: str
    work: str
    case: Case
    bar: Bar
    value: Callable[[Times, Facts], float]
    note: Callable[[Times, Facts], str] = lambda times, facts: ""


def _speed(times: Times, facts: Facts) -> str:
    """Say how fast the yardstick and we moved bytes."""
    names = [name for name in ("limit", "ours") if name in times]
    rates = [facts["bytes"] / statistics.median(times[name]) / 1e9 for name in names]
    return ", ".join(f"{n} {r:.1f} GB/s" for n, r in zip(names, rates, strict=True))


def _beside(*names: str) -> Callable[[Times, Facts], str]:
    """Say how long other arms took."""

    def note(times: Times, facts: Facts) -> str:
        return ", ".join(f"{n} {statistics.median(times[n]) * 1e6:,.1f} us" for n in names)

    return note


def _over(above: str, below: str) -> Callable[[Times, Facts], float]:
    """Divide two arms' times, round by round."""
    return lambda times, facts: ratio(times[above], times[below])


def _microseconds(times: Times, facts: Facts) -> float:
    """Return the time of a step."""
    return statistics.median(times["ours"]) * 1e6


def _extra(times: Times, facts: Facts) -> float:
    """Return how much longer a step takes on new arrays than on known ones."""
    pairs = zip(times["ours"], times["same"], strict=True)
    return statistics.median(new - same for new, same in pairs) * 1e6


def _against_limit() -> list[Spec]:
    """List single tensors against the yardstick."""
    specs = []
    for size in ("16M", "64M"):
        for options in ("plain", "momentum+centered", "EMA", "everything on"):
            bar = Bar(">=", 0.88 if options == "everything on" else 0.93, " of the limit")
            case = Case(size, options)
            work = f"one float32 tensor, {case.label}"
            specs.append(Spec("limit", work, case, bar, _over("limit", "ours"), _speed))
    return specs


def _norms() -> list[Spec]:
    """List clipping by norm against its own traffic."""
    specs = []
    for sizes, bound in (("16M", 1.05), (MANY, 1.2)):
        for options in ("clipnorm", "global_clipnorm"):
            case, bar = Case(sizes, options), Bar("<=", bound, "x its traffic")
            specs.append(Spec("norms", case.label, case, bar, _over("ours", "limit"), _speed))
    return specs


def _held(times: Times, facts: Facts) -> str:
    """Say whether array memory stayed allocated."""
    return f"array bytes kept: {facts['held']}"


SPECS = [
    *_against_limit(),
    Spec(
        "many",
        f"{MANY}, same gradient arrays, against one flat tensor",
        Case(MANY, kind="flat"),
        Bar("<=", 1.15, "x"),
        _over("ours", "flat"),
        _beside("ours", "flat", "limit of many", "limit"),
    ),
    Spec(
        "many",
        "the same with 300 new gradient arrays each step",
        Case(MANY, kind="fresh"),
        Bar("<=", 100, " us more"),
        _extra,
        _beside("ours", "same"),
    ),
    *(
        Spec(
            "few",
            f"{sizes}, whole apply",
            Case(sizes, kind="small"),
            Bar("<=", bound, " us", f", aim {aim}"),
            _microseconds,
            _beside("limit", "numpy"),
        )
        for sizes, bound, aim in ((TINY, 100, 50), (FEW, 10, 6))
    ),
    *(
        Spec(
            "variables",
            f"{sizes}, whole apply through Variables against the same through arrays",
            Case(sizes, kind="variables"),
            Bar("<=", 1.05, "x"),
            _over("ours", "arrays"),
            _beside("ours", "arrays"),
        )
        for sizes in ("16M", MANY, TINY, FEW)
    ),
    Spec(
        "scripts",
        "compat: K.function of a 3-layer Dense policy, batch 32, update included",
        Case(FEW, kind="script"),
        Bar("<=", 220, " us"),
        _microseconds,
        _beside("ours"),
    ),
    *_norms(),
    *(
        Spec(
            "sparse",
            f"a table of 1M x 64, gradients for 4,096 rows, {options}",
            Case("1M x 64", options, "sparse"),
            Bar(">=", 0.85, " of the limit"),
            _over("limit", "ours"),
            _speed,
        )
        for options in ("plain", "momentum")
    ),
    *(
        Spec(
            "subnormal",
            f"1M, {options}: {text} against a normal step (keras-3 flushes)",
            Case("1M", options, kind),
            Bar("<=", 1.1, "x"),
            _over("ours", "normal"),
            _beside("ours", "normal"),
        )
        for options in ("plain", "momentum")
        for kind, text in (("subnormal", "subnormal slots"), ("decay", "naturally decayed slots"))
    ),
    *(
        Spec(
            "memory",
            f"allocated by a step, {sizes}: peak of Python objects and arrays",
            Case(sizes, "momentum+centered", "memory"),
            Bar("<=", 4095, " bytes", " and 0 array bytes"),
            lambda times, facts: facts["peak"] + (1e9 if facts["held"] else 0),
            _held,
        )
        for sizes in (MANY, "16M")
    ),
]

# Against each peer: the bar on one tensor and on 300; None asks for nothing.
PEER_BARS = {
    "torch.compile": (0.95, 3.0),
    "optax jit": (1.5, 8.0),
    "torch foreach": (5.0, 8.0),
    "Keras 3": (1.8, 15.0),
}
PEER_CASES = [Case(s, o) for s in ("16M", "64M") for o in ("plain", "momentum+centered")]
PEER_CASES.append(Case(MANY))


def peer_bar(row: str, case: Case) -> Bar:
    """Return how many times faster than a peer we must be."""
    one, many = PEER_BARS[row]
    return Bar(">=", many if case.sizes == MANY else one, "x")
