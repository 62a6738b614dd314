"""The rows of a division in every modality, and what the head reads of them and starts from."""

import math
from dataclasses import replace

import pytest
import tiny_esc
import torch
from torch.nn.functional import normalize

from umlbench import sweep
from umlbench.data.imagenet_esc import members
from umlbench.errors import UserError
from umlbench.jobs import Context, Job
from umlbench.protocols.imagenet_esc.prepared import prepare
from umlbench.protocols.imagenet_esc.settings import Settings
from umlbench.protocols.imagenet_esc.sources import Sources
from umlbench.protocols.linear_probe.modalities import Auxiliary, Modalities
from umlbench.protocols.linear_probe.prepared import Prepared as Probe
from umlbench.protocols.linear_probe.prepared import Reader
from umlbench.protocols.linear_probe.settings import Settings as ProbeSettings
from umlbench.protocols.linear_probe.training import train
from umlbench.sweep import Samples, engines

BASE = {
    "dataset": "esc10",
    "audio_encoder": "imported:mine",
    "image_encoder": "imported:mine",
    "text_encoder": "tfidf",
    "text_type": "descriptions",
    "shots": 2,
    "max_iterations": 61,
    "warmup_iterations": 10,
    "eval_every": 20,
}
AUDIO, IMAGE = 12, 8  # widths; text is wider
ALL = "audio+image+text"


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    root, cache = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("cache")
    tiny_esc.unheard(root, cache)
    return Context(cache=cache, data=root, offline=True)


def job(modalities=ALL, seed=1, grid=None, **changes):
    settings = Settings(**{**BASE, "modalities": modalities, **changes})
    return Job("t", "imagenet_esc", 1, {"a": 1}, seed, settings, grid or {}, "val_accuracy")


def prepared(context, *args, **changes):
    return prepare(job(*args, **changes), Reader(context))


def test_a_seed_is_a_division_and_its_streams(context):
    first, sixth, second = (prepared(context, seed=seed) for seed in (1, 6, 2))
    assert [one.division for one in (first, sixth, second)] == [1, 1, 2]
    assert [one.drawn for one in (first, sixth, second)] == ["fold1", "fold1", "fold2"]
    assert torch.equal(first.train.x, sixth.train.x)
    assert not torch.equal(first.train.x, second.train.x)
    heads = [one.trials()[0].head for one in (first, sixth)]
    assert not torch.equal(*heads)
    orders = [one.trials()[0].target.order.rows(0, 9) for one in (first, sixth)]
    assert not torch.equal(*orders)


def test_rows_are_those_of_the_division_under_its_labels(context):
    one = prepared(context, seed=3, shots=4)
    assert [len(part) for part in (one.train, one.val, one.test)] == [40, 40, 320]
    sources = Sources(job().settings, context)
    dataset, encoder = sources.dataset("audio"), sources.encoder("audio")
    fold = Reader(context).features(encoder, dataset.split("fold3"), "esc50", "fold3")
    for label, pair in enumerate(members("esc10")):
        rows = (fold.y == dataset.classes.index(pair.sound)).nonzero().squeeze(1)
        assert torch.equal(one.train.x[one.train.y == label], fold.x[rows[:4]])
        assert torch.equal(one.val.x[one.val.y == label], fold.x[rows[4:]])
        assert (one.test.y == label).sum() == 32
    image = next(a for a in one.auxiliaries if a.modality == "image").samples[None]
    assert image.y.tolist() == [label for label, pair in enumerate(members("esc10")) if pair.photo]
    assert one.notices == (
        "esc50: 10 of its 50 classes",
        "esc10: no photo of rain, crying_baby, sneezing and 1 more",
    )
    assert set(one.keys) == {"mine/train", "tfidf/text"} | {f"mine/fold{n}" for n in range(1, 6)}


# What the head reads


def widths(trial):
    shapes = [None if s.projection is None else s.projection.shape[1] for s in trial.streams]
    return trial.head.shape[1], shapes


def test_unaligned_modalities_reach_the_width_of_text_through_projections(context):
    text = Sources(job().settings, context).encoder("text").width
    assert text > AUDIO
    for modalities, space, expected in [
        ("audio", "auxiliary", (AUDIO, [None])),
        ("audio+text", "auxiliary", (text, [AUDIO, None])),
        (ALL, "auxiliary", (text, [AUDIO, None, IMAGE])),
        (ALL, "widest", (text, [AUDIO, None, IMAGE])),
        ("audio+image", "auxiliary", (IMAGE, [AUDIO, None])),
        ("audio+image", "widest", (AUDIO, [None, IMAGE])),
    ]:
        [trial] = prepared(context, modalities, space=space).trials()
        assert widths(trial) == expected, (modalities, space)


def test_projections_draw_from_streams_of_their_own(context):
    trials = {m: prepared(context, m).trials()[0] for m in (ALL, "audio+text")}
    three, two = trials[ALL].streams, trials["audio+text"].streams
    assert torch.equal(three[0].projection, two[0].projection)  # whoever else takes part
    audio, image = three[0].projection, three[2].projection
    assert not torch.equal(audio[:, :IMAGE] * math.sqrt(AUDIO), image * math.sqrt(IMAGE))


def test_aligned_modalities_need_none(context):
    """As wide as each other, of length 1, logits scaled by 100."""
    unit = dict.fromkeys(("audio_scaling", "image_scaling", "text_scaling"), "unit")
    one = prepared(context, ALL, scale=100.0, **unit)
    sets = {name: narrow(getattr(one, name)) for name in ("train", "val", "test")}
    others = tuple(replace(a, samples={None: narrow(a.samples[None])}) for a in one.auxiliaries)
    aligned = replace(one, width=IMAGE, auxiliaries=others, **sets)
    [trial] = aligned.trials()
    assert widths(trial) == (IMAGE, [None, None, None])
    assert (trial.scale, trial.learnable_scale) == (100.0, False)
    for samples in (one.train, one.val, one.test, *(a.samples[None] for a in one.auxiliaries)):
        torch.testing.assert_close(samples.x.norm(dim=1), torch.ones(len(samples)))


