"""The part of an optimizer that meets files; the file formats are imported when they are used."""

import os
from typing import TYPE_CHECKING, Any

from fastrms.checkpoint.rules import RULES, SCALERS
from fastrms.errors import StateError
from fastrms.portable import Array, Portable

if TYPE_CHECKING:
    from fastrms.checkpoint.document import Checkpoint


class Savable(Portable):
    """State in and out of files; `RMSprop` is its one user."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the class as the one that carries out the rule of its name."""
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("fastrms."):  # users' subclasses may bear any name
            RULES.setdefault(cls.__name__, cls)

    @property
    def trainable_variables(self) -> list[Array]:
        """The arrays given to `build`, themselves and not copies."""
        if self._core.stepper is None:
            raise StateError("the optimizer has no variables yet; call build(variables).")
        return self._core.stepper.variables.arrays[:]

    def checkpoint(self, variables: Any = None) -> "Checkpoint":
        """Return the optimizer's state and copies of its variables, free of any file format.

        Parameters
        ----------
        variables : list or (nested) dict of numpy.ndarray, optional
            The variables of `build`, to give them names.

        Returns
        -------
        Checkpoint

        Raises
        ------
        CheckpointError
            The variables are not those of the optimizer.

        Examples
        --------
        >>> import numpy as np
        >>> from fastrms import RMSprop
        >>> optimizer = RMSprop(rho=0.5)
        >>> optimizer.build([np.ones(2)])
        >>> optimizer.checkpoint().config["rho"]
        0.5
        """
        from fastrms.checkpoint.describing import described

        return described(self._core, variables)

    def load(
        self, path: str | os.PathLike[str], variables: Any = None, trusted: bool = False
    ) -> None:
        """Load slots and counter from a file, all or nothing; the variables stay as they are.

        A file of another dialect is converted where that is exact. Hyperparameters stay the
        optimizer's own, with a warning where the file's differ (Keras 3's files hold the learning
        rate as a variable, which is restored).

        Parameters
        ----------
        path : str or path
            A file of any format that `fastrms.load` reads.
        variables : list or (nested) dict of numpy.ndarray, optional
            The variables of `build`, or those to build with: a dictionary is matched by the
            file's names and may name a part, a list by order.
        trusted : bool
            As for `fastrms.load`.

        Raises
        ------
        CheckpointError
            The file is damaged, or does not fit. Nothing was changed then.

        Warns
        -----
        PortingWarning
            The file's hyperparameters differ from the optimizer's, or it holds a loss scale.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastrms
        >>> w = np.ones(2)
        >>> first, second = fastrms.RMSprop(), fastrms.RMSprop()
        >>> first.apply([np.ones(2)], [w])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fastrms.save(os.path.join(folder, "run.h5"), first)
        ...     second.load(os.path.join(folder, "run.h5"), [w])
        >>> second.iterations
        1
        """
        from fastrms.checkpoint.files import load
        from fastrms.checkpoint.resuming import load_into
        from fastrms.checkpoint.scales import unscaled

        found = unscaled(load(path, trusted=trusted))
        with self._core.lock:
            load_into(self._core, found, variables)


class SavableScale:
    """The part of a `LossScaleOptimizer` that meets files; that class is its one user."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the class as the one that files with a loss scale come back as."""
        super().__init_subclass__(**kwargs)
        SCALERS.append(cls)

    @property
    def trainable_variables(self: Any) -> list[Array]:
        """The arrays given to `build`, themselves and not copies."""
        return self.inner_optimizer.trainable_variables  # type: ignore[no-any-return]

    def checkpoint(self: Any, variables: Any = None) -> "Checkpoint":
        """Return the inner optimizer's checkpoint with the scale; see `RMSprop.checkpoint`.

        Examples
        --------
        >>> from fastrms import LossScaleOptimizer, RMSprop
        >>> LossScaleOptimizer(RMSprop(), initial_scale=8.0).checkpoint().loss_scale["scale"]
        8.0
        """
        from fastrms.checkpoint.scales import described

        with self.inner_optimizer._core.lock:
            return described(self.inner_optimizer.checkpoint(variables), self)  # type: ignore[no-any-return]

    def load(
        self, path: str | os.PathLike[str], variables: Any = None, trusted: bool = False
    ) -> None:
        """Load slots, counters and scale, all or nothing; see `RMSprop.load`."""
        from fastrms.checkpoint.files import load_scaled

        load_scaled(self, path, variables, trusted)
