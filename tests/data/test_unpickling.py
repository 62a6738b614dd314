"""What a pickle may hold, and that one which asks for more runs nothing at all."""

from __future__ import annotations

import codecs
import copyreg
import functools
import gzip
import operator
import os
import pickle
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from umlbench.data import unpickling
from umlbench.errors import MissingInput, UserError

PROTOCOLS = range(6)
PLAIN = {
    "floats": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "strided": np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
    "big endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 3)),
    "no axis": np.array(3.0),
    "true": np.array([True, False]),
    "text": np.array(["ab", "ü"]),
    "bytes array": np.array([b"ab", b"c"]),
    "objects": np.array(["x", None, (1, 2), 5], dtype=object),
    "scalar": np.float32(1.5),
    "name": np.str_("abc"),
    "bytes": b"x\xff",
    "no bytes": b"",
    "set": {1, 2},
    "frozen": frozenset([3]),
    "nested": {"list": [1, (2.5, None)], 7: "ü"},
}


@pytest.fixture
def read(tmp_path):
    def load(body):
        path = tmp_path / "some.pkl"
        path.write_bytes(body)
        return unpickling.load(path)

    return load


def same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (found.dtype, found.tolist()) == (expected.dtype, expected.tolist())
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_plain_containers_are_what_pickle_makes_of_them(read, protocol):
    body = pickle.dumps(PLAIN, protocol=protocol)
    found, expected = read(body), pickle.loads(body)
    assert found.keys() == expected.keys()
    for name in expected:
        same(found[name], expected[name])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_1_has_other_module_names(read, protocol):
    """The same bytes with the shorter name, and the length of it where the protocol says one."""
    body = pickle.dumps({"a": PLAIN["floats"], "s": PLAIN["scalar"]}, protocol=protocol)
    for part in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + part, b"numpy.core." + part
        body = body.replace(b"\x8c" + bytes([len(new)]) + new, b"\x8c" + bytes([len(old)]) + old)
        body = body.replace(b"c" + new + b"\n", b"c" + old + b"\n")
    assert b"numpy._core" not in body
    if protocol > 3:  # the one frame is shorter now
        body = body[:3] + struct.pack("<Q", len(body) - 11) + body[11:]
    found = read(body)
    same(found["a"], PLAIN["floats"])
    same(found["s"], PLAIN["scalar"])


def python2(protocol):
    """`{'x': array([1., 2.]), 'id': array(['a'])}` as Python 2 wrote it: text is byte strings."""

    def string(body):
        short = b"U" + bytes([len(body)]) + body
        return short if protocol else b"S" + repr(body)[1:].encode() + b"\n"

    def array(shape, kind, state, body):
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + string(b"b")
        dtype = b"cnumpy\ndtype\n(" + string(kind) + b"I0\nI1\ntR(I3\n" + state + b"tb"
        return made + b"tR(I1\n(I" + str(shape).encode() + b"\nt" + dtype + b"I00\n" + body + b"tb"

    numbers = string(b"<") + b"NNNI-1\nI-1\nI0\n"
    names = string(b"|") + b"NNNI1\nI1\nI0\n"
    x = array(2, b"f8", numbers, string(struct.pack("<2d", 1.0, -2.5)))
    ids = array(1, b"S1", names, string(b"a"))
    start = b"\x80\x02" if protocol else b""
    return start + b"(d" + string(b"x") + x + b"s" + string(b"id") + ids + b"s."


@pytest.mark.parametrize("protocol", [0, 2])
def test_pickles_of_python_2(read, protocol):
    found = read(python2(protocol))
    assert found["x"].tolist() == [1.0, -2.5]
    assert found["id"].tolist() == [b"a"]


def test_an_ordered_dict_is_a_dict(read):
    from collections import OrderedDict

    for protocol in PROTOCOLS:
        assert read(pickle.dumps(OrderedDict(a=1, b=2), protocol=protocol)) == {"a": 1, "b": 2}


