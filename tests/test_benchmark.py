"""The benchmark runs, and its report says what it should; no time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"


def quick_run(folder: Path, *groups: str) -> tuple[str, list[dict[str, object]]]:
    """Measure some groups of rows with small arrays; return the report and its rows as data."""
    chosen = [argument for group in groups for argument in ("--only", group)]
    files = ["--json", str(folder / "numbers.json"), "--png", str(folder / "picture.png")]
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "benchmark.py"), "--quick", *chosen, *files],
        capture_output=True,
        text=True,
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))["rows"]
    return done.stdout, rows


def check(report: str, rows: list[dict[str, object]]) -> None:
    """Every row has its number, its bar and its answer in the report."""
    assert "Machine: " in report
    assert "Versions: fastrms " in report
    assert "Where we lose or miss a bar:" in report
    for row in rows:
        assert not row["problem"], row
        assert len(row["values"]) == 1, row
        assert isinstance(row["met"], bool), row
        assert f"| {row['work']} | {row['bar']} |" in report


def test_a_quick_run_prints_ratios(tmp_path):
    report, rows = quick_run(tmp_path, "many", "memory")
    check(report, rows)
    ratios = [row["measured"] for row in rows if str(row["bar"]).endswith("x")]
    assert ratios
    assert all(ratio > 0 for ratio in ratios)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_every_row_without_a_peer_can_be_measured(tmp_path):
    groups = ("limit", "few", "variables", "norms", "subnormal", "scripts", "start")
    report, rows = quick_run(tmp_path, *groups)
    check(report, rows)
    assert "Yardstick cross-check" in report
    assert len(rows) == 8 + 2 + 4 + 4 + 4 + 1 + 5


@pytest.mark.slow
def test_files_are_measured_beside_numpy_safetensors_and_h5py(tmp_path):
    report, rows = quick_run(tmp_path, "checkpoints")
    check(report, rows)
    works = [str(row["work"]) for row in rows]
    for part in ("write .npz", "read .safetensors", "(isolated)", "(trusted)", "peak", "crc32c"):
        assert any(part in work for work in works), part
    assert len(rows) == 7 + 9 + 2


def test_peers_are_listed_even_where_none_is_installed(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarking.peers import PEERS
    from benchmarking.session import unmeasured_peers

    for peer in PEERS.values():
        absent = peer._replace(modules=("no_such_module",))
        assert absent.missing == "pip install no_such_module"
    rows = unmeasured_peers("missing: pip install torch")
    assert {row.met for row in rows} == {None}
    for name in ("torch.compile", "optax jit", "torch foreach", "Keras 3"):
        assert any(name in row.work for row in rows)
