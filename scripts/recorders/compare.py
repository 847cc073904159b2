"""Compares re-created runs with recorded ones and prints one line per system or case."""

import argparse
import json
import os

import numpy as np


def load_index(path, system):
    """Return the entries of one system by case name."""
    with open(path) as stream:
        entries = json.load(stream)["cases"]
    return {entry["case"]: entry for entry in entries if entry["system"] == system}


def array_difference(truth, value):
    """Return the scaled difference; infinite when shapes, types, NaN or integers differ."""
    if truth.shape != value.shape or truth.dtype != value.dtype:
        return np.inf
    if truth.dtype.kind not in "fc":
        return 0.0 if np.array_equal(truth, value) else np.inf
    odd = ~np.isfinite(truth)
    if not np.array_equal(truth[odd], value[odd], equal_nan=True):
        return np.inf
    if not np.array_equal(odd, ~np.isfinite(value)):
        return np.inf
    a, b = truth[~odd].astype("float64"), value[~odd].astype("float64")
    scale = np.max(np.abs(a)) if a.size else 0.0
    return float(np.max(np.abs(a - b)) / scale) if scale else float(np.any(b != 0))


def case_difference(truth_path, path):
    """Return (worst scaled difference, its array) over the arrays of the true file."""
    worst, where = 0.0, None
    with np.load(truth_path) as truth, np.load(path) as mine:
        for name in truth.files:
            if name not in mine.files:
                return np.inf, name + " missing"
            found = array_difference(truth[name], mine[name])
            if found > worst:
                worst, where = found, name
        extra = sorted(set(mine.files) - set(truth.files))
    return worst, where or (("extra " + ",".join(extra)) if extra else None)


def entry_differences(truth, mine):
    """Return the common index fields that differ, addresses in texts aside."""
    keys = set(truth) & set(mine) | {"file", "raises"} & (set(truth) | set(mine))
    out = []
    for key in sorted(keys):
        if truth.get(key) != mine.get(key) and "<function" not in str(truth.get(key)):
            out.append(key)
    return out


def compare_system(truth_root, root, system, show):
    """Return the summary line of one system, printing its cases when asked."""
    truth = load_index(os.path.join(truth_root, "index.json"), system)
    mine = load_index(os.path.join(root, system, "index.json"), system)
    exact, worst, bad = 0, 0.0, []
    common = [name for name in truth if name in mine]
    files = [name for name in common if "file" in truth[name] and "file" in mine[name]]
    for name in common:
        fields = entry_differences(truth[name], mine[name])
        found, where = 0.0, None
        if name in files:
            paths = [os.path.join(base, truth[name]["file"]) for base in (truth_root, root)]
            found, where = case_difference(*paths)
            exact += found == 0
            worst = max(worst, found) if np.isfinite(found) else worst
        if not np.isfinite(found) or {"file", "raises"} & set(fields):
            bad.append(name)
        if show and (found or fields or where):
            print(f"  {name}: {found:g} {where or ''} {','.join(fields)}")
    left = sorted(set(truth) - set(mine))
    line = "| `%s` | %d of %d | %d of %d | %.1e | %s | %s |"
    counts = (len(common), len(truth), exact, len(files), worst)
    return line % ((system,) + counts + (", ".join(bad) or "-", ", ".join(left) or "-"))


def main():
    """Compare the systems named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("truth", help="folder with index.json and <system>/")
    parser.add_argument("mine", help="folder with <system>/index.json")
    parser.add_argument("systems", nargs="+")
    parser.add_argument("--cases", action="store_true", help="print every differing case")
    options = parser.parse_args()
    lines = [compare_system(options.truth, options.mine, s, options.cases) for s in options.systems]
    print("| system | cases | bit-equal | worst scaled difference | mismatch | not recorded |")
    print("|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
