"""The linear probe on digits: pairing, identity, text shots, and a plain loop as its yardstick."""

import pytest
import torch
from pydantic import ValidationError

from umlbench import data
from umlbench.jobs import Context, Job
from umlbench.models.head import SharedHead
from umlbench.protocols import linear_probe
from umlbench.protocols.linear_probe.prepared import Reader, prepare
from umlbench.protocols.linear_probe.settings import Settings

BASE = {
    "dataset": "digits",
    "encoder": "pixels",
    "text_encoder": "tfidf",
    "text_type": "descriptions",
    "shots": 2,
    "max_iterations": 201,
    "eval_every": 50,
    "patience": 3,
}
GRID = {"learning_rate": (1e-2, 1e-3), "batch_size": (8, 32), "learnable_scale": (False, True)}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(cache=tmp_path_factory.mktemp("features"), offline=True)


def job(method="uml", seed=1, grid=GRID, **changes):
    settings = Settings(**{**BASE, "method": method, **changes})
    cell = {"method": method}
    return Job("t", "linear_probe", 1, cell, seed, settings, grid, "val_accuracy")


def run(jobs, context):
    return {one.id: outcome for one, outcome in linear_probe.run(jobs, context)}


def figures(outcome):
    return outcome.metrics, outcome.selection, outcome.trials


def prepared(one, context):
    return prepare(one, Reader(context))


def test_a_job_is_the_same_alone_and_among_others(context):
    jobs = [job("uml", seed) for seed in (1, 2, 3)]
    together = run(jobs, context)
    for one in jobs:
        assert figures(run([one], context)[one.id]) == figures(together[one.id])


def test_the_selected_trial_is_the_first_best_on_validation(context):
    one = job("uml_init")
    outcome = run([one], context)[one.id]
    val, test = outcome.trials["val_accuracy"], outcome.trials["test_accuracy"]
    chosen = outcome.selection["trial"]
    assert len(val) == len(test) == 8
    assert chosen == val.index(max(val))
    assert outcome.metrics == {"accuracy": test[chosen], "val_accuracy": max(val)}
    tied = [test[i] for i, value in enumerate(val) if value == max(val)]
    assert outcome.selection["ties"] == len(tied)
    assert outcome.selection["tied_spread"] == pytest.approx(max(tied) - min(tied))
    point = {name: outcome.selection[name] for name in GRID}
    assert point == one.trials()[chosen]


def test_methods_share_their_draw_their_order_and_their_projection(context):
    unimodal, uml, init = (prepared(job(m), context) for m in ("unimodal", "uml", "uml_init"))
    assert torch.equal(unimodal.train.x, uml.train.x)
    assert torch.equal(unimodal.val.x, init.val.x)
    first = [one.trials()[0] for one in (unimodal, uml, init)]
    batches = [trial.target.order.rows(0, 50) for trial in first]
    assert torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0], batches[2])
    assert torch.equal(first[1].projection, first[2].projection)
    assert not torch.equal(first[1].head, first[2].head)


def test_seeds_differ_in_draw_order_and_weights(context):
    one, two = (prepared(job("uml", seed), context) for seed in (1, 2))
    assert not torch.equal(one.train.x, two.train.x)
    first, second = one.trials()[0], two.trials()[0]
    assert not torch.equal(first.target.order.rows(0, 50), second.target.order.rows(0, 50))
    assert not torch.equal(first.head, second.head)


def test_an_init_head_is_the_normalised_mean_text_of_each_class(context):
    one = prepared(job("uml_init"), context)
    head = one.trials()[0].head
    for label in range(10):
        mean = one.texts[None].x[one.texts[None].y == label].mean(0)
        torch.testing.assert_close(head[label], mean / mean.norm())


@pytest.mark.parametrize(("text_shots", "rows"), [(None, 160), (3, 30), (99, 160), ("average", 10)])
def test_text_shots(context, text_shots, rows):
    texts = prepared(job("uml", text_shots=text_shots), context).texts
    assert len(texts[text_shots]) == rows


def test_shots_draw_that_many_images_and_up_to_four_for_validation(context):
    one = prepared(job("unimodal", shots=16), context)
    assert (len(one.train), len(one.val), len(one.test)) == (160, 40, 540)
    full = prepared(job("unimodal", shots=None), context)
    assert (len(full.train), len(full.val), len(full.test)) == (898, 359, 540)


