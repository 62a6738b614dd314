"""Names, files that extend others, copies, and the shipped recipes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from umlbench import paper, planning, protocols, recipe
from umlbench.errors import UserError
from umlbench.jobs import Context
from umlbench.recipe.model import named
from umlbench.resources import folder

NAMES = recipe.names()
SINGLE = [name for name in NAMES if len(recipe.bundle(name).recipes) == 1]
SMALL = """\
id: small
title: A small recipe
protocol: gaussian
axes:
  projection_scale: [0.5, 1.0]
  method: [unimodal, uml]
seeds: [1, 2]
settings:
  steps: 100
report:
  metrics: [x_error]
  rows: [projection_scale]
  columns: [method]
"""


def write(path, text):
    path.write_text(text)
    return path


def said(name):
    with pytest.raises(UserError) as caught:
        recipe.find(name)
    assert caught.value.exit_code == 2
    return str(caught.value)


# names


def test_every_recipe_is_a_file_of_the_folder_and_a_base_is_none(tmp_path, monkeypatch):
    assert sorted(path.stem for path in folder("recipes").glob("[!_]*.yaml")) == NAMES
    for name in ("b", "a", "_base"):
        write(tmp_path / f"{name}.yaml", SMALL)
    monkeypatch.setattr(recipe, "folder", lambda _: tmp_path)
    assert recipe.names() == ["a", "b"]


@pytest.mark.parametrize("name", ["figure3", "figure39", "Figure 39", "fig. 3", " FIG39 "])
def test_a_figure_is_found_by_any_of_its_names(name):
    assert recipe.find(name).stem == "figure3"


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "sub/mine", Path("mine")])
def test_a_path_is_taken_as_it_is(name):
    assert recipe.find(name) == Path(name)


def test_an_item_without_a_recipe_is_told_apart_from_an_unknown_name():
    item = next(name for name in reversed(paper.names()) if name not in NAMES)
    spelt = item.replace("table", "Table ").replace("figure", "Figure ")
    first, hint = said(spelt).splitlines()
    assert first == f"{item} of the paper has no recipe yet"
    assert hint == f"  recipes so far: {', '.join(NAMES)}; `umlbench list` shows what is planned"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("digts", "unknown recipe 'digts', did you mean 'digits'?"),
        ("Theory", "unknown recipe 'Theory', did you mean 'theory'?"),
        ("xyz", "unknown recipe 'xyz'"),
        ("table71", "unknown table or figure 'table71', did you mean 'table7'?"),
        ("figure 1", "figure 1 of the paper is a diagram without data"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, line):
    assert said(name).splitlines()[0] == line


def test_errors_gives_one_line_for_a_name():
    assert recipe.errors("digts") == [
        f"unknown recipe 'digts', did you mean 'digits'? (known: {', '.join(NAMES)})"
    ]


# extends


def test_the_nearest_file_wins_key_by_key(tmp_path):
    write(tmp_path / "base.yaml", SMALL)
    child = write(
        tmp_path / "child.yaml",
        "extends: base\nid: child\nsettings: {hidden: 5}\naxes: {projection_scale: [2.0]}\n",
    )
    file = recipe.load(child).file
    assert file.settings == {"steps": 100, "hidden": 5}
    assert file.axes == {"projection_scale": [2.0], "method": ["unimodal", "uml"]}
    assert file.title == "A small recipe"


def test_the_nearest_file_decides_whether_a_name_is_a_setting_or_an_axis(tmp_path):
    write(tmp_path / "base.yaml", SMALL)
    child = write(
        tmp_path / "child.yaml",
        "extends: base.yaml\nid: child\nsettings: {projection_scale: 2.0}\n"
        "axes: {steps: [50, 100]}\nreport: {rows: [steps]}\n",
    )
    file = recipe.load(child).file
    assert file.settings == {"projection_scale": 2.0}
    assert file.axes == {"method": ["unimodal", "uml"], "steps": [50, 100]}
    assert recipe.load(child).settings({"method": "uml", "steps": 50}).projection_scale == 2.0


def test_a_chain_of_files_and_a_built_in_below_it(tmp_path):
    write(tmp_path / "middle.yaml", "extends: figure3\nid: middle\ntitle: In between\n")
    child = write(tmp_path / "child.yaml", "extends: middle\nid: child\nseeds: [9]\n")
    file = recipe.load(child).file
    built_in = recipe.load("figure3").file
    assert (file.id, file.title, file.seeds) == ("child", "In between", [9])
    assert file.axes == built_in.axes


def test_a_file_may_extend_the_built_in_of_its_own_name(tmp_path):
    child = write(tmp_path / "digits.yaml", "extends: digits\ntitle: Mine\n")
    assert recipe.load(child).file.title == "Mine"


def test_an_error_of_the_base_is_shown_in_the_base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("base.yaml"), SMALL.replace("steps: 100", "steps: many"))
    write(Path("child.yaml"), "extends: base\nid: child\nsettings: {hidden: few}\n")
    assert recipe.errors("child.yaml") == [
        "base.yaml:9:10: settings.steps: must be a whole number, not the text 'many'",
        "child.yaml:3:20: settings.hidden: must be a whole number, not the text 'few'",
    ]


# copy


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_the_same_recipe_under_a_new_id(name, tmp_path):
    target = tmp_path / "mine.yaml"
    recipe.copy(name, target)
    ours, theirs = recipe.bundle(target), recipe.bundle(name)
    assert ours.title == theirs.title
    if name in SINGLE:
        (mine,), (built_in,) = ours.recipes, theirs.recipes
        beside = built_in.file.paper or (name if name in paper.names() else None)
        assert mine.file == built_in.file.model_copy(update={"id": "mine", "paper": beside})
        assert [job.id for job in mine.jobs()] == [job.id for job in built_in.jobs()]
        assert mine.source == str(target)


def test_a_copied_recipe_keeps_its_comments_and_its_paper_line(tmp_path):
    write(tmp_path / "mine.yaml", SMALL + "paper: figure3\n# why\n")
    recipe.copy(str(tmp_path / "mine.yaml"), tmp_path / "other.yaml")
    text = (tmp_path / "other.yaml").read_text()
    assert text == SMALL.replace("id: small", "id: other") + "paper: figure3\n# why\n"


def test_a_copied_recipe_that_extends_a_base_still_finds_it(tmp_path, monkeypatch):
    shipped, mine = tmp_path / "recipes", tmp_path / "mine"
    shipped.mkdir(), mine.mkdir()
    write(shipped / "_base.yaml", SMALL)
    write(shipped / "child.yaml", "extends: _base\nid: child\n")
    monkeypatch.setattr(recipe, "folder", lambda _: shipped)
    monkeypatch.setattr(recipe.changes, "folder", lambda _: shipped)
    recipe.copy("child", mine / "own.yaml")
    assert recipe.load(mine / "own.yaml").file.settings == {"steps": 100}


def test_a_copy_never_replaces_a_file_unasked(tmp_path):
    target = write(tmp_path / "mine.yaml", "precious")
    with pytest.raises(UserError, match="exists already") as caught:
        recipe.copy("digits", target)
    assert "--force" in caught.value.hint
    assert target.read_text() == "precious"
    recipe.copy("digits", target, force=True)
    assert recipe.load(target).id == "mine"


@pytest.mark.parametrize("stem", ["1", "no", "1e-3", "2025-10-09"])
def test_a_name_that_yaml_would_misread_is_quoted(stem, tmp_path):
    recipe.copy("digits", tmp_path / f"{stem}.yaml")
    assert recipe.load(tmp_path / f"{stem}.yaml").id == stem


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine", "mine does not end in .yaml"),
        ("mine.txt", "mine.txt does not end in .yaml"),
        ("my recipe.yaml", "'my recipe' cannot be a recipe's id: it must be made of letters"),
        ("nowhere/mine.yaml", "cannot write .*nowhere/mine.yaml: No such file or directory"),
    ],
)
def test_where_nothing_can_be_copied_to(target, message, tmp_path):
    with pytest.raises(UserError, match=message):
        recipe.copy("digits", tmp_path / target)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_copied(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        recipe.copy(str(tmp_path / "none.yaml"), tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="did you mean 'digits'"):
        recipe.copy("digts", tmp_path / "mine.yaml")


# the shipped recipes


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_is_right(name):
    assert recipe.errors(name) == []
    assert recipe.bundle(name).id == name


@pytest.mark.parametrize("name", SINGLE)
def test_the_settings_of_every_cell_resolve(name):
    one = recipe.load(name)
    cells = list(one.cells())
    assert cells
    for cell in cells:
        stated = one.settings(cell).model_dump(mode="json")
        said = named(cell, one.file.presets, stated)
        assert said.keys() >= {axis for axis in cell if axis not in one.file.presets}
        assert {name: stated[name] for name in said} == said


@pytest.mark.parametrize("name", SINGLE)
def test_no_two_jobs_are_the_same(name):
    one = recipe.load(name)
    jobs = list(one.jobs())
    assert len(jobs) == len(list(one.cells())) * len(one.file.seeds)
    if one.file.protocol == "theory" or name == "figure3":  # no setting is without effect
        assert len({job.id for job in jobs}) == len(jobs)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_loads_and_lists_its_jobs_quickly(name):
    started = time.process_time()
    assert sum(1 for one in recipe.bundle(name).recipes for _ in one.jobs())
    assert time.process_time() - started < 1  # measured: 0.2 s for the largest


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_plans_or_says_what_is_missing(name, tmp_path):
    plan = planning.make(recipe.bundle(name), tmp_path, Context(cache=tmp_path))
    assert plan.jobs == plan.todo > 0 or plan.missing


def test_a_built_in_goes_by_its_files_name(tmp_path, monkeypatch):
    for module in (recipe, recipe.changes):
        monkeypatch.setattr(module, "folder", lambda _: tmp_path)
    write(tmp_path / "other.yaml", SMALL)
    line = "recipes/other.yaml:1:5: id: the id of a built-in recipe is its file's name, 'other'"
    assert recipe.errors("other") == [line]


def test_reading_recipes_imports_no_torch():
    code = (
        "import sys; from umlbench import recipe;"
        "[recipe.bundle(name) for name in recipe.names()]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_protocol_has_what_a_recipe_needs():
    for name in protocols.NAMES:
        module = protocols.load(name)
        assert module.METRICS
        assert module.VERSION >= 1
        assert isinstance(module.WHOLE_BATCHES, bool)
