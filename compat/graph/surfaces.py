"""How the backends of the graph-mode generations name things."""

from ..engine.surface import Surface

_DEVIATION = {"std": "stddev"}

# Keras 1: `random_normal(std=)`, and losses with the output first.
KERAS_1 = Surface(
    renamed={"random_normal": _DEVIATION, "random_uniform": {"low": "minval", "high": "maxval"}},
    order={
        "categorical_crossentropy": ("output", "target", "from_logits"),
        "sparse_categorical_crossentropy": ("output", "target", "from_logits"),
        "binary_crossentropy": ("output", "target", "from_logits"),
    },
)
KERAS_2 = Surface(renamed={}, order={})
