"""The linear probe on digits: pairing, identity, text shots, and a plain loop as its yardstick."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from umlbench import data, sweep
from umlbench.errors import UserError
from umlbench.jobs import Context, Job
from umlbench.models.head import SharedHead
from umlbench.models.scaling import Scaler
from umlbench.protocols import linear_probe
from umlbench.protocols.linear_probe import training
from umlbench.protocols.linear_probe.modalities import Auxiliary
from umlbench.protocols.linear_probe.prepared import Reader, _text, prepare
from umlbench.protocols.linear_probe.settings import Settings
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.sweep import Samples

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
DIGITS = data.load("digits")
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
    jobs = [job("uml", seed, max_iterations=101) for seed in (1, 2, 3)]
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
    words = [len(sentence.split()) for sentence in data.texts("digits").items]
    assert outcome.metrics == {
        "accuracy": test[chosen],
        "val_accuracy": max(val),
        "text_words": sum(words) / len(words),
    }
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
    assert torch.equal(first[1].target.projection, first[2].target.projection)
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
    assert {
        "digits",
        "pixels",
        "tfidf of digits/descriptions (text)",
        "digits/descriptions",
    } == set(linear_probe.inputs(job("uml").settings, context))


def plain_loop(trial, iterations, eval_every):
    """The released training loop on one trial: modules, autograd, torch's AdamW."""
    projections = [stream.projection for stream in trial.streams]
    model = SharedHead(trial.head, projections, [trial.scale] * 2, trial.learnable_scale)
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
        logits = samples.x @ model.projections[0].T @ model.head.T
        return (logits.argmax(1) == samples.y).float().mean().item()


@pytest.mark.parametrize("method", ["uml", "uml_init"])
def test_a_grid_point_is_what_the_plain_loop_trains(context, method):
    one = job(method, patience=99, max_iterations=121, eval_every=30)
    outcome = run([one], context)[one.id]
    for number in (0, 3):  # both batch sizes; fixed and learnable scale
        val, test = plain_loop(prepared(one, context).trials()[number], 121, 30)
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


# Stored heads


@pytest.mark.parametrize("scaling", ["raw", "unit", "centred"])
@pytest.mark.parametrize("method", ["unimodal", "uml", "uml_init"])
def test_a_kept_head_says_what_its_record_says(context, method, scaling):
    one = job(method, scaling=scaling)
    outcome = run([one], replace(context, heads="cache"))[one.id]
    plain = run([one], context)[one.id]
    assert figures(outcome) == figures(plain)
    assert plain.head is None
    test = Reader(context).features(
        Sources(one.settings, context).encoder, DIGITS.split("test"), "digits", "test"
    )
    labels, _ = outcome.head.classify(test.x)
    assert 100 * (labels == test.y.numpy()).mean() == pytest.approx(outcome.metrics["accuracy"])
    assert (outcome.head.tensors["test_predicted"] == labels).all()
    assert outcome.head.classes == DIGITS.classes
    modalities = 1 if method == "unimodal" else 2
    assert outcome.head.tensors["scales"].shape == (modalities,)
    assert ("projection" in outcome.head.tensors) == (method != "unimodal")
    assert outcome.head.encoder.key == linear_probe.inputs(one.settings, context)["pixels"]


def test_heads_are_the_same_in_any_portion(context, monkeypatch):
    """Weights that lose are let go while others train; a portion ends inside a job."""
    jobs, kept = [job("uml", seed) for seed in (1, 2)], replace(context, heads="cache")
    whole = run(jobs, kept)
    calls, sweep_train = [], sweep.train
    monkeypatch.setattr(
        sweep, "train", lambda trials, *a, **k: calls.append(trials) or sweep_train(trials, *a, **k)
    )
    first = prepared(jobs[0], context).trials()[0]
    monkeypatch.setattr(
        training, "PORTION", 3 * (first.head.nbytes + first.target.projection.nbytes)
    )
    parts = run(jobs, kept)
    assert [len(trials) for trials in calls] == [3, 3, 3, 3, 3, 1]
    for one in jobs:
        assert figures(parts[one.id]) == figures(whole[one.id])
        tensors = whole[one.id].head.tensors
        assert all((parts[one.id].head.tensors[name] == x).all() for name, x in tensors.items())


# Without text


NO_TEXT = [{"text_shots": 0}, {"text_dataset": "none"}, {"text_type": "none"}]


