"""`tf.keras` of TensorFlow 1.4 to 1.13, without a framework: the same module names, the same numbers."""
