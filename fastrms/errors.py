"""What fastrms raises and warns with."""


class FastrmsError(Exception):
    """Base class of every exception that fastrms raises on purpose."""


class ArgumentError(FastrmsError, ValueError, TypeError):
    """A hyperparameter or option is unknown, of the wrong kind, or out of range.

    It is both a `ValueError` and a `TypeError` because the mirrored systems disagree about which.
    """


class DialectError(ArgumentError):
    """A dialect is unknown, or cannot do what was asked of it."""


class VariableError(FastrmsError, ValueError):
    """A variable cannot be updated, is unknown, or has changed behind the optimizer's back."""


class GradientError(FastrmsError, ValueError):
    """A gradient does not fit its variable."""


class StateError(FastrmsError, ValueError):
    """Saved weights or other state do not fit this optimizer."""


class DeviceError(FastrmsError, RuntimeError):
    """A GPU, its driver or the packages that reach it are missing, or refused what was asked."""


class PortingWarning(UserWarning):
    """Something has no effect, or another effect, than code written for an old system expects."""


class CheckpointError(FastrmsError, ValueError):
    """A checkpoint file is damaged, hostile, or does not hold or fit what is asked of it."""


class MissingExtraError(FastrmsError, ImportError):
    """A package that only some uses need is not installed; the message has the pip line."""
