"""The printed numbers: every file, every average, every claim, and the notes they come from."""

import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
import yaml

from umlbench import paper, resources
from umlbench.claims import Ordering, Statement
from umlbench.errors import MissingInput, UserError

NUMBERS = 1745  # in tables 1 to 29, printed averages included
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "paper"
TABLES = {name: paper.load(name) for name in paper.names()}
# The printed averages of table 17 that are not the mean of their columns.
ODD_AVERAGES = {("table17", 16, "unimodal"), ("table17", 16, "uml_init")}


def averaged_rows():
    return [(t, row) for t in TABLES.values() for row in t.rows if row.average is not None]


# names


def test_there_is_one_file_per_item_and_no_other():
    files = {path.stem for path in resources.folder("tables").iterdir()}
    assert files == set(paper.names())
    assert len(paper.names()) == 40
    assert paper.names()[:2] + paper.names()[28:31] == [
        "table1",
        "table2",
        "table29",
        "figure3",
        "figure5",
    ]


@pytest.mark.parametrize("name", paper.names())
def test_a_file_carries_the_numbers_its_name_stands_for(name):
    table = TABLES[name]
    kind = name.rstrip("0123456789")
    assert table.id == name
    assert {paper.canonical(f"{kind}{n}") for n in table.numbers} == {name}


def test_every_number_of_the_paper_is_reachable():
    tables = [n for name, t in TABLES.items() if name.startswith("table") for n in t.numbers]
    figures = [n for name, t in TABLES.items() if name.startswith("figure") for n in t.numbers]
    assert sorted(tables) == list(range(1, 30))
    assert sorted(figures) == sorted(set(range(1, 48)) - {1, 2, 4})


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("table17", "table17"),
        ("table017", "table17"),
        ("Table17", "table17"),
        ("table 17", "table17"),
        ("Tab. 17", "table17"),
        ("T17", "table17"),
        ("fig39", "figure3"),
        ("figure03", "figure3"),
        ("Fig. 9", "figure8"),
        ("figure31", "figure8"),
        ("figure12", "figure5"),
        ("figure36", "figure6"),
        ("figure40", "figure10"),
        ("figure34", "figure33"),
        ("figure43", "figure41"),
        ("figure47", "figure44"),
    ],
)
def test_aliases(name, stem):
    assert paper.canonical(name) == stem
    assert paper.load(name) is TABLES[stem]


@pytest.mark.parametrize(
    "name", ["table0", "table30", "figure48", "figure", "17", "", "table1.5", "fable17"]
)
def test_an_item_the_paper_does_not_have(name):
    with pytest.raises(UserError, match=f"unknown table or figure '{name}'"):
        paper.canonical(name)


def test_a_misspelt_name_is_corrected():
    with pytest.raises(UserError, match="did you mean 'table17'"):
        paper.load("tabel17")


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_diagram_says_so(number):
    with pytest.raises(UserError, match="is a diagram without data"):
        paper.load(f"figure{number}")


# what each figure of a group shows


@pytest.mark.parametrize(
    ("name", "stem", "at"),
    [
        ("Fig. 27", "figure27", {"alignment": ["aligned"], "dataset": ["dtd"]}),
        ("figure9", "figure9", {"alignment": ["unaligned"], "dataset": ["oxford_pets"]}),
        ("figure31", "figure31", {"alignment": ["aligned"], "dataset": ["ucf101"]}),
        ("figure15", "figure15", {"shots": [8]}),
        ("figure34", "figure34", {"method": ["uml_init"]}),
        ("figure43", "figure43", {"dataset": ["oxford_flowers"]}),
        ("figure8", "figure8", {}),  # the group itself
        ("figure39", "figure3", {}),  # shows what figure 3 shows
        ("table17", "table17", {}),
    ],
)
def test_what_a_figure_shows(name, stem, at):
    found, part = paper.shown(name)
    assert (found, part.at) == (stem, at)
    assert part.only == [f"{axis}={value}" for axis, (value,) in at.items()]


def test_every_exchange_figure_shows_another_cell():
    parts = [part.at for part in TABLES["figure8"].shows.values()]
    assert len(parts) == len({str(part) for part in parts}) == 18
    assert [n for n, p in TABLES["figure8"].shows.items() if p.at["alignment"] == ["aligned"]] == [
        8, *range(24, 32),
    ]  # fmt: skip


# numbers


