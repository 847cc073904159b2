"""`fastrms inspect`, `fastrms convert` and `fastrms diff`: checkpoints on the command line."""
