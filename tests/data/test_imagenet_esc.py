"""Which clips and photos train, validate, test and help."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlbench import data
from umlbench.data import esc
from umlbench.data.dataset import Dataset
from umlbench.data.few_shot import few_shot
from umlbench.data.imagenet_esc import (
    DESCRIPTIONS,
    ESC10,
    PAIRS,
    members,
    pairs,
    photo_auxiliary,
    photo_pool,
    photo_samples,
    photo_target,
    sound_auxiliary,
    sound_target,
)
from umlbench.data.samples import Samples
from umlbench.errors import MissingInput, UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
OTHERS = tuple(f"other_{number}" for number in range(23))
SOUNDS = tuple(sorted([pair.sound for pair in PAIRS] + list(OTHERS)))


def samples(prefix, labels):
    ids = tuple(f"{prefix}/{row:04d}.JPEG" for row in range(len(labels)))
    return Samples(ids, np.array(labels), list(ids))


def fold(number):
    labels = np.repeat(np.arange(50), 8)
    return samples(f"fold{number}", np.random.default_rng(number).permutation(labels))


@pytest.fixture(scope="module")
def sounds():
    return Dataset("esc50", SOUNDS, {name: fold(n) for n, name in enumerate(esc.FOLDS)})


@pytest.fixture(scope="module")
def photos():
    """ImageNet in little: 27 classes and two others; 10, 6 and 50 photos each."""
    names = ("tench", *(pair.photo for pair in PAIRS), "bolete")
    counts = {"train": 10, "val": 6, "test": 50}
    splits = {k: samples(k, np.tile(np.arange(29), n)) for k, n in counts.items()}
    return Dataset("imagenet", names, splits)


def names(size):
    return [pair.sound for pair in pairs(size)]


def test_classes_are_numbered_by_imagenet_index():
    for size in (27, 19):
        found = [pair.index for pair in pairs(size)]
        assert found == sorted(set(found))
        assert len(found) == len(set(names(size))) == size
    assert set(pairs(19)) < set(pairs(27))
    left_out = {pair.sound for pair in pairs(27) if not pair.close}
    assert left_out == {
        "can_opening",
        "church_bells",
        "crackling_fire",
        "toilet_flush",
        "water_drops",
        "drinking_sipping",
        "pouring_water",
        "sea_waves",
    }
    with pytest.raises(UserError, match="unknown size of ImageNet-ESC '20'"):
        pairs(20)


@given(size=st.sampled_from([19, 27]), division=st.integers(0, 4), shots=st.sampled_from([1, 2, 4]))
def test_sounds_train_validate_and_test_as_published(sounds, size, division, shots):
    found = sound_target(sounds, names(size), division=division, shots=shots)
    own = sounds.split(found.train.split)
    assert found.train.split == found.val.split == f"fold{division + 1}"
    assert len(found.train) == len(found.val) == size * shots
    for label, name in enumerate(names(size)):
        rows = np.flatnonzero(own.labels == SOUNDS.index(name)).tolist()
        mine = [r for r, y in zip(found.train.rows, found.train.labels, strict=True) if y == label]
        after = [r for r, y in zip(found.val.rows, found.val.labels, strict=True) if y == label]
        assert (mine, after) == (rows[:shots], rows[shots : 2 * shots])
    assert [part.split for part in found.test] == [f for f in esc.FOLDS if f != found.train.split]
    assert sum(len(part) for part in found.test) == 32 * size
    for part in found.test:
        called = [SOUNDS[label] for label in sounds.split(part.split).labels[list(part.rows)]]
        assert called == [names(size)[label] for label in part.labels]
        assert list(part.rows) == sorted(part.rows)


def test_the_published_sizes(sounds):
    tests = [sound_target(sounds, names(size), division=0, shots=1).test for size in (27, 19)]
    assert [sum(map(len, parts)) for parts in tests] == [864, 608]


def test_helping_sounds_are_the_first_of_a_fold(sounds):
    found = sound_auxiliary(sounds, names(27), division=3)
    assert found == sound_target(sounds, names(27), division=3, shots=1).train
    assert found.labels == tuple(range(27))
    assert len(sound_auxiliary(sounds, names(19), division=0, shots=8)) == 152


def test_photos_are_the_draw_of_the_next_seed_restricted(photos, tmp_path):
    wanted = [pair.photo for pair in pairs(19)]
    found = photo_target(photos, wanted, division=2, shots=4, root=tmp_path)
    splits = [photos.split(name).labels for name in ("train", "val")]
    drawn = few_shot(*splits, shots=4, seed=3)
    for part, rows in ((found.train, drawn.train), (found.val, drawn.val)):
        labels = photos.split(part.split).labels
        kept = [row for row in rows if photos.classes[labels[row]] in wanted]
        assert part.rows == tuple(kept)
        assert [wanted[y] for y in part.labels] == [photos.classes[labels[r]] for r in kept]
        assert len(part) == 19 * 4
    assert [len(part) for part in found.test] == [950]
    assert photo_auxiliary(photos, wanted, division=2, root=tmp_path).labels != ()
    assert len(photo_auxiliary(photos, wanted, division=2, root=tmp_path)) == 19


def test_the_published_index_files_are_taken(photos, tmp_path):
    wanted = [pair.photo for pair in pairs(27)]

    def rows(split, per_class):
        own = photos.split(split)
        chosen = [r for c in range(29) for r in np.flatnonzero(own.labels == c)[-per_class:]]
        return [
            {
                "impath": f"./data/imagenet/images/{own.ids[r]}",
                "label": int(own.labels[r]),
                "classname": photos.classes[own.labels[r]],
            }
            for r in chosen
        ]

    for seed in range(1, 6):
        body = {part: {"data": rows(part, 1)} for part in ("train", "val")}
        file = tmp_path / "indices" / "imagenet" / f"shot_1-seed_{seed}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))
    found = photo_target(photos, wanted, division=4, shots=1, root=tmp_path)
    assert found.train.rows == tuple(9 * 29 + label for label in range(1, 28))
    assert found.val.rows == tuple(5 * 29 + label for label in range(1, 28))
    assert found.notices == ()


def test_what_cannot_be_chosen_is_said(sounds, photos, tmp_path):
    with pytest.raises(UserError, match="esc50 has no class 'bark', 'purr'"):
        sound_target(sounds, ["hen", "bark", "purr"], division=0, shots=1)
    with pytest.raises(UserError, match="unknown division of ESC-50 '5'"):
        sound_auxiliary(sounds, ["hen"], division=5)
    with pytest.raises(UserError, match="fold1 has 8 clips of a class, 10 are needed"):
        sound_target(sounds, ["hen"], division=0, shots=5)
    with pytest.raises(UserError, match="imagenet has no class 'can_opening'"):
        photo_target(photos, ["can_opening"], division=0, shots=1, root=tmp_path)


@pytest.mark.parametrize(("shots", "target"), [(1, False), (2, True), (8, True)])
def test_a_pool_holds_what_any_division_draws_once(photos, tmp_path, shots, target):
    pool = photo_pool(photos, shots=shots, target=target, root=tmp_path)
    drawn = {}
    for division in range(5):
        wanted = [pair.photo for pair in PAIRS]
        one = photo_target(photos, wanted, division=division, shots=shots, root=tmp_path)
        for part in (one.train, one.val, *one.test) if target else (one.train,):
            ids = photos.split(part.split).ids
            drawn.setdefault(part.split, set()).update(ids[row] for row in part.rows)
    assert {split: set(found.ids) for split, found in pool.items()} == drawn
    assert set(pool) == ({"train", "val", "test"} if target else {"train"})
    for split, found in pool.items():
        place = [photos.split(split).ids.index(name) for name in found.ids]
        assert place == sorted(set(place))
        assert found.labels.tolist() == photos.split(split).labels[place].tolist()


def test_esc10_has_photos_of_some_classes(photos):
    classes = members("esc10")
    assert [pair.sound for pair in classes] == list(ESC10)
    assert [members(f"esc{size}") for size in (19, 27)] == [pairs(19), pairs(27)]
    found = photo_samples(photos, [pair.photo for pair in classes], shots=2)
    labels = [label for label, pair in enumerate(classes) if pair in PAIRS]
    assert found.labels == tuple(label for label in labels for _ in range(2))
    assert len(labels) == 6
    for label, row in zip(found.labels, found.rows, strict=True):
        photo = photos.classes[photos.split("train").labels[row]]
        assert photo == classes[label].photo
    with pytest.raises(UserError, match="train has 10 photos of a class, 11 are needed"):
        photo_samples(photos, [pair.photo for pair in classes], shots=11)
    with pytest.raises(UserError, match="unknown set of ImageNet-ESC 'esc20'"):
        members("esc20")


# Text


def test_our_descriptions_cover_every_class_evenly():
    written = json.loads(DESCRIPTIONS.read_text())
    assert set(written) == {pair.sound for pair in PAIRS} | set(ESC10)
    sentences = [text for texts in written.values() for text in texts]
    assert {len(texts) for texts in written.values()} == {10}
    assert len(set(sentences)) == len(sentences) == 310
    for name in ("esc10", "esc19", "esc27"):
        found = data.texts(name, "descriptions")
        assert found.notices == found.without_text == ()
        for label, pair in enumerate(members(name)):
            mine = [t for t, y in zip(found.items, found.labels, strict=True) if y == label]
            assert mine == written[pair.sound]


def test_templates_and_cupl_go_by_imagenet_s_names(tmp_path):
    assert data.texts("esc27", "classname", tmp_path).items[3:5] == ("tree frog", "Otterhound")
    assert data.texts("esc10", "vanilla", tmp_path).items[1:3] == (
        "a photo of a rooster.",
        "a photo of a rain.",
    )
    with pytest.raises(MissingInput, match="esc19: no descriptions of CuPL"):
        data.texts("esc19", "cupl", tmp_path)
    (tmp_path / "cupl").mkdir()
    texts = {name: [f"{name} {n}" for n in range(2)] for name in ("tench", "hen", "tree frog")}
    (tmp_path / "cupl" / "descriptors_imagenet.json").write_text(json.dumps(texts))
    found = data.texts("esc19", "gpt3_cupl", tmp_path)
    assert found.items == ("hen 0", "hen 1", "tree frog 0", "tree frog 1")
    assert found.labels.tolist() == [1, 1, 3, 3]
    assert found.notices == ("esc19: no text for rooster, chickadee, Otterhound and 14 more",)


def test_own_text_goes_by_the_names_of_sounds(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"hen": ["Cluck."], "Sea waves": ["Surf."], "bark": ["Woof."]}))
    found = data.texts("esc27", str(file), tmp_path)
    assert found.labels.tolist() == [1, 26]
    lonely, unused = found.notices
    assert lonely.startswith("esc27: no text for rooster, chirping_birds")
    assert unused == "mine.json: no class of esc27 is called bark"
    with pytest.raises(UserError, match="unknown text corpus of esc10 'poems'"):
        data.texts("esc10", "poems", tmp_path)


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data beside the checkout")
def test_names_and_indices_are_imagenets():
    with tarfile.open(SHARED / "cupl.tar.gz") as tar:
        file = tar.extractfile("cupl/descriptors_imagenet.json")
        classes = list(json.load(file))
    classes.insert(744, "missile")  # two names that two classes share stand there once
    classes.insert(837, "sunglasses")
    assert [classes[pair.index] for pair in PAIRS] == [pair.photo for pair in PAIRS]
    photos = (SHARED / "imagenet_esc_photos").glob("*.jpg")
    indices = {int(path.name.partition("_")[0]) for path in photos}
    assert indices == {pair.index for pair in PAIRS}
