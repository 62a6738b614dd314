"""YAML with positions: what is read, where it stands, and what is refused."""

import math
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from umlbench.resources import folder
from umlbench.schema import located
from umlbench.schema.located import Located, Mark, ProblemsError, dotted, dump, parse, scalar

SHIPPED = [path for name in ("tables", "recipes") for path in sorted(folder(name).glob("*.yaml"))]


def said(text):
    with pytest.raises(ProblemsError) as caught:
        parse(text, "f")
    return str(caught.value).splitlines()


# reading


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_reads_as_yaml_reads_it(path):
    assert located.read(path).data == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_every_key_and_value_has_its_mark():
    raw = parse("a: 1\nb:\n  c: [x, {d: y}]\n", "f")
    assert raw.mark(("b", "c", 1, "d")) == Mark("f", 3, 14)
    assert raw.mark(("b", "c", 1, "d"), key=True) == Mark("f", 3, 11)
    assert raw.mark(("b", "c", 0)) == Mark("f", 3, 7)
    assert raw.mark(("b", "missing"), key=True) == Mark("f", 2, 1)
    assert raw.mark(("nowhere",)) == Mark("f", 1, 1)


def test_an_alias_stands_where_its_anchor_does():
    raw = parse("a: &one [1, 2]\nb: *one\n", "f")
    assert raw.data == {"a": [1, 2], "b": [1, 2]}
    assert raw.mark(("b",)) == Mark("f", 1, 4)
    assert raw.mark(("b",), key=True) == Mark("f", 2, 1)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfid: mine\n")
    assert located.read(path).data == {"id": "mine"}


@pytest.mark.parametrize("text", ["1e-3", "1E5", "-2e-4", "+5e2", "1.5e3", ".5e2", "1_0e3", "3e+7"])
def test_a_number_that_yaml_reads_as_text_comes_with_a_spelling_that_works(text):
    (line,) = said(f"a: {text}")
    spelt = line.rsplit(" ", 1)[1]
    assert line == f"f:1:4: a: YAML reads {text} as text, not as a number: write {spelt}"
    assert parse(f"a: {spelt}", "f").data == {"a": float(text)}
    assert parse(f"a: '{text}'", "f").data == {"a": text}


@pytest.mark.parametrize(
    "text", ["1.0e-3", "1.e-3", "0x1f", "1e", "e5", "v1e3", "1e3x", "0", "-0", "0.5"]
)
def test_what_only_looks_like_a_trap_is_none(text):
    assert parse(f"a: {text}", "f").data == yaml.safe_load(f"a: {text}")


@pytest.mark.parametrize("text", ["true", "True", "FALSE", "false"])
def test_a_truth_value_is_written_as_one(text):
    assert parse(f"a: {text}", "f").data == {"a": text.lower() == "true"}


@pytest.mark.parametrize("text", ["yes", "No", "ON", "off"])
def test_a_word_that_yaml_reads_as_a_truth_value(text):
    assert f"YAML reads {text} as" in said(f"a: {text}")[0]
    assert parse(f"a: '{text}'", "f").data == {"a": text}


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['exit 1']",
        "!!python/name:os.system ''",
        "!!binary aGk=",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!mine {a: 1}",
        "!!timestamp '2025-10-09'",
    ],
)
def test_no_tag_is_obeyed(text):
    (line,) = said(f"a: {text}")
    assert line == f"f:1:4: a: the YAML tag {text.split()[0]} is not allowed"


def test_what_can_be_read_past_is_gathered():
    problems = []
    raw = parse("a: 1e-3\na: 2\nb: 2025-10-09\nc: no\n", "f", problems)
    assert raw.data == {"a": 1e-3, "b": "2025-10-09", "c": False}
    assert [problem.mark.line for problem in problems] == [1, 2, 3, 4]


def test_nested_aliases_are_refused_in_a_moment():
    bomb = "".join(
        f"{name}: &{name} [{', '.join([f'*{inner}' if inner else 'x'] * 10)}]\n"
        for inner, name in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
    )
    started = time.process_time()
    assert "aliases make more than" in said(bomb)[0]
    assert time.process_time() - started < 10  # measured: 0.5 s; all of it would take days


def test_a_file_nested_too_deeply():
    assert said("a: " + "[" * 5000) == ["f: not valid YAML: nested too deeply"]


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab:&*[]{}!?-|>'\"%@#\n\t <1e."))
@example("%YAML x\n---\na: 1")
@example("a: !!int ''")
@example("a: !!int ")
@example("a: !!float 1:x")
@example("a: !!bool maybe")
@example("? &a [*a]\n: 1")
@example("a: " + "9" * 5000)
@example("&a {*a : 1}")
def test_any_text_is_read_or_refused_in_words(text):
    raw, problems = read_or_refused(parse, text, "f")
    if raw is not None:
        assert isinstance(raw.data, dict)
        assert raw.mark(()).line >= 1
    else:
        assert problems
        assert all(problem.mark.source == "f" and problem.what for problem in problems)


