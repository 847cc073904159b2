"""Records Keras 3 on TensorFlow, JAX and torch."""

import importlib
import os

import numpy as np

import keras_runner
from cases_keras import keras_cases
from store import arguments, record_all

SYSTEMS = ["k3_tensorflow", "k3_jax", "k3_torch"]


class Kit:
    """What differs between the frameworks, for Keras 3; Keras is imported with its backend."""

    def __init__(self, backend):
        """Import Keras and the backend's own library."""
        self.backend = backend
        self.keras = importlib.import_module("keras")
        self.native = importlib.import_module(backend)
        self.step_dtype = "int64" if backend == "tensorflow" else "int32"

    def clear(self):
        """Forget the names of earlier cases."""
        self.keras.utils.clear_session()

    def variable(self, value, name, constrained):
        """Create a parameter."""
        out = self.keras.Variable(value, dtype=str(value.dtype), name=name)
        if constrained:
            out.constraint = self.keras.constraints.NonNeg()
        return out

    def tensor(self, value):
        """Return a constant."""
        return self.keras.ops.convert_to_tensor(np.asarray(value), dtype=str(value.dtype))

    def slices(self, values, rows, shape):
        """Return a gradient of rows."""
        tf = self.native
        return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant(shape))

    def schedule(self, spec):
        """Create a schedule from its name and arguments."""
        return getattr(self.keras.optimizers.schedules, spec[0])(**spec[1])

    def optimizer(self, kwargs, scaling):
        """Create the optimizer, wrapped for loss scaling where asked."""
        opt = self.keras.optimizers.RMSprop(**kwargs)
        if scaling is None:
            return opt
        return self.keras.optimizers.LossScaleOptimizer(opt, **scaling)

    def build(self, opt, variables, case):
        """Create the weights before the first step."""
        opt.build(variables)
        return True

    def restore(self, old, new, variables, without_iterations):
        """Copy all weights of an optimizer to a new one."""
        new.build(variables)
        new.set_weights([self.value(variable) for variable in old.variables])

    def stepper(self, opt, variables, case):
        """Return the function that applies one list of gradients."""
        mode = case["exec_mode"]
        if mode == "eager":
            return lambda grads: opt.apply(grads, variables)
        if self.backend == "tensorflow":

            def apply(grads):
                opt.apply(grads, variables)

            return self.native.function(apply, jit_compile=mode == "xla")
        pure = self.native.jit(opt.stateless_apply) if mode == "jit" else opt.stateless_apply
        return lambda grads: self.assign(opt, variables, pure, grads)

    def assign(self, opt, variables, pure, grads):
        """Run a stateless step and store its result in the variables."""
        state = [variable.value for variable in opt.variables]
        params, state = pure(state, grads, [variable.value for variable in variables])
        for variable, value in zip(list(variables) + list(opt.variables), params + state):
            variable.assign(value)

    def inner(self, opt):
        """Return the optimizer inside a loss-scaling wrapper."""
        return getattr(opt, "inner_optimizer", opt)

    def weights(self, opt):
        """Return the values of the optimizer's variables."""
        return [self.value(variable) for variable in opt.variables]

    def weight_names(self, opt):
        """Return the paths of the optimizer's variables."""
        return [variable.path for variable in opt.variables]

    def rate(self, opt):
        """Return the learning rate that the optimizer reports."""
        rate = self.inner(opt).learning_rate
        return np.asarray(rate) if isinstance(rate, float) else self.plain_value(rate)

    def counters(self, opt):
        """Return the counters that the optimizer reports."""
        inner = self.inner(opt)
        out = {"it": self.plain_value(inner.iterations), "raw_it": self.value(inner._iterations)}
        if opt is not inner:
            out["loss_scale"] = self.value(opt.dynamic_scale)
            out["good_steps"] = self.value(opt.step_counter)
        return out

    def value(self, variable):
        """Return a variable as an array."""
        return self.plain_value(variable.value)

    def plain_value(self, tensor):
        """Return a tensor as an array."""
        return np.array(self.keras.ops.convert_to_numpy(tensor))


def main():
    """Record every case of the system named on the command line."""
    options = arguments(SYSTEMS)
    backend = options.system.split("_")[1]
    os.environ.update(KERAS_BACKEND=backend, CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    kit = Kit(backend)

    def run(case, inputs, trace):
        keras_runner.run(kit, case, inputs, trace)

    versions = {"keras": kit.keras.__version__, "backend": backend}
    versions[backend] = kit.native.__version__
    record_all(options, keras_cases(options.system), run, versions)


if __name__ == "__main__":
    main()
