"""The modules of a generation: `backend`, `optimizers`, `layers`, `models`, `losses`, ..."""

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from fastrms.errors import ArgumentError

from ..checks import whole
from ..engine.surface import install as install_backend
from ..graph import classes, surfaces
from ..graph import generations as optimizers
from ..graph.calls import legacy_get_updates_support
from . import callbacks, generations, initializers, layers, models, pieces
from .generations import Generation
from .naming import adapted, lacking, named

# What a generation is: the rows of its nets, its optimizers and its backend, by its package.
GENERATIONS = {
    "keras1": (generations.KERAS_1, optimizers.KERAS_1, surfaces.KERAS_1),
    "tf_contrib": (generations.TF_CONTRIB, optimizers.TF_CONTRIB, surfaces.KERAS_2),
    "keras20": (generations.KERAS_20, optimizers.KERAS_2_0, surfaces.KERAS_2),
    "keras22": (generations.KERAS_22, optimizers.KERAS_2_2, surfaces.KERAS_2),
    "keras23": (generations.KERAS_23, optimizers.KERAS_2_3, surfaces.KERAS_2),
    "tf_keras_v1": (generations.TF_KERAS_V1, optimizers.TF_KERAS_V1, surfaces.KERAS_2),
}

# Other paths of the same modules in old Keras.
PATHS = {
    "layers": (
        *("layers.core", "layers.advanced_activations", "engine", "engine.topology"),
        *("layers.convolutional", "layers.merge", "layers.normalization", "layers.recurrent"),
    ),
    "models": ("engine.training",),
    "utils": ("utils.np_utils",),
    "legacy": ("legacy.interfaces",),
}
# Modules of old Keras of which nothing is here: importing a name says so, by that name.
ABSENT = ("applications", "datasets", "preprocessing", "regularizers")


def one_hot(generation: Generation) -> Callable[..., Any]:
    """Return `to_categorical` of a generation."""

    def encoded(y: Any, num_classes: int | None = None, dtype: Any = None) -> Any:
        if generation.flat_categories and dtype is not None:
            raise TypeError(
                f"to_categorical of {generation.name} has no dtype (received {dtype!r}), it gives "
                "float64; leave it out and use .astype."
            )
        try:
            given = np.asarray(y, dtype="int")
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"to_categorical received {y!r:.60} ({error}); valid: numbers of classes."
            ) from error
        count = whole("to_categorical", "num_classes", num_classes or given.max(initial=0) + 1)
        if given.size and (given.min() < 0 or given.max() >= count):
            raise ValueError(
                f"class numbers run from {given.min()} to {given.max()}; valid: 0 to {count - 1}."
            )
        if generation.flat_categories:
            return np.eye(count)[given.reshape(-1)]
        single = given.ndim > 1 and given.shape[-1] == 1
        return np.eye(count, dtype=dtype or "float32")[given[..., 0] if single else given]

    def to_categorical(*args: Any, **kwargs: Any) -> Any:
        """Return zeros with a one at its class for each class number."""
        return encoded(**named("to_categorical", encoded, generation, args, kwargs))

    return to_categorical


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """Return an array with vectors of length one along an axis."""
    norm = np.atleast_1d(np.linalg.norm(x, order, axis))
    norm[norm == 0] = 1
    return x / np.expand_dims(norm, axis)


def contents(generation: Generation) -> dict[str, dict[str, Any]]:
    """Return the names in each module of a generation."""
    nets: dict[str, Any] = {kind.__name__: adapted(kind, generation) for kind in layers.LAYERS}
    nets |= {"Input": layers.input_of(generation)}
    whole = {kind.__name__: adapted(kind, generation) for kind in models.MODELS}
    for kind in whole.values():
        for name, function in models.training_words(kind, generation).items():
            setattr(kind, name, function)
    losses = {**pieces.LOSSES, "get": pieces.getter("loss", pieces.LOSSES)}
    limits = pieces.constraints(generation)
    starts = initializers.module(generation)
    return {
        "layers": {**nets, "Model": whole["Model"]},
        "models": {**whole, "Input": nets["Input"]},
        "callbacks": {kind.__name__: kind for kind in callbacks.CALLBACKS},
        "activations": {
            **pieces.ACTIVATIONS,
            "get": pieces.getter("activation", pieces.ACTIVATIONS),
        },
        "losses": losses,
        "objectives": losses,
        "metrics": pieces.METRICS,
        "constraints": {**limits, "get": pieces.getter("constraint", limits, True)},
        "initializers": starts,
        "initializations": starts,
        "utils": {"to_categorical": one_hot(generation), "normalize": normalize},
        "legacy": {"legacy_get_updates_support": legacy_get_updates_support},
        **{name: {} for name in ABSENT},
    }


def filled(names: dict[str, Any], given: dict[str, Any]) -> Callable[[str], Any]:
    """Fill a module; return its `__getattr__`, which refuses a name it lacks by that name."""
    names.update(given)
    return lacking(names["__name__"], (n for n in given if n != "get"))


def install(package: str) -> list[str]:
    """Make the modules of a generation importable under its package; return their names."""
    nets, row, surface = GENERATIONS[package.rpartition(".")[2]]
    made: dict[str, types.ModuleType] = {}

    def make(path: str, fill: Callable[..., Callable[[str], Any]], *about: Any) -> None:
        full = f"{package}.{path}"
        found = types.ModuleType(full, f"`{path}` of {row.name}, without a framework.")
        found.__path__ = []
        vars(found)["__getattr__"] = fill(vars(found), *about)
        made[path] = sys.modules[full] = found
        above, _, last = path.rpartition(".")
        setattr(made[above] if above else sys.modules[package], last, found)

    make("backend", install_backend, surface)
    make("optimizers", classes.install, row, made["backend"])
    for short, names in contents(nets).items():
        for path in (short, *PATHS.get(short, ())):
            make(path, filled, names)
    found = sorted(path for path in made if "." not in path)
    vars(sys.modules[package])["__getattr__"] = lacking(package, found)
    return found
