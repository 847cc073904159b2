"""Stand-alone TensorFlow checkpoints, named as the system of a checkpoint's dialect names them.

An object graph is written for systems that restore by objects: there it has the children
``optimizer`` and ``variables`` (a list), for
``tf.train.Checkpoint(optimizer=..., variables=model.trainable_variables)``. The others get the
names of their own savers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.graph import GRAPH_KEY, Node, serialize
from fastrms.checkpoint.tables import words_of
from fastrms.checkpoint.tf_layout import plain_config
from fastrms.checkpoint.tf_names import SESSIONS, Session
from fastrms.dialects import DIALECTS
from fastrms.errors import CheckpointError

Tensors = dict[str, tuple[str, Any]]
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOTTED, _NATIVE = ("tf-keras-v2",), ("tf-train",)
_LISTED = ("tf-keras-2.11", "keras-3")
_DIALECTS = (*_LISTED, *_SLOTTED, *_NATIVE, *(d for row in SESSIONS for d in row.dialects))
_LISTS: Mapping[str, str] = {
    "average": "_model_variables_moving_average",
    "gradient_accumulator": "_accumulated_gradients",
    "velocity": "_velocities",
    "momentum": "_momentums",
    "average_gradient": "_average_gradients",
}


def lost(checkpoint: Checkpoint) -> list[str]:
    """Name what a stand-alone file of this dialect cannot hold."""
    row = _session(checkpoint.dialect)
    native = checkpoint.dialect in _NATIVE
    if checkpoint.dialect not in _DIALECTS:
        return []  # `tensors_of` refuses it whole
    found = []
    if checkpoint.loss_scale and (row or native):
        found.append("loss_scale: a Saver's file of this dialect has no place for it.")
    if row and set(checkpoint.slots) - {"velocity"}:
        found.append(f"slots {sorted(set(checkpoint.slots) - {'velocity'})}: the dialect has none.")
    return found + _unheld(checkpoint, row, native)


def _unheld(checkpoint: Checkpoint, row: Session | None, native: bool) -> list[str]:
    """Name the hyperparameters that are not the default and have no place in such a file."""
    held = {"centered", "use_ema"}  # the slots tell
    held |= set() if native else {"learning_rate", *(row.scalars if row else ())}
    held |= {"decay", "rho", "momentum"} if checkpoint.dialect in _SLOTTED else set()
    numbers, found = plain_config(checkpoint.config), {}
    known = DIALECTS[str(checkpoint.dialect)].arguments if checkpoint.rule == "RMSprop" else {}
    for key, value in checkpoint.config.items():
        name = "learning_rate" if key == "lr" else key
        argument = known.get(name)
        if key == "decay_offset" and checkpoint.config.get("decay"):
            found[key] = value
        # A name is a label: systems number it anew in each process, and restore by other names.
        if argument is None or argument.effect != "used" or name in ("name", "jit_compile"):
            continue
        idle = name.startswith("ema_") and not checkpoint.config.get("use_ema")
        if idle or value in (None, argument.default) or (name in held and name in numbers):
            continue
        if name not in held or not isinstance(value, bool):
            found[key] = value
    return [f"the hyperparameters {found}: a TensorFlow checkpoint has none"] if found else []


def _session(dialect: str | None) -> Session | None:
    """Return how a dialect's session names things."""
    return next((row for row in SESSIONS if dialect in row.dialects), None)


def tensors_of(checkpoint: Checkpoint) -> Tensors:
    """Return the tensors of a stand-alone file.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to write.

    Raises
    ------
    CheckpointError
        It is not an RMSprop's, or its dialect has no TensorFlow files.
    """
    dialect, row = checkpoint.dialect, _session(checkpoint.dialect)
    if checkpoint.rule != "RMSprop":
        raise CheckpointError(
            f"a stand-alone TensorFlow file is written for RMSprop only, not {checkpoint.rule}; "
            "use .npz or .safetensors, or a template."
        )
    if row is not None:
        return _session_tensors(checkpoint, row)
    if dialect in _NATIVE:
        return _native_tensors(checkpoint)
    if dialect in _SLOTTED:
        return _Objects(checkpoint).slotted()
    if dialect in _LISTED:
        return _Objects(checkpoint).listed()
    raise CheckpointError(
        f"{dialect} has no TensorFlow checkpoints; convert() to one of "
        f"{', '.join(_DIALECTS)} first."
    )


