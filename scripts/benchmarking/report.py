"""The printed report: machine, versions, the table, and plainly where we lose."""

from typing import Any

from benchmarking.rows import Row

_ANSWERS = {True: "yes", False: "**NO**", None: "not measured"}


def number(value: float) -> str:
    """Write a number with as many digits as it deserves."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _cells(row: Row) -> list[str]:
    """Return a row's cells."""
    measured = "-" if row.measured is None else number(row.measured)
    notes = [row.note, row.problem]
    if row.discarded:
        notes.append(f"{row.discarded} runs discarded")
    values = " ".join(number(v) for v in row.values)
    answer = _ANSWERS[row.met]
    return [row.work, row.bar.text, measured, values, answer, "; ".join(filter(None, notes))]


def table(rows: list[Row]) -> str:
    """Write the rows as a Markdown table."""
    head = ["work", "bar", "measured", "each process", "met?", "beside it"]
    lines = [head, ["---"] * len(head), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _losses(rows: list[Row]) -> list[str]:
    """List every bar that is missed, and everything where another is faster."""
    lines = []
    for row in rows:
        if row.met is False and row.measured is not None:
            lines.append(f"- misses its bar ({row.bar.text}): {row.work}: {number(row.measured)}")
        slower = row.bar.unit == "x" and row.bar.sign == ">=" and row.measured is not None
        if slower and row.measured is not None and row.measured < 1:
            lines.append(f"- the peer is faster: {row.work}: {number(row.measured)}x")
        if row.met is None:
            lines.append(f"- not measured: {row.work}: {row.problem}")
    return lines or ["- nowhere: every bar is held and no peer is faster"]


def report(rows: list[Row], facts: dict[str, Any]) -> str:
    """Write the whole report."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        f"Machine: {facts['machine']}",
        f"Versions: fastrms {facts['fastrms']}, {versions}",
        f"Method: {facts['method']}",
        "",
        table(rows),
        "",
        *facts["stream"],
        "",
        "Where we lose or miss a bar:",
        *_losses(rows),
    ]
    return "\n".join(lines)


def as_json(rows: list[Row], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the report as data."""
    return {
        **facts,
        "rows": [
            {
                "work": row.work,
                "bar": row.bar.text,
                "measured": row.measured,
                "values": row.values,
                "met": row.met,
                "discarded": row.discarded,
                "note": row.note,
                "problem": row.problem,
            }
            for row in rows
        ],
    }
