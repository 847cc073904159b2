"""Print, for each pair of dialects, a recording that tells them apart (docs/neighbours.md).

python scripts/neighbours.py [--output docs/neighbours.md]
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pages import offer  # noqa: E402
from test_neighbours import PAIRS, SAME_NUMBERS, separating  # noqa: E402


def lines() -> Iterator[str]:
    """Write the table, one line a pair."""
    yield "# Which recording tells two dialects apart"
    yield ""
    yield "Printed by `python scripts/neighbours.py`: a recording of the first or second dialect"
    yield "that the other one computes otherwise, beyond the tolerance of `tests/test_goldens.py`."
    yield ""
    yield "| dialect | other | recording |"
    yield "|---|---|---|"
    for one, other in PAIRS:
        found = separating(one, other) or separating(other, one)
        reason = SAME_NUMBERS.get((one, other)) or SAME_NUMBERS.get((other, one))
        yield f"| {one} | {other} | {found or f'none: {reason}'} |"


def page() -> str:
    """Return the whole page."""
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    offer(__doc__, page)
