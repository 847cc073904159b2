"""JSON from files: bounded, without repeated keys, and never more than data."""

import json
import re
from typing import Any

from fastrms.errors import CheckpointError

_MOST_TEXT, _MOST_DEPTH = 64 << 20, 200
# One by one: a pattern of whole texts takes time squared where one of them does not end.
_MARKS = re.compile(r'\\.|["[{}\]]', re.DOTALL)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, or raise on a key that stands there twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands there twice")
    return result


def parsed(text: Any, what: str) -> dict[str, Any]:
    """Return a JSON object's content, or raise `CheckpointError` naming what it is."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{what} is not UTF-8 ({error}); the file is damaged.") from error
    if not isinstance(text, str) or len(text) > _MOST_TEXT:
        raise CheckpointError(f"{what} is not a text of at most {_MOST_TEXT} bytes.")
    depth, deepest, quoted = 0, 0, False
    for mark in _MARKS.finditer(text):
        quoted ^= mark[0] == '"'
        if not quoted and mark[0] in "[{]}":
            depth += 1 if mark[0] in "[{" else -1
            deepest = max(deepest, depth)
    if deepest > _MOST_DEPTH:
        raise CheckpointError(f"{what} is nested {deepest} levels deep; valid: {_MOST_DEPTH}.")
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not valid JSON ({error}); it is damaged.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{what} is not a JSON object but {type(found).__name__}.")
    return found
