"""Runs one training task in a new Python process with one BLAS thread."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastrms.demo.training import Task

Event = dict[str, Any]

# Several BLAS threads may sum in another order on another run; one thread cannot.
_LIBRARIES = ("OPENBLAS_NUM", "MKL_NUM", "OMP_NUM", "BLIS_NUM", "VECLIB_MAXIMUM")
_ONE_THREAD = {f"{library}_THREADS": "1" for library in _LIBRARIES}
# The child imports exactly what this process would, whatever lies in the current folder.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv.pop().split(chr(0x1f)); "
    "from fastrms.demo.training import main; main()"
)


class ChildError(RuntimeError):
    """A training process did not end well."""


def run_task(task: Task, on_event: Callable[[Event], None]) -> tuple[Event, str]:
    """Run `task` in a new process and pass on each event it reports.

    Returns
    -------
    dict, str
        The last event, and what the process wrote to stderr.

    Raises
    ------
    ChildError
        If the process ends with another exit code than 0; carries its stderr.
    """
    command = [sys.executable, "-c", _PROGRAM, json.dumps(asdict(task)), "\x1f".join(sys.path)]
    environment = {**os.environ, **_ONE_THREAD}
    event: Event = {}
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8"
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if line.startswith("{"):
                        event = json.loads(line)
                        on_event(event)
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        text = errors.read().decode("utf-8", "replace").strip()
    if process.returncode != 0:
        raise ChildError(
            f"a training process ended with exit code {process.returncode}; it wrote:\n"
            f"{text or '(nothing)'}"
        )
    return event, text
