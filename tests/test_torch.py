"""PyTorch's CPU tensors as variables and gradients; the extra `interop` and its CI stage."""

import copy

import numpy as np
import pytest

from fastrms import GradientError, RMSprop, Variable, VariableError

torch = pytest.importorskip("torch")


def module(dtype=None):
    """A small network and data."""
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.rand(p.shape, generator=generator) - 0.5)
    return net.to(dtype or torch.float32)


def backward(net):
    """Fill in the gradients of a loss."""
    x = torch.linspace(-1, 1, 15, dtype=next(net.parameters()).dtype).reshape(5, 3)
    net.zero_grad()
    (net(x) ** 2).mean().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_training_is_bit_equal_to_the_same_on_arrays(dtype, jit_compile):
    net = module(dtype)
    arrays = [p.detach().numpy().copy() for p in net.parameters()]
    plain, through = (RMSprop(0.05, jit_compile=jit_compile) for _ in range(2))
    through.build(net.parameters())
    for k in range(4):
        backward(net)
        gradients = [p.grad for p in net.parameters()]
        plain.apply([g.numpy().copy() for g in gradients], arrays)
        through.apply(gradients, list(net.parameters()) if k % 2 else None)
    for p, array in zip(net.parameters(), arrays, strict=True):
        assert p.detach().numpy().tobytes() == array.tobytes()
        assert p.requires_grad


def test_it_learns_like_torchs_own_rmsprop():
    net, other = module(), module()
    ours = RMSprop(0.01, rho=0.99, epsilon=1e-8, dialect="torch")
    theirs = torch.optim.RMSprop(other.parameters(), lr=0.01)
    ours.build(dict(net.named_parameters()))
    for _ in range(5):
        backward(net)
        ours.apply({name: p.grad for name, p in net.named_parameters()})
        backward(other)
        theirs.step()
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-5, atol=1e-7)


def test_tensors_are_recognised_by_their_memory():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = RMSprop(0.1)
    optimizer.build([p])
    optimizer.apply([torch.ones(3)], [p.detach()])
    optimizer.apply([torch.ones(3)], [p.data.numpy()])
    assert optimizer.iterations == 2
    assert (p < 1).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.double(),
        lambda net: [setattr(p, "data", p.data.clone()) for p in net.parameters()],
        lambda net: setattr(net[0].weight, "data", net[0].weight.data.t()),
    ],
    ids=["double", "data", "transposed"],
)
def test_parameters_that_moved_are_noticed(change):
    net = module()
    optimizer = RMSprop(0.1)
    optimizer.build(net.parameters())
    backward(net)
    optimizer.apply([p.grad for p in net.parameters()])
    change(net)
    before = [p.detach().clone() for p in net.parameters()]
    for given in (None, list(net.parameters())):
        with pytest.raises(VariableError, match="has changed since build"):
            optimizer.apply([torch.ones_like(p) for p in net.parameters()], given)
    for p, old in zip(net.parameters(), before, strict=True):
        assert torch.equal(p, old)
    assert optimizer.iterations == 1


def test_bfloat16_is_refused_with_the_reason():
    with pytest.raises(VariableError, match="bfloat16"):
        RMSprop().build([torch.ones(2, dtype=torch.bfloat16)])
    w = np.ones(2)
    optimizer = RMSprop()
    with pytest.raises(GradientError, match="bfloat16"):
        optimizer.apply([torch.ones(2, dtype=torch.bfloat16)], [w])
    assert w.tolist() == [1, 1]


def test_tensors_outside_cpu_memory_are_refused():
    with pytest.raises(VariableError, match="cannot be updated in place"):
        RMSprop().build([torch.ones(2, device="meta")])


def test_gradients_that_are_differentiated_and_expanded():
    w = np.ones((2, 3), np.float32)
    optimizer = RMSprop(0.1)
    optimizer.apply([torch.ones(3, requires_grad=True).expand(2, 3)], [w])
    assert (w < 1).all()


def test_variables_copy_tensors():
    t = torch.ones(2, dtype=torch.float64, requires_grad=True)
    v = Variable(t)
    assert v.dtype == np.float64
    v.assign([3.0, 4.0])
    assert t.tolist() == [1, 1]


def test_an_optimizer_is_copied_without_the_tensors():
    p = torch.ones(2)
    optimizer = RMSprop(0.1)
    optimizer.apply([torch.ones(2)], [p])
    twin = copy.deepcopy(optimizer)
    twin.apply([torch.ones(2)])
    before = p.clone()
    assert twin.iterations == 2
    assert torch.equal(p, before)
    twin.rebind([p])
    twin.apply([torch.ones(2)])
    assert (p < before).all()
