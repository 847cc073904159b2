"""The cases of the optimizers that apply gradients: tf.keras 2.10, 2.12 and Keras 3."""

from cases import (
    ACCUM,
    CLIPNORM,
    CLIPVALUE,
    DECAY,
    EPS,
    EXP,
    FULL,
    GLOBAL_CLIPNORM,
    INV,
    LOSS_SCALE,
    LR,
    MOMENTUM,
    RHO,
    SCHEDULES,
    WEIGHT_DECAY,
)
from cases_keras_modes import mode_cases, sparse_cases
from cases_keras_more import (
    EMA,
    EMA_FREQUENT,
    TF,
    averages,
    combos,
    decays,
    errors,
    k3,
    subnormals,
)
from inputs import NAMES

# Generations: OptimizerV2, 2.10 experimental, 2.12's new class, Keras 3.
GENERATION = {"tf210_v2": "v2", "tf212_v2": "v2", "tf210_exp": "exp", "tf212_new": "new"}
FIELDS = [
    "dtype",
    "grad_dtype",
    "trio",
    "hook",
    "absent",
    "poison",
    "sparse",
    "constraint_on",
    "exec_mode",
    "lso_kwargs",
    "note",
    "unbuilt",
    "finalize",
    "exclude_from_weight_decay",
    "grad_scale",
    "start_scale",
]
RESUME = "before step 6: new optimizer, state copied with get_weights/set_weights"
RESUME_K3 = "before step 6: new optimizer, set_weights([v.numpy() for v in old.variables])"
ALL_AT_2 = [(2, index) for index in range(4)]
ALWAYS = [(step, 2) for step in range(12)]


def keras_cases(system):
    """Return the cases of a system of these families."""
    generation = GENERATION.get(system, "k3")
    out = []

    def case(name, on=None, bare=False, **extra):
        where = (on or "v2 exp new k3").split()
        if generation not in where and system not in where:
            return
        entry = {field: extra.pop(field) for field in FIELDS if field in extra}
        kwargs = extra if bare else dict({"learning_rate": LR}, **extra)
        entry.setdefault("exec_mode", "eager")
        if generation == "k3" and entry.get("hook") == RESUME:
            entry["hook"] = RESUME_K3
        if "exclude_from_weight_decay" in entry:
            entry["variable_names"] = NAMES
        out.append(dict(entry, case=name, kwargs=kwargs))

    for group in (plain, clips, dtypes, schedules, hooks, absents, decays, averages, k3, combos):
        group(case)
    errors(case, generation)
    mode_cases(case, generation)
    sparse_cases(case)
    subnormals(case)
    return out


def plain(case):
    """Add one case for each argument of the rule."""
    case("defaults", bare=True)
    case("lr")
    case("rho", rho=RHO)
    case("rho0", rho=0.0)
    case("eps", epsilon=EPS)
    case("eps_none", epsilon=None)
    case("eps0", epsilon=0.0)
    case("momentum", momentum=MOMENTUM)
    case("centered", centered=True)
    case("momentum_centered", momentum=MOMENTUM, centered=True)
    case("momentum_eps", momentum=MOMENTUM, rho=RHO, epsilon=EPS)
    case("centered_eps", centered=True, rho=RHO, epsilon=EPS)
    case("momentum_centered_eps", **FULL)
    case("momentum_rho0", momentum=MOMENTUM, rho=0.0, epsilon=EPS)
    case("momentum1", TF, momentum=1.0)
    case("constraint", constraint_on=3)
    case("constraint_momentum", constraint_on=2, momentum=MOMENTUM)


def clips(case):
    """Add the cases of gradient clipping."""
    case("clipnorm", clipnorm=CLIPNORM)
    case("clipvalue", clipvalue=CLIPVALUE)
    case("global_clipnorm", global_clipnorm=GLOBAL_CLIPNORM)
    case("global_clipnorm_unreached", global_clipnorm=4999.7)
    case("clipnorm0", clipnorm=0.0)
    case("clip_both", TF, clipnorm=CLIPNORM, clipvalue=CLIPVALUE)
    case("clip_global_value", TF, global_clipnorm=GLOBAL_CLIPNORM, clipvalue=CLIPVALUE)
    case("err_clipnorm_global", TF, clipnorm=CLIPNORM, global_clipnorm=GLOBAL_CLIPNORM)
    case("clipnorm_momentum", clipnorm=CLIPNORM, momentum=MOMENTUM, rho=RHO, epsilon=EPS)


