"""Photos and sentences as token sequences: read, planned, prepared and encoded before training."""

import json
import shutil
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_world
import yaml

from umlbench import api, cli, data, encoders, extraction, features, protocols
from umlbench.errors import MissingInput, UserError
from umlbench.features.tokens import TokenSource
from umlbench.jobs import Context
from umlbench.schema import Closed
from umlbench.seeds import digest

EYES, WORDS = "vit_base_patch14_dinov2.lvd142m", "openlm-research/open_llama_3b_v2"
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    tiny_world.make(root, ["dtd", EYES, "mobilenetv2_100", WORDS])
    return root


@pytest.fixture
def context(world, tmp_path, monkeypatch):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path))
    return Context(cache=tmp_path, data=world, offline=True)


def source(**changes):
    return TokenSource(**{"dataset": "dtd", "encoder": EYES, "text_encoder": WORDS, **changes})


def test_a_set_has_photos_by_split_and_sentences_in_training_only(context, world):
    found = source().load(context)
    dataset = data.load("dtd", world, cache=context.cache)
    assert (found.name, found.classes) == ("dtd", dataset.classes)
    assert found.modalities == ("image", "text")
    assert {split: tuple(held) for split, held in found.splits.items()} == {
        "train": ("image", "text"), "val": ("image",), "test": ("image",),
    }  # fmt: skip
    assert not found.paired("train", "image", "text")
    eyes = encoders.load(EYES, root=world, offline=True, tokens="cls+patches")
    for split, held in found.splits.items():
        samples, photos = dataset.split(split), held["image"]
        assert (photos.ids, photos.labels.tolist()) == (samples.ids, samples.labels.tolist())
        assert photos.lengths.tolist() == [257] * len(samples)
        expected = eyes.encode(samples.items).values
        assert np.allclose(np.asarray(photos.values), expected, atol=1e-5 * np.abs(expected).max())
    texts, sentences = data.texts("dtd", "cupl", world), found.splits["train"]["text"]
    words = encoders.load(WORDS, root=world, offline=True, tokens="states").encode(texts.items)
    assert sentences.lengths.tolist() == [min(32, 1 + len(text)) for text in texts.items]
    assert sentences.lengths.tolist() == words.lengths.tolist()
    assert np.array_equal(np.asarray(sentences.values), words.values)
    assert sentences.labels.tolist() == texts.labels.tolist()
    assert (found.splits["test"]["image"].width, sentences.width) == (12, tiny_world.TEXT_WIDTH)


def test_a_unimodal_set_reads_no_sentence(context):
    alone = source(text_encoder=None)
    assert [str(need) for need in alone.reads().needs] == ["dtd", EYES]
    assert alone.load(context).modalities == ("image",)
    assert [entry.split for entry in features.entries(context.cache)] == ["test", "train", "val"]


def test_identity_follows_what_may_change_a_figure(context):
    base = source()
    assert set(base.fingerprints(context)) == {
        "dtd",
        f"{EYES} (image)",
        "dtd/cupl",
        f"{WORDS} (text)",
    }
    changed = [
        source(tokens="patches"),
        source(stored="float16"),
        source(dtype="bfloat16"),
        source(transform="native"),
        source(text_type="vanilla"),
        source(text_encoder=None),
        source(encoder="mobilenetv2_100", tokens="grid"),
    ]
    found = {digest(one.fingerprints(context)) for one in (base, *changed)}
    assert len(found) == 1 + len(changed)
    assert source().load(context).fingerprint == digest(base.fingerprints(context))


def test_half_precision_takes_half_the_disk(context):
    whole = source(text_encoder=None).load(context).splits["test"]["image"]
    half = source(text_encoder=None, stored="float16").load(context).splits["test"]["image"]
    expected = np.asarray(whole.values).astype(np.float16).astype(np.float32)
    assert np.array_equal(np.asarray(half.values), expected)
    assert half.padded([1]).dtype == np.float32
    sizes = sorted(e.bytes for e in features.entries(context.cache) if e.split == "test")
    assert 0.4 * sizes[1] < sizes[0] < 0.6 * sizes[1]


# --- plan, prepare and extraction ---------------------------------------------------------------


class Settings(Closed):
    dataset: str = "dtd"
    encoder: str = EYES
    text_encoder: str | None = WORDS
    tokens: encoders.Tokens = "cls+patches"
    stored: encoders.Dtype = "float32"

    def identity(self):
        return self.model_dump(mode="json")


