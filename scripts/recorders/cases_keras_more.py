"""More cases of the optimizers that apply gradients: decay, averages, Keras 3 and errors."""

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
    LR,
    MOMENTUM,
    RHO,
    SCHEDULES,
    WEIGHT_DECAY,
    subnormal,
)

TF = "v2 exp new"
NEW = "new k3"
EMA = {"use_ema": True, "ema_momentum": EMA_MOMENTUM}
EMA_FREQUENT = dict(EMA, ema_overwrite_frequency=EMA_FREQ)


def decays(case):
    """Add the cases of learning-rate decay and of weight decay."""
    case("decay", "v2", decay=DECAY)
    case("decay_momentum", "v2", decay=DECAY, momentum=MOMENTUM, rho=RHO, epsilon=EPS)
    case("decay_sched", "v2", decay=DECAY, learning_rate=EXP)
    case("decay_float64", "v2", dtype="float64", decay=DECAY)
    case("decay_float16", "v2", dtype="float16", decay=DECAY, epsilon=EPS)
    case("decay_kwarg", "exp new k3", decay=DECAY)
    case("lr_kwarg", TF, bare=True, lr=LR)
    wd = {"weight_decay": WEIGHT_DECAY}
    case("weight_decay", "exp new k3", **wd)
    case("weight_decay0", NEW, weight_decay=0.0)
    case("weight_decay_momentum", NEW, momentum=MOMENTUM, rho=RHO, epsilon=EPS, **wd)
    case("weight_decay_sched", NEW, learning_rate=INV, **wd)
    case("weight_decay_exclude", NEW, exclude_from_weight_decay=excluded([1, 3]), **wd)
    named = excluded(None, ["kernel"])
    case("weight_decay_exclude_names", NEW, exclude_from_weight_decay=named, **wd)
    case("weight_decay_none_grad", NEW, absent=[(1, 2), (2, 2)], unbuilt=True, **wd)
    case("weight_decay_float64", "new", dtype="float64", **wd)
    case("weight_decay_float16", "new", dtype="float16", epsilon=EPS, **wd)


def excluded(variables, names=None):
    """Return the arguments of exclude_from_weight_decay; variables by position."""
    return {"var_list": variables, "var_names": names}


def averages(case):
    """Add the cases of the moving average of the variables."""
    on = "exp new k3"
    ema = dict(EMA, finalize=True)
    default = {"ema_overwrite_frequency": None}
    case("ema_none", "exp new", **dict(ema, **default))
    case("ema_none", "k3", **ema)
    case("ema_freq", on, ema_overwrite_frequency=EMA_FREQ, **ema)
    case("ema_freq1", on, ema_overwrite_frequency=1, **ema)
    case("ema_freq0", "k3", ema_overwrite_frequency=0, **ema)
    case("ema_float64", "exp new", dtype="float64", ema_overwrite_frequency=EMA_FREQ, **ema)
    case("ema_default_freq", "exp new", **ema)
    case("ema_constraint", on, constraint_on=3, ema_overwrite_frequency=EMA_FREQ, **ema)
    momentum = dict(ema, ema_overwrite_frequency=EMA_FREQ, momentum=MOMENTUM, rho=RHO, epsilon=EPS)
    case("ema_momentum_wd", "exp", **momentum)
    case("ema_momentum_wd", NEW, weight_decay=WEIGHT_DECAY, **momentum)
    case("ema_none_grad", "exp new", absent=[(3, 1)], **dict(ema, **default))
    case("ema_none_grad", "k3", absent=[(3, 1)], **ema)
    frequent = dict(ema, ema_overwrite_frequency=EMA_FREQ)
    case("ema_none_grad_overwrite", "exp new", trio=True, absent=[(2, 1)], **frequent)
    same = dict(ema, trio=True, unbuilt=True, absent=[(3, 1)])
    case("ema_none_grad_same_shape", "exp new", **dict(same, **default))


