"""Look at the arrays of a step in compiled code: a thousand checks in a few microseconds.

Where the words of an object lie is said, and proved, in `layout`.
"""

import functools
from enum import IntEnum
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastrms import compiling
from fastrms.instructions import WORD, Words, function, repeated
from fastrms.layout import (
    ALIGNED,
    DATA,
    DESCR,
    FLAGS,
    ITEMS,
    NDIM,
    SHAPE,
    STRIDES,
    TYPE,
    WATCHED,
    owner_of,
    watched_flags,
)
from fastrms.rule import Function


class Place(IntEnum):
    """What is known of a variable, of the array that owns its memory, and of its gradient."""

    ARRAY = 0
    TYPE = 1
    DATA = 2
    DESCR = 3
    FLAGS = 4
    AXES = 5
    LENGTHS = 6
    OWNER = 7
    OWNER_DATA = 8
    OWNER_SIZE = 9
    GIVEN = 10
    NOTHING = 11
    GRADIENT_TYPE = 12
    ORDER = 13
    BYTES = 14
    ACCEPTED = 15
    FIRST_PATCH = 16
    LAST_PATCH = 17


class Desk(IntEnum):
    """Where `look` finds its tables, each an address or a count."""

    PLACES = 0
    COUNT = 1
    PATCHES = 2
    ATTENTION = 3
    STARTS = 4
    ENDS = 5
    EXTENTS = 6