def dtypes(case):
    """Add the cases of other and of mixed dtypes."""
    wide, half, single = "float64", "float16", "float32"
    no_jax = "v2 exp new k3_tensorflow k3_torch"
    case("float64", no_jax, dtype=wide, rho=RHO, epsilon=EPS)
    case("float64_momentum_centered", no_jax, dtype=wide, **FULL)
    case("float64_clipnorm", no_jax, dtype=wide, clipnorm=CLIPNORM)
    case("float64_sched", no_jax, dtype=wide, learning_rate=EXP)
    case("float16", dtype=half, rho=RHO, epsilon=EPS)
    case("float16_momentum_centered", dtype=half, **FULL)
    case("mixed_dtypes", no_jax, dtype=[single, wide, half, single], epsilon=EPS)
    mixed = [half, single, wide, single]
    case("mixed_dtypes_momentum", TF, dtype=mixed, momentum=MOMENTUM, epsilon=EPS)
    wide_first = [wide, single, half, single]
    case("mixed_dtypes_f64first", "k3_tensorflow k3_torch", dtype=wide_first, epsilon=EPS)
    case("mixed_f16_first", "k3", dtype=[half, single, half, single], epsilon=EPS)
    case("float16_clipnorm", "k3", dtype=half, clipnorm=CLIPNORM, epsilon=EPS)
    case("float16_var_float32_grad", "k3", dtype=half, grad_dtype=single, epsilon=EPS)
    case("float32_var_float16_grad", "k3", dtype=single, grad_dtype=half, epsilon=EPS)
    accumulated = {"gradient_accumulation_steps": ACCUM, "loss_scale_factor": LOSS_SCALE}
    case("float16_loss_scale_accum", "k3", dtype=half, epsilon=EPS, **accumulated)
    case("float64_loss_scale_accum", "k3_tensorflow k3_torch", dtype=wide, **accumulated)
    decayed = dict(EMA_FREQUENT, weight_decay=WEIGHT_DECAY, finalize=True)
    case("float16_wd_ema", "k3", dtype=half, epsilon=EPS, **decayed)
    case("float64_wd_ema", "k3_tensorflow k3_torch", dtype=wide, **decayed)
    small = {"grad_scale": [1e-4] * 4, "centered": True}
    case("centered_small_g", "exp", **small)
    case("centered_small_g_eps", "exp", rho=RHO, epsilon=EPS, **small)
    case("momentum_centered_small_g", "exp", momentum=MOMENTUM, **small)
    case("momentum_centered_small_g_f64", "exp", dtype=wide, **dict(small, **FULL))


def schedules(case):
    """Add the cases whose learning rate is a schedule or a callable."""
    for name in sorted(SCHEDULES):
        on = "k3" if name == "cos_warm" else None
        case("sched_" + name, on, learning_rate=SCHEDULES[name])
    case("sched_momentum", learning_rate=EXP, momentum=MOMENTUM)
    case("lr_callable", note="learning_rate=lambda: 0.05")
    case("lr_int", TF, learning_rate=1)
    case("schedules", bare=True, **SCHEDULES)


def hooks(case):
    """Add the cases in which something happens in mid-run."""
    rate = "before step 5: opt.learning_rate = 0.02"
    case("lr_midrun", hook=rate)
    case("lr_midrun_momentum", hook=rate, momentum=MOMENTUM)
    built = rate + " (optimizer built with a schedule)"
    case("sched_set_lr", TF, hook=built, learning_rate=EXP)
    resume = RESUME
    case("resume", hook=resume, **FULL)
    case("resume_sched", hook=resume, learning_rate=INV)
    ema = dict(EMA_FREQUENT, momentum=MOMENTUM, rho=RHO, epsilon=EPS, finalize=True)
    case("resume_ema", "exp new k3", hook=resume, **ema)
    accumulating = "before step 7 (inside an accumulation window): new optimizer, set_weights"
    inside = dict(EMA, momentum=MOMENTUM, rho=RHO, epsilon=EPS)
    case("accum_resume", "k3", hook=accumulating, gradient_accumulation_steps=ACCUM, **inside)
    case("resume_decay", "v2", hook=resume, decay=DECAY)
    legacy = "before step 6: new optimizer, set_weights(old.get_weights()[1:])"
    case("resume_legacy_weights", "v2", hook=legacy, decay=DECAY)


def absents(case):
    """Add the cases in which some gradients are None."""
    case("none_always", absent=ALWAYS, unbuilt=True)
    case("none_mid", absent=[(3, 1), (4, 1), (4, 3)], unbuilt=True, momentum=MOMENTUM)
    case("none_first", absent=[(0, 1)], unbuilt=True)
    both = {"momentum": MOMENTUM, "centered": True}
    case("none_first_momentum", TF, absent=[(0, 1)], unbuilt=True, **both)
    case("none_all_at_2", TF, absent=ALL_AT_2, unbuilt=True)
    case("err_none_all", "k3", absent=ALL_AT_2)
    some = {"absent": [(1, 2), (5, 2), (8, 2)], "unbuilt": True}
    case("none_global_clipnorm", global_clipnorm=GLOBAL_CLIPNORM, **some)
