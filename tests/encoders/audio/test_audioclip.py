"""The checkpoint, its keys, and batches whose clips depend on each other; with a tiny tower."""

import json
import pickle

import generated_tower
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from umlbench import encoders
from umlbench.data.samples import Samples
from umlbench.encoders.audio import encoder as shared
from umlbench.encoders.audio import fbsp, tower
from umlbench.encoders.audio.audioclip import load_tower, read_state
from umlbench.encoders.sounds import Form
from umlbench.errors import MissingInput, UserError
from umlbench.features import FeatureStore

TINY = tower.Shape(blocks=(1, 1, 1, 1), stem=8, groups=2, group_width=4, embedding=16)


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setattr(tower, "SHAPE", TINY)
    monkeypatch.setattr(shared, "workers_for", lambda device: 0)
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def state():
    return generated_tower.state(TINY)


@pytest.fixture
def root(tmp_path, state):
    """A data root with a whole AudioCLIP checkpoint under its published name."""
    whole = {f"audio.{key}": value for key, value in state.items()}
    whole |= {"visual.conv1.weight": torch.zeros(2), "logit_scale": torch.tensor(1.0)}
    (tmp_path / "esc-50").mkdir()
    torch.save(whole, tmp_path / "esc-50" / "AudioCLIP-Partial-Training.pt")
    return tmp_path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    stream = np.random.default_rng(0)
    paths = [folder / f"{number}.wav" for number in range(13)]
    for number, path in enumerate(paths):
        tone = np.sin(np.arange(4000) * 0.05 * (number + 1))
        soundfile.write(path, 0.3 * tone + 0.1 * stream.standard_normal(4000), 44100)
    return paths


@pytest.fixture
def quick(monkeypatch):
    """A spectrogram in name only: these tests are about batches."""

    def fold(self, waves):
        return waves[:, : 3 * 64 * 64].reshape(-1, 3, 64, 64) * 1e4

    monkeypatch.setattr(tower.Tower, "spectrogram", fold)


def by_hand(state, paths, sizes, mode):
    """Rows of one batch after another."""
    made = load_tower(state, "by hand").train(mode == "train")
    waves = torch.from_numpy(np.stack([Form().read(path) for path in paths]))
    with torch.inference_mode():
        return torch.cat([made(fbsp.scaled(part)) for part in waves.split(sizes)]).numpy()


def test_the_whole_way_from_files_to_rows(root, state, clips):
    for mode in ("train", "eval"):
        encoder = encoders.load("audioclip", root=root, batch_norm=mode)
        rows = encoder.encode(clips[:2])
        assert (rows.shape, rows.dtype, encoder.width) == ((2, 16), np.float32, 16)
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        assert np.array_equal(rows, by_hand(state, clips[:2], [2], mode))
    assert encoder.encode([]).shape == (0, 16)


def test_train_mode_takes_tens_in_order(root, state, clips, quick):
    encoder = encoders.load("audioclip", root=root)
    ticks = []
    rows = encoder.encode(clips, ticks.append)
    assert ticks == [10, 3]
    assert np.array_equal(rows, by_hand(state, clips, [10, 3], "train"))
    assert np.array_equal(encoder.encode(clips), rows)  # running statistics did not move
    other = encoder.encode(clips[::-1])[::-1]
    assert np.abs(other - rows).max() > 1e-3
    assert np.allclose(encoder.encode(clips[:9:-1])[::-1], rows[10:], atol=1e-6)


