"""Every shipped recipe runs end to end, made small: from photos and words to rendered tables."""

from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_esc
import tiny_world

from umlbench import api, data, paper, planning, recipe, reporting
from umlbench.claims import Statement
from umlbench.encoders.clip import import_open_clip
from umlbench.jobs import Context
from umlbench.records import Store
from umlbench.schema import located

# What makes a job of each protocol small; axes, layout and claims stay as shipped.
SMALL = {
    "gaussian": ["steps=50", "eval_every=25", "budget=64", "batch_size=16", "validation_size=32"],
    "finetune": [
        *("max_iterations=6", "warmup_iterations=2", "eval_every=5", "patience=2"),
        *("learning_rate=0.01", "batch_size=6"),
    ],
    "imagenet_esc": ["max_iterations=40", "warmup_iterations=5", "eval_every=20", "patience=2"],
    "linear_probe": ["max_iterations=40", "warmup_iterations=5", "eval_every=20", "patience=2"],
    "self_supervised": ["epochs=2"],
    "theory": ["designs=2", "replicates=5"],
    "transfer": [
        *("max_iterations=6", "warmup_iterations=2", "eval_every=5", "patience=2"),
        *("frozen_iterations=3", "batch_size=6"),
    ],
}
SINGLE = [name for name in recipe.names() if len(recipe.bundle(name).recipes) == 1]
FILES = {name: recipe.load(name).file for name in SINGLE}
PRINTED = {name: FILES[name].paper or name for name in SINGLE}  # whose numbers stand beside
PRINTED = {name: item for name, item in PRINTED.items() if item in paper.names()}
PROBES = [name for name in PRINTED if FILES[name].protocol == "linear_probe"]
ACCURACIES = [name for name in PROBES if FILES[name].report.metrics == ["accuracy"]]
HEADS_MEASURED = ["figure44", "laptop_geometry"]  # where a head without text has no figure for it
TUNED = [name for name in PRINTED if FILES[name].protocol == "finetune"]
HEARING = [name for name in PRINTED if FILES[name].protocol == "imagenet_esc"]
CLASSIFIERS = [*PROBES, *TUNED]
PART = {"table2_few_shot": 18 + 2, "table2_finetune": 54 + 6}  # numbers of the table's other part


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Tiny data roots with every set and encoder, and one feature cache for all recipes.

    ImageNet-ESC has a root of its own: its ImageNet has other classes.
    """
    root, hearing = (tmp_path_factory.mktemp(name) for name in ("world", "esc"))
    with pytest.MonkeyPatch.context() as patch:
        known = import_open_clip().factory._MODEL_CONFIGS
        for name, config in tiny_world.clip_configs():
            patch.setitem(known, name, config)
        tiny_esc.shrink(patch)
        tiny_world.make(root)
        tiny_esc.make(hearing)
        yield SimpleNamespace(data=root, esc=hearing, cache=tmp_path_factory.mktemp("cache"))


def small(name):
    """Changes that keep every data set, encoder, method and text, at 2 images a class.

    Of the nine sets of a fine-tuning two are left: reading the others is tested with the probes.
    """
    file = FILES[name]
    first = {field: located.dump_scalar(values[0]) for field, values in file.grid.items()}
    if name in PROBES or file.report.analysis or file.protocol == "imagenet_esc":
        first["learning_rate"] = "0.1"  # 40 steps must be enough to learn something
    grid = [f"grid.{field}=[{value}]" for field, value in first.items()]
    shots = file.axes.get("shots", [])
    few = [f"shots={2 if 2 in shots else located.dump_scalar(shots[0])}"] if shots else []
    if name in TUNED and len(file.axes.get("dataset", [])) > 2:
        few += ["dataset=dtd,caltech101"]
    if file.report.analysis:  # a plane needs two of each, and two data sets stand for all
        sets = ",".join(file.axes["dataset"][-2:])
        texts = ",".join(map(str, file.axes["text_shots"][:3]))
        few = ["shots=1,2", f"text_shots={texts}", f"dataset={sets}"]
    steps = ["iterations=4"] if "iterations" in file.settings else []
    points = ["report.points.step=[25, 50]"] if file.protocol == "gaussian" else []
    points += ["report.points.epoch=[0, 2]"] if "epoch" in file.report.points else []
    return {
        "overrides": [*SMALL[file.protocol], *grid, *steps, *points],
        "only": few,
        "seeds": "1-2" if name in ("digits", "figure3", "theory") else "1",
    }


@pytest.mark.parametrize("name", SINGLE)
def test_a_shipped_recipe_runs_end_to_end(name, world, tmp_path, monkeypatch):
    monkeypatch.setenv("UMLBENCH_CACHE", str(world.cache))
    root = world.esc if FILES[name].protocol == "imagenet_esc" else world.data
    where = {"results": tmp_path, "data": root, "offline": True}
    ran = api.run(name, **where, **small(name))
    assert [record.error for record in ran.failed] == []
    assert len(ran.made) == ran.plan.todo > 0
    [report] = api.build_reports([name], results=tmp_path, **small(name))
    assert report.done == report.jobs
    entries = [entry for entry in report.entries() if entry.metric != "relative_gain"]
    figures = [entry for entry in entries if entry.ours]
    assert figures
    if FILES[name].report.analysis:  # the laptop's tiny encoder may see no difference at all
        assert name not in PROBES or "r_squared" in {entry.metric for entry in figures}
    elif name in HEADS_MEASURED:
        assert {entry.metric for entry in figures} == set(FILES[name].report.metrics)
    elif FILES[name].protocol in ("finetune", "imagenet_esc", "linear_probe", "transfer"):
        assert len(figures) == len(entries)
    if (
        name in ACCURACIES and "dataset" in FILES[name].axes
    ):  # two or three classes each: chance is 48
        assert fmean(entry.ours.mean for entry in figures) > 60
    if name == "real_esc":  # tones of ten classes
        assert fmean(entry.ours.mean for entry in figures) > 20
    assert FILES[name].title in api.report(name, results=tmp_path, **small(name))
    assert api.run(name, **where, **small(name)).made == ()


def test_a_suite_is_its_recipes():
    parts = recipe.bundle("quickstart").recipes
    assert [part.id for part in parts] == ["figure3", "theory", "digits"]


# Beside the paper


def unrun(name, tmp_path):
    return reporting.build(recipe.load(name), Store(tmp_path, name).load())


@pytest.mark.parametrize("name", [*CLASSIFIERS, *HEARING])
def test_every_printed_number_stands_beside_a_cell(name, tmp_path):
    table = paper.load(PRINTED[name])
    printed = [number for _, number in table.cells() if number is not None]
    printed += [row.average for row in table.rows if row.average is not None]
    placed = {*table.axes, "mode"}  # the paper's numbers stand beside each mode
    beside = {
        frozenset((axis, value) for axis, value in entry.coords.items() if axis in placed)
        for entry in unrun(name, tmp_path).entries()
        if entry.paper is not None
    }
    modes = len(FILES[name].axes.get("mode", [None]))
    assert len(beside) == modes * (len(printed) - PART.get(name, 0))


@pytest.mark.parametrize("name", [*CLASSIFIERS, *HEARING])
def test_every_claim_of_the_paper_is_judged(name, tmp_path):
    claims = [one for one in paper.load(PRINTED[name]).claims if not isinstance(one, Statement)]
    own = [claim.text for claim in FILES[name].claims]
    judged = [text for text, _ in unrun(name, tmp_path).verdicts if text not in own]
    part = {"table2_few_shot": slice(1, None), "table2_finetune": slice(1)}
    assert judged == [one.text for one in claims][part.get(name, slice(None))]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_encoders_are_those_of_the_table(name):
    context, loaded = paper.load(PRINTED[name]).context, recipe.load(name)
    cell = list(loaded.cells())[-1]
    settings = loaded.settings(cell)
    clip = {"OpenAI CLIP RN50": "clip:RN50", "OpenAI CLIP ViT-B/16": "clip:ViT-B-16"}
    if name == "figure8":  # whose last cell is aligned
        assert (settings.encoder, settings.text_encoder) == ("clip:RN50", "clip:RN50")
        cell["alignment"], context = "unaligned", paper.load("table17").context
        settings = loaded.settings(cell)
    assert settings.encoder == clip.get(context["vision"], context["vision"])
    if "text" in context:
        assert settings.text_encoder == clip.get(context["text"], context["text"])
    fixed = {"dataset": context["dataset"]} if "dataset" in context else {}
    assert fixed.items() <= settings.model_dump().items()
    assert FILES[name].seeds == [1, 2, 3]
    assert FILES[name].notes


@pytest.mark.parametrize("name", PROBES)
def test_the_grid_is_table_5_s_and_the_released_weights_of_text(name):
    grid, table5 = FILES[name].grid, paper.load("table5").settings
    clip = FILES[name].settings["encoder"].startswith("clip:")
    assert grid["learning_rate"] == table5["learning_rate"]
    assert grid["weight_decay"] == table5["weight_decay"]
    assert grid["batch_size"] == table5["batch_size"]
    assert ("learnable_scale" in grid) == (not clip)
    assert FILES[name].settings["patience"] == (5 if clip else table5["early_stop_patience"])
    assert FILES[name].settings["max_iterations"] == table5["max_iterations"]
    assert grid["alpha"] == [0.2, 0.5, 0.7, 1.0, 1.5]
    if "text_shots" not in FILES[name].axes:
        assert grid["text_shots"] == ["average", 15, None]


@pytest.mark.parametrize("name", TUNED)
def test_fine_tuning_has_the_paper_s_rate_and_batch_and_the_released_rest(name):
    """Section B.4.2; decay, patience and mode of `full_ds_full_model_finetune`."""
    for cell in recipe.load(name).cells():
        settings = recipe.load(name).settings(cell)
        assert (settings.learning_rate, settings.batch_size) == (5e-5, 64)
        assert settings.text_batch == 64 * cell.get("text_ratio", 1)
        assert (settings.weight_decay, settings.patience) == (0.0, 10)
        assert (settings.max_iterations, settings.eval_every) == (12800, 100)
        assert settings.mode == cell.get("mode", "faithful")
        assert not settings.learnable_scale
        assert settings.scale == (100.0 if settings.encoder.startswith("clip:") else 1.0)
        assert (settings.scaling, settings.text_scaling, settings.shots) == ("raw", "raw", None)
    assert FILES[name].grid["alpha"] == [0.2, 0.5, 0.7, 1.0, 1.5]


def test_figure_7_has_what_the_paper_states_of_it():
    """Section B.4.4; the small one differs in its size alone."""
    table, stated = paper.load("figure7"), ("patch_size", "dropout", "embedding_norm")
    loaded, laptop = recipe.load("figure7"), recipe.load("figure7_small")
    for cell, other in zip(loaded.cells(), laptop.cells(), strict=True):
        one, small = loaded.settings(cell), laptop.settings(other)
        assert one.dataset == table.context["dataset"]
        assert one.text_encoder.startswith("bert-large")
        assert (one.image_size, one.patch_size, one.dropout) == (224, 16, 0.1)
        assert one.frozen_iterations == 2000
        assert all(getattr(one, name) == getattr(small, name) for name in stated)
    for one in (loaded, laptop):
        assert one.axes["backbone"] == table.axes["backbone"]
        assert one.file.report.baseline == {"initialisation": "scratch"}


@pytest.mark.parametrize("name", HEARING)
def test_three_modalities_have_the_table_s_encoders_and_the_released_audio_grid(name):
    """Protocol 1.11 and 4; five divisions of the data by three streams."""
    loaded, file = recipe.load(name), FILES[name]
    assert file.grid["learning_rate"] == [0.1, 0.01, 0.001, 0.0001]
    assert file.grid["weight_decay"] == [0.0, 0.01, 0.0001]
    assert file.seeds == list(range(1, 16))
    for cell in loaded.cells():
        s = loaded.settings(cell)
        assert (s.batch_size, s.patience, s.max_iterations, s.auxiliary_shots) == (8, 5, 12800, 1)
        assert (s.audio_encoder, s.batch_norm) == ("audioclip", "train")
        aligned = cell["alignment"] == "aligned"
        assert s.scale == (100.0 if aligned else 1.0)
        scaling = "unit" if aligned else "raw"
        assert (s.audio_scaling, s.image_scaling, s.text_scaling) == (scaling,) * 3
        if aligned:
            assert s.image_encoder == s.text_encoder == "clip:RN50"
        elif "image" in (context := paper.load(name).context):
            assert (s.image_encoder, s.text_encoder) == (context["image"], context["text"])
    baseline = file.report.baseline or {"modalities": paper.load(name).axes["modalities"][0]}
    assert baseline == {"modalities": paper.load(name).axes["modalities"][0]}


def test_figure_6_is_the_part_of_tables_25_and_26_with_class_names():
    mine = {job.spec_id for job in recipe.load("figure6").jobs()}
    theirs = {job.spec_id for name in ("table25", "table26") for job in recipe.load(name).jobs()}
    assert mine < theirs


def trainings(name, **at):
    """What is trained for the cells of a recipe at some values, by dataset, shots and method."""
    found = {}
    for job in recipe.load(name).jobs():
        if job.seed == 1 and at.items() <= {**job.cell}.items():
            s = job.settings
            found[s.dataset, s.shots, s.trained] = job.spec
    return found


@pytest.mark.parametrize(
    ("name", "at", "cells", "of"),
    [
        ("table2_few_shot", {}, 9 * 3 * 2, "table17"),
        ("table24", {"text_dataset": "sun397"}, 5 * 2, "table17"),
        ("table24", {"text_dataset": "none"}, 5, "table17"),
        ("table27", {"text_ratio": 1.0}, 5 * 2, "table17"),
        ("figure32", {"text_encoder": "openlm-research/open_llama_3b_v2"}, 5 * 2, "table17"),
        ("figure32", {"text_encoder": "none"}, 5, "table17"),
        ("figure33", {"text_type": "cupl"}, 5 * 2, "table17"),
        ("figure33", {"text_type": "none"}, 5, "table17"),
        ("figure35", {"text_shots": 0}, 5, "table17"),
        ("figure8", {"alignment": "unaligned", "text_shots": 0}, 9 * 5, "table17"),
        ("figure8", {"alignment": "aligned", "text_shots": 0}, 9 * 5, "table22"),
        ("table2_finetune", {}, 9 * 2, "table8"),
        ("table28", {"text_ratio": 1.0}, 2, "table8"),
        ("table29", {"text_training": "none"}, 2, "table8"),
    ],
)
def test_cells_that_the_paper_prints_twice_are_one_training(name, at, cells, of):
    mine, theirs = trainings(name, **at), trainings(of)
    assert len(mine) == cells
    assert mine.items() <= theirs.items()


def test_figure_35_is_the_part_of_figure_8_on_sun397():
    at = {"alignment": "unaligned", "dataset": "sun397"}
    theirs = {job.id for job in recipe.load("figure8").jobs() if at.items() <= job.cell.items()}
    assert {job.id for job in recipe.load("figure35").jobs()} == theirs


def test_a_test_set_is_judged_on_the_rows_of_its_own_classes(world, tmp_path, monkeypatch):
    """Figure 5's numbers from its stored head, by the released code's label map."""
    monkeypatch.setenv("UMLBENCH_CACHE", str(world.cache))
    how = small("figure5") | {"only": ["shots=2", "method=uml"]}
    api.run("figure5", results=tmp_path, data=world.data, offline=True, heads="results", **how)
    [file] = tmp_path.glob("figure5/heads/*")
    head = api.head(file)
    context = Context(cache=world.cache, data=world.data, offline=True)
    [record] = Store(tmp_path, "figure5").load().records
    [curve] = record.curves
    found = dict(zip(curve.points, curve.values["accuracy"], strict=True))
    assert found["imagenet"] == record.metrics["accuracy"]
    for name, labels in tiny_world.VARIANTS.items():
        photos = data.load(name, world.data, cache=world.cache).split("test")
        x = head.encoder.need.find(context).encode(photos.items, lambda n: None)
        local = [labels.index(label) for label in photos.labels]  # numbered anew, as released
        right = head.logits(x)[:, list(labels)].argmax(1).tolist() == np.array(local)
        assert found[name] == pytest.approx(100 * right.mean())


COMMITTED = sorted(Path(__file__).parents[1].glob("results/*/records.jsonl"))


@pytest.mark.parametrize("path", COMMITTED, ids=[path.parent.name for path in COMMITTED])
def test_a_committed_record_is_still_a_job_of_its_recipe(path):
    name = path.parent.name
    report = reporting.build(recipe.load(name), Store(path.parents[1], name).load())
    assert (report.done > 0, report.stale, report.problems) == (True, 0, ())


# Without data


def test_what_is_missing_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    context = Context(cache=tmp_path / "cache", data=tmp_path / "data", offline=True)
    plan = planning.make(recipe.bundle("table17"), tmp_path / "results", context)
    sets = FILES["table17"].axes["dataset"]
    lines = [line.partition(":")[0] for line in plan.missing]
    assert set(sets) <= set(lines)
    with pytest.raises(api.MissingInput):
        api.run("table17", results=tmp_path / "results", data=context.data, offline=True)
    assert not (tmp_path / "results").exists()


def test_one_file_of_multibench_runs_its_column_of_table1(world, tmp_path, monkeypatch):
    monkeypatch.setenv("UMLBENCH_CACHE", str(world.cache))
    name, file = "table1_multibench", Path("multibench/mosi_data.pkl")
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).symlink_to(world.data / file)
    ran = api.run(name, results=tmp_path / "r", data=tmp_path, offline=True, **small(name))
    assert {record.cell["dataset"] for record in ran.made} == {"mosi"}
    missing = "\n".join(ran.plan.missing)
    for other in ("sarcasm.pkl", "im.pk", "mosei_senti_data.pkl", "humor.pkl"):
        assert other in missing
    [report] = api.build_reports([name], results=tmp_path / "r", **small(name))
    done = {entry.coords["dataset"] for entry in report.entries() if entry.ours}
    assert done == {"mosi"}
