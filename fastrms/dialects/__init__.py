"""The dialect table: how each library version writes RMSprop, as rows of data."""

from collections.abc import Mapping
from types import MappingProxyType

from fastrms.dialects.fields import Argument as Argument
from fastrms.dialects.fields import Dialect as Dialect
from fastrms.dialects.keras import (
    KERAS_0,
    KERAS_1,
    KERAS_2_0,
    KERAS_2_2,
    KERAS_2_3,
    KERAS_3,
    TF_CONTRIB,
)
from fastrms.dialects.others import OPTAX, TF_TRAIN, TORCH
from fastrms.dialects.tf_keras import (
    TF_KERAS_2_10_EXPERIMENTAL,
    TF_KERAS_2_11,
    TF_KERAS_V1,
    TF_KERAS_V2,
)
from fastrms.errors import DialectError

_ROWS = (
    KERAS_3,
    TF_KERAS_2_11,
    TF_KERAS_2_10_EXPERIMENTAL,
    TF_KERAS_V2,
    TF_KERAS_V1,
    KERAS_2_3,
    KERAS_2_2,
    KERAS_2_0,
    KERAS_1,
    KERAS_0,
    TF_CONTRIB,
    TF_TRAIN,
    TORCH,
    OPTAX,
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType({row.name: row for row in _ROWS})


def get_dialect(name: str | Dialect) -> Dialect:
    """Return the row of a dialect.

    Parameters
    ----------
    name : str or Dialect
        One of the names in `DIALECTS`, or a row (returned as it is).

    Raises
    ------
    DialectError
        The name is unknown; the message lists the known ones.

    Examples
    --------
    >>> get_dialect("keras-2.2").arguments["epsilon"].default
    1e-07
    """
    if isinstance(name, Dialect):
        return name
    row = DIALECTS.get(name) if isinstance(name, str) else None
    if row is None:
        raise DialectError(
            f"unknown dialect {name!r}; valid: {', '.join(DIALECTS)}. "
            "Choose the row of the system whose numbers you need."
        )
    return row