def _weights(checkpoint: Checkpoint) -> Tensors:
    """Return the model's weights under their own names."""
    dtypes = {v.name: v.dtype for v in checkpoint.variables}
    return {n: (dtypes.get(n, a.dtype.name), a) for n, a in checkpoint.weights.items()}


def _native_tensors(checkpoint: Checkpoint) -> Tensors:
    """Name things as `tf.train.RMSPropOptimizer` and a `tf.train.Saver` do."""
    order = [s for s in ("velocity", "average_gradient", "momentum") if s in checkpoint.slots]
    if "velocity" not in order or "momentum" not in order:
        raise CheckpointError(f"tf.train's RMSProp has velocity and momentum, not only {order}.")
    tensors = _weights(checkpoint)
    for k, slot in enumerate(order):
        for v, array in zip(checkpoint.variables, checkpoint.slots[slot], strict=True):
            if array is not None:
                tensors[f"{v.name}/RMSProp{f'_{k}' if k else ''}"] = (v.dtype, array)
    if checkpoint.iterations is not None:
        tensors["global_step"] = ("int64", np.int64(checkpoint.iterations))
    return tensors


def _session_tensors(checkpoint: Checkpoint, row: Session) -> Tensors:
    """Name things as the session of Keras 1 or 2 does."""
    tensors = _weights(checkpoint)
    given = {"learning_rate": 0.001, "rho": 0.9, "decay": 0.0} | plain_config(checkpoint.config)
    for name, key in row.scalars.items():
        number = given.get("learning_rate" if name == "lr" else name, 0.0)
        tensors[key] = ("float32", np.float32(number))
    count = np.dtype(row.counter).type(checkpoint.iterations or 0)
    tensors[row.scalars["iterations"]] = (row.counter, count)
    column = checkpoint.slots.get("velocity", [None] * len(checkpoint.variables))
    for i, (v, array) in enumerate(zip(checkpoint.variables, column, strict=True)):
        if array is not None:
            tensors[row.slot_name(i)] = (v.dtype, array)
    return tensors


