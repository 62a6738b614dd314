"""Fine-tuning jobs on tiny photos and encoders: text, resuming, and the linear probe as a twin."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import tiny_world
import torch
from torch import nn

from umlbench.errors import UserError
from umlbench.features.layout import checkpoints
from umlbench.jobs import Context, Job
from umlbench.protocols import finetune, linear_probe
from umlbench.protocols.finetune import prepared as preparing
from umlbench.protocols.finetune.feeds import Vectors
from umlbench.protocols.finetune.prepared import prepare
from umlbench.protocols.finetune.settings import Settings
from umlbench.protocols.finetune.training import Training
from umlbench.protocols.linear_probe.prepared import Reader
from umlbench.protocols.linear_probe.prepared import prepare as prepare_probe
from umlbench.protocols.linear_probe.settings import Settings as ProbeSettings
from umlbench.protocols.linear_probe.sources import Sources

BASE = {
    "dataset": "sun397",
    "encoder": "vit_small_patch14_dinov2.lvd142m",
    "text_encoder": "openlm-research/open_llama_3b_v2",
    "max_iterations": 11,
    "warmup_iterations": 2,
    "eval_every": 5,
    "batch_size": 4,
    "learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four sets, one backbone and one text encoder of the tiny world."""
    root = tmp_path_factory.mktemp("world")
    sets = ("sun397", "dtd", "caltech101", "ucf101")
    tiny_world.make(root, (*sets, BASE["encoder"], BASE["text_encoder"]))
    return root


@pytest.fixture(scope="module")
def context(root, tmp_path_factory):
    return Context(cache=tmp_path_factory.mktemp("cache"), data=root, offline=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def job(method="uml", seed=1, grid=None, **changes):
    settings = Settings(**{**BASE, "method": method, **changes})
    return Job("t", "finetune", 1, {"method": method}, seed, settings, grid or {}, "val_accuracy")


def run(one, context):
    [(_, outcome)] = finetune.run([one], context)
    return outcome


def figures(outcome):
    return outcome.metrics, outcome.selection, outcome.trials, outcome.features


# The linear probe's twin


@pytest.mark.parametrize("method", ["unimodal", "uml_init"])
def test_behind_an_identity_a_job_is_the_linear_probe_s(method, monkeypatch, tmp_path):
    """The same sequences, starts, stopping and selection: all figures of all grid points."""
    shared = {"dataset": "digits", "text_encoder": "tfidf", "text_type": "descriptions"}
    shared |= {"shots": 4, "max_iterations": 101, "eval_every": 25, "patience": 2}
    grid = {"text_shots": (3, "average"), "alpha": (0.5, 1.0), "learning_rate": (1e-2, 1e-3)}
    grid |= {"batch_size": (16,), "learnable_scale": (False, True)}
    where = Context(cache=tmp_path, offline=True)
    probe = ProbeSettings(**shared, encoder="pixels", method=method)
    other = Job("t", "linear_probe", 1, {}, 2, probe, grid, "val_accuracy")
    frozen = prepare_probe(other, Reader(where))
    [(_, expected)] = linear_probe.run([other], where)
    stored = iter((frozen.train, frozen.val, frozen.test))
    identity = SimpleNamespace(width=64, trainable=nn.Identity, name="pixels")
    monkeypatch.setattr(Sources, "encoder", identity)
    monkeypatch.setattr(preparing, "_photos", lambda *_: Vectors(next(stored)))
    settings = Settings(**shared, encoder="identity", method=method)
    ours = run(Job("t", "finetune", 1, {}, 2, settings, grid, "val_accuracy"), where)
    assert ours.metrics.items() <= expected.metrics.items()
    assert ours.selection == expected.selection
    assert ours.trials == expected.trials


def test_methods_share_their_draw_their_order_and_their_projection(context):
    made = {m: prepare(job(m), context).training({}) for m in ("unimodal", "uml", "uml_init")}
    rows = [one.streams[0].order.rows(0, 20) for one in made.values()]
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])
    heads = {name: one.learner.head for name, one in made.items()}
    projections = {name: list(head.projections) for name, head in heads.items()}
    assert projections["unimodal"] == [None]
    assert projections["uml"][1] is None
    assert torch.equal(projections["uml"][0], projections["uml_init"][0])
    assert not torch.equal(heads["uml"].head, heads["uml_init"].head)
    norms = heads["uml_init"].head.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(3))


