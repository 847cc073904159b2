"""The RMSprop rule, written once for NumPy, the CPU's kernels, CUDA and users' compiled code.

NumPy evaluates it as the reference; kernels come of evaluating it on numbers that emit instructions
(`emitting`, `cuda.writing`); Numba compiles it for users, and on the CPU how norms become factors.
`velocity` is Keras 3's word for the running mean of the squared gradient. `fit` rounds a result to
what the target stores after each operation: float16, bfloat16, or zero for a subnormal number.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Function = Callable[..., Any]


class Variant(NamedTuple):
    """Choices fixed when a kernel is compiled; most are one difference between real systems."""

    centered: bool = False
    momentum: bool = False
    epsilon_inside: bool = False
    floored_root: bool = False
    incremental_velocity: bool = False
    incremental_average: bool = False
    square_last: bool = False
    squared_average: bool = False
    reciprocal: bool = False
    rate_on_quotient: bool = False
    rate_last: bool = False
    decoupled_decay: bool = False
    coupled_decay: bool = False
    update: bool = True
    ema: bool = False
    accumulate: bool = False
    accumulated: bool = False
    scaled: bool = False
    rescaled: bool = False
    value_first: bool = False
    factor: bool = False
    divisor: bool = False
    value_last: bool = False
    absent: bool = False
    still: bool = False
    flush: bool = False
    half: bool = False
    brain: bool = False


CONDITIONING = slice(Variant._fields.index("accumulate"), Variant._fields.index("absent"))


def moves(variant: Variant) -> bool:
    """Tell whether an update changes the variable: not where its row has no gradient and rests."""
    return variant.update and not (
        variant.still and not variant.momentum and not variant.decoupled_decay
    )


class Hyper(NamedTuple):
    """The numbers of one step, each rounded to the dtype in which the variable is computed."""

    learning_rate: Any
    rho: Any
    one_minus_rho: Any
    momentum: Any
    epsilon: Any
    weight_decay: Any
    ema_momentum: Any
    one_minus_ema_momentum: Any
    loss_scale: Any
    accumulation_steps: Any
    clipvalue: Any
    clipnorm: Any
    inverse_clipnorm: Any
    one: Any
    overwrite: Any


# What clipping by norm does: scale only gradients whose norm reaches the bound (Keras 1 and 2),
# divide each by max(norm, bound) (tf.clip_by_norm), or scale all (tf.clip_by_global_norm).
LEAVE_BELOW, EACH, GLOBAL = 0, 1, 2


class Slots(NamedTuple):
    """The state of one weight; a member that a variant does not use passes through."""

    velocity: Any
    momentum: Any
    average_gradient: Any


def make_condition(fit: Function, smaller: Function) -> Function:
    """Write what happens to a gradient before the update: unscale, accumulate, clip."""

    def condition(gradient, accumulator, clip, hyper, variant):  # type: ignore[no-untyped-def]
        gradient = fit(gradient, variant)
        if variant.scaled:
            gradient = fit(gradient / hyper.loss_scale, variant)
        if variant.rescaled:
            gradient = fit(gradient * hyper.loss_scale, variant)
        if variant.accumulate or variant.accumulated:
            gradient = fit(gradient + accumulator, variant)
        if variant.accumulated:
            gradient = fit(gradient / hyper.accumulation_steps, variant)
        if variant.value_first:
            gradient = -smaller(-smaller(gradient, hyper.clipvalue), hyper.clipvalue)
        if variant.factor:
            gradient = fit(gradient * clip[0], variant)
        if variant.divisor:
            gradient = fit(gradient / clip[1], variant)
        if variant.value_last:
            gradient = -smaller(-smaller(gradient, hyper.clipvalue), hyper.clipvalue)
        return gradient

    return condition


def make_shares(fit: Function) -> Function:
    """Write what a gradient adds to each running mean: a weighted share, or the sample as it is."""

    def shares(gradient, hyper, variant):  # type: ignore[no-untyped-def]
        square = fit(gradient * gradient, variant)
        sample = square if variant.squared_average else gradient
        if variant.square_last:
            square = fit(fit(hyper.one_minus_rho * gradient, variant) * gradient, variant)
        elif not variant.incremental_velocity:
            square = fit(hyper.one_minus_rho * square, variant)
        if variant.centered and not variant.incremental_average:
            sample = fit(hyper.one_minus_rho * sample, variant)
        return square, sample

    return shares


def make_mean(fit: Function) -> Function:
    """Write a running mean, as a weighted sum or (fused operations, lerp) as an increment."""

    def mean(old, share, incremental, hyper, variant):  # type: ignore[no-untyped-def]
        old = fit(old, variant)
        if incremental:
            change = fit(share - old, variant)
            return fit(old + fit(change * hyper.one_minus_rho, variant), variant)
        return fit(fit(hyper.rho * old, variant) + share, variant)

    return mean


def make_settle(fit: Function, mean: Function) -> Function:
    """Write what precedes the steps: weight decay, running means, what the root is taken of."""

    def settle(variable, shares, slots, hyper, variant):  # type: ignore[no-untyped-def]
        average_gradient = slots.average_gradient
        if variant.decoupled_decay:
            share = fit(fit(variable * hyper.weight_decay, variant) * hyper.learning_rate, variant)
            variable = fit(variable - share, variant)
        incremental = variant.incremental_velocity and not variant.square_last
        spread = velocity = mean(slots.velocity, shares[0], incremental, hyper, variant)
        if variant.centered:
            average_gradient = mean(
                average_gradient, shares[1], variant.incremental_average, hyper, variant
            )
            spread = fit(velocity - fit(average_gradient * average_gradient, variant), variant)
            if variant.squared_average:
                velocity = spread
        return variable, Slots(velocity, slots.momentum, average_gradient), spread

    return settle


def make_step(sqrt: Function, fit: Function, smaller: Function) -> Function:
    """Write the quotient of gradient and root mean square, times the learning rate."""

    def step(gradient, spread, hyper, variant):  # type: ignore[no-untyped-def]
        if variant.epsilon_inside:
            spread = fit(spread + hyper.epsilon, variant)
        if variant.floored_root:
            zero = hyper.one - hyper.one
            spread = -smaller(-spread, zero) + zero  # where it was negative not -0.0
        rms = fit(sqrt(spread), variant)
        if not variant.epsilon_inside:
            rms = fit(rms + hyper.epsilon, variant)
        if not (variant.rate_last or variant.rate_on_quotient):
            gradient = fit(hyper.learning_rate * gradient, variant)
        if variant.reciprocal:
            gradient = fit(gradient * fit(hyper.one / rms, variant), variant)
        else:
            gradient = fit(gradient / rms, variant)
        if variant.rate_on_quotient:
            gradient = fit(hyper.learning_rate * gradient, variant)
        return gradient

    return step


def make_move(fit: Function) -> Function:
    """Write how a step, or the sum of several, moves a variable and its momentum."""

    def move(variable, change, momentum, hyper, variant):  # type: ignore[no-untyped-def]
        if variant.momentum:
            kept = fit(hyper.momentum * fit(momentum, variant), variant)
            change = momentum = fit(kept + change, variant)
        if variant.rate_last:
            change = fit(hyper.learning_rate * change, variant)
        return fit(variable - change, variant), momentum

    return move


def make_advance(fit: Function, *parts: Function) -> Function:
    """Write one RMSprop update of one weight."""
    shares, settle, step, move = parts

    def advance(variable, gradient, slots, hyper, variant):  # type: ignore[no-untyped-def]
        variable, gradient = fit(variable, variant), fit(gradient, variant)
        if variant.coupled_decay:
            gradient = fit(gradient + fit(hyper.weight_decay * variable, variant), variant)
        added = shares(gradient, hyper, variant)
        variable, slots, spread = settle(variable, added, slots, hyper, variant)
        change = gradient if variant.still else step(gradient, spread, hyper, variant)
        variable, momentum = move(variable, change, slots.momentum, hyper, variant)
        return variable, Slots(slots.velocity, momentum, slots.average_gradient)

    return advance


def make_clip(fit: Function, smaller: Function) -> Function:
    """Write how a norm becomes the factor and the divisor of a clipped gradient."""

    def clip(norm, bound, inverse, one, kind, variant):  # type: ignore[no-untyped-def]
        factor, divisor = bound, norm
        if kind == LEAVE_BELOW and not norm >= bound:
            factor, divisor = one, one
        if kind == EACH:
            divisor = -smaller(-norm, -bound)
        if kind == GLOBAL:
            scale = fit(bound * smaller(fit(one / norm, variant), inverse), variant)
            factor, divisor = fit(scale + fit(norm - norm, variant), variant), one
        return factor, divisor

    return clip


def make_average(fit: Function) -> Function:
    """Write the exponential moving average of a variable."""

    def average(old, variable, hyper, variant):  # type: ignore[no-untyped-def]
        kept = fit(hyper.ema_momentum * fit(old, variant), variant)
        return fit(kept + fit(hyper.one_minus_ema_momentum * variable, variant), variant)

    return average


class Rule(NamedTuple):
    """The arithmetic of a step over the operations of one target; `advance` is its four parts."""

    condition: Function
    shares: Function
    settle: Function
    step: Function
    move: Function
    advance: Function
    average: Function
    clip: Function


def make_rule(sqrt: Function, fit: Function, smaller: Function, compiled: Function) -> Rule:
    """Build the rule over a target's square root, rounding, minimum and compiler, if it has one."""
    settle = make_settle(fit, compiled(make_mean(fit)))
    own = make_shares(fit), settle, make_step(sqrt, fit, smaller), make_move(fit)
    parts = [compiled(part) for part in own]
    others = make_advance(fit, *parts), make_average(fit), make_clip(fit, smaller)
    return Rule(compiled(make_condition(fit, smaller)), *parts, *map(compiled, others))
