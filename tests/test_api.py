import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import umlbench
from umlbench import api
from umlbench.errors import MissingInput, StorageError, UserError


def test_import_is_light():
    code = "import sys, umlbench; print(sorted(m for m in sys.modules if m.startswith('umlbench')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['umlbench']"


def test_functions_stay_functions_after_every_module_is_imported():
    for module in pkgutil.iter_modules(umlbench.__path__, "umlbench."):
        importlib.import_module(module.name)
    for name in umlbench.__all__:
        assert callable(getattr(umlbench, name))
        assert getattr(umlbench, name) is getattr(api, name)
        assert name in dir(umlbench)
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        umlbench.train  # noqa: B018


def test_recorded_recipes_come_in_the_papers_order(tmp_path):
    for name in ("theory", "digits", "figure3", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "records.jsonl").touch()
    assert api.recorded(tmp_path) == ["figure3", "digits", "theory"]
    assert api.foreign(tmp_path) == ["mine"]
    assert api.recorded(tmp_path / "none") == api.foreign(tmp_path / "none") == []


def test_a_recipe_named_twice_is_reported_once(tmp_path):
    ids = [one.recipe.id for one in api.build_reports(["theory", "quickstart"], results=tmp_path)]
    assert sorted(ids) == sorted(set(ids))
    assert ids[0] == "theory"


def test_run_then_report_then_check(tmp_path):
    events = []
    ran = umlbench.run("theory", results=tmp_path, limit=1, on_event=events.append)
    assert [event.record for event in events] == list(ran.made)
    assert [path.name for path in ran.written] == ["report.md", "report.csv"]
    assert umlbench.report("theory", results=tmp_path) == ran.written[0].read_text()
    (checked,) = umlbench.check("theory", results=tmp_path)
    assert checked.deviations == ()
    assert umlbench.plan("theory", results=tmp_path, limit=1).todo == 0
    assert umlbench.plan("theory", results=tmp_path, limit=1, fresh=True).todo == 1


def test_changes_of_a_recipe():
    recipe = umlbench.load_recipe("digits", only=["shots=1"], seeds="7")
    assert (recipe.file.axes["shots"], recipe.file.seeds) == ([1], [7])


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({"only": {"shots": [1, 4], "method": "uml"}}, {"only": ["shots=1,4", "method=uml"]}),
        ({"seeds": range(2, 5)}, {"seeds": "2-4"}),
        ({"seeds": 3}, {"seeds": "3"}),
        (
            {"overrides": {"alpha": 0.5, "text_shots": None, "batch_size": [8, 16]}},
            {"overrides": ["alpha=0.5", "text_shots=null", "batch_size=[8, 16]"]},
        ),
    ],
)
def test_changes_are_given_as_values_or_as_on_the_command_line(values, texts):
    assert umlbench.load_recipe("digits", **values) == umlbench.load_recipe("digits", **texts)


def test_an_unknown_format_is_told_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match="unknown format 'pdf'"):
        umlbench.report("theory", form="pdf", results=tmp_path)


def test_missing_inputs_stop_a_run_before_it_starts(hand, tmp_path, monkeypatch):
    import handmade

    def missing(settings, context):
        raise MissingInput(f"no {settings.dataset} here", "get it")

    monkeypatch.setattr(handmade.HANDMADE, "inputs", missing)
    path = hand.write(tmp_path / "mine.yaml")
    with pytest.raises(MissingInput, match="no dtd here"):
        umlbench.run(path, results=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_rendered_file_that_cannot_be_written(hand, tmp_path):
    report = hand.report(hand.recipe())
    with pytest.raises(StorageError, match="cannot write the rendered table") as caught:
        api.write_report(report, tmp_path / "gone")
    assert "the records are safe" in caught.value.hint


# Figures


def exchange(tmp_path):
    """Records of figure 8 at three images and two sentences a class, made by hand."""
    from umlbench import recipe
    from umlbench.jobs import Outcome
    from umlbench.records import Store, succeeded

    few = ["shots=1,2,4", "text_shots=0,10", "dataset=dtd,food101"]
    made = [
        succeeded(
            job,
            Outcome({"accuracy": 50.0 + job.cell["shots"] + job.cell["text_shots"] / 20}),
            {},
        )
        for job in recipe.load("figure8", only=few).jobs()
    ]
    Store(tmp_path, "figure8").append(made)


def test_a_number_of_a_group_draws_its_own_part(tmp_path, monkeypatch):
    exchange(tmp_path)
    from umlbench.render.figures import isolines

    drawn = []
    panel = isolines._panel
    monkeypatch.setattr(
        isolines, "_panel", lambda axes, *how: (panel(axes, *how), drawn.append(axes.get_title()))
    )
    (path,) = api.plot("Fig. 27", results=tmp_path)
    assert path == tmp_path / "figure8" / "figure27.png"
    assert [title.partition("\n")[0] for title in drawn] == [
        "Aligned (CLIP), DTD, Ours",
        "Aligned (CLIP), DTD, Ours (init)",
    ]


def test_the_groups_own_name_draws_everything(tmp_path, monkeypatch):
    exchange(tmp_path)
    from umlbench.render.figures import lines

    monkeypatch.setattr(lines, "_panel", lambda *_: None)  # 16 of them, drawn in other tests
    found = api.plot("figure8", results=tmp_path, formats=["svg"], out=tmp_path / "mine")
    assert [path.name for path in found] == ["figure8.svg", "figure8-isolines.svg"]
    assert found[0].parent == tmp_path / "mine"


def test_a_figure_that_cannot_be_written(tmp_path):
    exchange(tmp_path)
    (tmp_path / "mine").write_text("a file")
    with pytest.raises(StorageError, match="cannot write the rendered figure") as caught:
        api.plot("figure27", results=tmp_path, out=tmp_path / "mine")
    assert caught.value.hint.endswith("umlbench plot figure27")


def test_a_format_that_is_no_picture(tmp_path):
    with pytest.raises(UserError, match="unknown format 'jpg', did you mean 'png'"):
        api.plot("figure3", results=tmp_path, formats=["jpg"])


COMMITTED = Path(__file__).parents[1] / "results"


@pytest.mark.parametrize(
    ("figure", "drawn"),
    [
        ("figure8", ["laptop_exchange-figure8-isolines.png"]),
        ("figure44", ["laptop_geometry-figure44.png"]),
        ("figure10", ["real_neurons-figure10.png"]),
    ],
)
def test_a_figure_that_was_not_run_is_drawn_of_what_is_like_it(figure, drawn, tmp_path):
    said: list[str] = []
    paths = umlbench.plot(figure, results=COMMITTED, out=tmp_path, say=said.append)
    assert set(drawn) <= {path.name for path in paths}
    assert all(path.stat().st_size > 5000 for path in paths)
    assert [line.startswith(f"{figure} was not run; this is ") for line in said] == [True]
