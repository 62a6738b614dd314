import pytest

from umlbench.errors import Exit, MissingInput, StorageError, UserError, nearest, unknown


def test_the_hint_stands_on_a_line_of_its_own():
    assert str(UserError("what", "do")) == "what\n  do"
    assert str(UserError("what")) == "what"


@pytest.mark.parametrize(
    ("kind", "code"),
    [(UserError, 2), (StorageError, 3), (MissingInput, 4)],
)
def test_exit_codes(kind, code):
    assert kind("x").exit_code == code


def test_the_codes_scripts_rely_on():
    assert [code.value for code in Exit] == [0, 1, 2, 3, 4, 130]


def test_did_you_mean():
    assert nearest("tabel17", ["table17", "figure3"]) == ", did you mean 'table17'?"
    assert nearest("DIGITS", ["digits"]) == ", did you mean 'digits'?"
    assert nearest("qqq", ["table17"]) == ""


def test_unknown_names_the_known():
    error = unknown("axis", "shot", ["shots", "method"])
    assert error.message == "unknown axis 'shot', did you mean 'shots'?"
    assert error.hint == "known: shots, method"
    assert unknown("axis", "x", []).hint == ""
