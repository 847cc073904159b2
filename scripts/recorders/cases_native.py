"""The cases of tf.train, torch.optim and optax, in one vocabulary and in their own."""

from cases import DECAY, EPS, LR, LR_MID, MOMENTUM, RHO, WEIGHT_DECAY, subnormal

WORDS = {
    "tf13_train": {"lr": "learning_rate", "rho": "decay", "epsilon": "epsilon"},
    "torch_rmsprop": {"lr": "lr", "rho": "alpha", "epsilon": "eps"},
    "optax_rmsprop": {"lr": "learning_rate", "rho": "decay", "epsilon": "eps"},
}
FIELDS = ("dtype", "hook", "absent", "sparse", "exec_mode", "grad_scale", "start_scale", "note")
BOTH = {"momentum": MOMENTUM, "centered": True}
FULL = dict(BOTH, rho=RHO, epsilon=EPS)


def native_cases(system):
    """Return the cases of one of the three systems."""

    def case(name, **extra):
        entry = {field: extra.pop(field) for field in FIELDS if field in extra}
        kwargs = extra if extra.pop("bare", False) else dict({"lr": LR}, **extra)
        kwargs = {WORDS[system].get(key, key): value for key, value in kwargs.items()}
        return dict(entry, case=name, kwargs=kwargs)

    own = {"tf13_train": train_cases, "torch_rmsprop": torch_cases, "optax_rmsprop": optax_cases}
    return common_cases(case) + dtype_cases(case) + own[system](case)


def common_cases(case):
    """Return what all three can do."""
    return [
        case("lr"),
        case("rho", rho=RHO),
        case("rho0", rho=0.0),
        case("eps", epsilon=EPS),
        case("eps0", epsilon=0.0),
        case("momentum", momentum=MOMENTUM),
        case("centered", centered=True),
        case("momentum_centered", **BOTH),
        case("momentum_eps", momentum=MOMENTUM, rho=RHO, epsilon=EPS),
        case("centered_eps", centered=True, rho=RHO, epsilon=EPS),
        case("momentum_centered_eps", **FULL),
        case("momentum_rho0", momentum=MOMENTUM, rho=0.0, epsilon=EPS),
        case("momentum1", momentum=1.0),
        case("momentum_gt1", momentum=1.5),
    ]


def dtype_cases(case):
    """Return the cases of other dtypes and of subnormal numbers."""
    out = []
    for dtype in ("float64", "float16"):
        out.append(case(dtype, dtype=dtype, rho=RHO, epsilon=EPS))
        out.append(case(dtype + "_momentum_centered", dtype=dtype, **FULL))
    for dtype in ("float32", "float64"):
        name, kwargs, scales = subnormal(dtype)
        more = dict(kwargs, dtype=dtype, **scales)
        out.append(case(name, **more))
        out.append(case(name + "_momentum_centered", **dict(more, **BOTH)))
    return out


def train_cases(case):
    """Return what only tf.train has: tensors as arguments, None and rows as gradients."""
    return [
        case("defaults"),
        case("lr_callable", note="learning_rate=lambda: 0.05"),
        case("lr_tensor", note="learning_rate=tf.constant(0.05)"),
        case("lr_midrun", hook=f"before step 5: the learning rate variable is set to {LR_MID:g}"),
        case("none_always", absent=[(step, 2) for step in range(12)]),
        case("none_mid", momentum=MOMENTUM, absent=[(3, 1), (4, 1), (4, 3)]),
        case("neg_momentum", momentum=-0.5),
        case("sparse", sparse=True),
        case("sparse_momentum_eps", sparse=True, momentum=MOMENTUM, rho=RHO, epsilon=EPS),
        case("sparse_momentum_centered", sparse=True, **FULL),
        case("err_lr_missing", bare=True),
        case("err_clipnorm_kwarg", clipnorm=0.5),
        case("err_eps_none", epsilon=None),
        case("err_none_all", absent=[(step, i) for step in range(12) for i in range(4)]),
    ]


def torch_cases(case):
    """Return what only torch has: coupled weight decay, state dictionaries and refusals."""
    resume = "before step 6: new optimizer, load_state_dict(old.state_dict())"
    lows = ("lr", "epsilon", "momentum", "weight_decay", "rho")
    return [
        case("defaults", bare=True),
        case("weight_decay", weight_decay=WEIGHT_DECAY),
        case("weight_decay_momentum", weight_decay=WEIGHT_DECAY, **FULL),
        case("float64_weight_decay", dtype="float64", weight_decay=WEIGHT_DECAY),
        case("maximize", maximize=True, **FULL),
        case("lr_midrun", hook=f"before step 5: opt.param_groups[0]['lr'] = {LR_MID:g}"),
        case("lr_tensor", note="lr=torch.tensor(0.05)"),
        case("lr_int", lr=1),
        case("none_always", absent=[(step, 2) for step in range(12)]),
        case("none_mid", momentum=MOMENTUM, absent=[(3, 1), (4, 1), (4, 3)]),
        case("none_first", absent=[(0, 1)]),
        case("none_first_momentum", absent=[(0, 1)], **BOTH),
        case("none_all_at_2", absent=[(2, i) for i in range(4)]),
        case("resume", hook=resume, **FULL),
        case("mixed_dtypes", dtype=["float32", "float64", "float16", "float32"], epsilon=EPS),
        case("rho_gt1", rho=1.5),
        case("err_eps_none", epsilon=None),
        case("err_clipnorm_kwarg", clipnorm=0.5),
        case("err_decay_kwarg", decay=DECAY),
    ] + [case("err_neg_" + word, **{word: -0.5}) for word in lows]


def optax_cases(case):
    """Return what only optax has: placement of epsilon, start value, corrections, jit."""
    return [
        case("eps_outside", eps_in_sqrt=False),
        case("eps_outside_centered", eps_in_sqrt=False, **FULL),
        case("initial_scale1", initial_scale=1.0),
        case("initial_scale1_centered", initial_scale=1.0, **FULL),
        case("momentum0", momentum=0.0),
        case("neg_momentum", momentum=-0.5),
        case("nesterov", nesterov=True, momentum=MOMENTUM, rho=RHO, epsilon=EPS),
        case("bias_correction", bias_correction=True),
        case("bias_correction_centered", bias_correction=True, **FULL),
        case("lr_callable", note="learning_rate=lambda count: 0.05 / (1 + 0.1 * count)"),
        case("lr_jit", exec_mode="jit"),
        case("momentum_centered_eps_jit", exec_mode="jit", **FULL),
        case("eps_outside_jit", exec_mode="jit", eps_in_sqrt=False, rho=RHO, epsilon=EPS),
        case("err_lr_missing", bare=True),
        case("err_eps_none", epsilon=None),
        case("err_weight_decay_kwarg", weight_decay=WEIGHT_DECAY),
    ]
