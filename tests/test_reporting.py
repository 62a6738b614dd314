"""Reports of hand-made records, checked by hand."""

import json
import random

import pytest
from scipy import stats as oracle

from umlbench import paper
from umlbench.errors import UserError
from umlbench.jobs import Outcome
from umlbench.records import succeeded
from umlbench.render import render

SEEDS = [1, 2, 3]
GAIN = {1: 0.3, 2: 0.5, 3: 0.7}
TABLE12 = paper.load("table12")
DATASETS = TABLE12.axes["dataset"]
LIKE_TABLE12 = {
    "paper": "table12",
    "axes": {"dataset": DATASETS, "method": ["unimodal", "uml"]},
    "report": {
        "metrics": ["accuracy"],
        "rows": ["method"],
        "columns": ["dataset"],
        "baseline": {"method": "unimodal"},
        "average": "dataset",
    },
}


def figure12(cell, seed):
    """The printed unimodal number plus 1 and half a point a seed; UML gains GAIN on top."""
    base = TABLE12.value({"method": "unimodal", "dataset": cell["dataset"]})
    return base + 1 + (seed - 2) / 2 + (GAIN[seed] if cell["method"] == "uml" else 0)


@pytest.fixture
def table12(hand):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, figure12)
    return hand.report(recipe)


def test_ours_paper_and_difference(table12):
    entry = table12.entry({"method": "unimodal", "dataset": "dtd"}, "accuracy")
    assert entry.ours.mean == pytest.approx(79.25, abs=1e-9)
    assert entry.ours.half == pytest.approx(4.3026527297 * 0.5 / 3**0.5, abs=1e-6)
    assert entry.paper == 78.25
    assert entry.difference == pytest.approx(1.0, abs=1e-9)
    assert entry.versus is None  # the baseline itself


def test_the_difference_to_the_baseline_is_paired(table12):
    entry = table12.entry({"method": "uml", "dataset": "dtd"}, "accuracy")
    gains = list(GAIN.values())
    test = oracle.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (entry.versus.low, entry.versus.high) == pytest.approx(tuple(test), abs=1e-4)
    assert entry.versus.half < entry.ours.half / 2  # the seeds' common noise has gone


def test_the_average_stands_beside_the_printed_one(table12):
    entry = table12.entry({"method": "unimodal"}, "accuracy")
    columns = [TABLE12.value({"method": "unimodal", "dataset": d}) for d in DATASETS]
    assert entry.ours.mean == pytest.approx(sum(columns) / 9 + 1, abs=1e-5)
    assert entry.paper == 83.40
    assert entry.cells == (9, 9)


def test_an_average_over_other_cells_has_no_printed_number(hand):
    recipe = hand.recipe(
        **{**LIKE_TABLE12, "axes": {"dataset": DATASETS[:2], "method": ["unimodal", "uml"]}}
    )
    hand.fill(recipe, figure12)
    entry = hand.report(recipe).entry({"method": "unimodal"}, "accuracy")
    assert entry.paper is None
    assert entry.ours.mean == pytest.approx((77.48 + 70.72) / 2 + 1, abs=1e-9)


def test_a_missing_cell_withholds_the_average(hand):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, lambda cell, seed: None if cell["dataset"] == "dtd" else figure12(cell, seed))
    report = hand.report(recipe)
    average = report.entry({"method": "uml"}, "accuracy")
    assert (average.ours, average.versus, average.cells) == (None, None, (8, 9))
    assert not report.entry({"method": "uml", "dataset": "dtd"}, "accuracy").ran
    assert "48 of 54 jobs have a record; the rest is not run." in report.notes()


def test_an_average_keeps_the_seeds_that_every_cell_has(hand):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(
        recipe,
        lambda cell, seed: figure12(cell, seed) if cell["dataset"] != "dtd" or seed == 2 else None,
    )
    average = hand.report(recipe).entry({"method": "unimodal"}, "accuracy")
    assert (average.ours.n, average.ours.half, average.cells) == (1, None, (9, 9))


