"""The cases of compiled and stateless steps, of loss scaling and of sparse gradients."""

from cases import (
    ACCUM,
    CLIPNORM,
    CLIPVALUE,
    DECAY,
    EMA_FREQ,
    EMA_MOMENTUM,
    EPS,
    EXP,
    FULL,
    GLOBAL_CLIPNORM,
    INV,
    LOSS_SCALE,
    MOMENTUM,
    RHO,
    WEIGHT_DECAY,
)

INF, NAN = float("inf"), float("nan")
EMA = {"use_ema": True, "ema_momentum": EMA_MOMENTUM, "ema_overwrite_frequency": EMA_FREQ}
GROWING = {"initial_scale": 64.0, "dynamic_growth_steps": 3}
FLOOR = {"initial_scale": 2.0, "dynamic_growth_steps": 4}
BAD = [(4, 1, (0,), INF), (8, 2, (0, 0), NAN)]
BAD_EARLY = [(0, 0, (), INF), (1, 0, (), -INF), (2, 3, (0, 0, 0), NAN)]
MODES = {
    "v2": [("graph", None), ("xla", None)],
    "exp": [("graph", None), ("xla", None)],
    "new": [("graph", None), ("xla", None)],
    "k3": [
        ("jit", "k3_tensorflow k3_jax"),
        ("xla", "k3_tensorflow"),
        ("stateless", "k3_jax k3_torch"),
    ],
}


def mode_cases(case, generation):
    """Add the compiled, stateless and loss-scaled cases of a generation."""
    for mode, on in MODES[generation]:
        for name, kwargs in compiled(generation, mode).items():
            bare = name == "defaults"
            case(f"{name}_{mode}", on, bare=bare, exec_mode=mode, **kwargs)
    scaled(case, "", None, "eager")
    scaled(case, "_stateless", "k3_jax k3_torch", "stateless")
    static = {"initial_scale": LOSS_SCALE, "dynamic": False}
    case("lso_static", "v2 exp new", lso_kwargs=static, unbuilt=True)


def compiled(generation, mode):
    """Return the arguments of the cases that are run compiled, by name."""
    out = {
        "defaults": {},
        "momentum_eps": {"momentum": MOMENTUM, "rho": RHO, "epsilon": EPS},
        "momentum_centered": {"momentum": MOMENTUM, "centered": True},
        "sched_clip": {"learning_rate": EXP, "clipnorm": CLIPNORM, "momentum": MOMENTUM},
    }
    combo = dict(FULL, clipnorm=CLIPNORM, constraint_on=3, finalize=True, **EMA)
    if generation == "exp" and mode == "xla":
        out["combo"] = combo
    combo = dict(combo, weight_decay=WEIGHT_DECAY)
    if generation == "new" and mode == "xla":
        out["combo"] = combo
    if generation == "k3":
        out["accum"] = {"gradient_accumulation_steps": ACCUM}
        out["combo"] = dict(combo, loss_scale_factor=LOSS_SCALE)
        more = {"gradient_accumulation_steps": ACCUM, "ema_overwrite_frequency": 2}
        out["combo_accum"] = dict(out["combo"], **more)
    return out


def scaled(case, suffix, on, mode):
    """Add the cases of LossScaleOptimizer."""
    more = {"lso_kwargs": GROWING, "poison": BAD, "exec_mode": mode, "unbuilt": True}
    case("lso" + suffix, on, **more)
    case("lso_momentum_clip" + suffix, on, momentum=MOMENTUM, clipnorm=CLIPNORM, **more)
    case("lso_sched" + suffix, on, learning_rate=INV, **more)
    case("lso_floor" + suffix, on, **dict(more, lso_kwargs=FLOOR, poison=BAD_EARLY))


def sparse_cases(case):
    """Add the cases whose gradient is a set of rows with duplicates."""
    on = "v2 exp new k3_tensorflow"

    def sparse(name, where=on, **kwargs):
        case("sparse" + name, where, sparse=True, **kwargs)

    sparse("")
    sparse("_eps", rho=RHO, epsilon=EPS)
    sparse("_momentum", momentum=MOMENTUM)
    sparse("_momentum_eps", momentum=MOMENTUM, rho=RHO, epsilon=EPS)
    sparse("_centered", centered=True)
    sparse("_centered_eps", centered=True, rho=RHO, epsilon=EPS)
    sparse("_momentum_centered", **FULL)
    sparse("_clipnorm", clipnorm=CLIPNORM)
    sparse("_clipvalue", clipvalue=CLIPVALUE)
    sparse("_global_clipnorm", global_clipnorm=GLOBAL_CLIPNORM)
    sparse("_clip_both", "v2 exp new", clipnorm=CLIPNORM, clipvalue=CLIPVALUE)
    sparse("_rho0", rho=0.0, epsilon=EPS)
    sparse("_constraint", constraint_on=0)
    sparse("_float64", dtype="float64", momentum=MOMENTUM, rho=RHO, epsilon=EPS)
    sparse("_sched", "v2 exp new", learning_rate=INV)
    sparse("_decay", "v2", decay=DECAY)
    sparse("_ema", "exp new k3_tensorflow", **EMA)
    wd = {"weight_decay": WEIGHT_DECAY}
    modern = "new k3_tensorflow"
    sparse("_weight_decay", modern, **wd)
    sparse("_weight_decay_momentum", modern, momentum=MOMENTUM, rho=RHO, epsilon=EPS, **wd)
    sparse("_centered_rho09", "k3_tensorflow", centered=True, epsilon=EPS)
    both = {"momentum": MOMENTUM, "centered": True, "epsilon": EPS}
    sparse("_momentum_centered_rho09", "k3_tensorflow", **both)
    every = dict(both, weight_decay=WEIGHT_DECAY, **EMA)
    for dtype in ("float32", "float64", "float16"):
        sparse(f"_all_{dtype}", "k3_tensorflow", dtype=dtype, **every)
    sparse("_accum", "k3_tensorflow", gradient_accumulation_steps=ACCUM)
    sparse("_loss_scale", "k3_tensorflow", loss_scale_factor=LOSS_SCALE)
    sparse("_eps0", "k3_tensorflow", epsilon=0.0)
    sparse("_lso", "k3_tensorflow", lso_kwargs=GROWING)
