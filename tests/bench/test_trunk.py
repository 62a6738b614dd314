"""The benchmark of the trunk: what it compares, and what it writes."""

from __future__ import annotations

import json

import pytest
import torch

from umlbench.bench import trunk as bench
from umlbench.errors import UserError
from umlbench.protocols.self_supervised import training

TINY = bench.Case("tiny", batch=2, width=3, text_width=4, steps=3, z=10)


@pytest.fixture(scope="module")
def result() -> bench.TrunkResult:
    said: list[str] = []
    made = bench.measure(cases=(TINY,), threads=(1, 2), repeats=2, turn=0.01, say=said.append)
    assert len(said) == len(made.rows) == 4
    return made


def test_both_methods_are_measured_on_every_number_of_threads(result, tmp_path):
    paths = result.write(tmp_path / "bench")
    assert [path.name for path in paths] == ["trunk-cpu.json", "trunk-cpu.md"]
    written = json.loads(paths[0].read_text())
    assert {"processor", "torch", "numba", "commit", "date"} <= set(written["machine"])
    found = [(row["threads"], row["method"]) for row in written["rows"]]
    assert found == [(1, "unimodal"), (1, "uml"), (2, "unimodal"), (2, "uml")]
    for row in written["rows"]:
        assert len(row["plain_ms"]) == len(row["ours_ms"]) == 2
        assert min(row["plain_ms"] + row["ours_ms"]) > 0


def test_the_table_has_a_line_per_row(result):
    lines = [line for line in result.to_markdown().splitlines() if line.startswith("| tiny |")]
    assert [line.split(" | ")[6:8] for line in lines] == [
        ["1", "unimodal"], ["1", "uml"], ["2", "unimodal"], ["2", "uml"]
    ]  # fmt: skip


NAMES = {  # of the plain loop's modules: ours
    "inputs.0": "inputs.vision",
    "inputs.1": "inputs.text",
    "decoders.0": "decoders.vision",
    "decoders.1": "decoders.text",
    "transformer.layers": "layers",
    "self_attn.in_proj_": "qkv.",
    "self_attn.out_proj": "mix",
    "linear1": "up",
    "linear2": "down",
}


def test_both_loops_compute_the_same_losses():
    """Of equal weights, without dropout."""
    plain, sets = bench._Plain(TINY).eval(), TINY.sequences()
    mine = training.build({"vision": 3, "text": 4}, TINY.settings("uml", 1), 1)
    state = {}
    for name, weight in plain.state_dict().items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        state[name] = weight.squeeze(2) if name == "conv.weight" else weight
    mine.load_state_dict(state)
    batches = {name: torch.from_numpy(one.padded(range(2))) for name, one in sets.items()}
    with torch.no_grad():
        expected = plain(*batches.values())
        torch.testing.assert_close([mine.loss(n, x) for n, x in batches.items()], expected)


def test_counts_below_one_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        bench.measure(threads=(0,))
