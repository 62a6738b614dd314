"""--set, --only and --seeds: what they change, and what they say of a slip."""

from pathlib import Path

import pytest

from umlbench import recipe
from umlbench.errors import UserError
from umlbench.schema.located import ProblemsError

BARE = ("report.plot=null", "claims=[]")  # a plot and a claim place every axis


def changed(*overrides, name="digits", **others):
    return recipe.load(name, overrides=overrides, **others).file


def said(*overrides, name="digits", **others):
    with pytest.raises(UserError) as caught:
        recipe.load(name, overrides=overrides, **others)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --set


@pytest.mark.parametrize(
    ("change", "section", "name", "value"),
    [
        ("text_encoder=pixels", "settings", "text_encoder", "pixels"),
        ("max_iterations=200", "settings", "max_iterations", 200),
        ("text_shots=average", "settings", "text_shots", "average"),
        ("text_shots=null", "settings", "text_shots", None),
        ("settings.patience=3", "settings", "patience", 3),
        ("learning_rate=3.0e-4", "grid", "learning_rate", [3.0e-4]),
        ("learning_rate=[0.1, 0.2]", "grid", "learning_rate", [0.1, 0.2]),
        ("learnable_scale=true", "grid", "learnable_scale", [True]),
        ("shots=4", "axes", "shots", [4]),
        ("shots=[2, 8]", "axes", "shots", [2, 8]),
        ("grid.alpha=[0.5, 1.0]", "grid", "alpha", [0.5, 1.0]),
        ("grid.alpha=0.5", "grid", "alpha", [0.5]),
    ],
)
def test_a_name_is_set_where_it_stands_with_its_type(change, section, name, value):
    before, after = recipe.load("digits").file, changed(change)
    found = getattr(after, section)[name]
    assert found == value
    assert type(found) is type(value)
    others = after.model_copy(update={section: getattr(before, section)})
    assert others == before  # nothing else has changed


def test_several_changes_and_the_last_of_one_name_wins():
    file = changed("patience=3", "title=Mine", "patience=5")
    assert (file.settings["patience"], file.title) == (5, "Mine")


def test_a_value_may_hold_equals_signs():
    assert changed("title=a=b==c").title == "a=b==c"


def test_spaces_around_the_key_do_not_matter():
    assert changed(" patience =3").settings["patience"] == 3


def test_a_key_that_is_a_number_is_found(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: digits\nid: mine\nreport: {labels: {shots: {1: one}}}\n")
    file = changed("report.labels.shots.1=single", name=path)
    assert file.report.labels["shots"] == {1: "single"}


def test_a_setting_becomes_an_axis_and_an_axis_a_setting():
    file = changed("axes.text_type=[descriptions]", "report.rows=[shots, text_type]", *BARE)
    assert file.axes["text_type"] == ["descriptions"]
    assert "text_type" not in file.settings
    file = changed("settings.learning_rate=0.1")
    assert "learning_rate" not in file.grid
    assert file.settings["learning_rate"] == 0.1


def test_a_new_axis_needs_a_place_in_the_report():
    assert said("axes.alpha=[0.5, 1.0]", *BARE).endswith(
        "report.rows: 'alpha' is in neither rows nor columns"
    )
    file = changed("axes.alpha=[0.5, 1.0]", "report.rows=[shots, alpha]", *BARE)
    assert file.axes["alpha"] == [0.5, 1.0]


def test_a_changed_recipe_says_so():
    assert not recipe.load("digits").modified
    assert recipe.load("digits", overrides=["patience=3"]).modified
    assert recipe.load("digits", only=["shots=1"]).modified
    assert recipe.load("digits", seeds="1").modified


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            "learning_rate=abc",
            "grid.learning_rate[0]: must be a number, not the text 'abc'",
        ),
        (
            "learning_rate=1e-3",
            "YAML reads 1e-3 as text, not as a number: write 1.0e-3",
        ),
        ("shots=[1, two]", "axes.shots[1]: must be a whole number, not the text 'two'"),
        ("shots=[]", "axes.shots: must not be empty"),
        ("learnable_scale=1", "grid.learnable_scale[0]: must be true or false, not 1"),
        ("max_iterations=0", "settings.max_iterations: must be greater than or equal to 1, not 0"),
        ("patience=", "settings.patience: must be a whole number, not nothing"),
        ("patience=[3]", "settings.patience: must be a whole number, not a list"),
        (
            "learnign_rate=0.1",
            "settings.learnign_rate: unknown key 'learnign_rate', did you mean 'learning_rate'?",
        ),
        (
            "settings.patiense=1",
            "settings.patiense: unknown key 'patiense', did you mean 'patience'?",
        ),
        ("seeds=1", "seeds: must be a list, not 1"),
        ("title=[1]", "title: must be text, not a list"),
        ("selection=best", "selection: unknown selection rule 'best'"),
        ("settings.dataset.name=x", "settings.dataset: has no parts to set"),
        ("claims.0.text=x", "claims: has no parts to set"),
        ("extends=theory", "extends: cannot be set: write it in a file"),
        ("title=!!python/name:os.system x", "the YAML tag !!python/name:os.system is not allowed"),
        ("title=a: b: c", "not valid YAML: a second ': ' on the line: quote the text"),
        ("shots", "expected key=value"),
        ("=3", "expected key=value"),
        ("settings..dataset=3", "expected key=value"),
    ],
)
def test_a_slip_shows_the_option_and_the_key(change, line):
    assert said(change) == f"--set {change}: {line}"