def k3(case):
    """Add what only Keras 3 has: loss scaling and gradient accumulation."""
    accum = {"gradient_accumulation_steps": ACCUM}
    case("loss_scale", "k3", loss_scale_factor=LOSS_SCALE)
    case("loss_scale_clip", "k3", loss_scale_factor=LOSS_SCALE, clipnorm=CLIPNORM)
    case("loss_scale_accum", "k3", loss_scale_factor=LOSS_SCALE, **accum)
    case("accum", "k3", **accum)
    case("accum_momentum_centered", "k3", **dict(accum, **FULL))
    case("accum_clipnorm", "k3", clipnorm=CLIPNORM, **accum)
    case("accum_global_clipnorm", "k3", global_clipnorm=GLOBAL_CLIPNORM, **accum)
    case("accum_weight_decay", "k3", weight_decay=WEIGHT_DECAY, **accum)
    case("accum_ema", "k3", finalize=True, **dict(accum, **EMA))
    often = dict(EMA, ema_overwrite_frequency=2, finalize=True)
    case("accum_ema_freq2", "k3", **dict(accum, **often))
    case("accum_sched", "k3", learning_rate=INV, **accum)
    case("accum_constraint", "k3", constraint_on=3, **accum)
    case("accum_none_grad", "k3", absent=[(1, 1), (4, 1)], **accum)
    case("accum_none_grad_at_update", "k3", absent=[(2, 1)], **accum)
    case("accum0", "k3", gradient_accumulation_steps=0)


def combos(case):
    """Add the cases that use everything at once."""
    v2 = dict(FULL, decay=DECAY, clipvalue=CLIPVALUE)
    case("combo", "v2", constraint_on=3, clipnorm=CLIPNORM, **v2)
    without = dict(v2, global_clipnorm=GLOBAL_CLIPNORM)
    without.pop("momentum")
    case("combo_nomomentum", "v2", constraint_on=3, **without)
    base = dict(FULL, finalize=True, **EMA_FREQUENT)
    decayed = dict(base, weight_decay=WEIGHT_DECAY)
    scaled = dict(decayed, loss_scale_factor=LOSS_SCALE)
    several = [("exp", base), ("new", decayed), ("k3", scaled)]
    for on, kwargs in several:
        case("combo", on, constraint_on=3, clipnorm=CLIPNORM, **kwargs)
        rated = dict(kwargs, learning_rate=SCHEDULES["cosr"], global_clipnorm=GLOBAL_CLIPNORM)
        case("combo_sched_global", on, constraint_on=2, **rated)
    some = dict(scaled, exclude_from_weight_decay=excluded(None, ["bias|gamma"]))
    case("combo_clipvalue", "k3", clipvalue=CLIPVALUE, **some)
    accum = dict(scaled, gradient_accumulation_steps=ACCUM, ema_overwrite_frequency=2)
    case("combo_accum", "k3", constraint_on=3, clipnorm=CLIPNORM, **accum)


def errors(case, generation):
    """Add the cases that a class refuses or quietly accepts."""
    prefix = "" if generation == "k3" else "err_"
    case("err_unknown_kwarg", foo=1)
    case("err_loss_scale_factor", TF, loss_scale_factor=2.0)
    case("err_grad_accum", TF, gradient_accumulation_steps=2)
    case(prefix + "neg_clipnorm", clipnorm=-1.0)
    case(prefix + "momentum_gt1", momentum=1.5)
    case(prefix + "neg_momentum", momentum=-0.5)
    case("err_neg_decay", TF, decay=-0.1)
    case("err_weight_decay_kwarg", "v2", weight_decay=DECAY)
    case("err_use_ema_kwarg", "v2", use_ema=True)
    case("err_ema_momentum", "exp new k3", use_ema=True, ema_momentum=1.5)
    case("err_ema_freq0", "exp new", use_ema=True, ema_overwrite_frequency=0)
    case("err_ema_freq_float", "exp new k3", use_ema=True, ema_overwrite_frequency=2.5)
    case("err_lr_kwarg", "k3", lr=0.1)
    case("err_clip_two", "k3", clipnorm=CLIPNORM, clipvalue=CLIPVALUE)
    case("err_clip_two_b", "k3", clipnorm=CLIPNORM, global_clipnorm=CLIPVALUE)
    case("err_accum1", "k3", gradient_accumulation_steps=1)
    case("err_lr_int", "k3", learning_rate=1)
    rate = "before step 5: opt.learning_rate = 0.02"
    case("err_sched_set_lr", "k3", hook=rate, learning_rate=EXP)


def subnormals(case):
    """Add the cases whose numbers pass through the subnormal range."""
    for dtype, on in (("float32", None), ("float64", "v2 exp new k3_tensorflow k3_torch")):
        name, kwargs, scales = subnormal(dtype)
        more = dict(scales, dtype=dtype, learning_rate=kwargs["lr"], epsilon=kwargs["epsilon"])
        case(name, on, **more)
        case(name + "_momentum_centered", on, momentum=MOMENTUM, centered=True, **more)
