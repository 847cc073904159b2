"""The inputs of every recorded run, derived from one float64 golden."""

import numpy as np

NAMES = ["scalar_bias", "vec_kernel", "mat_kernel", "cube_gamma"]
COUNT = len(NAMES)
STEPS = 12
MID_STEP = 5
RESUME_STEP = 6


class Inputs:
    """Initial values and gradients in float64, cast as each case asks for."""

    def __init__(self, path, sparse_path=None, trio_path=None):
        """Read ``g{i}`` and the first row of ``p{i}`` from a float64 golden."""
        self.start, self.grads = read(path, COUNT)
        if self.grads[0].dtype != np.float64:
            raise ValueError(f"{path} holds {self.grads[0].dtype}, expected a float64 golden")
        self.sparse = self.trio = None
        if sparse_path:
            with np.load(sparse_path) as data:
                self.sparse = data["si0"], data["sv0"], data["p0"][0]
        if trio_path:
            self.trio = read(trio_path, 3)

    def has(self, case):
        """Tell whether the inputs of a case were given."""
        missing_rows = case.get("sparse") and self.sparse is None
        return not missing_rows and not (case.get("trio") and self.trio is None)

    def of(self, case):
        """Return the start values, the gradients and the mask of absent gradients of a case."""
        if case.get("trio"):
            start, grads = self.trio
            return start, grads, mask_of(case, len(grads))
        dtypes = per_parameter(case.get("dtype", "float32"))
        grad_dtypes = per_parameter(case.get("grad_dtype", dtypes))
        cast = bounded if "float16" in dtypes + grad_dtypes else np.ndarray.astype
        grads = [cast(grad, dtype) for grad, dtype in zip(self.grads, grad_dtypes)]
        start = [value.astype(dtype) for value, dtype in zip(self.start, dtypes)]
        grads = scaled(grads, case.get("grad_scale"))
        for step, index, position, value in case.get("poison", []):
            grads[index][(step,) + tuple(position)] = value
        return scaled(start, case.get("start_scale")), grads, mask_of(case, COUNT)

    def sparse_of(self, case):
        """Return the start value, the row indices and the row values of a sparse case."""
        indices, values, start = self.sparse
        dtype = case.get("dtype", "float32")
        return start.astype(dtype), indices, values.astype(dtype)


def read(path, count):
    """Return the start values and the gradients of a golden."""
    with np.load(path) as data:
        start = [data[f"p{i}"][0] for i in range(count)]
        return start, [data[f"g{i}"] for i in range(count)]


def scaled(values, scales):
    """Multiply each array by its scale in the array's own dtype."""
    if scales is None:
        return values
    return [value * value.dtype.type(scale) for value, scale in zip(values, scales)]


def per_parameter(dtype):
    """Expand one dtype name to a list with one name for each parameter."""
    return list(dtype) if isinstance(dtype, (list, tuple)) else [dtype] * COUNT


def bounded(grad, dtype):
    """Cast; keep signs and zeros but move magnitudes into the range of float16."""
    narrow = grad.astype("float32")
    inside = np.sign(narrow) * np.clip(np.abs(narrow), 1e-3, 40.0)
    inside = inside.astype("float32")
    if dtype != "float64":
        return inside.astype(dtype)
    # The digits beyond float32 stay, so that float64 runs differ from float32 ones.
    return inside * (grad / np.where(narrow == 0, 1, narrow))


def mask_of(case, count):
    """Return the boolean (step, parameter) table of gradients passed as None."""
    mask = np.zeros((STEPS, count), dtype=bool)
    for step, index in case.get("absent", []):
        mask[step, index] = True
    return mask
