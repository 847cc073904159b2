"""Damaged copies of files: bits flipped, ends cut off, blocks moved, cleared or doubled."""

import random


def damaged(data: bytes, source: random.Random) -> bytes:
    """Return a copy with one to four random damages."""
    copy = bytearray(data)
    for _ in range(source.randint(1, 4)):
        kind = source.choice(["flip", "flip", "flip", "byte", "cut", "splice", "clear", "number"])
        if not copy:
            break
        at, size = source.randrange(len(copy)), source.randint(1, 64)
        if kind == "flip":
            copy[at] ^= 1 << source.randrange(8)
        elif kind == "byte":
            copy[at] = source.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == "cut":
            del copy[at:]
        elif kind == "splice":
            other = source.randrange(len(copy))
            copy[at : at + size] = copy[other : other + size]
        elif kind == "clear":
            copy[at : at + size] = bytes(len(copy[at : at + size]))
        else:
            number = source.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**62, 2**64 - 1])
            copy[at : at + 8] = number.to_bytes(8, "little")[: len(copy[at : at + 8])]
    return bytes(copy)