def test_spot_values_and_labels():
    table = paper.load("table17")
    at = {"shots": 1, "method": "uml_init", "dataset": "stanford_cars"}
    assert table.value(at) == 16.49
    assert table.printed_average({"shots": 1, "method": "unimodal"}) == 44.62
    assert table.recomputed_average({"shots": 1, "method": "unimodal"}) is None
    assert table.label("dataset", "fgvc_aircraft") == "FGVC Aircraft"
    assert table.label("method", "uml_init") == "Ours (init)"
    assert table.label("shots", 4) == "4"
    assert TABLES["table2"].label("method", "uml_init") == "Ours"
    assert TABLES["figure8"].value({"alignment": "aligned", "dataset": "food101"}) == 202


def test_table_3_counts():
    table = TABLES["table3"]

    def count(dataset, statistic):
        return table.value({"dataset": dataset, "statistic": statistic})

    pets = [count("oxford_pets", name) for name in table.axes["statistic"]]
    assert pets == [37, 2944, 736, 3669]
    assert count("imagenet", "val") is None
    classes = {name: count(name, "classes") for name in table.axes["dataset"]}
    assert len(classes) == 10
    assert sum(classes.values()) == 37 + 47 + 100 + 100 + 101 + 101 + 102 + 196 + 397 + 1000


def test_cells_run_in_reading_order_and_agree_with_value():
    for table in TABLES.values():
        cells = list(table.cells())
        assert len(cells) == sum(len(row.values) for row in table.rows)
        assert all(table.value(at) == number for at, number in cells)
    first, number = next(TABLES["table24"].cells())
    assert (first, number) == ({"method": "uml_init", "text_dataset": "none", "shots": 1}, 34.15)


def test_averages_are_the_means_of_their_columns_but_for_two():
    assert len(averaged_rows()) == 6 + 2 + 18 * 3 + 7 * 4 * 3
    odd = {
        (table.id, row.at.get("shots"), row.at["method"])
        for table, row in averaged_rows()
        # 0.011 is the largest: table 17, Ours, 16 shots prints 77.80 for 77.811.
        if abs(fmean(row.values.values()) - row.average) > 0.0111
    }
    assert odd == ODD_AVERAGES


def test_the_two_odd_averages_carry_the_recomputed_mean():
    for table, row in averaged_rows():
        at = {name: row.at[name] for name in row.at}
        assert table.printed_average(at) == row.average
        odd = (table.id, row.at.get("shots"), row.at["method"]) in ODD_AVERAGES
        assert (row.recomputed is not None) == odd
        if odd:
            assert table.recomputed_average(at) == row.recomputed
            assert row.recomputed == pytest.approx(fmean(row.values.values()), abs=0.0051)


def test_tables_that_print_the_same_experiment_agree():
    """Table 2 is tables 8 and 17; tables 27 and 28 repeat their cells at a ratio of 1."""
    t8, t17 = TABLES["table8"], TABLES["table17"]
    for at, number in TABLES["table2"].cells():
        full = at["shots"] is None
        rest = {k: v for k, v in at.items() if k != "shots"}
        assert number == (t8.value(rest) if full else t17.value({**rest, "shots": at["shots"]}))
    for at, number in TABLES["table27"].cells():
        if at["text_ratio"] == 1.0:
            same = {"method": at["method"], "shots": at["shots"], "dataset": "sun397"}
            assert number == t17.value(same)
    for method in ("uml", "uml_init"):
        at = {"method": method}
        assert TABLES["table28"].value({**at, "text_ratio": 1.0}) == t8.value(
            {**at, "dataset": "sun397"}
        )


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ({"shots": 1, "method": "uml", "datset": "dtd"}, "did you mean 'dataset'"),
        ({"shots": 1, "method": "uml"}, "the coordinates lack dataset"),
    ],
)
def test_bad_coordinates(coords, message):
    with pytest.raises(UserError, match=message):
        TABLES["table17"].value(coords)


def test_a_cell_the_paper_does_not_print_is_none():
    at = {"method": "uml", "shots": 1, "text_ratio": 1.0}
    assert TABLES["table27"].value(at) is None
    assert TABLES["table27"].value({**at, "method": "a method of our own"}) is None
    assert TABLES["table27"].printed_average({"method": "uml", "shots": 2}) is None


# the project's notes on the paper


