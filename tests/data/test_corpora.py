import json

import pytest

from umlbench import data
from umlbench.data import corpora
from umlbench.data.corpora import Target, cupl, from_templates, own
from umlbench.data.sets import SETS
from umlbench.errors import MissingInput, UserError


def target(name, *classes):
    return Target(name, name, classes)


def write_cupl(root, name, texts, folder="cupl"):
    root.write(root.path / folder / f"descriptors_{name}.json", texts)


def pairs(corpus):
    return list(zip(corpus.labels.tolist(), corpus.items, strict=True))


def test_templates(root):
    root.make("ucf101")
    made = {c: data.texts("ucf101", c, root.path) for c in ("vanilla", "classname", "hand_crafted")}
    assert made["vanilla"].items[0] == "a photo of a Apply Eye Makeup."
    assert made["classname"].items[0] == "Apply Eye Makeup"
    assert made["hand_crafted"].items[1] == "a photo of a person doing Archery."
    assert all(corpus.labels.tolist() == [0, 1] for corpus in made.values())
    assert made["vanilla"].ids == ("0/0", "1/0")


def test_imagenet_and_its_variants_have_seven_templates(root):
    root.make("imagenet_r")
    found = data.texts("imagenet_r", "hand_crafted", root.path)
    assert len(found) == 21
    assert found.labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert len(set(found.items)) == 21


def test_digits_and_folders_have_what_needs_no_file(root):
    assert data.texts("digits", "vanilla").items[3] == "a photo of a three."
    mine = str(root.own())
    assert data.texts(mine, "classname", root.path).items == ("cat", "dog")
    with pytest.raises(UserError, match="unknown text corpus of digits 'cupl'"):
        data.texts("digits", "cupl")
    with pytest.raises(UserError, match="unknown text corpus"):
        data.texts(mine, "hand_crafted")


def test_a_class_name_with_braces_is_only_a_name():
    found = from_templates(target("x", "{0} {}"), ("a photo of a {}.",))
    assert found.items == ("a photo of a {0} {}.",)


def test_classes_without_photos_on_disk_are_enough(root):
    folder = root.make("imagenet")
    (folder / "split_ImageNet.json").unlink()
    assert data.texts("imagenet", "classname", root.path).items == ("tench", "goldfish")
    (folder / "classnames.txt").unlink()
    with pytest.raises(MissingInput, match=r"classnames\.txt: no such file"):
        data.texts("imagenet", "classname", root.path)


@pytest.mark.parametrize("folder", ["cupl", "descriptions/cupl", "descriptions"])
def test_cupl_is_verbatim_in_the_files_order(root, folder):
    root.make("food101")
    texts = {"foie gras": ["Fat.", "Fat.", "Rich"], "Apple Pie": ["Round."]}
    write_cupl(root, "food101", texts, folder)
    found = data.texts("food101", "cupl", root.path)
    assert pairs(found) == [(1, "Fat."), (1, "Fat."), (1, "Rich"), (0, "Round.")]
    assert found.ids == ("foie_gras/00", "foie_gras/01", "foie_gras/02", "apple_pie/00")
    assert (found.notices, found.without_text) == ((), ())
    assert data.texts("food101", "gpt3_cupl", root.path).fingerprint == found.fingerprint


def test_cars_move_the_year_and_scenes_their_kind(root):
    write_cupl(root, "stanford_cars", {"Audi TTS Coupe 2012": ["car"]})
    assert len(cupl(target("stanford_cars", "2012 Audi TTS Coupe"), root.path)) == 1
    write_cupl(root, "sun397", {"apse (indoor)": ["a"], "airplane cabin": ["b"], "abbey": ["c"]})
    scenes = target("sun397", "abbey", "airplane_cabin", "indoor_apse")
    assert pairs(cupl(scenes, root.path)) == [(2, "a"), (1, "b"), (0, "c")]


