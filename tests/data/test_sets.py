import re

import pytest

from umlbench import data, paper
from umlbench.data.sets import SETS


def test_every_set_of_table_3_is_there_with_its_counts():
    rows = {row.at["dataset"]: row.values for row in paper.load("table3").rows}
    assert set(rows) <= set(SETS)
    for name, values in rows.items():
        expected = SETS[name].expected()
        assert all(values[key] == count for key, count in expected.items())
    assert SETS["dtd"].expected() == {"classes": 47, "train": 2820, "val": 1128, "test": 1692}
    assert SETS["imagenet"].expected() == {"classes": 1000, "test": 50000}  # 1.28M is rounded


@pytest.mark.parametrize("spec", SETS.values(), ids=list(SETS))
def test_facts_are_whole(spec):
    assert spec.licence
    assert spec.home in spec.origin
    assert spec.hub is None or re.fullmatch("[0-9a-f]{40}", spec.hub.revision)
    assert spec.family in paper.load("table3").axes["dataset"]


def test_names_and_folders_of_a_users_own():
    assert data.NAMES[0] == "digits"
    assert len(data.NAMES) == 1 + 9 + 1 + 4
    assert data.is_known("dtd")
    assert data.is_known("./mine")
    assert not data.is_known("mine")


def test_the_data_root_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("UMLBENCH_DATA", raising=False)
    assert data.default_root().as_posix() == "data"
    monkeypatch.setenv("UMLBENCH_DATA", str(tmp_path))
    assert data.default_root() == tmp_path