@pytest.mark.parametrize("change", [*NO_TEXT, {"text_encoder": "none"}])
def test_a_method_whose_text_is_taken_away_is_the_unimodal_one(context, change):
    unimodal, grid = job("unimodal"), {**GRID, "alpha": (0.5, 1.0)}
    for method in ("uml", "uml_init", "uml_permuted"):
        assert job(method, grid=grid, **change).id == unimodal.id
    one = prepared(job("uml", grid=grid, **change), context)
    assert len(one.trials()) == len(unimodal.trials())
    assert (one.texts, one.trials()[0].auxiliary) == ({}, ())
    assert one.trials()[0].target.projection is None
    inputs = linear_probe.inputs(job("uml", **change).settings, context)
    assert inputs == linear_probe.inputs(unimodal.settings, context)


@pytest.mark.parametrize("change", NO_TEXT)
@pytest.mark.parametrize("method", ["unimodal_wide", "unimodal_zero"])
def test_a_control_without_text_stays_what_it_is(method, change):
    read = {"text_encoder": "all-MiniLM-L6-v2"}  # which is not fitted on sentences
    assert job(method, **read, **change).id == job(method, **read).id != job("unimodal").id


@pytest.mark.parametrize("values", [(0, 3), (3, 0), (0,)])
def test_no_text_is_no_point_of_a_grid(context, values):
    with pytest.raises(UserError, match=r"text_shots 0 \(no text\) is a cell of its own"):
        prepared(job("uml", grid={"text_shots": values}), context)


def test_a_set_s_own_text_is_one_thing_named_or_not():
    assert job("uml", text_dataset="digits").id == job("uml").id
    assert job("uml", text_dataset="dtd").id != job("uml").id


# Controls


def test_unimodal_wide_has_the_shapes_of_uml_and_no_text(context):
    wide, uml = (prepared(job(m), context).trials()[0] for m in ("unimodal_wide", "uml"))
    assert torch.equal(wide.target.projection, uml.target.projection)
    assert torch.equal(wide.head, uml.head)
    assert (len(wide.auxiliary), len(uml.auxiliary)) == (0, 1)
    inputs = linear_probe.inputs(job("unimodal_wide").settings, context)
    assert set(inputs) == {"digits", "pixels", "tfidf of digits/descriptions (text)"}


def test_unimodal_zero_starts_at_zero_in_the_shape_of_unimodal(context):
    zero, unimodal = (prepared(job(m), context).trials()[0] for m in ("unimodal_zero", "unimodal"))
    assert zero.head.shape == unimodal.head.shape
    assert not zero.head.any()
    assert (zero.target.projection, zero.auxiliary) == (None, ())


@pytest.mark.parametrize("text_shots", [None, 3, "average"])
def test_permuted_text_gives_no_class_its_own(context, text_shots):
    """By class means: a permuted class has the sentences of exactly one other class."""
    own, permuted = (
        prepared(job(m, text_shots=None), context).texts[None] for m in ("uml", "uml_permuted")
    )
    assert torch.equal(own.x, permuted.x)
    pairs = {(int(a), int(b)) for a, b in zip(own.y, permuted.y, strict=True)}
    assert len(pairs) == len({b for _, b in pairs}) == 10
    assert all(a != b for a, b in pairs)
    drawn = prepared(job("uml_permuted", text_shots=text_shots), context).texts[text_shots]
    counts = torch.bincount(drawn.y, minlength=10)
    assert counts.tolist() == [{None: 16, 3: 3, "average": 1}[text_shots]] * 10


def test_permutations_differ_between_seeds_and_agree_between_methods(context):
    def labels(method, seed):
        return prepared(job(method, seed), context).texts[None].y

    assert torch.equal(labels("uml_permuted", 1), labels("uml_init_permuted", 1))
    assert not torch.equal(labels("uml_permuted", 1), labels("uml_permuted", 2))


# Scaling, ratio, other texts, equal widths


def norms(x):
    return x.norm(dim=1)


def test_unit_features_have_length_one(context):
    one = prepared(job("uml", scaling="unit", text_scaling="unit"), context)
    for samples in (one.train, one.val, one.test, one.texts[None]):
        torch.testing.assert_close(norms(samples.x), torch.ones(len(samples)))
    raw = prepared(job("uml", scaling="raw"), context)
    torch.testing.assert_close(one.test.x * norms(raw.test.x)[:, None], raw.test.x)


