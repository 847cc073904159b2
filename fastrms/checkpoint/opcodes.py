"""A reader of pickles that knows data only: nothing in a file is imported, called or executed.

Numbers, text, bytes, lists, tuples, dicts and NumPy arrays are read; any other global, and every
opcode that would build something else, is refused by name. Source: CPython's Lib/pickletools.py.
"""

import codecs
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastrms.checkpoint.pending import Kind, Name, Pending, listed
from fastrms.errors import CheckpointError

_PROTOCOL = 5


def _text(value: Any) -> str:
    """Return text that Python 2 may have written as bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise CheckpointError(f"a pickle has {type(value).__name__} in the place of text.")
    return value


def _from_buffer(args: tuple[Any, ...]) -> Pending:
    """Read NumPy's form of protocol 5: data, dtype, shape, order."""
    data, kind, shape, order = args
    return Pending(tuple(listed(shape)), kind, order == "F", data)


def _scalar(args: tuple[Any, ...]) -> Pending:
    """Read a NumPy scalar."""
    return Pending((), args[0], False, args[1])


def _no_bytes(args: tuple[Any, ...]) -> bytes:
    """Read what Python 3 writes for empty bytes in old protocols."""
    if args:
        raise CheckpointError("the pickle calls bytes with arguments; only data is read.")
    return b""


_CALLS: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
    ("__builtin__", "bytes"): _no_bytes,
    ("_codecs", "encode"): lambda args: _text(args[0]).encode(_text(args[1])),
    ("numpy", "dtype"): lambda args: Kind(_text(args[0]).lstrip("<|=")),
    ("collections", "OrderedDict"): lambda args: dict(map(listed, listed(args[0]) if args else [])),
}
for _core in ("numpy.core", "numpy._core"):
    _CALLS[_core + ".multiarray", "_reconstruct"] = lambda args: Pending()
    _CALLS[_core + ".multiarray", "scalar"] = _scalar
    _CALLS[_core + ".numeric", "_frombuffer"] = _from_buffer
_DATA = {("numpy", "ndarray")}

# Each opcode's argument: a struct format, "line", "lines", or a format for a length and a "*".
_PUSHED: Mapping[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"N": ("", lambda _: None),
    b"\x88": ("", lambda _: True),
    b"\x89": ("", lambda _: False),
    b"]": ("", lambda _: []),
    b"}": ("", lambda _: {}),
    b")": ("", lambda _: ()),
    b"I": (
        "line",
        lambda raw: {b"00": False, b"01": True}.get(raw) if raw in (b"00", b"01") else int(raw),
    ),
    b"L": ("line", lambda raw: int(raw.rstrip(b"L"))),
    b"F": ("line", float),
    b"S": ("line", lambda raw: codecs.escape_decode(raw.strip()[1:-1])[0]),
    b"V": ("line", lambda raw: raw.decode("raw-unicode-escape")),
    b"J": ("<i", int),
    b"K": ("<B", int),
    b"M": ("<H", int),
    b"G": (">d", float),
    b"\x8a": ("<B*", lambda raw: int.from_bytes(raw, "little", signed=True)),
    b"\x8b": ("<I*", lambda raw: int.from_bytes(raw, "little", signed=True)),
    **dict.fromkeys((b"C", b"U"), ("<B*", bytes)),
    **dict.fromkeys((b"B", b"T"), ("<I*", bytes)),
    **dict.fromkeys((b"\x8e", b"\x96"), ("<Q*", bytes)),
    b"\x8c": ("<B*", lambda raw: raw.decode("utf-8", "surrogatepass")),
    b"X": ("<I*", lambda raw: raw.decode("utf-8", "surrogatepass")),
    b"\x8d": ("<Q*", lambda raw: raw.decode("utf-8", "surrogatepass")),
}
_ACTING: Mapping[bytes, str] = {
    **dict.fromkeys((b"(", b".", b"0", b"1", b"2", b"a", b"e", b"s", b"u", b"l", b"d", b"t"), ""),
    **dict.fromkeys((b"\x85", b"\x86", b"\x87", b"\x93", b"\x94", b"R", b"b", b"Q"), ""),
    **{b"\x80": "<B", b"\x95": "<Q", b"c": "lines"},
    **{b"p": "line", b"q": "<B", b"r": "<I", b"g": "line", b"h": "<B", b"j": "<I"},
}


