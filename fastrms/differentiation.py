"""The part of an optimizer that takes derivatives of a loss and minimizes it."""

import warnings
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fastrms.errors import ArgumentError, GradientError, VariableError
from fastrms.operand import Operand
from fastrms.tracing import differentiated
from fastrms.variable import Variable
from fastrms.variables import describe, leaves_of
from fastrms.weights import Core

Array = NDArray[Any]


class Differentiation:
    """Losses in, steps out; a base of `RMSprop`."""

    _core: Core

    def scale_loss(self, loss: Any) -> Any:
        """Multiply a loss by `loss_scale_factor`, by which `apply` divides the gradients.

        Parameters
        ----------
        loss : number or array
            What is differentiated.

        Returns
        -------
        number or array
            The loss itself without a `loss_scale_factor`.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> RMSprop(loss_scale_factor=1024.0).scale_loss(2.0)
        2048.0
        """
        factor = self._core.settings.loss_scale_factor
        return loss if factor is None else loss * factor

    def compute_gradients(
        self, loss: Callable[[], Any], var_list: Any, tape: None = None
    ) -> list[tuple[Array | None, Variable]]:
        """Differentiate a loss in plain NumPy by some variables.

        Parameters
        ----------
        loss : callable
            Takes no arguments and computes the loss from `Variable`s: operators, NumPy functions
            and methods. It is called once. An array counts as its sum, as in TensorFlow.
        var_list : list, dict or callable
            The `Variable`s, or a callable without arguments that gives them after the loss has
            been computed once.
        tape : None
            tf.keras' gradient tape; there is none here.

        Returns
        -------
        list of (gradient, Variable)
            Each gradient in its variable's dtype, of the scaled loss (see `scale_loss`), as
            `apply_gradients` takes them; None where the loss does not depend on the variable.

        Raises
        ------
        GradientError
            An operation has no derivative; the message has its name and the line.
        MissingExtraError
            The package autograd is not installed.

        Examples
        --------
        >>> from fastrms import RMSprop, Variable
        >>> v = Variable([1.0, 2.0])
        >>> RMSprop().compute_gradients(lambda: (v**2).sum(), [v])[0][0]
        array([2., 4.], dtype=float32)
        """
        if tape is not None or not callable(loss) or isinstance(loss, Operand):
            raise ArgumentError(
                f"loss={loss!r:.60} with tape={tape!r} is not valid; valid: a callable without "
                "arguments that computes the loss in NumPy, and no tape. Pass `lambda: ...`."
            )
        if callable(var_list):
            loss()
            var_list = var_list()
        variables = leaves_of(var_list)
        for variable in variables:
            if not isinstance(variable, Variable):
                raise VariableError(
                    f"var_list has {describe(variable)}; valid: fastrms.Variable, by which NumPy "
                    "code can be differentiated. Wrap it, or compute its gradient and call apply()."
                )
            if variable.device != "cpu":
                raise VariableError(
                    f"variable {variable.path!r} is on {variable.device}, and losses are computed "
                    "by NumPy; valid: Variables with device='cpu'. Compute its gradient on the "
                    "GPU, and call apply()."
                )
        if not variables:
            raise VariableError("var_list is empty; pass at least one fastrms.Variable.")
        _, gradients = differentiated(lambda: self.scale_loss(loss()), variables)
        return list(zip(gradients, variables, strict=True))

    def minimize(self, loss: Callable[[], Any], var_list: Any, tape: None = None) -> None:
        """Take one step that makes a loss smaller: `compute_gradients`, then `apply_gradients`.

        Parameters
        ----------
        loss : callable
            See `compute_gradients`.
        var_list : list, dict or callable
            The `Variable`s to update.
        tape : None
            tf.keras' gradient tape; there is none here.

        Raises
        ------
        GradientError
            An operation has no derivative, or the loss depends on none of the variables. Nothing
            was changed then.

        Warns
        -----
        UserWarning
            The loss does not depend on some of the variables, which stay as they are.

        Examples
        --------
        >>> from fastrms import RMSprop, Variable
        >>> opt = RMSprop(learning_rate=0.1)
        >>> var1 = Variable(10.0)
        >>> loss = lambda: (var1 ** 2) / 2.0  # d(loss) / d(var1) = var1
        >>> opt.minimize(loss, [var1])
        >>> print(var1.numpy())
        9.683772
        """
        pairs = self.compute_gradients(loss, var_list, tape)
        missing = [variable.path for gradient, variable in pairs if gradient is None]
        if len(missing) == len(pairs):
            raise GradientError(
                f"No gradients provided for any variable: the loss depends on none of {missing}. "
                "Compute it from their values with NumPy. Nothing was changed."
            )
        if missing:
            warnings.warn(
                f"Gradients do not exist for variables {missing} when minimizing the loss.",
                stacklevel=2,
            )
        self.apply_gradients(pairs)  # type: ignore[attr-defined]
