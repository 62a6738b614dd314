"""`prepare` against a stand-in of the hub and against damaged data; extraction before training."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import authors_files
import numpy as np
import pytest
import torch
import yaml
from hub_standin import COMMIT, Hub
from PIL import Image

from umlbench import api, data, encoders, extraction, features, running
from umlbench import prepare as preparing
from umlbench.data import sequence_sets
from umlbench.data.sets import SETS
from umlbench.errors import Exit, MissingInput, UserError
from umlbench.executors.local import LocalExecutor
from umlbench.needs import SequencesNeed

WORDS = {
    "config.json": b'{"model_type": "bert", "hidden_size": 8}',
    "tokenizer.json": b"{}",
    "model.safetensors": (2).to_bytes(8, "little") + b"{}",
}
BASE = {
    "id": "mine",
    "title": "Mine",
    "protocol": "linear_probe",
    "axes": {"method": ["unimodal", "uml"]},
    "seeds": [1],
    "settings": {"dataset": "digits", "encoder": "pixels", "text_encoder": "tfidf",
                 "text_type": "descriptions", "shots": 1, "max_iterations": 101},
    "report": {"metrics": ["accuracy"], "rows": ["method"]},
}  # fmt: skip


def recipe(folder: Path, **settings: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(BASE | {"settings": {**BASE["settings"], **settings}}))
    return path


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    noise = random.Random(number).randbytes(3 * 16 * 16)
    Image.frombytes("RGB", (16, 16), noise).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def dtd(tmp_path: Path) -> Path:
    """A DTD with two classes, in its own layout; the data root is `data`."""
    folder = tmp_path / "data" / SETS["dtd"].folder
    split: dict[str, list[object]] = {}
    for part, count in {"train": 4, "val": 4, "test": 2}.items():
        split[part] = []
        for label, name in enumerate(("banded", "bumpy")):
            for number in range(count):
                photo = folder / "images" / name / f"{part}_{number}.jpg"
                photo.parent.mkdir(parents=True, exist_ok=True)
                photo.write_bytes(picture(len(split[part]) + 100 * len(split)))
                split[part].append([f"{name}/{photo.name}", label, name])
    (folder / SETS["dtd"].files[0]).write_text(json.dumps(split))
    return folder


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UMLBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# --- the hub ------------------------------------------------------------------------------------


def prepared(hub: Hub, folder: Path, encoder: str = "lab/words") -> tuple[int, dict, str]:
    """Exit code, what was found of the weights, and stderr of a `prepare` in its own process."""
    command = [sys.executable, "-m", "umlbench.cli", "prepare", "--json"]
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    dropped = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN")
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    eyes = folder / "data" / "encoders" / "mobilenetv2_100.safetensors"  # looked at, not loaded
    eyes.parent.mkdir(parents=True, exist_ok=True)
    eyes.write_bytes(WORDS["model.safetensors"])
    path = recipe(
        folder, dataset="dtd", text_type="vanilla", encoder=eyes.stem, text_encoder=encoder
    )
    done = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, env=kept | own, timeout=60
    )
    assert done.stdout, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    return done.returncode, found[encoder], done.stderr


def hub_with(**faults: object) -> Hub:
    return Hub({"lab/words": dict(WORDS)}, faults=faults)


def test_weights_are_downloaded_once_and_a_changed_file_is_named(tmp_path: Path, dtd: Path) -> None:
    with hub_with() as hub:
        code, found, err = prepared(hub, tmp_path)
        assert (code, found["state"], found["downloaded"]) == (0, "present", True)
        assert "downloading lab/words" in err
        assert found["lines"] == [f"lab/words@{COMMIT[:8]}"]
        asked = len(hub.asked)
        code, found, _ = prepared(hub, tmp_path)
        assert (code, found["state"], found["downloaded"]) == (0, "present", False)
        assert len(hub.asked) == asked
        (file,) = (tmp_path / "home").rglob("*/snapshots/*/model.safetensors")
        file.resolve().write_bytes(b"x" * len(WORDS["model.safetensors"]))
        code, found, _ = prepared(hub, tmp_path)
    assert (code, found["state"]) == (Exit.MISSING_INPUT, "broken")
    assert found["lines"][0] == f"{file}: differs from its checksum"


def test_a_download_that_breaks_half_way_goes_on_there(tmp_path: Path, dtd: Path) -> None:
    """The client writes blocks of 10 MB: what came of a block is lost, whole blocks are kept."""
    size = 22_000_000
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    body = len(header).to_bytes(8, "little") + header + bytes(range(250)) * (size // 250)
    with Hub({"lab/words": WORDS | {"model.safetensors": body}}) as hub:
        hub.faults["model.safetensors"] = "break"
        code, found, _ = prepared(hub, tmp_path)
        assert (code, found["state"]) == (0, "present")
        first, second = hub.bodies("model.safetensors")
        assert first == ""
        assert second == "bytes=10485760-"


@pytest.mark.parametrize(
    ("faults", "encoder", "said"),
    [
        ({"model.safetensors": "short"}, "lab/words", "model.safetensors broke off after 0 of 10"),
        ({"model.safetensors": "wrong"}, "lab/words", "differs from its checksum: refused"),
        ({"lab/words": 401}, "lab/words", "gated: accept the terms on the page of lab/words"),
        ({}, "lab/none", "there is no model with the id lab/none (404)"),
        ({}, f"lab/words@{'f' * 40}", f"it has no revision {'f' * 40}"),
    ],
)
def test_what_a_hub_refuses_is_said(
    tmp_path: Path, dtd: Path, faults: dict[str, object], encoder: str, said: str
) -> None:
    with hub_with(**faults) as hub:
        code, found, err = prepared(hub, tmp_path, encoder)
    assert (code, found["state"]) == (Exit.MISSING_INPUT, "missing")
    assert said in " ".join(found["lines"])
    assert "Traceback" not in err
    assert not list((tmp_path / "home").rglob("*/snapshots/*/model.safetensors"))


def test_a_busy_hub_is_waited_for(tmp_path: Path, dtd: Path) -> None:
    with hub_with(**{"lab/words": 429}) as hub:
        code, found, _ = prepared(hub, tmp_path)
        assert (code, found["state"]) == (0, "present")
        assert hub.seen["lab/words"] > 1


# --- without the hub ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sockets")
def test_offline_and_plan_open_no_socket(tmp_path: Path) -> None:
    path = recipe(
        tmp_path, dataset="dtd", encoder="mobilenetv2_100", text_encoder="lab/words",
        text_type="vanilla",
    )  # fmt: skip
    found = {one.name: one.state for one in api.prepare(path, offline=True)}
    assert found == dict.fromkeys(("dtd", "dtd/vanilla", "mobilenetv2_100", "lab/words"), "missing")
    online, offline = api.plan(path), api.plan(path, offline=True)
    assert {one.repo for one in online.downloads} == {"timm/mobilenetv2_100.ra_in1k", "lab/words"}
    assert not any("weights" in line for line in online.missing)
    assert offline.downloads == ()
    assert sum("weights of encoder" in line for line in offline.missing) == 2
    with pytest.raises(MissingInput, match=r"dtd: .*no such folder(.|\n)*to download: lab/words"):
        api.run(path)
    assert not (tmp_path / "results").exists()


def test_a_missing_set_says_what_belongs_where(tmp_path: Path) -> None:
    found = {one.kind: one for one in api.prepare(recipe(tmp_path, dataset="dtd"), offline=True)}
    lines = "\n".join(found["data set"].lines)
    folder = tmp_path / "data" / "dtd"
    for part in (f"photos go to {folder / 'images'}", "split_zhou_DescribableTextures.json",
                 "non-commercial research only", "0.6 GB"):  # fmt: skip
        assert part in lines


def test_every_fault_of_the_data_is_told_at_once(tmp_path: Path, dtd: Path) -> None:
    path = recipe(tmp_path, dataset="dtd", text_type="vanilla")
    states = {one.kind: one.state for one in api.prepare(path, offline=True)}
    assert states == {"data set": "present", "texts": "present", "weights": "present"}
    (dtd / "images" / "banded" / "train_0.jpg").write_bytes(b"no photo")
    (dtd / "images" / "banded" / "train_1.jpg").write_bytes(picture(5)[:200])
    (dtd / "images" / "banded" / "val_0.jpg").unlink()
    (dtd / "images" / "bumpy").rename(dtd / "images" / "lumpy")
    (found,) = [one for one in api.prepare(path, offline=True) if one.kind == "data set"]
    assert found.state == "broken"
    lines = "\n".join(found.lines)
    for part in ("train_0.jpg: not a whole image", "train_1.jpg: not a whole image",
                 "1 of 20 photos of the split are not there: banded/val_0.jpg",
                 "bumpy: no such folder, and the split names 10 photos"):  # fmt: skip
        assert part in lines
    quick = [one for one in api.prepare(path, quick=True) if one.kind == "data set"]
    assert not any("whole image" in line for line in quick[0].lines)


def test_sequences_are_present_missing_or_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(**how: bool) -> dict[str, preparing.Found]:
        return {one.name: one for one in api.prepare(recipe(tmp_path), offline=True, **how)}

    names = ("mosi", "mosei", "ur_funny")
    monkeypatch.setattr(preparing, "needs", lambda _: tuple(map(SequencesNeed, names)))
    files = {name: tmp_path / "data" / sequence_sets.SETS[name].file for name in names}
    content = authors_files.affect()
    content["test"]["text"][0] = 0
    authors_files.write(files["mosi"], content)
    files["ur_funny"].write_bytes(files["mosi"].read_bytes())  # of another set: 20 wide, not 371
    found = prepare()
    assert {name: one.state for name, one in found.items()} == {
        "mosi": "present", "mosei": "missing", "ur_funny": "broken",
    }  # fmt: skip
    assert found["mosi"].lines == (
        "2 classes, 6 train, 4 val, 4 test; vision 20, audio 5, text 300 wide",
        "test: 1 samples without text were left out",
        f"mosi 1 sha256:{hashlib.sha256(files['mosi'].read_bytes()).hexdigest()}",
    )
    assert str(files["mosei"]) in found["mosei"].lines[0]
    assert "humor.pkl: train: vision is 20 wide, not 371" in found["ur_funny"].lines[0]
    assert {one.kind for one in found.values()} == {"sequences"}
    need, context = SequencesNeed("mosi"), _context(tmp_path)
    assert need.find(context) is need.find(context)
    assert [one.state for one in prepare(quick=True).values()] == ["present", "missing", "present"]


def test_a_torn_safetensors_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "encoders" / "words"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(WORDS["config.json"])
    (folder / "model.safetensors").write_bytes(WORDS["model.safetensors"])
    path = recipe(tmp_path, text_encoder="words")
    assert {one.state for one in api.prepare(path, offline=True)} == {"present"}
    (folder / "model.safetensors").write_bytes(WORDS["model.safetensors"] + b"more")
    found = {one.name: one for one in api.prepare(path, offline=True)}["words"]
    assert found.state == "broken"
    assert found.lines[0].endswith("model.safetensors: has 14 bytes, not the 10 of its header")


# --- features before trainings ------------------------------------------------------------------


def test_features_are_extracted_before_workers_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    real = LocalExecutor.run

    def run(self: LocalExecutor, groups: object, context: object) -> object:
        said.append("workers")
        return real(self, groups, context)

    monkeypatch.setattr(LocalExecutor, "run", run)
    path = recipe(tmp_path)
    before, splits = api.plan(path).features, data.load("digits").splits
    assert [(f.encoder, f.split, f.items, f.cached) for f in before] == [
        *(("pixels", split, len(found), False) for split, found in splits.items()),
        ("tfidf", "descriptions", before[3].items, False),
    ]  # fmt: skip
    ran = api.run(path, say=said.append, limit=1)
    assert not ran.failed
    assert [line.split(":")[0] for line in said] == [
        "pixels digits train", "pixels digits val", "pixels digits test", "workers",
    ]  # fmt: skip
    after = {(f.encoder, f.split): f for f in api.plan(path).features}
    assert [f.cached for f in after.values()] == [True, True, True, False]
    assert after["pixels", "train"].bytes == after["pixels", "train"].seconds == 0
    again = api.plan(path, fresh=True)
    assert running.extract(again, _context(tmp_path)) == 1  # the text, which one job did not read


def test_rows_do_not_depend_on_the_threads_beyond_rounding(tmp_path: Path) -> None:
    path, found = recipe(tmp_path), []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            running.extract(api.plan(path), _context(tmp_path / str(threads)))
        finally:
            torch.set_num_threads(before)
        entries = features.entries(tmp_path / str(threads) / "cache")
        found.append(
            [(e.key, (e.folder / "shard-00000.safetensors").read_bytes()) for e in entries]
        )
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_a_plan_tells_time_and_disk_once_an_encoder_has_run(tmp_path: Path) -> None:
    path = recipe(tmp_path, dataset="dtd", encoder="vit_tiny.own", text_type="vanilla")
    assert [(f.items, f.width, f.bytes, f.seconds) for f in api.plan(path).features[:3]] == [
        (2820, None, None, None), (1128, None, None, None), (1692, None, None, None),
    ]  # fmt: skip
    note = {"encoder": "vit_tiny.own", "device": "cpu", "width": 10, "seconds_per_item": 0.5}
    (tmp_path / "cache").mkdir(exist_ok=True)
    notes = (
        f'{json.dumps(note | {"width": 9})}\n{json.dumps(note)}\n{{"encoder": "vit_tiny.own", "wi'
    )
    (tmp_path / "cache" / extraction.NOTES).write_text(notes)
    first = api.plan(path).features[0]
    assert (first.width, first.bytes, first.seconds) == (10, 2820 * 10 * 4, 1410.0)


def test_broken_images_stop_a_run_before_any_training(
    tmp_path: Path, dtd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, **how: object) -> object:
        return Fails() if name == "lab/eyes" else real(name, **how)

    real = encoders.load
    monkeypatch.setattr(encoders, "load", load)
    path = recipe(tmp_path, dataset="dtd", encoder="lab/eyes", text_type="vanilla")
    with pytest.raises(MissingInput) as caught:
        api.run(path)
    assert caught.value.message.splitlines() == [
        f"lab/eyes dtd {split}: {n} broken image(s)"
        for split, n in (("train", 8), ("val", 8), ("test", 4))
    ]
    assert (tmp_path / "results" / "mine" / "records.jsonl").read_text() == ""


class Fails:
    """Stands for an image encoder that meets broken photos."""

    name, modality, width = "lab/eyes", "image", 3

    def key(self) -> dict[str, str]:
        return {"name": self.name}

    def encode(self, items: list[object], tick: object = None) -> object:
        raise UserError(f"{len(items)} broken image(s)")


# --- features made elsewhere --------------------------------------------------------------------


def test_imported_features_are_run_by_their_name(tmp_path: Path) -> None:
    path = recipe(tmp_path, encoder="imported:mine")
    assert "no features were imported as 'mine'" in api.plan(path).missing[0]
    for split, samples in data.load("digits").splits.items():
        rows = encoders.load("pixels").encode(samples.items)
        file = tmp_path / f"{split}.npz"
        np.savez(file, features=rows, labels=samples.labels, ids=np.array(samples.ids))
        entry = api.import_features(file, dataset="digits", split=split, name="mine")
        assert (entry.items, entry.width) == (len(samples), 64)
    ran = api.run(path)
    assert [record.status for record in ran.made] == ["ok", "ok"]
    known = api.run(recipe(tmp_path), results=tmp_path / "known")
    assert [one.metrics for one in ran.made] == [one.metrics for one in known.made]


def _context(folder: Path) -> running.Context:
    return running.Context("cpu", folder / "cache", folder / "data", True)
