"""`fastrms.compat.RMSprop`: the legacy class for code that does not care about import paths."""

import importlib
import warnings
from typing import Any

from fastrms.errors import DialectError, PortingWarning

_SURFACES = (
    ("keras1", "keras-1"),
    ("keras20", "keras-2.0"),
    ("keras22", "keras-2.2"),
    ("keras23", "keras-2.3"),
    ("tf_contrib", "tf-contrib"),
    ("tf_keras_v1", "tf-keras-v1"),
    ("tf_keras_v2", "tf-keras-v2"),
    ("tf_keras", "tf-keras-2.11"),
)
_MODULES = {dialect: module for module, dialect in _SURFACES}
_LARGE_EPSILON = 1e-4  # where 1 / (sqrt(v) + epsilon) and 1 / sqrt(v + epsilon) part visibly


class RMSprop:
    """The RMSprop of old Keras, in a dialect of choice.

    Parameters
    ----------
    *args, **kwargs
        As the class of that generation takes them.
    dialect : str, optional
        ``keras-2.2`` unless another is named: keras-1, keras-2.0, keras-2.2, keras-2.3,
        tf-contrib, tf-keras-v1, tf-keras-v2 or tf-keras-2.11.

    Returns
    -------
    An optimizer of that generation's own class.

    Raises
    ------
    DialectError
        The dialect has no legacy surface.

    Warns
    -----
    PortingWarning
        epsilon is 1e-4 or more and no dialect is named: where epsilon is added differs.

    Examples
    --------
    >>> optimizer = RMSprop(lr=0.01, decay=0.1)
    >>> optimizer.get_config()["epsilon"]
    1e-07
    """

    def __new__(cls, *args: Any, dialect: str | None = None, **kwargs: Any) -> Any:
        """Return an optimizer of the dialect's generation."""
        name = _MODULES.get(dialect or "keras-2.2")
        if name is None:
            raise DialectError(
                f"dialect={dialect!r} has no legacy surface; valid: {', '.join(_MODULES)}. For the "
                "others use fastrms.RMSprop(dialect=...)."
            )
        module = importlib.import_module(f"{__name__.rpartition('.')[0]}.{name}.optimizers")
        optimizer = module.RMSprop(*args, **kwargs)
        epsilon = getattr(optimizer, "epsilon", 0.0)
        if dialect is None and isinstance(epsilon, float | int) and epsilon >= _LARGE_EPSILON:
            warnings.warn(
                f"epsilon={epsilon!r} is added outside the square root by Keras 1.0.3 to tf.keras "
                "2.10 and inside by tf.keras 2.11 and Keras 3; steps can differ by up to "
                f"{1 / epsilon**0.5:.3g}x. Name the dialect to silence this: "
                "RMSprop(..., dialect='keras-2.2').",
                PortingWarning,
                stacklevel=2,
            )
        return optimizer

    @classmethod
    def from_config(cls, config: dict[str, Any], dialect: str | None = None) -> Any:
        """Build an optimizer from what `get_config` returned.

        Examples
        --------
        >>> RMSprop.from_config({"lr": 0.5}).get_config()["lr"]
        0.5
        """
        return cls(**config, dialect=dialect)
