"""The commands on checkpoints: what they do and what they exit with."""

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.files import load, save
from fastrms.checkpoint.registry import format_of_suffix
from fastrms.errors import CheckpointError, FastrmsError
from fastrms.tools.facts import differences, inspected
from fastrms.tools.printing import progress, table

DONE, DIFFERENT, REFUSED = 0, 1, 2
_OPTIONS = {
    "lossy=True": "--lossy",
    "load it with dialect=...": "pass --source-dialect",
    "checkpoint.convert(dialect)": "--dialect",
    "convert() to": "pass --dialect with",
    " Pass format=...": "",
    "leave template= out": "leave --template out",
}


def run(options: argparse.Namespace) -> int:
    """Carry out `inspect`, `convert` or `diff`.

    Parameters
    ----------
    options : argparse.Namespace
        The parsed command line.

    Returns
    -------
    int
        0 done, 1 the files differ, 2 a file was refused.
    """
    commands = {"inspect": _inspect, "convert": _convert, "diff": _diff}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            code = commands[options.command](options)
        except (FastrmsError, ImportError, OSError) as error:
            if isinstance(error, OSError) and error.filename is None:
                raise  # it is our output that cannot be written
            print(f"fastrms {options.command}: {_in_options(str(error))}", file=sys.stderr)
            code = REFUSED
    for warning in caught:
        print(f"fastrms {options.command}: {warning.message}", file=sys.stderr)
    return code


def _in_options(message: str) -> str:
    """Say what to do in the words of the command line."""
    for argument, option in _OPTIONS.items():
        message = message.replace(argument, option)
    return message


def _loaded(path: str, dialect: str | None = None) -> Checkpoint:
    """Read a file under a progress bar."""
    with progress(f"reading {Path(path).name}", Path(path)):
        return load(path, dialect=dialect)


def _inspect(options: argparse.Namespace) -> int:
    """Show what a file holds."""
    facts = inspected(options.file, _loaded(options.file, options.source_dialect))
    if options.json:
        print(json.dumps(facts, indent=2, allow_nan=False))
        return DONE
    writer = " ".join(part for part in facts["writer"].values() if part)
    lines = [
        ["file", facts["path"]],
        ["format", facts["format"]],
        ["writer", writer],
        ["optimizer", facts["rule"]],
        ["dialect", facts["dialect"] or "not known"],
        ["iterations", "not in the file" if facts["iterations"] is None else facts["iterations"]],
        *([f"  {name}", value] for name, value in facts["config"].items()),
        *([f"loss scale {name}", value] for name, value in (facts["loss_scale"] or {}).items()),
        ["model weights", len(facts["weights"])],
    ]
    table("Checkpoint", ["what", "value"], [[name, _shown(value)] for name, value in lines])
    slots = list(dict.fromkeys(slot for v in facts["variables"] for slot in v["slots"]))
    rows = []
    for variable in facts["variables"]:
        cells = [variable["name"], str(tuple(variable["shape"])), variable["dtype"]]
        rows.append(cells + [_summary(variable["slots"].get(slot)) for slot in slots])
    if rows:
        head = ["variable", "shape", "dtype", *(f"{slot} (least, mean, most)" for slot in slots)]
        print()
        table(f"{len(rows)} variables, in the optimizer's order", head, rows)
    for note in facts["notes"]:
        print(f"note: {note}")
    return DONE


def _shown(value: Any) -> str:
    """Return a value as text on one line."""
    return value if isinstance(value, str) else json.dumps(value)


def _summary(found: dict[str, Any] | None) -> str:
    """Return a slot's statistics in one cell."""
    if found is None:
        return "none"
    numbers = [found["min"], found["mean"], found["max"]]
    cell = " ".join(f"{n:.3g}" if isinstance(n, float) else str(n) for n in numbers)
    return cell + (f" ({found['not_finite']} not finite)" if found["not_finite"] else "")


def _convert(options: argparse.Namespace) -> int:
    """Write a file's content in another format or dialect, read it again and compare."""
    target = Path(options.out)
    taken = [p for p in (target, Path(f"{target}.index")) if os.path.lexists(p)]
    if taken and not options.force:
        print(
            f"fastrms convert: {taken[0]} exists; choose another name, or pass --force to replace "
            "it.",
            file=sys.stderr,
        )
        return REFUSED
    kind = format_of_suffix(target)
    checkpoint = _loaded(options.file, options.source_dialect)
    if options.dialect is not None:
        if checkpoint.dialect is None and checkpoint.rule == "RMSprop":
            checkpoint = _loaded(options.file, options.dialect)
        else:
            checkpoint = checkpoint.convert(options.dialect, lossy=options.lossy)
    found = _rehearsed(target, kind, checkpoint, options) if taken else []
    kept = bool(found) and not options.lossy
    found = found if kept else _written(target, kind, checkpoint, options)
    if found and not options.lossy:
        untouched = "; the older one was left as it was" if kept else ""
        print(
            f"fastrms convert: {target} does not hold what was written{untouched}:", file=sys.stderr
        )
        print("\n".join(f"  {line}" for line in found), file=sys.stderr)
        return DIFFERENT
    for line in [*checkpoint.report, *(f"left out: {line}" for line in found)]:
        print(f"note: {line}")
    slots = ", ".join(checkpoint.slots) or "no slots"
    print(
        f"{target}: {checkpoint.dialect or checkpoint.rule}, {len(checkpoint.variables)} variables "
        f"with {slots}, iterations {checkpoint.iterations}; read again and bit-equal."
    )
    return DONE


def _written(
    target: Path, kind: str, checkpoint: Checkpoint, options: argparse.Namespace
) -> list[str]:
    """Write a checkpoint, read it again, and say what differs."""
    save(target, checkpoint, template=options.template, format=kind, lossy=options.lossy)
    named = None if options.template else checkpoint.variables or None  # a template has its own
    again = load(target, dialect=checkpoint.dialect, variables=named)
    return differences(checkpoint, again, moved=True)


def _rehearsed(
    target: Path, kind: str, checkpoint: Checkpoint, options: argparse.Namespace
) -> list[str]:
    """Do the same beside an older file, which only a new one that holds may replace."""
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
        aside = Path(folder) / target.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the real run says it again
                return _written(aside, kind, checkpoint, options)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(aside), str(target))) from error


def _diff(options: argparse.Namespace) -> int:
    """Compare two files."""
    one, other = (_loaded(path, options.source_dialect) for path in (options.a, options.b))
    found = differences(one, other)
    for line in found:
        print(line)
    if not found:
        print(
            f"no difference: {len(one.variables)} variables, {', '.join(one.slots) or 'no slots'}"
        )
    return DIFFERENT if found else DONE
