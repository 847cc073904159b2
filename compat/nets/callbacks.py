"""Callbacks of `fit`: what a script may do between epochs and batches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine import backend as K  # noqa: N812 (the name scripts use)


class Callback:
    """Methods that `fit` calls; `self.model` is the model and `self.params` tells about the run."""

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}
        self.validation_data: Any = None

    def set_model(self, model: Any) -> None:
        """Keep the model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Keep what is known about the run."""
        self.params = params

    def on_train_begin(self, logs: Any = None) -> None:
        """Do nothing at the beginning."""

    def on_train_end(self, logs: Any = None) -> None:
        """Do nothing at the end."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Do nothing before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Do nothing after an epoch."""

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Do nothing before a batch."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Do nothing after a batch."""


class History(Callback):
    """Keeps the logs of each epoch."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Start empty."""
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to what a function of the epoch returns."""

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the learning rate; schedules take the epoch, or the epoch and the rate."""
        if not hasattr(self.model.optimizer, "lr"):
            raise ValueError('Optimizer must have a "lr" attribute.')
        try:
            rate = self.schedule(epoch, float(K.get_value(self.model.optimizer.lr)))
        except TypeError:  # as Keras 2 did: an older schedule takes the epoch alone
            rate = self.schedule(epoch)
        if not isinstance(rate, float | np.floating):
            raise ValueError(
                f"the schedule returned {rate!r:.60} for epoch {epoch}; valid: a float."
            )
        K.set_value(self.model.optimizer.lr, rate)


class LambdaCallback(Callback):
    """Functions as a callback, one for each moment."""

    def __init__(self, **moments: Callable[..., Any] | None) -> None:
        super().__init__()
        for name, function in moments.items():
            if not hasattr(Callback, name):
                known = ", ".join(n for n in vars(Callback) if n.startswith("on_"))
                raise TypeError(f"LambdaCallback received {name!r}; valid: {known}.")
            if function is not None:
                setattr(self, name, function)


class CallbackList:
    """Runs callbacks and keeps the mean of the logs over each epoch."""

    def __init__(
        self, callbacks: list[Any], model: Any, epochs: int, batch_size: int, verbose: int
    ) -> None:
        wrong = [c for c in callbacks if not hasattr(c, "set_params") or isinstance(c, type)]
        if wrong:
            raise ValueError(f"callbacks has {wrong[0]!r:.60}; valid: a list of Callback objects.")
        self.history = History()
        self.callbacks, self.model = [*callbacks, self.history], model
        params = {"epochs": epochs, "nb_epoch": epochs, "batch_size": batch_size}
        for callback in self.callbacks:
            callback.set_params({**params, "verbose": verbose, "metrics": model.metrics_names})
            callback.set_model(model)
        self.verbose, self.epochs = verbose, epochs
        model.stop_training = False
        self.call("on_train_begin", {})

    def call(self, moment: str, *values: Any) -> None:
        """Call every callback."""
        for callback in self.callbacks:
            getattr(callback, moment)(*values)

    def epoch_begin(self, epoch: int) -> None:
        """Start an epoch."""
        self.epoch, self.seen, self.sums = epoch, 0, np.zeros(len(self.model.metrics_names))
        self.call("on_epoch_begin", epoch, {})

    def batch_begin(self, batch: int, size: int) -> None:
        """Start a batch."""
        self.logs: dict[str, Any] = {"batch": batch, "size": size}
        self.call("on_batch_begin", batch, self.logs)

    def batch_end(self, values: list[Any]) -> None:
        """Report a batch."""
        self.logs.update(zip(self.model.metrics_names, values, strict=True))
        self.seen += self.logs["size"]
        self.sums += np.array(values, float) * self.logs["size"]
        self.call("on_batch_end", self.logs["batch"], self.logs)

    def epoch_end(self, more: dict[str, Any]) -> None:
        """Report an epoch."""
        means = [float(v) for v in self.sums / max(self.seen, 1)]
        logs = {**dict(zip(self.model.metrics_names, means, strict=True)), **more}
        self.call("on_epoch_end", self.epoch, logs)
        if self.verbose:
            shown = " - ".join(f"{name}: {value:.4f}" for name, value in logs.items())
            print(f"Epoch {self.epoch + 1}/{self.epochs} - {shown}")

    def end(self) -> History:
        """Finish, and return the history."""
        self.call("on_train_end", {})
        self.model.history = self.history
        return self.history


CALLBACKS = (Callback, History, LearningRateScheduler, LambdaCallback)
