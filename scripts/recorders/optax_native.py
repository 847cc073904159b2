"""Records optax.rmsprop, operation by operation and under jit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cases import DECAY, LR
from cases_native import native_cases
from inputs import NAMES, STEPS, per_parameter
from store import arguments, record_all

SLOTS = ("nu", "mu", "trace")


def create(case):
    """Create the transformation of a case."""
    kwargs = dict(case["kwargs"])
    if case["case"] == "lr_callable":
        kwargs["learning_rate"] = lambda count: LR / (1 + DECAY * count)
    return optax.rmsprop(**kwargs)


def parts(state):
    """Return the named fields of all inner states."""
    fields = {}
    for part in state:
        fields.update(getattr(part, "_asdict", dict)())
    return fields


def weights(state):
    """Return the state arrays in the order nu, mu, trace."""
    fields = parts(state)
    return [np.asarray(value) for slot in SLOTS for value in fields.get(slot, [])]


def rate_of(case, time):
    """Return the nominal learning rate of a step."""
    if case["case"] == "lr_callable":
        return LR / (1 + DECAY * time)
    return case["kwargs"]["learning_rate"]


def run(case, inputs, trace):
    """Record one case."""
    dtypes = per_parameter(case.get("dtype", "float32"))
    jax.config.update("jax_enable_x64", "float64" in dtypes)
    start, grads, mask = inputs.of(case)
    trace.feed(grads, mask)
    opt = create(case)
    params = [jnp.asarray(value) for value in start]
    state = opt.init(params)

    def update(fed, state, params):
        """Apply one step."""
        updates, state = opt.update(fed, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(update) if case.get("exec_mode") == "jit" else update
    trace.begin([np.asarray(param) for param in params], weights(state))
    for time in range(STEPS):
        fed = [jnp.asarray(grad[time]) for grad in grads]
        params, state = step(fed, state, params)
        values = [np.asarray(param) for param in params]
        rates = {"lr_before": rate_of(case, time), "lr": rate_of(case, time)}
        trace.step(values, weights(state), it=time + 1, **rates)
    fields = parts(state)
    trace.info["weight_names"] = [s + "/" + n for s in SLOTS if s in fields for n in NAMES]


def main():
    """Record every case."""
    options = arguments(["optax_rmsprop"])
    versions = {"optax": optax.__version__, "jax": jax.__version__}
    record_all(options, native_cases(options.system), run, versions)


if __name__ == "__main__":
    main()
