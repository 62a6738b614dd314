"""Head files: what they hold, what they compute, how they are found, how damage is told."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save as packed

from umlbench import heads
from umlbench.errors import MissingInput, StorageError, UserError
from umlbench.heads import HEADER, Frozen, Head, Shelf
from umlbench.models.head import SharedHead
from umlbench.models.scaling import Scaler

C, T, D, N = 3, 4, 5, 200
CLASSES = ("cat", "dog", "owl, barn")
FROZEN = Frozen(
    name="mobilenetv2_100",
    modality="image",
    dtype="float32",
    transform="clip",
    pooling=None,
    dataset="",
    key="0123456789abcdef",
)
STREAM = np.random.default_rng(7)
X = STREAM.normal(1.0, 2.0, (N, D)).astype(np.float32)


def weights(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def made(projected=True, scaling="raw", **more):
    width = T if projected else D
    tensors = {"head": weights(C, width), "scales": np.array([1.5, 3.0], np.float32), **more}
    if projected:
        tensors["projection"] = weights(T, D)
    return Head(tensors, CLASSES, FROZEN, scaling)


@pytest.fixture
def record(hand):
    recipe = hand.recipe(seeds=[1], axes={"shots": [1], "method": ["uml"]})
    return hand.fill(recipe, lambda cell, seed: 61.5)[0]


@pytest.fixture
def file(tmp_path, record):
    path = tmp_path / "heads" / f"{record.id}.safetensors"
    heads.save(path, made(), record)
    return path


# What a head computes


@pytest.mark.parametrize("projected", [True, False])
def test_logits_are_those_of_the_trained_module(projected):
    head = made(projected)
    parts = {name: torch.from_numpy(x) for name, x in head.tensors.items()}
    model = SharedHead(parts["head"], [parts.get("projection")], [1.5], learnable=False).double()
    (expected,) = model(torch.from_numpy(X).double())
    torch.testing.assert_close(head.logits(X), expected)
    assert head.logits(X).dtype == torch.float64
    assert torch.equal(head.logits(torch.from_numpy(X)), head.logits(X))
    assert (head.width, head.inputs(X).shape) == (D, (N, T if projected else D))


@pytest.mark.parametrize("scaling", ["raw", "unit", "centred"])
def test_features_are_scaled_as_in_training(scaling):
    x = torch.from_numpy(X)
    scaler = Scaler(x[:50], scaling, 45.0)
    head = made(False, scaling, **{name: t.numpy() for name, t in scaler.constants.items()})
    torch.testing.assert_close(head.inputs(X), scaler(x).double(), atol=1e-5, rtol=1e-5)


def test_centred_features_need_their_constants():
    with pytest.raises(ValueError, match="need a mean and a factor"):
        made(scaling="centred").inputs(X)


def test_the_class_of_a_row_is_the_same_in_any_chunk(monkeypatch):
    labels, probabilities = made().classify(X)
    softmax = made().logits(X).softmax(1).numpy()
    assert (labels == softmax.argmax(1)).all()
    assert set(labels) == set(range(C))
    assert np.allclose(probabilities, softmax.max(1), atol=1e-12)
    monkeypatch.setattr(heads, "ROWS", 7)
    again = made().classify(X)
    assert (again[0] == labels).all()
    assert np.allclose(again[1], probabilities, atol=1e-12)


def test_features_of_another_width_are_refused():
    with pytest.raises(UserError, match=r"shape \(200, 4\): this head reads 5 columns"):
        made().logits(X[:, :4])


@pytest.mark.parametrize("tensors", [{}, {"head": weights(2, T)}, {"head": weights(C)}])
def test_a_head_fits_its_classes(tensors):
    with pytest.raises(UserError, match="does not fit 3 classes"):
        Head(tensors, CLASSES)


# Files


def test_a_file_gives_back_what_was_saved(file, record):
    found, head = heads.load(file), made()
    assert found.tensors.keys() == head.tensors.keys()
    assert all((found.tensors[name] == x).all() for name, x in head.tensors.items())
    assert (found.classes, found.encoder, found.scaling) == (CLASSES, FROZEN, "raw")
    about = found.about
    assert (about.id, about.recipe, about.cell, about.seed) == (
        record.id, "hand", {"shots": 1, "method": "uml"}, 1,
    )  # fmt: skip
    assert (about.spec, about.inputs, about.metrics) == (record.spec, {}, {"accuracy": 61.5})
    assert str(about) == "hand shots=1 method=uml seed=1"
    assert torch.equal(found.logits(X), head.logits(X))


def test_any_tensor_may_be_stored_and_floats_are_float32(tmp_path, record):
    more = {
        "test_predicted": np.arange(N),
        "factor": np.float64(2.5),
        "other.weight": weights(2, 2),
    }
    heads.save(tmp_path / "h", made(**{k: np.asarray(v) for k, v in more.items()}), record)
    tensors = heads.load(tmp_path / "h").tensors
    kinds = {name: str(tensors[name].dtype) for name in more}
    assert kinds == {"test_predicted": "int64", "factor": "float32", "other.weight": "float32"}
    assert (tensors["factor"].shape, float(tensors["factor"])) == ((), 2.5)


def test_a_job_makes_the_same_bytes_again(file, record):
    before = file.read_bytes()
    heads.save(file, made(), replace(record, finished="later", provenance={"device": "other"}))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def altered(path, **changes):
    """The file with other fields in its header (None: without the field), sealed or not."""
    head = heads.load(path)
    about = json.loads(head.about.model_dump_json()) | changes
    header = json.dumps({name: value for name, value in about.items() if value is not None})
    path.write_bytes(packed(dict(head.tensors), {HEADER: header}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": None}, "does not describe its head: classes: Field required"),
        ({"format": 2}, "does not describe its head: format: Input should be 1"),
        ({"extra": 1}, "does not describe its head: extra: Extra inputs are not permitted"),
        ({"classes": ["cat", "dog", "owl"]}, "differs from its own checksum"),
        ({"scaling": "unit"}, "differs from its own checksum"),
    ],
)
def test_a_header_that_was_changed(file, changes, says):
    altered(file, **changes)
    with pytest.raises(StorageError, match=says) as caught:
        heads.load(file)
    assert caught.value.message.startswith(f"{file}: ")
    assert "\n" not in caught.value.message


def test_a_class_list_that_does_not_fit(file):
    about = heads.load(file).about.model_copy(update={"classes": ("cat",)}).sealed()
    altered(file, classes=["cat"], check=about.check)
    with pytest.raises(StorageError, match="does not fit 1 classes"):
        heads.load(file)


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_file(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(StorageError, match="is not a whole safetensors file"):
        heads.load(file)


def test_a_flipped_bit_of_the_weights(file):
    body = bytearray(file.read_bytes())
    body[-3] ^= 1
    file.write_bytes(body)
    with pytest.raises(StorageError, match="differs from its own checksum"):
        heads.load(file)


def test_what_is_no_head(tmp_path):
    with pytest.raises(MissingInput, match="no such file"):
        heads.load(tmp_path / "none.safetensors")
    (tmp_path / "other.safetensors").write_bytes(packed({"head": weights(2, 2)}))
    with pytest.raises(UserError, match="holds no head of umlbench"):
        heads.load(tmp_path / "other.safetensors")


def test_a_full_disk_leaves_the_old_file(file, record, monkeypatch):
    before = file.read_bytes()

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        heads.save(file, made(False), record)
    assert "--heads" in caught.value.hint
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_made(tmp_path, record):
    (tmp_path / "heads").touch()
    with pytest.raises(StorageError, match="cannot write"):
        heads.save(tmp_path / "heads" / "x.safetensors", made(), record)


def test_the_encoder_is_found_by_what_was_needed():
    need = FROZEN.need
    assert (need.name, need.modality, need.transform) == ("mobilenetv2_100", "image", "clip")
    found = type("Found", (), {"key": lambda self: {"weights": "0f"}})()
    assert Frozen.of(need, found).need == need


# Finding


@pytest.fixture
def filled(hand, tmp_path):
    """Six jobs of the hand-made recipe with a record; heads for some of them."""
    recipe = hand.recipe(axes={"shots": [1, 2], "method": ["uml"]})
    records = hand.fill(recipe, lambda cell, seed: 60.0 + seed)
    shelf = Shelf(hand.results / "hand", tmp_path / "cache")
    for record, place in zip(records, ("results", "cache", "results"), strict=False):
        heads.save(shelf.path(place, record.id), made(), record)
    return hand, records, shelf


def find(hand, tmp_path, shots, seeds):
    recipe = hand.recipe(axes={"shots": shots, "method": ["uml"]}, seeds=seeds)
    return heads.find(recipe, hand.results, tmp_path / "cache")


def test_the_one_head_of_a_cell_is_found_wherever_it_lies(filled, tmp_path):
    hand, records, _ = filled
    for record in records[:3]:
        assert find(hand, tmp_path, [1], [record.seed]).about.id == record.id
    everything = hand.recipe(axes={"shots": [1, 2], "method": ["uml"]})
    listed = heads.matching(everything, hand.results, tmp_path / "cache")
    assert [record for record, _ in listed] == records[:3]


def test_several_heads_are_named(filled, tmp_path):
    hand, *_ = filled
    with pytest.raises(UserError, match="3 stored heads of hand match: shots=1 method=uml seed=1;"):
        find(hand, tmp_path, [1, 2], [1, 2, 3])


def test_no_head(filled, tmp_path):
    hand, *_ = filled
    with pytest.raises(MissingInput, match="of 2 jobs that match, 1 have a record") as caught:
        find(hand, tmp_path, [2], [3, 4])
    assert "umlbench run hand --heads results" in caught.value.hint


def test_a_head_beside_the_records_comes_first(filled):
    _, records, shelf = filled
    heads.save(shelf.path("cache", records[0].id), made(), records[0])
    assert shelf.find(records[0].id) == shelf.path("results", records[0].id)
    assert shelf.find(records[4].id) is None
