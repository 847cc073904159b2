"""What a step does to each variable: which variant of the rule, on which arrays."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.arguments import Settings
from fastrms.cuda import arrays as device
from fastrms.cuda.protocols import lies_on_device
from fastrms.dialects.fields import Dialect
from fastrms.errors import GradientError
from fastrms.hyper import Numbers, bounds
from fastrms.layout import HARDWARE_FLUSH
from fastrms.rule import EACH, GLOBAL, LEAVE_BELOW, Variant
from fastrms.sources import is_source, view_of
from fastrms.state import State, aligned
from fastrms.variables import Variables, describe, extent, flat, is_strided, meets, shares

Array = NDArray[Any]
UPDATE, ACCUMULATE, IDLE, CLEAR = "update", "accumulate", "idle", "clear"


@dataclass(frozen=True)
class Item:
    """One variable's share of a step."""

    index: int
    variant: Variant
    arrays: dict[str, Array]
    # With a gradient of rows: what one row holds, and what happens to rows without a gradient.
    row_size: int = 0
    rest: Variant | None = None


@dataclass
class Workshop:
    """Everything that steps read and write, whichever engine carries them out."""

    row: Dialect
    settings: Settings
    variables: Variables
    state: State
    undecayed: frozenset[int]
    numbers: dict[np.dtype[Any], Numbers] = field(default_factory=dict)
    stand_ins: dict[int, Array] = field(default_factory=dict)
    cast: dict[int, Array] = field(default_factory=dict)
    scale: np.float32 | None = None  # of the loss, once a LossScaleOptimizer owns this
    guarded: bool = False  # whether a gradient that is not finite stops a step
    whole: bool = False  # whether gradients of rows become arrays as large as the table
    _written: tuple[int, list[int], list[int]] | None = None

    def __post_init__(self) -> None:
        for i, array in enumerate(self.variables.arrays):
            if array.dtype not in self.numbers:
                self.numbers[array.dtype] = Numbers(
                    self.row, self.settings, self.state.computed(array.dtype)
                )
            if is_strided(array):
                self.stand_ins[i] = aligned(array.size, array.dtype)
        self.acting = bounds(self.row, self.settings)
        self.whole = bool(self.settings.gradient_accumulation_steps)

    @property
    def has_momentum(self) -> bool:
        """Tell whether there is a momentum slot."""
        momentum, rule = self.settings.momentum, self.row.momentum_slot
        return {
            "always": True,
            "if given": momentum is not None,
            "if positive": (momentum or 0.0) > 0,
        }[rule]

    @property
    def norm_kind(self) -> int | None:
        """Return what clipping by norm does, or None without it."""
        if "norm" in self.acting:
            return LEAVE_BELOW if self.row.clipping.norm_spans_all else EACH
        return GLOBAL if "global" in self.acting else None

    def rescale(self, scale: np.float32, guarded: bool) -> None:
        """Set by what gradients are divided, in the numbers of every dtype."""
        self.scale, self.guarded = scale, guarded
        reciprocal = self.row.loss_scale is not None and self.row.loss_scale.reciprocal
        for numbers in self.numbers.values():
            numbers.rescale(self.scale, reciprocal)

    def unscaling(self) -> dict[str, bool]:
        """Return the choices of the rule that undo the scale of the loss."""
        own = self.row.loss_scale
        if self.scale is not None and own is not None:
            return {"scaled": not own.reciprocal, "rescaled": own.reciprocal}
        return {"scaled": self.settings.loss_scale_factor is not None}

    def slot_names(self) -> list[str]:
        """Return the slots that this optimizer keeps, in the order of its weights."""
        settings = self.settings
        kept = {
            "velocity": True,
            "momentum": self.has_momentum,
            "average_gradient": settings.centered,
            "average": settings.use_ema,
            "gradient_accumulator": bool(settings.gradient_accumulation_steps),
        }
        return [name for name in self.row.weights.order if kept.get(name)]

    def flat(self, index: int) -> Array:
        """Return a variable, or its contiguous stand-in, as elements in memory order."""
        stand_in = self.stand_ins.get(index)
        return flat(self.variables.arrays[index]) if stand_in is None else stand_in

    def target(self, index: int) -> Variant:
        """Return the choices that a variable's dtype makes, and none besides."""
        array = self.variables.arrays[index]
        computed = self.state.computed(array.dtype)
        half, brain = computed == np.float16, computed.name == "bfloat16"
        hardware = HARDWARE_FLUSH and isinstance(array, np.ndarray)
        soft = self.row.flushes_subnormals and not hardware
        return Variant(update=False, half=half, brain=brain, flush=soft and not half)

    def before_norm(self, index: int) -> Variant:
        """Return the conditioning that a gradient has had when its norm is taken."""
        settings, kinds = self.settings, list(self.acting)
        return self.target(index)._replace(
            **self.unscaling(),
            accumulated=bool(settings.gradient_accumulation_steps),
            value_first="value" in kinds[:1] and len(kinds) > 1,
        )

    def variant(self, index: int, mode: str) -> Variant:
        """Return the variant of the rule for one variable in one kind of step."""
        settings, target = self.settings, self.target(index)
        shifts = self.row.average is not None and self.row.average.shifts_past_none
        ema = settings.use_ema and not shifts
        if mode in (IDLE, CLEAR):
            return target._replace(ema=ema, accumulated=mode == CLEAR)
        if mode == ACCUMULATE:
            return target._replace(accumulate=True, ema=ema, **self.unscaling())
        choices = set(self.row.form.choices(self.has_momentum, settings.centered))
        coupled = "coupled_decay" in choices
        decays = settings.weight_decay is not None and index not in self.undecayed
        choices -= {"coupled_decay"}
        if decays and not (coupled and settings.weight_decay == 0):
            choices.add("coupled_decay" if coupled else "decoupled_decay")
        kinds, kind = list(self.acting), self.norm_kind
        return target._replace(
            **dict.fromkeys(choices, True),
            **self.unscaling(),
            update=True,
            centered=settings.centered,
            momentum=self.has_momentum,
            ema=ema,
            accumulated=bool(settings.gradient_accumulation_steps),
            value_first="value" in kinds[:-1],
            factor=kind is not None,
            divisor=kind in (LEAVE_BELOW, EACH),
            value_last="value" in kinds[-1:],
        )

    def item(self, index: int, mode: str) -> Item:
        """Return a variable's share of a step, its gradient left to be filled in."""
        arrays = {"variable": self.flat(index)}
        for name in self.slot_names():
            arrays[name] = self.state.slots[name, index]
        return Item(index, self.variant(index, mode), arrays)

    def shifted(self, present: list[int]) -> list[Item]:
        """Return the moving averages of a system that pairs them past None gradients."""
        pairs = [(i, self.state.slots["average", k]) for k, i in enumerate(present)]
        for k, (i, average) in enumerate(pairs):
            if self.variables.arrays[k].shape != self.variables.arrays[i].shape:
                raise GradientError(
                    f"variable {self.variables.label(k)} has no gradient, and {self.row.name!r} "
                    f"then pairs the moving average of shape {self.variables.arrays[k].shape} with "
                    f"variable {self.variables.label(i)} of shape "
                    f"{self.variables.arrays[i].shape}, which the real system cannot do either "
                    f"({average.size} elements). Give every variable a gradient, or use keras-3."
                )
        variants = [self.target(i)._replace(ema=True) for i, _ in pairs]
        return [
            Item(i, variant, {"variable": self.flat(i), "average": average})
            for (i, average), variant in zip(pairs, variants, strict=True)
        ]

    def gradient(self, index: int, value: Any) -> Array:
        """Return a gradient as flat elements in its variable's dtype and memory order."""
        variable = self.variables.arrays[index]
        array = self.as_array(index, value)
        self._require_apart(index, array)
        if not isinstance(variable, np.ndarray):
            return array
        plain = array.dtype == variable.dtype and array.dtype.isnative and array.flags.aligned
        contiguous = array.flags.c_contiguous and variable.flags.c_contiguous
        contiguous |= array.flags.f_contiguous and variable.flags.f_contiguous
        contiguous |= array.flags.c_contiguous and is_strided(variable)
        if plain and contiguous:
            return flat(array)
        if index not in self.cast:
            self.cast[index] = aligned(variable.size, variable.dtype)
        columns = variable.flags.f_contiguous and not variable.flags.c_contiguous
        view = self.cast[index].reshape(variable.shape, order="F" if columns else "C")
        with np.errstate(over="ignore", under="ignore"):
            np.copyto(view, array, casting="unsafe")
        return self.cast[index]

    def as_array(self, index: int, value: Any) -> Array:
        """Return a gradient as an array of its variable's shape."""
        label, variable = self.variables.label(index), self.variables.arrays[index]
        if not isinstance(variable, np.ndarray):
            return device.gradient(label, variable, value)
        if lies_on_device(value):
            raise GradientError(
                f"the gradient of variable {label} is on a GPU ({type(value).__name__}), the "
                "variable in the host's memory; valid: a NumPy array. Copy it to the host first."
            )
        array: Array = value
        if not isinstance(value, np.ndarray | np.generic):
            array = self._converted(label, value, variable)
        elif isinstance(value, np.ma.MaskedArray):
            raise GradientError(
                f"the gradient of variable {label} is a masked array, whose mask a step cannot "
                f"heed; valid: an array of shape {variable.shape}. Use .filled(0), for example."
            )
        array = np.asarray(array)
        if array.dtype.kind != "f" and array.dtype != variable.dtype:
            raise GradientError(
                f"the gradient of variable {label} has dtype {array.dtype}; valid: float16, "
                "float32 or float64. Convert it with .astype."
            )
        if array.shape != variable.shape:
            raise GradientError(
                f"the gradient of variable {label} has shape {array.shape}; expected "
                f"{variable.shape}, the variable's."
            )
        return array

    @staticmethod
    def _converted(label: str, value: Any, variable: Array) -> Array:
        """Turn a list of numbers, or another library's array, into an array."""
        try:
            array = view_of(value) if is_source(value) else np.asarray(value)
            if array.dtype.kind == "f":
                return array
            if array.dtype.kind not in "iu":
                raise TypeError(f"as an array it has dtype {array.dtype}")
            with np.errstate(over="ignore", under="ignore"):
                return array.astype(variable.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise GradientError(
                f"the gradient of variable {label} is {describe(value)}; valid: an array of "
                f"shape {variable.shape}, a list of numbers, or None ({error})."
            ) from error

    def written(self) -> tuple[list[int], list[int]]:
        """Return the merged byte ranges of everything that a step writes: starts and ends."""
        known = len(self.state.slots)
        if self._written is None or self._written[0] != known:
            ranges = [extent(a) for a in self.variables.arrays if a.size] + self.state.extents()
            merged: list[list[int]] = []
            for low, high in sorted(ranges):
                if merged and low <= merged[-1][1]:
                    merged[-1][1] = max(merged[-1][1], high)
                else:
                    merged.append([low, high])
            self._written = known, [low for low, _ in merged], [high for _, high in merged]
        return self._written[1:]

    def _require_apart(self, index: int, array: Array) -> None:
        """Raise if a gradient shares elements with what the step writes."""
        low, high = extent(array)
        starts, ends = self.written()
        if not array.size or bisect_left(starts, high) == bisect_right(ends, low):
            return
        arrays = [*self.variables.arrays, *self.state.slots.values()]
        for k, other in enumerate(arrays):
            if meets(array, other) and shares(array, other):
                what = self.variables.label(k) if k < len(self.variables.arrays) else "a slot"
                raise GradientError(
                    f"the gradient of variable {self.variables.label(index)} shares memory with "
                    f"{what}, which the step changes; pass a gradient of its own (.copy())."
                )
