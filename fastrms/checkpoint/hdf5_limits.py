"""How much memory a file may ask for."""

FREE = 4 << 20  # so much is given to any file
RATIO = 64  # more only in this proportion to the bytes stored
