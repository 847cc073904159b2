"""The check for machines with a GPU works: it replays recordings, and no section stops another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastrms
import replay

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import gpu_check  # noqa: E402
from gpu_twin import ScaledTwin, Twin  # noqa: E402

SPECIAL = ("sparse", "lso_kwargs", "constraint_on", "exclude_from_weight_decay")


def chosen() -> list[Any]:
    """Return a recording of each kind that is not a plain step, of each dialect."""
    found: dict[Any, Any] = {}
    for system in replay.SYSTEMS:
        for case in replay.runs(system):
            for kind in SPECIAL:
                if case.about.get(kind) not in (None, False):
                    found.setdefault((case.dialect, kind), case)
    return list(dict.fromkeys(found.values()))


@pytest.mark.parametrize("case", chosen(), ids=str)
def test_recordings_give_the_bits_of_the_host(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastrms, "RMSprop", Twin)
    monkeypatch.setattr(fastrms, "LossScaleOptimizer", ScaledTwin)
    Twin.worst.clear()
    replay.replay(case)
    assert Twin.worst == {case.dialect: 0}


def test_what_fails_is_said_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(quick: bool) -> None:
        raise RuntimeError("an illegal address")

    monkeypatch.setattr(gpu_check, "BROKEN", [])
    monkeypatch.setitem(gpu_check.SECTIONS, "goldens", broken)
    monkeypatch.setitem(gpu_check.SECTIONS, "tables", lambda quick: print("     after"))
    assert gpu_check.inside(["goldens", "tables"]) == 1
    said = capsys.readouterr().out
    assert "FAIL goldens: RuntimeError at broken" in said
    assert said.endswith("     after\n")


def test_a_section_in_a_process_of_its_own() -> None:
    command = [sys.executable, str(ROOT / "scripts/gpu_check.py"), "--quick", "--only", "variables"]
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ}, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "ok   values are kept on cuda:0" in found.stdout
    assert "what does not hold or failed: nothing" in found.stdout


def test_the_readme_shows_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## On a GPU\n")[1]
    code, said = re.findall(r"```(?:py|text)\n(.*?)```", section, flags=re.S)[:2]
    exec(code, {})
    assert capsys.readouterr().out == said
