"""What a job's id depends on, and that a recipe written out is the same recipe."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from umlbench import protocols, recipe
from umlbench.recipe.model import RecipeFile

SINGLE = [name for name in recipe.names() if len(recipe.bundle(name).recipes) == 1]


def ids(one):
    return [job.id for job in one.jobs()]


def load(data, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return recipe.load(path)


def plain(name):
    return recipe.load(name).file.model_dump(exclude_defaults=True)


# what changes an id


def variants(model, name, value):
    """Other values of a setting, tried until the settings as a whole are valid."""
    annotation = model.model_fields[name].annotation
    words = [word for part in (annotation, *get_args(annotation)) for word in get_args(part)]
    words = [*words, *get_args(annotation)]
    yield from (word for word in words if isinstance(word, str) and word != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value * 2, value - 1, value / 2)
    elif isinstance(value, list):
        yield from (value[:-1], value[::-1])
    yield from (
        3,
        "tfidf",
        "pixels",
        "names",
        "descriptions",
        "food101",
        "dtd",
        "digits",
        "mosi",
        "mosei",
        "audio+text",
    )


def changed_settings(job, name):
    model, before = type(job.settings), job.settings.model_dump()
    for value in variants(model, name, before[name]):
        try:
            after = model.model_validate({**before, name: value})
        except ValueError:
            continue
        if getattr(after, name) != before[name]:
            return after
    return None


@pytest.mark.parametrize("name", SINGLE)
def test_every_setting_that_can_change_a_figure_changes_the_id(name):
    jobs = list(recipe.load(name).jobs())
    untried = set()
    for job in (jobs[0], jobs[-1]):
        stated = job.settings.model_dump(mode="json")
        for field, value in job.settings.identity().items():
            if value != stated[field]:
                continue  # what is trained, where it is not what is named (uml without text)
            after = changed_settings(job, field)
            if after is None:
                untried.add(field)
            else:
                assert replace(job, settings=after).id != job.id, field
    assert not untried


def test_text_settings_are_no_part_of_a_job_without_text():
    jobs = list(recipe.load("digits").jobs())
    other = list(recipe.load("digits", overrides=["alpha=0.5", "text_shots=3"]).jobs())
    for before, after in zip(jobs, other, strict=True):
        assert (before.id == after.id) == (before.cell["method"] == "unimodal")


@pytest.mark.parametrize(
    "change",
    [
        "grid.learning_rate=[1.0e-3]",
        "grid.learning_rate=[1.0e-4, 1.0e-3]",  # ties go to the first
        "grid.scale=[1.0]",
        "grid={}",
    ],
)
def test_the_grid_changes_the_id(change):
    before = ids(recipe.load("digits"))
    assert not set(before) & set(ids(recipe.load("digits", overrides=[change])))


def test_seed_protocol_version_inputs_and_rule_change_the_id():
    job = next(recipe.load("digits").jobs())
    others = [
        replace(job, seed=job.seed + 1),
        replace(job, protocol="other"),
        replace(job, version=job.version + 1),
        replace(job, inputs={"digits": "other"}),
        replace(job, selection="other"),
    ]
    assert len({job.id, *(other.id for other in others)}) == 6


# what does not


@pytest.mark.parametrize(
    "change",
    [
        "title=Another title",
        "notes=[seen]",
        "id=another",
        "paper=table17",
        "claims=[]",
        "report.plot=null",
        "report.baseline=null",
        "report.rows=[method]",
        "report.labels={shots: {1: one}}",
    ],
)
def test_words_and_layout_do_not_change_an_id(change, tmp_path):
    path = tmp_path / "mine.yaml"
    recipe.copy("digits", path)
    more = ["report.columns=[shots]"] if change.startswith("report.rows") else []
    assert ids(recipe.load(path, overrides=[change, *more])) == ids(recipe.load("digits"))


def test_the_order_of_the_grids_names_decides_no_tie(tmp_path):
    data = plain("digits")
    data["grid"] = {key: data["grid"][key] for key in reversed(data["grid"])}
    mine, built_in = load(data, tmp_path), recipe.load("digits")
    assert ids(mine) == ids(built_in)
    assert next(mine.jobs()).trials() == next(built_in.jobs()).trials()


@pytest.mark.parametrize("name", SINGLE)
def test_the_order_of_keys_and_the_files_place_do_not_change_an_id(name, tmp_path):
    data = plain(name)
    data = {key: data[key] for key in reversed(data)}
    for section in ("settings", "axes"):
        data[section] = {key: data[section][key] for key in reversed(data.get(section, {}))}
    assert sorted(ids(load(data, tmp_path))) == sorted(ids(recipe.load(name)))


def test_a_default_written_out_and_a_whole_number_for_a_real_one_change_nothing():
    same = ["alpha=1", "max_iterations=12800", "weight_decay=[0, 0.01, 0.001]"]
    assert ids(recipe.load("digits", overrides=same)) == ids(recipe.load("digits"))


@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("digits", ["shots=2,8"]),
        ("digits", ["shots=1,method=uml"]),
        ("theory", ["check=theorem2"]),
        ("figure3", ["projection_scale=1"]),
    ],
)
def test_only_keeps_the_ids_of_the_cells_it_keeps(name, only):
    kept = list(recipe.load(name, only=only).jobs())
    cells = [job.cell for job in kept]
    assert [job.id for job in kept] == [
        job.id for job in recipe.load(name).jobs() if job.cell in cells
    ]
    assert 0 < len(kept) < len(list(recipe.load(name).jobs()))


def test_more_seeds_keep_the_ids_of_the_seeds_before():
    assert set(ids(recipe.load("digits"))) < set(ids(recipe.load("digits", seeds="1-9")))


# written out and read back


@pytest.mark.parametrize("name", SINGLE)
def test_a_resolved_recipe_is_a_recipe(name, tmp_path):
    path = tmp_path / f"{name}.yaml"
    one = recipe.load(name)
    path.write_text(one.to_yaml(), encoding="utf-8")
    again = recipe.load(path)
    assert again.file == one.file
    assert ids(again) == ids(one)
    assert again.to_yaml() == one.to_yaml()


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
TRAPS = st.sampled_from(
    ["1e-3", "no", "on", "1:30", "010", "~", "2025-10-09", "=", "<<", "a: b", ""]
)
TEXTS = WORDS | TRAPS
NUMBERS = st.floats(1e-300, 1e300) | st.integers(1, 10**30)


@st.composite
def files(draw):
    scales = draw(st.lists(NUMBERS.map(float), min_size=1, max_size=4, unique=True))
    methods = draw(st.permutations(["unimodal", "uml"]))
    labels = st.dictionaries(TEXTS | st.integers() | st.floats(-1e9, 1e9), TEXTS, max_size=3)
    return RecipeFile.model_validate(
        {
            "id": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)),
            "title": draw(TEXTS),
            "protocol": "gaussian",
            "axes": {"projection_scale": scales, "method": methods},
            "seeds": draw(st.lists(st.integers(-9, 10**12), min_size=1, max_size=5, unique=True)),
            "settings": {"noise_variance": draw(NUMBERS), "batch_split": draw(st.booleans())},
            "report": {
                "metrics": ["x_error"],
                "rows": ["projection_scale"],
                "columns": ["method"],
                "labels": {"method": draw(labels)},
            },
            "notes": draw(st.lists(TEXTS, max_size=3)),
        }
    )


@settings(max_examples=40)
@given(files())
def test_any_recipe_written_out_is_the_same_recipe(file):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "mine.yaml"
        path.write_text(recipe.Recipe(file, "mine").to_yaml(), encoding="utf-8", newline="")
        assert recipe.load(path).file == file


def test_every_protocol_is_covered():
    assert {recipe.load(name).file.protocol for name in SINGLE} == set(protocols.NAMES)
