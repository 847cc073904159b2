"""Other libraries' tensors as variables and gradients: DLPack and `__array__`, no copies."""

import numpy as np
import pytest

from fastrms import GradientError, RMSprop, Variable, VariableError
from fastrms.sources import dlpack_writes

writes = pytest.mark.skipif(
    not dlpack_writes(), reason="NumPy before 2.2.6 takes memory by DLPack read-only"
)


class Exporter:
    """Lends an array's memory by DLPack alone."""

    def __init__(self, array):
        self.array = array
        self.exports = 0

    def __dlpack__(self, **about):
        self.exports += 1
        return self.array.__dlpack__(**about)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Tensor:
    """Lends an array's memory by `__array__`; differentiated ones only after `detach`."""

    def __init__(self, data, requires_grad=False):
        self.data, self.requires_grad = data, requires_grad

    dtype = property(lambda self: self.data.dtype)

    def detach(self):
        return Tensor(self.data)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.data


KINDS = {"dlpack": Exporter, "array": Tensor, "grad": lambda array: Tensor(array, True)}


def slow(*arguments, **options):
    """An optimizer that needs no kernels."""
    return RMSprop(*arguments, jit_compile=False, **options)


@pytest.mark.parametrize(
    "kind", [pytest.param("dlpack", marks=writes), *(k for k in KINDS if k != "dlpack")]
)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_their_memory_is_updated_in_place(kind, jit_compile):
    start = [np.linspace(-1, 1, 5, dtype=np.float32), np.ones((2, 3), np.float32)]
    expected, memory = [a.copy() for a in start], [a.copy() for a in start]
    plain, through = (RMSprop(0.1, jit_compile=jit_compile) for _ in range(2))
    tensors = [KINDS[kind](array) for array in memory]
    through.build(tensors)
    for k in range(4):
        gradients = [np.full(a.shape, k - 1.5, np.float32) for a in start]
        plain.apply(gradients, expected)
        lent = [KINDS[kind](g) for g in gradients]
        if k == 2:
            through.apply(lent[::-1], tensors[::-1])
        else:
            through.apply(lent, (tensors, None, None, [KINDS[kind](a) for a in memory])[k])
    for ours, other in zip(memory, expected, strict=True):
        assert ours.tobytes() == other.tobytes()


@writes
def test_dictionaries_name_them():
    tensors = {"w": Exporter(np.ones(2)), "b": Exporter(np.ones(3))}
    optimizer = slow(name="o")
    optimizer.build(tensors)
    optimizer.apply({"b": np.ones(3), "w": Exporter(np.ones(2))})
    assert [v.path for v in optimizer.variables[2:]] == ["o/w_velocity", "o/b_velocity"]


@pytest.mark.parametrize("change", ["memory", "dtype", "shape"])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_tensor_that_moved_is_noticed(change, given, jit_compile):
    tensor = Tensor(np.ones(4, np.float32))
    optimizer = RMSprop(0.1, jit_compile=jit_compile)
    optimizer.apply([np.ones(4)], [tensor])
    old = tensor.data
    new = {"memory": old.copy(), "dtype": old.astype(np.float64), "shape": old.reshape(2, 2)}
    tensor.data = new[change]
    before = [tensor.data.tobytes(), old.tobytes()]
    with pytest.raises(VariableError, match="has changed since build"):
        optimizer.apply([np.ones(tensor.data.shape)], [tensor] if given else None)
    assert [tensor.data.tobytes(), old.tobytes()] == before
    assert optimizer.iterations == 1
    tensor.data = old
    optimizer.apply([np.ones(4)])


def test_state_moves_to_other_tensors():
    first, second = Tensor(np.ones(2)), Tensor(np.ones(2))
    optimizer = slow(0.1)
    optimizer.apply([np.ones(2)], [first])
    optimizer.rebind([second])
    optimizer.apply([np.ones(2)])
    assert second.data[0] < 1


class Copies:
    """Gives a fresh copy each time."""

    def __array__(self, dtype=None, copy=None):
        return np.ones(2)


class Elsewhere:
    """Lies in no memory that NumPy can see."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class Brain:
    """Of a dtype that NumPy does not have."""

    dtype = "torch.bfloat16"

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("not reached")


def read_only():
    """An array that cannot be written."""
    array = np.ones(2)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (Copies(), "copies of its memory"),
        (Elsewhere(), "cuda:0"),
        (Brain(), "bfloat16, which NumPy has no type for"),
        (Tensor(np.arange(2)), "dtype"),
        (Tensor(read_only()), "read-only"),
        (np.float32(1.0), "valid: a NumPy array"),
    ],
    ids=["copies", "device", "bfloat16", "integers", "read-only", "scalar"],
)
def test_what_lends_no_memory_is_refused_with_the_reason(tensor, reason):
    optimizer = slow()
    with pytest.raises(VariableError, match=reason):
        optimizer.build([tensor])
    assert not optimizer.built


@pytest.mark.parametrize("tensor", [Elsewhere(), Brain()], ids=["device", "bfloat16"])
def test_gradients_that_cannot_be_read_change_nothing(tensor):
    w = np.ones(2)
    optimizer = slow()
    optimizer.build([w])
    with pytest.raises(GradientError, match=r"cuda:0|bfloat16"):
        optimizer.apply([tensor])
    assert (w.tolist(), optimizer.iterations) == ([1, 1], 0)


def test_gradients_are_read_where_they_lie():
    gradient = Exporter(np.ones(2, np.float32))
    w = np.ones(2, np.float32)
    optimizer = slow()
    optimizer.apply([gradient], [w])
    assert gradient.exports == 1
    with pytest.raises(GradientError, match="shares memory"):
        optimizer.apply([Exporter(w)])


@writes
def test_two_tensors_over_the_same_memory_are_refused():
    array = np.ones(4)
    with pytest.raises(VariableError, match="share elements"):
        slow().build([Exporter(array), Tensor(array[2:])])


def test_variables_copy_tensors():
    source = np.ones(2)
    v = Variable(Exporter(source))
    source[:] = 5
    assert v.value.tolist() == [1, 1]
    assert v.assign(Exporter(source)).tolist() == [5, 5]
    with pytest.raises(VariableError, match="cuda:0"):
        v.assign(Elsewhere())


def test_a_numpy_that_takes_memory_read_only_is_named(monkeypatch):
    frozen = np.ones(3, np.float32)
    frozen.flags.writeable = False
    monkeypatch.setattr("fastrms.sources.dlpack_writes", lambda: False)
    monkeypatch.setattr(np, "from_dlpack", lambda source: frozen)
    with pytest.raises(VariableError, match=r"install 2\.2\.6 or newer"):
        RMSprop().build([Exporter(np.ones(3, np.float32))])
