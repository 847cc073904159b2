"""The functions that scripts call on `K`, as far as old scripts were seen to call them."""

import types

from .derivatives import gradients as gradients
from .expressions import reshape as reshape
from .functions import function as function
from .losses import *  # noqa: F403
from .mathematics import *  # noqa: F403
from .settings import *  # noqa: F403
from .values import *  # noqa: F403
from .variables import placeholder as placeholder
from .variables import update as update

_ASIDE = {"of", "training_dropout", "evaluate", "build", "lifted", "reduce", "sized"}
_ASIDE |= {"contextmanager", "number_kind"}
NAMES = sorted(
    name
    for name, found in list(globals().items())
    if isinstance(found, types.FunctionType) and not name.startswith("_") and name not in _ASIDE
)
