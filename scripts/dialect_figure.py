"""Draw how the dialects diverge on one problem: epsilon=0.01, decay and clipnorm.

python scripts/dialect_figure.py [--output docs/dialects-diverging.png]     (needs matplotlib)
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import fastrms

STEPS = 200
# Which arguments a panel gives, and which dialects differ in what they do with them.
PANELS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "epsilon=0.01": (
        {"epsilon": 0.01},
        ("keras-2.2", "tf-keras-v2", "tf-keras-2.11", "keras-3"),
    ),
    "decay=0.5, learning rate 0.02": (
        {"decay": 0.5, "learning_rate": 0.02},
        ("keras-2.0", "keras-2.2", "tf-keras-v2", "keras-3"),
    ),
    "clipnorm=0.005, epsilon=0.01": (
        {"clipnorm": 0.005, "epsilon": 0.01},
        ("keras-2.2", "tf-keras-v2", "tf-keras-2.11", "keras-3"),
    ),
}


def data() -> tuple[Any, Any]:
    """Return the rows and targets of a small regression with features of very unequal size."""
    generator = np.random.RandomState(7)
    rows = generator.normal(size=(64, 6)) * np.logspace(0, -1, 6)
    targets = (rows @ generator.normal(size=6) + 0.5) / 20
    return rows.astype("float32"), targets.astype("float32")


def losses(dialect: str, arguments: dict[str, Any]) -> list[float]:
    """Return the losses of a run."""
    rows, targets = data()
    weight, bias = np.zeros(6, np.float32), np.zeros(1, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastrms.PortingWarning)
        optimizer = fastrms.RMSprop(dialect=dialect, **{"learning_rate": 0.002, **arguments})
    optimizer.build([weight, bias])
    found = []
    for _ in range(STEPS):
        errors = rows @ weight + bias - targets
        found.append(float(np.mean(errors**2)))
        optimizer.apply([2 * rows.T @ errors / 64, np.array([2 * errors.mean()], np.float32)])
    return found


def lines() -> dict[str, dict[str, list[float]]]:
    """Return the losses of every panel and dialect."""
    return {
        title: {name: losses(name, arguments) for name in dialects}
        for title, (arguments, dialects) in PANELS.items()
    }


def main() -> None:
    """Write the figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[1] / "docs" / "dialects-diverging.png"
    parser.add_argument("--output", type=Path, default=default)
    chosen = parser.parse_args()
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.6), layout="constrained")
    styles = ("-", "--", "-.", ":")
    for axis, (title, curves) in zip(axes, lines().items(), strict=True):
        for (name, values), style in zip(curves.items(), styles, strict=True):
            axis.semilogy(values, style, label=name, linewidth=2)
        axis.set(title=title, xlabel="step")
        axis.legend(fontsize=8)
    axes[0].set_ylabel("loss")
    figure.savefig(chosen.output, dpi=110)


if __name__ == "__main__":
    main()
