"""The hyper-parameters of the recorded runs and what several case tables share."""

LR = 0.05
LR_MID = 0.02
RHO = 0.5
EPS = 0.001
MOMENTUM = 0.9
DECAY = 0.1
CLIPNORM = 0.5
CLIPVALUE = 0.3
WEIGHT_DECAY = 0.01

# Chosen so that squares, momentum and parameters all pass through the subnormal range.
SUBNORMAL_SCALES = {
    "float32": ([1e-20, 1e-20, 1e-36, 1e-36], [1e-38] * 4),
    "float64": ([1e-160, 1e-160, 1e-305, 1e-305], [1e-308] * 4),
}


def subnormal(dtype):
    """Return name, arguments and input scales of the case that works on subnormal numbers."""
    name = "subnormal" if dtype == "float32" else "subnormal_" + dtype
    grads, start = SUBNORMAL_SCALES[dtype]
    return name, {"lr": 1e-6, "epsilon": EPS}, {"grad_scale": grads, "start_scale": start}


GLOBAL_CLIPNORM = 0.5
EMA_MOMENTUM = 0.9
EMA_FREQ = 3
LOSS_SCALE = 8.0
ACCUM = 3
FULL = {"momentum": MOMENTUM, "centered": True, "rho": RHO, "epsilon": EPS}

EXP = ["ExponentialDecay", {"initial_learning_rate": LR, "decay_steps": 5, "decay_rate": 0.7}]
INV = ["InverseTimeDecay", {"initial_learning_rate": LR, "decay_steps": 4, "decay_rate": 0.6}]
POLY = ["PolynomialDecay", {"initial_learning_rate": LR, "end_learning_rate": 0.004}]
COS = ["CosineDecay", {"initial_learning_rate": LR, "decay_steps": 9, "alpha": 0.1}]
WARM = {"initial_learning_rate": 0.001, "warmup_target": LR, "warmup_steps": 4}
RESTARTS = ["CosineDecayRestarts", {"initial_learning_rate": LR, "first_decay_steps": 4}]
PIECES = ["PiecewiseConstantDecay", {"boundaries": [3, 7], "values": [LR, LR_MID, 0.005]}]


def changed(schedule, **kwargs):
    """Return a schedule with some arguments replaced."""
    return [schedule[0], dict(schedule[1], **kwargs)]


SCHEDULES = {
    "exp": EXP,
    "exp_stair": changed(EXP, staircase=True),
    "inv": INV,
    "inv_stair": changed(INV, staircase=True),
    "poly": changed(POLY, decay_steps=8, power=2.0),
    "poly_sqrt": changed(POLY, decay_steps=8, power=0.5),
    "poly_cycle": changed(POLY, decay_steps=5, power=1.0, cycle=True),
    "cos": COS,
    "cos_warm": changed(COS, **WARM),
    "cosr": changed(RESTARTS, t_mul=2.0, m_mul=0.8, alpha=0.05),
    "cosr_t1": changed(RESTARTS, t_mul=1.0, m_mul=0.9, alpha=0.0),
    "cosr_t15": changed(RESTARTS, first_decay_steps=3, t_mul=1.5, m_mul=1.0, alpha=0.0),
    "piecewise": PIECES,
    "piecewise1": changed(PIECES, boundaries=[4], values=[LR, 0.01]),
    "piecewise_frac": changed(PIECES, boundaries=[2.5, 7.5]),
}
