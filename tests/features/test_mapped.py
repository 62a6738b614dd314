"""Entries of tokens: the guarantees of vectors, and rows that stay on disk until asked for."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from umlbench import features
from umlbench.data.samples import Samples
from umlbench.encoders.tokens import Ragged
from umlbench.errors import StorageError, UserError
from umlbench.features import FeatureStore
from umlbench.features.mapped import MappedRows
from umlbench.seeds import digest

WIDTH = 3
LENGTHS = (1, 5, 2, 1, 1, 7, 3, 1, 4, 6)


@dataclass
class Counting:
    """As many rows an item as LENGTHS says, all different; may fail at one batch."""

    name: str = "lab/tokens"
    modality: str = "text"
    width: int = WIDTH
    fail_at: int | None = None
    calls: list = field(default_factory=list)

    def key(self):
        return {"library": "tests", "name": self.name, "tokens": "states"}

    def encode(self, items, tick=lambda count: None):
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append([int(item[0]) for item in items])
        lengths = np.array([LENGTHS[int(item[0])] for item in items])
        return Ragged(np.concatenate([block(int(item[0])) for item in items]), lengths)


@dataclass
class Constant:
    """An item's number, as often as `rows` and `width` say; vectors without `rows`."""

    width: int = WIDTH
    rows: int | None = 2
    name: str = "eyes"
    modality: str = "image"

    def key(self):
        return {"name": self.name, **({"tokens": "patches"} if self.rows else {})}

    def encode(self, items, tick=None):
        numbers = np.repeat([float(item[0]) for item in items], self.rows or 1)
        values = np.repeat(numbers[:, None], self.width, axis=1).astype(np.float32)
        return Ragged(values, np.full(len(items), self.rows)) if self.rows else values


def block(sample):
    """What the encoder gives of one sample."""
    rows = np.arange(LENGTHS[sample] * WIDTH, dtype=np.float32).reshape(-1, WIDTH)
    return (rows / 7 + 100 * sample).astype(np.float32)


def numbers(count=10):
    ids = tuple(f"img/{row}" for row in range(count))
    return Samples(ids, np.arange(count) % 3, [np.array([row]) for row in range(count)])


def get(store, encoder=None, samples=None, **options):
    samples = numbers() if samples is None else samples
    return store.sequences(encoder or Counting(), samples, dataset="toy", split="train", **options)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "cache", shard_size=4)


def folder_of(store):
    return next(store.root.glob("*/*/*"))


def flip(path, position):
    body = bytearray(path.read_bytes())
    body[position] ^= 4
    path.write_bytes(body)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_round_trip(tmp_path, dtype):
    store, encoder = FeatureStore(tmp_path, dtype=dtype, shard_size=4), Counting()
    first, second = get(store, encoder), get(store, encoder, verify=True)
    assert encoder.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    expected = np.concatenate([block(sample) for sample in range(10)])
    expected = torch.from_numpy(expected).to(getattr(torch, dtype)).float().numpy()
    for found in (first, second):
        assert found.lengths.tolist() == list(LENGTHS)
        assert found.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
        assert (found.ids, found.width) == (numbers().ids, WIDTH)
        assert np.array_equal(np.asarray(found.values), expected)
        assert found.values[3:20].dtype == found.padded([2]).dtype == np.float32


def test_vectors_and_tokens_are_read_by_their_own_names(store):
    with pytest.raises(TypeError, match="read with `sequences`"):
        store.get(Counting(), numbers(), dataset="toy", split="train")
    vectors = Counting()
    vectors.key = lambda: {"library": "tests"}
    with pytest.raises(TypeError, match="`get` reads vectors"):
        get(store, vectors)
    assert features.entries(store.root) == []


@given(
    chosen=st.lists(st.integers(0, 9), max_size=12),
    shard_size=st.integers(1, 11),
    span=st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
)
def test_any_selection_from_any_shards_is_the_direct_one(
    tmp_path_factory, chosen, shard_size, span
):
    root = tmp_path_factory.getbasetemp() / f"shards-{shard_size}"
    found = get(FeatureStore(root, shard_size=shard_size))
    padded = found.padded(chosen)
    longest = max((LENGTHS[row] for row in chosen), default=0)
    assert padded.shape == (len(chosen), longest, WIDTH)
    for place, row in enumerate(chosen):
        assert np.array_equal(padded[place, : LENGTHS[row]], block(row))
        assert not padded[place, LENGTHS[row] :].any()
    whole = np.concatenate([block(sample) for sample in range(10)])
    assert np.array_equal(found.values[slice(*span)], whole[slice(*span)])


