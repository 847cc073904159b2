"""RMSprop for people without a framework: every historic variant, bit by bit, in one kernel."""

from fastrms import schedules as schedules
from fastrms.dialects import DIALECTS as DIALECTS
from fastrms.dialects import Dialect as Dialect
from fastrms.errors import ArgumentError as ArgumentError
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

__version__ = "0.1.0"
