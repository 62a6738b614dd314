"""Where weights are looked for, what they are called in a key, and what an absent one says."""

import json
import os

import pytest

from umlbench import encoders
from umlbench.data import digests
from umlbench.encoders import weights
from umlbench.encoders.batches import Batches
from umlbench.errors import MissingInput, UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def empty_hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


def bert_folder(folder, **config):
    folder.mkdir(parents=True)
    fields = {"model_type": "bert", "hidden_size": 24, **config}
    (folder / "config.json").write_text(json.dumps(fields))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def cached(hub, repo, files, commit=COMMIT, main=True):
    """A repository in the hub's own cache, as its client lays it out."""
    base = hub / f"models--{repo.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    if main:
        (base / "refs" / "main").write_text(commit)
    folder = base / "snapshots" / commit
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_key_and_a_width_read_neither_weights_nor_libraries(tmp_path):
    import subprocess
    import sys

    bert_folder(tmp_path / "encoders" / "mine")
    (tmp_path / "encoders" / "vit_tiny_patch16_224.safetensors").write_bytes(b"weights")
    code = (
        "import sys; from pathlib import Path; from umlbench import encoders;"
        "root = Path(sys.argv[1]);"
        "a = encoders.load('mine', modality='text', root=root); a.key(); assert a.width == 24;"
        "encoders.load('vit_tiny_patch16_224', modality='image', root=root).key();"
        "print([n for n in ('torch', 'timm', 'transformers') if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_given_path_goes_before_the_data_root_and_the_root_before_the_hub(tmp_path, empty_hub):
    given = bert_folder(tmp_path / "given", marker=1)
    below = bert_folder(tmp_path / "data" / "encoders" / "bert-large-uncased", marker=2)
    pinned = weights.PUBLISHED["bert-large-uncased"]
    cached(empty_hub, pinned.repo, {"config.json": '{"model_type": "bert"}'}, pinned.revision)

    def identity(name, root=None):
        encoder = encoders.load(name, modality="text", root=root)
        return encoder.name, encoder.key()["weights"]

    by_path = {"sha256": weights.fingerprint(given)}
    assert identity(f"bert-large-uncased@{given}", tmp_path / "data") == (
        "bert-large-uncased",
        by_path,
    )
    assert identity(str(given)) == ("given", by_path)
    by_root = {"sha256": weights.fingerprint(below)}
    assert identity("bert-large-uncased", tmp_path / "data") == ("bert-large-uncased", by_root)
    on_hub = {"repo": pinned.repo, "commit": pinned.revision}
    assert identity("bert-large-uncased") == ("bert-large-uncased", on_hub)


def test_an_unpinned_model_is_keyed_by_the_commit_that_main_is(empty_hub):
    files = {"config.json": '{"model_type": "gpt2", "n_embd": 8}', "model.safetensors": ""}
    cached(empty_hub, "lab/small", files)
    encoder = encoders.load("lab/small", offline=True)
    assert encoder.key()["weights"] == {"repo": "lab/small", "commit": COMMIT}
    assert (encoder.key()["pooling"], encoder.width) == ("mean", 8)
    other = "f" * 40
    with pytest.raises(MissingInput, match=r"lab/small@ffffffff\), offline"):
        encoders.load(f"lab/small@{other}", offline=True)


def test_a_cached_model_needs_no_connection_and_a_torn_one_is_told(empty_hub):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    files = {"config.json": '{"model_type": "bert"}', "model.safetensors.index.json": index}
    folder = cached(empty_hub, "lab/large", {**files, "model-1.safetensors": ""})
    found = encoders.load("lab/large", offline=True).weights
    with pytest.raises(MissingInput, match="lab/large@01234567"):
        found.folder()
    (folder / "model-2.safetensors").write_text("")
    assert found.folder() == folder
    assert encoders.load("lab/large").weights.folder() == folder


ON_HUB = [name for name, known in weights.PUBLISHED.items() if known.repo]


@pytest.mark.parametrize("name", [name for name in ON_HUB if name != "mobilenetv2_100"])
def test_absent_weights_say_what_where_and_how_to_get_them(tmp_path, name):
    modality = None if not name.startswith("clip:") else "image"
    with pytest.raises(MissingInput) as error:
        encoders.load(name, modality=modality, root=tmp_path, offline=True)
    known = weights.PUBLISHED[name]
    message, hint = error.value.message, error.value.hint
    assert f"weights of encoder '{name}' not found" in message
    assert str(tmp_path / "encoders") in message
    assert f"{known.repo}@{known.revision[:8] or 'main'}" in message
    for part in (f"hf download {known.repo}", known.revision, known.size, known.licence):
        assert part in hint


def test_a_given_path_that_is_absent_is_not_replaced_by_other_weights(tmp_path):
    bert_folder(tmp_path / "encoders" / "bert-large-uncased")
    with pytest.raises(MissingInput, match="nowhere"):
        encoders.load(f"bert-large-uncased@{tmp_path / 'nowhere'}", modality="text", root=tmp_path)


def test_every_model_file_counts_and_nothing_else_does(tmp_path):
    folder = bert_folder(tmp_path / "model")
    first = weights.fingerprint(folder)
    (folder / "README.md").write_text("words")
    assert weights.fingerprint(folder) == first
    (folder / "tokenizer.json").write_text("{}")
    second = weights.fingerprint(folder)
    (folder / "tokenizer.json").write_text("[]")
    assert len({first, second, weights.fingerprint(folder)}) == 3


def test_a_file_is_hashed_again_only_after_a_change(tmp_path, monkeypatch):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = weights.fingerprint(file)
    read = []
    real = digests._sha256
    monkeypatch.setattr(digests, "_sha256", lambda path: read.append(1) or real(path))
    assert weights.fingerprint(file) == first
    assert read == []
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert weights.fingerprint(file) != first
    assert read == [1]


def test_a_model_of_unknown_kind_asks_for_its_pooling(tmp_path):
    folder = bert_folder(tmp_path / "odd", model_type="oddity")
    with pytest.raises(UserError, match="'oddity', for which no pooling"):
        encoders.load(str(folder))
    assert encoders.load(str(folder), pooling="mean").key()["pooling"] == "mean"


def test_sentence_transformers_folders_are_known_by_their_modules(tmp_path):
    folder = bert_folder(tmp_path / "sentences")
    assert encoders.load(str(folder)).key()["pooling"] == "cls"
    (folder / "modules.json").write_text("[]")
    assert encoders.load(str(folder)).key()["pooling"] == "mean_normalized"


@pytest.mark.parametrize("field", ["dtype", "transform", "pooling"])
def test_unknown_options_are_named(field):
    with pytest.raises(UserError, match=f"unknown {field} 'clipp'"):
        encoders.load("mine", **{field: "clipp"})


class Small:
    """Stands for a model that fits `fits` items; raises as CUDA or the CPU's allocator does."""

    def __init__(self, fits, error):
        self.fits, self.error, self.sizes = fits, error, []

    def __call__(self, start, stop):
        self.sizes.append(stop - start)
        if stop - start > self.fits:
            raise self.error
        return list(range(start, stop))


OUT_OF_MEMORY = [
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_runs_out_halves_the_batch_and_keeps_the_size(error):
    batches, model, ticks = Batches("big", "cpu", 16), Small(3, error), []
    rows = batches.run(20, model, ticks.append)
    assert [row for batch in rows for row in batch] == list(range(20))
    assert model.sizes == [16, 8, 4, *[2] * 10]
    assert sum(ticks) == 20
    assert batches.size == 2


def test_one_item_that_does_not_fit_is_explained():
    model = Small(0, OUT_OF_MEMORY[0])
    with pytest.raises(UserError, match="'big' does not fit into the memory of cuda:1"):
        Batches("big", "cuda:1", 4).run(5, model)
    assert model.sizes == [4, 2, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Batches("big", "cpu", 4).run(5, Small(0, RuntimeError("shapes cannot be multiplied")))
