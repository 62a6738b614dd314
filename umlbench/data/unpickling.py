"""Pickles from the field, read without running them: numpy arrays and plain containers only.

A pickle is a program that calls what it imports. Here it can import the names of `_ADMITTED` alone,
and these are functions of this module: numpy's own trust the states they are given, and a dtype
that denies holding objects would turn the bytes of a file into pointers.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from umlbench.errors import MissingInput, UserError

ARCHIVES = {b"\x1f\x8b": "gzip", b"PK": "zip"}  # first bytes of what is no pickle yet
KINDS = "biufcSUO"  # of dtypes: booleans, numbers, text, and objects that are admitted themselves


class _Refused(Exception):
    """What a pickle asked for."""


class _Archive(Exception):
    """The kind of archive that a file is instead."""


def load(path: Path) -> Any:
    """What the pickle at `path` holds: arrays, numpy scalars, dicts, lists, tuples, sets, values.

    Protocols 0 to 5, of Python 2 (its byte strings as latin-1) and 3, of numpy 1 and 2. Raises
    `MissingInput` where the file cannot be opened, `UserError` where it is no whole pickle or asks
    for anything else, of which nothing is run.
    """
    try:
        with path.open("rb") as file:
            archive = ARCHIVES.get(file.read(2))
            if archive:
                raise _Archive(archive)
            file.seek(0)
            return _Unpickler(file, encoding="latin1").load()
    except OSError as error:
        what = f"cannot read {path}: {error.strerror or error}"
        raise MissingInput(what, "mend or fetch that file again") from error
    except _Refused as error:
        hint = "numpy arrays and plain containers are read, nothing was run; ask its authors"
        raise UserError(f"{path}: the pickle asks for {error}, which is refused", hint) from error
    except Exception as error:  # a damaged pickle fails in every way that there is
        raise UserError(f"{path}: {_fault(error)}", "fetch that file again") from error


def _fault(error: Exception) -> str:
    """Why a file that asks for nothing forbidden is no pickle."""
    if isinstance(error, _Archive):
        return f"is a {error} archive: unpack it first"
    if isinstance(error, (EOFError, struct.error)) or "exhausted" in str(error):
        return "ends too early to be a whole pickle"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    line = (str(error).splitlines() or [""])[0]
    return f"is not a pickle that can be read ({type(error).__name__}: {line})"


class _Unpickler(pickle._Unpickler):
    """The one in Python: that in C takes extension codes from a cache without `find_class`."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        """The function of this module that stands for a global."""
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}")
        return _ADMITTED[module, name]

    def get_extension(self, code: int) -> None:
        """No object goes by a number."""
        raise _Refused(f"the object with extension code {code}")

    def persistent_load(self, pid: Any) -> Any:
        """No object lies outside the file."""
        raise _Refused(f"an object outside the file ({str(pid)[:40]})")

    def load_build(self) -> None:
        """Fill what was made last; nothing but an array or a dtype has a state."""
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, np.dtype):
            _order(made, state)
        elif type(made) is np.ndarray:
            _fill(made, state)
        else:
            raise _Refused(f"a state for a {type(made).__name__}")

    dispatch[pickle.BUILD[0]] = load_build


# What stands for numpy's functions


def _dtype(code: Any, *_: Any) -> np.dtype[Any]:
    """A new dtype without fields; its byte order comes with its state."""
    made = np.dtype(code, copy=True) if isinstance(code, str) else None
    if made is None or made.kind not in KINDS:
        raise _Refused(f"arrays of type {code!r}")
    return made


def _order(dtype: Any, state: Any) -> None:
    """The byte order of `state` = (version, order, None, None, None, ...), and nothing else."""
    if len(state) < 8 or state[1] not in tuple("<>=|") or state[2:5] != (None, None, None):
        raise _Refused(f"arrays of type {dtype} with the state {state!r:.60}")
    own = dtype.__reduce__()[2]
    dtype.__setstate__((own[0], state[1], *own[2:]))


def _array(kind: Any, *_: Any) -> NDArray[Any]:
    """An empty array, to be filled."""
    if kind is not _NDARRAY:
        raise _Refused("an array that is no numpy.ndarray")
    return np.empty(0, np.int8)


def _fill(array: Any, state: Any) -> None:
    """Shape, dtype and contents of `state` = (1, shape, dtype, Fortran order, contents)."""
    version, shape, dtype, fortran, contents = state
    if isinstance(contents, str):  # bytes, as Python 2 wrote them
        contents = contents.encode("latin1")
    size = math.prod(shape) if min(shape, default=0) >= 0 else -1
    unit, holds = (1, list) if dtype.hasobject else (dtype.itemsize, bytes)
    if version != 1 or type(contents) is not holds or len(contents) != size * unit:
        raise _Refused(f"an array {shape} of {dtype} with other contents")
    array.__setstate__((1, shape, dtype, bool(fortran), contents))


def _scalar(dtype: Any, contents: Any) -> Any:
    """A numpy scalar; one that holds an object is none."""
    contents = contents.encode("latin1") if isinstance(contents, str) else contents
    return np.frombuffer(_plain(contents, dtype), dtype)[0]


def _frombuffer(contents: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Any:
    """An array as protocol 5 has it."""
    flat = np.frombuffer(_plain(contents, dtype), dtype)
    if order == "K" and axes is not None:
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape, order=order)


def _plain(contents: Any, dtype: Any) -> bytes | bytearray:
    """Bytes that hold no pointers."""
    if not isinstance(contents, (bytes, bytearray)) or dtype.hasobject:
        raise _Refused(f"values of {dtype} out of a {type(contents).__name__}")
    return contents


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes, as Python 3 writes them for protocols 0 to 2."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"text encoded as {encoding!r}")
    return bytes(text.encode("latin1"))


_NDARRAY = "numpy.ndarray"  # says what `_array` is to make; no class that could be called
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _NDARRAY,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): lambda *pairs: dict(*pairs),
}
_BUILTINS: dict[str, Callable[..., Any]] = {
    "bytes": lambda: b"",
    "set": lambda items=(): set(items),
    "frozenset": lambda items=(): frozenset(items),
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _array
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _frombuffer
for _module in ("builtins", "__builtin__"):
    _ADMITTED |= {(_module, name): made for name, made in _BUILTINS.items()}
