"""The symbolic engine behind `backend`: static graphs, evaluated by NumPy into planned memory.

For code in this package
------------------------
- `variables.variable(value, dtype, name, constraint)` makes a variable. `.array` is its memory: it
  never moves, and kernels update it in place. `K.set_value` and `.set_value` copy into it.
- `variables.placeholder(shape, ndim, dtype, name)` makes an input. Any expression may be fed.
- `expressions.build("tanh", x)` makes a node; `operations.OPERATIONS` holds the rows, and
  `derivatives.DERIVATIVES` one derivative per row. `backend` has the functions that scripts call.
- `derivatives.gradients(loss, variables)` returns expressions (None where there is no path).
- `functions.Function(inputs, outputs, updates)` is `K.function`; `functions.evaluate(x, feeds)`
  gives one value. Outputs come before updates; updates are computed from old values.
- Randomness: `expressions.build("random", sampler=f, shape=(2, None), dtype=...)`, where `f(out)`
  fills an array at each evaluation; `samplers` makes them and is the one place that draws numbers.
- `session.SESSION` holds floatx, epsilon, the learning phase and the names in use.
"""
