"""The `fastrms` command."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastrms import __version__

_MOST_EPOCHS = 1000


def _epochs(text: str) -> int:
    """Convert the value of --epochs."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_EPOCHS:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 1 to {_MOST_EPOCHS}, got {text!r}"
        )
    return int(text)


def _png(text: str) -> Path:
    """Convert the value of --out, and make sure now that the file can be written later."""
    path = Path(text)
    problem = ""
    if path.suffix.lower() != ".png":
        problem = "must end in .png"
    elif path.is_dir():
        problem = "is a folder"
    elif not path.parent.is_dir():
        problem = "lies in a folder that does not exist"
    elif path.exists() and not os.access(path, os.W_OK):
        problem = "is a file that may not be written to"
    else:
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            problem = f"lies in a folder where no file can be made ({error.strerror})"
    if problem:
        raise argparse.ArgumentTypeError(
            f"{problem}, got {text!r}; give the path of a .png file in a writable folder"
        )
    return path


def _add_commands(commands: Any) -> None:
    """Describe the commands and their options."""
    demo = commands.add_parser(
        "demo",
        help="train on handwritten digits, stop, resume in a new process, compare the bits",
        description="Trains a small network on 1797 handwritten digits: once without a stop, "
        "once stopped in the middle and resumed in a new process. Both must end bit-equal. "
        "Exit code 1 if they do not, or if the network learned too little.",
        allow_abbrev=False,
    )
    demo.add_argument(
        "--out",
        type=_png,
        default="fastrms-demo.png",
        metavar="PATH",
        help="where to write the learning curve (default: %(default)s)",
    )
    demo.add_argument(
        "--epochs",
        type=_epochs,
        default="40",
        metavar="N",
        help="passes over the training images (default: %(default)s)",
    )
    demo.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where to train: NumPy on the host, or CuPy on a GPU (default: %(default)s)",
    )
    commands.add_parser(
        "info",
        help="print versions, threads, cache and GPUs",
        description="Prints versions, processor, threads, cache and GPUs, or why none can be used.",
        allow_abbrev=False,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, or exit with code 2 and a message."""
    parser = argparse.ArgumentParser(
        prog="fastrms", description="RMSprop for NumPy arrays.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fastrms {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_commands(commands)
    options, unknown = parser.parse_known_args(arguments)
    # argparse would name neither the command's own options nor, without a command, the word.
    if unknown:
        (commands.choices.get(options.command, parser)).error(f"unknown: {' '.join(unknown)}")
    if options.command is None:
        parser.error(f"COMMAND is missing (choose from {', '.join(commands.choices)})")
    return options


def _demo(epochs: int, out: Path, device: str) -> int:
    """Run the demo if its extra is installed."""
    missing = [name for name in ("rich", "matplotlib") if find_spec(name) is None]
    if missing:
        print(
            f"fastrms demo: {' and '.join(missing)} not installed; "
            "install with: pip install 'fastrms[demo]'",
            file=sys.stderr,
        )
        return 2
    from fastrms.demo.command import run_demo
    from fastrms.demo.device import obstacle

    if problem := obstacle(device):
        print(f"fastrms demo: cannot train on {device}: {problem}", file=sys.stderr)
        return 2
    return run_demo(epochs, out, device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after `fastrms`; those of this process if left out.

    Returns
    -------
    int
        The exit code: 0 done, 1 a claim does not hold, 2 wrong use, 130 interrupted.
    """
    options = _parse(arguments)
    try:
        if options.command == "info":
            from fastrms.info import report

            print(report())
            return 0
        return _demo(options.epochs, options.out, options.device)
    except KeyboardInterrupt:
        print("fastrms: interrupted", file=sys.stderr)
        return 130
