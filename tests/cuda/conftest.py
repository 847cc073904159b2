"""Tests in this folder run in Numba's simulator, in a process of their own (test_cuda.py)."""

import os
import sys

collect_ignore_glob = []
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") in ("0", ""):
    collect_ignore_glob.append("test_sim_*.py")
else:
    # The simulator's main thread polls; at the default interval its threads wait for 5 ms each.
    sys.setswitchinterval(1e-4)
