"""What one row of the dialect table consists of: data only, every difference a named field."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple


class Argument(NamedTuple):
    """What the real system lets one constructor argument be.

    `none` says what None means: "refused", "off", or "default" (the value of `fallback`).
    `zero_is_default` gives 0 that value too. `only_with` names an option without which the value
    is not looked at. Kind "absent" lets it be None only. `effect` is "used", or "ignored" (accepted
    with a `PortingWarning`), or "refused".
    """

    default: Any = None
    kind: Literal["real", "bool", "count", "rate", "float rate", "name", "absent"] = "real"
    low: float | None = None
    high: float | None = None
    none: Literal["refused", "off", "default"] = "refused"
    zero_is_default: bool = False
    fallback: Any = None
    only_with: str | None = None
    effect: Literal["used", "ignored", "refused"] = "used"
    note: str = ""


class Form(NamedTuple):
    """How an update is written: the names of the `Variant` choices that hold."""

    always: frozenset[str]
    momentum: frozenset[str] | None = None
    centered: frozenset[str] = frozenset()

    def choices(self, has_momentum: bool, centered: bool) -> frozenset[str]:
        """Return the choices for these slots; momentum may switch to another form."""
        base = self.always if self.momentum is None or not has_momentum else self.momentum
        return base | self.centered if centered else base


class Decay(NamedTuple):
    """`decay`: lr_t = lr / (1 + decay * (iterations + offset)).

    `reciprocal` multiplies by 1/(...) instead of dividing; `offset` is the measured majority of a
    data race in graph-mode TensorFlow (Theano and eager systems read `iterations` in order).
    """

    offset: int
    reciprocal: bool


class Clipping(NamedTuple):
    """In which order gradients are clipped, over what a norm is taken, and when it acts.

    `order` holds "value", "norm" and "global". `rivals` says what several kinds at once do:
    "all" act in order, "first" of the order acts alone, "refused", or "norms refused" (clipnorm
    and global_clipnorm exclude each other). `norm_spans_all` takes clipnorm's norm over all
    gradients and leaves those below it alone; otherwise each variable has its own. `zero_acts`:
    clipnorm=0 zeroes gradients instead of meaning "off". `inverse_in_double`: of a global norm
    below the bound, 1 / bound is taken in double precision instead of the variable's dtype.
    """

    order: tuple[str, ...]
    rivals: Literal["all", "first", "refused", "norms refused"] = "all"
    norm_spans_all: bool = False
    zero_acts: bool = False
    inverse_in_double: bool = False


class Average(NamedTuple):
    """The moving average of the variables: its start, `1 - momentum`, and a recorded defect.

    `starts_at_variable`: it begins as the variable, instead of at 0 with the first step copying.
    `dtype_complement`: 1 - momentum is taken in the variable's dtype instead of double precision.
    `shifts_past_none`: variables with gradients are paired with the averages in order, so that a
    None gradient shifts every later pair.
    """

    starts_at_variable: bool
    dtype_complement: bool
    shifts_past_none: bool = False


class Sparse(NamedTuple):
    """What a gradient given as rows does.

    `duplicates`: repeated rows are summed "before clipping", "after clipping" or are "squared
    apart": each value adds its own share to the means and makes its own step. `untouched_*` name
    what happens to rows without a gradient. `norm_of_rows`: a norm is that of the rows as given,
    whatever is clipped by it. `value_clips_rows`: clipvalue acts on
    rows before they are summed, whatever `duplicates` says. `means_as_sums`: running means are
    weighted sums, however a dense update writes them. `constrained`: a variable with a constraint
    may have such a gradient.
    """

    duplicates: Literal["before clipping", "after clipping", "squared apart"]
    untouched_slots: Literal["decay", "decay without momentum"]
    untouched_variable: Literal["moves", "stays", "moves with momentum"]
    norm_of_rows: bool = False
    value_clips_rows: bool = False
    means_as_sums: bool = False
    constrained: bool = True


class LossScale(NamedTuple):
    """How the system's LossScaleOptimizer unscales, and what a skipped step does.

    `reciprocal`: gradients are multiplied by 1/scale (float32) instead of divided. `floor`: the
    least scale. `own`: the scalars that precede the inner optimizer's weights. `fixed`: there is
    an argument `dynamic`, False for a scale that stays. `class_name`: the name under which the
    system serializes the class.
    """

    reciprocal: bool
    floor: float | None
    skipped_step_counts: bool
    own: tuple[str, ...] = ()
    fixed: bool = False
    class_name: str = "LossScaleOptimizer"


class Schedules(NamedTuple):
    """How the system runs a learning-rate schedule, shows its rate and writes it down.

    `step`: a schedule gets the counter as an "integer", or cast to the "variable's dtype".
    `shows`: the property `learning_rate` is the "next" step's rate, or the "last" one used.
    `settable`: a number may take the place of a schedule or a callable. `lacks`: arguments that
    the system's schedules do not have. `functions`: any callable of the step is a schedule.
    `config`: a configuration names "module and class" (Keras 3), "class", or holds a "value".
    """

    source: str
    step: Literal["integer", "variable's dtype"] = "integer"
    shows: Literal["next", "last"] = "next"
    settable: bool = False
    lacks: tuple[str, ...] = ()
    functions: bool = False
    config: Literal["module and class", "class", "value"] = "module and class"


class Weights(NamedTuple):
    """What `get_weights` holds, and what each weight is called.

    `order` names scalars ("iterations", "learning_rate") and slots, each slot a block over all
    variables. `late`: a variable's slots come to be with its first gradient, and then stand at the
    end ("appended") or among the others ("in place"). `negated`: slots that the system holds with
    the opposite sign. `optional_iterations`: a list without the counter restarts it at 0.
    """

    order: tuple[str, ...]
    names: Mapping[str, str] = MappingProxyType({})
    late: Literal["no", "appended", "in place"] = "no"
    negated: frozenset[str] = frozenset()
    optional_iterations: bool = False
    counter_dtype: str = "int64"


# Where the fields' values were seen, beside the row's source: cases in tests/goldens.
RECORDED: Mapping[str, str] = {
    "arguments": "every case's kwargs; eps_none, eps0, neg_*, err_*, momentum_gt1, accum0",
    "form": "every case; eps, momentum_eps, centered_eps, weight_decay tell its parts apart; "
    "floored_root: rho=2 probed",
    "weights": "weight_names and w* of every case; none_first, resume, resume_legacy_weights",
    "clipping": "clipnorm, clipnorm0, clipvalue, clip_both, global_clipnorm, neg_clipnorm",
    "config": "get_config of every case",
    "rho_complement_in_dtype": "rho and the bit-equal cases: 0.1 differs by 3 ulp",
    "float32_first": "float64*, mixed_dtypes*, weight_decay_float64, decay_float64",
    "config_in_float32": "get_config of every case",
    "decay": "decay, resume_decay, combo; graph mode: the majority of 480 steps of a data race",
    "counts": "it of defaults and decay",
    "average": "ema_*, accum_ema*, ema_none_grad_same_shape",
    "sparse": "sparse*",
    "loss_scale": "lso*",
    "schedules": "schedules, sched_*, *_sched, sched_set_lr, err_sched_set_lr; forms: probed",
    "flushes_subnormals": "subnormal, subnormal_float64 (and *_momentum_centered)",
    "velocity_start": "w* of lr after the first step",
    "momentum_slot": "momentum0, neg_momentum, n_weights of defaults",
    "constraints": "constraint*",
    "none_gradients": "none_*, err_none_grad",
    "all_none": "none_all_at_2, err_none_all",
    "class_name": "serialized forms in tests/serialized",
    "marks": "serialized forms in tests/serialized",
    "calls_rate_once": "probed: a callable is evaluated once into a variable",
}


class Dialect(NamedTuple):
    """How one library version writes RMSprop; `evidence` says where a field's value was seen.

    `class_name` and `marks` are the name under which it serializes the class, and what it writes
    into a serialized configuration besides arguments.
    """

    name: str
    systems: str
    source: str
    golden_systems: tuple[str, ...]
    arguments: Mapping[str, Argument]
    form: Form
    weights: Weights
    clipping: Clipping
    config: tuple[str, ...]
    rho_complement_in_dtype: bool
    float32_first: frozenset[str] = frozenset()
    config_in_float32: frozenset[str] = frozenset()
    decay: Decay | None = None
    counts: Literal["every step", "steps with decay"] = "every step"
    average: Average | None = None
    sparse: Sparse | None = None
    loss_scale: LossScale | None = None
    schedules: Schedules | None = None
    flushes_subnormals: bool = False
    velocity_start: float = 0.0
    momentum_slot: Literal["if positive", "if given", "always"] = "if positive"
    constraints: Literal["before assignment", "after update", "never", "none"] = "none"
    none_gradients: Literal["skipped", "refused"] = "skipped"
    all_none: Literal["refused", "no step"] = "refused"
    slot_names: Mapping[str, str] = MappingProxyType({})
    calls_rate_once: bool = False
    default_name: str = "rm_sprop"
    counts_names: bool = False
    named_in_config: bool = True
    rate_in_config: Literal["value", "callable"] = "value"
    class_name: str = "RMSprop"
    marks: Mapping[str, Any] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    evidence: Mapping[str, str] = RECORDED
