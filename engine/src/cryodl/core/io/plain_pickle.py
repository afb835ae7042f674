"""Pickles of plain values, read without running anything in them.

A pickle is a program for a small stack machine. This reader is such a machine that can make
dictionaries, lists, tuples, texts, numbers and numeric numpy arrays, and nothing else; whatever
else a file asks for is refused. Array data are views of the mapped file wherever the file holds
them as plain bytes, so that a file of 2 GB is not copied.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError

_LONG = 1024  # longer texts stay views of the file until they are needed
_RECONSTRUCT = "reconstruct"
_DEEPEST = 64


class _Refused(Exception):  # noqa: N818 - turned into an InputError with the file's name
    """What a file asks for and does not get."""


@dataclass
class _Array:
    """An array whose shape and data come later."""

    value: NDArray[Any] | None = None


@dataclass
class _Dtype:
    code: str
    order: str = "<"

    def numpy(self) -> np.dtype[Any]:
        found = np.dtype(self.code)
        if found.kind not in "biufc":
            raise _Refused(f"an array of type {self.code!r}")
        return (
            found
            if self.order in ("|", "=")
            else found.newbyteorder(">" if self.order == ">" else "<")
        )


@dataclass(frozen=True)
class _Text:
    """A long text, still in the file."""

    view: memoryview

    def latin1(self) -> bytes:
        return bytes(self.view).decode("utf-8", "surrogatepass").encode("latin-1")


class _Mark:
    """Begin of a group on the stack."""


@dataclass(frozen=True)
class _Name:
    what: str


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
}


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle that holds plain values and numeric arrays.

    Returns
    -------
    dict, list, tuple, str, number, None or ndarray
        Byte strings of Python 2 are texts. Arrays may be views of the file: not to be written to.

    Raises
    ------
    InputError
        No such file, damaged, or it asks for anything else, which is never run.
    """
    try:
        with path.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), expected a pickle; check the name"
        ) from error
    try:
        return _plain(_Machine(memoryview(mapped)).run(), 0, {})
    except _Refused as refused:
        raise InputError(
            f"{path}: found {refused} in the pickle, expected only dictionaries, lists, texts, "
            "numbers and numeric arrays; nothing of it was run, do not open it elsewhere either"
        ) from None
    except (IndexError, KeyError, struct.error, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: damaged or not a pickle ({type(error).__name__}), expected plain values such "
            "as dictionaries and arrays; make it again"
        ) from error


