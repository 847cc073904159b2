"""What the demo prints: live progress bars on a terminal, plain lines elsewhere, a final table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fastrms.demo.processes import Event

Listener = Callable[[Event], None]
_PLAIN_LINES = 4


class Row(NamedTuple):
    """One measurement: what, how much, and how it was taken."""

    name: str
    value: str
    note: str
    failed: bool = False


def make_console() -> Console:
    """Return a console on stdout that prints paths and messages as they are."""
    return Console(highlight=False, markup=False, emoji=False)


def is_live(console: Console) -> bool:
    """Tell whether bars can be redrawn in place."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def _describe(event: Event) -> str:
    """Return the loss and accuracy of an event, aligned."""
    return f"loss {event['loss']:6.4f}  accuracy {event['accuracy']:6.1%}"


def _plain(console: Console, title: str, first: int, last: int) -> Listener:
    """Return a listener that prints about four lines for one stretch of training."""
    console.print(title)
    due = [first + (last - first) * part // _PLAIN_LINES for part in range(1, _PLAIN_LINES + 1)]

    def listen(event: Event) -> None:
        if "seconds" in event:
            console.print(f"  step {event['step']:5d}: state saved")
        elif due and event["step"] >= due[0]:
            console.print(f"  step {event['step']:5d} of {last}  {_describe(event)}")
            while due and due[0] <= event["step"]:
                due.pop(0)

    return listen


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int, int], Listener]]:
    """Give a function that announces a stretch (title, first and last step), returns its listener.

    The listener takes each event of the process that trains this stretch.
    """
    if not is_live(console):
        yield lambda title, first, last: _plain(console, title, first, last)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=14),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:

        def announce(title: str, first: int, last: int) -> Listener:
            bar = bars.add_task(title, total=last - first, note="starting")

            def listen(event: Event) -> None:
                bars.update(bar, completed=event["step"] - first)
                if "loss" in event:
                    bars.update(bar, note=_describe(event))

            return listen

        yield announce


def print_table(console: Console, rows: list[Row]) -> None:
    """Print the rows; the values of failed ones stand out."""
    table = Table(box=box.ROUNDED, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    for row in rows:
        style = "bold red" if row.failed else "green"
        table.add_row(row.name, Text(row.value, style=style), row.note)
    console.print(table)
