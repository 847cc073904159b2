"""compile, fit, evaluate, predict: the loops of old Keras over batches."""

import functools
import importlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..checks import real, whole
from ..engine import backend as K  # noqa: N812 (the name scripts use)
from ..engine.binding import Array, fits
from ..engine.expressions import Expression
from . import pieces
from .callbacks import CallbackList, History
from .generations import Generation
from .layer import alone, listed
from .naming import NotProvided, refuse


def _total(loss: Callable[..., Any], target: Any, output: Any) -> Any:
    """Return the mean over all examples of a loss."""
    return K.mean(loss(target, output))


def batches(size: int, batch_size: Any) -> Iterator[slice]:
    """Return the slices of a number of examples; raise if there are none to return."""
    step = 32 if batch_size is None else whole("a model", "batch_size", batch_size, 1)
    if not size:
        raise ValueError("a model received 0 examples; valid: at least one example.")
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


class Training:
    """The half of a model that trains it."""

    name: str
    generation: Generation
    inputs: list[Any]
    outputs: list[Any]
    trainable_weights: Any
    all_constraints: Any
    optimizer: Any
    stop_training: bool

    def compile(
        self, optimizer: Any, loss: Any = None, metrics: Any = None, loss_weights: Any = None,
        sample_weight_mode: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Choose optimizer, loss (a name, a function, or one for each output) and metrics."""
        refuse("compile", sample_weight_mode=sample_weight_mode, **kwargs)
        for name, given in (("metrics", metrics), ("loss_weights", loss_weights)):
            if not isinstance(given, list | tuple | None):
                raise ValueError(f"compile received {name}={given!r:.60}; valid: a list, or None.")
        losses = list(loss) if isinstance(loss, list | tuple) else [loss] * len(self.outputs)
        shares = [real("compile", "loss_weights", s) for s in loss_weights or [1.0] * len(losses)]
        if len(losses) != len(self.outputs) or len(shares) != len(self.outputs):
            raise ValueError(
                f"compile received {len(losses)} losses and {len(shares)} loss_weights for "
                f"{len(self.outputs)} outputs; give one for each, in lists."
            )
        find = pieces.getter("loss", pieces.LOSSES)
        functions = [find(name) for name in losses]
        if None in functions:
            raise ValueError("compile needs loss=: a name, a function, or one for each output.")
        targets = [K.placeholder(ndim=len(y.shape)) for y in self.outputs]
        rows = list(zip(functions, targets, self.outputs, strict=True))
        parts = [_total(*row) for row in rows]
        weighted = [p if s == 1.0 else p * s for p, s in zip(parts, shares, strict=True)]
        total = functools.reduce(operator.add, weighted)
        reported = [("loss", total)]
        if len(parts) > 1:
            own = [f"{y.history[0].name}_loss" for y in self.outputs]
            reported += zip(own, parts, strict=True)
        reported += [self._measure(metric, *row) for row in rows for metric in metrics or []]
        self.optimizer = self._optimizer_of(optimizer)
        self.loss, self._losses, self.targets, self.total_loss = loss, functions, targets, total
        self.metrics_names, self._reported = map(list, zip(*reported, strict=True))
        self._functions: dict[str, Any] = {}

    def _optimizer_of(self, optimizer: Any) -> Any:
        """Return an optimizer from its name, its config or itself."""
        package = __name__.rpartition(".nets.")[0]
        found = importlib.import_module(f"{package}.{self.generation.name}.optimizers")
        return found.get(optimizer)

    def _measure(self, metric: Any, loss: Any, target: Any, output: Any) -> tuple[str, Any]:
        """Return the name and the value of a metric of one output."""
        function = metric
        accuracy = metric in ("accuracy", "acc")
        if accuracy:
            binary = output.shape[-1] == 1 or loss is pieces.binary_crossentropy
            sparse = loss is pieces.sparse_categorical_crossentropy
            kind = "binary" if binary else "sparse_categorical" if sparse else "categorical"
            function = f"{kind}_accuracy"
        found = pieces.getter("metric", pieces.METRICS)(function)
        name = "acc" if accuracy else getattr(found, "__name__", str(metric))
        if isinstance(metric, str) and self.generation.metrics_as_asked:
            name = metric
        many = len(self.outputs) > 1
        shown = f"{output.history[0].name}_{name}" if many else name
        return shown, _total(found, target, output)

    def _function(self, kind: str) -> Any:
        """Return the compiled function of a kind: train, test or predict."""
        if kind != "predict" and not hasattr(self, "total_loss"):
            raise RuntimeError(f"{self.name!r} must be compiled before it is trained or evaluated.")
        functions = self.__dict__.setdefault("_functions", {})
        if kind not in functions:
            inputs = list(self.inputs)
            phase = K.learning_phase()
            if kind != "predict":
                inputs += self.targets
            if isinstance(phase, Expression):
                inputs.append(phase)
            shown = self.outputs if kind == "predict" else self._reported
            updates = self._training_updates() if kind == "train" else []
            functions[kind] = K.function(inputs, shown, updates=updates)
        function = functions[kind]
        training = [1] if kind == "train" else [0]

        def call(values: list[Array]) -> list[Any]:
            needed = len(function.inputs) - len(values)
            return list(function([*values, *training[:needed]]))

        return call

    def _training_updates(self) -> Any:
        """Return the updates of a training step."""
        params, loss = self.trainable_weights, self.total_loss
        if self.generation.constraints_apart:
            params = sorted(params, key=lambda w: w.name)  # keras 1.2.2 engine/training.py
            return self.optimizer.get_updates(params, self.all_constraints, loss)
        return self.optimizer.get_updates(params=params, loss=loss)

    def _arrays(self, values: Any, nodes: list[Any], what: str) -> list[Array]:
        """Return data as one array for each node, checked."""
        given = list(values) if isinstance(values, list | tuple) and len(nodes) > 1 else [values]
        if len(given) != len(nodes):
            raise ValueError(f"{self.name!r} received {len(given)} {what}; expected {len(nodes)}.")
        found = []
        for value, node in zip(given, nodes, strict=True):
            if (
                isinstance(value, list | tuple)
                and len(value) == 1
                and np.ndim(value[0]) == len(node.shape)
            ):
                value = value[0]
            array = np.asarray(value)
            if array.ndim == 1 and len(node.shape) == 2:
                array = array[:, None]
            if not fits(node.shape, array.shape):
                raise ValueError(
                    f"{self.name!r} received {what} of shape {array.shape}; expected {node.shape}."
                )
            found.append(array)
        return found

    def _data(self, x: Any, y: Any) -> list[Array]:
        """Return inputs and targets of equal length."""
        arrays = self._arrays(x, self.inputs, "inputs") + self._arrays(y, self.targets, "targets")
        rows = zip(arrays[len(self.inputs) :], self.outputs, self._losses, strict=True)
        for target, output, loss in rows:
            own = loss not in pieces.LOSSES.values()  # which may take numbers of classes, too
            numbers = own or loss is pieces.sparse_categorical_crossentropy
            sizes = zip(output.shape[1:], target.shape[1:], strict=False)
            differ = any(size not in (None, found) for size, found in sizes)
            if differ and not (numbers and target.shape[1:] == (1,)):
                raise ValueError(
                    f"{self.name!r} received targets of shape {target.shape} for outputs of shape "
                    f"{output.shape}."
                )
        if len({len(array) for array in arrays}) > 1:
            raise ValueError(
                f"{self.name!r} received inputs and targets of different lengths: "
                f"{[len(array) for array in arrays]}."
            )
        return arrays

    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None, **rest: Any) -> Any:
        """Make one step; return the loss before it, or a list with the metrics."""
        refuse("train_on_batch", sample_weight=sample_weight, **rest)
        return alone(self._function("train")(self._data(x, y)))

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """Return the loss of a batch, or a list with the metrics."""
        refuse("test_on_batch", sample_weight=sample_weight)
        return alone(self._function("test")(self._data(x, y)))

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs of a batch."""
        return alone(self._function("predict")(self._arrays(x, self.inputs, "inputs")))

    def predict(self, x: Any, batch_size: int | None = 32, verbose: int = 0) -> Any:
        """Return the outputs of many examples."""
        rows = self._by_batch("predict", self._arrays(x, self.inputs, "inputs"), batch_size)
        return alone([np.concatenate(parts) for parts in zip(*rows, strict=True)])

    def _by_batch(self, kind: str, arrays: list[Array], size: int | None) -> Iterator[list[Any]]:
        """Yield what a function gives for each batch of some data."""
        function = self._function(kind)
        for part in batches(len(arrays[0]), size):
            yield function([a[part] for a in arrays])

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = 32,
        verbose: int = 1,
        sample_weight: Any = None,
    ) -> Any:
        """Return the mean loss of many examples, or a list with the metrics."""
        refuse("evaluate", sample_weight=sample_weight)
        arrays = self._data(x, y)
        sizes = np.array([p.stop - p.start for p in batches(len(arrays[0]), batch_size)])
        found = np.array(list(self._by_batch("test", arrays, batch_size)), float)
        return alone((sizes @ found / sum(sizes)).tolist())

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = 32, epochs: int = 1,
        verbose: int = 1, callbacks: Any = None, validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True, class_weight: Any = None, sample_weight: Any = None,
        initial_epoch: int = 0,
    ) -> History:  # fmt: skip
        """Train for some epochs; the order of the examples is shuffled by NumPy's generator.

        Returns
        -------
        History
            `history.history["loss"]` and the metrics, one number for each epoch.
        """
        refuse("fit", class_weight=class_weight, sample_weight=sample_weight)
        if shuffle == "batch":
            raise NotProvided("fit received shuffle='batch'; valid: True, False.")
        function, arrays = self._function("train"), self._data(x, y)
        arrays, held = self._held_out(arrays, validation_split, validation_data)
        first, last = whole("fit", "initial_epoch", initial_epoch), whole("fit", "epochs", epochs)
        order = np.arange(len(arrays[0]))
        parts = list(batches(len(order), batch_size))
        run = CallbackList(listed(callbacks or []), self, last, batch_size or 32, verbose)
        for epoch in range(first, last):
            run.epoch_begin(epoch)
            if self.generation.order_renewed:
                order = np.arange(len(order))
            if shuffle:
                np.random.shuffle(order)
            for number, part in enumerate(parts):
                chosen = order[part]
                run.batch_begin(number, len(chosen))
                run.batch_end(function([a[chosen] for a in arrays]))
                if self.stop_training:
                    break
            tested = held and not self.stop_training
            run.epoch_end(self._validated(held, batch_size) if tested else {})
            if self.stop_training:
                break
        return run.end()

    def _held_out(self, arrays: list[Array], split: Any, given: Any) -> tuple[Any, list[Array]]:
        """Return what to train on and what to validate with."""
        if given is not None:
            if not isinstance(given, list | tuple) or len(given) != 2:
                raise ValueError(
                    f"validation_data={given!r:.60} is not valid; valid: (inputs, targets). "
                    "Sample weights are not provided."
                )
            return arrays, self._data(*given)
        if not isinstance(split, int | float | np.number) or not 0.0 <= split < 1.0:
            raise ValueError(f"validation_split={split!r} is not valid; valid: from 0, below 1.")
        cut = int(len(arrays[0]) * (1.0 - split))
        return [a[:cut] for a in arrays], [a[cut:] for a in arrays] if split else []

    def _validated(self, held: list[Array], batch_size: int | None) -> dict[str, Any]:
        """Return the means of loss and metrics over held-out examples, by name."""
        cut = len(self.inputs)
        x, y = alone(held[:cut]), alone(held[cut:])
        values = listed(self.evaluate(x, y, batch_size, 0))
        return {f"val_{n}": value for n, value in zip(self.metrics_names, values, strict=True)}
