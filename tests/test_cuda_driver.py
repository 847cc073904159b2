"""The calls to NVIDIA's driver, against one that writes them down: the order, the refusals."""

from __future__ import annotations

import enum
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastrms
from fastrms.cuda import driver, toolkit

ROOT = Path(__file__).resolve().parents[1]


class Code(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2


class Attribute(enum.IntEnum):
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class Fake:
    """Answers every call as a machine with one H100 would, or with an error."""

    CUresult, CUdevice_attribute = Code, Attribute
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.failing, self.current = "", 0

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            if name == self.failing:
                return (Code.CUDA_ERROR_OUT_OF_MEMORY,)
            answers = {
                "cuDeviceGetCount": 1,
                "cuDeviceGet": 5,
                "cuDevicePrimaryCtxRetain": 70,
                "cuCtxGetCurrent": self.current,
                "cuMemAlloc": 4096,
                "cuMemHostAlloc": 8192,
                "cuEventCreate": 3,
                "cuPointerGetAttribute": 0,
                "cuDriverGetVersion": 13000,
                "cuStreamIsCapturing": 1 if arguments[:1] in ((77,), (78,)) else 0,
                "cuDeviceGetName": b"NVIDIA H100\0\0",
                "cuDeviceTotalMem": 80 << 30,
            }
            if name == "cuDeviceGetAttribute":
                return Code.CUDA_SUCCESS, 9 if arguments[0] == 75 else 0
            return (Code.CUDA_SUCCESS, answers[name]) if name in answers else (Code.CUDA_SUCCESS,)

        return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    found = Fake()
    monkeypatch.setattr(driver, "_driver", lambda: found)
    return found


def test_every_call_enters_the_devices_context(fake: Fake) -> None:
    device = driver.Driver(0)
    assert device.capability == (9, 0)
    for act in (
        lambda: device.allocate(10),
        lambda: device.free(4096),
        lambda: device.clear(4096, 8, 1),
        lambda: device.copy(4096, 8192, 8, 1),
        lambda: device.write(4096, np.ones(3), 1),
        lambda: device.read(4096, np.ones(3), 1),
        lambda: device.order(1, 7),
        lambda: device.device_of(4096),
        lambda: device.staging(8),
        lambda: device.released([4096], [3]),
        lambda: device.launch(3, (2, 256), 4096, 7),
    ):
        fake.calls.clear()
        act()
        entered = fake.calls.index(("cuCtxSetCurrent", 70))
        assert {c[0] for c in fake.calls[:entered]} <= {
            "cuCtxGetCurrent",
            "cuDevicePrimaryCtxRetain",
        }
        assert fake.calls[-1] == ("cuCtxSetCurrent", fake.current), "the caller's is current again"


def test_a_device_without_arrays_gets_no_context(fake: Fake) -> None:
    """Device 0 is asked where arrays lie, also those of a process that uses another."""
    device = driver.Driver(0)
    fake.current = 71
    assert device.device_of(4096) == 0
    names = [c[0] for c in fake.calls]
    assert "cuPointerGetAttribute" in names
    assert not {"cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"} & set(names)
    device.allocate(8)
    device.allocate(8)
    assert [c[0] for c in fake.calls].count("cuDevicePrimaryCtxRetain") == 1


def test_a_call_that_fails_leaves_the_callers_context_current(fake: Fake) -> None:
    device = driver.Driver(0)
    fake.current, fake.failing = 71, "cuMemAlloc"
    with pytest.raises(fastrms.DeviceError):
        device.allocate(10)
    assert fake.calls[-1] == ("cuCtxSetCurrent", 71)


def test_a_context_that_is_current_is_not_set_again(fake: Fake) -> None:
    device = driver.Driver(0)
    fake.current = 70
    device.launch(3, (2, 256), 4096, 7)
    assert "cuCtxSetCurrent" not in [c[0] for c in fake.calls]


def test_pinned_memory_is_given_back_in_the_devices_context(fake: Fake) -> None:
    staging = driver.Driver(0).staging(8)
    fake.calls.clear()
    del staging
    gc.collect()
    names = [c[0] for c in fake.calls]
    assert names[:2] == ["cuCtxGetCurrent", "cuCtxSetCurrent"]
    assert names.count("cuMemFreeHost") == 2


def test_addresses_are_not_copied_into_a_graph(fake: Fake) -> None:
    device = driver.Driver(0)
    staging = device.staging(8)
    fake.calls.clear()
    with pytest.raises(fastrms.DeviceError, match=r"captured into a graph.* before the capture"):
        device.upload(4096, staging, np.ones(1), 77)
    assert not [c for c in fake.calls if "Memcpy" in c[0]]


def test_a_launch_and_a_read_are_in_the_streams_order(fake: Fake) -> None:
    device = driver.Driver(0)
    fake.calls.clear()
    device.launch(3, (2, 256), 4096, 7)
    assert fake.calls[-2] == ("cuLaunchKernel", 3, 2, 1, 1, 256, 1, 1, 0, 7, 4096, 0)
    device.read(4096, np.ones(3), 7)
    assert [c[0] for c in fake.calls[-3:-1]] == ["cuMemcpyDtoHAsync", "cuStreamSynchronize"]
    device.order(1, 7)
    names = [c[0] for c in fake.calls[-5:-1]]
    assert names == ["cuEventCreate", "cuEventRecord", "cuStreamWaitEvent", "cuEventDestroy"]


@pytest.mark.parametrize(
    ("first", "then", "waits"),
    [(1, 7, True), (1, 77, False), (7, 77, False), (77, 7, True), (77, 78, True)],
)
def test_a_stream_that_is_captured_waits_for_no_work_outside(
    fake: Fake, first: int, then: int, waits: bool
) -> None:
    device = driver.Driver(0)
    fake.calls.clear()
    device.order(first, then)
    assert [c for c in fake.calls if c[0] == "cuStreamWaitEvent"] == (
        [("cuStreamWaitEvent", then, 3, 0)] if waits else []
    )


def test_a_compiler_that_is_missing_is_named(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    target = pytest.importorskip("fastrms.cuda.target")

    def missing(*given: Any) -> Any:
        raise RuntimeError("Failure finding libnvvm.so")

    monkeypatch.setattr(target, "machine", driver.Driver)
    monkeypatch.setattr(target, "supported", lambda capability: capability)
    monkeypatch.setattr(target, "ptx", missing)
    with pytest.raises(
        fastrms.DeviceError, match=r"finding libnvvm.so.*fastrms\[cuda\].*CUDA_HOME"
    ):
        target.loaded(0, lambda: None, ("float32",))


@pytest.mark.parametrize(
    ("given", "whole", "expected"),
    [
        ({}, True, "toolkit"),
        ({}, False, None),
        ({"CUDA_HOME": "mine"}, True, "mine"),
        ({"CUDA_PATH": "mine"}, True, None),
    ],
    ids=["found", "without NVVM", "named", "named by its other name"],
)
def test_a_toolkit_is_named_while_code_is_made(
    given: dict[str, str],
    whole: bool,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    place = tmp_path / "toolkit"
    for folder in ("bin", "nvvm") if whole else ("bin",):
        (place / folder).mkdir(parents=True)
    (place / "bin" / "nvcc").touch(0o755)
    monkeypatch.setattr(toolkit, "_USUAL", tmp_path / "nothing")
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**given, "PATH": str(place / "bin")}.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with toolkit.named():
        seen = os.environ.get("CUDA_HOME")
    assert seen == (str(place) if expected == "toolkit" else expected)
    assert dict(os.environ) == before


def test_a_toolkit_is_named_by_one_thread_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who came second would see the name as the user's, and lose it to the end of the first."""
    (tmp_path / "nvvm").mkdir()
    monkeypatch.setattr(toolkit, "_USUAL", tmp_path)
    for name in ("CUDA_HOME", "CUDA_PATH", "PATH"):
        monkeypatch.delenv(name, raising=False)
    seen: list[Any] = []

    def second() -> None:
        with toolkit.named():
            seen.append(os.environ.get("CUDA_HOME"))

    other = threading.Thread(target=second)
    with toolkit.named():
        other.start()
        other.join(0.05)
        assert not seen
    other.join()
    assert seen == [str(tmp_path)]


def test_nothing_is_copied_for_empty_arrays(fake: Fake) -> None:
    device = driver.Driver(0)
    device.write(4096, np.ones(0), 1)
    device.read(4096, np.ones(0), 1)
    device.clear(4096, 0, 1)
    device.copy(4096, 8192, 0, 1)
    assert not [c for c in fake.calls if "Memcpy" in c[0] or "Memset" in c[0]]


def test_an_error_names_the_call_and_the_reason(fake: Fake) -> None:
    device = driver.Driver(0)
    fake.failing = "cuMemAlloc"
    with pytest.raises(fastrms.DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY to cuMemAlloc") as seen:
        device.allocate(1 << 40)
    assert seen.value.code == "CUDA_ERROR_OUT_OF_MEMORY"  # type: ignore[attr-defined]


def test_an_address_on_no_device_is_told(fake: Fake) -> None:
    device = driver.Driver(0)
    fake.failing = "cuPointerGetAttribute"
    with pytest.raises(TypeError, match=r"memory at its address 0x10, freed .*CUDA_ERROR_OUT_OF"):
        device.device_of(16)


def test_a_device_that_is_not_there_is_refused(fake: Fake) -> None:
    with pytest.raises(fastrms.DeviceError, match="no CUDA device 1; valid: 0 to 0"):
        driver.Driver(1)


def test_devices_are_described_without_a_context(fake: Fake) -> None:
    (line,) = driver.described()
    assert line.startswith(
        "0: NVIDIA H100, compute capability 9.0, 81920 MiB, driver for CUDA 13.0"
    )
    assert "cuDevicePrimaryCtxRetain" not in [c[0] for c in fake.calls]


def test_a_missing_package_is_named_only_when_an_array_on_a_gpu_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Elsewhere:
        __cuda_array_interface__ = {  # noqa: RUF012
            "shape": (2,), "typestr": "<f4", "data": (4096, False), "version": 3,
        }  # fmt: skip

    monkeypatch.setattr("fastrms.cuda.reason", lambda: "numba-cuda is not installed; install it")
    opt = fastrms.RMSprop()
    opt.build([np.ones(2)])
    missing = "on a GPU cannot be used here: numba-cuda is not installed; install it. Valid"
    with pytest.raises(fastrms.DeviceError, match=missing):
        fastrms.RMSprop().build([Elsewhere()])
    with pytest.raises(fastrms.DeviceError, match=missing):
        fastrms.Variable([1.0], device="cuda")


@pytest.mark.skipif(fastrms.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    "command",
    [
        ["-m", "fastrms", "demo", "--device", "cuda"],
        ["scripts/gpu_check.py", "--quick"],
        ["scripts/benchmark.py", "--device", "cuda"],
    ],
    ids=["demo", "check", "benchmark"],
)
def test_programs_say_what_is_missing_for_a_gpu(command: list[str]) -> None:
    pytest.importorskip("rich")
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT)
    said = done.stdout + done.stderr
    assert done.returncode in (1, 2)
    assert fastrms.cuda.reason() in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("replaced", "said"),
    [("numba_cuda", "numba-cuda is not installed; pip install"), ("", "no kernel could be made")],
    ids=["numba-cuda", "what it needs"],
)
def test_the_cost_of_a_kernel_names_what_is_missing(replaced: str, said: str) -> None:
    """Without numba-cuda, or where making a kernel fails: a line, not a traceback."""
    program = (
        "import importlib.util, runpy, sys; sys.argv = ['cuda_compile.py']; "
        f"importlib.util.find_spec = lambda name: None if name == {replaced!r} else 1; "
        "sys.executable = '/bin/false'; "
        "runpy.run_path('scripts/cuda_compile.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), (9, 0)), ((7, 5), (7, 5))])
def test_code_is_made_for_the_device(capability: Any, expected: Any) -> None:
    target = pytest.importorskip("fastrms.cuda.target")
    pytest.importorskip("numba_cuda")
    assert target.supported(capability) == expected


def test_an_old_device_is_refused() -> None:
    target = pytest.importorskip("fastrms.cuda.target")
    pytest.importorskip("numba_cuda")
    with pytest.raises(fastrms.DeviceError, match=r"capability \(7, 0\) is not supported"):
        target.supported((7, 0))
