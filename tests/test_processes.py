"""Fresh interpreters: exits during steps, thread counts, broken caches, pickles that travel."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import battery
import fastrms
from fastrms.threads import Pool

SETUP = """
import threading, numpy as np, fastrms
fastrms.set_num_threads(4)
def scene():
    w = [np.ones(400_000, np.float32), np.ones(7)]
    o = fastrms.RMSprop(0.01, clipnorm=1.0, momentum=0.9)
    o.apply([np.ones_like(a) for a in w], w)
    return o, w
o, w = scene()
"""
EXITS = {
    "after a step": "o.apply([a * 1 for a in w])",
    "sys.exit": "import sys; o.apply([a * 1 for a in w]); sys.exit(0)",
    "daemon threads step": """
import time
def run(o, w):
    while True:
        o.apply([a * 1 for a in w])
for _ in range(3):
    threading.Thread(target=run, args=scene(), daemon=True).start()
time.sleep(0.2)
""",
    "a thread outlives the main thread": """
def run():
    for _ in range(200):
        o.apply([a * 1 for a in w])
    print("done", o.iterations)
threading.Thread(target=run).start()
""",
    "steps at exit": """
import atexit
atexit.register(lambda: print("done", o.apply([a * 1 for a in w]), o.iterations))
""",
}


@pytest.mark.parametrize("case", EXITS)
def test_the_interpreter_exits_cleanly(case: str) -> None:
    result = battery.run_python(SETUP + EXITS[case])
    assert (result.returncode, result.stderr) == (0, "")
    if "print" in EXITS[case]:
        assert result.stdout.startswith("done")


STEP = """
import numpy as np, fastrms
w = np.ones(3, np.float32)
fastrms.RMSprop(0.5, epsilon=1e-3).apply([np.ones(3, np.float32)], [w])
print(w.tobytes().hex())
"""


def expected() -> str:
    """Return what STEP prints."""
    w = np.ones(3, np.float32)
    fastrms.RMSprop(0.5, epsilon=1e-3).apply([np.ones(3, np.float32)], [w])
    return w.tobytes().hex()


def warned_once(result: object, what: str) -> None:
    """Check that a process warned exactly once, clearly, and went on."""
    assert result.returncode == 0, result.stderr  # type: ignore[attr-defined]
    assert result.stdout.strip() == expected()  # type: ignore[attr-defined]
    errors = result.stderr  # type: ignore[attr-defined]
    assert errors.count("Warning") == 1, errors
    battery.says_all(errors, ["RuntimeWarning", "cache", what, "NUMBA_CACHE_DIR"])


def test_no_folder_for_the_cache_can_be_written(tmp_path: Path) -> None:
    package = Path(fastrms.__file__).parent
    copied = shutil.copytree(
        package, tmp_path / "fastrms", ignore=shutil.ignore_patterns("__pycache__")
    )
    # A file where a folder must be made stops the superuser too, whom permissions do not.
    blocked = copied / "__pycache__"
    blocked.write_text("")
    result = battery.run_python(
        f"import sys; sys.path[0] = {str(tmp_path)!r}\n{STEP}",
        PYTHONDONTWRITEBYTECODE="1",
        **dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"), str(blocked / "x")),
    )
    warned_once(result, "works")


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_damaged_cache(kind: str, tmp_path: Path) -> None:
    first = battery.run_python(STEP, NUMBA_CACHE_DIR=str(tmp_path))
    assert (first.returncode, first.stderr) == (0, "")
    for file in tmp_path.rglob(f"*.{kind}"):
        file.write_bytes(b"")
    result = battery.run_python(STEP, NUMBA_CACHE_DIR=str(tmp_path))
    warned_once(result, "works")
    (folder,) = re.findall(r"Delete the folder (\S+),", result.stderr)
    assert Path(folder).is_relative_to(tmp_path)
    shutil.rmtree(folder)
    assert battery.run_python(STEP, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "1025", "0x2", "²"])
def test_a_thread_count_in_the_environment_that_is_none(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTRMS_NUM_THREADS", text)
    monkeypatch.setattr("fastrms.threads.pool", Pool())
    monkeypatch.setattr("fastrms.plan.pool", Pool())
    variable = np.ones(400_000, np.float32)
    optimizer = fastrms.RMSprop()
    optimizer.build([variable])
    before = battery.snapshot(optimizer, [variable])
    with pytest.raises(fastrms.ArgumentError) as caught:
        optimizer.apply([np.ones_like(variable)])
    assert battery.snapshot(optimizer, [variable]) == before
    battery.says_all(str(caught.value), ["FASTRMS_NUM_THREADS is", text, "from 1 to 1024"])
    with pytest.raises(fastrms.ArgumentError):
        fastrms.get_num_threads()


@pytest.mark.parametrize(("text", "count"), [("1", 1), (" 3 ", 3), ("1024", 1024), ("", None)])
def test_a_thread_count_in_the_environment(
    text: str, count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTRMS_NUM_THREADS", text)
    monkeypatch.setattr("fastrms.threads.pool", Pool())
    assert fastrms.get_num_threads() == (count or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("count", [0, -1, 1025, 1.5, "2", None, True, float("nan"), [1]], ids=repr)
def test_a_thread_count_that_is_none(count: object) -> None:
    before = fastrms.get_num_threads()
    with pytest.raises(fastrms.ArgumentError, match=r"number of threads is .*; valid: an integer"):
        fastrms.set_num_threads(count)  # type: ignore[arg-type]
    assert fastrms.get_num_threads() == before


def test_a_pickle_goes_on_in_another_process(tmp_path: Path) -> None:
    variables = [battery.numbers((4, 3), "float32"), np.asfortranarray(np.ones((2, 3)))]
    optimizer = fastrms.RMSprop(0.05, momentum=0.9, use_ema=True)
    gradients = [np.ones((4, 3), np.float32), np.ones((2, 3))]
    optimizer.apply(gradients, variables)
    path = tmp_path / "state"
    path.write_bytes(pickle.dumps((optimizer, variables, gradients)))
    code = """
import pickle, sys, battery
optimizer, variables, gradients = pickle.load(open({path!r}, "rb"))
optimizer.apply(gradients, variables)
print(optimizer.iterations, battery.digest([*variables, *optimizer.get_weights()]))
"""
    result = battery.run_python(code.format(path=str(path)), PYTHONPATH=str(Path(__file__).parent))
    assert result.returncode == 0, result.stderr
    optimizer.apply(gradients)
    assert result.stdout.split() == [
        "2",
        battery.digest([*variables, *optimizer.get_weights()]),
    ]