def test_what_only_text_reads_does_not_change_a_unimodal_job(context):
    assert job("unimodal", alpha=0.5, text_shots=3).id == job("unimodal").id
    assert job("uml", alpha=0.5).id != job("uml").id
    assert "tfidf" not in linear_probe.inputs(job("unimodal").settings, context)
    assert {"digits", "pixels", "tfidf (text)", "digits/descriptions"} == set(
        linear_probe.inputs(job("uml").settings, context)
    )


def plain_loop(trial, iterations, eval_every):
    """The released training loop on one trial: modules, autograd, torch's AdamW."""
    model = SharedHead(trial.head, trial.projection, [trial.scale] * 2, trial.learnable_scale)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=trial.learning_rate, weight_decay=trial.weight_decay
    )
    base, best, test = trial.learning_rate, -1.0, 0.0
    for i in range(iterations):
        warm = 1e-5 if i == 0 else base * i / 50
        cosine = base / 2 * (1 + torch.cos(torch.tensor(torch.pi * (i - 50) / iterations)).item())
        optimizer.param_groups[0]["lr"] = warm if i < 50 else cosine
        rows = [stream.order.rows(i, i + 1)[0] for stream in trial.streams]
        xs = [stream.samples.x[r] for stream, r in zip(trial.streams, rows, strict=True)]
        ys = [stream.samples.y[r] for stream, r in zip(trial.streams, rows, strict=True)]
        losses = [
            stream.weight * torch.nn.functional.cross_entropy(logits, y)
            for stream, logits, y in zip(trial.streams, model(*xs), ys, strict=True)
        ]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        if i % eval_every == 0 and (val := accuracy(model, trial.val)) > best:
            best, test = val, accuracy(model, trial.test)
    return 100 * best, 100 * test


def accuracy(model, samples):
    with torch.no_grad():
        logits = samples.x @ model.projection.T @ model.head.T
        return (logits.argmax(1) == samples.y).float().mean().item()


@pytest.mark.parametrize("method", ["uml", "uml_init"])
def test_a_grid_point_is_what_the_plain_loop_trains(context, method):
    one = job(method, patience=99)
    outcome = run([one], context)[one.id]
    for number in (0, 3, 6):
        val, test = plain_loop(prepared(one, context).trials()[number], 201, 50)
        assert outcome.trials["val_accuracy"][number] == pytest.approx(val, abs=1e-4)
        # One of 540 test images may fall on the other side of a tie in float32.
        assert outcome.trials["test_accuracy"][number] == pytest.approx(test, abs=100 / 540 + 1e-4)


def test_unimodal_is_a_plausible_neighbour_of_logistic_regression(context):
    from sklearn.linear_model import LogisticRegression

    one = job("unimodal", shots=None, max_iterations=1501, patience=20)
    samples = prepared(one, context)
    probe = LogisticRegression(max_iter=2000).fit(samples.train.x, samples.train.y)
    theirs = 100 * probe.score(samples.test.x, samples.test.y)
    assert run([one], context)[one.id].metrics["accuracy"] == pytest.approx(theirs, abs=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "digit"}, "unknown dataset 'digit', did you mean 'digits'"),
        ({"encoder": "pixel"}, "unknown encoder 'pixel', did you mean 'pixels'"),
        ({"text_encoder": "tf-idf"}, "unknown encoder 'tf-idf', did you mean 'tfidf'"),
        ({"warmup_iterations": 201}, r"warmup_iterations \(201\) is not below max_iterations"),
        ({"shots": 0}, "greater than or equal to 1"),
        ({"method": "umll"}, "unimodal"),
        ({"text_shots": 0}, "must be at least 1"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Settings(**{**BASE, "method": "uml", **change})


def test_text_of_an_unknown_corpus_is_one_clear_line(context):
    with pytest.raises(Exception, match="unknown text corpus of digits 'poems'"):
        linear_probe.inputs(job("uml", text_type="poems").settings, context)


def test_every_sentence_belongs_to_a_class_and_no_image():
    texts, images = data.texts("digits"), data.load("digits")
    assert len(images.classes) == 10
    assert set(texts.ids).isdisjoint(i for samples in images.splits.values() for i in samples.ids)