_LOW = WORD(2**32 - 1)
_FIELDS = (TYPE, DATA, NDIM, SHAPE, STRIDES, DESCR, FLAGS, ITEMS)
_TYPE, _DATA, _NDIM, _SHAPE, _STRIDES, _DESCR, _FLAGS, _ITEMS = (at // 8 for at in _FIELDS)


def place_of(array: NDArray[Any], order: int, lengths: int, kind: int) -> dict[Place, int]:
    """Record a variable and the kind of gradient that it has (`sparse.kinds_of`).

    Its lengths and then its strides are stored at an address.
    """
    place = dict.fromkeys(Place, 0)
    place[Place.ARRAY], place[Place.TYPE] = id(array), id(type(array))
    place[Place.DATA], place[Place.DESCR] = array.ctypes.data, id(array.dtype)
    place[Place.FLAGS], place[Place.ORDER] = watched_flags(array), order
    place[Place.AXES], place[Place.LENGTHS] = array.ndim, lengths
    place[Place.BYTES], owner = array.nbytes, owner_of(array)
    # No object is at 0: of the other kinds, rows above all, each is listed.
    place[Place.NOTHING] = 0 if kind else id(None)
    place[Place.GRADIENT_TYPE] = id(np.ndarray) if kind == 1 else 0
    if owner is not None:
        place[Place.OWNER], place[Place.OWNER_DATA] = id(owner), owner.ctypes.data
        place[Place.OWNER_SIZE] = owner.size
    return place


class _Check:
    """A function that gives a word, and gives it early where something does not hold."""

    def __init__(self, outside: Any, name: str, count: int, refusal: int) -> None:
        self.made, self.builder = function(outside, name, count)
        self.arguments, self._refusal = self.made.args, WORD(refusal)

    def refuse_if(self, *conditions: Any) -> None:
        """Emit the way out, taken where one of the conditions holds."""
        with self.builder.if_then(functools.reduce(self.builder.or_, conditions)):
            self.builder.ret(self._refusal)


def _require_unchanged(check: _Check, place: Words) -> None:
    """Emit the way out of a check where a variable is not the array that was recorded."""
    builder = check.builder
    array, axes = place.at(Place.ARRAY), place[Place.AXES]
    check.refuse_if(
        array.differs(_TYPE, place[Place.TYPE]),
        array.differs(_DATA, place[Place.DATA]),
        array.differs(_DESCR, place[Place.DESCR]),
        array.differs(_FLAGS, place[Place.FLAGS], WORD(WATCHED)),
        array.differs(_NDIM, axes, _LOW),
    )
    lengths, strides, known = array.at(_SHAPE), array.at(_STRIDES), place.at(Place.LENGTHS)
    with cgutils.for_range(builder, axes) as loop:
        stride = known[builder.add(axes, loop.index)]
        wrong = lengths.differs(loop.index, known[loop.index])
        check.refuse_if(wrong, strides.differs(loop.index, stride))
    # A view does not show that the array that owns its memory was resized.
    with builder.if_then(cgutils.is_not_null(builder, place[Place.OWNER])):
        owner, size = place.at(Place.OWNER), cgutils.alloca_once(builder, WORD)
        builder.store(WORD(1), size)
        lengths = owner.at(_SHAPE)
        with cgutils.for_range(builder, builder.and_(owner[_NDIM], _LOW)) as loop:
            builder.store(builder.mul(builder.load(size), lengths[loop.index]), size)
        resized = builder.icmp_unsigned("!=", builder.load(size), place[Place.OWNER_SIZE])
        check.refuse_if(owner.differs(_DATA, place[Place.OWNER_DATA]), resized)


def _require_readable(check: _Check, gradient: Words, place: Words) -> None:
    """Emit the way out where a gradient has another dtype, shape or order than its variable."""
    builder, axes = check.builder, place[Place.AXES]
    check.refuse_if(gradient.differs(_TYPE, place[Place.GRADIENT_TYPE]))  # others may be shorter
    needed = builder.or_(place[Place.ORDER], WORD(ALIGNED))
    check.refuse_if(
        gradient.differs(_DESCR, place[Place.DESCR]),
        gradient.differs(_FLAGS, needed, needed),
        gradient.differs(_NDIM, axes, _LOW),
    )
    lengths, known = gradient.at(_SHAPE), place.at(Place.LENGTHS)
    with cgutils.for_range(builder, axes) as loop:
        check.refuse_if(lengths.differs(loop.index, known[loop.index]))


def _apart(builder: Any, data: Any, size: Any, desk: Words) -> Any:
    """Emit whether memory lies outside everything that the step writes."""
    starts, ends = desk.at(Desk.STARTS), desk.at(Desk.ENDS)
    first = cgutils.alloca_once_value(builder, WORD(0))
    beyond = cgutils.alloca_once_value(builder, desk[Desk.EXTENTS])
    with repeated(builder) as leave:
        low, high = builder.load(first), builder.load(beyond)
        leave(builder.icmp_unsigned("==", low, high))
        middle = builder.lshr(builder.add(low, high), WORD(1))
        before = builder.icmp_unsigned("<=", ends[middle], data)
        builder.store(builder.select(before, builder.add(middle, WORD(1)), low), first)
        builder.store(builder.select(before, high, middle), beyond)
    # Behind the last start there is one that no memory reaches.
    later = builder.icmp_unsigned(">=", starts[builder.load(first)], builder.add(data, size))
    return builder.or_(later, cgutils.is_null(builder, size))


def _accepts(outside: Any) -> Any:
    """Write the function that takes a gradient which needs no work, and tells whether it did."""
    check, yes = _Check(outside, "fastrms_accepts", 3, 0), WORD(1)
    builder, (instance, tables, known) = check.builder, check.arguments
    desk, place = Words(builder, tables), Words(builder, known)
    with builder.if_then(builder.icmp_unsigned("==", instance, place[Place.NOTHING])):
        builder.ret(yes)
    gradient = Words(builder, instance)
    _require_readable(check, gradient, place)
    data = gradient[_DATA]
    with builder.if_then(builder.icmp_unsigned("==", data, place[Place.ACCEPTED])):
        builder.ret(yes)
    check.refuse_if(builder.not_(_apart(builder, data, place[Place.BYTES], desk)))
    place[Place.ACCEPTED] = data
    table, first = desk.at(Desk.PATCHES), place[Place.FIRST_PATCH]
    with cgutils.for_range(builder, place[Place.LAST_PATCH], start=first) as loop:
        patch = Words(builder, table.row(loop.index, 2))
        patch.at(0)[0] = builder.add(data, patch[1])
    builder.ret(yes)
    return check.made


def _looks(outside: Any) -> Any:
    """Write the function that checks all arrays of a step."""
    accepts, check = _accepts(outside), _Check(outside, "fastrms_looks", 3, -1)
    builder, (gradients, variables, tables) = check.builder, check.arguments
    desk, count = Words(builder, tables), cgutils.alloca_once_value(builder, WORD(0))
    given, places = Words(builder, gradients).at(_ITEMS), desk.at(Desk.PLACES)
    attention = desk.at(Desk.ATTENTION)
    with cgutils.for_range(builder, desk[Desk.COUNT]) as loop:
        known = places.row(loop.index, len(Place))
        place = Words(builder, known)
        _require_unchanged(check, place)
        with builder.if_then(cgutils.is_not_null(builder, variables)):
            # By its array, or by what the user passed for it.
            passed = Words(builder, variables).at(_ITEMS)[loop.index]
            either = (place.differs(word, passed) for word in (Place.ARRAY, Place.GIVEN))
            check.refuse_if(builder.and_(*either))
        accepted = builder.call(accepts, [given[loop.index], tables, known])
        with builder.if_then(cgutils.is_null(builder, accepted)):
            found = builder.load(count)
            attention[found] = loop.index
            builder.store(builder.add(found, WORD(1)), count)
    builder.ret(builder.load(count))
    return check.made


@intrinsic
def _look(typingctx, gradients, variables, tables):  # type: ignore[no-untyped-def]
    """Check all arrays of a step."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.call(_looks(builder), args)

    return types.int64(gradients, variables, tables), codegen


def make_look(stamp: str) -> Function:
    """Write the check of all the arrays of a step."""

    def look(gradients, variables, tables):  # type: ignore[no-untyped-def]
        """Check every variable, accept every gradient that needs no work, list the others.

        Returns how many gradients need attention, or -1 if a variable has changed.
        """
        if stamp == "":
            return 0
        return _look(gradients, variables, tables)

    return look


def looker() -> Function:
    """Compile the check of all the arrays of a step."""
    word = types.uint64
    # With the interpreter's lock: no thread may change the objects while they are looked at.
    return compiling.function(make_look, types.int64(word, word, word), nogil=False)
