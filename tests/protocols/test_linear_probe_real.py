"""Real photos through the laptop's recipe, beside an independent implementation."""

import json
import tarfile
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from umlbench import api
from umlbench.jobs import Context
from umlbench.protocols.linear_probe.prepared import Reader, prepare

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SPLIT = "dtd/split_zhou_DescribableTextures.json"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real data beside the checkout"),
]


@pytest.fixture
def root(tmp_path):
    """DTD with no more photos than one published draw and the test set: half a minute's work."""
    with tarfile.open(SHARED / "indices/dtd.tar.gz") as tar:
        drawn = json.load(tar.extractfile("dtd/shot_16-seed_1.json"))
    split = json.loads((SHARED / SPLIT).read_text())
    for part in ("train", "val"):
        names = {Path(row["impath"]).name for row in drawn[part]["data"]}
        split[part] = [row for row in split[part] if Path(row[0]).name in names]
    folder = tmp_path / "data"
    (folder / "dtd").mkdir(parents=True)
    (folder / SPLIT).write_text(json.dumps(split))
    for name in ("dtd/images", "encoders", "indices"):
        (folder / name).symlink_to(SHARED / name)
    return folder


def scikit_learn(job, reader):
    """Test accuracy in percent, the penalty chosen on the same validation images."""
    parts = prepare(job, reader)
    found = []
    for strength in (0.01, 0.1, 1.0, 10.0):
        probe = LogisticRegression(C=strength, max_iter=2000).fit(parts.train.x, parts.train.y)
        found.append([100 * probe.score(part.x, part.y) for part in (parts.val, parts.test)])
    return max(found, key=lambda pair: pair[0])[1]


def test_the_unimodal_probe_is_a_neighbour_of_scikit_learns_logistic_regression(
    tmp_path, root, monkeypatch
):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    only = ["dataset=dtd,scaling=raw,shots=16,method=unimodal"]
    done = api.run(
        "laptop_few_shot", results=tmp_path, device="cpu", data=root, only=only, seeds="1"
    )
    [job], [record] = done.plan.parts[0].jobs, done.made
    assert record.selection["draw"] == "published"
    reader = Reader(Context(cache=tmp_path / "cache", data=root))
    assert abs(record.metrics["accuracy"] - scikit_learn(job, reader)) < 2
