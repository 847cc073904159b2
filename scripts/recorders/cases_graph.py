"""The cases of the optimizers that build a graph once: Keras 1 and 2 and tf.keras of TF 1."""

from cases import CLIPNORM, CLIPVALUE, DECAY, EPS, LR, MOMENTUM, RHO, WEIGHT_DECAY, subnormal

RESUME = "before step 6: new optimizer, set_weights(old.get_weights())"
LEGACY = RESUME[:-1] + "[1:]) i.e. a Keras 2.2-style list without iterations"


def graph_cases(system):
    """Return the cases of a graph-mode system."""
    key = "learning_rate" if system == "k23_tf" else "lr"

    def case(name, floatx="float32", **extra):
        fields = ("constraint_on", "hook", "dtype", "sparse", "grad_scale", "start_scale")
        entry = {field: extra.pop(field) for field in fields if field in extra}
        kwargs = dict(extra) if name in ("defaults", "lr_alias") else dict({key: LR}, **extra)
        return dict(entry, case=name, kwargs=kwargs, floatx=floatx, dtype=floatx)

    cases = plain_cases(case) + mode_cases(case) + error_cases(case)
    if system == "k23_tf":
        cases += later_cases(case)
    if system == "tfk113_v1":
        cases.append(case("combo_free", rho=RHO, epsilon=EPS, decay=DECAY, **both_clips()))
    return cases


def both_clips():
    """Return the two clip arguments of the combined case."""
    return {"clipnorm": CLIPNORM, "clipvalue": CLIPVALUE}


def plain_cases(case):
    """Return one case for each argument."""
    return [
        case("defaults"),
        case("lr"),
        case("rho", rho=RHO),
        case("rho0", rho=0.0),
        case("eps", epsilon=EPS),
        case("eps_none", epsilon=None),
        case("eps0", epsilon=0.0),
        case("decay", decay=DECAY),
        case("clipnorm", clipnorm=CLIPNORM),
        case("clipnorm0", clipnorm=0.0),
        case("clipvalue", clipvalue=CLIPVALUE),
        case("clip_both", clipnorm=2.0, clipvalue=CLIPVALUE),
        case("constraint", constraint_on=3),
        case("constraint_small_param", constraint_on=2),
        case("lr_midrun", hook="before step 5: K.set_value(opt.lr, 0.02)"),
        case("combo", constraint_on=3, rho=RHO, epsilon=EPS, decay=DECAY, **both_clips()),
        case("resume", hook=RESUME, rho=RHO),
        case("resume_decay", hook=RESUME, decay=DECAY),
    ]


def mode_cases(case):
    """Return the cases of other dtypes, of sparse gradients and of subnormal numbers."""
    out = [
        case("float64", "float64", rho=RHO, epsilon=EPS, decay=DECAY),
        case("float64_clip", "float64", clipnorm=CLIPNORM),
        case("float16", "float16", rho=RHO, epsilon=EPS),
        case("sparse", sparse=True),
        case("sparse_eps", sparse=True, rho=RHO, epsilon=EPS),
        case("sparse_clipnorm", sparse=True, clipnorm=CLIPNORM),
        case("sparse_clipvalue", sparse=True, clipvalue=CLIPVALUE),
    ]
    for dtype in ("float32", "float64"):
        name, kwargs, scales = subnormal(dtype)
        entry = case(name, dtype, epsilon=kwargs["epsilon"], **scales)
        entry["kwargs"] = {k: kwargs["lr"] if v == LR else v for k, v in entry["kwargs"].items()}
        out.append(entry)
    return out


def error_cases(case):
    """Return the cases that ask for what the class does not have."""
    return [
        case("err_none_grad"),
        case("err_momentum_kwarg", momentum=MOMENTUM),
        case("err_centered_kwarg", centered=True),
        case("err_weight_decay_kwarg", weight_decay=WEIGHT_DECAY),
        case("neg_clipnorm", clipnorm=-1.0),
    ]


def later_cases(case):
    """Return what only Keras 2.3 has."""
    return [
        case("resume_legacy_weights", hook=LEGACY, decay=DECAY),
        case("lr_alias", lr=LR),
        case("decay_pos_eps_kw", epsilon=EPS, decay=DECAY),
    ]
