"""Models: nets of layers, found by walking back from their outputs."""

from typing import Any

from ..engine.expressions import Expression
from .files import Files
from .layer import Layer, alone, listed
from .layers import input_of
from .naming import GRADIENTS, named
from .training import Training


def _origin(x: Any) -> tuple[Layer, list[Any], list[Any]]:
    """Return the layer that made an expression, its inputs and its outputs."""
    found = getattr(x, "history", None)
    if found is None:
        raise ValueError(
            f"{x!r} was not made by a layer, so no net can be found behind it. Begin with Input() "
            "and wrap K operations in Lambda(function)."
        )
    return found  # type: ignore[no-any-return]


# What models of old Keras had and these do not, with what does it here.
_STATE = "model.save_weights(path) and load_weights(path) keep a model's weights"
_STATE += "; fastrms.save(path, optimizer) and fastrms.load(path) keep RMSprop's state in old files"
_LOOPS = "take the batches in a loop of your own and give each to train_on_batch, test_on_batch or"
_LOOPS += " predict_on_batch"
_ABSENT = {
    **dict.fromkeys(("save", "to_json", "to_yaml"), _STATE),
    **dict.fromkeys(("get_config", "from_config"), "build the model by its code; " + _STATE),
    **dict.fromkeys(("fit_generator", "evaluate_generator", "predict_generator"), _LOOPS),
    "predict_proba": "predict(x) gives the same numbers",
    "pop": "build the model without its last layer",
    "reset_states": "there are no recurrent layers here. " + GRADIENTS,
}


class Net(Layer, Training, Files):
    """What Model and Sequential share: layers between inputs and outputs."""

    layers: list[Layer]

    def __getattr__(self, name: str) -> Any:
        instead = _ABSENT.get(name)
        why = f": fastrms.compat does not provide it; instead, {instead}." if instead else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{why}")

    def _join(self, inputs: list[Any], outputs: list[Any]) -> None:
        """Take over inputs and outputs, and order the calls between them."""
        for x in [*inputs, *outputs]:
            if not isinstance(x, Expression):
                raise TypeError(f"{self.name!r} received {x!r:.60}; valid: expressions of layers.")
        self.inputs, self.outputs, self.built = inputs, outputs, True
        self.calls = [(inputs, outputs)]
        self._steps = self._ordered()
        self.layers = list({id(layer): layer for layer, _, _ in self._steps}.values())

    def _ordered(self) -> list[tuple[Layer, list[Any], list[Any]]]:
        """Return the calls from inputs to outputs; Keras sorts by distance to the outputs."""
        depth: dict[int, int] = {}
        found: dict[int, tuple[Layer, list[Any], list[Any]]] = {}
        ends = {id(x) for x in self.inputs}

        def walk(x: Any, distance: int) -> None:
            if id(x) in ends and not hasattr(x, "history"):
                return
            layer, before, made = _origin(x)
            key = id(made)
            if not before and id(x) not in ends:
                raise ValueError(
                    f"the net {self.name!r} needs {x!r}, which is not among its inputs; add it."
                )
            depth[key] = max(depth.get(key, 0), distance)
            if id(x) not in ends:
                for y in before:
                    walk(y, distance + 1)
            found.setdefault(key, (layer, before, made))

        for output in self.outputs:
            walk(output, 0)
        order = list(found)
        return [found[k] for k in sorted(order, key=lambda k: (-depth[k], order.index(k)))]

    def call(self, inputs: Any) -> Any:
        """Run the net on other inputs."""
        values = {id(x): y for x, y in zip(self.inputs, listed(inputs), strict=True)}
        for layer, before, made in self._steps:
            if all(id(y) in values for y in made):
                continue
            results = listed(layer(alone([values[id(x)] for x in before])))
            values.update((id(y), r) for y, r in zip(made, results, strict=True))
        return alone([values[id(x)] for x in self.outputs])

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer by its name or place."""
        if index is not None:
            if not isinstance(index, int) or not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"no layer of index {index!r}; there are {len(self.layers)}.")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"no layer {name!r}; valid: {', '.join(x.name for x in self.layers)}.")

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that training changes, in order."""
        own = [w for layer in self.layers for w in layer.trainable_weights]
        return own if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The weights that training leaves alone."""
        own = [w for layer in self.layers for w in layer.non_trainable_weights]
        moving = [w for layer in self.layers for w in layer.trainable_weights]
        return own if self.trainable else moving + own

    @property
    def all_constraints(self) -> dict[Any, Any]:
        """The constraints of all layers, by variable."""
        found = dict(self.constraints)
        for layer in self.layers:
            inside = layer.all_constraints if isinstance(layer, Net) else layer.constraints
            found.update(inside)
        return found

    updates: tuple[Any, ...] = ()
    losses: tuple[Any, ...] = ()

    def summary(self) -> None:
        """Print one line for each layer."""
        for layer in self.layers:
            print(f"{layer.name:<28}{layer.calls[0][1][0].shape!s:<24}{layer.count_params():>10}")
        print(f"Total params: {self.count_params():,}")


class Model(Net):
    """The net between given inputs and outputs."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        self._join(listed(inputs), listed(outputs))


class Sequential(Net):
    """A net of layers one after the other; the first needs `input_dim=` or `input_shape=`."""

    def __init__(self, layers: Any = None, name: str | None = None) -> None:
        super().__init__(name=name)
        self.layers = []
        self.inputs: list[Any] = []
        for layer in listed(layers or []):
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Put a layer after the last."""
        if not isinstance(layer, Layer):
            raise TypeError(f"add received {layer!r:.60}; valid: a layer.")
        if self.layers:
            end = layer(self.outputs[0])
        elif layer.calls:
            self.inputs, end = [layer.calls[0][0][0]], layer.calls[0][1][0]
        elif layer.start_shape is not None:
            self.inputs = [self.start(layer.start_shape, layer.dtype)]
            end = layer(self.inputs[0])
        else:
            raise ValueError(
                f"the first layer of {self.name!r} needs input_dim= or input_shape=: "
                f"{type(layer).__name__}(..., input_dim=4)."
            )
        kept = [*self.layers, layer]
        self._join(self.inputs, [end])
        self.layers = kept

    def start(self, shape: Any, dtype: Any) -> Any:
        """Return the input of the net."""
        return input_of(self.generation)(batch_shape=shape, dtype=dtype)

    def predict_classes(self, x: Any, batch_size: int = 32, verbose: int = 0) -> Any:
        """Return the likeliest class of each example, or 1 where one output is above a half."""
        found = self.predict(x, batch_size, verbose)
        return found.argmax(axis=-1) if found.shape[-1] > 1 else (found > 0.5).astype("int32")


def training_words(kind: type, generation: Any) -> dict[str, Any]:
    """Return `fit` under a generation's argument names."""

    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        return Training.fit(self, **named("fit", Training.fit, generation, args, kwargs))

    fit.__doc__ = Training.fit.__doc__
    return {"fit": fit}


MODELS = (Model, Sequential)