@dataclass
class Machine:
    """One pickle being read from bytes, from `at` on.

    `calls` are further globals that may be "called", each a function on its arguments; `load`
    answers persistent identifiers.
    """

    data: memoryview
    at: int = 0
    calls: Mapping[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = field(default_factory=dict)
    known: Callable[[Name], bool] = lambda name: False
    load: Callable[[Any], Any] | None = None
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> Any:
        """Read one pickle; return what it holds, arrays still pending.

        Raises
        ------
        CheckpointError
            It is damaged, or holds what is not data.
        """
        try:
            while (code := self._take(1)) != b".":
                if code in _PUSHED:
                    form, convert = _PUSHED[code]
                    self.stack.append(convert(self._argument(form)))
                elif code in _ACTING:
                    self._act(code, self._argument(_ACTING[code]))
                else:
                    raise CheckpointError(_refusal(code))
            return self.stack.pop()
        except CheckpointError:
            raise
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
            # UnicodeDecodeError and struct.error's like are ValueErrors; all mean damaged bytes.
            raise CheckpointError(
                f"the pickle is damaged at byte {self.at} ({type(error).__name__}: {error})."
            ) from error

    def _take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > len(self.data) - self.at:
            raise CheckpointError(
                f"the pickle claims {count} bytes at {self.at} where "
                f"{len(self.data) - self.at} are left; it is cut or damaged."
            )
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def _line(self) -> bytes:
        """Return the next line."""
        window = bytes(self.data[self.at : self.at + 4096])
        while b"\n" not in window and len(window) < len(self.data) - self.at:
            window = bytes(self.data[self.at : self.at + 8 * len(window)])
        end = window.index(b"\n")
        self.at += end + 1
        return window[:end].rstrip(b"\r")

    def _argument(self, form: str) -> Any:
        """Return an opcode's argument."""
        if form in ("line", "lines"):
            first = self._line()
            return first if form == "line" else (first, self._line())
        if not form:
            return None
        plain = form.rstrip("*")
        (value,) = struct.unpack(plain, self._take(struct.calcsize(plain)))
        return self._take(value) if form != plain else value

    def _popped(self) -> list[Any]:
        """Take everything above the last mark."""
        mark = self.marks.pop()
        found = self.stack[mark:]
        del self.stack[mark:]
        return found

    def _act(self, code: bytes, value: Any) -> None:
        """Carry out one opcode that does more than push a constant."""
        stack = self.stack
        if code == b"(":
            self.marks.append(len(stack))
        elif code in b"01":
            stack.pop() if code == b"0" else self._popped()
        elif code in (b"p", b"q", b"r", b"\x94"):
            self.memo[len(self.memo) if code == b"\x94" else int(value)] = stack[-1]
        elif code in (b"g", b"h", b"j"):
            stack.append(self.memo[int(value)])
        elif code == b"2":
            stack.append(stack[-1])
        elif code in (b"c", b"\x93"):
            if value is None:
                value = (stack.pop(-2), stack.pop())
            stack.append(self._name(*map(_text, value)))
        elif code in (b"R", b"b", b"Q"):
            self._build(code)
        elif code not in (b"\x80", b"\x95"):
            self._collect(code)
        elif code == b"\x80" and value > _PROTOCOL:
            raise CheckpointError(f"pickle protocol {value} is not readable; up to {_PROTOCOL} is.")

    def _collect(self, code: bytes) -> None:
        """Make or extend a list, tuple or dict."""
        stack = self.stack
        if code in (b"\x85", b"\x86", b"\x87"):
            count = code[0] - 0x84
            if count > len(stack):
                raise CheckpointError("the pickle takes more than it has put; it is damaged.")
            stack[-count:] = [tuple(stack[-count:])]
            return
        if code in (b"a", b"s"):
            values = [stack.pop()] if code == b"a" else [stack.pop(-2), stack.pop()]
        else:
            values = self._popped()
        if code in (b"l", b"t"):
            stack.append(values if code == b"l" else tuple(values))
        elif code in (b"a", b"e"):
            if type(stack[-1]) is not list:
                raise CheckpointError("the pickle appends to what is not a list; it is damaged.")
            stack[-1].extend(values)
        else:
            pairs = dict(zip(values[::2], values[1::2], strict=True))
            if code == b"d":
                stack.append(pairs)
            elif type(stack[-1]) is not dict:
                raise CheckpointError("the pickle fills what is not a dict; it is damaged.")
            else:
                stack[-1].update(pairs)

    def _name(self, module: str, name: str) -> Name:
        """Return a global's name if it is one of those that stand for data."""
        found = Name(module, name)
        if found in _CALLS or found in _DATA or found in self.calls or self.known(found):
            return found
        raise CheckpointError(
            f"the pickle asks for {module[:60]}.{name[:60]}, which is not data; only NumPy arrays, "
            "numbers, text, lists, tuples and dicts are read, and nothing was executed. Save the "
            "arrays with np.savez instead."
        )

    def _build(self, code: bytes) -> None:
        """Call a known global, complete an object, or load a persistent one."""
        last = self.stack.pop()
        if code == b"Q":
            if self.load is None:
                raise CheckpointError("the pickle refers to data outside itself; it is not read.")
            self.stack.append(self.load(last))
            return
        target = self.stack[-1]
        if code == b"R":
            call = (
                _CALLS.get(target) or self.calls.get(target) if isinstance(target, Name) else None
            )
            if call is None:
                raise CheckpointError(f"the pickle calls {str(target)[:60]}, which is not data.")
            self.stack[-1] = call(tuple(listed(last)))
        elif isinstance(target, Pending):
            _, shape, kind, target.fortran, target.data = listed(last)
            target.shape, target.kind = tuple(listed(shape)), kind
        elif isinstance(target, Kind):
            state = listed(last)
            if any(part is not None for part in state[2:5]):
                raise CheckpointError("an array has a structured dtype; only numbers are read.")
            target.order = _text(state[1])
        elif type(target) is not dict:  # an OrderedDict's attributes are left out
            raise CheckpointError(f"the pickle sets attributes of {type(target).__name__}.")


def _refusal(code: bytes) -> str:
    """Say which opcode is not carried out."""
    known = {op.code: op for op in pickletools.opcodes}.get(code.decode("latin-1"))
    what = f"the operation {known.name}" if known else f"the unknown operation {code!r}"
    return f"the pickle uses {what}, which makes other things than data; it is not read."
