"""The `fastrms` command: help, version, wrong use, missing extras."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastrms
from fastrms import cli

# None in sys.modules is how Python itself marks a module that cannot be imported.
WITHOUT_EXTRAS = (
    "import sys; sys.modules['rich'] = sys.modules['matplotlib'] = None; "
    "from fastrms.cli import main; sys.exit(main())"
)


def _run_without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["demo", "--help"]])
def test_help_and_version_need_no_extra(arguments: list[str]) -> None:
    process = _run_without_extras(*arguments)
    assert (process.returncode, process.stderr) == (0, "")
    assert "fastrms" in process.stdout


def test_a_missing_extra_is_one_line_with_its_pip_command(tmp_path: Path) -> None:
    process = _run_without_extras("demo", "--out", str(tmp_path / "curve.png"))
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == (
        "fastrms demo: rich and matplotlib not installed; "
        "install with: pip install 'fastrms[demo]'\n"
    )


def test_import_is_light() -> None:
    program = (
        "import sys, fastrms.cli; "
        "sys.exit(any(name in sys.modules for name in ('rich', 'matplotlib', 'fastrms.demo')))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "fastrms", "--version"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert process.stdout == f"fastrms {fastrms.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND is missing (choose from demo, info, inspect, convert, diff)"),
        (["train"], "invalid choice: 'train'"),
        (["--wat"], "unknown: --wat"),
        (["demo", "--epoch", "3"], "unknown: --epoch 3"),
        (["demo", "--epochs", "0"], "must be a whole number from 1 to 1000, got '0'"),
        (["demo", "--epochs", "many"], "must be a whole number from 1 to 1000, got 'many'"),
        (["demo", "--out", "curve.pdf"], "must end in .png, got 'curve.pdf'"),
        (["demo", "--out", "folder.png"], "is a folder, got 'folder.png'"),
        (["demo", "--out", "no/curve.png"], "lies in a folder that does not exist, got 'no/"),
        (["demo", "--out", "/proc/curve.png"], "lies in a folder where no file can be made"),
        (["demo", "--out", "locked.png"], "may not be written to, got 'locked.png'"),
    ],
)
def test_wrong_use_says_what_and_what_is_valid(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    # Root may write to any file, so the answer for this one is given here.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked.png")
    Path("folder.png").mkdir()
    Path("locked.png").touch()
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert message in said
    assert said.startswith("usage: fastrms demo" if "demo" in arguments else "usage: fastrms [-h]")


def test_an_interrupt_ends_with_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(epochs: int, out: Path, device: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_demo", interrupt)
    assert cli.main(["demo", "--out", str(tmp_path / "curve.png")]) == 130
    assert capsys.readouterr().err == "fastrms: interrupted\n"


def test_info_prints_versions_threads_cache_and_gpus(capsys):
    assert cli.main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["fastrms"] == fastrms.__version__
    assert lines["threads"] == str(fastrms.get_num_threads())
    assert set(lines) >= {"Python", "numpy", "numba", "numba-cuda", "processor", "cache", "GPU"}
    assert fastrms.cuda.is_available() or lines["GPU"].startswith("none: ")


def test_info_takes_nothing_else(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["info", "--all"])
    assert stop.value.code == 2
    assert "unknown: --all" in capsys.readouterr().err
