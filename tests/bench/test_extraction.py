"""The benchmark of extraction: what it compares, and what it writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_world

from umlbench.bench import extraction as bench
from umlbench.errors import MissingInput, UserError
from umlbench.features import FeatureStore
from umlbench.jobs import Context


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Context:
    root = tmp_path_factory.mktemp("world")
    tiny_world.make(root, ["dtd", "mobilenetv2_100"])
    return Context(data=root, cache=root / "cache", offline=True)


@pytest.fixture(scope="module")
def result(context) -> bench.ExtractionResult:
    said: list[str] = []
    encoder, photos = bench.subject("mobilenetv2_100", "dtd", 5, context)
    assert len(photos) == 5
    made = bench.measure(encoder, photos, threads=(1, 2), repeats=3, say=said.append)
    assert len(said) == len(made.rows) == 2
    return made


def test_every_number_of_threads_has_its_turns(result, tmp_path):
    paths = result.write(tmp_path / "bench")
    assert [path.name for path in paths] == ["extraction-cpu.json", "extraction-cpu.md"]
    written = json.loads(paths[0].read_text())
    facts = written["machine"]
    assert {"processor", "torch", "commit", "date"} <= set(facts)
    assert (facts["encoder"], facts["photos"]) == ("mobilenetv2_100", 5)
    assert [row["threads"] for row in written["rows"]] == [1, 2]
    for row in written["rows"]:
        for name in ("bare_per_s", "ours_per_s", "decoding_per_s"):
            assert len(row[name]) == 3
            assert min(row[name]) > 0


def test_the_share_is_paired_by_turn():
    row = bench.Row(1, bare=(10.0, 20.0, 10.0), ours=(9.0, 10.0, 9.5), decoding=(50.0, 60.0, 70.0))
    assert row.share == pytest.approx(0.9)
    assert row.cells() == ["1", "10.0", "60.0", "9.5", "90%"]


def test_both_sides_compute_the_same_features(context, tmp_path):
    encoder, photos = bench.subject("mobilenetv2_100", "dtd", 4, context)
    bare = encoder.embed(next(encoder.pixels(photos.items, workers=0)))
    ours = FeatureStore(tmp_path).get(encoder, photos, dataset="dtd", split="test")
    np.testing.assert_array_equal(bare, ours.x.numpy())


@pytest.mark.parametrize(
    ("encoder", "dataset", "error", "said"),
    [
        ("pixels", "dtd", UserError, "bench: 'pixels' is no image encoder"),
        ("mobilenetv2_100", "sun397", MissingInput, "sun397"),
    ],
)
def test_what_cannot_be_measured_is_said(context, encoder, dataset, error, said):
    with pytest.raises(error, match=said):
        bench.subject(encoder, dataset, 4, context)


def test_counts_below_one(context):
    encoder, photos = bench.subject("mobilenetv2_100", "dtd", 1, context)
    with pytest.raises(UserError, match="at least 1"):
        bench.measure(encoder, photos, repeats=0)
