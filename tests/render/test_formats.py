"""Tables of hand-made records in every text format."""

import csv
import io
import json

import pytest
from rich.console import Console

from umlbench import paper
from umlbench.errors import UserError
from umlbench.render import FORMATS, console, markdown, render
from umlbench.render.layout import Cell, Table, table, verdict_lines

TABLE12 = paper.load("table12")
GAIN = {1: 0.3, 2: 0.5, 3: 0.7}
LIKE_TABLE12 = {
    "paper": "table12",
    "axes": {"dataset": TABLE12.axes["dataset"], "method": ["unimodal", "uml"]},
    "report": {
        "metrics": ["accuracy"],
        "rows": ["method"],
        "columns": ["dataset"],
        "baseline": {"method": "unimodal"},
        "average": "dataset",
    },
}


def figure12(cell, seed):
    base = TABLE12.value({"method": "unimodal", "dataset": cell["dataset"]})
    return base + 1 + (GAIN[seed] if cell["method"] == "uml" else 0)


@pytest.fixture
def filled(hand):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, figure12)
    return hand.report(recipe)


def text(rows):
    return [[cell.text for cell in row] for row in rows]


def test_ours_paper_difference_and_baseline_are_lines(filled):
    printed = table(filled)
    assert printed.header[:3] == ["method", "", "Stanford Cars"]
    assert printed.header[-1] == "Average"
    assert printed.labels == 2
    ends = [[*row[:3], row[-1]] for row in text(printed.rows)]
    assert ends == [
        ["Unimodal", "ours", "78.48 ± 0.00", "84.41 ± 0.00"],  # 750.67 / 9 + 1
        ["Unimodal", "paper", "77.48", "83.40"],
        ["Unimodal", "ours − paper", "+1.00", "+1.01"],
        ["Ours", "ours", "78.98 ± 0.50", "84.91 ± 0.50"],
        ["Ours", "paper", "78.45", "83.98"],
        ["Ours", "ours − paper", "+0.53", "+0.93"],
        ["Ours", "ours − Unimodal", "+0.50 ± 0.50", "+0.50 ± 0.50"],
    ]
    assert all(cell.strong for cell in printed.rows[-1][2:])  # 0.5 - 0.4968 is above zero


def test_partial_records(hand):
    recipe = hand.recipe(**LIKE_TABLE12)

    def some(cell, seed):
        if cell["dataset"] == "dtd" or (cell["dataset"] == "sun397" and seed == 3):
            return None
        return figure12(cell, seed)

    hand.fill(recipe, some)
    printed = table(hand.report(recipe))
    ours = dict(zip(printed.header, text(printed.rows)[0], strict=True))
    assert ours["DTD"] == "not run"
    assert ours["SUN397"] == "71.72 ± 0.00 (2/3)"
    assert ours["Average"] == "– (8/9)"


def test_one_seed_has_no_interval(hand):
    recipe = hand.recipe(seeds=[1])
    hand.fill(recipe, lambda cell, seed: 50.0)
    assert text(table(hand.report(recipe)).rows)[0] == ["1", "50.00", "50.00"]
    assert hand.report(recipe).notes() == ["Mean of one seed: Test accuracy (percent)."]


def test_a_metric_that_a_cell_has_not(hand):
    report = {"metrics": ["accuracy", "worst"], "rows": ["shots"], "columns": ["method"]}
    recipe = hand.recipe(report=report, seeds=[1])
    hand.fill(recipe, lambda cell, seed: 50.0)
    printed = table(hand.report(recipe))
    assert printed.header[1:3] == ["unimodal, Test accuracy", "unimodal, Worst error"]
    assert text(printed.rows)[0][1:3] == ["50.00", "–"]


def test_differences_stand_in_columns_of_their_own(hand):
    layout = {"metrics": ["accuracy"], "rows": ["shots"], "columns": ["method"]}
    recipe = hand.recipe(report={**layout, "baseline": {"method": "unimodal"}})
    hand.fill(recipe, lambda cell, seed: 50.0 + (cell["method"] == "uml") * cell["shots"])
    printed = table(hand.report(recipe))
    assert printed.header == ["shots", "unimodal", "uml", "uml − unimodal"]
    assert printed.rows[1][-1] == Cell("+2.00 ± 0.00", strong=True)


def claim_lines(hand, holds, axes, **claim):
    recipe = hand.recipe(
        axes=axes,
        report={"metrics": ["accuracy"], "rows": list(axes)},
        seeds=[1],
        claims=[{"text": "positive", "kind": "bound", "at_least": 0, **claim}],
    )
    hand.fill(recipe, lambda cell, seed: holds(**cell))
    return verdict_lines(hand.report(recipe))


def test_where_a_claim_holds(hand):
    axes = {"scale": [0.5, 1.0], "shots": [1, 2, 4, 8, 16]}
    places = {"for_each": ["scale", "shots"]}
    lines = claim_lines(
        hand,
        lambda scale, shots: -1.0 if scale == 0.5 and shots in (1, 4, 8, 16) else 1.0,
        axes,
        **places,
    )
    assert lines == [
        "positive: holds at shots 2 (scale 0.5) and at shots 1 to 16 (scale 1); "
        "reversed at shots 1, 4 to 16 (scale 0.5)."
    ]


def test_places_that_are_shared_are_said_once(hand):
    axes = {"scale": [0.5, 1.0], "method": ["a", "b", "c", "d"]}
    lines = claim_lines(
        hand,
        lambda scale, method: {"a": 1.0, "b": None}.get(method, -1.0),
        axes,
        for_each=["scale", "method"],
    )
    assert lines == ["positive: holds at method a; reversed at method c, d; not run at method b."]


