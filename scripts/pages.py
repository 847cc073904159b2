"""What the scripts that write a page of the documentation have in common."""

import argparse
from collections.abc import Callable
from pathlib import Path


def offer(about: str, page: Callable[[], str], brief: Callable[[], str] | None = None) -> None:
    """Print a page, or write it to the file named by `--output`.

    Parameters
    ----------
    about : str
        The script's docstring; its first line is the help text.
    page : callable
        Returns the page.
    brief : callable, optional
        Returns a part of it, which is printed instead unless `--full` asks for the page.

    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the page there instead of printing it")
    if brief:
        parser.add_argument("--full", action="store_true", help="print the page, not its table")
    chosen = parser.parse_args()
    if chosen.output:
        chosen.output.write_text(page(), encoding="utf-8")
    else:
        print((page if brief is None or chosen.full else brief)(), end="")
