"""Pack recorded trajectories into the compact files that the tests read.

    python scripts/pack_goldens.py RAW_FOLDER tests/goldens [SYSTEM ...]

RAW_FOLDER holds `index.json` and `<system>/<case>.npz` as the recorders in `scripts/recorders`
write them (or one such folder per system). Each system becomes `<system>.json` (the cases and
where their arrays lie) and `<system>.npz` (one flat array per dtype, equal arrays stored once).
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


def pack(folder: Path, system: str, cases: list[dict[str, Any]], head: Any, target: Path) -> None:
    """Write one system's two files."""
    store, packed = Store(), []
    for case in cases:
        entry = {k: v for k, v in case.items() if k not in ("file", "id", "system")}
        if "file" in case:
            with np.load(folder / case["file"]) as arrays:
                entry["arrays"] = {name: store.add(arrays[name]) for name in arrays.files}
        packed.append(entry)
    flat = {name: np.concatenate(parts) for name, parts in store.parts.items()}
    np.savez_compressed(target / f"{system}.npz", **flat)
    about = {"system": system, "versions": head, "cases": packed}
    lines = ",\n".join(json.dumps(c, sort_keys=True, separators=(",", ":")) for c in packed)
    about.pop("cases")
    text = json.dumps(about, sort_keys=True)[:-1] + ', "cases": [\n' + lines + "\n]}\n"
    (target / f"{system}.json").write_text(text)


def main() -> None:
    """Pack every system of a raw folder, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("systems", nargs="*")
    arguments = parser.parse_args()
    index = json.loads((arguments.raw / "index.json").read_text())
    systems = arguments.systems or sorted(index["head"]["systems"])
    arguments.target.mkdir(parents=True, exist_ok=True)
    for system in systems:
        cases = [c for c in index["cases"] if c["system"] == system]
        head = index["head"]["systems"][system]["versions"]
        pack(arguments.raw, system, cases, head, arguments.target)
        print(f"{system}: {len(cases)} cases")


if __name__ == "__main__":
    main()
