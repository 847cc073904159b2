"""Drives one optimizer that applies gradients, through a thin adaptor of its framework."""

import numpy as np

from cases import LR, LR_MID
from inputs import MID_STEP, NAMES, RESUME_STEP, STEPS
from store import plain

ACCUMULATING_STEP = 7


class Runner:
    """One optimizer over fixed variables."""

    def __init__(self, kit, case):
        """Start from a cleared session."""
        self.kit, self.case = kit, case
        kit.clear()
        self.variables, self.opt, self.compiled = [], None, None

    def make_variables(self, start):
        """Create the parameters, one of them with a constraint where asked."""
        index = self.case.get("constraint_on")
        for position, value in enumerate(start):
            constrained = index == position
            name = "embedding" if self.case.get("sparse") else NAMES[position]
            self.variables.append(self.kit.variable(value, name, constrained))

    def create(self):
        """Create the optimizer, wrapped for loss scaling where asked."""
        kwargs = dict(self.case["kwargs"])
        rate = kwargs.get("learning_rate")
        if self.case["case"] == "lr_callable":
            kwargs["learning_rate"] = lambda: LR
        elif isinstance(rate, list):
            kwargs["learning_rate"] = self.kit.schedule(rate)
        self.opt = self.kit.optimizer(kwargs, self.case.get("lso_kwargs"))
        self.compiled = None
        wanted = self.case.get("exclude_from_weight_decay")
        if wanted:
            named = dict(wanted)
            if named["var_list"] is not None:
                named["var_list"] = [self.variables[index] for index in named["var_list"]]
            self.opt.exclude_from_weight_decay(**named)

    def build(self):
        """Let the optimizer create its weights now, where its class can."""
        return self.kit.build(self.opt, self.variables, self.case)

    def resume(self):
        """Replace the optimizer by a new one that takes over its weights."""
        old = self.opt
        self.create()
        self.kit.restore(old, self.opt, self.variables, "[1:]" in self.case["hook"])

    def hook(self, time):
        """Do what the case does before a step."""
        hook = self.case.get("hook") or ""
        if time == MID_STEP and "opt.learning_rate" in hook:
            self.opt.learning_rate = LR_MID
        step = ACCUMULATING_STEP if "inside an accumulation" in hook else RESUME_STEP
        if time == step and "new optimizer" in hook:
            self.resume()

    def step(self, trace, time, grads):
        """Apply one step and record what it leaves."""
        self.hook(time)
        before = self.kit.rate(self.opt)
        if self.compiled is None:
            self.compiled = self.kit.stepper(self.opt, self.variables, self.case)
        self.compiled(grads)
        scalars = dict(self.kit.counters(self.opt), lr=self.kit.rate(self.opt), lr_before=before)
        trace.step(self.values(), self.kit.weights(self.opt), **scalars)

    def values(self):
        """Return the parameters as arrays."""
        return [self.kit.value(variable) for variable in self.variables]


def run(kit, case, inputs, trace):
    """Record one case of a framework."""
    if case["case"] == "schedules":
        record_schedules(kit, case, trace)
        return
    runner = Runner(kit, case)
    grads = feeds(kit, runner, inputs, trace)
    runner.create()
    trace.info["get_config"] = plain(runner.opt.get_config())
    built = runner.build()
    trace.begin(runner.values(), kit.weights(runner.opt) if built else None)
    for time in range(STEPS):
        runner.step(trace, time, grads[time])
    trace.info["weight_names"] = kit.weight_names(runner.opt)
    if case.get("finalize"):
        runner.opt.finalize_variable_values(runner.variables)
        for index, value in enumerate(runner.values()):
            trace.fixed[f"pfinal{index}"] = np.array(value)


def feeds(kit, runner, inputs, trace):
    """Create the parameters and return the list of gradients of each step."""
    case = runner.case
    if case.get("sparse"):
        start, rows, values = inputs.sparse_of(case)
        trace.fixed.update(si0=rows, sv0=values)
        runner.make_variables([start])
        return [[kit.slices(values[t], rows[t], start.shape)] for t in range(STEPS)]
    start, grads, mask = inputs.of(case)
    trace.feed(grads, mask)
    runner.make_variables(start)
    out = []
    for time in range(STEPS):
        row = zip(mask[time], grads)
        out.append([None if gone else kit.tensor(grad[time]) for gone, grad in row])
    return out


def record_schedules(kit, case, trace):
    """Record the value of every schedule at the steps 0 to 40, as an integer and as a float."""
    errors, configs = {}, {}
    for name, spec in sorted(case["kwargs"].items()):
        try:
            schedule = kit.schedule(spec)
        except Exception as error:  # an argument that this version does not have is a result
            errors[name] = f"{type(error).__name__}: {error}"
            continue
        configs[name] = plain(schedule.get_config())
        for suffix, dtype in (("int", kit.step_dtype), ("f32", "float32")):
            steps = np.arange(41).astype(dtype)
            rows = [np.asarray(kit.plain_value(schedule(kit.tensor(step)))) for step in steps]
            trace.fixed[f"{name}__{suffix}"] = np.stack(rows)
    trace.info.update(schedule_errors=errors, get_config=configs)