def of(settings):
    return TokenSource(**settings.model_dump())


@pytest.fixture
def recipe(tmp_path, monkeypatch, context):
    """A recipe file of a protocol that reads tokens and trains nothing."""
    module = SimpleNamespace(
        VERSION=1, DTYPE="float32", WHOLE_BATCHES=False, Settings=Settings,
        METRICS={"score": protocols.Metric("Score", "points", higher_is_better=True)},
        inputs=lambda settings, context: of(settings).fingerprints(context),
        reads=lambda settings: of(settings).reads(),
        batch=lambda job: job.id,
    )  # fmt: skip
    monkeypatch.setattr(protocols, "NAMES", (*protocols.NAMES, "tokens_toy"))
    monkeypatch.setitem(sys.modules, "umlbench.protocols.tokens_toy", module)
    monkeypatch.setenv("UMLBENCH_DATA", str(context.data))

    def write(**settings):
        file = tmp_path / "mine.yaml"
        file.write_text(
            yaml.safe_dump(
                {
                    "id": "mine", "title": "Mine", "protocol": "tokens_toy",
                    "axes": {"tokens": [settings.pop("tokens", "cls+patches")]}, "seeds": [1],
                    "settings": settings, "report": {"metrics": ["score"], "rows": ["tokens"]},
                }
            )
        )  # fmt: skip
        return file

    return write


def test_a_plan_states_the_disk_before_anything_is_extracted(recipe, context, capsys):
    plan = api.plan(recipe(), offline=True)
    train, val, test, text = plan.features
    assert (train.items, train.rows_per_item, train.width) == (9, 257, 768)  # the published model's
    assert [one.bytes for one in (train, val, test)] == [n * 257 * 768 * 4 for n in (9, 6, 6)]
    sentences = data.texts("dtd", "cupl", context.data).items
    words = sum(len(sentence.split()) for sentence in sentences)
    assert (text.items, text.estimated) == (len(sentences), True)
    assert text.bytes == round(words * extraction.TOKENS_PER_WORD) * 3200 * 4
    half = api.plan(recipe(stored="float16"), offline=True).features[0]
    assert half.bytes == train.bytes / 2
    patches = api.plan(recipe(tokens="patches"), offline=True).features[0]
    assert patches.bytes == 9 * 256 * 768 * 4
    cli.printing.print_plan(plan)
    shown = capsys.readouterr().out
    assert "257 x 768" in shown
    assert f"{train.bytes / 1e6:.1f} MB" in shown
    assert f"about {text.bytes / 1e6:.1f} MB" in shown
    assert features.entries(context.cache) == []


def test_without_data_a_plan_knows_the_photos_and_not_the_words(recipe, tmp_path, capsys):
    plan = api.plan(recipe(dataset="oxford_pets"), offline=True)
    train, *_, text = plan.features
    assert (train.items, train.bytes) == (2944, 2944 * 257 * 768 * 4)
    assert (text.items, text.rows_per_item, text.bytes) == (None, None, None)
    cli.printing.print_plan(plan)
    shown = capsys.readouterr().out
    assert "? x 3200" in shown
    assert "at least" in shown


def test_tokens_are_extracted_before_training_and_listed(recipe, context, capsys):
    reads = api.plan(recipe(), offline=True).parts[0].reads
    assert extraction.extract(reads.features, context) == 4
    plan = api.plan(recipe(), offline=True)
    assert all(one.cached and one.bytes == 0 for one in plan.features)
    assert extraction.extract(reads.features, context) == 0
    assert features.verify(context.cache) == []
    said = source().load(
        Context(cache=context.cache, data=context.data, offline=True, say=pytest.fail)
    )
    shown = {(e.split, e.items, e.tokens, e.width) for e in features.entries(context.cache)}
    words = int(said.splits["train"]["text"].lengths.sum())
    assert shown == {
        ("train", 9, 9 * 257, 12), ("val", 6, 6 * 257, 12), ("test", 6, 6 * 257, 12),
        ("cupl", 12, words, tiny_world.TEXT_WIDTH),
    }  # fmt: skip
    cli.features.cache_ls()
    assert f" {9 * 257} " in capsys.readouterr().out


