"""Print the dialect table as Markdown, from the rows themselves.

python scripts/dialect_table.py [--full] [--output docs/dialects.md]
"""

from collections.abc import Iterator, Mapping
from typing import Any

import fastrms
from fastrms.dialects import Dialect
from pages import offer


def epsilon(row: Dialect) -> str:
    """Say where epsilon stands, and its default."""

    def place(choices: frozenset[str]) -> str:
        return "inside" if "epsilon_inside" in choices else "outside"

    first = place(row.form.choices(False, False))
    second = place(row.form.choices(True, False))
    where = first if first == second else f"{first}; {second} with momentum"
    return f"{where}, {row.arguments['epsilon'].default:g}"


def clipping(row: Dialect) -> str:
    """Say what clipnorm does."""
    if "norm" not in row.clipping.order:
        return "none"
    return "one norm over all" if row.clipping.norm_spans_all else "per variable"


def decay(row: Dialect) -> str:
    """Say what `decay` does."""
    if row.decay is not None:
        step = "(t + 1)" if row.decay.offset else "t"
        return f"lr / (1 + decay · {step})"
    argument = row.arguments.get("decay")
    return argument.effect if argument is not None else "refused"


def rate(row: Dialect) -> str:
    """Say where the learning rate enters with momentum."""
    if "momentum" not in row.arguments:
        return "no momentum"
    return "outside" if "rate_last" in row.form.choices(True, False) else "inside"


COLUMNS = {
    "dialect": lambda row: f"`{row.name}`",
    "systems": lambda row: row.systems,
    "epsilon": epsilon,
    "learning rate and momentum buffer": rate,
    "decay": decay,
    "clipnorm": clipping,
    "saved weights": lambda row: ", ".join(row.weights.order),
    "subnormal results": lambda row: "flushed" if row.flushes_subnormals else "kept",
    "proof": lambda row: ", ".join(row.golden_systems) or "not recorded",
}


def table() -> Iterator[str]:
    """Write the overview, one line a dialect."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + "---|" * len(COLUMNS)
    for row in fastrms.DIALECTS.values():
        yield f"| {' | '.join(str(column(row)) for column in COLUMNS.values())} |"


def value(item: Any) -> str:
    """Write a field's value on one line."""
    if isinstance(item, frozenset):
        return ", ".join(sorted(item)) or "–"
    if hasattr(item, "_asdict"):
        return "; ".join(f"{k}: {value(v)}" for k, v in item._asdict().items())
    if isinstance(item, tuple):
        return ", ".join(map(str, item)) or "–"
    if isinstance(item, Mapping):
        return ", ".join(f"{k}: {v}" for k, v in item.items()) or "–"
    return str(item)


def arguments(row: Dialect) -> Iterator[str]:
    """Write what each argument of a row may be."""
    yield "| argument | default | valid | None | effect | note |"
    yield "|---|---|---|---|---|---|"
    for name, argument in row.arguments.items():
        low = "" if argument.low is None else f"≥ {argument.low:g}"
        high = "" if argument.high is None else f"≤ {argument.high:g}"
        valid = " ".join(part for part in (argument.kind, low, high) if part)
        cells = (name, argument.default, valid, argument.none, argument.effect, argument.note)
        yield f"| {' | '.join(str(cell) for cell in cells)} |"


def details() -> Iterator[str]:
    """Write every field of every row."""
    for row in fastrms.DIALECTS.values():
        yield f"\n## {row.name}\n"
        yield f"{row.systems}. Source: {row.source}.\n"
        for name, item in row._asdict().items():
            if name not in ("name", "systems", "source", "arguments", "evidence"):
                seen = row.evidence.get(name)
                yield f"- {name}: {value(item)}" + (f" ({seen})" if seen else "")
        yield ""
        yield from arguments(row)


def document() -> str:
    """Return the whole page."""
    head = ["# The dialects", "", "Printed by `python scripts/dialect_table.py --full`.", ""]
    return "\n".join([*head, *table(), *details()]) + "\n"


if __name__ == "__main__":
    offer(__doc__, document, lambda: "\n".join(table()) + "\n")
