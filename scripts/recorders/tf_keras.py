"""Records tf.keras 2.10 (OptimizerV2 and experimental) and 2.12 (new and legacy)."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf

import keras_runner
from cases_keras import keras_cases
from store import arguments, record_all

CLASSES = {
    "tf210_v2": lambda: tf.keras.optimizers.RMSprop,
    "tf210_exp": lambda: tf.keras.optimizers.experimental.RMSprop,
    "tf212_new": lambda: tf.keras.optimizers.RMSprop,
    "tf212_v2": lambda: tf.keras.optimizers.legacy.RMSprop,
}


class Kit:
    """What differs between the frameworks, for tf.keras of TF 2."""

    step_dtype = "int64"

    def __init__(self, system):
        """Remember the class of the system."""
        self.create_class = CLASSES[system]()
        self.old = system.endswith("v2")

    def clear(self):
        """Forget names and graphs of earlier cases."""
        tf.keras.backend.clear_session()

    def variable(self, value, name, constrained):
        """Create a parameter."""
        constraint = tf.keras.constraints.NonNeg() if constrained else None
        return tf.Variable(value, name=name, constraint=constraint)

    def tensor(self, value):
        """Return a constant."""
        return tf.constant(value)

    def slices(self, values, rows, shape):
        """Return a gradient of rows."""
        return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant(shape))

    def schedule(self, spec):
        """Create a schedule from its name and arguments."""
        return getattr(tf.keras.optimizers.schedules, spec[0])(**spec[1])

    def optimizer(self, kwargs, scaling):
        """Create the optimizer, wrapped for loss scaling where asked."""
        opt = self.create_class(**kwargs)
        if scaling is None:
            return opt
        return tf.keras.mixed_precision.LossScaleOptimizer(opt, **scaling)

    def build(self, opt, variables, case):
        """Create the slots before the first step; OptimizerV2 cannot."""
        if self.old or case.get("unbuilt"):
            return False
        opt.build(variables)
        return True

    def restore(self, old, new, variables, without_iterations):
        """Copy all weights of an optimizer to a new one."""
        if self.old:
            new._create_all_weights(variables)
            weights = old.get_weights()
            new.set_weights(weights[1:] if without_iterations else weights)
            return
        new.build(variables)
        for mine, theirs in zip(self.variables(new), self.variables(old)):
            mine.assign(theirs)

    def stepper(self, opt, variables, case):
        """Return the function that applies one list of gradients."""

        def apply(grads):
            if case.get("lso_kwargs"):
                grads = opt.get_unscaled_gradients(grads)
            opt.apply_gradients(list(zip(grads, variables)))

        if case["exec_mode"] == "eager":
            return apply
        return tf.function(apply, jit_compile=case["exec_mode"] == "xla")

    def inner(self, opt):
        """Return the optimizer inside a loss-scaling wrapper."""
        return getattr(opt, "inner_optimizer", opt)

    def variables(self, opt):
        """Return the optimizer's variables in its own order."""
        inner = self.inner(opt)
        if self.old:
            return list(inner.weights)
        found = inner.variables
        return list(found() if callable(found) else found)

    def weights(self, opt):
        """Return the values of the optimizer's variables."""
        return [variable.numpy() for variable in self.variables(opt)]

    def weight_names(self, opt):
        """Return the names of the optimizer's variables."""
        return [variable.name for variable in self.variables(opt)]

    def rate(self, opt):
        """Return the learning rate that the optimizer reports, decay included."""
        inner = self.inner(opt)
        return np.asarray(inner._decayed_lr("float32") if self.old else inner.learning_rate)

    def counters(self, opt):
        """Return the counters that the optimizer reports."""
        out = {"it": opt.iterations.numpy()}
        if opt is not self.inner(opt):
            out["loss_scale"] = opt.loss_scale.numpy()
            out["good_steps"] = np.asarray(opt.dynamic_counter or 0).astype("int64")
        return out

    def value(self, variable):
        """Return a parameter as an array."""
        return variable.numpy()

    def plain_value(self, tensor):
        """Return a tensor as an array."""
        return tensor.numpy()


def main():
    """Record every case of the system named on the command line."""
    options = arguments(sorted(CLASSES))
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kit = Kit(options.system)

    def run(case, inputs, trace):
        keras_runner.run(kit, case, inputs, trace)

    versions = {"tensorflow": tf.__version__, "keras": tf.keras.__version__}
    record_all(options, keras_cases(options.system), run, versions)


if __name__ == "__main__":
    main()