def test_what_finds_no_partner_is_reported(root):
    texts = {
        "background": ["b"],
        "centered face": ["1"],
        "off-center face": ["2"],
        "leopard": ["3"],
    }
    write_cupl(root, "caltech101", texts)
    classes = target("caltech101", "face", "leopard")
    plain = cupl(classes, root.path)
    assert pairs(plain) == [(1, "3")]
    assert plain.without_text == (0,)
    assert plain.notices == (
        "caltech101: no text for face",
        "descriptors_caltech101.json: no class of caltech101 is called "
        "background, centered_face, off-center_face",
    )
    mapped = cupl(classes, root.path, "mapped")
    assert pairs(mapped) == [(0, "1"), (0, "2"), (1, "3")]
    assert mapped.without_text == ()
    assert mapped.ids == ("centered_face/00", "off-center_face/00", "leopard/00")


def test_ball_moss_is_called_air_plant(root):
    write_cupl(root, "oxford_flowers", {"air plant": ["grey"], "rose": ["red"]})
    classes = target("oxford_flowers", "ball moss", "rose")
    assert cupl(classes, root.path).without_text == (0,)
    assert pairs(cupl(classes, root.path, "mapped")) == [(0, "grey"), (1, "red")]


def test_homonyms(root):
    write_cupl(root, "imagenet", {"missile": ["m", "n"], "tench": ["t"]})
    classes = target("imagenet", "missile", "tench", "missile")
    plain = cupl(classes, root.path)
    assert pairs(plain) == [(2, "m"), (2, "n"), (1, "t")]
    assert plain.without_text == (0,)
    assert "text of labels with one name goes to the highest label only" in plain.notices[-1]
    assert plain.notices[-1].endswith("'missile' (0, 2)")
    mapped = cupl(classes, root.path, "mapped")
    assert pairs(mapped) == [(0, "m"), (0, "n"), (2, "m"), (2, "n"), (1, "t")]
    assert len(set(mapped.ids)) == 5


def test_a_users_json_and_folder_say_the_same(root):
    root.make("fgvc_aircraft")
    texts = {"707-320": ["Four engines.", "Long."], "f-16a/b": ["Small."], "ufo": ["?"]}
    root.write(root.path / "mine.json", texts)
    for name, lines in texts.items():
        root.write(root.path / "mine" / f"{name.replace('/', '_')}.txt", "\n\n".join(lines) + "\n")
    for path in ("mine.json", "mine"):
        found = data.texts("fgvc_aircraft", str(root.path / path), root.path)
        assert pairs(found) == [(0, "Four engines."), (0, "Long."), (1, "Small.")]
        assert found.without_text == (2,)
        assert found.notices[0] == "fgvc_aircraft: no text for Gulfstream V"
        assert found.notices[1].endswith("is called ufo")


def test_a_users_names_are_those_of_the_split(root):
    root.write(root.path / "mine.json", {"2012 Audi TTS Coupe": ["car"]})
    found = own(target("stanford_cars", "2012 Audi TTS Coupe"), root.path / "mine.json")
    assert pairs(found) == [(0, "car")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not an object"),
        ("{}", "is not an object"),
        ('{"cat": "meow"}', "'cat' is not a list of sentences"),
        ('{"cat": ["meow", ""]}', "'cat' is not a list of sentences"),
        ('{"cat": ["a"], "cat": ["b"]}', "'cat' occurs twice"),
        ('{"cat": ["a"], "Cat": ["b"]}', "'Cat' and another entry are one class name, cat"),
        ('{"cow": ["moo"]}', "has no text for any class of pets"),
    ],
)
def test_malformed_files(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        own(target("pets", "cat", "dog"), path)


def test_missing_text(root):
    with pytest.raises(MissingInput, match=r"no descriptions of CuPL; looked for .*cupl\.tar\.gz"):
        cupl(target("dtd", "banded"), root.path)
    with pytest.raises(MissingInput, match="no text corpus at"):
        data.texts("digits", str(root.path / "none.json"))
    (root.path / "bad.txt").mkdir()
    with pytest.raises(UserError, match="cannot read"):
        own(target("dtd", "banded"), root.path)


def test_every_set_of_the_paper_has_templates():
    assert set(corpora.HAND_CRAFTED) == {s.family for s in SETS.values()}
    assert json.dumps(corpora.names("dtd")) == '["vanilla", "classname", "hand_crafted", "cupl"]'
