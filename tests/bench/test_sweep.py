from __future__ import annotations

import json

import pytest
import torch

from umlbench.bench import sweep as bench
from umlbench.errors import UserError
from umlbench.sweep import engines

TINY = {"width": 8, "text_width": 16, "repeats": 2, "seconds": 0.01}


@pytest.fixture(scope="module")
def result() -> bench.BenchResult:
    said: list[str] = []
    made = bench.measure(
        classes=(3,), batch_sizes=(2, 4), trials=(1, 3), threads=1, say=said.append, **TINY
    )
    assert len(said) == len(made.rows) == 4
    return made


def test_every_engine_and_the_plain_loop_are_measured_at_every_shape(result, tmp_path):
    paths = result.write(tmp_path / "bench")
    assert [path.name for path in paths] == ["sweep-cpu.json", "sweep-cpu.md"]
    written = json.loads(paths[0].read_text())
    assert written["machine"]["threads"] == 1
    assert {"processor", "torch", "numba", "commit", "date"} <= set(written["machine"])
    for row in written["rows"]:
        assert [t["engine"] for t in row["timings"]] == [*bench.PLAIN, *engines("cpu")]
        assert row["roofline_ms"] > 0
        assert row["timings"][0]["times_plain"] == 1
        for timing in row["timings"]:
            assert timing["fastest_ms"] <= timing["ms"] <= timing["slowest_ms"]


def test_the_table_has_a_line_per_shape(result):
    lines = [line for line in result.to_markdown().splitlines() if line.startswith("| 3 |")]
    assert [line.split(" | ")[1:3] for line in lines] == [
        ["2", "1"], ["2", "3"], ["4", "1"], ["4", "3"]
    ]  # fmt: skip


def test_the_floor_counts_the_cheaper_association():
    few, many = bench.Case(10, 32, 1, 64, 128), bench.Case(100, 8, 1, 64, 128)
    assert few.parameters == 128 * 74
    assert few.flops == 2 * (3 * 10 * 128 * 64 + 2 * 32 * 10 * 64 + 2 * 32 * 128 * 10)
    assert many.flops == 2 * (2 * 8 * 128 * 64 + 5 * 8 * 128 * 100)
    assert many.bytes == 24 * many.parameters


def test_the_floor_is_what_takes_longer():
    case = bench.Case(100, 8, 1, 64, 128)
    assert bench._Peaks(case.bytes, 2 * case.flops).floor(case) == (1000, "memory")
    assert bench._Peaks(2 * case.bytes, case.flops).floor(case) == (1000, "products")


def test_the_number_of_threads_is_put_back(result):
    before = torch.get_num_threads()
    bench.measure(classes=(3,), batch_sizes=(2,), trials=(1,), threads=before + 1, **TINY)
    assert torch.get_num_threads() == before


def test_counts_below_one_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        bench.measure(classes=(0,))
