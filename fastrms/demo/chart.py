"""The learning curve as a PNG, drawn without a display and without pyplot's global state."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from fastrms.demo.state import State
from fastrms.demo.training import STEPS_PER_EPOCH

_BLUE, _ORANGE, _GREY = "#2a6fb0", "#c8500a", "#6b6b6b"


def _draw_runs(
    axes: Axes, steps: NDArray[Any], whole: NDArray[Any], resumed: NDArray[Any], stop: int
) -> None:
    """Draw the resumed run as a thin dashed line on the uninterrupted one's broad line."""
    axes.plot(steps, whole, color=_BLUE, alpha=0.4, linewidth=5, label="uninterrupted")
    label = "stopped, then resumed in a new process"
    axes.plot(steps, resumed, "--", color=_ORANGE, linewidth=1.5, label=label)
    axes.axvline(stop, color=_GREY, linewidth=1.2, linestyle=":", label=f"stop at step {stop}")
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_loss(axes: Axes, whole: State, resumed: State, stop: int) -> None:
    """Draw every batch's loss faintly and, for both runs, the mean of an epoch's batches."""
    steps = np.arange(1, len(whole["losses"]) + 1)
    axes.plot(steps, whole["losses"], color=_BLUE, alpha=0.3, linewidth=0.5)
    window = np.full(STEPS_PER_EPOCH, 1 / STEPS_PER_EPOCH)
    means, resumed_means = (np.convolve(s["losses"], window, "valid") for s in (whole, resumed))
    _draw_runs(axes, steps[STEPS_PER_EPOCH - 1 :], means, resumed_means, stop)
    axes.set_yscale("log")
    axes.set_title(f"Training loss, each batch and the mean of {STEPS_PER_EPOCH}")
    axes.set_ylabel("cross-entropy")


def _draw_accuracy(axes: Axes, whole: State, resumed: State, stop: int) -> None:
    """Draw the share of test images recognised after each epoch."""
    steps = STEPS_PER_EPOCH * np.arange(1, len(whole["accuracies"]) + 1)
    _draw_runs(axes, steps, whole["accuracies"], resumed["accuracies"], stop)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(f"Test accuracy, {whole['accuracies'][-1]:.1%} at the end")
    axes.legend(loc="lower right", framealpha=1, edgecolor="white")


def draw_learning_curve(path: Path, whole: State, resumed: State, stop: int) -> None:
    """Write the loss and accuracy of both runs to `path` as a PNG of 1760x720 pixels."""
    # The user's matplotlibrc (LaTeX text, dark styles) does not apply here.
    with mpl.rc_context(dict(mpl.rcParamsDefault)):
        figure = Figure(figsize=(11, 4.5), dpi=160, layout="constrained")
        figure.suptitle("fastrms.RMSprop on 1797 handwritten digits")
        left, right = figure.subplots(1, 2)
        _draw_loss(left, whole, resumed, stop)
        _draw_accuracy(right, whole, resumed, stop)
        figure.savefig(path, format="png")
