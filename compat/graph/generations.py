"""The graph-mode generations: what differs between their optimizers, as rows of data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import Any

from fastrms.dialects import get_dialect
from fastrms.dialects.fields import Dialect


class Epsilon:
    """Stands for `K.epsilon()`, looked up when an optimizer is made."""

    def __repr__(self) -> str:
        return "K.epsilon()"


K_EPSILON = Epsilon()
Defaults = Mapping[str, Any]


@dataclass(frozen=True)
class Generation:
    """How one generation writes its optimizers.

    `rate` is the constructor's name of the learning rate; `positional` says which arguments may be
    given by position, in order, and with what defaults; `keyword` those by name only; `aliases`
    other names. `call_constraints`: constraints given to `get_updates` act (else those of the
    variables do). `float_counter`: `iterations` is a float. `counts_always`: SGD and RMSprop count
    steps without decay too. `offset`: what the measured majority of runs added to `iterations`
    when it was read during a step (`decay`), per class. `blank_vhats`: Adam keeps a zero per
    variable without amsgrad. `hidden_counter`: what reads Adam's count of steps advances it; it is
    none of the updates.
    """

    name: str
    dialect: str
    source: str
    rate: str
    positional: Mapping[str, Defaults]
    keyword: Mapping[str, Defaults]
    offset: Mapping[str, int]
    call_constraints: bool = False
    float_counter: bool = False
    counts_always: bool = True
    blank_vhats: bool = False
    hidden_counter: bool = False

    def signature(self, kind: str) -> Signature:
        """Return the signature of one of its classes."""
        places = [(n, d, Parameter.POSITIONAL_OR_KEYWORD) for n, d in self.positional[kind].items()]
        names = [(n, d, Parameter.KEYWORD_ONLY) for n, d in self.keyword[kind].items()]
        return Signature([Parameter(n, k, default=d) for n, d, k in (*places, *names)])

    @property
    def row(self) -> Dialect:
        """The dialect row of the generation's RMSprop."""
        return get_dialect(self.dialect)


def _frozen(**classes: Defaults) -> Mapping[str, Defaults]:
    return MappingProxyType(classes)


_CLIPS = {"clipnorm": None, "clipvalue": None, "decay_offset": None}
_NO_KEYWORDS = _frozen(RMSprop=_CLIPS, SGD=_CLIPS, Adam=_CLIPS)
_SGD = {"lr": 0.01, "momentum": 0.0, "decay": 0.0, "nesterov": False}
_ADAM = {"lr": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "decay": 0.0}
_ADAM_2 = {**_ADAM, "epsilon": None, "amsgrad": False}
_RMSPROP = {"lr": 0.001, "rho": 0.9, "epsilon": 1e-8, "decay": 0.0}

KERAS_1 = Generation(
    name="Keras 1.0.3 to 1.2.2",
    dialect="keras-1",
    source="keras 1.2.2 optimizers.py:54-262, 388-456",
    rate="lr",
    positional=_frozen(RMSprop=_RMSPROP, SGD=_SGD, Adam=_ADAM),
    keyword=_NO_KEYWORDS,
    offset={"RMSprop": 1, "SGD": 0, "Adam": 0},
    call_constraints=True,
    float_counter=True,
    counts_always=False,
)
TF_CONTRIB = replace(
    KERAS_1,
    name="tf.contrib.keras of TensorFlow 1.1 to 1.3",
    dialect="tf-contrib",
    source="tensorflow 1.3.0 contrib/keras/python/keras/optimizers.py:67-281, 424-496",
)
KERAS_2_0 = replace(
    KERAS_1,
    name="Keras 2.0",
    dialect="keras-2.0",
    source="keras 2.0.8 optimizers.py:44-254, 385-454; legacy/interfaces.py:636-660",
    offset={"RMSprop": 0, "SGD": 0, "Adam": 0},
    call_constraints=False,
    float_counter=False,
    counts_always=True,
)
KERAS_2_2 = replace(
    KERAS_2_0,
    name="Keras 2.1 and 2.2",
    dialect="keras-2.2",
    source="keras 2.2.4 optimizers.py:60-286, 436-524; legacy/interfaces.py:644-668",
    positional=_frozen(RMSprop={**_RMSPROP, "epsilon": None}, SGD=_SGD, Adam=_ADAM_2),
    offset={"RMSprop": 1, "SGD": 1, "Adam": 1},
    blank_vhats=True,
)
KERAS_2_3 = replace(
    KERAS_2_2,
    name="Keras 2.3",
    dialect="keras-2.3",
    source="keras 2.3.1 optimizers.py:61-300, 467-564",
    rate="learning_rate",
    positional=_frozen(
        RMSprop={"learning_rate": 0.001, "rho": 0.9},
        SGD={"learning_rate": 0.01, "momentum": 0.0, "nesterov": False},
        Adam={"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "amsgrad": False},
    ),
    keyword=_frozen(
        RMSprop={"decay": 0.0, "epsilon": K_EPSILON, "lr": None, **_CLIPS},
        SGD={"decay": 0.0, "lr": None, **_CLIPS},
        Adam={"decay": 0.0, "epsilon": K_EPSILON, "lr": None, **_CLIPS},
    ),
)
TF_KERAS_V1 = replace(
    KERAS_2_2,
    name="tf.keras of TensorFlow 1.4 to 1.13",
    dialect="tf-keras-v1",
    source="tensorflow 1.13.2 python/keras/optimizers.py:49-290, 450-560",
    offset={"RMSprop": 1, "SGD": 1, "Adam": 0},
    hidden_counter=True,
)