def test_mapped_rows_are_sliced_and_nothing_else(store):
    values = get(store).values
    assert (values.shape, values.ndim, len(values)) == ((31, WIDTH), 2, 31)
    for other in (3, [1, 2], slice(0, 9, 2), (slice(None), 0)):
        with pytest.raises(TypeError, match="by slices start:stop"):
            values[other]
    assert np.asarray(values, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        values[0:2][:] = 0


def test_a_kill_costs_one_shard(store):
    with pytest.raises(KeyboardInterrupt):
        get(store, Counting(fail_at=2))
    assert [entry.state for entry in features.entries(store.root)] == ["partial"]
    again = Counting()
    found = get(store, again)
    assert again.calls == [[8, 9]]
    whole = get(FeatureStore(store.root.parent / "unbroken", shard_size=4))
    assert np.array_equal(np.asarray(found.values), np.asarray(whole.values))
    assert found.starts.tolist() == whole.starts.tolist()
    assert features.verify(store.root) == []


@pytest.mark.parametrize("name", ["meta.json", *(f"shard-0000{i}.safetensors" for i in range(3))])
def test_one_flipped_bit_is_found_and_pruned(store, name):
    get(store)
    path = folder_of(store) / name
    flip(path, path.stat().st_size // 2 if name == "meta.json" else -1)
    assert [Path(problem.file).name for problem in features.verify(store.root)] == [name]
    with pytest.raises(StorageError, match=name):
        get(store, verify=True)
    assert [entry.state for entry in features.prune(store.root).entries] == ["broken"]
    again = Counting()
    get(store, again, verify=True)
    assert len(again.calls) == 3


def test_a_torn_or_foreign_shard_is_one_clear_line(store):
    get(store)
    path = folder_of(store) / "shard-00001.safetensors"
    body = path.read_bytes()
    for wrong, message in (
        (body[:-1], f"has {len(body) - 1} bytes, not {len(body)}"),
        (b"x" * len(body), "is not a safetensors file with tokens"),
        (body.replace(b'"lengths"', b'"breadth"'), "is not a safetensors file with tokens"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(StorageError, match=message):
            get(store)
    path.unlink()
    with pytest.raises(StorageError, match=r"cannot read .*shard-00001"):
        get(store)


def test_shards_of_tokens_hold_fewer_samples(tmp_path):
    get(FeatureStore(tmp_path), Constant(), numbers(257))
    vectors = Constant(rows=None)
    FeatureStore(tmp_path).make(vectors, numbers(257), dataset="toy", split="train")
    shards = {
        e.tokens: len(list(e.folder.glob("*.safetensors"))) for e in features.entries(tmp_path)
    }
    assert shards == {2 * 257: 2, None: 1}


def test_entries_say_how_many_tokens_they_hold(store):
    get(store)
    (entry,) = features.entries(store.root)
    assert (entry.items, entry.width, entry.tokens, entry.dtype) == (10, WIDTH, 31, "float32")
    assert entry.plain()["tokens"] == sum(LENGTHS)


def test_a_vector_entry_is_sealed_as_before_there_were_tokens(tmp_path):
    """A cache made by version 0.1 stays valid."""
    vectors = Counting()
    vectors.key = lambda: {"library": "tests", "model_type": None}
    vectors.encode = lambda items, tick: np.ones((len(items), WIDTH), np.float32)
    FeatureStore(tmp_path).make(vectors, numbers(), dataset="toy", split="train")
    path = next(tmp_path.glob("*/*/*/meta.json"))
    meta = json.loads(path.read_text())
    for shard in meta["shards"]:
        assert shard.pop("tokens") is None
    check = meta.pop("check")
    assert check == digest(meta, length=64)
    path.write_text(json.dumps({**meta, "check": check}))
    assert [entry.state for entry in features.entries(tmp_path)] == ["done"]


@pytest.mark.parametrize(
    ("values", "lengths"),
    [
        (np.ones((4, WIDTH)), [2, 2]),  # of three samples
        (np.ones((4, WIDTH)), [2, 2, 0]),
        (np.ones((4, WIDTH)), [1, 1, 1]),
        (np.ones((4, WIDTH + 1)), [2, 1, 1]),
    ],
)
def test_rows_that_belong_to_no_sample_are_a_bug_of_the_encoder(store, values, lengths):
    wrong = Counting()
    wrong.encode = lambda items, tick: Ragged(values.astype(np.float32), np.array(lengths))
    with pytest.raises(ValueError, match=r"gave .*, not 3 samples of width 3"):
        get(store, wrong, numbers(3))


def test_a_token_that_is_not_finite_names_its_sample(tmp_path):
    broken = Counting()
    values = np.array([1, 2, 3, 70000, 5, 6], np.float32)[:, None].repeat(WIDTH, 1)
    broken.encode = lambda items, tick: Ragged(values, np.array([2, 1, 1, 2]))
    with pytest.raises(UserError, match="'img/2' are not finite in float16"):
        get(FeatureStore(tmp_path, dtype="float16"), broken, numbers(4))


WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_mapped import Counting, get
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
    assert np.array_equal(found.padded([7])[0], block(7))


def memory():
    """Bytes of this process that are no pages of a file, which the system may drop again."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_reading_loads_no_more_than_what_is_asked_for(tmp_path):
    """Eight shards of 16 MB, of which a batch touches 2 MB."""
    store, samples = FeatureStore(tmp_path, shard_size=64), numbers(512)
    photos = Constant(width=512, rows=128)
    store.make(photos, samples, dataset="toy", split="train")
    before = memory()
    found = get(store, photos, samples)
    batch = found.padded([0, 63, 64, 200, 301, 402, 448, 511])
    assert batch[:, 0, 0].tolist() == [0, 63, 64, 200, 301, 402, 448, 511]
    size = sum(path.stat().st_size for path in folder_of(store).glob("*.safetensors"))
    assert size > 128e6
    assert memory() - before < 0.1 * size
    assert isinstance(found.values, MappedRows)
