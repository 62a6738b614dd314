"""Several processes at one training take the steps of one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from umlbench.errors import UserError
from umlbench.models.head import SharedHead
from umlbench.protocols.finetune.feeds import Vectors
from umlbench.protocols.finetune.learner import Learner
from umlbench.protocols.finetune.ranks import ALONE, Ranks, joined
from umlbench.protocols.finetune.training import Stream, Training, Tuning
from umlbench.sweep import Samples, Schedule, Shuffled


def training(ranks, micro_batch=None):
    """Two modalities in float64: batches of 5 and 3 rows, which two ranks cannot halve."""
    stream = torch.Generator().manual_seed(0)

    def samples(count):
        x = torch.randn(count, 4, generator=stream, dtype=torch.float64)
        return Vectors(Samples(x, torch.arange(count) % 3))

    image, text, val = samples(17), samples(8), samples(7)
    head = torch.randn(3, 4, generator=stream, dtype=torch.float64)
    tower = nn.Linear(4, 4).double()
    for parameter in tower.parameters():
        parameter.data = torch.randn(parameter.shape, generator=stream, dtype=torch.float64)
    learner = Learner(
        [tower, nn.Identity()],
        SharedHead(head, [None] * 2, [1.0, 1.0], learnable=True),
        "corrected",
    )
    streams = [Stream(image, Shuffled(17, 5, 1)), Stream(text, Shuffled(8, 3, 2), 0.5)]
    schedule = Schedule(max_iterations=50, warmup_iterations=2, eval_every=10, iterations=31)
    tuning = Tuning(1e-2, 0.1, micro_batch=micro_batch)
    return Training(learner, streams, val, val, tuning, schedule, ("losses", "last"), ranks)


def summary(one):
    result = one.finish()
    return {
        "losses": result.losses.tolist(),
        "head": result.last.head.tolist(),
        "scales": result.last.scales.tolist(),
        "correct": [*result.val_correct, result.test_correct, result.best_iteration],
    }


CODE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch; torch.set_num_threads(1)
from test_ranks import joined, summary, training
ranks = joined("cpu")
found = summary(training(ranks)), summary(training(ranks, micro_batch=2))
found += (ranks.agree(ranks.first),)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def two():
    """What each of two processes, started as torchrun starts them, has at its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", CODE, str(Path(__file__).parent)]
    started = [
        subprocess.Popen(command, env={**common, "RANK": str(r)}, stdout=-1, stderr=-1, text=True)
        for r in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    return [json.loads(out.splitlines()[-1]) for out, _ in ended]


def test_two_processes_take_the_steps_of_one(two):
    alone = summary(training(ALONE))
    for whole, micro, _ in two:
        for found in (whole, micro):
            assert found["correct"] == alone["correct"]
            for name in ("losses", "head", "scales"):
                torch.testing.assert_close(
                    torch.tensor(found[name]), torch.tensor(alone[name]), rtol=0, atol=1e-12
                )


def test_their_weights_never_part(two):
    assert two[0][:2] == two[1][:2]  # to the bit


def test_they_agree_on_what_the_first_one_says(two):
    assert [found[2] for found in two] == [True, True]


def test_parts_make_up_a_batch():
    rows = torch.arange(11)
    parts = [Ranks(rank, 3).part(rows) for rank in range(3)]
    assert sorted(torch.cat(parts).tolist()) == rows.tolist()
    assert {len(part) for part in parts} == {3, 4}


def test_one_process_exchanges_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks, x = joined("cpu"), torch.tensor([1.0, 2.0])
    ranks.add_up([x])
    ranks.average([x])
    assert ranks == ALONE
    assert x.tolist() == [1.0, 2.0]
    assert not torch.distributed.is_initialized()


def test_a_batch_needs_a_row_for_everyone():
    with pytest.raises(UserError, match="4 processes cannot share a batch of 3 rows"):
        training(Ranks(0, 4))
