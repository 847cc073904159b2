"""Print how exactly each recorded system is reproduced, as the table in docs/exactness.md.

python scripts/exactness.py [--output docs/exactness.md]
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pages import offer  # noqa: E402
from replay import DIFFERENCES, SYSTEMS, Case, cases, outcome, runs  # noqa: E402

BARS = {"k3_tensorflow": 95.0, "tf210_v2": 92.0, "tf210_exp": 93.0}
_ORDER = "the order in which norms are summed; XLA and graph rewrites change last bits"
REASONS = {
    "k3_tensorflow": _ORDER,
    "k3_jax": "XLA multiplies by the reciprocal of a constant",
    "k3_torch": "torch contracts multiply-add and rounds some square roots differently",
    "tf212_new": "TensorFlow's rsqrt is an approximation (up to 2 ulp)",
    "tf210_v2": _ORDER,
    "tf210_exp": _ORDER,
    "tf212_v2": _ORDER,
    "tfk113_v1": "TensorFlow 1's SIMD square root is an approximation",
    "k23_tf": "TensorFlow 1's SIMD square root is an approximation",
    "k22_tf": "TensorFlow 1's SIMD square root is an approximation",
    "k20_tf": "TensorFlow 1's SIMD square root is an approximation",
    "k12_tf": "TensorFlow 1's SIMD square root is an approximation",
    "contrib13": "TensorFlow 1's SIMD square root is an approximation",
    "tf13_train": "TensorFlow 1's SIMD square root is an approximation",
    "k20_theano": "Theano's C code contracts multiply-add",
    "k12_theano": "Theano's C code contracts multiply-add",
    "torch_rmsprop": "torch contracts multiply-add",
    "optax_rmsprop": "XLA's rsqrt",
}


def is_compiled(case: Case) -> bool:
    """Tell whether the real system ran under its own compiler."""
    return case.about.get("exec_mode") not in (None, "eager")


def clips_norms(case: Case) -> bool:
    """Tell whether a norm, whose summation order differs, enters the numbers."""
    given = case.about["kwargs"]
    return any((given.get(k) or 0) > 0 for k in ("clipnorm", "global_clipnorm"))


def single(case: Case) -> bool:
    """Tell whether every variable is float32 and every gradient an array of its shape."""
    return case.about["dtype"] == "float32" and not is_sparse(case)


def is_sparse(case: Case) -> bool:
    """Tell whether the gradient is rows of a table."""
    return bool(case.about.get("sparse"))


def subnormal(case: Case) -> bool:
    """Tell our own extra recordings, which the bars do not count, from the first set."""
    return case.name.startswith("subnormal")


def is_equal(case: Case) -> bool:
    """Tell whether every array of a run is the recorded one, bit for bit."""
    return all(d.equal and not d.wrong for d in outcome(case).found.values())


GROUPS: dict[str, Callable[[Case], bool]] = {
    "float32 eager": lambda c: single(c) and not clips_norms(c) and not is_compiled(c),
    "float32 eager, norms clipped": lambda c: single(c) and clips_norms(c) and not is_compiled(c),
    "float32 compiled": lambda c: single(c) and is_compiled(c),
    "float32 rows": lambda c: is_sparse(c) and c.about["dtype"] == "float32",
    "float64": lambda c: c.about["dtype"] == "float64",
    "float16 and mixed": lambda c: c.about["dtype"] not in ("float32", "float64"),
}


def measure(system: str, group: str) -> tuple[int, int, float, int] | None:
    """Return (bit-equal, all, worst scaled difference, worst ulps) of a group of cases."""
    chosen = [c for c in runs(system) if GROUPS[group](c) and not subnormal(c)]
    if not chosen:
        return None
    equal, scaled, ulps = 0, 0.0, 0
    for case in chosen:
        found = outcome(case).found.values()
        equal += is_equal(case)
        scaled = max(scaled, *(d.scaled for d in found))
        ulps = max(ulps, *(d.ulps for d in found))
    return equal, len(chosen), scaled, ulps


def lines() -> Iterator[str]:
    """Write the table line by line."""
    yield "# How exactly each system is reproduced"
    yield ""
    yield "Printed by `python scripts/exactness.py`. Each cell: bit-equal runs of all runs, every"
    yield "stored array of every step counted; then the worst difference, scaled by the largest"
    yield "value of the array, and in units in the last place of a single element (large near 0)."
    yield "Gradients of rows have a column of their own: rows given twice are among them, and the"
    yield "order in which each system adds up their parts is followed (docs/sparse.md)."
    yield ""
    yield f"| system | dialect | {' | '.join(GROUPS)} | why not all |"
    yield "|" + "---|" * (len(GROUPS) + 3)
    for system, dialect in SYSTEMS.items():
        cells = []
        for group in GROUPS:
            found = measure(system, group)
            cell = "–"
            if found:
                cell = f"{found[0]}/{found[1]}"
                cell += f"; {found[2]:.1e}; {found[3]} ulp" if found[2] else ""
            cells.append(cell)
        yield f"| {system} | {dialect} | {' | '.join(cells)} | {REASONS[system]} |"
    yield ""
    yield from bars()
    yield from exceptions()


def bars() -> Iterator[str]:
    """Compare with the shares asked for."""
    yield "Share of bit-equal eager float32 runs without norm clipping:"
    yield ""
    for system, bar in BARS.items():
        share, whole = shares(system)
        yield f"- {system}: {share:.1f} % (bar: {bar:.0f} %); with gradients of rows {whole:.1f} %"
    yield ""


def shares(system: str) -> tuple[float, float]:
    """Return the share of bit-equal runs without norm clipping, and that with rows counted in."""
    equal, count, *_ = measure(system, "float32 eager") or (0, 1)
    rows = [c for c in runs(system) if GROUPS["float32 rows"](c) and not clips_norms(c)]
    every = equal + sum(is_equal(case) for case in rows)
    return 100 * equal / count, 100 * every / (count + len(rows))


def exceptions() -> Iterator[str]:
    """List the runs that differ by rule."""
    yield "Runs that differ because a backend's rule differs from the one its row follows:"
    yield ""
    for system, named in DIFFERENCES.items():
        present = {case.name for case in cases(system)}
        for name, reason in named.items():
            if name in present:
                yield f"- {system}/{name}: {reason}"


def page() -> str:
    """Return the whole page."""
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    offer(__doc__, page)