def test_centred_features_have_mean_zero_and_length_45_on_the_training_split(context):
    one = prepared(job("unimodal", scaling="centred", shots=None), context)
    assert norms(one.train.x).mean() == pytest.approx(45, rel=1e-5)
    assert one.train.x.mean(0).abs().max() < 1e-4
    assert one.test.x.mean(0).abs().max() > 0.1  # whose own mean plays no part
    shorter = prepared(job("unimodal", scaling="centred", centred_norm=9.0, shots=None), context)
    torch.testing.assert_close(shorter.test.x * 5, one.test.x)
    few = prepared(job("unimodal", scaling="centred"), context)
    assert torch.equal(few.test.x, one.test.x)  # the whole split is the reference, unlabelled


def test_the_scaler_depends_on_its_reference_alone():
    stream = torch.Generator().manual_seed(0)
    train, other = (torch.randn(20, 5, generator=stream) + 3 for _ in range(2))
    alone = Scaler(train, "centred", 45.0)(train)
    scaler = Scaler(train, "centred", 45.0)
    assert torch.equal(scaler(torch.cat([train, 100 * other]))[:20], alone)
    torch.testing.assert_close(scaler(other), (other - train.mean(0)) * scaler.constants["factor"])


def test_text_ratio_is_text_rows_an_image_row(context):
    for ratio, rows in ((0.25, (2, 8)), (1.0, (8, 32)), (4.0, (32, 128))):
        trials = prepared(job("uml", text_ratio=ratio, shots=4), context).trials()
        by_batch = {trial.target.order.batch_size: trial for trial in trials}
        assert {8, 32} == set(by_batch)
        found = tuple(by_batch[size].auxiliary[0].order.batch_size for size in (8, 32))
        assert found == rows


def test_unrelated_text_goes_under_the_target_s_labels(context, tmp_path):
    """The text's label c is class c of the target; classes beyond the text's start at zero."""
    dtd = tmp_path / "dtd"
    (dtd / "images").mkdir(parents=True)
    rows = [["a/1.jpg", 0, "banded"], ["b/1.jpg", 1, "dotted"]]
    split = {"train": rows, "val": [], "test": []}
    (dtd / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    other = replace(context, data=tmp_path)
    one = prepared(job("uml_init", text_dataset="dtd", text_type="hand_crafted"), other)
    assert one.texts[None].y.tolist() == [0, 1]
    assert one.classes == 10
    head = one.trials()[0].head
    torch.testing.assert_close(norms(head), torch.tensor([1.0] * 2 + [0.0] * 8))
    text = SimpleNamespace(x=torch.ones(11, 3), y=torch.arange(11))
    settings = job("uml", text_dataset="sun397").settings
    with pytest.raises(UserError, match="text of sun397 has 11 classes, digits only 10"):
        _text(settings, 1, text, None, 10)


def test_equal_widths_need_no_projection_and_keep_clip_s_scale(context):
    settings = {"scaling": "unit", "text_scaling": "unit", "scale": 100.0}
    one = prepared(job("uml_init", grid={}, **settings), context)
    texts = Samples(torch.eye(10, 64), torch.arange(10))  # as wide as the pixels
    aligned = replace(one, width=64, auxiliaries=(Auxiliary("text", {None: texts}, "text_shots"),))
    (trial,) = aligned.trials()
    assert trial.target.projection is None
    assert torch.equal(trial.head, torch.eye(10, 64))
    assert (trial.scale, trial.learnable_scale) == (100.0, False)
    (logits,) = SharedHead(trial.head, [None], [trial.scale], trial.learnable_scale)(one.train.x)
    torch.testing.assert_close(logits, 100 * one.train.x[:, :10])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_dataset": "digit"}, "unknown dataset 'digit', did you mean 'digits'"),
        ({"dataset": "none"}, "unknown dataset 'none'"),
        ({"dataset": "digit"}, "unknown dataset 'digit', did you mean 'digits'"),
        ({"encoder": "pixel"}, "unknown encoder 'pixel', did you mean 'pixels'"),
        ({"text_encoder": "tf-idf"}, "unknown encoder 'tf-idf', did you mean 'tfidf'"),
        ({"warmup_iterations": 201}, r"warmup_iterations \(201\) is not below max_iterations"),
        ({"shots": 0}, "greater than or equal to 1"),
        ({"method": "umll"}, "unimodal"),
        ({"text_shots": -1}, "must be at least 0"),
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


def test_a_width_that_is_fitted_on_sentences_depends_on_them(context):
    """`unimodal_wide` reads no text, but tfidf's width comes from it."""
    wide, other = job("unimodal_wide"), job("unimodal_wide", text_type="classname")
    assert wide.id != other.id
    assert "digits/descriptions" in {str(need) for need in linear_probe.reads(wide.settings).needs}
    assert job("unimodal", text_type="classname").id == job("unimodal").id