def shared_numbers(name):
    """Every number of one file of ../shared/paper as {coordinates: number}, averages included."""
    ours = TABLES[paper.canonical(name)]
    data = yaml.safe_load((SHARED / f"{name}.yaml").read_text())
    found = {}
    for row in data["rows"]:
        fields = {key: value for key, value in row.items() if value is not None}
        if "aux_text" in row:  # without text, Ours (init) is unimodal
            fields |= {"method": "uml_init", "text_dataset": row["aux_text"] or "none"}
        if "modalities" in row:
            fields["modalities"] = "+".join(row["modalities"])
        fields["text_training"] = row.get("text_encoder", "none")
        at = {a: fields.get(a) for a in ours.axes if a != ours.columns}
        values = row.get("values") or {key: row[key] for key in ours.axes[ours.columns]}
        for column, number in values.items():
            found[frozenset({**at, ours.columns: column}.items())] = number
        if "printed_average" in row:
            found[frozenset(at.items())] = row["printed_average"]
    return found


def our_numbers(table):
    found = {frozenset(at.items()): number for at, number in table.cells()}
    rows = [row for row in table.rows if row.average is not None]
    return found | {frozenset(row.at.items()): row.average for row in rows}


needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/paper is not here")


@needs_shared
def test_every_number_of_the_notes_is_ours_and_the_other_way_round():
    names = [f"table{n:02d}" for n in range(1, 30) if n not in (4, 5)]
    theirs = {name: shared_numbers(name) for name in names}
    ours = {name: our_numbers(TABLES[paper.canonical(name)]) for name in names}
    assert theirs == ours
    assert sum(len(numbers) for numbers in ours.values()) == NUMBERS


@needs_shared
def test_figures_and_settings_of_the_notes():
    def theirs(name):
        return yaml.safe_load((SHARED / f"{name}.yaml").read_text())

    assert theirs("table05")["rows"] == [TABLES["table5"].settings]
    assert theirs("figure10")["neurons_shown"] == TABLES["figure10"].settings["neurons_shown"]
    assert theirs("figure35")["text_shots"] == TABLES["figure35"].axes["text_shots"]
    assert theirs("figure35")["image_shots"] == TABLES["figure35"].axes["shots"]
    assert theirs("figure41")["pairs"] == TABLES["figure41"].settings["pairs"]
    gains = [number for _, number in TABLES["figure7"].cells()]
    assert list(theirs("figure07")["values"].values()) == gains == [1.4, 42.7]
    words = theirs("figure08")["values"]
    names = {"unaligned": "unaligned_dinov2_openllama", "aligned": "aligned_clip_rn50"}
    cells = list(TABLES["figure8"].cells())
    assert len(cells) == 18
    assert all(n == words[names[at["alignment"]]][at["dataset"]] for at, n in cells)
    for path in SHARED.glob("figure*.yaml"):
        assert theirs(path.stem)["figures"] == TABLES[paper.canonical(path.stem)].numbers


# claims

UNJUDGED = ("table3", "table28")  # counts, and a statement in words


@pytest.mark.parametrize("name", [n for n, t in TABLES.items() if t.rows and n not in UNJUDGED])
def test_claims_hold_on_the_printed_numbers(name):
    table = TABLES[name]
    claims = [claim for claim in table.claims if not isinstance(claim, Statement)]
    judged = [v for claim in claims for v in claim.judge(table.axes, table.printed)]
    assert judged
    assert [v for v in judged if v.finding in ("reversed", "undecided")] == []
    withheld = [v.at for v in judged if v.finding == "not run"]
    # Table 27's row of Ours at 1 shot is missing from the notes.
    assert withheld == ([{"shots": 1, "text_ratio": 1.0}] if name == "table27" else [])


def test_every_accuracy_table_compares_with_unimodal():
    for number in [1, 2, *range(6, 24)]:
        sides = [
            (c.greater["method"], c.than["method"])
            for c in TABLES[f"table{number}"].claims
            if isinstance(c, Ordering)
        ]
        expected = {"uml_init"} if number == 2 else {"uml"} if number == 1 else {"uml", "uml_init"}
        assert {greater for greater, than in sides if than == "unimodal"} == expected


HEAD = {
    "id": "table1",
    "title": "t",
    "numbers": [1],
    "source": "s",
    "family": "data",
    "content": "statistics",
}


def test_a_claim_about_another_metric_is_not_judged_on_the_printed_numbers():
    assert TABLES["figure8"].printed("accuracy", {}) == {}