def test_a_misprinted_average_is_replaced_and_noted(hand):
    table = paper.load("table17")
    recipe = hand.recipe(
        paper="table17",
        axes={"shots": [8, 16], "method": table.axes["method"], "dataset": table.axes["dataset"]},
        report={
            "metrics": ["accuracy"],
            "rows": ["shots", "method"],
            "columns": ["dataset"],
            "average": "dataset",
        },
    )
    report = hand.report(recipe)
    wrong = [row for row in table.rows if row.recomputed is not None]
    assert wrong
    for row in wrong:
        assert report.entry(row.at, "accuracy").paper == row.recomputed != row.average
    noted = [note for note in report.notes() if "the mean is used here" in note]
    assert len(noted) == len(wrong)


def test_numbers_of_another_metric_are_not_set_beside_ours(hand):
    """Figure 7 prints relative gains: neither they nor their claims are about accuracies."""
    recipe = hand.recipe(
        paper="figure7",
        axes={"shots": [1], "method": ["unimodal"]},
        report={"metrics": ["accuracy"], "rows": ["shots", "method"]},
    )
    report = hand.report(recipe)
    assert [entry.paper for entry in report.entries()] == [None]
    assert report.verdicts == []


def test_the_papers_claims_are_judged_on_our_records(table12):
    assert [(text, [v.finding for v in found]) for text, found in table12.verdicts] == [
        ("Ours is above unimodal on average", ["holds"])  # the other names uml_init
    ]


def test_a_claim_is_judged_for_each_value_of_an_axis_it_does_not_place(hand):
    recipe = hand.recipe(**{**LIKE_TABLE12, "axes": {**LIKE_TABLE12["axes"], "shots": [1, 2]}})
    hand.fill(recipe, lambda cell, seed: figure12(cell, seed) * (cell["shots"] == 1))
    ((_, verdicts),) = hand.report(recipe).verdicts
    assert [(v.at, v.finding) for v in verdicts] == [
        ({"shots": 1}, "holds"),
        ({"shots": 2}, "undecided"),
    ]


@pytest.mark.parametrize(
    "claim",
    [
        {"kind": "trend", "along": "shots", "direction": "rising", "for_each": ["method"]},
        {"kind": "bound", "at_least": 0, "for_each": ["method"], "where": {"method": ["gone"]}},
        {
            "kind": "ordering",
            "greater": {"method": "uml"},
            "than": {"method": "unimodal"},
            "over": "shots",
            "where": {"shots": [2]},
        },
    ],
)
def test_claims_about_cells_that_are_not_here_are_not_judged(hand, claim):
    axes = {"shots": [1], "method": ["unimodal", "uml"]}
    recipe = hand.recipe(axes=axes, claims=[{"text": "a claim", **claim}])
    hand.fill(recipe, lambda cell, seed: 1.0)
    assert hand.report(recipe).verdicts == []


def test_worst_cases_over_seeds(hand):
    recipe = hand.recipe(
        report={"metrics": ["worst", "least"], "rows": ["shots"], "columns": ["method"]}
    )
    hand.fill(recipe, lambda cell, seed: {"worst": 10.0 * seed, "least": seed / 10})
    report, at = hand.report(recipe), {"shots": 1, "method": "uml"}
    worst, least = (report.entry(at, metric).ours for metric in ("worst", "least"))
    assert (worst.mean, worst.half, worst.n) == (30.0, None, 3)
    assert (least.mean, least.half, least.n) == (0.1, None, 3)
    assert report.notes()[:2] == [
        "Smallest over 3 seeds: Least gap (relative).",
        "Largest over 3 seeds: Worst error (relative).",
    ]