# Text


@pytest.mark.parametrize("unfrozen", [False, True])
@pytest.mark.parametrize(("ratio", "rows"), [(0.25, 1), (1.0, 4), (2.5, 10)])
def test_text_rows_are_r_times_the_photos(context, ratio, rows, unfrozen):
    how = "unfrozen" if unfrozen else "frozen"
    one = prepare(job(text_ratio=ratio, text_training=how), context).training({})
    assert [stream.order.batch_size for stream in one.streams] == [4, rows]
    sizes = []
    one.learner.towers[1].register_forward_hook(lambda m, x, y: sizes.append(len(x[0])))
    one.finish()
    assert set(sizes) == {rows}


def test_text_that_learns_reads_the_sentences_of_the_frozen_one(context):
    grid = {"text_shots": (2, None)}
    frozen = prepare(job(grid=grid), context)
    learns = prepare(job(grid=grid, text_training="unfrozen"), context)
    encoder = learns.sources.text_encoder
    for shots, feed in learns.prompts.items():
        vectors = frozen.vectors[shots]
        assert torch.equal(feed.y, vectors.y)
        [inputs] = feed.batches([torch.arange(len(feed))])
        tower = learns.training({"text_shots": shots}).learner.towers[1].eval()
        torch.testing.assert_close(tower(*inputs), vectors.x, rtol=1e-4, atol=1e-5)
    assert encoder.name == BASE["text_encoder"]


def test_a_job_with_unfrozen_text_runs_and_starts_its_head_at_frozen_vectors(context):
    one = job("uml_init", text_training="unfrozen", grid={"text_shots": (2, None)})
    assert set(run(one, context).features) == {f"{BASE['text_encoder']}/text"}
    plain = job("uml", text_training="unfrozen")
    assert run(plain, context).features == {}


def test_reads_names_text_features_only_where_they_are_read():
    def features(*method, **changes):
        return [
            str(one.encoder) for one in finetune.reads(job(*method, **changes).settings).features
        ]

    assert features("unimodal") == []
    assert features("uml") == [BASE["text_encoder"]]
    assert features("uml", text_training="unfrozen") == []
    assert features("uml_init", text_training="unfrozen") == [BASE["text_encoder"]]
    needs = [str(n) for n in finetune.reads(job("uml", text_training="unfrozen").settings).needs]
    assert needs == ["sun397", BASE["encoder"], "sun397/cupl", BASE["text_encoder"]]


# Photos


def test_few_shots_are_those_of_the_draw(context):
    one = prepare(job("unimodal", shots=1), context)
    assert (len(one.train), len(one.val), len(one.test)) == (3, 3, 6)
    assert one.drawn == "sampler"
    assert sorted(one.train.y.tolist()) == [0, 1, 2]


def test_seconds_tell_waiting_from_training(context):
    outcome = run(job("unimodal"), context)
    assert list(outcome.seconds) == ["features", "decode", "train", "wait"]
    assert all(value > 0 for value in outcome.seconds.values())


def test_a_long_job_says_how_far_it_is(context, monkeypatch):
    said = []
    telling = Context(data=context.data, cache=context.cache, offline=True, say=said.append)
    run(job("unimodal", seed=5, grid={"learning_rate": (1e-2, 1e-3)}), telling)
    assert not [line for line in said if "trial" in line]  # within half a minute
    monkeypatch.setattr(finetune, "SAY_EVERY", 0.0)
    run(job("unimodal", seed=6, grid={"learning_rate": (1e-2, 1e-3)}), telling)
    lines = [line for line in said if "trial" in line]
    assert lines[0] == "t method=unimodal seed=6: trial 1 of 2, iteration 1 of at most 11"
    assert lines[-1] == "t method=unimodal seed=6: trial 2 of 2, iteration 11 of at most 11"
    assert len(lines) == 6


# Bad input


def test_text_of_more_classes_than_the_target_is_one_clear_line(context):
    for how in ("frozen", "unfrozen"):
        one = job(dataset="ucf101", text_dataset="sun397", text_training=how)
        with pytest.raises(UserError, match="text of sun397 has 3 classes, ucf101 only 2"):
            run(one, context)


