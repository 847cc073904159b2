"""Which system wrote a configuration, told from the keys that it writes."""

from collections.abc import Mapping
from typing import Any

from fastrms.dialects import DIALECTS
from fastrms.errors import ArgumentError

# What tf.keras 2.10 and later write about themselves: which of two classes it was, and whether a
# GPU was there to compile for (keras 2.12.0 optimizers/optimizer.py:747-748).
MARKS = frozenset({"is_legacy_optimizer", "jit_compile"})


def writers(keys: set[str]) -> list[str]:
    """Return the dialects whose systems write exactly such keys."""
    found = []
    for row in DIALECTS.values():
        required = {key for key in row.config if not key.startswith("?")}
        if required <= keys <= {key.removeprefix("?") for key in row.config}:
            found.append(row.name)
    return found


def arguments_in(config: Any) -> dict[str, Any]:
    """Return a copy of the dictionary that `from_config` is given, or raise."""
    if not isinstance(config, Mapping):
        raise ArgumentError(
            f"config={config!r:.60} is not valid; valid: a dictionary, as get_config returns."
        )
    return dict(config)


def recognized(config: Mapping[str, Any], default: str) -> dict[str, Any]:
    """Return constructor arguments with the dialect of the system that wrote them.

    Raises
    ------
    ArgumentError
        Several systems write such keys.
    """
    arguments = arguments_in(config)
    if "dialect" in arguments:
        return arguments
    bare = {key: value for key, value in arguments.items() if key not in MARKS}
    found = writers(set(bare))
    if "is_legacy_optimizer" in arguments or (found and default not in found):
        arguments = bare
    if len(found) > 1 and default not in found:
        raise ArgumentError(
            f"a configuration with the keys {sorted(arguments)} is written by {', '.join(found)}, "
            "whose arithmetic differs; add the key 'dialect' with the one it comes from."
        )
    if found and default not in found:
        arguments["dialect"] = found[0]
    return arguments
