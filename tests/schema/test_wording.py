"""pydantic's errors in plain words, at the place of the file that is wrong."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from umlbench.schema import Closed
from umlbench.schema.located import parse
from umlbench.schema.wording import explain


class Circle(Closed):
    kind: Literal["circle"]
    radius: float = Field(gt=0)


class Square(Closed):
    kind: Literal["square"]
    side: int | Literal["unit"]


class Drawing(Closed):
    title: str
    shapes: list[Annotated[Circle | Square, Field(discriminator="kind")]] = []
    scale: float | None = None
    sizes: dict[str, Annotated[list[int], Field(min_length=1)]] = {}
    low: int = 0
    high: int = 9

    @model_validator(mode="after")
    def _ordered(self) -> "Drawing":
        if self.title == "free":
            raise ValueError("no drawing is free")
        if self.title == "elsewhere":
            raise ValueError("colour: has no field")
        for name, sizes in self.sizes.items():
            if sizes[-1] > self.high:
                raise ValueError(f"sizes.{name}[{len(sizes) - 1}]: is above high ({self.high})")
        if self.low > self.high:
            raise ValueError(f"high: is below low ({self.low})")
        return self


def said(text: str, **how: Any) -> list[str]:
    raw = parse(text, "f")
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(raw.data)
    return [str(problem) for problem in explain(caught.value, raw, Drawing, **how)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("title: 1", "f:1:8: title: must be text, not 1"),
        ("title: [a]", "f:1:8: title: must be text, not a list"),
        ("title:", "f:1:7: title: must be text, not nothing"),
        ("scale: 1", "f:1:1: title: is missing"),
        ("title: a\nscale: two", "f:2:8: scale: must be a number, not the text 'two'"),
        ("title: a\nscale: true", "f:2:8: scale: must be a number, not true"),
        ("title: a\nscale: .inf", "f:2:8: scale: must be a finite number, not inf"),
        ("title: a\nlow: 1.0", "f:2:6: low: must be a whole number, not 1.0"),
        ("title: a\nsizes: {x: []}", "f:2:12: sizes.x: must not be empty"),
        ("title: a\nsizes: {x: 3}", "f:2:12: sizes.x: must be a list, not 3"),
        ("title: a\nsizes: {3: [1]}", "f:2:9: sizes[3]: the key must be text, not 3"),
        ("title: a\n5: b", "f:2:1: 5: the key must be text"),
        ("title: a\ntitel: b", "f:2:1: titel: unknown key 'titel', did you mean 'title'?"),
        (
            "title: a\nshapes: [{kind: circle, radius: 0}]",
            "f:2:33: shapes[0].radius: must be greater than 0, not 0",
        ),
        ("title: a\nshapes: [{kind: circle}]", "f:2:10: shapes[0].radius: is missing"),
        (
            "title: a\nshapes: [{kind: square, side: 1, sid: 2}]",
            "f:2:34: shapes[0].sid: unknown key 'sid', did you mean 'side'?",
        ),
        (
            "title: a\nshapes: [{kind: square, side: unti}]",
            "f:2:31: shapes[0].side: must be a whole number or 'unit', not the text 'unti', "
            "did you mean 'unit'?",
        ),
        (
            "title: a\nshapes: [{kind: squares}]",
            "f:2:10: shapes[0]: 'kind' must be one of circle, square, not squares, "
            "did you mean 'square'?",
        ),
        ("title: a\nshapes: [{radius: 1.0}]", "f:2:10: shapes[0]: 'kind' is missing"),
        ("title: a\nshapes: [round]", "f:2:10: shapes[0]: must be a mapping, not the text 'round'"),
    ],
)
def test_one_line_at_the_wrong_place(text, line):
    assert said(text) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("title: a\nlow: 20\nhigh: 10", "f:3:7: high: is below low (20)"),
        ("title: a\nlow: 20", "f:1:1: high: is below low (20)"),
        ("title: a\nsizes: {x: [1, 12]}", "f:2:16: sizes.x[1]: is above high (9)"),
        ("title: free", "f:1:1: no drawing is free"),
        ("title: elsewhere", "f:1:1: colour: has no field"),
    ],
)
def test_a_rule_over_several_fields_stands_at_the_field_it_names(text, line):
    assert said(text) == [line]


def test_keys_that_may_stand_beside_the_models():
    assert said("title: a\nextend: b") == ["f:2:1: extend: unknown key 'extend'"]
    assert said("title: a\nextend: b", also=["extends"]) == [
        "f:2:1: extend: unknown key 'extend', did you mean 'extends'?"
    ]


def test_values_that_stand_elsewhere_in_the_file():
    raw = parse("given: {low: a}\naxes: {high: [3, x]}\n", "f")
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate({"title": "a", "low": "a", "high": "x"})
    found = explain(caught.value, raw, Drawing, ("given",), {"high": ("axes", "high", 1)})
    assert [str(problem) for problem in found] == [
        "f:1:14: given.low: must be a whole number, not the text 'a'",
        "f:2:18: axes.high[1]: must be a whole number, not the text 'x'",
    ]