class _Machine:
    """The stack machine; codes after the documentation of Python's pickletools."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = bytes(self._take(1))
            if code == b".":
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None:
                raise _Refused(f"an instruction {code!r}")
            step(self)

    def _take(self, count: int) -> memoryview:
        if count < 0 or self.at + count > len(self.data):
            raise IndexError("end of file")
        part = self.data[self.at : self.at + count]
        self.at += count
        return part

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self, coding: str = "utf-8") -> str:
        end = self.at
        while self.data[end] != 10:
            end += 1
        text = bytes(self.data[self.at : end]).decode(coding)
        self.at = end + 1
        return text

    def _since_mark(self) -> list[Any]:
        found: list[Any] = []
        while not isinstance(self.stack[-1], _Mark):
            found.append(self.stack.pop())
        self.stack.pop()
        return found[::-1]

    def _bytes(self, form: str) -> None:
        part = self._take(self._number(form))
        self.stack.append(part if len(part) > _LONG else bytes(part))

    def _text(self, form: str) -> None:
        part = self._take(self._number(form))
        long = len(part) > _LONG
        self.stack.append(_Text(part) if long else bytes(part).decode("utf-8", "surrogatepass"))

    def _old_string(self) -> None:
        quoted = self._line()
        if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[0] not in "'\"":
            raise ValueError("text without quotes")
        self.stack.append(quoted[1:-1].encode("latin-1").decode("unicode_escape").encode("latin-1"))

    def _integer(self) -> None:
        line = self._line()
        self.stack.append({"00": False, "01": True}.get(line, int(line.rstrip("L"))))

    def _long(self, form: str) -> None:
        part = self._take(self._number(form))
        if len(part) > _LONG:
            raise ValueError("number too long")
        self.stack.append(int.from_bytes(bytes(part), "little", signed=True))

    def _global(self, module: Any, name: Any) -> None:
        known = _NAMES.get((module, name)) if isinstance(module, str) else None
        if known is None:
            raise _Refused(f"{module}.{name}")
        self.stack.append(_Name(known))

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(module, name)

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _Refused("a call")
        self.stack.append(_called(function.what, arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Dtype):
            target.order = _word(state[1])
            if state[2] is not None or state[3] is not None:
                raise _Refused("an array of records")
        elif isinstance(target, _Array):
            _, shape, dtype, fortran, data = state
            target.value = _array(data, dtype, shape, "F" if fortran else "C")
        else:
            raise _Refused(f"a state for {type(target).__name__}")

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise _Refused("items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_word(key) if isinstance(key, bytes) else key] = value

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _Refused("elements of something that is no list")
        self.stack[-1].extend(items)

    def _tuple(self, count: int) -> None:
        items = tuple(self.stack[len(self.stack) - count :])
        if len(items) != count:
            raise IndexError("short stack")
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def _pair(self) -> list[Any]:
        value, key = self.stack.pop(), self.stack.pop()
        return [key, value]

    def _dictionary(self) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set_items(items)


_STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m._take(1),
    b"\x95": lambda m: m._take(8),
    b"(": lambda m: m.stack.append(_Mark()),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m._since_mark(),
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"}": lambda m: m.stack.append({}),
    b"]": lambda m: m.stack.append([]),
    b")": lambda m: m.stack.append(()),
    b"d": _Machine._dictionary,
    b"l": lambda m: m.stack.append(m._since_mark()),
    b"t": lambda m: m.stack.append(tuple(m._since_mark())),
    b"\x85": lambda m: m._tuple(1),
    b"\x86": lambda m: m._tuple(2),
    b"\x87": lambda m: m._tuple(3),
    b"s": lambda m: m._set_items(m._pair()),
    b"u": lambda m: m._set_items(m._since_mark()),
    b"a": lambda m: m._append([m.stack.pop()]),
    b"e": lambda m: m._append(m._since_mark()),
    b"h": lambda m: m.stack.append(m.memo[m._number("<B")]),
    b"j": lambda m: m.stack.append(m.memo[m._number("<I")]),
    b"g": lambda m: m.stack.append(m.memo[int(m._line())]),
    b"q": lambda m: m.memo.__setitem__(m._number("<B"), m.stack[-1]),
    b"r": lambda m: m.memo.__setitem__(m._number("<I"), m.stack[-1]),
    b"p": lambda m: m.memo.__setitem__(int(m._line()), m.stack[-1]),
    b"\x94": lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    b"J": lambda m: m.stack.append(m._number("<i")),
    b"K": lambda m: m.stack.append(m._number("<B")),
    b"M": lambda m: m.stack.append(m._number("<H")),
    b"I": _Machine._integer,
    b"L": _Machine._integer,
    b"\x8a": lambda m: m._long("<B"),
    b"\x8b": lambda m: m._long("<I"),
    b"F": lambda m: m.stack.append(float(m._line())),
    b"G": lambda m: m.stack.append(m._number(">d")),
    b"S": _Machine._old_string,
    b"T": lambda m: m._bytes("<I"),
    b"U": lambda m: m._bytes("<B"),
    b"B": lambda m: m._bytes("<I"),
    b"C": lambda m: m._bytes("<B"),
    b"\x8e": lambda m: m._bytes("<Q"),
    b"\x96": lambda m: m._bytes("<Q"),
    b"V": lambda m: m.stack.append(m._line("raw_unicode_escape")),
    b"X": lambda m: m._text("<I"),
    b"\x8c": lambda m: m._text("<B"),
    b"\x8d": lambda m: m._text("<Q"),
    b"c": lambda m: m._global(m._line(), m._line()),
    b"\x93": _Machine._stack_global,
    b"R": _Machine._reduce,
    b"b": _Machine._build,
}


def _called(what: str, arguments: tuple[Any, ...]) -> Any:
    if what == _RECONSTRUCT:
        return _Array()
    if what == "dtype":
        return _Dtype(_word(arguments[0]))
    if what == "scalar":
        return _array(arguments[1], arguments[0], (), "C")[()]
    if what == "frombuffer":
        data, dtype, shape, order = arguments
        return _array(data, dtype, shape, _word(order))
    if what == "encode":
        text = arguments[0]
        return text.latin1() if isinstance(text, _Text) else text.encode("latin-1")
    if what == "bytes" and arguments == ():
        return b""
    raise _Refused(f"a call of {what}")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> NDArray[Any]:
    if isinstance(data, str):
        data = data.encode("latin-1")
    if isinstance(data, _Text):
        data = data.latin1()
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, memoryview)):
        raise _Refused("an array of objects")
    return np.frombuffer(data, dtype=dtype.numpy()).reshape(
        shape, order="F" if order == "F" else "C"
    )


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise ValueError("expected a word")
    return value


def _plain(value: Any, depth: int, done: dict[int, Any]) -> Any:
    """Replace what stands for arrays and texts; a value that holds itself is refused."""
    if depth > _DEEPEST:
        raise _Refused("values within values without end")
    if isinstance(value, _Array):
        if value.value is None:
            raise _Refused("an array without data")
        return value.value
    if isinstance(value, (_Text, bytes, memoryview)):
        return value.latin1().decode("latin-1") if isinstance(value, _Text) else _word(bytes(value))
    if isinstance(value, (_Name, _Dtype, _Mark)):
        raise _Refused("a function")
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        found: Any = {key: _plain(item, depth + 1, done) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        found = type(value)(_plain(item, depth + 1, done) for item in value)
    else:
        return value
    done[id(value)] = found
    return found
