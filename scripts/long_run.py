"""Make 10,000 steps on a million numbers in every way; all must end with the same bits.

Prints one hash per way (thread counts, chunk boundaries, the NumPy reference) and fails if two
differ. ``--steps`` and ``--size`` shorten it; the reference alone takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import time

import numpy as np

import fastrms

# (threads, pieces the million is cut into, elements the first piece is shifted by, compiled)
WAYS = {
    "1 thread": (1, 1, 0, True),
    "2 threads": (2, 1, 0, True),
    "3 threads": (3, 1, 0, True),
    "2 threads, 7 pieces": (2, 7, 0, True),
    "2 threads, not aligned": (2, 1, 3, True),
    "NumPy reference": (1, 1, 0, False),
}


def run(steps: int, size: int, way: str) -> str:
    """Make the steps in one way; return the hash of weights and state."""
    threads, pieces, shift, compiled = WAYS[way]
    fastrms.set_num_threads(threads)
    weights = np.empty(size + shift, np.float32)[shift:]
    weights[:] = np.random.default_rng(0).standard_normal(size, np.float32)
    gradient = np.empty_like(weights)
    cuts = [size * k // pieces for k in range(1, pieces)]
    optimizer = fastrms.RMSprop(0.001, momentum=0.9, centered=True, weight_decay=0.01)
    optimizer.build(np.split(weights, cuts))
    # The engine is the optimizer's own affair; NUMBA_DISABLE_JIT=1 is the public way to choose it.
    optimizer._core.stepper._compiled = compiled and optimizer._core.stepper._compiled
    parts = np.split(gradient, cuts)
    for step in range(steps):
        np.multiply(weights, np.float32(1 + step % 7), out=gradient)
        gradient -= np.float32(0.5)
        optimizer.apply(parts)
    digest = hashlib.sha256(weights.tobytes())
    slots = optimizer._core.stepper.state.slots
    for name in ("velocity", "momentum", "average_gradient"):
        for index in range(pieces):
            digest.update(slots[name, index].tobytes())
    return digest.hexdigest()


def main() -> None:
    """Compare all ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=1_000_000)
    options = parser.parse_args()
    hashes = {}
    for way in WAYS:
        start = time.perf_counter()
        hashes[way] = run(options.steps, options.size, way)
        print(f"{hashes[way]}  {way} ({time.perf_counter() - start:.0f} s)", flush=True)
    if len(set(hashes.values())) != 1:
        raise SystemExit("the ways differ")
    print(f"{options.steps} steps on {options.size} numbers: the same bits in every way")


if __name__ == "__main__":
    main()
