"""Other libraries' RMSprop on a GPU, each as a function that takes one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = Callable[[], Any]


def _torch_foreach(sizes: list[int]) -> Step:
    """Step torch.optim.RMSprop in its foreach mode."""
    import torch

    live = [torch.nn.Parameter(torch.zeros(n, device="cuda")) for n in sizes]
    for tensor in live:
        tensor.grad = torch.randn_like(tensor)
    return torch.optim.RMSprop(live, foreach=True).step


def _torch_compiled(sizes: list[int]) -> Step:
    """Step the same, compiled."""
    import torch

    step = torch.compile(_torch_foreach(sizes))
    step()
    return step


def _optax(sizes: list[int]) -> Step:
    """Step optax.rmsprop under jit, old arrays donated."""
    import functools
    import os

    # JAX takes three quarters of the device's memory otherwise, for as long as it lives.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import optax

    optimizer = optax.rmsprop(0.001)
    live = [jax.numpy.zeros(n) for n in sizes]
    changes = [jax.numpy.ones(n) for n in sizes]
    state = optimizer.init(live)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def advance(live: Any, state: Any, changes: Any) -> Any:
        updates, state = optimizer.update(changes, state, live)
        return optax.apply_updates(live, updates), state

    held = [live, state]

    def step() -> None:
        held[:] = advance(*held, changes)
        # JAX has a stream of its own, which events on ours do not see.
        jax.block_until_ready(held[0])

    step()
    return step


def _cupy_kernel(sizes: list[int]) -> Step:
    """Step a hand-written kernel, a launch per tensor."""
    import cupy

    kernel = cupy.RawKernel(
        r"""extern "C" __global__ void step(float* w, const float* g, float* v, long long n) {
        long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
        if (i < n) { float x = g[i], s = 0.9f * v[i] + 0.1f * x * x; v[i] = s;
        w[i] -= 0.001f * x / sqrtf(s + 1e-7f); } }""",
        "step",
    )
    sets = [[cupy.zeros(n, cupy.float32) for _ in range(3)] for n in sizes]

    def step() -> None:
        for n, (w, g, v) in zip(sizes, sets, strict=True):
            kernel(((n + 255) // 256,), (256,), (w, g, v, n))

    step()
    return step


def _bitsandbytes(sizes: list[int]) -> Step:
    """Step bitsandbytes' RMSprop32bit."""
    import bitsandbytes
    import torch

    live = [torch.nn.Parameter(torch.zeros(n, device="cuda")) for n in sizes]
    for tensor in live:
        tensor.grad = torch.randn_like(tensor)
    return bitsandbytes.optim.RMSprop32bit(live, lr=0.001).step  # type: ignore[no-any-return]


# How many times as fast we must be on one tensor and on 300; None where no bar was set.
PEERS: dict[str, tuple[tuple[float | None, float | None], Callable[[list[int]], Step]]] = {
    "torch foreach": ((2.0, 2.0), _torch_foreach),
    "torch.compile": ((0.95, 1.0), _torch_compiled),
    "optax under jit": ((0.95, 1.3), _optax),
    "a CuPy RawKernel": ((1.0, None), _cupy_kernel),
    "bitsandbytes RMSprop32bit": ((1.0, None), _bitsandbytes),
}
