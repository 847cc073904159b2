"""Records Keras 1.2, 2.0, 2.2, 2.3, tf.contrib.keras and tf.keras of TF 1.13 in graph mode."""

import inspect
import os

from cases import LR_MID
from cases_graph import graph_cases
from inputs import MID_STEP, RESUME_STEP, STEPS
from offset import decay_offset
from store import arguments, record_all

SYSTEMS = [
    "k12_tf",
    "k12_theano",
    "k20_tf",
    "k20_theano",
    "contrib13",
    "k22_tf",
    "k23_tf",
    "tfk113_v1",
]


def load(system):
    """Import the backend, the class and the constraint of a system."""
    if system == "contrib13":
        from tensorflow.contrib.keras.python.keras import backend, constraints, optimizers
    elif system == "tfk113_v1":
        from tensorflow.python.keras import backend, constraints, optimizers
    else:
        os.environ["KERAS_BACKEND"] = "theano" if system.endswith("theano") else "tensorflow"
        from keras import backend, constraints, optimizers
    constraint = getattr(constraints, "NonNeg", None) or constraints.nonneg
    return backend, optimizers.RMSprop, constraint


def versions(system):
    """Return the versions that define a system."""
    if system.endswith("theano"):
        import keras
        import theano

        return {"keras": keras.__version__, "theano": theano.__version__, "backend": "theano"}
    import tensorflow

    found = {"tensorflow": tensorflow.__version__}
    if system.startswith("k"):
        import keras

        found.update(keras=keras.__version__, backend="tensorflow")
    return found


class Runner:
    """One optimizer and its training function over fixed parameters."""

    def __init__(self, system, case):
        """Start a fresh session with the case's float type."""
        self.system, self.case = system, case
        self.K, self.optimizer, self.constraint = load(system)
        self.fresh_session()
        self.params, self.feeds, self.loss = [], [], None

    def fresh_session(self):
        """Drop all earlier variables; one thread, so that decay's race has one outcome."""
        self.K.set_floatx(self.case["floatx"])
        if self.system.endswith("theano"):
            import theano

            theano.config.floatX = self.case["floatx"]
            return
        import tensorflow as tf

        self.K.clear_session()
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        self.K.set_session(tf.Session(config=config))

    def dense_loss(self, start):
        """Build the loss whose gradient of each parameter is what will be fed."""
        self.params = [self.variable(index, value) for index, value in enumerate(start)]
        self.feeds = [self.K.placeholder(shape=value.shape) for value in start]
        terms = [self.K.sum(g * p) for g, p in zip(self.feeds, self.params)]
        if self.case["case"] == "err_none_grad":
            terms.pop(1)
        self.loss = sum(terms[1:], terms[0])

    def variable(self, index, value):
        """Create a parameter, with its constraint where the class keeps constraints on it."""
        if index != self.case.get("constraint_on") or self.in_updates("constraints"):
            return self.K.variable(value)
        if "constraint" in inspect.getfullargspec(self.K.variable).args:
            return self.K.variable(value, constraint=self.constraint())
        out = self.K.variable(value)
        out.constraint = self.constraint()
        return out

    def in_updates(self, name):
        """Tell whether the class's get_updates has an argument of this name."""
        return name in inspect.getfullargspec(self.optimizer.get_updates).args

    def sparse_loss(self, start, rows):
        """Build the loss whose gradient is a set of rows."""
        self.params = [self.K.variable(start)]
        rows_of = self.K.placeholder(shape=rows.shape[1:], dtype="int32")
        values = self.K.placeholder(shape=rows.shape[1:] + start.shape[1:])
        self.feeds = [rows_of, values]
        self.loss = self.K.sum(self.K.gather(self.params[0], rows_of) * values)

    def build(self):
        """Create the optimizer and compile its updates."""
        self.opt = self.optimizer(**self.case["kwargs"])
        updates = self.get_updates()
        self.train = self.K.function(self.feeds, [self.loss], updates=updates)

    def get_updates(self):
        """Call get_updates with the arguments of the class's generation."""
        index = self.case.get("constraint_on")
        if self.in_updates("constraints"):
            constraints = {} if index is None else {self.params[index]: self.constraint()}
            return self.opt.get_updates(self.params, constraints, self.loss)
        return self.opt.get_updates(loss=self.loss, params=self.params)

    def resume(self):
        """Replace the optimizer by a new one that takes over its weights."""
        weights = self.opt.get_weights()
        if "[1:]" in self.case["hook"]:
            weights = weights[1:]
        self.build()
        self.opt.set_weights(weights)

    def values(self):
        """Return the parameters as arrays."""
        return [self.K.get_value(param) for param in self.params]

    def step(self, trace, time, feed):
        """Run the hooks and one training call."""
        hook = self.case.get("hook") or ""
        if time == MID_STEP and "K.set_value" in hook:
            self.K.set_value(self.opt.lr, LR_MID)
        if time == RESUME_STEP and "new optimizer" in hook:
            self.resume()
        before = self.K.get_value(self.opt.lr)
        self.train(feed)
        state = {"it": self.K.get_value(self.opt.iterations), "lr": self.K.get_value(self.opt.lr)}
        trace.step(self.values(), self.opt.get_weights(), lr_before=before, **state)


def run(system, case, inputs, trace):
    """Record one case."""
    runner = Runner(system, case)
    if case.get("sparse"):
        start, rows, values = inputs.sparse_of(case)
        trace.fixed.update(si0=rows, sv0=values)
        runner.sparse_loss(start, rows)
        feeds = [[rows[t].astype("int32"), values[t]] for t in range(STEPS)]
    else:
        start, grads, mask = inputs.of(case)
        trace.feed(grads, mask)
        runner.dense_loss(start)
        feeds = [[grad[t] for grad in grads] for t in range(STEPS)]
    runner.build()
    trace.info["get_config"] = runner.opt.get_config()
    trace.begin(runner.values(), runner.opt.get_weights())
    for time, feed in enumerate(feeds):
        runner.step(trace, time, feed)
    trace.info["weight_names"] = [weight.name for weight in runner.opt.weights]
    if case["kwargs"].get("decay"):
        trace.info["decay_iter_offset"] = decay_offset(system, case, trace.arrays())


def main():
    """Record every case of the system named on the command line."""
    options = arguments(SYSTEMS)
    load(options.system)

    def run_case(case, inputs, trace):
        run(options.system, case, inputs, trace)

    record_all(options, graph_cases(options.system), run_case, versions(options.system))


if __name__ == "__main__":
    main()
