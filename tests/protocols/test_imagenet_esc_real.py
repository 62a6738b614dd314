"""Real sounds, photos and sentences through `real_esc`, beside an independent implementation."""

from pathlib import Path
from statistics import fmean

import pytest
from sklearn.linear_model import LogisticRegression

from umlbench import api
from umlbench.jobs import Context
from umlbench.protocols.imagenet_esc.prepared import prepare
from umlbench.protocols.linear_probe.prepared import Reader

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real data beside the checkout"),
]


def scikit_learn(job, reader):
    """Test accuracy in percent, the penalty chosen on the same validation clips."""
    parts = prepare(job, reader)
    found = []
    for strength in (1e-5, 1e-4, 1e-3, 1e-2):
        probe = LogisticRegression(C=strength, max_iter=2000).fit(parts.train.x, parts.train.y)
        found.append([100 * probe.score(part.x, part.y) for part in (parts.val, parts.test)])
    return max(found, key=lambda pair: pair[0])[1]


def test_real_sounds_photos_and_sentences(tmp_path, monkeypatch):
    """Measured: sounds alone 60.3, scikit-learn 57.4, with photos and text 52.9; chance is 10."""
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    done = api.run(
        "real_esc",
        results=tmp_path,
        device="cpu",
        data=SHARED,
        offline=True,
        only=["scaling=centred,shots=4,method=uml,modalities=audio,audio+image+text"],
        overrides=["max_iterations=201", "grid.learning_rate=[0.01]"],
        seeds="1-5",
    )
    assert done.failed == ()
    by_modalities = {}
    for record in done.made:
        by_modalities.setdefault(record.cell["modalities"], []).append(record.metrics["accuracy"])
    assert {name: len(found) for name, found in by_modalities.items()} == {
        "audio": 5,
        "audio+image+text": 5,
    }
    assert min(map(fmean, by_modalities.values())) > 45
    alone = [job for job in done.plan.parts[0].jobs if job.cell["modalities"] == "audio"]
    reader = Reader(Context(cache=tmp_path / "cache", data=SHARED, offline=True))
    theirs = fmean(scikit_learn(job, reader) for job in alone)
    assert abs(fmean(by_modalities["audio"]) - theirs) < 4
