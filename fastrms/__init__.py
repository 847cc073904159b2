"""RMSprop for people without a framework: every historic variant, bit by bit, in one kernel."""

from typing import TYPE_CHECKING, Any

from fastrms import schedules as schedules
from fastrms.dialects import DIALECTS as DIALECTS
from fastrms.dialects import Dialect as Dialect
from fastrms.errors import ArgumentError as ArgumentError
from fastrms.errors import CheckpointError as CheckpointError
from fastrms.errors import DeviceError as DeviceError
from fastrms.errors import DialectError as DialectError
from fastrms.errors import FastrmsError as FastrmsError
from fastrms.errors import GradientError as GradientError
from fastrms.errors import MissingExtraError as MissingExtraError
from fastrms.errors import PortingWarning as PortingWarning
from fastrms.errors import StateError as StateError
from fastrms.errors import VariableError as VariableError
from fastrms.loss_scale import LossScaleOptimizer as LossScaleOptimizer
from fastrms.optimizer import RMSprop as RMSprop
from fastrms.serialization import deserialize as deserialize
from fastrms.serialization import get as get
from fastrms.serialization import serialize as serialize
from fastrms.sparse import IndexedSlices as IndexedSlices
from fastrms.threads import get_num_threads as get_num_threads
from fastrms.threads import set_num_threads as set_num_threads
from fastrms.variable import Variable as Variable

if TYPE_CHECKING:
    from fastrms import jit as jit
    from fastrms.checkpoint.document import Checkpoint as Checkpoint
    from fastrms.checkpoint.files import load as load
    from fastrms.checkpoint.files import save as save

__version__ = "0.1.0"
_FILES = "checkpoint.files"
_LATER = {"Checkpoint": "checkpoint.document", "load": _FILES, "save": _FILES, "jit": "jit"}


def __getattr__(name: str) -> Any:
    """Import what deals with files, and what users' compiled code calls, when it is first used."""
    if name not in _LATER:
        raise AttributeError(f"module 'fastrms' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"fastrms.{_LATER[name]}")
    globals()[name] = found = getattr(module, name, module)
    return found