# --- what must not run ----------------------------------------------------------------------------


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments, state)

    def __reduce__(self):
        return self.call


def touch(sentinel):
    return f"touch {sentinel}"


def code(sentinel):
    return f"open({str(sentinel)!r}, 'w').close()"


CALLS = {
    "os.system": lambda s: Call(os.system, touch(s)),
    "eval": lambda s: Call(eval, code(s)),
    "exec": lambda s: Call(exec, code(s)),
    "open": lambda s: Call(open, str(s), "w"),
    "import": lambda s: Call(__import__, "os"),
    "subprocess": lambda s: Call(subprocess.check_call, ["touch", str(s)]),
    "partial": lambda s: Call(functools.partial(os.system, touch(s))),
    "attrgetter": lambda s: operator.attrgetter("system"),
    "pickle.loads": lambda s: Call(pickle.loads, pickle.dumps(Call(os.system, touch(s)))),
    "codecs.decode": lambda s: Call(codecs.decode, b"00", "hex"),
    "numpy.load": lambda s: Call(np.load, str(s), "r", True),
    "numpy.save": lambda s: Call(np.save, f"{s}.npy", 1),
    "numpy.fromfile": lambda s: Call(np.fromfile, str(s)),
    "numpy.memmap": lambda s: Call(np.memmap, str(s), "u1", "w+", 0, 1),
    "numpy.testing": lambda s: Call(np.testing.measure, code(s)),
    "numpy.vectorize": lambda s: np.vectorize(os.system),
    "numpy masked": lambda s: np.ma.masked_array([1.0], [True]),
    "numpy record": lambda s: np.array([(1, 2.0)], dtype="i4,f8"),
    "inside a list": lambda s: [1, {"x": (2, Call(os.system, touch(s)))}],
    "as a key": lambda s: {Call(os.system, touch(s)): 1},
    "with a state": lambda s: Call(dict, state={"x": Call(os.system, touch(s))}),
    "in an object array": lambda s: np.array([1, Call(os.system, touch(s))], dtype=object),
    "in an object array in one": lambda s: np.array(
        [np.array([Call(exec, code(s)), 2], dtype=object), None], dtype=object
    ),
    "for contents": lambda s: Call(
        np.empty(0).__reduce__()[0],
        np.ndarray,
        (0,),
        b"b",
        state=(1, (1,), np.dtype("O"), False, Call(os.system, touch(s))),
    ),
}
RUN_BY_PICKLE = ("os.system", "eval", "exec", "open", "subprocess", "numpy.testing")


@pytest.mark.parametrize("name", RUN_BY_PICKLE)
def test_pickle_itself_would_run_them(tmp_path, name):
    sentinel = tmp_path / "ran"
    pickle.loads(pickle.dumps(CALLS[name](sentinel)))
    assert sentinel.exists()


def nothing_ran(tmp_path):
    return [path.name for path in tmp_path.iterdir()] == ["some.pkl"]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_refused_and_nothing_runs(tmp_path, read, name):
    payload = CALLS[name](tmp_path / "ran")
    for protocol in PROTOCOLS:
        with pytest.raises(UserError) as caught:
            read(pickle.dumps(payload, protocol=protocol))
        assert nothing_ran(tmp_path)
        assert "which is refused" in caught.value.message
        assert "\n" not in caught.value.message
        assert str(tmp_path / "some.pkl") in caught.value.message


def text(body):
    return b"X" + struct.pack("<I", len(body)) + body.encode()


def stack_global(module, name):
    return b"\x80\x04" + text(module) + text(name) + b"\x93"


NUMPY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"


def dtype(kind, *state):
    made = b"cnumpy\ndtype\n(" + text(kind) + b"I0\nI1\ntR"
    return made + (b"(" + b"".join(state) + b"tb" if state else b"")


def filled(kind, contents, state=()):
    shape = b"(I1\nt"
    return NUMPY_ARRAY + b"(I1\n" + shape + dtype(kind, *state) + b"I00\n" + contents + b"tb."


