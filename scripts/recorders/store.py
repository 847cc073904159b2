"""Collects what a run shows and writes it as one npz per case and one index per system."""

import argparse
import json
import os
import platform
import re
import sys

import numpy as np

from inputs import MID_STEP, NAMES, RESUME_STEP, STEPS, Inputs

MESSAGE_LIMIT = 240
NOT_INDEXED = {
    "absent",
    "poison",
    "grad_dtype",
    "grad_scale",
    "start_scale",
    "trio",
    "unbuilt",
    "finalize",
}


class Trace:
    """The arrays of one run, appended to step by step."""

    def __init__(self):
        """Start an empty run."""
        self.rows = {}
        self.fixed = {}
        self.weights = {}
        self.starts = {}
        self.order = None
        self.steps = 0
        self.info = {}

    def feed(self, grads, mask):
        """Keep the gradients as fed and, where some are absent, their mask."""
        self.fixed.update((f"g{i}", grad) for i, grad in enumerate(grads))
        if mask.any():
            self.fixed["none_mask"] = mask

    def begin(self, params, weights=None):
        """Keep the values before the first step; no weights when they are created late."""
        self._params(params)
        if weights is None:
            return
        self.info["winit_zero"] = []
        for index, value in enumerate(weights):
            if np.any(np.asarray(value)):
                self.fixed[f"winit{index}"] = np.asarray(value)
            else:
                self.info["winit_zero"].append(index)

    def step(self, params, weights, **scalars):
        """Keep parameters, optimizer weights (a list, or by name) and scalars after a step."""
        self._params(params)
        if not isinstance(weights, dict):
            weights = dict(enumerate(weights))
        for name, value in weights.items():
            self.weights.setdefault(name, []).append(np.array(value))
            self.starts.setdefault(name, self.steps)
        for name, value in scalars.items():
            self.rows.setdefault(name, []).append(np.array(value))
        self.steps += 1

    def arrays(self):
        """Return all arrays by name."""
        out = dict(self.fixed)
        out.update((name, np.stack(rows)) for name, rows in self.rows.items())
        for index, name in enumerate(self.names()):
            out[f"w{index}"] = np.stack(self.weights[name])
        return out

    def names(self):
        """Return the keys of the weights in the order of the files."""
        known = self.order or sorted(self.weights)
        return [name for name in known if name in self.weights]

    def late(self):
        """Return the first step of each weight that did not exist from the beginning."""
        starts = [self.starts[name] for name in self.names()]
        return {str(index): start for index, start in enumerate(starts) if start}

    def _params(self, params):
        """Append one row to each parameter."""
        for index, value in enumerate(params):
            self.rows.setdefault(f"p{index}", []).append(np.array(value))


class Store:
    """The folder of one system: npz files and their index."""

    def __init__(self, out, system, versions):
        """Create the folder of the system."""
        self.system = system
        self.folder = os.path.join(out, system)
        self.entries = []
        self.versions = dict(versions, numpy=np.__version__, python=platform.python_version())
        if not os.path.isdir(self.folder):
            os.makedirs(self.folder)

    def record(self, case, run):
        """Run one case, keep its arrays or its exception."""
        trace = Trace()
        entry = {key: value for key, value in case.items() if key not in NOT_INDEXED}
        entry.update(system=self.system, id=f"{self.system}/{case['case']}")
        entry.setdefault("dtype", "float32")
        entry.setdefault("constraint_on", None)
        try:
            run(case, trace)
        except Exception as error:  # every failure of a foreign system is a result here
            message = re.sub('File "[^"]*"', 'File "..."', str(error))[:MESSAGE_LIMIT]
            kind = type(error).__name__
            entry["raises"] = {"type": kind, "message": message, "after_steps": trace.steps}
        else:
            self._write(case, trace, entry)
        entry.update(trace.info)
        entry["kwargs"] = plain(entry.get("kwargs", {}))
        self.entries.append(entry)
        return entry

    def close(self):
        """Write the index."""
        head = {"T": STEPS, "mid_step": MID_STEP, "resume_step": RESUME_STEP}
        head["systems"] = {self.system: {"n_cases": len(self.entries), "versions": self.versions}}
        head["variable_names"] = NAMES
        lines = [json.dumps(entry, sort_keys=True, default=str) for entry in self.entries]
        with open(os.path.join(self.folder, "index.json"), "w", encoding="utf-8") as stream:
            body = ",\n".join(lines)
            stream.write(f'{{"head": {json.dumps(head)},\n"cases": [\n{body}\n]}}\n')

    def _write(self, case, trace, entry):
        """Write the npz of a finished case and describe it in its entry."""
        arrays = trace.arrays()
        np.savez_compressed(os.path.join(self.folder, case["case"] + ".npz"), **arrays)
        entry["file"] = f"{self.system}/{case['case']}.npz"
        entry["n_weights"] = len(trace.weights)
        if trace.late():
            entry["weight_start"] = trace.late()
        params = [arrays[name] for name in (f"p{i}" for i in range(len(NAMES))) if name in arrays]
        if params:
            entry["shapes"] = [list(value.shape[1:]) for value in params]


def plain(value):
    """Replace what JSON cannot hold, and serialized code, by a description."""
    if isinstance(value, dict):
        if value.get("class_name") == "__lambda__":
            return "<function>"
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, np.generic):
        return value.item()
    return f"<{type(value).__name__}>"


def arguments(systems):
    """Parse the command line that all recorders share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--system", required=True, choices=systems)
    parser.add_argument("--inputs", required=True, help="a float64 golden: g{i} and p{i}")
    parser.add_argument("--sparse-inputs", help="a sparse float64 golden: si0, sv0 and p0")
    parser.add_argument("--trio-inputs", help="a golden of three equal shapes: g{i} and p{i}")
    parser.add_argument("--out", required=True, help="folder to write <system>/ into")
    parser.add_argument("--only", nargs="*", help="record these cases only")
    return parser.parse_args()


def record_all(options, cases, run, versions):
    """Record every case of a system and print one line for each."""
    inputs = Inputs(options.inputs, options.sparse_inputs, options.trio_inputs)
    store = Store(options.out, options.system, versions)
    for case in cases:
        if options.only and case["case"] not in options.only:
            continue
        if not inputs.has(case):
            continue
        entry = store.record(case, lambda item, trace: run(item, inputs, trace))
        raised = entry.get("raises")
        outcome = "raises " + raised["type"] if raised else "ok"
        sys.stdout.write(f"{entry['id']} {outcome}\n")
        sys.stdout.flush()
    store.close()
