"""Tables and progress for people: with rich on a terminal, plain lines otherwise."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastrms.checkpoint.progress import watched

_LARGE = 64 << 20


def _on_terminal(stream: Any) -> bool:
    """Whether rich is there and a person looks on."""
    return bool(stream.isatty()) and find_spec("rich") is not None


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table.

    Parameters
    ----------
    title : str
        Stands above it.
    head : sequence of str
        The columns' names.
    rows : sequence of sequence of str
        The cells.

    Examples
    --------
    >>> table("Two", ["name", "n"], [["a", "1"], ["long", "2"]])
    Two
    name  n
    a     1
    long  2
    """
    if _on_terminal(sys.stdout):
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        shown = Table(*map(escape, head), title=escape(title))
        for row in rows:
            shown.add_row(*map(escape, row))
        Console().print(shown)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    print(title)
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _bytes_of(path: Path) -> int:
    """Return the bytes of a file, or of the files that share a prefix or a folder."""
    if path.is_file():
        return path.stat().st_size
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}.*")
    return sum(file.stat().st_size for file in files if file.is_file())


@contextlib.contextmanager
def progress(what: str, path: Path) -> Iterator[None]:
    """Show a bar on standard error while a large file is read in the block.

    Parameters
    ----------
    what : str
        Stands beside the bar.
    path : Path
        The file.
    """
    total = _bytes_of(path)
    if total < _LARGE or not _on_terminal(sys.stderr):
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        with watched(lambda count: bar.advance(task, count)):
            yield
        bar.update(task, completed=total)
