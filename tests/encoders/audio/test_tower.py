"""The tower against the published implementation, on generated weights (see tests/golden)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from generated_tower import bank
from torch.nn.functional import normalize

from umlbench.encoders.audio import fbsp
from umlbench.encoders.audio.audioclip import load_tower

TESTS = Path(__file__).parents[2]
GOLDEN = np.load(TESTS / "golden" / "audioclip.npz")
REFERENCE = TESTS.parents[1] / "shared" / "reference" / "audioclip" / "audioclip_golden.npz"


def real(test):
    skip = pytest.mark.skipif(not REFERENCE.is_file(), reason="no reference beside the checkout")
    return pytest.mark.real(skip(test))


@pytest.fixture(scope="module")
def reference():
    return np.load(REFERENCE)


@pytest.fixture
def build(published):
    """The tower of a case, in a mode and precision."""

    def make(case, mode="eval", dtype=torch.float32):
        weights = published | (bank() if case == "fbspN" else {})
        tower = load_tower(weights, "generated weights").to(dtype)
        return tower.settle().train(mode == "train")

    return make


def embed(tower, waves):
    """Of float64 samples where the tower is in float64: they are then not quantised."""
    with torch.inference_mode():
        return tower(fbsp.scaled(waves.to(tower.window.dtype))).numpy()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def one_minus_cosine(a, b):
    return (1 - (a.astype(np.float64) * b).sum(1)).max()


@pytest.mark.parametrize(("case", "bound"), [("base", 0), ("fbspN", 4e-9)])
def test_the_filter_bank_in_float32(build, case, bound):
    rows = torch.stack(build(case).fbsp.kernel(), -1)[[0, 1, 2, 511, 1022], ::16]
    expected = GOLDEN[f"{case}__fbsp_kernel_rows"]
    assert np.abs(rows.numpy() - expected).max() <= bound
    assert np.abs(expected).max() > 0.01


def test_scaling_quantises_as_published(waves):
    found = fbsp.scaled(waves).numpy()
    assert np.array_equal(found[:, 1000:1064], GOLDEN["base__scaled_head"])
    assert [len(np.unique(row)) for row in found] == [393, 186, 37]
    silence = fbsp.scaled(torch.tensor([0.0, 1 / 1024])).tolist()
    assert silence == [1.52587890625e-05] * 2


def test_frames_cover_five_seconds(waves):
    found = fbsp.frames(waves[:1], torch.ones(fbsp.WINDOW))
    assert found.shape == (1, 392, 2048)
    assert torch.equal(found[0, 0, 197 + 252 : -197], waves[0, : 1654 - 252])
    assert torch.equal(found[0, -1, 197 : -197 - 253], waves[0, -(1654 - 253) :])
    assert not found[0, 0, : 197 + 252].any()
    assert not found[0, -1, -197 - 253 :].any()


def test_decibels_of_nothing_are_the_floor(build):
    kernel = build("base").fbsp.kernel()
    found = fbsp.log_power(torch.zeros(1, 1, 2048), kernel)
    assert found.shape == (1, 3, 341, 1)
    assert torch.allclose(found, torch.tensor(-180.0))


def test_an_embedding_in_float64(build, waves):
    found = embed(build("fbspN", dtype=torch.float64), waves[:1].double())
    assert np.abs(found - unit(GOLDEN["fbspN__emb_eval_f64"])).max() < 1e-9


def test_batch_statistics_in_float32(build, waves):
    found = embed(build("base", "train"), waves)
    expected = GOLDEN["base__emb_train_norm"]
    assert one_minus_cosine(found, expected) < 1e-5
    assert one_minus_cosine(expected[:1], expected[1:2]) > 0.01  # which would tell clips apart


# The rest of the full reference; the goldens above are the two cases that are left out here. In
# evaluation mode a row is its own clip's, so one clip is enough.


@real
@pytest.mark.parametrize(
    ("case", "mode"), [("base", "eval"), ("base", "train"), ("fbspN", "train")]
)
def test_clips_in_float64(reference, build, waves, case, mode):
    clips = waves[:1] if mode == "eval" else waves
    found = embed(build(case, mode, torch.float64), clips.double())
    expected = unit(reference[f"{case}__emb_{mode}_f64"])[: len(clips)]
    assert np.abs(found - expected).max() < 1e-9


@real
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_the_network_alone(reference, build, mode, dtype, bound):
    noise = np.random.default_rng(77).standard_normal((3, 3, 341, 392))
    decibels = torch.from_numpy(np.float32(-120 + 20 * noise)).to(dtype)
    decibels = decibels[:1] if mode == "eval" else decibels
    tower = build("net", mode, dtype)
    with torch.inference_mode():
        found = normalize(tower.network(decibels), dim=1).numpy()
    suffix = "_f64" if dtype == torch.float64 else ""
    expected = unit(reference[f"net__emb_{mode}{suffix}"])[: len(decibels)]
    assert np.abs(found - expected).max() < bound


@real
@pytest.mark.parametrize(
    ("case", "mode"), [("base", "eval"), ("fbspN", "eval"), ("fbspN", "train")]
)
def test_clips_in_float32(reference, build, waves, case, mode):
    clips = waves[:1] if mode == "eval" else waves
    found = embed(build(case, mode), clips)
    expected = reference[f"{case}__emb_{mode}_norm"][: len(clips)]
    assert one_minus_cosine(found, expected) < 1e-5


@real
def test_padded_clips_in_float64(reference, build, waves):
    """Digital silence: its decibels are rounding noise, so float32 has nothing to compare."""
    clips = waves.double().clone()
    for clip, seconds in zip(clips, (2.0, 3.5, 4.0), strict=True):
        clip[int(seconds * 44100) :] = 0
    found = embed(build("padded", "train", torch.float64), clips)
    assert np.abs(found - unit(reference["padded__emb_train_f64"])).max() < 1e-7
