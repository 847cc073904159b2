"""Pack recorded trajectories into the compact files that the tests read.

    python scripts/pack_goldens.py tests/goldens RAW_FOLDER [RAW_FOLDER ...] [--systems NAME]

A RAW_FOLDER holds `index.json` and the recorded cases as the recorders in `scripts/recorders`
write them; a later folder adds the cases that earlier ones do not have. Each system becomes
`<system>.json` (the cases and where their arrays lie) and `<system>.npz` (one flat array per
dtype, equal arrays stored once).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np


class Store:
    """Flat arrays by dtype; equal arrays share a place."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray[Any, Any]]] = {}
        self.sizes: dict[str, int] = {}
        self.places: dict[Any, list[Any]] = {}

    def add(self, array: np.ndarray[Any, Any]) -> list[Any]:
        """Store an array; return its dtype, shape and first element's place."""
        name = array.dtype.str.lstrip("<|=")
        key = (name, array.shape, array.tobytes())
        if key not in self.places:
            first = self.sizes.get(name, 0)
            self.parts.setdefault(name, []).append(array.ravel())
            self.sizes[name] = first + array.size
            self.places[key] = [name, list(array.shape), first]
        return self.places[key]


def load(folder: Path, file: str) -> dict[str, np.ndarray[Any, Any]]:
    """Read one case; paths in an index start at the folder or at the one above."""
    path = folder / file
    with np.load(path if path.exists() else folder.parent / file) as arrays:
        return {name: arrays[name] for name in arrays.files}


def cleaned(case: dict[str, Any]) -> dict[str, Any]:
    """Drop what names the recording machine: paths, pickled code, addresses."""
    entry = {k: v for k, v in case.items() if k not in ("file", "id", "system")}
    if "raises" in entry:
        lines = entry["raises"]["message"].strip().splitlines()
        entry["raises"] = {**entry["raises"], "message": lines[0][:200] if lines else ""}
    for key in ("get_config", "kwargs"):
        values = entry.get(key) or {}
        entry[key] = {k: v for k, v in values.items() if "lambda" not in str(v)}
        if isinstance(values.get("learning_rate"), dict):
            entry[key].pop("learning_rate", None)
    return entry


def pack(system: str, folders: list[Path], target: Path) -> int:
    """Write one system's two files; return how many cases they hold."""
    store, packed, versions = Store(), {}, {}
    for folder in folders:
        index = json.loads((folder / "index.json").read_text())
        if system not in index["head"]["systems"]:
            continue
        versions = versions or index["head"]["systems"][system]["versions"]
        for case in index["cases"]:
            if case["system"] != system or case["case"] in packed:
                continue
            packed[case["case"]] = entry = cleaned(case)
            if "file" in case:
                arrays = load(folder, case["file"])
                entry["arrays"] = {name: store.add(array) for name, array in arrays.items()}
    flat = {name: np.concatenate(parts) for name, parts in store.parts.items()}
    np.savez_compressed(target / f"{system}.npz", **flat)
    head = json.dumps({"system": system, "versions": versions}, sort_keys=True)
    lines = (json.dumps(c, sort_keys=True, separators=(",", ":")) for c in packed.values())
    text = head[:-1] + ', "cases": [\n' + ",\n".join(lines) + "\n]}\n"
    (target / f"{system}.json").write_text(text)
    return len(packed)


def main() -> None:
    """Pack every system of the raw folders, or the named ones."""
    parser = argparse.ArgumentParser(description="Pack recorded trajectories for the tests.")
    parser.add_argument("target", type=Path)
    parser.add_argument("raw", type=Path, nargs="+")
    parser.add_argument("--systems", nargs="*")
    arguments = parser.parse_args()
    systems = set(arguments.systems or ())
    for folder in arguments.raw if not systems else ():
        systems |= set(json.loads((folder / "index.json").read_text())["head"]["systems"])
    arguments.target.mkdir(parents=True, exist_ok=True)
    for system in sorted(systems):
        print(f"{system}: {pack(system, arguments.raw, arguments.target)} cases")


if __name__ == "__main__":
    main()
