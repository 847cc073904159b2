"""The modules of a generation that build nets: `layers`, `models`, `losses`, `callbacks`, ..."""

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph.calls import legacy_get_updates_support
from . import callbacks, initializers, layers, models, pieces
from .generations import Generation
from .naming import GRADIENTS, NotProvided, adapted

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


def to_categorical(y: Any, num_classes: int | None = None, nb_classes: int | None = None) -> Any:
    """Return a row of zeros with a one at its class for each class number."""
    numbers = np.asarray(y, dtype="int").reshape(-1)
    count = num_classes or nb_classes or int(numbers.max()) + 1
    if numbers.size and (numbers.min() < 0 or numbers.max() >= count):
        raise ValueError(
            f"class numbers run from {numbers.min()} to {numbers.max()}; valid: 0 to {count - 1}."
        )
    found = np.zeros((numbers.size, count))
    found[np.arange(numbers.size), numbers] = 1
    return found


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
        "utils": {"to_categorical": to_categorical, "normalize": normalize},
        "legacy": {"legacy_get_updates_support": legacy_get_updates_support},
        **{name: {} for name in ABSENT},
    }


def absent(module: str, known: list[str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module: a name it lacks is refused by that name."""

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise NotProvided(
            f"{module} does not provide {name!r}; provided: {', '.join(known) or 'none of it'}. "
            f"{GRADIENTS}"
        )

    return __getattr__


def install(package: str, generation: Generation) -> list[str]:
    """Make the modules of a generation importable under its package; return their names."""
    made: dict[str, types.ModuleType] = {}
    for short, names in contents(generation).items():
        for path in (short, *PATHS.get(short, ())):
            full = f"{package}.{path}"
            module = types.ModuleType(full, f"`{path}` of {generation.name}, without a framework.")
            module.__path__ = []
            vars(module).update(names)
            vars(module)["__getattr__"] = absent(full, sorted(n for n in names if n != "get"))
            made[path] = sys.modules[full] = module
    for path, module in made.items():
        above, _, last = path.rpartition(".")
        owner: Any = made[above] if above else sys.modules[package]
        setattr(owner, last, module)
    return sorted(path for path in made if "." not in path)
