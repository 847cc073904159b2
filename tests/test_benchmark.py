"""The benchmark runs, and its report says what it should; no time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_quick_run_prints_ratios(tmp_path):
    groups = ("limit", "many", "few", "norms", "subnormal", "memory")
    chosen = [argument for group in groups for argument in ("--only", group)]
    files = ["--json", str(tmp_path / "numbers.json"), "--png", str(tmp_path / "picture.png")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--quick", *chosen, *files],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    assert "Machine: " in done.stdout
    assert "Yardstick cross-check" in done.stdout
    assert "Where we lose or miss a bar:" in done.stdout
    rows = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) >= 20
    for row in rows:
        assert not row["problem"], row
        assert len(row["values"]) == 1, row
        assert isinstance(row["met"], bool), row
        assert row["work"] in done.stdout
    ratios = [row for row in rows if "limit" in row["bar"] or row["bar"].endswith("x")]
    assert ratios
    assert all(row["measured"] > 0 for row in ratios)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_peers_are_listed_even_where_none_is_installed():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from benchmarking.peers import PEERS
        from benchmarking.session import unmeasured_peers
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    for peer in PEERS.values():
        absent = peer._replace(modules=("no_such_module",))
        assert absent.missing == "pip install no_such_module"
    rows = unmeasured_peers("missing: pip install torch")
    assert {row.met for row in rows} == {None}
    for name in ("torch.compile", "optax jit", "torch foreach", "Keras 3"):
        assert any(name in row.work for row in rows)
