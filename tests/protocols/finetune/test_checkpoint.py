"""What a killed job goes on from, and what becomes of it."""

import json
from types import SimpleNamespace

import pytest
import torch

from umlbench.errors import StorageError
from umlbench.features.layout import checkpoints
from umlbench.jobs import Context
from umlbench.protocols.finetune import checkpoint as module
from umlbench.protocols.finetune.checkpoint import resumable
from umlbench.protocols.finetune.training import Moment
from umlbench.sweep import TrialResult
from umlbench.sweep.progress import Progress

JOB = SimpleNamespace(id="0123456789abcdef")
RESULT = TrialResult(0, (3, 2), 4, 5, 6, 101, None, "autograd", losses=torch.ones(2))


def moment(iteration, best, seed=0):
    """After the evaluation of `iteration`, the best of which was that of `best`."""
    stream = torch.Generator().manual_seed(seed)
    progress = Progress([1, 2], best_iteration=best, best_correct=2, iterations=iteration + 1)
    progress.without_gain = (iteration - best) // 100
    now = {"weights.a": torch.randn(2, 3, generator=stream), "moments.0.step": torch.tensor(7.0)}
    kept = {"a": torch.randn(2, 3, generator=stream), "count": torch.tensor(3)}
    return Moment(progress, now, kept, {"scale": 8.0}, {"train": 2.5, "wait": 0.5})


def context(tmp_path, said=None):
    return Context(cache=tmp_path, say=(said if said is not None else []).append)


def files(tmp_path):
    return sorted(path.name for path in (checkpoints(tmp_path) / JOB.id).iterdir())


def test_nothing_is_there_at_first_and_nothing_stays(tmp_path):
    with resumable(JOB, context(tmp_path)) as one:
        assert (one.finished, one.moment) == ([], None)
        one.keep(moment(100, 100))
        one.clear()
    assert not (checkpoints(tmp_path) / JOB.id).exists()


def test_a_moment_comes_back_as_it_was(tmp_path):
    written = moment(100, 100)
    with resumable(JOB, context(tmp_path)) as one:
        one.keep(written)
    with resumable(JOB, context(tmp_path)) as one:
        found = one.moment
    assert found.progress == written.progress
    assert (found.scaler, found.seconds) == (written.scaler, written.seconds)
    for name in ("now", "best"):
        ours, theirs = getattr(found, name), getattr(written, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        assert all(ours[key].dtype == theirs[key].dtype for key in theirs)


def test_files_are_replaced_and_the_best_weights_are_written_once(tmp_path):
    with resumable(JOB, context(tmp_path)) as one:
        one.keep(moment(0, 0, seed=1))
        best = checkpoints(tmp_path) / JOB.id / "0-best-0.safetensors"
        before = best.stat().st_ino
        one.keep(moment(100, 0, seed=2))
        assert files(tmp_path) == ["0-best-0.safetensors", "0-now-101.safetensors", "state.json"]
        assert best.stat().st_ino == before
        one.keep(moment(200, 200, seed=3))
        assert files(tmp_path) == ["0-best-200.safetensors", "0-now-201.safetensors", "state.json"]


def test_finished_trials_are_kept_without_tensors(tmp_path):
    with resumable(JOB, context(tmp_path)) as one:
        one.keep(moment(100, 100))
        one.end_trial(RESULT, {"train": 1.0, "wait": 2.0})
        assert files(tmp_path) == ["state.json"]
        one.end_trial(RESULT, {"train": 3.0, "wait": 4.0})
        one.keep(moment(0, 0))
    with resumable(JOB, context(tmp_path)) as one:
        assert files(tmp_path)[0] == "2-best-0.safetensors"
        assert one.seconds == {"train": 4.0, "wait": 6.0}
        assert [r.val_correct for r in one.finished] == [(3, 2), (3, 2)]
        assert (one.finished[0].test_accuracy, one.finished[0].losses) == (5 / 6, None)
        assert one.moment.progress.iterations == 1


def of_other_versions(folder):
    state = json.loads((folder / "state.json").read_text())
    state["versions"]["timm"] = "0.0.1"
    (folder / "state.json").write_text(json.dumps(state))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "0-now-101.safetensors").unlink(),
        lambda folder: cut(folder / "0-best-100.safetensors"),
        lambda folder: cut(folder / "state.json"),
        of_other_versions,
        lambda folder: (folder / "state.json").write_text("[]"),
        lambda folder: (folder / "state.json").write_text(json.dumps({"finished": [{}]})),
    ],
)
def test_a_damaged_or_foreign_checkpoint_counts_for_nothing_and_says_so(tmp_path, damage):
    said = []
    with resumable(JOB, context(tmp_path)) as one:
        one.keep(moment(100, 100))
    damage(checkpoints(tmp_path) / JOB.id)
    with resumable(JOB, context(tmp_path, said)) as one:
        assert (one.finished, one.moment) == ([], None)
        assert len(said) == 1
        assert "is of no use" in said[0]
        one.keep(moment(0, 0))
    assert files(tmp_path) == ["0-best-0.safetensors", "0-now-1.safetensors", "state.json"]


def test_a_kill_between_two_files_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    written = []
    write = module.write

    def killed(path, body):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, body)

    with resumable(JOB, context(tmp_path)) as one:
        one.keep(moment(0, 0, seed=1))
        monkeypatch.setattr(module, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            one.keep(moment(100, 100, seed=2))
    monkeypatch.setattr(module, "write", write)
    with resumable(JOB, context(tmp_path)) as one:
        assert one.moment.progress.iterations == 1
        assert torch.equal(one.moment.now["weights.a"], moment(0, 0, seed=1).now["weights.a"])


def test_a_full_disk_costs_the_checkpoints_not_the_job(tmp_path, monkeypatch):
    said, asked = [], []

    def full(path, body):
        asked.append(path.name)
        raise StorageError("cannot write: no space left")

    monkeypatch.setattr(module, "write", full)
    with resumable(JOB, context(tmp_path, said)) as one:
        for iteration in (0, 100, 200):
            one.keep(moment(iteration, iteration))
        one.end_trial(RESULT, {})
        one.clear()
    assert len(asked) == 1
    assert said == ["no more checkpoints of this job: cannot write: no space left"]


def test_two_processes_at_one_job_do_not_share_files(tmp_path):
    """The second one trains without a checkpoint (a lock of the first's, as in the cache)."""
    with resumable(JOB, context(tmp_path)) as first:
        first.keep(moment(100, 100))
        with resumable(JOB, context(tmp_path)) as second:
            assert second.moment is None
            second.keep(moment(0, 0))
            second.clear()
        assert "0-now-101.safetensors" in files(tmp_path)
