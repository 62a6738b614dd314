"""Figure 7 on real photos with real language weights, for three steps."""

from pathlib import Path

import pytest

from umlbench import api

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real data beside the checkout"),
]


def test_figure7_small_runs_on_real_photos_with_minilm(tmp_path, monkeypatch):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    how = {
        "only": ["backbone=full_finetune"],
        "seeds": "1",
        "overrides": ["shots=1", "max_iterations=3", "warmup_iterations=1", "frozen_iterations=1"],
    }
    done = api.run("figure7_small", results=tmp_path, data=SHARED, offline=True, **how)
    assert [record.error for record in done.failed] == []
    assert {record.cell["initialisation"] for record in done.made} == {"scratch", "text"}
    for record in done.made:
        assert record.selection["draw"] == "published"
        assert record.seconds["wait"] >= 0
        assert 0 <= record.metrics["accuracy"] <= 100
        own = "" if record.cell["initialisation"] == "text" else " (architecture)"
        assert set(record.inputs) == {"dtd", f"all-MiniLM-L6-v2{own}"}
