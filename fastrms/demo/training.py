"""One stretch of training, run in a process of its own by `fastrms.demo.processes`."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import RMSprop
from fastrms.demo.device import mover, to_host
from fastrms.demo.digits import TEST_IMAGES, Digits, load_digits
from fastrms.demo.network import Weights, accuracy, initial_weights, loss_and_gradients
from fastrms.demo.state import State, load_state, save_state

BATCH_SIZE = 32
STEPS_PER_EPOCH = (1797 - TEST_IMAGES) // BATCH_SIZE
_SEED = 2012


@dataclass
class Task:
    """What one process does: start fresh or from a file, train until `stop`, save there."""

    stop: int
    save: str
    load: str | None = None
    ends: bool = True
    device: str = "cpu"


@dataclass
class Run:
    """Everything that training changes, and the seconds each step spent on (gradients, update)."""

    weights: Weights
    optimizer: Any
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)


def start(device: str = "cpu") -> Run:
    """Return fresh weights and an optimizer that uses all three of its slots."""
    place = mover(device)
    weights = {name: place(array) for name, array in initial_weights(_SEED).items()}
    optimizer = RMSprop(learning_rate=0.0005, rho=0.9, momentum=0.9, centered=True)
    optimizer.build(weights)
    return Run(weights, optimizer)


def to_state(run: Run) -> State:
    """Return copies of all that the rest of the training depends on, and of its record so far."""
    state: State = {f"weights/{name}": to_host(a) for name, a in run.weights.items()}
    for index, array in enumerate(run.optimizer.get_weights()):
        state[f"optimizer/{index:03d}"] = np.asarray(array)
    state["config"] = np.array(json.dumps(run.optimizer.get_config(), sort_keys=True))
    state["losses"] = np.array(run.losses)
    state["accuracies"] = np.array(run.accuracies)
    return state


def from_state(state: State, device: str = "cpu") -> Run:
    """Return the run that `to_state` described."""
    prefix, place = "weights/", mover(device)
    weights = {n[len(prefix) :]: place(state[n]) for n in state if n.startswith(prefix)}
    optimizer = RMSprop.from_config(json.loads(state["config"].item()))
    optimizer.build(weights)
    slots = sorted(name for name in state if name.startswith("optimizer/"))
    optimizer.set_weights([state[name] for name in slots])
    return Run(weights, optimizer, state["losses"].tolist(), state["accuracies"].tolist())


@lru_cache(maxsize=1)
def _order(epoch: int, images: int) -> NDArray[np.int64]:
    """Return the order of the training images in one epoch, a function of its number alone."""
    return np.random.default_rng([_SEED, epoch]).permutation(images)


def _step(run: Run, digits: Digits, place: Callable[[Any], Any]) -> None:
    """Train on the batch that the optimizer's iteration count points at."""
    epoch, position = divmod(int(run.optimizer.iterations), STEPS_PER_EPOCH)
    order = _order(epoch, len(digits.train_images))
    batch = place(order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE])
    begin = perf_counter()
    loss, gradients = loss_and_gradients(
        run.weights, digits.train_images[batch], digits.train_labels[batch]
    )
    middle = perf_counter()
    run.optimizer.apply(gradients, run.weights)
    run.seconds.append((middle - begin, perf_counter() - middle))
    run.losses.append(loss)


def train(
    run: Run, stop: int, report: Callable[[int, float, float], None], device: str = "cpu"
) -> None:
    """Train until `stop` steps are done; `report` gets step, mean loss and accuracy each epoch."""
    place = mover(device)
    digits = Digits(*map(place, load_digits()))
    while run.optimizer.iterations < stop:
        _step(run, digits, place)
        step = int(run.optimizer.iterations)
        if step % STEPS_PER_EPOCH == 0:
            run.accuracies.append(accuracy(run.weights, digits.test_images, digits.test_labels))
            report(step, float(np.mean(run.losses[-STEPS_PER_EPOCH:])), run.accuracies[-1])


def main() -> None:
    """Do the task given as JSON in the first argument; write one JSON line an epoch."""
    task = Task(**json.loads(sys.argv[1]))
    device = task.device
    run = start(device) if task.load is None else from_state(load_state(Path(task.load)), device)

    def report(step: int, loss: float, test_accuracy: float) -> None:
        print(json.dumps({"step": step, "loss": loss, "accuracy": test_accuracy}), flush=True)

    train(run, task.stop, report, device)
    if task.ends:
        # As every training loop ends: with use_ema=True this puts the averages into the weights.
        run.optimizer.finalize_variable_values()
    save_state(Path(task.save), to_state(run))
    print(json.dumps({"step": task.stop, "seconds": run.seconds}), flush=True)