def test_after_one_run_a_plan_knows_the_tokens_of_any_model(recipe, context, world):
    name = f"mine@{world / 'encoders' / 'mobilenetv2_100.safetensors'}"
    before = api.plan(recipe(encoder=name, tokens="grid"), offline=True).features[0]
    assert (before.rows_per_item, before.bytes) == (None, None)
    note = {"encoder": name, "tokens": "grid", "device": "cpu", "width": 1280,
            "seconds_per_item": 0.1, "rows_per_item": 49.0}  # fmt: skip
    vector = note | {"tokens": None, "width": 9, "rows_per_item": 1.0}
    lines = f"{json.dumps(note)}\n{json.dumps(vector)}\n"
    (context.cache / extraction.NOTES).write_text(lines)
    after = api.plan(recipe(encoder=name, tokens="grid"), offline=True).features[0]
    assert (after.rows_per_item, after.bytes) == (49, 9 * 49 * 1280 * 4)


def test_notes_say_what_tokens_took(recipe, context):
    reads = api.plan(recipe(encoder="mobilenetv2_100", tokens="grid"), offline=True).parts[0].reads
    extraction.extract(reads.features, context)
    notes = extraction._notes(context.cache)
    assert notes["mobilenetv2_100", "grid"]["rows_per_item"] == 49
    text = source().load(context).splits["train"]["text"]
    assert notes[WORDS, "states"]["rows_per_item"] == text.lengths.mean()


def test_prepare_and_a_run_refuse_a_model_without_such_tokens(recipe, context):
    wrong = recipe(encoder="mobilenetv2_100")
    found = {one.name: one for one in api.prepare(wrong, offline=True)}
    assert found["mobilenetv2_100"].state == "broken"
    assert found["mobilenetv2_100"].lines == (
        "encoder 'mobilenetv2_100' gives no tokens 'cls+patches': it is no vision transformer",
        "say grid for its feature map",
    )
    assert found[WORDS].state == "present"
    with pytest.raises(UserError, match="gives no tokens 'cls\\+patches'") as error:
        extraction.extract(api.plan(wrong, offline=True).parts[0].reads.features, context)
    assert "\n" not in error.value.message
    assert features.entries(context.cache) == []
    with pytest.raises(UserError, match="'imported:mine' gives one row an item"):
        api.plan(recipe(encoder="imported:mine"), offline=True)


def test_sets_without_training_photos_are_refused(context, tmp_path, monkeypatch):
    only = data.Dataset("toy", ("a",), {"test": data.load("dtd", context.data).split("test")})
    monkeypatch.setattr("umlbench.needs.DatasetNeed.find", lambda need, context: only)
    with pytest.raises(UserError, match="unknown split of toy 'train'"):
        source().load(context)
    monkeypatch.undo()
    with pytest.raises(MissingInput, match="oxford_pets"):
        source(dataset="oxford_pets").load(context)


# --- published weights --------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the checkout")
def test_real_tokens_average_to_the_pooled_features(tmp_path):
    """MobileNetV2 pools its map by a mean, MiniLM its states by a mean at length 1."""
    with tarfile.open(REAL / "cupl.tar.gz") as tar:
        described = json.load(tar.extractfile("cupl/descriptors_dtd.json"))
    folder = tmp_path / "photos"
    classes = sorted(path.name for path in (REAL / "dtd" / "images").iterdir())[:2]
    for name in classes:
        for number, photo in enumerate(sorted((REAL / "dtd" / "images" / name).iterdir())[:4]):
            place = folder / ("test" if number == 3 else "train") / name / photo.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, place)
    texts = {name: described[name.replace("_", " ")][:5] for name in classes}
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    context = Context(cache=tmp_path / "cache", data=REAL, offline=True)
    asked = TokenSource(
        str(folder), "mobilenetv2_100", "all-MiniLM-L6-v2", str(tmp_path / "texts.json"), "grid"
    )
    found = asked.load(context)
    photos, sentences = found.splits["train"]["image"], found.splits["train"]["text"]
    assert photos.padded([3, 0]).shape == (2, 49, 1280)
    dataset = data.load(str(folder))
    pooled = encoders.load("mobilenetv2_100", root=REAL, offline=True)
    expected = pooled.encode(dataset.split("train").items)
    mean = photos.padded(range(len(photos))).mean(1)
    assert np.allclose(mean, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert (len(sentences), sentences.width) == (10, 384)
    pooled = encoders.load("all-MiniLM-L6-v2", root=REAL, offline=True)
    lines = [line for name in classes for line in texts[name]]
    states = [sentences.padded([row])[0].mean(0) for row in range(10)]
    unit = np.stack([one / np.linalg.norm(one) for one in states])
    assert np.abs(unit - pooled.encode(lines)).max() < 1e-6