def test_all_slips_and_the_files_own_are_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("extends: digits\nid: mine\nseeds: []\n")
    assert said("shots=0", "nothing", "patience=no", name="mine.yaml").splitlines() == [
        "--set nothing: expected key=value",
        "--set patience=no: YAML reads no as false: write false, or quote the word",
        "--set shots=0: axes.shots[0]: must be greater than or equal to 1, not 0",
        "mine.yaml:3:8: seeds: must not be empty",
    ]


def test_an_axis_that_is_set_may_leave_out_what_the_report_names():
    assert changed("method=uml").report.baseline == {"method": "unimodal"}


# --only


@pytest.mark.parametrize(
    ("only", "axes"),
    [
        (["shots=4"], {"shots": [4], "method": ["unimodal", "uml", "uml_init"]}),
        (["shots=4,1"], {"shots": [1, 4], "method": ["unimodal", "uml", "uml_init"]}),
        (["shots=1,2,method=uml"], {"shots": [1, 2], "method": ["uml"]}),
        (["shots=1", "method=uml", "shots=2"], {"shots": [1, 2], "method": ["uml"]}),
        ([" shots = 1 , 2 "], {"shots": [1, 2], "method": ["unimodal", "uml", "uml_init"]}),
        (["shots=1,1"], {"shots": [1], "method": ["unimodal", "uml", "uml_init"]}),
    ],
)
def test_only_keeps_these_values_in_the_recipes_order(only, axes):
    assert recipe.load("digits", only=only).file.axes == axes


def test_only_knows_null_true_and_numbers_however_they_are_spelt():
    values = "axes.text_shots=[null, 1, average]", "axes.learnable_scale=[false, true]"
    rows = "report.rows=[shots, text_shots, learnable_scale, alpha]"
    made = [*values, "axes.alpha=[0.001, 1.0]", rows, *BARE]

    def kept(only):
        return recipe.load("digits", overrides=made, only=[only]).file.axes

    assert kept("text_shots=null")["text_shots"] == [None]
    assert kept("text_shots=average,null")["text_shots"] == [None, "average"]
    assert kept("learnable_scale=true")["learnable_scale"] == [True]
    assert kept("learnable_scale=False")["learnable_scale"] == [False]
    assert kept("alpha=1")["alpha"] == [1.0]
    assert kept("alpha=1e-3")["alpha"] == [0.001]


@pytest.mark.parametrize(
    ("only", "message", "hint"),
    [
        ("shot=1", "--only shot=1: unknown axis 'shot', did you mean 'shots'?", "shots, method"),
        ("shots=3", "--only shots=3: unknown value of axis 'shots': '3'", "1, 2, 4, 8, 16"),
        (
            "method=umll",
            "--only method=umll: unknown value of axis 'method': 'umll', did you mean 'uml'?",
            "unimodal, uml, uml_init",
        ),
        ("shots", "--only shots: expected axis=value", "axes: shots, method"),
        ("", "--only : expected axis=value", "axes: shots, method"),
        ("shots=", "--only shots=: unknown value of axis 'shots': ''", "1, 2, 4, 8, 16"),
        ("dataset=digits", "--only dataset=digits: unknown axis 'dataset'", "shots, method"),
    ],
)
def test_only_says_what_there_is(only, message, hint):
    first, second = said(only=[only]).splitlines()
    assert first == message
    assert hint in second


# --seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", [7]), ("1,2,5", [1, 2, 5]), ("1-4", [1, 2, 3, 4]), ("1-2, 5,7-8", [1, 2, 5, 7, 8])],
)
def test_seed_forms(text, seeds):
    assert recipe.load("digits", seeds=text).file.seeds == seeds


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "'' is not a seed: write 1,2,3 or 1-5"),
        ("one", "'one' is not a seed: write 1,2,3 or 1-5"),
        ("-1", "'-1' is not a seed: write 1,2,3 or 1-5"),
        ("1-", "'1-' is not a seed: write 1,2,3 or 1-5"),
        ("1.5", "'1.5' is not a seed: write 1,2,3 or 1-5"),
        ("²", "'²' is not a seed: write 1,2,3 or 1-5"),
        ("5-1", "'5-1' is empty: write 1-5"),
        ("1-100000000", "more than 1000 seeds"),
        ("1,2,1", "seeds[2]: repeats 1"),
    ],
)
def test_a_wrong_seed_list(text, line):
    assert said(seeds=text) == f"--seeds {text}: {line}"


# suites


def test_a_suite_takes_seeds_and_no_other_change():
    parts = recipe.bundle("quickstart", seeds="4-5").recipes
    assert len(parts) > 1
    assert all(part.file.seeds == [4, 5] for part in parts)
    message = "'quickstart' is a suite: --set and --only need one recipe"
    assert message in said("patience=3", name="quickstart")
    assert message in said(only=["shots=1"], name="quickstart")


def test_a_suite_is_not_one_recipe():
    assert "'quickstart' is a suite of several recipes" in said(name="quickstart")


def test_a_suite_of_one_is(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("id: mine\ntitle: One\nruns: [theory]\n")
    assert recipe.load(path).id == "theory"


def test_a_suite_runs_no_suites(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("id: mine\ntitle: Nested\nruns: [quickstart]\n")
    with pytest.raises(ProblemsError, match=r":3:8: runs\[0\]: 'quickstart' is a suite"):
        recipe.bundle(path)