def test_a_grid_without_text_is_refused(context):
    with pytest.raises(UserError, match=r"text_training none \(no text\) is a cell of its own"):
        run(job(grid={"text_training": ("none", "frozen")}), context)


def test_an_encoder_without_weights_is_one_clear_line(context, monkeypatch):
    monkeypatch.setattr(Sources, "encoder", SimpleNamespace(name="mine"))
    with pytest.raises(UserError, match="encoder 'mine' has no weights to train"):
        prepare(job("unimodal"), context)


# Killed and resumed


GRID = {"learning_rate": (1e-2, 1e-3)}
LONG = {"max_iterations": 31, "patience": 99}


def restarted(one, context, monkeypatch):
    """The outcome, and the first iteration that this process trained."""
    begun = []
    advance = Training._advance

    def noting(self, span, inputs):
        begun.append(span.start)
        advance(self, span, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_advance", noting)
        return run(one, context), begun


def test_killed_with_sigkill_and_resumed_equals_unbroken(root, tmp_path, monkeypatch):
    """In the second trial; the resumed process trains what was lost, and the records agree."""
    mine = Context(cache=tmp_path / "killed", data=root, offline=True)
    one = job("uml", grid=GRID, **LONG)
    code = (
        "import json, sys, torch; from pathlib import Path; torch.set_num_threads(1);"
        "from umlbench.jobs import Context, Job; from umlbench.protocols import finetune;"
        "s, g, data, cache = json.loads(sys.argv[1]);"
        "job = Job('t', 'finetune', 1, {}, 1, finetune.Settings(**s),"
        " {k: tuple(v) for k, v in g.items()}, 'val_accuracy');"
        "list(finetune.run([job], Context(cache=Path(cache), data=Path(data), offline=True)))"
    )
    given = json.dumps([one.settings.model_dump(), GRID, str(root), str(mine.cache)])
    process = subprocess.Popen([sys.executable, "-c", code, given], env={**os.environ})
    state = checkpoints(mine.cache) / one.id / "state.json"
    assert wait_for(process, state, finished=1, iterations=11)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = json.loads(state.read_text())
    resumed, begun = restarted(one, mine, monkeypatch)
    at = kept["moment"]["progress"]["iterations"]
    assert begun[0] == at >= 11  # of the second trial: the first is not trained again
    assert begun == [start for start in (11, 16, 21, 26) if start >= at]
    unbroken = run(one, Context(cache=tmp_path / "unbroken", data=root, offline=True))
    assert figures(resumed) == figures(unbroken)
    assert not state.parent.exists()


def wait_for(process, state, finished, iterations):
    """Whether the checkpoint of a running process came that far."""
    while process.poll() is None:
        try:
            found = json.loads(state.read_text())
        except FileNotFoundError:
            found = {"finished": [], "moment": None}
        at = found["moment"]["progress"]["iterations"] if found["moment"] else 0
        if len(found["finished"]) >= finished and at >= iterations:
            return True
        time.sleep(0.005)
    return False


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_interrupted_after_any_evaluation_the_weights_are_the_same(context, monkeypatch, stop):
    """Head and backbone of the last trial to the bit, whichever evaluation was the last."""
    ends, finish = [], Training.finish

    def watched(self, *arguments):
        result = finish(self, *arguments)
        ends.append({n: v.clone() for n, v in self.learner.state().items()})
        return result

    monkeypatch.setattr(Training, "finish", watched)
    one = job("uml", seed=stop, grid=GRID, **LONG)
    with monkeypatch.context() as patch:
        calls = []
        moment = Training._moment

        def interrupted(self):
            calls.append(1)
            if len(calls) > stop:
                raise KeyboardInterrupt
            return moment(self)

        patch.setattr(Training, "_moment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(one, context)
    ends.clear()
    resumed = run(one, context)
    after = ends[-1]
    unbroken = run(one, context)
    assert figures(resumed) == figures(unbroken)
    for name, value in ends[-1].items():
        assert torch.equal(after[name], value), name


def test_a_job_that_is_asked_again_trains_again(context, monkeypatch):
    one = job("unimodal")
    run(one, context)
    _, begun = restarted(one, context, monkeypatch)
    assert begun[0] == 0