def test_points_of_a_curve(hand):
    recipe = hand.recipe(
        report={
            "metrics": ["accuracy"],
            "rows": ["shots", "step"],
            "columns": ["method"],
            "points": {"step": [0.0, 100.0, 200.0]},
        }
    )
    hand.fill(recipe, lambda cell, seed: {"accuracy": 9.0, 0.0: 1.0 * seed, 100.0: 5.0})
    report, at = hand.report(recipe), {"shots": 1, "method": "uml"}
    assert report.samples("accuracy", {**at, "step": 0}) == {1: 1.0, 2: 2.0, 3: 3.0}
    assert report.samples("accuracy", {**at, "step": 100}) == {1: 5.0, 2: 5.0, 3: 5.0}
    missing = report.entry({**at, "step": 200}, "accuracy")
    assert (missing.ours, missing.ran) == (None, True)
    assert report.samples("accuracy", at) == {1: 9.0, 2: 9.0, 3: 9.0}


def test_records_of_other_settings_are_left_out_and_counted(hand):
    recipe = hand.recipe()
    hand.fill(hand.recipe(settings={"scale": 2.0}), lambda cell, seed: 1.0)
    report = hand.report(recipe)
    assert (report.done, report.jobs, report.stale) == (0, 12, 12)
    assert any(note.startswith("12 stored records of other settings") for note in report.notes())


def test_one_record_serves_every_cell_with_its_settings(hand):
    """`rate` is no setting of unimodal: its cells are one job, with one record."""
    recipe = hand.recipe(
        axes={"rate": [0.1, 0.2], "method": ["unimodal", "uml"]},
        report={"metrics": ["accuracy"], "rows": ["rate"], "columns": ["method"]},
    )
    hand.fill(recipe, lambda cell, seed: None if cell["rate"] == 0.2 else 5.0)
    report = hand.report(recipe)
    assert report.entry({"rate": 0.2, "method": "unimodal"}, "accuracy").ours.mean == 5.0
    assert report.entry({"rate": 0.2, "method": "uml"}, "accuracy").ours is None
    assert (report.done, report.stale) == (9, 0)


def test_cells_are_found_by_settings_where_an_axis_has_moved(hand):
    hand.fill(hand.recipe(), lambda cell, seed: 5.0)
    moved = hand.recipe(
        axes={"shots": [1, 2], "method": ["unimodal", "uml"], "dataset": ["dtd"]},
        report={"metrics": ["accuracy"], "rows": ["shots", "dataset"], "columns": ["method"]},
    )
    assert hand.report(moved).done == 12


def test_failures_are_noted_until_they_succeed(hand):
    recipe = hand.recipe()
    hand.fill(recipe, lambda cell, seed: ValueError("no luck") if seed == 3 else 1.0)
    report = hand.report(recipe)
    assert (report.done, len(report.failed)) == (8, 4)
    note = "4 jobs failed; first shots=1, method=unimodal, seed 3: ValueError: no luck"
    assert note in report.notes()
    hand.fill(recipe, lambda cell, seed: 1.0 if seed == 3 else None)
    assert not hand.report(recipe).failed


def test_different_inputs_are_noted(hand):
    recipe = hand.recipe()
    key = {recipe.settings(cell).model_dump_json(): {"dtd": "old"} for cell in recipe.cells()}
    hand.fill(recipe, lambda cell, seed: 1.0 if seed < 3 else None, inputs=key)
    new = {name: {"dtd": "new"} for name in key}
    hand.fill(recipe, lambda cell, seed: 2.0 if seed == 3 else None, inputs=new)
    assert "Records differ in their inputs (dtd): run again." in hand.report(recipe).notes()


def test_the_latest_success_counts_wherever_its_line_is(hand):
    recipe = hand.recipe(seeds=[1])
    hand.fill(recipe, lambda cell, seed: 1.0)
    path = hand.store(recipe).path
    lines = path.read_text().splitlines()
    later = [line.replace('"accuracy":1.0', '"accuracy":2.0') for line in lines]
    later = [json.dumps({**json.loads(line), "finished": "2999-01-01T00:00:00Z"}) for line in later]
    for order in (lines + later, later + lines):
        path.write_text("\n".join(order) + "\n")
        assert hand.report(recipe).entry({"shots": 1, "method": "uml"}, "accuracy").ours.mean == 2.0


