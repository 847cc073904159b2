"""`tf.keras.optimizers` of TensorFlow 2.11 to 2.15."""

from ...eager import modern as _modern
from ...eager.late import Optimizer as Optimizer
from ...eager.lookup import Lookup
from ...eager.modern import SGD as SGD
from ...eager.modern import Adam as Adam
from ...eager.modern import RMSprop as RMSprop
from ...eager.scaling import LossScaleOptimizer as LossScaleOptimizer
from . import experimental as experimental
from . import legacy as legacy
from . import schedules as schedules

rmsprop, sgd, adam = RMSprop, SGD, Adam
_lookup = Lookup(_modern, legacy_first=False)
get, serialize, deserialize = _lookup.get, _lookup.serialize, _lookup.deserialize
__all__ = ["SGD", "Adam", "LossScaleOptimizer", "Optimizer", "RMSprop", "adam", "deserialize"]
__all__ += ["experimental", "get", "legacy", "rmsprop", "schedules", "serialize", "sgd"]
