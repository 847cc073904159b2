"""The parts of `scripts/benchmark.py`: works, yardstick, timing, peers, processes, report."""
