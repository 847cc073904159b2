"""Surfaces of the libraries that users come from, installed as `fastrms.compat`.

| import | mirrors |
|---|---|
| `fastrms.compat.keras1` | Keras 1.0.3 to 1.2.2 |
| `fastrms.compat.tf_contrib` | `tf.contrib.keras` of TensorFlow 1.x |
| `fastrms.compat.keras20`, `.keras22`, `.keras23` | Keras 2.0; 2.1 and 2.2; 2.3 |
| `fastrms.compat.tf_keras_v1` | `tf.keras` of TensorFlow 1.4 to 1.13 |
| `fastrms.compat.tf_keras_v2` | `tf.keras` 2.0 to 2.10 |
| `fastrms.compat.tf_keras` | `tf.keras` 2.11 to 2.15 |

`fastrms.compat.RMSprop` is the legacy class for code that does not care about paths. `fastrms`
itself never imports this package.
"""

from .legacy import RMSprop as RMSprop