# what a file may not say

GOOD = {
    **HEAD,
    "axes": {"method": ["a", "b"], "dataset": ["x", "y"]},
    "columns": "dataset",
    "rows": [{"at": {"method": "a"}, "values": {"x": 1, "y": 2.5}}],
}
ROW = GOOD["rows"][0]
TEXT = {"text": "a claim"}
ORDER = {**TEXT, "kind": "ordering", "greater": {"method": "a"}, "than": {"method": "b"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "t"}, "titel: unknown key 'titel', did you mean 'title'"),
        ({"seeds": "3"}, "seeds: must be a whole number, not the text '3'"),
        ({"family": "few shot"}, "family: must be 'self-supervised', .*, not the text 'few shot'"),
        ({"content": "measured"}, "metric: .* are needed"),
        ({"columns": "data"}, "columns: 'data' is not one of the axes"),
        ({"average": "method"}, "average: must be the columns axis"),
        ({"labels": {"method": {"c": "C"}}}, "labels.method: 'c' is not one of"),
        ({"rows": [ROW, ROW]}, r"rows\[1\].at: a second row"),
        ({"rows": [{**ROW, "at": {}}]}, r"rows\[0\].at: must name every axis but 'dataset'"),
        ({"rows": [{**ROW, "at": {"method": "c"}}]}, r"rows\[0\].at.method: 'c' is not one of"),
        ({"rows": [{**ROW, "values": {"z": 1}}]}, r"rows\[0\].values.dataset: 'z' is not one of"),
        (
            {"rows": [{**ROW, "values": {"x": float("nan")}}]},
            r"rows\[0\].values.x: must be a finite number",
        ),
        (
            {"rows": [{**ROW, "values": {"x": "1"}}]},
            r"rows\[0\].values.x: must be a number",
        ),
        ({"rows": [{**ROW, "average": 1.75}]}, r"rows\[0\].average: the table does not say"),
        ({"axes": {"method": [], "dataset": ["x"]}}, "axes.method: must not be empty"),
        (
            {"claims": [{**TEXT, "kind": "trend", "along": "step", "direction": "rising"}]},
            r"claims\[0\].along: 'step' is not one of the axes",
        ),
        ({"claims": [ORDER]}, r"claims\[0\]: must place every axis"),
        ({"claims": [{**ORDER, "over": "dta"}]}, r"claims\[0\].for_each: 'dta' is not one of"),
        (
            {"claims": [{**ORDER, "over": "dataset", "where": {"dataset": ["z"]}}]},
            r"claims\[0\].where.dataset: 'z' is not one of",
        ),
        ({"claims": [{**ORDER, "over": "dataset", "at_least": 1}]}, "at_least: unknown key"),
        ({"shows": {2: {}}}, r"shows.2: is none of the numbers \[1\]"),
        ({"shows": {1: {"at": {"dataset": ["z"]}}}}, "shows.1.at.dataset: 'z' is not one of"),
        ({"claims": [{**TEXT, "kind": "order"}]}, r"claims\[0\]: 'kind' must be one of"),
    ],
)
def test_a_wrong_file_names_itself_and_the_field(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(UserError, match=f"^mine.yaml:[0-9]+:[0-9]+: .*{message}"):
        paper.read(path)


def test_the_unchanged_file_is_right(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert paper.read(path).value({"method": "a", "dataset": "y"}) == 2.5


@pytest.mark.parametrize(
    ("content", "message"), [("a: [1", "not valid YAML"), (None, "no such file")]
)
def test_an_unreadable_file(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"mine.yaml:.*{message}"):
        paper.read(path)


# where the files lie


def test_a_checkout_comes_first_then_the_package(tmp_path, monkeypatch):
    package = tmp_path / "umlbench"
    monkeypatch.setattr(resources, "_PACKAGE", package)
    with pytest.raises(MissingInput, match="the folder 'tables' is missing"):
        resources.folder("tables")
    (package / "_tables").mkdir(parents=True)
    (tmp_path / "tables").mkdir()
    assert resources.folder("tables") == package / "_tables"
    (tmp_path / "pyproject.toml").touch()
    assert resources.folder("tables") == tmp_path / "tables"


def test_loading_imports_nothing_heavy():
    code = (
        "import sys, umlbench.paper as p; [p.load(n) for n in p.names()];"
        "sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
