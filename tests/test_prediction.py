"""From a trained job to the classes of photo files, on generated photos and on real ones."""

import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_world
import yaml

from umlbench import api, data, heads, prediction
from umlbench.errors import MissingInput, UserError
from umlbench.jobs import Context
from umlbench.records import Store
from umlbench.render import predictions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CLASSES = ("banded", "bumpy")
RECIPE = {
    "id": "tiny",
    "title": "Generated photos of two classes",
    "protocol": "linear_probe",
    "axes": {"scaling": ["raw", "centred"], "method": ["unimodal", "uml"]},
    "seeds": [1, 2],
    "settings": {
        "dataset": "dtd",
        "encoder": "mobilenetv2_100",
        "text_encoder": "tfidf",
        "text_type": "texts.json",
        "shots": 2,
        "max_iterations": 60,
        "warmup_iterations": 5,
        "eval_every": 20,
    },
    "grid": {"learning_rate": [1.0e-1, 1.0e-2]},
    "selection": "val_accuracy",
    "report": {"metrics": ["accuracy"], "rows": ["scaling"], "columns": ["method"]},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """DTD with two classes, a narrow MobileNetV2, and a run that kept its heads."""
    root = tmp_path_factory.mktemp("world")
    where = {"data": root, "cache": root / "cache", "results": root / "results"}
    world = SimpleNamespace(file=root / "tiny.yaml", **where)
    tiny_world._images(root, "dtd", CLASSES)
    name = "mobilenetv2_100"
    tiny_world._vision(root / "encoders", name, tiny_world.VISION[name])
    texts = {words: [f"A {words} thing.", f"It is {words}."] for words in CLASSES}
    (root / "texts.json").write_text(json.dumps(texts))
    settings = {**RECIPE["settings"], "text_type": str(root / "texts.json")}
    world.file.write_text(yaml.safe_dump({**RECIPE, "settings": settings}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMLBENCH_CACHE", str(world.cache))
        run = {"results": world.results, "data": root, "offline": True, "device": "cpu"}
        world.ran = api.run(world.file, heads="results", **run)
        assert not world.ran.failed
        yield world


@pytest.fixture
def photos(world, tmp_path):
    """The test photos under names of their own, one in a subfolder."""
    test = data.load("dtd", world.data, cache=world.cache).split("test")
    for row, path in enumerate(test.items):
        target = tmp_path / "photos" / ("deep/er" if row == 0 else "") / f"{row}.JPG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


def predict(world, folder, scaling="raw", method="uml", seed=1, **how):
    only = [f"scaling={scaling},method={method}"]
    where = {"results": world.results, "data": world.data, "offline": True, "device": "cpu"}
    return api.predict(world.file, folder, only=only, seed=seed, **{**where, **how})


def number(one):
    return int(Path(one.photo).stem)


@pytest.mark.parametrize("scaling", ["raw", "centred"])
@pytest.mark.parametrize("method", ["unimodal", "uml"])
def test_predictions_have_the_accuracy_of_the_record(world, photos, scaling, method):
    found = predict(world, photos, scaling, method)
    labels = data.load("dtd", world.data, cache=world.cache).split("test").labels
    assert sorted(map(number, found.photos)) == list(range(len(labels)))
    right = [one.label == labels[number(one)] for one in found.photos]
    record = next(r for r in world.ran.made if r.id == found.head.about.id)
    assert 100 * np.mean(right) == pytest.approx(record.metrics["accuracy"], abs=1e-5)
    assert record.cell == {"scaling": scaling, "method": method}
    stored = found.head.tensors["test_predicted"]
    assert all(one.label == stored[number(one)] for one in found.photos)
    assert all(one.name == CLASSES[one.label] for one in found.photos)
    assert all(0.5 <= one.probability <= 1 for one in found.photos)
    assert found.broken == {}


def test_photos_are_named_by_their_place_in_sorted_order(world, photos):
    found = [one.photo for one in predict(world, photos).photos]
    assert found == ["1.JPG", "2.JPG", "3.JPG", "deep/er/0.JPG"]


def test_a_broken_photo_is_named_and_the_others_are_classified(world, photos):
    whole = predict(world, photos)
    (photos / "words.png").write_text("no picture")
    body = (photos / "1.JPG").read_bytes()
    (photos / "torn.jpg").write_bytes(body[: len(body) // 2])
    found = predict(world, photos)
    assert [vars(one) for one in found.photos] == [vars(one) for one in whole.photos]
    assert sorted(found.broken) == ["torn.jpg", "words.png"]
    assert "truncated" in found.broken["torn.jpg"].lower()
    for path in photos.rglob("*.JPG"):
        path.unlink()
    assert predict(world, photos).photos == ()


def test_a_head_s_file_says_everything(world, photos):
    (path,) = list((world.results / "tiny" / "heads").glob(f"{world.ran.made[0].id}.*"))
    found = api.predict(path, photos, data=world.data, device="cpu", offline=True)
    assert found.head.about.id == world.ran.made[0].id
    with pytest.raises(UserError, match="is the head of one cell"):
        api.predict(path, photos, seed=1)


def test_other_weights_are_refused(world, photos, tmp_path):
    for file in (world.data / "encoders").iterdir():
        (tmp_path / "encoders").mkdir(exist_ok=True)
        body = bytearray(file.read_bytes())
        body[-1] ^= file.suffix == ".safetensors"
        (tmp_path / "encoders" / file.name).write_bytes(body)
    with pytest.raises(MissingInput, match="is here with other weights or another transform"):
        predict(world, photos, data=tmp_path)
    with pytest.raises(MissingInput, match="weights of encoder 'mobilenetv2_100' not found"):
        predict(world, photos, data=tmp_path / "none")


def test_another_transform_is_refused(world, photos):
    head = api.head(world.file, only=["scaling=raw,method=uml"], seed=1, results=world.results)
    native = replace(head, encoder=head.encoder.model_copy(update={"transform": "native"}))
    with pytest.raises(MissingInput, match="another transform"):
        prediction.predict(native, photos, Context(data=world.data, offline=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "trained its encoder too"),
        ({"name": "pixels"}, "was trained on 'pixels', which encodes no photo files"),
        ({"name": "imported:mine"}, "was trained on 'imported:mine'"),
        ({"modality": "audio"}, "reads audio, no photos"),
    ],
)
def test_heads_that_read_no_photos(world, photos, change, says):
    head = api.head(world.file, only=["scaling=raw,method=uml"], seed=1, results=world.results)
    encoder = head.encoder.model_copy(update=change) if change else None
    with pytest.raises(UserError, match=says):
        prediction.predict(replace(head, encoder=encoder), photos, Context(data=world.data))


def test_a_folder_without_photos(world, tmp_path):
    with pytest.raises(MissingInput, match="holds no photos"):
        predict(world, world.results)
    with pytest.raises(MissingInput, match="no such folder"):
        predict(world, tmp_path / "none")


def test_an_unknown_cell_and_several(world, photos):
    with pytest.raises(UserError, match="unknown value of axis 'scaling': 'unti'"):
        predict(world, photos, scaling="unti")
    with pytest.raises(MissingInput, match="no stored head of tiny: of 1 jobs that match, 0 have"):
        predict(world, photos, seed=9)
    with pytest.raises(UserError, match=r"2 stored heads of tiny match: .*seed=1; .*seed=2"):
        predict(world, photos, seed=None)


# Done without a head


def test_done_jobs_run_again_for_their_heads_with_the_same_figures(world, tmp_path):
    how = {"data": world.data, "offline": True, "only": ["scaling=raw"], "seeds": "1"}
    plain = api.run(world.file, results=tmp_path, device="cpu", **how)
    assert (len(plain.made), plain.heads) == (2, ())
    assert api.plan(world.file, results=tmp_path, **how).todo == 0
    asked = api.plan(world.file, results=tmp_path, heads="results", **how)
    assert (asked.todo, asked.headless) == (2, 2)
    kept = api.run(world.file, results=tmp_path, device="cpu", heads="results", **how)
    assert [r.figures() for r in kept.made] == [r.figures() for r in plain.made]
    assert kept.heads == (tmp_path / "tiny" / "heads",)
    again = api.plan(world.file, results=tmp_path, heads="results", **how)
    assert (again.todo, again.headless) == (0, 0)
    for record in kept.made:  # and the same as of a run that kept them at once
        name = f"tiny/heads/{record.id}.safetensors"
        assert (tmp_path / name).read_bytes() == (world.results / name).read_bytes()


def test_one_lost_head_is_made_again(world, tmp_path):
    shutil.copytree(world.results, tmp_path, dirs_exist_ok=True)
    lost = heads.Shelf(tmp_path / "tiny", world.cache).path("results", world.ran.made[3].id)
    body = lost.read_bytes()
    lost.unlink()
    how = {"data": world.data, "offline": True, "device": "cpu", "heads": "results"}
    ran = api.run(world.file, results=tmp_path, **how)
    assert [record.id for record in ran.made] == [world.ran.made[3].id]
    assert lost.read_bytes() == body
    stored = Store(tmp_path, "tiny").load()
    assert len(stored.records) == len(world.ran.made) + 1  # the later record supersedes


# Formats


def test_formats(world, photos):
    found = predict(world, photos)
    lines = predictions.csv(found).splitlines()
    assert lines[0] == "photo,class,probability"
    assert re.fullmatch(r"1\.JPG,(banded|bumpy),[01]\.\d{4}", lines[1])
    plain = json.loads(predictions.json(replace(found, broken={"x.jpg": "torn"})))
    assert list(plain) == ["head", "photos", "broken"]
    assert plain["head"]["id"] == found.head.about.id
    assert plain["head"]["encoder"]["transform"] == "clip"
    first = found.photos[0]
    assert plain["photos"][0] == {**vars(first), "probability": round(first.probability, 4)}
    assert plain["broken"] == {"x.jpg": "torn"}
    assert predictions.console(found).row_count == len(found.photos)


# Real photos


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data beside the checkout")
def test_twenty_real_photos_have_the_accuracy_that_the_record_states(tmp_path, monkeypatch):
    """DTD with 6 photos a class to train and validate, and 20 to test; then those 20 as files."""
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    split = json.loads((SHARED / "dtd" / "split_zhou_DescribableTextures.json").read_text())
    draw = random.Random(20)
    few = {part: draw.sample(split[part], len(split[part])) for part in split}
    for part, count in (("train", 4), ("val", 2)):
        few[part] = [row for c in range(10) for row in [r for r in few[part] if r[1] == c][:count]]
    few["test"] = few["test"][:20]
    root = tmp_path / "data"
    (root / "dtd").mkdir(parents=True)
    (root / "dtd" / "split_zhou_DescribableTextures.json").write_text(json.dumps(few))
    (root / "dtd" / "images").symlink_to(SHARED / "dtd" / "images")
    (root / "encoders").symlink_to(SHARED / "encoders")
    settings = {**RECIPE["settings"], "shots": 4, "transform": "native", "max_iterations": 200}
    file = tmp_path / "real.yaml"
    axes = {"scaling": ["raw"], "method": ["unimodal"]}
    recipe = {**RECIPE, "id": "real", "axes": axes, "seeds": [1], "settings": settings}
    file.write_text(yaml.safe_dump({**recipe, "grid": {"learning_rate": [1.0e-3]}}))
    where = {"results": tmp_path / "results", "data": root, "offline": True, "device": "cpu"}
    (record,) = api.run(file, heads="cache", **where).made
    photos = tmp_path / "photos"
    photos.mkdir()
    for row, (path, *_) in enumerate(few["test"]):
        shutil.copy(SHARED / "dtd" / "images" / path, photos / f"{row}.jpg")
    found = api.predict(file, photos, **where)
    right = sum(one.name == few["test"][number(one)][2] for one in found.photos)
    assert len(found.photos) == 20
    assert 100 * right / 20 == record.metrics["accuracy"] > 50
