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
    _file_commands(commands)
    options, unknown = parser.parse_known_args(arguments)
    # argparse would name neither the command's own options nor, without a command, the word.
    if unknown:
        (commands.choices.get(options.command, parser)).error(f"unknown: {' '.join(unknown)}")
    if options.command is None:
        parser.error(f"COMMAND is missing (choose from {', '.join(commands.choices)})")
    return options


def _file_commands(commands: Any) -> None:
    """Add the commands on checkpoints."""
    inspect = commands.add_parser(
        "inspect",
        help="show what a checkpoint of any system holds",
        description="Shows writer, dialect, hyperparameters, and each variable's slots. Nothing in "
        "the file is executed. Exit code 2 if the file is refused.",
        allow_abbrev=False,
    )
    inspect.add_argument("file", metavar="FILE", help="a file, a folder, or a TensorFlow prefix")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    convert = commands.add_parser(
        "convert",
        help="write a checkpoint in another format or for another system",
        description="Writes OUT in the format of its suffix, reads it again and compares every bit "
        "before it says so. Exit code 1 if they differ, 2 if something is refused.",
        allow_abbrev=False,
    )
    convert.add_argument("file", metavar="IN", help="a file, a folder, or a TensorFlow prefix")
    convert.add_argument("out", metavar="OUT", help="the file to write")
    convert.add_argument("--dialect", metavar="D", help="the dialect to convert the state to")
    convert.add_argument("--template", metavar="FILE", help="a model's file to put the state into")
    convert.add_argument("--force", action="store_true", help="replace OUT if it exists")
    convert.add_argument(
        "--lossy", action="store_true", help="leave out what OUT cannot hold, and say so"
    )
    diff = commands.add_parser(
        "diff",
        help="compare two checkpoints bit for bit",
        description="Exit code 0 if they are the same, 1 if they differ, 2 if a file is refused.",
        allow_abbrev=False,
    )
    diff.add_argument("a", metavar="A", help="a checkpoint")
    diff.add_argument("b", metavar="B", help="another one")
    for parser in (inspect, convert, diff):
        parser.add_argument(
            "--source-dialect",
            metavar="D",
            help="whose file it is, where the file does not tell",
        )


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
        The exit code: 0 done, 1 a claim does not hold or files differ, 2 wrong use or a refused
        file, 130 interrupted.
    """
    options = _parse(arguments)
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        if options.command == "info":
            from fastrms.info import report

            print(report(), flush=True)
            return 0
        if options.command == "demo":
            return _demo(options.epochs, options.out, options.device)
        from fastrms.tools.commands import run

        code = run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # What is left in the buffer would be written, and fail, once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if sys.stderr is not None:
            print(
                f"fastrms {options.command}: the output cannot be written ({error}); valid: a "
                "terminal, a pipe or a file with room. Send it elsewhere.",
                file=sys.stderr,
            )
        return 2
    except KeyboardInterrupt:
        print("fastrms: interrupted", file=sys.stderr)
        return 130
