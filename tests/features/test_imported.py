"""Features made elsewhere: checked against the split, stored under a key that says so."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from umlbench import features
from umlbench.data import Dataset
from umlbench.data.samples import Samples
from umlbench.errors import MissingInput, UserError
from umlbench.features import FeatureStore

COUNT = 6
X = np.arange(COUNT * 3, dtype=np.float32).reshape(COUNT, 3) / 7
Y = np.arange(COUNT) % 2


def samples(prefix="img"):
    ids = tuple(f"{prefix}/{row}" for row in range(COUNT))
    return Samples(ids, Y, [np.array([row, ord(prefix[0])]) for row in range(COUNT)])


DATASET = Dataset("toy", ("a", "b"), {"train": samples(), "test": samples("test")})
IDS = np.array(DATASET.split("train").ids)


def write(path, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    tensors = {k: torch.as_tensor(v) for k, v in arrays.items() if k != "ids"}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(
            {**tensors, **({"ids": arrays["ids"].tolist()} if "ids" in arrays else {})}, path
        )
    return path


def take(path, root, split="train", name="theirs"):
    return features.import_file(path, root=root, dataset=DATASET, split=split, encoder_name=name)


def read(root, split="train", name="theirs"):
    encoder = features.imported(root, name, "toy")
    store = FeatureStore(root)
    return store.get(encoder, DATASET.split(split), dataset="toy", split=split, verify=True)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_a_file_becomes_an_entry_that_get_reads(tmp_path, suffix):
    file = write(tmp_path / f"f{suffix}", features=X, labels=Y)
    entry = take(file, tmp_path / "cache")
    assert (entry.encoder, entry.dataset, entry.split) == ("theirs", "toy", "train")
    assert (entry.state, entry.items, entry.width, entry.dtype) == ("done", COUNT, 3, "float32")
    found = read(tmp_path / "cache")
    assert np.array_equal(found.x.numpy(), X)
    assert found.y.tolist() == Y.tolist()
    assert found.key == entry.key
    meta = json.loads((entry.folder / "meta.json").read_text())
    encoder = meta["fields"]["encoder"]
    assert {k: v for k, v in encoder.items() if k != "sha256"} == {
        "library": "imported",
        "name": "theirs",
    }
    assert len(encoder["sha256"]) == 64
    assert features.verify(tmp_path / "cache") == []


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_with_ids_the_rows_may_have_any_order(tmp_path, suffix):
    turned = [5, 3, 4, 0, 1, 2]
    file = write(tmp_path / f"f{suffix}", x=X[turned], y=Y[turned], ids=IDS[turned])
    take(file, tmp_path / "cache")
    assert np.array_equal(read(tmp_path / "cache").x.numpy(), X)


def test_half_precision_is_kept(tmp_path):
    entry = take(write(tmp_path / "f.npz", x=X.astype(np.float16), y=Y), tmp_path / "cache")
    assert entry.dtype == "float16"
    assert np.array_equal(read(tmp_path / "cache").x.numpy(), X.astype(np.float16).astype("f4"))


def wrong(**changed):
    return {"x": X, "y": Y} | changed


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (wrong(y=1 - Y), r"label 1 for 'img/0', which the split gives 0"),
        (wrong(x=X[:4], y=Y[:4]), r"4 rows and 4 labels; the split has 6"),
        (wrong(y=Y[:4]), r"6 rows and 4 labels"),
        (wrong(x=X[:, 0]), r"features are \(6,\)"),
        (wrong(x=np.arange(18).reshape(6, 3)), r"torch\.int64, not floats"),
        (wrong(ids=np.array([f"other/{i}" for i in range(6)])), r"6 of the split's ids .*'img/0'"),
        (wrong(ids=IDS[[0, 0, 1, 2, 3, 4]]), r"5 different ids for 6 rows"),
        (wrong(ids=IDS[[1, 0, 2, 3, 4, 5]]), r"label 1 for 'img/0'"),
        ({"y": Y}, r"needs one array named features or x; it holds y"),
        (wrong(features=X), r"needs one array named features or x"),
        (wrong(x=np.where(X > 2, np.nan, X)), r"features of 'img/5' are not finite"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_entry(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        take(write(tmp_path / "f.npz", **arrays), tmp_path / "cache")
    assert all(entry.state != "done" for entry in features.entries(tmp_path / "cache"))


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_files_that_hold_code_are_not_run(tmp_path, capsys):
    torch.save({"x": torch.zeros(6, 3), "y": Evil()}, tmp_path / "f.pt")
    np.savez(tmp_path / "f.npz", x=X, y=np.array([Evil()] * 6))
    (tmp_path / "torn.safetensors").write_bytes(b"no")
    for name in ("f.pt", "f.npz", "torn.safetensors"):
        with pytest.raises(UserError, match=r"cannot be read as .* without running code") as error:
            take(tmp_path / name, tmp_path / "cache")
        assert "\n" not in error.value.message
    assert capsys.readouterr().out == ""


def test_absent_files_and_foreign_suffixes(tmp_path):
    with pytest.raises(MissingInput, match="no file"):
        take(tmp_path / "f.npz", tmp_path)
    (tmp_path / "f.csv").write_text("")
    with pytest.raises(UserError, match=r"'\.csv' is none of \.npz"):
        take(tmp_path / "f.csv", tmp_path)


def test_each_split_has_its_file_and_two_for_one_split_are_a_question(tmp_path):
    root = tmp_path / "cache"
    take(write(tmp_path / "a.npz", x=X, y=Y), root)
    before = features.imported(root, "theirs", "toy")
    with pytest.raises(MissingInput, match="were imported for these 6 samples"):
        read(root, "test")
    take(write(tmp_path / "b.npz", x=X + 1, y=Y), root, "test")
    assert np.array_equal(read(root, "test").x.numpy(), X + 1)
    assert features.imported(root, "theirs", "toy").key() != before.key()
    take(write(tmp_path / "c.npz", x=X + 2, y=Y), root)
    with pytest.raises(UserError, match="two files were imported as 'theirs'"):
        features.imported(root, "theirs", "toy")
    with pytest.raises(MissingInput, match="no features were imported as 'ours' for toy"):
        features.imported(root, "ours", "toy")


def test_the_same_file_twice_is_one_entry(tmp_path):
    file = write(tmp_path / "f.npz", x=X, y=Y)
    assert take(file, tmp_path / "cache") == take(file, tmp_path / "cache")
    assert len(features.entries(tmp_path / "cache")) == 1
