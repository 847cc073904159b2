"""Records torch.optim.RMSprop, one tensor at a time (foreach=False)."""

import torch

from cases import LR, LR_MID
from cases_native import native_cases
from inputs import MID_STEP, NAMES, RESUME_STEP, STEPS
from store import arguments, record_all

SLOTS = ("square_avg", "momentum_buffer", "grad_avg")


def create(case, params):
    """Create the optimizer of a case."""
    kwargs = dict(case["kwargs"])
    if case["case"] == "lr_tensor":
        kwargs["lr"] = torch.tensor(LR)
    return torch.optim.RMSprop(params, foreach=False, **kwargs)


def weights(opt, params):
    """Return the existing state tensors by (slot, parameter) name, slot by slot."""
    out = {}
    for slot in SLOTS:
        for name, param in zip(NAMES, params):
            if slot in opt.state.get(param, {}):
                out[f"{slot}/{name}"] = opt.state[param][slot].numpy()
    return out


def apply_hook(case, time, opt, params):
    """Do what a case does in mid-run and return the optimizer to go on with."""
    hook = case.get("hook") or ""
    if time == MID_STEP and "param_groups" in hook:
        opt.param_groups[0]["lr"] = LR_MID
    if time == RESUME_STEP and "load_state_dict" in hook:
        state = opt.state_dict()
        opt = create(case, params)
        opt.load_state_dict(state)
    return opt


def describe(trace, opt):
    """Keep what the optimizer says about itself."""
    trace.order = [f"{slot}/{name}" for slot in SLOTS for name in NAMES]
    trace.info["weight_names"] = trace.names()
    group = opt.state_dict()["param_groups"][0]
    trace.info["get_config"] = {k: v for k, v in group.items() if k != "params"}
    if isinstance(trace.info["get_config"]["lr"], torch.Tensor):
        trace.info["get_config"]["lr"] = float(trace.info["get_config"]["lr"])


def run(case, inputs, trace):
    """Record one case."""
    start, grads, mask = inputs.of(case)
    trace.feed(grads, mask)
    params = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    opt = create(case, params)
    trace.begin([param.detach().numpy() for param in params])
    for time in range(STEPS):
        opt = apply_hook(case, time, opt, params)
        before = float(opt.param_groups[0]["lr"])
        for index, param in enumerate(params):
            absent = mask[time, index]
            param.grad = None if absent else torch.tensor(grads[index][time])
        opt.step()
        values = [param.detach().numpy() for param in params]
        # The step count of the first parameter, which every case feeds from the start.
        count = int(opt.state[params[0]]["step"])
        rate = float(opt.param_groups[0]["lr"])
        trace.step(values, weights(opt, params), it=count, lr=rate, lr_before=before)
    describe(trace, opt)


def main():
    """Record every case."""
    options = arguments(["torch_rmsprop"])
    torch.set_num_threads(1)
    versions = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    record_all(options, native_cases(options.system), run, versions)


if __name__ == "__main__":
    main()
