"""An old script's training function: a policy of three Dense layers, its update included."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

STATES, HIDDEN, ACTIONS, BATCH = 4, 24, 2, 32
Weights = list[NDArray[Any]]


def data() -> tuple[Weights, list[NDArray[Any]]]:
    """Return weights of three layers, and a batch of states, chosen actions and returns."""
    rng = np.random.default_rng(0)
    sizes = [(STATES, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, ACTIONS)]
    weights = []
    for size in sizes:
        weights += [rng.normal(0, 0.1, size).astype(np.float32), np.zeros(size[1], np.float32)]
    chosen = np.eye(ACTIONS, dtype=np.float32)[rng.integers(0, ACTIONS, BATCH)]
    states = rng.normal(size=(BATCH, STATES)).astype(np.float32)
    return weights, [states, chosen, rng.normal(size=BATCH).astype(np.float32)]


def training_function() -> Callable[[], object]:
    """Return a call of the script's training function."""
    from fastrms.compat.keras22 import backend as K  # noqa: N812 (the name scripts use)
    from fastrms.compat.keras22.optimizers import RMSprop

    weights, batch = data()
    params = [K.variable(w) for w in weights]
    state, action = K.placeholder((None, STATES)), K.placeholder((None, ACTIONS))
    reward = K.placeholder((None,))
    hidden = K.relu(K.dot(state, params[0]) + params[1])
    hidden = K.relu(K.dot(hidden, params[2]) + params[3])
    chances = K.softmax(K.dot(hidden, params[4]) + params[5])
    loss = -K.sum(K.log(K.sum(action * chances, axis=1)) * reward)
    updates = RMSprop(lr=1e-5).get_updates(params, [], loss)
    train = K.function([state, action, reward], [loss], updates=updates)
    train(batch)
    return lambda: train(batch)
