"""The peers' own best way to make the same step; each runs in a process of its own."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarking.works import OPTIONS, Case, fill, sizes_of

Step = Callable[[], object]
RATE, RHO, EPSILON = 0.001, 0.9, 1e-7


def _numbers(case: Case, quick: bool) -> tuple[list[Any], list[Any], float, bool]:
    """Return variables, gradients, and the two options that every peer has."""
    sizes, options = sizes_of(case.sizes, quick), OPTIONS[case.options]
    variables = [fill(size, 2 * i) for i, size in enumerate(sizes)]
    gradients = [fill(size, 2 * i + 1) for i, size in enumerate(sizes)]
    return variables, gradients, options.get("momentum", 0.0), options.get("centered", False)


def _torch(case: Case, quick: bool, threads: int, compiled: bool) -> Step:
    """Make torch's step: the foreach implementation, as it is or through torch.compile."""
    import torch

    torch.set_num_threads(threads)
    variables, gradients, momentum, centered = _numbers(case, quick)
    parameters = [torch.nn.Parameter(torch.from_numpy(v)) for v in variables]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient)
    optimizer = torch.optim.RMSprop(
        parameters, RATE, RHO, EPSILON, momentum=momentum, centered=centered, foreach=True
    )
    if not compiled:
        plain: Step = optimizer.step
        return plain
    torch._dynamo.reset()
    step: Step = torch.compile(optimizer.step)
    return step


def torch_foreach(case: Case, quick: bool, threads: int) -> Step:
    """Make torch's foreach step."""
    return _torch(case, quick, threads, compiled=False)


def torch_compile(case: Case, quick: bool, threads: int) -> Step:
    """Make torch's compiled step."""
    return _torch(case, quick, threads, compiled=True)


def optax_jit(case: Case, quick: bool, threads: int) -> Step:
    """Make optax's step, jitted with donated buffers, a leaf per tensor."""
    import jax
    import optax

    variables, gradients, momentum, centered = _numbers(case, quick)
    rule = optax.rmsprop(RATE, RHO, EPSILON, centered=centered, momentum=momentum or None)
    state = {"parameters": [jax.numpy.array(v) for v in variables]}
    state["slots"] = rule.init(state["parameters"])
    leaves = [jax.numpy.array(g) for g in gradients]

    def update(state: Any, leaves: Any) -> Any:
        updates, slots = rule.update(leaves, state["slots"], state["parameters"])
        return {"parameters": optax.apply_updates(state["parameters"], updates), "slots": slots}

    compiled = jax.jit(update, donate_argnums=0)
    holder = [state]

    def step() -> None:
        holder[0] = jax.block_until_ready(compiled(holder[0], leaves))

    return step


def _keras(case: Case, quick: bool) -> tuple[Any, list[Any], list[Any]]:
    """Build Keras's optimizer and variables under the backend of this process."""
    import keras

    variables, gradients, momentum, centered = _numbers(case, quick)
    optimizer = keras.optimizers.RMSprop(
        RATE, rho=RHO, momentum=momentum, epsilon=EPSILON, centered=centered
    )
    built = [keras.Variable(v) for v in variables]
    optimizer.build(built)
    return optimizer, built, [keras.ops.convert_to_tensor(g) for g in gradients]


def _keras_graph(case: Case, quick: bool, xla: bool) -> Step:
    """Make Keras's step as a TensorFlow graph."""
    import tensorflow as tf

    optimizer, built, gradients = _keras(case, quick)

    @tf.function(jit_compile=xla)  # type: ignore[untyped-decorator, unused-ignore]
    def graph() -> None:
        optimizer.apply(gradients, built)

    def step() -> None:
        graph()
        optimizer.iterations.numpy()

    return step


def keras_xla(case: Case, quick: bool, threads: int) -> Step:
    """Make Keras's step as a TensorFlow graph that XLA compiles."""
    return _keras_graph(case, quick, xla=True)


def keras_graph(case: Case, quick: bool, threads: int) -> Step:
    """Make Keras's step as a TensorFlow graph."""
    return _keras_graph(case, quick, xla=False)


def keras_jax(case: Case, quick: bool, threads: int) -> Step:
    """Make Keras's stateless step under jax, jitted with donated buffers."""
    import jax

    optimizer, built, gradients = _keras(case, quick)
    compiled = jax.jit(optimizer.stateless_apply, donate_argnums=(0, 2))
    holder = [([v.value for v in optimizer.variables], [v.value for v in built])]

    def step() -> None:
        slots, variables = holder[0]
        variables, slots = compiled(slots, gradients, variables)
        holder[0] = jax.block_until_ready((slots, variables))

    return step


class Peer(NamedTuple):
    """A peer: what it needs, how it is made, the name of its row."""

    row: str
    modules: tuple[str, ...]
    make: Callable[[Case, bool, int], Step]
    environment: dict[str, str]

    @property
    def missing(self) -> str:
        """Return the pip line that brings what is not installed, or nothing."""
        absent = [m for m in self.modules if importlib.util.find_spec(m) is None]
        return f"pip install {' '.join(absent)}" if absent else ""


PEERS = {
    "torch.compile": Peer("torch.compile", ("torch",), torch_compile, {}),
    "optax jit": Peer("optax jit", ("jax", "optax"), optax_jit, {}),
    "torch foreach": Peer("torch foreach", ("torch",), torch_foreach, {}),
    "Keras tf.function XLA": Peer(
        "Keras 3", ("keras", "tensorflow"), keras_xla, {"KERAS_BACKEND": "tensorflow"}
    ),
    "Keras tf.function": Peer(
        "Keras 3", ("keras", "tensorflow"), keras_graph, {"KERAS_BACKEND": "tensorflow"}
    ),
    "Keras jax stateless": Peer("Keras 3", ("keras", "jax"), keras_jax, {"KERAS_BACKEND": "jax"}),
}
