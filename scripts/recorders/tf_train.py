"""Records tf.train.RMSPropOptimizer of TensorFlow 1."""

import tensorflow as tf

from cases import LR, LR_MID
from cases_native import native_cases
from inputs import COUNT, MID_STEP, NAMES, STEPS
from store import arguments, record_all

SLOTS = ("rms", "mg", "momentum")


class Runner:
    """One optimizer over fixed variables in its own graph and one-thread session."""

    def __init__(self, case, start):
        """Create the variables, the placeholders of their gradients and the optimizer."""
        self.case = case
        self.params = [tf.Variable(v, name=name) for v, name in zip(start, NAMES)]
        self.rate = tf.Variable(LR, name="rate", trainable=False)
        self.count = tf.train.get_or_create_global_step()
        self.opt = tf.train.RMSPropOptimizer(**self.kwargs())
        self.trains = {}
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        self.session = tf.Session(config=config)

    def kwargs(self):
        """Return the constructor arguments with the non-plain learning rates in place."""
        special = {"lr_callable": lambda: LR, "lr_tensor": tf.constant(LR), "lr_midrun": self.rate}
        kwargs = dict(self.case["kwargs"])
        if self.case["case"] in special:
            kwargs["learning_rate"] = special[self.case["case"]]
        return kwargs

    def build(self, grads, masks):
        """Create one training operation for each pattern of absent gradients."""
        for mask in masks:
            fed = [None if gone else grad for gone, grad in zip(mask, grads)]
            pairs = list(zip(fed, self.params))
            self.trains[mask] = self.opt.apply_gradients(pairs, global_step=self.count)
        self.session.run(tf.global_variables_initializer())

    def slots(self):
        """Return the slot variables by (slot, parameter) name, slot by slot."""
        found = [(slot, v, self.opt.get_slot(v, slot)) for slot in SLOTS for v in self.params]
        return [((slot, v.op.name), value) for slot, v, value in found if value is not None]

    def weights(self):
        """Return the values of all slots."""
        return self.session.run([value for _, value in self.slots()])

    def step(self, trace, time, mask, feed):
        """Set the learning rate where asked, train and record."""
        if time == MID_STEP and self.case["case"] == "lr_midrun":
            self.session.run(self.rate.assign(LR_MID))
        before = self.session.run(self.opt._learning_rate_tensor)
        self.session.run(self.trains[mask], feed)
        lr, it = self.session.run([self.opt._learning_rate_tensor, self.count])
        trace.step(self.session.run(self.params), self.weights(), it=it, lr=lr, lr_before=before)


def run(case, inputs, trace):
    """Record one case in a fresh graph."""
    with tf.Graph().as_default():
        if case.get("sparse"):
            runner, masks, feeds = sparse_setup(case, inputs, trace)
        else:
            runner, masks, feeds = dense_setup(case, inputs, trace)
        trace.begin(runner.session.run(runner.params), runner.weights())
        for time in range(STEPS):
            runner.step(trace, time, masks[time], feeds[time])
        trace.info["weight_names"] = [value.name for _, value in runner.slots()]
        trace.info["variables_names"] = [value.name for value in runner.opt.variables()]
        trace.info["slot_names"] = runner.opt.get_slot_names()


def dense_setup(case, inputs, trace):
    """Build a runner whose gradients are placeholders."""
    start, grads, mask = inputs.of(case)
    trace.feed(grads, mask)
    runner = Runner(case, start)
    fed = [tf.placeholder(value.dtype, value.shape) for value in start]
    masks = [tuple(bool(gone) for gone in row) for row in mask]
    runner.build(fed, sorted(set(masks)))
    feeds = [{fed[i]: grads[i][t] for i in range(COUNT)} for t in range(STEPS)]
    return runner, masks, feeds


def sparse_setup(case, inputs, trace):
    """Build a runner with one gradient of rows."""
    start, rows, values = inputs.sparse_of(case)
    trace.fixed.update(si0=rows, sv0=values)
    runner = Runner(case, [start])
    which = tf.placeholder(tf.int64, rows.shape[1:])
    what = tf.placeholder(values.dtype, values.shape[1:])
    runner.build([tf.IndexedSlices(what, which, tf.constant(start.shape))], [(False,)])
    feeds = [{which: rows[time], what: values[time]} for time in range(STEPS)]
    return runner, [(False,)] * STEPS, feeds


def main():
    """Record every case."""
    options = arguments(["tf13_train"])
    record_all(options, native_cases(options.system), run, {"tensorflow": tf.__version__})


if __name__ == "__main__":
    main()