def read_or_refused(reader, text, source):
    try:
        return reader(text, source), []
    except ProblemsError as error:
        return None, error.problems


@settings(max_examples=200)
@given(st.text("ab:&*[]{}!?-|>'\"%@#\n\t <1e."))
@example("&a [*a]")
@example("!!python/object/apply:os.system [ls]")
def test_any_command_line_value_is_read_or_refused_in_words(text):
    value, problems = read_or_refused(scalar, text, "--set x")
    assert isinstance(value, str | int | float | list | dict | None)
    assert all(problem.mark == Mark("--set x") for problem in problems)


# writing

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]))
    | st.sampled_from(["1e-3", "no", "1:30", "010", "<<", "=", "~", "2025-10-09", "0x1", "!a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=100)
@given(st.dictionaries(st.text("abcdef", min_size=1), PLAIN, max_size=4))
@example({"a": "\x85", "b": "x\u2028y", "c": "\ufeff", "d": "\r\n", "e": "1e-3"})
def test_what_is_written_is_read_back(data):
    assert parse(dump(data), "f").data == data


def test_a_value_that_stands_twice_is_written_twice():
    shared = [1, 2]
    assert "&" not in dump({"a": shared, "b": shared})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        (1e-5, "1.0e-05"),
        ("a b", "a b"),
        ("no", "'no'"),
    ],
)
def test_a_scalar_as_yaml_writes_it(value, text):
    assert located.dump_scalar(value) == text


def test_a_long_scalar_is_not_folded():
    assert located.dump_scalar("word " * 100 + "end") == "word " * 100 + "end"


# laying over, setting


def test_a_child_is_laid_over_its_base_with_the_marks_of_both():
    base = parse("a: {x: 1, y: [1, 2]}\nb: 3\n", "base")
    child = parse("a: {y: [9], z: 4}\n", "child")
    merged = base.under(child)
    assert merged.data == {"a": {"x": 1, "y": [9], "z": 4}, "b": 3}
    assert merged.mark(("a", "x")) == Mark("base", 1, 8)
    assert merged.mark(("b",), key=True) == Mark("base", 2, 1)
    assert merged.mark(("a", "y", 0)) == Mark("child", 1, 9)
    assert merged.mark(("a", "y", 1)) == Mark("child", 1, 8)
    assert base.data["a"] == {"x": 1, "y": [1, 2]}


def test_a_base_leaves_no_marks_in_what_the_child_replaced():
    merged = parse("a: {x: {deep: 1}}\n", "base").under(parse("a: {x: 1}\n", "child"))
    assert merged.mark(("a", "x", "deep")) == Mark("child", 1, 8)


def test_put_makes_parents_and_moves_the_mark():
    raw = parse("a: {x: [1, 2]}\nb:\n", "f")
    raw.put(("a", "x"), [3], Mark("--set"))
    raw.put(("b", "c", "d"), 4, Mark("--set"))
    assert raw.data == {"a": {"x": [3]}, "b": {"c": {"d": 4}}}
    assert str(raw.mark(("a", "x", 0))) == "--set"
    assert raw.mark(("a",)) == Mark("f", 1, 4)


def test_dotted():
    assert dotted(()) == ""
    assert dotted(("axes", "shots", 2)) == "axes.shots[2]"
    assert dotted((7, "a", 0.5)) == "7.a.0.5"


def test_problems_stand_in_the_order_of_the_file_and_once():
    def problem(line):
        return located.Problem(Mark("f", line, 1), f"k{line}", "is wrong")

    error = ProblemsError([problem(10), problem(9), problem(10)])
    assert str(error) == "f:9:1: k9: is wrong\nf:10:1: k10: is wrong"


def test_unreadable_files(tmp_path):
    for name, content, line in (
        ("none", None, "none.yaml: no such file"),
        ("binary", b"\x89PNG\xff", "binary.yaml: not UTF-8 text (byte 0): is this a YAML file?"),
        (
            "utf16",
            "a: 1".encode("utf-16"),
            "utf16.yaml: not UTF-8 text (byte 0): is this a YAML file?",
        ),
        ("empty", b"", "empty.yaml:1:1: the file is empty"),
        (
            "text",
            b"just words\n",
            "text.yaml:1:1: expected a mapping of keys to values, found text",
        ),
        ("null", b"~\n", "null.yaml:1:1: expected a mapping of keys to values, found nothing"),
    ):
        path: Path = tmp_path / f"{name}.yaml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ProblemsError) as caught:
            located.read(path)
        assert str(caught.value) == line
        path.unlink(missing_ok=True)


def test_infinities_are_read_and_left_to_the_schema():
    assert parse("a: .inf", "f").data == {"a": math.inf}
    assert isinstance(parse("a: 1", "f"), Located)
