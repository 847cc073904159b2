"""How the generations of Keras name a layer's arguments, and what else differs in their nets."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

# Words of Keras 1 for those of Keras 2, by class; Keras 2 went on accepting them.
# Source: keras 1.2.2 layers/core.py, engine/topology.py; keras 2.0.8 legacy/interfaces.py.
KERAS_1_WORDS: Mapping[str, Mapping[str, str]] = {
    "Dense": {
        "output_dim": "units",
        "init": "kernel_initializer",
        "bias": "use_bias",
        "W_regularizer": "kernel_regularizer",
        "b_regularizer": "bias_regularizer",
        "W_constraint": "kernel_constraint",
        "b_constraint": "bias_constraint",
    },
    "Dropout": {"p": "rate"},
    "Model": {"input": "inputs", "output": "outputs"},
    "MaxNorm": {"m": "max_value"},
    "MinMaxNorm": {"low": "min_value", "high": "max_value"},
    "fit": {"nb_epoch": "epochs"},
    "to_categorical": {"nb_classes": "num_classes"},
}
_DENSE_1 = "units kernel_initializer activation weights kernel_regularizer bias_regularizer"
_DENSE_1 += " activity_regularizer kernel_constraint bias_constraint use_bias input_dim"
# The order of the places in `fit` is the same everywhere but for `nb_epoch`.
KERAS_1_ORDER: Mapping[str, tuple[str, ...]] = {"Dense": tuple(_DENSE_1.split())}


class Generation(NamedTuple):
    """What differs between the nets of two generations.

    `version` is the one that files written here name. `order` gives the places of arguments where
    they are not Keras 2's. `truncation` divides the
    deviation of truncated normals; `plain_normals` draws the scaled normals untruncated, with the
    seeds of variables. `layer_draws` are numbers that a layer draws from NumPy when it is called,
    for a name. `seeds_advance`: an initialiser with a seed adds 1 to it at each use.
    `constraints_apart`: constraints are given to `get_updates`, not kept on variables, and the
    weights of a net are given to it sorted by name.
    `metrics_as_asked`: a metric is reported under the name it was asked for by, not the function's.
    `weight_names`: what a Dense layer appends to its name for its weights. `bounds` and `deviation`
    of RandomUniform and of RandomNormal and TruncatedNormal, where none are given.
    `flat_categories`: `to_categorical` makes rows of float64 whatever the shape of the numbers;
    later it keeps the shape, and gives float32 or what `dtype` asks for.
    `qr`: what Orthogonal makes of TensorFlow's numbers when there are fewer rows than columns: a
    matrix "turned" or "padded" with zeros; None: it draws NumPy's.
    `order_renewed`: each epoch of `fit` shuffles the numbers from 0 on, not the last epoch's order.
    """

    name: str
    version: str
    order: Mapping[str, tuple[str, ...]] = {}
    truncation: float = 1.0
    plain_normals: bool = False
    seeds_advance: bool = False
    layer_draws: Mapping[str, int] = {}
    constraints_apart: bool = False
    metrics_as_asked: bool = False
    weight_names: tuple[str, str] = ("/kernel", "/bias")
    bounds: tuple[float, float] = (-0.05, 0.05)
    deviation: float = 0.05
    flat_categories: bool = False
    order_renewed: bool = False
    qr: Literal["padded", "turned"] | None = None


# Source of the fields: initializations.py of 1.2.2; initializers.py of 2.0.8, 2.2.4 and 2.3.1;
# utils/np_utils.py of each; tensorflow 1.13.2 keras/engine/training_arrays.py:296;
# K.batch_flatten of 2.3.1, which draws `np.random.randint(1e4)` for the name of an operation.
DEVIATION_WITHIN_TWO = 0.87962566103423978
KERAS_1 = Generation(
    "keras1",
    "1.2.2",
    KERAS_1_ORDER,
    plain_normals=True,
    constraints_apart=True,
    weight_names=("_W", "_b"),
    flat_categories=True,
)
KERAS_20 = Generation("keras20", "2.0.8", flat_categories=True)
KERAS_22 = Generation("keras22", "2.2.4", truncation=DEVIATION_WITHIN_TWO)
KERAS_23 = Generation(
    "keras23",
    "2.3.1",
    truncation=DEVIATION_WITHIN_TWO,
    seeds_advance=True,
    layer_draws={"Flatten": 10_000},
    metrics_as_asked=True,
)
# These two share Keras 2's names. Their initialisers, tensorflow 1.3.0 ops/init_ops.py and 1.13.2
# keras/initializers.py, do not look at NumPy's generator; with a seed they draw as Keras 2's do.
TF_CONTRIB = KERAS_20._replace(
    name="tf_contrib", version="2.0.6-tf", bounds=(0.0, 1.0), deviation=1.0, qr="padded"
)
TF_KERAS_V1 = KERAS_22._replace(
    name="tf_keras_v1", version="2.2.4-tf", order_renewed=True, qr="turned"
)