def test_a_claim_at_one_place_and_everywhere(hand):
    assert claim_lines(hand, lambda shots: 1.0, {"shots": [1]}, for_each=["shots"]) == [
        "positive: holds."
    ]


def test_a_claim_that_holds_everywhere(hand):
    assert claim_lines(hand, lambda shots: 1.0, {"shots": [1, 2]}, for_each=["shots"]) == [
        "positive: holds everywhere."
    ]


def test_markdown_escapes_what_would_be_markup():
    assert markdown.escape("a|b *c* <d> `e` [f]\ng") == r"a\|b \*c\* \<d\> \`e\` \[f\] g"
    assert markdown.escape("full_rank − ±") == "full_rank − ±"


def test_markdown_table_is_whole(hand):
    labels = {"method": {"uml": "a|b"}}
    recipe = hand.recipe(
        title="Pipes | and *stars*",
        report={
            "metrics": ["accuracy"], "rows": ["shots"], "columns": ["method"], "labels": labels,
            "baseline": {"method": "unimodal"},
        },
    )  # fmt: skip
    hand.fill(recipe, lambda cell, seed: 50.0 + (cell["method"] == "uml"))
    lines = render([hand.report(recipe)], "markdown").splitlines()
    assert lines[:7] == [
        r"# hand: Pipes \| and \*stars\*",
        "",
        "`umlbench run hand`",
        "",
        r"| shots | unimodal | a\|b | a\|b − unimodal |",
        "| :-- | --: | --: | --: |",
        "| 1 | 50.00 ± 0.00 | 51.00 ± 0.00 | **+1.00 ± 0.00** |",
    ]


def test_csv_gives_every_number_back(filled):
    rows = list(csv.DictReader(io.StringIO(render([filled], "csv"))))
    entries = list(filled.entries())
    assert len(rows) == len(entries) == 20
    for row, entry in zip(rows, entries, strict=True):
        assert row["recipe"] == "hand"
        assert row["dataset"] == entry.coords.get("dataset", "average")
        assert float(row["ours"]) == pytest.approx(entry.ours.mean, rel=1e-6)
        assert float(row["paper"]) == entry.paper
        assert float(row["difference"]) == pytest.approx(entry.difference, rel=1e-6)
        assert (row["versus_baseline"] == "") == (entry.coords["method"] == "unimodal")
        assert row["seeds"] == "3"


def test_csv_of_several_reports_has_one_header(hand, filled):
    other = hand.report(hand.recipe(id="other"))
    lines = render([filled, other], "csv").splitlines()
    assert lines[0].startswith("recipe,method,dataset,shots,metric,ours,ci95,seeds,paper")
    assert sum(line.startswith("recipe,") for line in lines) == 1
    assert lines[-1] == "other,uml,,2,accuracy,,,0,,,,"


def test_json_gives_every_number_back(filled):
    (found,) = json.loads(render([filled], "json"))
    keys = ["id", "title", "command", "jobs", "units", "entries", "claims", "notes"]
    assert list(found) == keys
    assert found["jobs"] == {"done": 54, "all": 54, "failed": 0}
    for one, entry in zip(found["entries"], filled.entries(), strict=True):
        assert (one["at"], one["paper"]) == (entry.coords, entry.paper)
        assert one["ours"]["mean"] == pytest.approx(entry.ours.mean, rel=1e-6)
    assert found["claims"][0]["verdicts"][0]["finding"] == "holds"


def test_json_of_nothing_is_json():
    assert json.loads(render([], "json")) == []


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_takes_a_report_without_records(hand, form):
    found = render([hand.report(hand.recipe(**LIKE_TABLE12))], form)
    assert found.endswith("\n")
    assert not found.endswith("\n\n")


def test_an_unknown_format():
    with pytest.raises(UserError, match="unknown format 'markdwn', did you mean 'markdown'"):
        render([], "markdwn")


# --- the terminal -----------------------------------------------------------------------------


def shown(report, width):
    out = io.StringIO()
    console.show(report, Console(file=out, width=width, color_system=None))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 10_000])
def test_no_number_is_lost_on_a_narrow_terminal(filled, width):
    lines = shown(filled, width).splitlines()
    assert max(len(line) for line in lines) <= width
    words = " ".join(lines)
    for row in text(table(filled).rows):
        for cell in row[2:]:
            assert cell in words
    assert sum(line.startswith("method") for line in lines) == {60: 5, 80: 4, 100: 3}.get(width, 1)


def test_parts_repeat_labels_and_keep_every_column():
    whole = Table(
        ["row", *(f"column {n}" for n in range(5))], [[Cell("x" * 6)] + [Cell("1" * 9)] * 5], 1
    )
    parts = list(console.split(whole, 30))
    assert [part.header for part in parts] == [
        ["row", "column 0", "column 1"],
        ["row", "column 2", "column 3"],
        ["row", "column 4"],
    ]
    assert list(console.split(whole, 80)) == [whole]


def test_a_label_is_not_repeated_below_itself(filled):
    lines = shown(filled, 300).splitlines()
    starts = [line[:8].strip() for line in lines if " ours" in line or " paper" in line]
    assert starts[:4] == ["Unimodal", "", "", "Ours"]


def test_brackets_are_text(hand):
    recipe = hand.recipe(title="[red]not markup[/]", notes=["[bold]nor this[/]"])
    out = shown(hand.report(recipe), 80)
    assert "[red]not markup[/]" in out
    assert "[bold]nor this[/]" in out
