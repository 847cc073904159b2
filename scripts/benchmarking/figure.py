"""The picture of the table: by what factor each work beats or misses its bar."""

from pathlib import Path

from benchmarking.rows import Row


def _margin(row: Row, value: float) -> float:
    """Return how many times better than its bar a number is."""
    better = value / row.bar.value if row.bar.sign == ">=" else row.bar.value / value
    return min(max(better, 1e-2), 1e3)


def draw(rows: list[Row], title: str, path: Path) -> None:
    """Draw every measured row with its processes' values, the bar at 1."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.values and min(row.values) > 0][::-1]
    figure, axes = plt.subplots(figsize=(11, 1.5 + 0.3 * len(shown)))
    for place, row in enumerate(shown):
        assert row.measured is not None
        middle = _margin(row, row.measured)
        color = "tab:green" if row.met else "tab:red"
        axes.barh(place, middle - 1, left=1, color=color, alpha=0.45)
        axes.plot([_margin(row, v) for v in row.values], [place] * len(row.values), ".", c=color)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [f"{row.work}  ({row.bar.text})" for row in shown])
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("times better than the bar (left of 1: missed); a dot per fresh process")
    axes.set_title(title, fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