POINTER = b"C\x08" + b"A" * 8
NO_OBJECTS = (b"I3\n", text("|"), b"NNNI-1\nI-1\nI0\n")  # flags 0: "holds no objects"
OPCODES = {
    "GLOBAL": lambda c: b"cos\nsystem\n(" + text(c) + b"tR.",
    "GLOBAL posix": lambda c: b"cposix\nsystem\n(" + text(c) + b"tR.",
    "STACK_GLOBAL": lambda c: stack_global("os", "system") + text(c) + b"\x85R.",
    "dotted": lambda c: stack_global("numpy", "dtype.__class__") + text(c) + b"\x85R.",
    "globals": lambda c: stack_global("numpy._core.multiarray", "_reconstruct.__globals__") + b".",
    "modules": lambda c: stack_global("numpy.core.multiarray", "os.system") + text(c) + b"\x85R.",
    "STACK_GLOBAL, no text": lambda c: b"\x80\x04I1\nI2\n\x93.",
    "getattr chain": lambda c: (
        b"cbuiltins\ngetattr\n(c__builtin__\n__import__\n(" + text("os") + b"tR" + text("system")
        + b"tR(" + text(c) + b"tR."
    ),
    "INST": lambda c: b"(" + text(c) + b"ios\nsystem\n.",
    "OBJ": lambda c: b"(cos\nsystem\n" + text(c) + b"o.",
    "NEWOBJ": lambda c: b"\x80\x02csubprocess\nPopen\n((" + text("true") + b"lt\x81.",
    "NEWOBJ_EX": lambda c: b"\x80\x04csubprocess\nPopen\n)}\x92.",
    "NEWOBJ of what is admitted": lambda c: b"\x80\x02cnumpy\ndtype\n(" + text("f8") + b"t\x81.",
    "numpy.ndarray called": lambda c: b"cnumpy\nndarray\n((I9\ntt" + b"R.",
    "PERSID": lambda c: b"P" + c.encode() + b"\n.",
    "BINPERSID": lambda c: text(c) + b"Q.",
    "BUILD of a function": lambda c: b"cnumpy\ndtype\n}" + text("__code__") + text(c) + b"sb.",
    "BUILD of a function, slots": lambda c: b"cnumpy\ndtype\n(N}" + text("x") + text(c) + b"stb.",
    "BUILD of a set": lambda c: b"c__builtin__\nset\n)R}" + text("x") + text(c) + b"sb.",
    "BUILD with __setstate__": lambda c: b"ccodecs\nCodecInfo\n)R" + text(c) + b"b.",
    "copyreg": lambda c: b"ccopy_reg\n_reconstructor\n(cos\nPathLike\nc__builtin__\nobject\nNtR.",
    "objects out of bytes": lambda c: filled("O", POINTER),
    "objects out of bytes, forged dtype": lambda c: filled("O", POINTER, NO_OBJECTS),
    "dtype with fields": lambda c: filled(
        "V8", POINTER, (b"I3\n", text("|"), b"N(" + text("x") + b"t}" + b"I8\nI1\nI0\n")
    ),
    "dtype of dates": lambda c: filled("M8[s]", POINTER, (NO_OBJECTS[0], text("<"), NO_OBJECTS[2])),
    "dtype that is told fields": lambda c: filled(
        "f8", POINTER, (b"I3\n", text("<"), b"N(" + text("x") + b"t}" + b"I8\nI1\nI0\n")
    ),
    "dtype with few states": lambda c: filled("f8", POINTER, (b"I3\n", text("<"))),
    "dtype of several": lambda c: filled("f8,O", POINTER),
    "scalar out of a pointer": lambda c: (
        b"cnumpy.core.multiarray\nscalar\n(" + dtype("O") + POINTER + b"tR."
    ),
    "_frombuffer out of pointers": lambda c: (
        b"cnumpy.core.numeric\n_frombuffer\n("
        + POINTER + dtype("O") + b"(I1\nt" + text("C") + b"tR."
    ),
    "too few bytes": lambda c: filled("f8", b"C\x04AAAA"),
    "too few objects": lambda c: filled("O", b"]").replace(b"(I1\nt", b"(I2\nt"),
    "an object of bytes": lambda c: filled("f8", b"]K\x01a"),
    "negative shape": lambda c: filled("f8", POINTER).replace(b"(I1\nt", b"(I-1\nI-1\nt"),
    "encode with a codec": lambda c: b"c_codecs\nencode\n(" + text(c) + text("rot13") + b"tR.",
}  # fmt: skip


