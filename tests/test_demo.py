"""`fastrms demo`: its data, its network, its proof, and the whole of it as a user runs it."""

import hashlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from fastrms import cli
from fastrms.demo import command, network, processes, report, training
from fastrms.demo.digits import PATH, load_digits
from fastrms.demo.state import differences, load_state, save_state

EPOCHS = 8
Finished = tuple[subprocess.CompletedProcess[str], Path]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """Run the demo piped, without a display and without a home, in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "temporary").mkdir()
    # A module of the user's that children must not take for Python's.
    (folder / "random.py").write_text("raise SystemExit('shadowed')")
    hidden = {"DISPLAY", "MPLCONFIGDIR", "FORCE_COLOR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HOME": "/nonexistent", "TMPDIR": str(folder / "temporary")}
    program = "import sys; sys.path.remove(''); from fastrms.cli import main; sys.exit(main())"
    return (
        subprocess.run(
            [sys.executable, "-c", program, "demo", "--epochs", str(EPOCHS)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        ),
        folder,
    )


def test_demo_holds_what_it_claims(
    finished: Finished,
) -> None:
    process, _ = finished
    assert process.returncode == 0, process.stderr
    assert "Warning" not in process.stderr
    rows = {
        cells[1].strip(): cells[2].strip()
        for cells in (line.split("│") for line in process.stdout.splitlines())
        if len(cells) > 2
    }
    assert rows["Resumed bit-equal"] == "yes"
    assert float(rows["Test accuracy"].rstrip("%")) >= 93
    assert rows["State saved"] == f"step {EPOCHS * 22 + 1} of {EPOCHS * 44}"
    assert {"Steps/s", "In the optimizer", "First 10 steps"} <= rows.keys()


def test_piped_output_has_plain_lines_and_no_escape_codes(
    finished: Finished,
) -> None:
    process, _ = finished
    assert "\x1b" not in process.stdout + process.stderr
    assert "\r" not in process.stdout
    for line in ("without a stop", "stops half-way", "new process resumes", "  step   352 of 352"):
        assert line in process.stdout


def test_demo_leaves_one_picture_and_no_temporary_file(
    finished: Finished,
) -> None:
    _, folder = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "fastrms-demo.png",
        "random.py",
        "temporary",
    ]
    assert list((folder / "temporary").iterdir()) == []
    picture = (folder / "fastrms-demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert np.frombuffer(picture[16:24], ">u4").tolist() == [1760, 720]


def test_one_changed_bit_in_the_saved_state_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_and_tamper(
        task: training.Task, on_event: report.Listener
    ) -> tuple[processes.Event, str]:
        end = processes.run_task(task, on_event)
        if Path(task.save).name == "middle.npz":
            state = load_state(Path(task.save))
            slot = max(name for name in state if name.startswith("optimizer/"))
            state[slot].view(np.uint8).reshape(-1)[2] ^= 0x40
            save_state(Path(task.save), state)
        return end

    monkeypatch.setattr(command, "run_task", run_and_tamper)
    assert command.run_demo(EPOCHS, tmp_path / "curve.png") == 1
    said = capsys.readouterr()
    assert "Resumed bit-equal │ no" in said.out
    assert "not bit-equal to the uninterrupted one; these arrays differ" in said.err
    assert "weights/output/bias" in said.err
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_training_runs_in_processes_of_their_own_with_one_blas_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    program = "import json, os; print(json.dumps({**os.environ, 'pid': os.getpid()}))"
    monkeypatch.setattr(processes, "_PROGRAM", program)
    seen = [processes.run_task(training.Task(1, "nowhere"), lambda _: None)[0] for _ in range(2)]
    assert len({event["pid"] for event in seen} | {os.getpid()}) == 3
    for library in ("OPENBLAS", "MKL", "OMP", "BLIS"):
        assert {event[f"{library}_NUM_THREADS"] for event in seen} == {"1"}


def test_a_failing_training_process_fails_the_demo_with_its_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_without_file(
        task: training.Task, on_event: report.Listener
    ) -> tuple[processes.Event, str]:
        missing = training.Task(task.stop, task.save, load=str(tmp_path / "missing.npz"))
        return processes.run_task(missing, on_event)

    monkeypatch.setattr(command, "run_task", run_without_file)
    assert command.run_demo(1, tmp_path / "curve.png") == 1
    message = capsys.readouterr().err
    assert "ended with exit code 1" in message
    assert "FileNotFoundError" in message


@pytest.mark.parametrize(("accuracy", "holds"), [(0.93, True), (0.92, False), (np.nan, False)])
def test_accuracy_is_a_claim(accuracy: float, holds: bool) -> None:
    state = {"accuracies": np.array([0.99, accuracy]), "losses": np.zeros(88)}
    seconds = [[[1.0, 1.0]] * steps for steps in (88, 45, 43)]
    evidence = command.Evidence(state, dict(state), seconds, 45, "nowhere")
    assert list(command.broken_claims(evidence)) == ([] if holds else ["Test accuracy"])


def test_starting_again_from_the_beginning_is_not_resuming() -> None:
    state = {"accuracies": np.ones(2), "losses": np.zeros(88)}
    seconds = [[[1.0, 1.0]] * steps for steps in (88, 45, 88)]
    broken = command.broken_claims(command.Evidence(state, dict(state), seconds, 45, "nowhere"))
    assert list(broken) == ["State saved"]
    assert "[88, 45, 88] steps, and the stop was at 45" in broken["State saved"]


def test_bars_are_drawn_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    console = Console(file=Terminal(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with report.progress(console) as announce:
        listen = announce("resumes", 10, 20)
        listen({"step": 15, "loss": 0.5, "accuracy": 0.75})
        listen({"step": 20, "seconds": []})
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[" in text
    assert "100%" in text
    assert "accuracy  75.0%" in text


def test_digits_are_those_of_the_uci_test_part() -> None:
    assert PATH.stat().st_size < 100_000
    note = PATH.with_suffix(".md").read_text()
    assert "Alpaydin" in note
    assert "CC BY 4.0" in note
    with np.load(PATH, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    assert (images.shape, images.dtype, images.max()) == ((1797, 8, 8), np.uint8, 16)
    # The class distribution that the UCI repository states for optdigits.tes.
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_split_keeps_every_image_once() -> None:
    digits, again = load_digits(), load_digits()
    assert [len(part) for part in digits] == [1437, 1437, 360, 360]
    assert all(np.array_equal(a, b) for a, b in zip(digits, again, strict=True))
    with np.load(PATH, allow_pickle=False) as archive:
        expected = archive["images"].reshape(1797, 64) / np.float32(16)
    rows = np.concatenate([digits.train_images, digits.test_images])
    assert sorted(map(bytes, rows)) == sorted(map(bytes, expected))


def test_gradients_equal_finite_differences() -> None:
    generator, weights = np.random.default_rng(3), network.initial_weights(7)
    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    images, labels = generator.random((5, 64)), generator.integers(0, 10, 5)
    _, gradients = network.loss_and_gradients(weights, images, labels)
    for name, array in weights.items():
        direction = generator.standard_normal(array.shape)
        losses = []
        for step in (1e-6, -1e-6):
            moved = {**weights, name: array + step * direction}
            losses.append(network.loss_and_gradients(moved, images, labels)[0])
        expected = (losses[0] - losses[1]) / 2e-6
        assert np.sum(gradients[name] * direction) == pytest.approx(expected, rel=1e-5)


def test_state_survives_the_file_bit_for_bit(tmp_path: Path) -> None:
    run = training.start()
    training.train(run, 50, lambda *_: None)
    state = training.to_state(run)
    save_state(tmp_path / "state.npz", state)
    loaded = load_state(tmp_path / "state.npz")
    assert differences(state, loaded) == []
    resumed = training.from_state(loaded)
    assert resumed.optimizer.iterations == 50
    assert differences(state, training.to_state(resumed)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_state_without_its_slots_does_not_resume_equal() -> None:
    run = training.start()
    training.train(run, 5, lambda *_: None)
    state = training.to_state(run)
    for name in state:
        if name.startswith("optimizer/") and state[name].ndim:
            state[name] = np.zeros_like(state[name])
    resumed = training.from_state(state)
    for each in (run, resumed):
        training.train(each, 6, lambda *_: None)
    found = differences(training.to_state(run), training.to_state(resumed))
    assert "weights/hidden/kernel" in found


def test_an_object_array_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    save_state(path, {"a": np.arange(3)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        save_state(path, {"a": np.array([{}])})
    assert load_state(path)["a"].tolist() == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def test_a_process_killed_while_saving_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    save_state(path, {"a": np.arange(3)})
    program = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from fastrms.demo import state\n"
        "state.os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
        "state.save_state(Path(sys.argv[1]), {'a': np.ones(3)})\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert load_state(path)["a"].tolist() == [0, 1, 2]


def test_differences_sees_values_that_compare_equal() -> None:
    first = {"same": np.ones(2), "sign": np.array([0.0]), "type": np.ones(1), "gone": np.ones(1)}
    second = {
        "same": np.ones(2),
        "sign": np.array([-0.0]),
        "type": np.ones(1, np.float32),
        "new": np.ones(1),
    }
    assert differences(first, second) == ["gone", "new", "sign", "type"]
    assert differences({"nan": np.array(np.nan)}, {"nan": np.array(np.nan)}) == []


def test_a_gpu_that_is_not_there_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("fastrms.cuda.reason", lambda: "numba-cuda is not installed")
    arguments = ["demo", "--device", "cuda", "--out", str(tmp_path / "curve.png")]
    assert cli.main(arguments) == 2
    assert "cannot train on cuda: numba-cuda is not installed" in capsys.readouterr().err


def test_a_cupy_that_does_not_work_is_named(capsys, tmp_path, monkeypatch):
    def asarray(array):
        raise ImportError("libcublas.so.13:\ncannot open shared object file")

    monkeypatch.setattr("fastrms.cuda.reason", lambda: "")
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(asarray=asarray))
    arguments = ["demo", "--device", "cuda", "--out", str(tmp_path / "curve.png")]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert "CuPy does not work here: libcublas.so.13: cannot open shared object file" in said
    assert not (tmp_path / "curve.png").exists()


def test_training_on_a_device_is_the_same_code(monkeypatch):
    """A CuPy made of NumPy: every array has to come through `asarray` and leave through `get`."""
    moved = []

    class Moved(np.ndarray):
        def get(self):
            return np.array(self)

    def asarray(array):
        moved.append(array.shape)
        return np.array(array).view(Moved)

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(asarray=asarray))
    here, there = training.start(), training.start("cuda")
    for run, device in ((here, "cpu"), (there, "cuda")):
        training.train(run, 3, lambda *_: None, device)
    assert all(isinstance(array, Moved) for array in there.weights.values())
    states = [training.to_state(run) for run in (here, there)]
    again = training.to_state(training.from_state(states[1], "cuda"))
    # Two optimizers of one process have two names.
    assert differences(states[0], states[1]) == ["config"]
    assert not differences(states[1], again)
    assert len(moved) == 4 + 4 + 3 + 4
