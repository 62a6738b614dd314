import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from umlbench import features
from umlbench.data.samples import Samples
from umlbench.errors import StorageError, UserError
from umlbench.features import FeatureStore
from umlbench.features.layout import checkpoints


@dataclass
class Counting:
    """Four columns made from a number; counts what it encodes, may fail at one batch."""

    name: str = "lab/counting"
    modality: str = "image"
    width: int = 4
    settings: dict = field(default_factory=lambda: {"layer": "last"})
    fail_at: int | None = None
    calls: list = field(default_factory=list)

    def key(self):
        return {"library": "tests", "name": self.name, **self.settings}

    def encode(self, items, tick=lambda count: None):
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append([int(item[0]) for item in items])
        return np.stack([np.arange(4) / 3 + item[0] for item in items]).astype(np.float32)


def numbers(count=10):
    ids = tuple(f"img/{row}" for row in range(count))
    return Samples(ids, np.arange(count) % 3, [np.array([row]) for row in range(count)])


def get(store, encoder=None, samples=None, **options):
    samples = numbers() if samples is None else samples
    return store.get(encoder or Counting(), samples, dataset="toy-set", split="train", **options)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "cache", shard_size=4)


def folder_of(store):
    return next(store.root.glob("*/*/*"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_round_trip(tmp_path, dtype):
    store, encoder = FeatureStore(tmp_path, dtype=dtype, shard_size=4), Counting()
    first = get(store, encoder)
    second = get(store, encoder, verify=True)
    assert encoder.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    expected = torch.from_numpy(Counting().encode(numbers().items))
    for found in (first, second):
        assert found.x.dtype == torch.float32
        assert torch.equal(found.x, expected.to(getattr(torch, dtype)).float())
        assert found.y.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
        assert found.ids == numbers().ids
        assert found.key == store.key(encoder, numbers())


def test_the_layout_on_disk(store):
    key = get(store).key
    folder = store.root / "lab--counting" / "toy-set-train" / key
    names = ["manifest.json", "meta.json", *(f"shard-0000{i}.safetensors" for i in range(3))]
    assert sorted(path.name for path in folder.iterdir()) == names
    written = (folder / "meta.json").read_text() + (folder / "manifest.json").read_text()
    assert str(store.root) not in written
    assert json.loads((folder / "manifest.json").read_text())["ids"] == list(numbers().ids)


def test_the_key_follows_every_field(tmp_path):
    base, samples = Counting(), numbers()
    store = FeatureStore(tmp_path)
    keys = {
        store.key(base, samples),
        store.key(Counting(name="other"), samples),
        store.key(Counting(settings={"layer": "first"}), samples),
        store.key(Counting(settings={"layer": "last", "weights": "abc"}), samples),
        FeatureStore(tmp_path, dtype="float16").key(base, samples),
        store.key(base, samples.select(range(9, -1, -1))),
        store.key(base, Samples(samples.ids, samples.labels, [i + 1 for i in samples.items])),
    }
    assert len(keys) == 7
    small = FeatureStore(tmp_path / "elsewhere", shard_size=1)
    assert small.key(base, samples) == store.key(base, samples)  # shard size and root: not in it


def test_a_kill_costs_one_shard(store):
    with pytest.raises(KeyboardInterrupt):
        get(store, Counting(fail_at=2))
    assert [entry.state for entry in features.entries(store.root)] == ["partial"]
    again = Counting()
    found = get(store, again)
    assert again.calls == [[8, 9]]
    whole = get(FeatureStore(store.root.parent / "unbroken", shard_size=4))
    assert torch.equal(found.x, whole.x)
    assert features.verify(store.root) == []


@pytest.mark.parametrize("damage", ["shard", "mark", "size"])
def test_an_unfinished_shard_is_trusted_only_where_its_mark_agrees(store, damage):
    with pytest.raises(KeyboardInterrupt):
        get(store, Counting(fail_at=2))
    if damage == "size":  # shard 1 of size 6 and of size 4 would both hold four rows
        store.shard_size = 6
    else:
        name = "shard-00001.safetensors" if damage == "shard" else "shard-00001.json"
        flip(folder_of(store) / name, -1)
    again = Counting()
    found = get(store, again)
    sizes = [len(call) for call in again.calls]
    assert sizes == ([6, 4] if damage == "size" else [4, 2])
    assert torch.equal(found.x[:, 0], torch.arange(10.0))


def flip(path, position):
    body = bytearray(path.read_bytes())
    body[position] ^= 4
    path.write_bytes(body)


@pytest.mark.parametrize(
    "name", ["manifest.json", "meta.json", *(f"shard-0000{i}.safetensors" for i in range(3))]
)
def test_one_flipped_bit_is_found_and_pruned(store, name):
    get(store)
    path = folder_of(store) / name
    flip(path, path.stat().st_size // 2)
    problems = features.verify(store.root)
    assert [Path(problem.file).name for problem in problems] == [name]
    with pytest.raises(StorageError, match=name):
        get(store, verify=True)
    assert [entry.state for entry in features.prune(store.root).entries] == ["broken"]
    again = Counting()
    get(store, again, verify=True)
    assert len(again.calls) == 3


def test_a_missing_shard_is_found(store):
    get(store)
    (folder_of(store) / "shard-00001.safetensors").unlink()
    assert [str(p).rpartition("/")[2] for p in features.verify(store.root)] == [
        "shard-00001.safetensors: is missing"
    ]
    assert features.entries(store.root)[0].state == "broken"
    with pytest.raises(StorageError, match=r"cannot read .*shard-00001"):
        get(store)


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_a_torn_meta_is_one_clear_line(store, keep):
    get(store)
    meta = folder_of(store) / "meta.json"
    body = meta.read_bytes()
    meta.write_bytes(body[: keep if keep == 1 else int(keep * len(body))])
    with pytest.raises(StorageError, match=r"meta\.json: is not a complete description") as error:
        get(store)
    assert "\n" not in error.value.message
    assert "cache prune" in error.value.hint


def test_entries_describe_the_cache(store):
    get(store)
    (entry,) = features.entries(store.root)
    assert (entry.encoder, entry.dataset, entry.split) == ("lab--counting", "toy-set", "train")
    assert (entry.state, entry.items, entry.width, entry.dtype) == ("done", 10, 4, "float32")
    assert entry.bytes == sum(path.stat().st_size for path in folder_of(store).iterdir())
    assert features.entries(store.root / "nothing") == []


def test_prune_keeps_good_entries_and_counts_what_it_removes(store):
    get(store)
    with pytest.raises(KeyboardInterrupt):
        get(store, Counting(name="cut", fail_at=1))
    before = {entry.encoder: entry for entry in features.entries(store.root)}
    rehearsal = features.prune(store.root, dry_run=True)
    assert len(features.entries(store.root)) == 2
    done = features.prune(store.root)
    assert done == rehearsal
    assert (done.entries, done.bytes) == ((before["cut"],), before["cut"].bytes)
    assert not (store.root / "cut").exists()
    assert features.prune(store.root, older_than=timedelta(days=1)).entries == ()
    assert len(features.prune(store.root, older_than=timedelta(days=-1)).entries) == 1
    get(store)
    assert len(features.prune(store.root, everything=True).entries) == 1
    assert features.entries(store.root) == []


def test_the_checkpoint_of_a_job_counts_as_unfinished(store):
    get(store)
    folder = checkpoints(store.root) / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    [entry] = [one for one in features.entries(store.root) if one.state == "partial"]
    assert (entry.encoder, entry.dataset, entry.split) == ("checkpoints", "", "")
    assert (entry.key, entry.bytes) == (folder.name, 2)
    assert features.verify(store.root) == []
    with FileLock(store.root / ".locks" / f"{folder.name}.lock"):  # a running job has it
        assert features.prune(store.root).entries == ()
    assert [one.key for one in features.prune(store.root).entries] == [folder.name]
    assert not folder.exists()
    assert [one.state for one in features.entries(store.root)] == ["done"]


def test_prune_leaves_an_entry_that_is_being_made(store):
    with pytest.raises(KeyboardInterrupt):
        get(store, Counting(fail_at=1))
    key = folder_of(store).name
    with FileLock(store.root / ".locks" / f"{key}.lock"):
        assert features.prune(store.root, everything=True).entries == ()
    assert len(features.prune(store.root).entries) == 1


WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_store import Counting, get
from umlbench.features import FeatureStore
class Slow(Counting):
    def encode(self, items, tick=None):
        print("encoding", flush=True)
        time.sleep(0.3)
        return super().encode(items)
get(FeatureStore(Path(sys.argv[2]), shard_size=4), Slow())
"""


def test_two_processes_do_the_work_once(tmp_path):
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(tmp_path)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert worker.stdout.readline() == "encoding\n"  # it holds the lock and has two shards to go
    waiting = Counting()
    found = get(FeatureStore(tmp_path, shard_size=4), waiting)
    rest = worker.communicate(timeout=60)[0]
    assert (worker.returncode, rest) == (0, "encoding\nencoding\n")
    assert waiting.calls == []
    assert found.x[:, 0].tolist() == list(range(10))


def test_listing_does_not_import_torch(store):
    get(store)
    code = (
        "import sys; from pathlib import Path; from umlbench import features as f;"
        "root = Path(sys.argv[1]); n = len(f.entries(root)); assert f.verify(root) == [];"
        "print(n, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(store.root)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1", "False"]


def test_a_full_disk_is_one_clear_line_and_keeps_what_is_finished(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mount is not permitted")
    try:
        store = FeatureStore(tmp_path, shard_size=1000)
        with pytest.raises(StorageError, match="No space left on device") as error:
            get(store, samples=numbers(3000))
        assert "free space" in error.value.hint
        (entry,) = features.entries(tmp_path)
        assert entry.state == "partial"
        assert not list(entry.folder.glob(".*"))  # no half-written file
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_root_that_is_no_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot lock .*file"):
        get(FeatureStore(tmp_path / "file"))


def test_rows_that_are_not_finite_name_the_sample(tmp_path):
    samples = Samples(("small", "huge"), np.zeros(2, int), [np.array([1]), np.array([70000])])
    with pytest.raises(UserError, match="'huge' are not finite in float16"):
        get(FeatureStore(tmp_path, dtype="float16"), samples=samples)


def test_no_samples_are_refused(store):
    with pytest.raises(UserError, match="toy-set-train has no samples"):
        get(store, samples=numbers().select([]))


def test_names_cannot_leave_the_root(store):
    get(store, Counting(name="../../outside"))
    assert {path.name for path in store.root.parent.iterdir()} == {"cache"}


def test_default_root_is_the_variable_or_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path))
    assert features.default_root() == tmp_path
    monkeypatch.delenv("UMLBENCH_CACHE")
    assert features.default_root().parts[-2:] == ("umlbench", "features")
