"""The process that reads HDF5: started early, once, with little, and never without need."""

import json
import os
import resource
import subprocess

import numpy as np
import pytest

import fastrms
import samples
from fastrms.checkpoint import isolation, registry

MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"


@pytest.fixture(autouse=True)
def fresh():
    isolation._discard()
    yield
    isolation._discard()


def test_it_starts_before_the_format_is_imported_and_serves_every_load(monkeypatch):
    started = []
    real = registry.module_of

    def noted(name):
        started.append(bool(isolation._worker))
        return real(name)

    monkeypatch.setattr("fastrms.checkpoint.files.module_of", noted)
    numbers = []
    for name in ("k22-tf/dflt_mlp.h5", "k3-tf/dflt_mlp.keras", "k3-tf/dflt_mlp.weights.h5"):
        fastrms.load(samples.folder() / name)
        numbers.append(isolation._worker[0].process.pid)
    assert started == [True] * 3
    assert len(set(numbers)) == 1


def test_files_without_hdf5_and_trusted_ones_start_none(tmp_path):
    optimizer = fastrms.RMSprop()
    optimizer.build({"w": np.ones(2)})
    for suffix in (".npz", ".safetensors", ".ckpt"):
        fastrms.save(tmp_path / f"a{suffix}", optimizer)
        fastrms.load(tmp_path / f"a{suffix}")
    fastrms.load(samples.folder() / "k22-tf/dflt_mlp.h5", trusted=True)
    assert not isolation._worker


def test_it_knows_nothing_of_this_package(monkeypatch):
    """What it imports is what its start costs: numpy, h5py and what they need."""
    real, seen = subprocess.Popen, []

    def noted(command, **others):
        seen.append(command)
        return real(command, **others)

    monkeypatch.setattr(isolation.subprocess, "Popen", noted)
    isolation.begin()
    *head, code = seen[0]
    code = code.rpartition("gc.freeze()")[0]
    done = subprocess.run([*head, f"{code}\n{MODULES}"], capture_output=True, text=True, check=True)
    found = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"numpy", "h5py"} <= found
    assert not found & {"fastrms", "numba", "llvmlite", "autograd", "site", "runpy", "tensorflow"}


def test_its_start_takes_less_than_a_third_of_a_second_of_a_processor():
    """Processor time, which other processes on the machine do not lengthen."""
    best = 9.0
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        isolation.read_tree(str(samples.folder() / "k22-tf/dflt_mlp.h5"), False)
        isolation._discard()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        best = min(best, user + system)
    assert best < 0.3


def test_a_child_forked_while_another_thread_reads_is_not_kept_waiting():
    isolation._lock.acquire()
    child = os.fork()
    if child == 0:
        os._exit(0 if isolation._lock.acquire(timeout=1) else 1)
    isolation._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_beginning_does_not_wait_for_a_thread_that_reads():
    isolation._lock.acquire()
    try:
        isolation.begin()
        assert not isolation._worker
    finally:
        isolation._lock.release()
