"""`tf.contrib.keras` of TensorFlow 1.x, without a framework: the same module names, the same numbers."""