# Calls of what is no function: they fail, as they would in any unpickler.
NO_PICKLE = ("STACK_GLOBAL, no text", "NEWOBJ of what is admitted", "numpy.ndarray called")


@pytest.mark.parametrize("name", OPCODES)
def test_every_opcode_that_could_make_an_object_is_refused(tmp_path, read, name):
    with pytest.raises(UserError) as caught:
        read(OPCODES[name](touch(tmp_path / "ran")))
    assert nothing_ran(tmp_path)
    assert "\n" not in caught.value.message
    assert ("which is refused" in caught.value.message) != (name in NO_PICKLE)


@pytest.mark.parametrize("name", ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "GLOBAL posix"])
def test_the_name_that_is_refused_is_said(tmp_path, read, name):
    with pytest.raises(UserError, match=r"asks for (os|posix)\.system, which is refused"):
        read(OPCODES[name](touch(tmp_path / "ran")))


@pytest.mark.parametrize("opcode", [b"\x82\xf0", b"\x83\xf0\x00", b"\x84\xf0\x00\x00\x00"])
def test_extension_codes_are_refused_even_where_one_is_known(tmp_path, read, opcode):
    command = touch(tmp_path / "ran")
    copyreg.add_extension("os", "system", 240)
    try:
        body = b"\x80\x02" + opcode + text(command) + b"\x85R."
        pickle.loads(b"\x80\x02" + opcode + b".")  # now C's unpickler has it in its cache
        with pytest.raises(UserError, match="extension code 240"):
            read(body)
    finally:
        copyreg.remove_extension("os", "system", 240)
    assert nothing_ran(tmp_path)


def test_nothing_of_the_process_is_changed(read):
    """A state for what is admitted would last; dtypes are copies."""
    dtype_of = np.dtype("f8")
    read(pickle.dumps(np.arange(3, dtype=">f8"), protocol=2))
    assert dtype_of.byteorder == "="
    assert unpickling._Unpickler.dispatch is not pickle._Unpickler.dispatch
    assert pickle._Unpickler.dispatch[ord("b")] is pickle._Unpickler.load_build


# --- files that are no pickles --------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_cut_anywhere_is_told(read, protocol):
    body = pickle.dumps({"a": np.arange(3.0), "b": ["x", 1]}, protocol=protocol)
    for end in [*range(0, len(body), 11), len(body) - 1]:
        with pytest.raises(UserError, match=r"some\.pkl: ") as caught:
            read(body[:end])
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (pickle.dumps(PLAIN)[:-20], "ends too early"),
        (b"", "ends too early"),
        (gzip.compress(pickle.dumps(1), mtime=0), "is a gzip archive: unpack it first"),
        (b"PK\x03\x04 and so on", "is a zip archive: unpack it first"),
        (b"<!DOCTYPE html><title>Sign in</title>", "is not a pickle that can be read"),
        (b"\x80\x09N.", "is not a pickle that can be read"),
    ],
)
def test_another_file_is_told_in_one_line(read, body, said):
    with pytest.raises(UserError, match=said) as caught:
        read(body)
    assert caught.value.hint.startswith("fetch")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingInput, match="No such file"):
        unpickling.load(Path(tmp_path / "none.pkl"))