def test_eval_mode_gives_each_clip_its_own_row(root, state, clips, quick):
    encoder = encoders.load("audioclip", root=root, batch_norm="eval")
    rows = encoder.encode(clips)
    assert np.allclose(rows, by_hand(state, clips, [1] * 13, "eval"), atol=1e-6)
    assert np.allclose(encoder.encode(clips[::-1])[::-1], rows, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-4


def test_a_clip_without_a_batch_mate_is_named(root, clips, quick):
    encoder = encoders.load("audioclip", root=root)
    with pytest.raises(UserError, match=r"11 clips leave '.*10.wav' alone in the last batch of 10"):
        encoder.encode(clips[:11])
    assert encoders.load("audioclip", root=root, batch_norm="eval").encode(clips[:1]).shape[0] == 1


def test_a_batch_with_its_own_statistics_is_never_halved(root, clips, quick, monkeypatch):
    real = tower.Tower.network

    def small(self, decibels):
        if len(decibels) > 2:
            raise RuntimeError("CUDA out of memory")
        return real(self, decibels)

    monkeypatch.setattr(tower.Tower, "network", small)
    with pytest.raises(UserError, match="a batch of 10 does not fit into the memory of cpu") as e:
        encoders.load("audioclip", root=root).encode(clips)
    assert "batch_norm: eval" in e.value.hint
    encoder = encoders.load("audioclip", root=root, batch_norm="eval")
    assert encoder.encode(clips).shape == (13, 16)
    assert encoder.batches.size == 2


def test_shards_end_where_batches_end(root, clips, quick, tmp_path):
    samples = Samples(tuple(p.name for p in clips), np.zeros(13, int), clips, lambda x: ["0"] * 13)
    encoder = encoders.load("audioclip", root=root)
    for size in (4, 12, 4096):
        store = FeatureStore(tmp_path / str(size), shard_size=size)
        found = store.get(encoder, samples, dataset="toy", split="fold1")
        assert np.array_equal(found.x.numpy(), encoder.encode(clips))
        shards = list((tmp_path / str(size)).rglob("shard-*.safetensors"))
        assert len(shards) == (1 if size == 4096 else 2)


def test_the_key_says_how_clips_share_statistics(root):
    def key(**options):
        return json.dumps(encoders.load("audioclip", root=root, **options).key(), sort_keys=True)

    train, own = key(), key(batch_norm="eval")
    assert train == key(device="cuda") == key(modality="audio") == key(transform="native")
    assert train != own
    assert '"batch": 10, "batch_norm": "train"' in train
    assert '"batch"' not in own
    assert str(root) not in train
    before = train
    file = root / "esc-50" / "AudioCLIP-Partial-Training.pt"
    torch.save(torch.load(file) | {"logit_scale": torch.tensor(2.0)}, file)
    assert key() != before


def test_a_file_of_the_tower_alone(root, state, clips, tmp_path, quick):
    expected = encoders.load("audioclip", root=root).encode(clips[:3])
    torch.save(state, tmp_path / "ESRNXFBSP.pt")
    spare = {key: value for key, value in state.items() if key != "fbsp.bias"}
    save_file(spare, tmp_path / "tower.safetensors")
    for name in ("ESRNXFBSP.pt", "tower.safetensors"):
        encoder = encoders.load(f"audioclip@{tmp_path / name}")
        assert np.array_equal(encoder.encode(clips[:3]), expected)
    state["fc.weight"], state["fc.bias"] = torch.ones(5, 64 * 4), torch.zeros(5)
    torch.save(state, tmp_path / "ESRNXFBSP.pt")
    assert encoders.load(f"audioclip@{tmp_path / 'ESRNXFBSP.pt'}").width == 5


def test_files_can_be_read_by_other_processes(root):
    encoder = encoders.load("audioclip", root=root)
    transform, read = pickle.loads(pickle.dumps((encoder._transform, encoder.form.read)))
    assert (transform, read.__self__) == (encoder._transform, encoder.form)


def test_legacy_archives_are_read_too(state, tmp_path):
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_state(tmp_path / "old.pt").keys() == state.keys()


def test_keys_that_do_not_fit_are_named(state):
    state["layer9.weight"] = state.pop("layer2.0.bn1.bias")
    state["conv1.weight"] = torch.zeros(8, 1, 7, 7)
    with pytest.raises(UserError) as error:
        load_tower(state, "some.pt")
    assert error.value.message == (
        "encoder 'audioclip': some.pt does not fit AudioCLIP's audio tower: it lacks "
        "layer2.0.bn1.bias; it has the unknown layer9.weight; it has conv1.weight [8, 1, 7, 7] "
        "instead of [8, 3, 7, 7]"
    )
    with pytest.raises(UserError, match=r"lacks att1.bn.bias, .* and \d+ more; it has the unknown"):
        load_tower({"visual.conv1.weight": torch.zeros(1)}, "CLIP.pt")


def test_every_published_key_is_one_of_the_tower():
    with torch.device("meta"):
        keys = tower.Tower(tower.Shape()).state_dict()
    assert len(keys) == 370
    assert sum(value.numel() for value in keys.values()) == 32_186_483


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (pickle.dumps({"a": Evil()}, protocol=2), "is no state dict"),
        (b"", "is no state dict"),
        (b"PK\x03\x04 torn", "is no state dict"),
        (b"words", "is no state dict"),
    ],
)
def test_files_that_are_no_state_dict(tmp_path, clips, body, what, capsys):
    (tmp_path / "some.pt").write_bytes(body)
    with pytest.raises(UserError, match=f"some.pt {what}"):
        encoders.load(f"audioclip@{tmp_path / 'some.pt'}").encode(clips)
    assert capsys.readouterr().out == ""


def test_code_in_a_checkpoint_is_never_run(tmp_path, capsys):
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil.pt is no state dict: .*[Ww]eights"):
        read_state(tmp_path / "evil.pt")
    torch.save({"fc.weight": 3}, tmp_path / "number.pt")
    with pytest.raises(UserError, match="1 of its values are no tensors"):
        read_state(tmp_path / "number.pt")
    assert capsys.readouterr().out == ""


def test_absent_weights_say_where_they_are_published(tmp_path):
    with pytest.raises(MissingInput) as error:
        encoders.load("audioclip", root=tmp_path)
    assert "esc-50/AudioCLIP-Partial-Training.pt" in error.value.message
    for part in ("AndreyGuzhov/AudioCLIP", "1921885b6c3b", "537 MB", "MIT", "audioclip@PATH"):
        assert part in error.value.hint


def test_prepare_finds_a_torn_checkpoint(root):
    weights = encoders.load("audioclip", root=root).weights
    assert list(weights.faults()) == []
    file = root / "esc-50" / "AudioCLIP-Partial-Training.pt"
    file.write_bytes(file.read_bytes()[:-100])
    assert [fault.endswith("is no whole archive") for fault in weights.faults()] == [True]


def test_only_float32_and_known_modes(root):
    with pytest.raises(UserError, match="computes in float32 only"):
        encoders.load("audioclip", root=root, dtype="float16")
    with pytest.raises(UserError, match="unknown batch_norm 'training', did you mean 'train'"):
        encoders.load("audioclip", root=root, batch_norm="training")