@pytest.mark.parametrize("form", ["markdown", "csv", "json"])
def test_order_duplicates_and_old_failures_change_no_byte(hand, form):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, figure12)
    before = render([hand.report(recipe)], form)
    path = hand.store(recipe).path
    lines = path.read_text().splitlines()
    random.Random(0).shuffle(lines)
    path.write_text("\n".join(lines + lines[:7]) + "\n")
    hand.fill(recipe, lambda cell, seed: RuntimeError("late") if seed == 1 else None)
    assert render([hand.report(recipe)], form) == before


def test_a_damaged_line_is_noted(hand):
    recipe = hand.recipe()
    hand.fill(recipe, lambda cell, seed: 1.0)
    with hand.store(recipe).path.open("a") as file:
        file.write('{"id": "x", "rec')
    note = hand.report(recipe).notes()[-1]
    assert note == "Unreadable: records.jsonl:13: torn last line, ignored."


def test_a_layout_without_an_axis_is_an_error_not_a_traceback(hand):
    recipe = hand.recipe(report={"metrics": ["accuracy"], "rows": ["shots"]})
    with pytest.raises(UserError, match="hand: nothing says which method is meant"):
        list(hand.report(recipe).entries())


def test_labels(hand):
    labels = {"method": {"uml": "Mine"}}
    recipe = hand.recipe(
        paper="table12", report={**LIKE_TABLE12["report"], "average": None, "labels": labels}
    )
    report = hand.report(recipe)
    assert report.label("method", "uml") == "Mine"  # the recipe's own
    assert report.label("method", "unimodal") == "Unimodal"  # the paper's
    assert (report.label("step", 100.0), report.label("scale", 0.5)) == ("100", "0.5")


def with_trials(hand, recipe, trials):
    """Records that hold every trial's figures; `trials` by seed: (validation, test)."""
    made = []
    for job in recipe.jobs():
        val, test = trials[job.seed]
        best = val.index(max(val, key=lambda v: v or 0))
        metrics = {"accuracy": test[best], "val_accuracy": val[best]}
        lists = {"val_accuracy": val, "test_accuracy": test}
        outcome = Outcome({**metrics, "worst": 1.0}, trials=lists)
        made.append(succeeded(job, outcome, {}))
    hand.store(recipe).append(made)


TRIALS = {1: ([70.0, 60.0], [1.0, 2.0]), 2: ([40.0, 90.0], [3.0, 4.0]), 3: ([50.0, 51.0], [5, 6])}
ONE_CELL = {"axes": {"shots": [1]}, "report": {"metrics": ["accuracy"], "rows": ["shots"]}}
WITH_GRID = {**ONE_CELL, "grid": {"rate": [0.1, 0.2]}}


def test_one_trial_is_chosen_for_all_seeds(hand):
    """The second trial has the higher mean validation figure, though the first wins seed 1."""
    recipe = hand.recipe(**WITH_GRID, selection="mean_val_accuracy")
    with_trials(hand, recipe, TRIALS)
    report = hand.report(recipe)
    assert report.samples("accuracy", {"shots": 1}) == {1: 2.0, 2: 4.0, 3: 6.0}
    assert report.samples("val_accuracy", {"shots": 1}) == {1: 60.0, 2: 90.0, 3: 51.0}
    assert report.samples("worst", {"shots": 1}) == {}  # no trial says it
    assert any("mean_val_accuracy" in note and "one grid point" in note for note in report.notes())


def test_each_seed_chooses_where_the_rule_says_so(hand):
    recipe = hand.recipe(**WITH_GRID, selection="val_accuracy")
    with_trials(hand, recipe, TRIALS)
    report = hand.report(recipe)
    assert report.samples("accuracy", {"shots": 1}) == {1: 1.0, 2: 4.0, 3: 6.0}
    assert report.samples("worst", {"shots": 1}) == {1: 1.0, 2: 1.0, 3: 1.0}


def test_a_trial_that_diverged_at_one_seed_is_not_chosen_for_all(hand):
    recipe = hand.recipe(**WITH_GRID, selection="mean_val_accuracy")
    nan = float("nan")
    with_trials(hand, recipe, {**TRIALS, 2: ([40.0, nan], [3.0, nan])})
    assert hand.report(recipe).samples("accuracy", {"shots": 1}) == {1: 1.0, 2: 3.0, 3: 5.0}


