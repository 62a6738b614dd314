"""CLAP through transformers' own classes, tiny and random."""

import json

import numpy as np
import pytest
import soundfile
import torch

from umlbench import encoders
from umlbench.encoders.sounds import Form
from umlbench.encoders.text import import_transformers
from umlbench.errors import MissingInput, UserError


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 9000)
    tone = 0.5 * np.sin(np.arange(9000) * 0.3)
    paths = [folder / f"{number}.wav" for number in range(3)]
    for path, wave in zip(paths, (noise, tone, tone[:2000]), strict=True):
        soundfile.write(path, wave, 16000)
    return paths


def save(folder, fusion=False):
    transformers = import_transformers()
    audio = {
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "enable_fusion": fusion,
        "fusion_type": "aff_2d" if fusion else None,
    }
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    model = transformers.ClapModel(config).eval()
    stream = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=stream)
    model.save_pretrained(folder)
    truncation = "fusion" if fusion else "rand_trunc"
    transformers.ClapFeatureExtractor(truncation=truncation).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save(folder / "encoders" / "clap-tiny")
    save(folder / "encoders" / "clap-fused", fusion=True)
    return folder


def own_features(folder, paths):
    """`ClapModel.get_audio_features` of transformers, all clips at once."""
    transformers = import_transformers()
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    waves = [Form(48000).read(path) for path in paths]
    inputs = extractor(waves, sampling_rate=48000, return_tensors="pt")
    with torch.inference_mode():
        found = model.get_audio_features(inputs["input_features"], torch.zeros(len(paths), 1) > 0)
    return getattr(found, "pooler_output", found).numpy()


@pytest.mark.parametrize("name", ["clap-tiny", "clap-fused"])
def test_rows_are_transformers_own_audio_features(root, clips, name):
    encoder = encoders.load(name, root=root, offline=True)
    rows = encoder.encode(clips)
    assert (rows.shape, rows.dtype, encoder.width) == ((3, 12), np.float32, 12)
    assert np.allclose(rows, own_features(root / "encoders" / name, clips), atol=1e-5)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    alone = np.concatenate([encoder.encode([path]) for path in clips])
    assert np.allclose(alone, rows, atol=1e-5)


def test_half_precision_and_the_key(root, clips):
    def load(**options):
        return encoders.load("clap-tiny", root=root, **options)

    half = load(dtype="bfloat16").encode(clips)
    assert 0 < np.abs(half - load().encode(clips)).max() < 0.1
    key = json.dumps(load().key(), sort_keys=True)
    same = load(batch_norm="eval", device="cuda", modality="audio")
    assert key == json.dumps(same.key(), sort_keys=True)
    assert key != json.dumps(load(dtype="bfloat16").key(), sort_keys=True)
    assert load().key()["sound"]["rate"] == 48000


def test_other_models_and_lengths_are_refused(root, clips, tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="audio encoder 'bert' is a 'bert', and no CLAP"):
        encoders.load(str(tmp_path / "bert"), modality="audio")
    with pytest.raises(MissingInput, match="weights of encoder 'laion/clap-htsat-unfused' not"):
        encoders.load("laion/clap-htsat-unfused", root=tmp_path, offline=True)
    folder = save(tmp_path / "clap-short")
    extractor = import_transformers().ClapFeatureExtractor(max_length_s=4)
    extractor.save_pretrained(folder)
    with pytest.raises(UserError, match="'clap-short' hears 4 s at 48000 Hz"):
        encoders.load(str(folder), modality="audio").encode(clips)


def test_incomplete_weights_are_not_filled_with_random_ones(root, clips, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path / "clap-half")
    weights = load_file(folder / "model.safetensors")
    del weights["audio_projection.linear1.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"weights lack 1, first 'audio_projection.linear1.weight'"):
        encoders.load(str(folder), modality="audio").encode(clips)
