"""What the tf.keras generations share: one optimizer over `fastrms`, told apart by rows."""