class _Objects:
    """A graph and its tensors, while they are put together."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.nodes = [Node()]
        self.tensors: Tensors = {}
        # `tf.train.Checkpoint.restore` misses its own counter if a file has none.
        self.value(self.child(0, "save_counter"), "save_counter", "int64", np.int64(1))
        self.optimizer, self.path = self.child(0, "optimizer"), "optimizer"
        owners = self.child(0, "variables")
        self.owners = [self._owner(owners, i) for i in range(len(checkpoint.variables))]

    def child(self, parent: int, name: str) -> int:
        """Add an object."""
        self.nodes.append(Node())
        self.nodes[parent].children[name] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def value(self, number: int, path: str, dtype: str, value: Any, name: str = "") -> None:
        """Make an object a variable with a value."""
        self.nodes[number].name, self.nodes[number].key = name or path, path + _SUFFIX
        self.tensors[path + _SUFFIX] = (dtype, value)

    def _owner(self, parent: int, index: int) -> int:
        """Add a trained variable, with its value if the checkpoint has it."""
        number, known = self.child(parent, str(index)), self.checkpoint.variables[index]
        self.nodes[number].name = known.name
        if known.name in self.checkpoint.weights:
            array = self.checkpoint.weights[known.name]
            self.value(number, f"variables/{index}", known.dtype, array, known.name)
        return number

    def scalars(self, names: Mapping[str, str]) -> None:
        """Add hyperparameters that are plain numbers."""
        given = plain_config(self.checkpoint.config)
        for child, name in names.items():
            if name in given:
                number = self.child(self.optimizer, child)
                self.value(number, f"{self.path}/{child}", "float32", np.float32(given[name]))

    def counter(self, name: str) -> int:
        """Add the step counter."""
        number = self.child(self.optimizer, name)
        count = np.int64(self.checkpoint.iterations or 0)
        self.value(number, f"{self.path}/{name}", "int64", count)
        return number

    def scale(self, parent: int, path: str, scale: str, counter: str) -> None:
        """Add the state of a loss scale."""
        known = {k: v for k, v in (self.checkpoint.loss_scale or {}).items() if v is not None}
        if "initial_scale" in known:  # where no scale is known, the next run begins with it
            known.setdefault("scale", known["initial_scale"])
        for name, word, kind in ((scale, "scale", "float32"), (counter, "counter", "int64")):
            if word in known:
                number = self.child(parent, name)
                self.value(number, f"{path}/{name}", kind, np.dtype(kind).type(known[word]))

    def wrap(self) -> None:
        """Go on inside a LossScaleOptimizer of Keras 3, whose own counter stays at 0."""
        outer = self.optimizer
        for name, kind in (("_iterations", "int64"), ("_learning_rate", "float32")):
            self.value(self.child(outer, name), f"optimizer/{name}", kind, np.dtype(kind).type(0))
        self.scale(outer, "optimizer", "dynamic_scale", "step_counter")
        order = ("_iterations", "_learning_rate", "step_counter", "dynamic_scale")
        known = [n for n in order if n in self.nodes[outer].children]
        listing = {str(i): self.nodes[outer].children[name] for i, name in enumerate(known)}
        self.nodes[self.child(outer, "_variables")].children = listing
        self.optimizer, self.path = (
            self.child(outer, "inner_optimizer"),
            f"{self.path}/inner_optimizer",
        )

    def finished(self) -> Tensors:
        """Return all tensors with the graph."""
        return {**self.tensors, GRAPH_KEY: ("string", serialize(self.nodes))}

    def slotted(self) -> Tensors:
        """Name things as OptimizerV2 does."""
        self.counter("iter")
        self.scalars({n: n for n in ("learning_rate", "decay", "rho", "momentum")})
        if self.checkpoint.loss_scale:
            self.child(self.optimizer, "base_optimizer")
            holder = self.child(self.optimizer, "loss_scale")
            self.scale(holder, "optimizer/loss_scale", "current_loss_scale", "good_steps")
        words = {slot: word for word, slot in words_of(self.checkpoint.dialect).items()}
        words |= DIALECTS[str(self.checkpoint.dialect)].slot_names
        for slot, arrays in self.checkpoint.slots.items():
            for i, array in enumerate(arrays):
                if array is not None:
                    self.nodes.append(Node())
                    path = f"variables/{i}/.OPTIMIZER_SLOT/optimizer/{words[slot]}"
                    known = self.checkpoint.variables[i]
                    self.value(len(self.nodes) - 1, path, known.dtype, array)
                    self.nodes[self.optimizer].slots.append(
                        (self.owners[i], words[slot], len(self.nodes) - 1)
                    )
        return self.finished()

    def listed(self) -> Tensors:
        """Name things as tf.keras 2.11+ and Keras 3 do."""
        order = DIALECTS[str(self.checkpoint.dialect)].weights.order
        with_rate = "learning_rate" in order
        if with_rate and self.checkpoint.loss_scale:
            self.wrap()
        members = [self.counter("_iterations")]
        self.scalars({"_learning_rate": "learning_rate"})
        rate = self.nodes[self.optimizer].children.get("_learning_rate")
        members += [rate] if with_rate and rate is not None else []
        if self.checkpoint.loss_scale and not with_rate:
            holder = self.child(self.optimizer, "loss_scale")
            self.scale(holder, "optimizer/loss_scale", "current_loss_scale", "good_steps")
        listing = self.child(self.optimizer, "_variables")
        for slot in (name for name in order if name in _LISTS):
            group = self.child(self.optimizer, _LISTS[slot])
            for i, array in enumerate(self.checkpoint.slots.get(slot, [])):
                self.nodes.append(Node())
                number = len(self.nodes) - 1
                known = self.checkpoint.variables[i]
                path = f"{self.path}/_variables/{len(members)}"
                name = f"RMSprop/{slot}/{known.name}"
                self.value(number, path, known.dtype, array, name)
                self.nodes[group].children[str(i)] = number
                members.append(number)
        self.nodes[listing].children = {str(i): number for i, number in enumerate(members)}
        if with_rate:
            trained = self.child(self.optimizer, "_trainable_variables")
            self.nodes[trained].children = {str(i): k for i, k in enumerate(self.owners)}
        return self.finished()
