"""`tf.keras.optimizers` of TensorFlow 2.0 to 2.10."""

from ...eager import experimental as _experimental
from ...eager.legacy import SGD as SGD
from ...eager.legacy import Adam as Adam
from ...eager.legacy import RMSprop as RMSprop
from ...eager.lookup import Lookup
from ...eager.scaling import LossScaleOptimizer as LossScaleOptimizer
from ...eager.v2 import OptimizerV2 as Optimizer
from . import experimental as experimental
from . import legacy as legacy
from . import schedules as schedules

rmsprop, sgd, adam = RMSprop, SGD, Adam
_lookup = Lookup(_experimental, legacy_first=True)
get, serialize, deserialize = _lookup.get, _lookup.serialize, _lookup.deserialize
__all__ = ["SGD", "Adam", "LossScaleOptimizer", "Optimizer", "RMSprop", "adam", "deserialize"]
__all__ += ["experimental", "get", "legacy", "rmsprop", "schedules", "serialize", "sgd"]
