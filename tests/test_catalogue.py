import pytest

from umlbench import catalogue, paper
from umlbench import recipe as recipes
from umlbench.errors import UserError


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return catalogue.items(tmp_path_factory.mktemp("none"))


def test_everything_is_listed_the_paper_first(listed):
    names = [item.name for item in listed]
    own = [name for name in recipes.names() if name not in paper.names()]
    assert names == paper.names() + own
    assert names[:29] == [f"table{n}" for n in range(1, 30)]
    assert all(item.title and item.family and item.status for item in listed)


def test_statuses(listed):
    by_name = {item.name: item.status for item in listed}
    assert by_name["table5"] == "reference"
    assert by_name["theory"] == "not run"


@pytest.mark.parametrize(
    ("jobs", "done", "status"), [(4, 4, "done"), (4, 1, "1/4 jobs"), (4, 0, "not run")]
)
def test_progress(jobs, done, status):
    item = catalogue.Item("x", "X", "f", (), True, jobs=jobs, done=done)
    assert item.status == status


def test_an_item_without_a_recipe():
    assert catalogue.Item("x", "X", "f", (), False).status == "no recipe yet"


def test_figures_of_one_experiment_share_a_line(listed):
    shown = {item.name: item.shown_name for item in listed}
    assert shown["figure8"] == "figure8 (also 9, 16 to 31)"
    assert shown["figure10"] == "figure10 (also 11, 40)"
    assert shown["figure7"] == "figure7"


def test_a_suite_counts_its_parts(listed):
    jobs = {item.name: item.jobs for item in listed}
    parts = [recipe.id for recipe in recipes.bundle("quickstart").recipes]
    assert jobs["quickstart"] == sum(jobs[part] for part in parts) > 0


def test_plain_keys(listed):
    keys = ["name", "title", "family", "numbers", "content", "recipe", "status", "jobs", "done"]
    assert all(list(item.plain()) == keys for item in listed)


@pytest.mark.parametrize(
    ("name", "recipe_ids", "table"),
    [
        ("theory", ["theory"], None),
        ("Fig. 39", ["figure3"], "figure3"),
        ("table5", [], "table5"),
    ],
)
def test_describe(name, recipe_ids, table):
    shown = catalogue.describe(name)
    assert [recipe.id for recipe in shown.recipes] == recipe_ids
    assert (shown.table.id if shown.table else None) == table
    assert all(f"# recipe {one}, resolved" in shown.text() for one in recipe_ids)
    assert ("# the paper's" in shown.text()) == (table is not None)


def test_describe_a_suite_and_a_file(tmp_path):
    parts = [recipe.id for recipe in catalogue.describe("quickstart").recipes]
    assert parts == [recipe.id for recipe in recipes.bundle("quickstart").recipes]
    recipes.copy("digits", tmp_path / "mine.yaml")
    assert catalogue.describe(str(tmp_path / "mine.yaml")).recipes[0].id == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digts", "unknown table, figure or recipe 'digts', did you mean 'digits'?"),
        ("tabel17", "unknown table or figure 'tabel17', did you mean 'table17'?"),
        ("figure1", "figure 1 of the paper is a diagram without data"),
        ("table30", "unknown table or figure 'table30', did you mean 'table3'?"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UserError) as caught:
        catalogue.describe(name)
    assert caught.value.message == message
