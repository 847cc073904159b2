"""The order of events of `fastrms demo`, and what it claims at the end."""

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from fastrms.demo.digits import TEST_IMAGES
from fastrms.demo.processes import ChildError, run_task
from fastrms.demo.report import Row, make_console, print_table, progress
from fastrms.demo.state import State, differences, load_state
from fastrms.demo.training import BATCH_SIZE, STEPS_PER_EPOCH, Task

MINIMUM_ACCURACY = 0.93
WARM_UP = 10  # steps, in which Numba compiles or loads what later steps run


class Evidence(NamedTuple):
    """What the three training processes left; `seconds` are per process, step and part."""

    whole: State
    resumed: State
    seconds: list[list[list[float]]]
    stop: int
    saved: str


def _train(console: Console, folder: Path, epochs: int, device: str) -> Evidence:
    """Train once without a stop, once with one in the middle; every stretch in a new process."""
    total = epochs * STEPS_PER_EPOCH
    # One step past the half never ends an epoch, so that the batch order has to resume too.
    stop = total // 2 + 1
    whole, middle, resumed = (folder / f"{name}.npz" for name in ("whole", "middle", "resumed"))
    stretches = (
        ("without a stop", 0, Task(total, str(whole), device=device)),
        ("stops half-way", 0, Task(stop, str(middle), ends=False, device=device)),
        (
            "new process resumes",
            stop,
            Task(total, str(resumed), load=str(middle), device=device),
        ),
    )
    with progress(console) as announce:
        ends = [run_task(task, announce(name, first, task.stop)) for name, first, task in stretches]
    for remark in dict.fromkeys(remark for _, remark in ends if remark):
        console.print(f"A training process remarked: {remark}", style="yellow")
    seconds = [last_event["seconds"] for last_event, _ in ends]
    saved = f"{middle.stat().st_size:,} bytes in a temporary folder, since removed"
    return Evidence(load_state(whole), load_state(resumed), seconds, stop, saved)


def broken_claims(evidence: Evidence) -> dict[str, str]:
    """Return a sentence for each claim that does not hold, by the name of the table's row."""
    broken = {}
    accuracy = float(evidence.whole["accuracies"][-1])
    if not accuracy >= MINIMUM_ACCURACY:
        broken["Test accuracy"] = (
            f"the test accuracy is {accuracy:.1%}, expected at least {MINIMUM_ACCURACY:.0%} "
            "(a run of few --epochs may not get there)."
        )
    # Equal ends prove nothing if the third process started from the beginning again.
    steps, stop = [len(each) for each in evidence.seconds], evidence.stop
    if steps[1:] != [stop, steps[0] - stop]:
        broken["State saved"] = f"the processes did {steps} steps, and the stop was at {stop}."
    if differing := differences(evidence.whole, evidence.resumed):
        broken["Resumed bit-equal"] = (
            "the resumed run is not bit-equal to the uninterrupted one; these arrays differ: "
            f"{', '.join(differing)}."
        )
    return broken


def _rows(evidence: Evidence, broken: dict[str, str]) -> list[Row]:
    """Return the rows of the final table."""
    whole, _, seconds, stop, saved = evidence
    warm_up, later = seconds[0][:WARM_UP], seconds[0][WARM_UP:]
    gradient, update = (sum(column) for column in zip(*later, strict=True))
    accuracy = float(whole["accuracies"][-1])
    size = sum(array.nbytes for array in whole.values())
    total, first, second = (len(each) for each in seconds)
    table = (
        (
            "Test accuracy",
            f"{accuracy:.1%}",
            f"{accuracy * TEST_IMAGES:.0f} of {TEST_IMAGES} images kept out of training",
        ),
        (
            "Steps/s",
            f"{len(later) / (gradient + update):,.0f}",
            f"gradients and update, {BATCH_SIZE} images a step, one BLAS thread",
        ),
        (
            "In the optimizer",
            f"{update / (gradient + update):.1%}",
            f"of that time; {update / len(later) * 1e6:.0f} us a step",
        ),
        (
            f"First {WARM_UP} steps",
            f"{sum(map(sum, warm_up)):.2f} s",
            "compile the kernels or load them; not counted above",
        ),
        (
            "Resumed bit-equal",
            "no" if "Resumed bit-equal" in broken else "yes",
            f"{len(whole)} arrays of {size:,} bytes after {total} and {first}+{second} steps",
        ),
        ("State saved", f"step {stop} of {total}", saved),
    )
    return [Row(*cells, failed=cells[0] in broken) for cells in table]


def _spare_unusable_home(folder: Path) -> None:
    """Let matplotlib keep its files in `folder` where the home folder cannot be written to."""
    home = os.path.expanduser("~")
    if "MPLCONFIGDIR" not in os.environ and not os.access(home, os.W_OK):
        os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")


def run_demo(epochs: int, out: Path, device: str = "cpu") -> int:
    """Train, stop, resume, compare and report.

    Parameters
    ----------
    epochs : int
        How often the training goes over all training images.
    out : pathlib.Path
        Where the PNG with the learning curve is written.
    device : str
        ``"cpu"``, or ``"cuda"`` for CuPy's arrays.

    Returns
    -------
    int
        0 if everything the demo claims holds, else 1.
    """
    console = make_console()
    try:
        with tempfile.TemporaryDirectory(prefix="fastrms-demo-") as name:
            _spare_unusable_home(Path(name))
            # Not at the top: matplotlib looks for its folder when it is imported.
            from fastrms.demo.chart import draw_learning_curve

            evidence = _train(console, Path(name), epochs, device)
            draw_learning_curve(out, evidence.whole, evidence.resumed, evidence.stop)
    except (ChildError, OSError) as error:
        print(f"fastrms demo: failed: {error}", file=sys.stderr)
        return 1
    broken = broken_claims(evidence)
    print_table(console, _rows(evidence, broken))
    console.print(f"Learning curve: {out}", soft_wrap=True)
    for sentence in broken.values():
        print(f"fastrms demo: failed: {sentence}", file=sys.stderr)
    return 1 if broken else 0
