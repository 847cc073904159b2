"""Lists that callers give, in whatever form."""

from typing import Any

from fastrms.errors import FastrmsError


def members(given: Any, kind: type[FastrmsError], what: str, valid: str) -> list[Any]:
    """Return the members of a list, a tuple or another iterable but a string, or raise."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError
        each = iter(given)
    except TypeError:
        found = f"{what} {type(given).__name__} {given!r:.60}"
        raise kind(f"{found}; valid: {valid}. Nothing was changed.") from None
    return list(each)