def narrow(samples):
    return replace(samples, x=samples.x[:, :IMAGE])


# Where it starts


def test_the_head_starts_from_text_where_it_takes_part(context):
    for modalities in ("audio+text", ALL):
        one = prepared(context, modalities, method="uml_init")
        texts, head = one.auxiliaries[0].samples[None], one.trials()[0].head
        for label in range(10):
            torch.testing.assert_close(
                head[label], normalize(texts.x[texts.y == label].mean(0), dim=0)
            )


@pytest.mark.parametrize("space", ["auxiliary", "widest"])
def test_else_from_the_other_modality_s_directions(context, space):
    """Each vector of length 1, their mean, of length 1; classes without a photo start at zero."""
    one = prepared(context, "audio+image", method="uml_init", space=space)
    [trial] = one.trials()
    photos = trial.auxiliary[0]
    x = normalize(photos.samples.x, dim=1)
    x = x if photos.projection is None else x @ photos.projection.T
    expected = torch.zeros_like(trial.head)
    expected[photos.samples.y] = normalize(x, dim=1)
    torch.testing.assert_close(trial.head, expected)
    assert not trial.head[2].any()  # rain


def test_several_helping_photos_or_sounds_count_as_directions(context):
    one = prepared(context, "audio+image", method="uml_init")
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    photos = Auxiliary("image", {None: Samples(x, torch.tensor([1, 1]))}, unit=True)
    [trial] = replace(one, width=2, auxiliaries=(photos,)).trials()
    torch.testing.assert_close(trial.head[1], torch.full((2,), math.sqrt(0.5)))
    plain = replace(photos, unit=False)
    [trial] = replace(one, width=2, auxiliaries=(plain,)).trials()
    torch.testing.assert_close(trial.head[1], torch.tensor([3.0, 1.0]) / math.sqrt(10))


@pytest.mark.parametrize("modalities", ["audio+text", "audio+image", ALL])
def test_permuted_labels_give_no_class_its_own(context, modalities):
    own, other = (prepared(context, modalities, method=m) for m in ("uml", "uml_permuted"))
    for a, b in zip(own.auxiliaries, other.auxiliaries, strict=True):
        assert torch.equal(a.samples[None].x, b.samples[None].x)
        assert (a.samples[None].y != b.samples[None].y).all()
    assert torch.equal(own.train.y, other.train.y)


def test_grid_points_share_what_they_start_from(context):
    grid = {"learning_rate": (0.1, 0.01), "text_shots": (1, None), "text_alpha": (0.5, 1.0)}
    one = prepared(context, ALL, grid=grid, method="uml_init")
    trials = one.trials()
    assert len({id(trial.head) for trial in trials}) == 2  # by sentences
    assert len({id(trial.streams[0].projection) for trial in trials}) == 1
    assert len({trial.streams[1].weight for trial in trials}) == 2
    random = prepared(context, ALL, grid=grid).trials()
    assert len({id(trial.head) for trial in random}) == 1


@pytest.mark.parametrize("name", engines("cpu"))
def test_training_leaves_what_grid_points_share_as_it_was(context, name):
    grid = {"learning_rate": (0.1, 0.01)}
    one = prepared(context, grid=grid)
    trials = one.trials()
    parts = [trials[0].head, *(s.projection for s in trials[0].streams if s.projection is not None)]
    before = [part.clone() for part in parts]
    results = sweep.train(trials, one.job.settings.schedule, engine=name, keep={"best"})
    assert not torch.equal(results[0].best.head, trials[0].head)
    assert all(torch.equal(a, b) for a, b in zip(parts, before, strict=True))


def test_a_weight_of_zero_is_no_point_of_a_grid(context):
    with pytest.raises(UserError, match=r"image_alpha 0 \(no image\) is a cell of its own"):
        prepared(context, grid={"image_alpha": (0.5, 0)})


# Two modalities


@pytest.mark.parametrize("method", ["uml", "uml_init", "uml_permuted"])
def test_with_text_alone_it_is_the_linear_probe(context, method):
    """The same samples under the linear probe's settings: the same weights, batches, results."""
    grid = {"learning_rate": (0.1, 0.01), "text_shots": (3, "average")}
    mine = prepared(context, "audio+text", grid=grid, method=method, seed=4)
    shared = ("max_iterations", "warmup_iterations", "eval_every", "batch_size", "patience")
    settings = ProbeSettings(
        dataset="digits",
        encoder="pixels",
        method=method,
        **{name: getattr(mine.job.settings, name) for name in shared},
    )
    fields = {name: getattr(mine, name) for name in Modalities.__dataclass_fields__}
    fields["job"] = replace(mine.job, settings=settings)
    unread = dict.fromkeys(("text_words", "sources", "scaler", "frozen"))
    theirs = Probe(**fields, settings=settings, **unread)
    ours, probes = (train([one], settings.schedule, "cpu", keep=True)[0] for one in (mine, theirs))
    for a, b in zip(ours, probes, strict=True):
        assert (a.val_correct, a.test_correct) == (b.val_correct, b.test_correct)
        assert (a.best is None) == (b.best is None)
        if a.best is not None:
            assert torch.equal(a.best.head, b.best.head)
            assert torch.equal(a.best.projections[0], b.best.projections[0])
