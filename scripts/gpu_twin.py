"""An optimizer on the host that a second one on a GPU follows, compared bit by bit at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

import battery
import fastrms
from fastrms.cuda import memory

Host, Scaling = fastrms.RMSprop, fastrms.LossScaleOptimizer


def on_device(values: Any) -> memory.DeviceArray:
    """Copy an array to the device."""
    values = np.asarray(values)
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    flat = memory.zeros(values.size, values.dtype, memory.Place(0))
    result = flat.reshape(values.shape, order="F" if fortran else "C")
    result[...] = values
    return result


def ulps(ours: Any, theirs: Any) -> int:
    """Return the distance in units of the last place; NaN equals NaN; 2**63 if one is not."""
    if battery.canonical(ours) == battery.canonical(theirs):
        return 0
    odd = np.isnan(ours) | np.isnan(theirs)
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return 2**63
    kind = np.dtype(f"i{ours.dtype.itemsize}")
    near = []
    for x in (ours[~odd], theirs[~odd]):
        bits = np.ascontiguousarray(x).view(kind).astype(object)
        low = int(np.iinfo(kind).min)
        near.append(np.array([low - b if b < 0 else b for b in bits.ravel()], object))
    return int(max(abs(near[0] - near[1]), default=0))


class Twin:
    """An optimizer on the host, carried out by NumPy, and one on the device."""

    worst: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, **given: Any) -> None:
        self._host, self._device = Host(**given, jit_compile=False), Host(**given)
        self._pairs: dict[int, tuple[Any, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._host, name, value)
            setattr(self._device, name, value)

    def _twin(self, tree: Any) -> Any:
        """Return the device's counterpart of each variable."""
        if isinstance(tree, dict):
            return {name: self._twin(leaf) for name, leaf in tree.items()}
        if isinstance(tree, list | tuple):
            return [self._twin(leaf) for leaf in tree]
        if id(tree) not in self._pairs:
            twin = on_device(tree)
            twin.constraint = getattr(tree, "constraint", None)  # type: ignore[attr-defined]
            self._pairs[id(tree)] = (tree, twin)
        return self._pairs[id(tree)][1]

    def _gradients(self, tree: Any, variables: Any) -> Any:
        """Return gradients on the device, in the dtype and order of their variables."""
        if isinstance(tree, dict):
            return {k: self._gradients(g, variables[k]) for k, g in tree.items()}
        if isinstance(tree, list | tuple):
            return [self._gradients(g, v) for g, v in zip(tree, variables, strict=True)]
        if isinstance(tree, fastrms.IndexedSlices):
            values = on_device(np.asarray(tree.values).astype(variables.dtype))
            return fastrms.IndexedSlices(values, tree.indices, tree.dense_shape)
        with np.errstate(all="ignore"):
            return None if tree is None else on_device(np.asarray(tree).astype(variables.dtype))

    def build(self, variables: Any) -> None:
        """Build both."""
        self._host.build(variables)
        self._device.build(self._twin(variables))

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Spare variables in both."""
        self._host.exclude_from_weight_decay(var_list, var_names)
        twins = [self._twin(v) for v in var_list or []]
        self._device.exclude_from_weight_decay(twins, var_names)

    def set_weights(self, values: Any) -> None:
        """Set the state of both."""
        self._host.set_weights(values)
        self._device.set_weights(values)

    def finalize_variable_values(self, variables: Any) -> None:
        """Average both."""
        self._host.finalize_variable_values(variables)
        self._device.finalize_variable_values(self._twin(variables))
        self._compare()

    def apply(self, gradients: Any, variables: Any) -> None:
        """Step both and compare everything."""
        twins = self._twin(variables)
        changes = self._gradients(gradients, variables)
        self._host.apply(gradients, variables)
        self._device.apply(changes, twins)
        self._compare()

    def _compare(self) -> None:
        """Note the worst distance of the dialect."""
        pairs = [*self._pairs.values()]
        pairs += zip(self._host.get_weights(), self._device.get_weights(), strict=True)
        found = [ulps(np.asarray(b), np.asarray(a)) for a, b in pairs if a.dtype.kind == "f"]
        name = getattr(self._host, "inner_optimizer", self._host).dialect
        Twin.worst[name] = max(Twin.worst.get(name, 0), *found)


class ScaledTwin(Twin):
    """The same around a `LossScaleOptimizer`."""

    def __init__(self, inner: Twin, **given: Any) -> None:
        self._host, self._device = Scaling(inner._host, **given), Scaling(inner._device, **given)
        self._pairs: dict[int, tuple[Any, Any]] = {}