def test_without_trials_there_is_nothing_to_choose(hand):
    recipe = hand.recipe(**ONE_CELL, selection="mean_val_accuracy")
    hand.fill(recipe, lambda cell, seed: float(seed))
    assert hand.report(recipe).samples("accuracy", {"shots": 1}) == {1: 1.0, 2: 2.0, 3: 3.0}


# --- relative gains ---------------------------------------------------------------------------


def with_gain(**report):
    return {
        **LIKE_TABLE12,
        "report": {**LIKE_TABLE12["report"], "metrics": ["accuracy", "relative_gain"], **report},
    }


def test_a_relative_gain_stands_beside_that_of_the_printed_numbers(hand):
    recipe = hand.recipe(**with_gain())
    hand.fill(recipe, figure12)
    report = hand.report(recipe)
    here = {"method": "uml", "dataset": "dtd"}
    entry = report.entry(here, "relative_gain")
    ours, base = ([figure12({**here, "method": m}, s) for s in SEEDS] for m in ("uml", "unimodal"))
    assert entry.ours.mean == pytest.approx(100 * (sum(ours) / sum(base) - 1), abs=1e-4)
    assert entry.ours.half is not None
    printed = TABLE12.value(here) / TABLE12.value({**here, "method": "unimodal"})
    assert entry.paper == pytest.approx(100 * (printed - 1))
    assert entry.versus is None  # it is one itself
    base = report.entry({"method": "unimodal", "dataset": "dtd"}, "relative_gain")
    assert (base.ours, base.paper) == (None, None)


def test_the_gain_of_an_average_is_that_of_the_averages(hand):
    recipe = hand.recipe(**with_gain())
    hand.fill(recipe, figure12)
    report = hand.report(recipe)
    means = [report.entry({"method": m}, "accuracy").ours.mean for m in ("uml", "unimodal")]
    found = report.entry({"method": "uml"}, "relative_gain").ours.mean
    assert found == pytest.approx(100 * (means[0] / means[1] - 1))


def test_a_column_of_the_baseline_has_no_gain(hand):
    report = {"rows": ["dataset"], "columns": ["method"], "average": None}
    recipe = hand.recipe(**with_gain(**report))
    hand.fill(recipe, figure12)
    text = render([hand.report(recipe)], "markdown")
    header = next(line for line in text.splitlines() if line.startswith("| dataset"))
    assert header.count("Relative gain") == 1
    assert header.count("−") == 1  # one difference, of the accuracy


def test_a_printed_gain_stands_beside_ours_and_is_claimed(hand):
    recipe = hand.recipe(
        paper="figure7",
        axes={"backbone": ["full_finetune", "frozen"], "method": ["unimodal", "uml"]},
        presets={"backbone": {"full_finetune": {"shots": 1}, "frozen": {"shots": 2}}},
        report={
            "metrics": ["accuracy", "relative_gain"],
            "rows": ["backbone"],
            "columns": ["method"],
            "baseline": {"method": "unimodal"},
        },
    )
    share = {"full_finetune": 1.01, "frozen": 1.5}
    hand.fill(
        recipe,
        lambda cell, seed: (
            (40 + seed) * (share[cell["backbone"]] if cell["method"] == "uml" else 1)
        ),
    )
    report = hand.report(recipe)
    entry = report.entry({"backbone": "frozen", "method": "uml"}, "relative_gain")
    assert (entry.ours.mean, entry.paper) == (pytest.approx(50.0, abs=1e-4), 42.7)
    assert report.entry({"backbone": "frozen", "method": "uml"}, "accuracy").paper is None
    findings = {text: [v.finding for v in verdicts] for text, verdicts in report.verdicts}
    assert findings == {
        "BERT weights improve on random ones": ["holds", "holds"],
        "The gain is larger with a frozen backbone": ["holds"],
    }
