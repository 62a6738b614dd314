"""Batches of photos, vectors and sentences: the same whether kept in memory or read ahead."""

import numpy as np
import pytest
import torch
from PIL import Image

from umlbench.encoders import images
from umlbench.encoders.vision import import_timm
from umlbench.errors import UserError
from umlbench.protocols.finetune import feeds
from umlbench.protocols.finetune.feeds import Photos, Prompts, Vectors, photos, room_for
from umlbench.sweep import Samples

ROWS = [torch.tensor([2, 0]), torch.tensor([1, 1, 3])]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder, stream = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    made = []
    for number, size in enumerate([(260, 230), (224, 224), (300, 250), (224, 500)]):
        pixels = stream.integers(0, 256, (*size, 3), dtype=np.uint8)
        made.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(made[-1])
    return made


@pytest.fixture(scope="module")
def transform():
    return images.clip_transform()


def batches(feed, rows=ROWS):
    return [inputs for (inputs,) in feed.batches(rows)]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("keep", [True, False])
def test_a_batch_is_what_the_transform_makes_of_its_photos(
    paths, transform, keep, workers, monkeypatch
):
    """To the bit: kept pixels and pixels decoded in a worker alike."""
    monkeypatch.setattr(feeds, "free_memory", lambda: 4 * 4 * 3 * 224**2 - (0 if keep else 1))
    monkeypatch.setattr(images, "workers_for", lambda _: workers)
    made = photos(paths, torch.arange(4), images.halves(transform), "cpu")
    assert (made.kept is not None) == keep
    assert len(made) == 4
    expected = [torch.stack([transform(Image.open(paths[i])) for i in r]) for r in ROWS]
    for found, wanted in zip(batches(made), expected, strict=True):
        assert torch.equal(found, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_photos_are_decoded_once_where_they_are_kept(paths, transform, monkeypatch):
    opened = []
    decode = images._decode
    monkeypatch.setattr(images, "_decode", lambda item: opened.append(item) or decode(item))
    monkeypatch.setattr(images, "workers_for", lambda _: 0)
    made = photos(paths, torch.arange(4), images.halves(transform), "cpu")
    batches(made)
    batches(made)
    assert opened == paths
    batches(Photos(paths, torch.arange(4), images.halves(transform)))
    assert len(opened) == 4 + 5


@pytest.mark.parametrize("keep", [True, False])
def test_a_crop_is_told_the_rows_and_the_iteration(paths, keep, monkeypatch):
    told = []

    def crop(x, rows, iteration):
        told.append((len(x), rows.tolist(), iteration))
        return x[:, :, :4, :4]

    monkeypatch.setattr(feeds, "room_for", lambda *_: "cpu" if keep else None)
    halves = images.halves(images.clip_transform(48))
    made = photos(paths, torch.arange(4), halves, "cpu", 48, crop)
    found = [tuple(x.shape) for (x,) in made.batches(ROWS, 7)]
    assert found == [(2, 3, 4, 4), (3, 3, 4, 4)]
    assert told == [(2, [2, 0], 7), (3, [1, 1, 3], 8)]


def test_the_room_that_is_asked_for_is_that_of_the_photos_as_resized(paths, monkeypatch):
    asked = []
    monkeypatch.setattr(feeds, "room_for", lambda size, device: asked.append(size))
    photos(paths, torch.arange(4), images.halves(images.clip_transform(48)), "cpu", 48)
    photos(paths, torch.arange(4), images.halves(images.clip_transform()), "cpu")
    assert asked == [4 * 3 * 48**2, 4 * 3 * 224**2]


def test_a_broken_photo_is_named(paths, transform, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    halves = images.halves(transform)
    with pytest.raises(UserError, match=r"1 broken image\(s\): .*broken.jpg"):
        photos([*paths, broken], torch.arange(5), halves, "cpu")
    streamed = Photos([*paths, broken], torch.arange(5), halves)
    assert len(batches(streamed)) == 2  # which do not contain it
    with pytest.raises(UserError, match=r"1 broken image\(s\): .*broken.jpg"):
        batches(streamed, [torch.tensor([0]), torch.tensor([4, 1])])


def test_a_quarter_of_the_free_memory_is_the_limit(monkeypatch):
    monkeypatch.setattr(feeds, "free_memory", lambda: 400)
    assert room_for(100, "cpu") == "cpu"
    assert room_for(101, "cpu") is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (800, 1000))
    assert room_for(200, "cuda:0") == "cuda:0"
    assert room_for(201, "cuda:0") is None
    monkeypatch.setattr(feeds, "free_memory", lambda: 4000)
    assert room_for(201, "cuda:0") == "cpu"


def test_free_memory_is_some_of_what_the_machine_has():
    assert 0 < feeds.free_memory() < 2**50


def test_vectors_are_their_rows():
    samples = Samples(torch.arange(8.0).reshape(4, 2), torch.tensor([0, 1, 0, 1]))
    feed = Vectors(samples)
    assert len(feed) == 4
    assert torch.equal(feed.y, samples.y)
    for found, row in zip(batches(feed), ROWS, strict=True):
        assert torch.equal(found, samples.x[row])


def test_prompts_are_padded_batch_by_batch():
    tokens = [[5], [6, 7], [8, 9, 10], [11]]
    seen = []

    def pad(batch):
        seen.append(batch)
        return (torch.tensor([len(one) for one in batch]),)

    feed = Prompts(tokens, torch.arange(4), pad)
    lengths = [found.tolist() for found in batches(feed)]
    assert seen == [[[8, 9, 10], [5]], [[6, 7], [6, 7], [11]]]
    assert lengths == [[3, 1], [2, 2, 1]]


# The two halves of a transform


def test_halves_join_to_timm_s_transform(paths):
    timm = import_timm()
    config = {"input_size": (3, 224, 224), "mean": (0.5,) * 3, "std": (0.25, 0.5, 0.125)}
    whole = timm.data.create_transform(**config, interpolation="bilinear", is_training=False)
    halves = images.halves(whole)
    for path in paths:
        image = Image.open(path)
        assert torch.equal(halves.normalize(halves(image)[None])[0], whole(image))


def test_a_transform_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="without ToTensor and Normalize"):
        images.halves(lambda image: image)
