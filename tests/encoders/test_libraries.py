"""Encoders of timm, open_clip and transformers: real classes, tiny or published weights.

One file, because each process that imports the three libraries pays seconds for it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from umlbench import encoders
from umlbench.data.samples import Samples
from umlbench.encoders import images
from umlbench.encoders.clip import import_open_clip
from umlbench.encoders.text import import_transformers
from umlbench.encoders.vision import import_timm
from umlbench.errors import MissingInput, UserError

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MARKS = (pytest.mark.real, pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside"))


def real(test):
    for mark in MARKS:
        test = mark(test)
    return test


def random_state(model, seed=0):
    """Random weights that no initialisation would give, so that every tensor counts."""
    stream = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=stream) * 0.2
            state[name] = noise.abs() + 0.5 if "var" in name else noise
    return {name: value.contiguous() for name, value in state.items()}


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "encoders").mkdir()
    return folder


def photo(seed, size=(260, 230)):
    stream = np.random.default_rng(seed)
    small = stream.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        photo(seed, (240 + 30 * seed, 300 - 25 * seed)).save(path)
    return paths


def by_hand(path):
    """The paper's transform from its description; (3, 224, 224)."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize(
        (int(224 * width / short), int(224 * height / short)), Image.Resampling.BICUBIC
    )
    left, top = (round((side - 224) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    scaled = (pixels - np.float32(images.CLIP["mean"])) / np.float32(images.CLIP["std"])
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)


def pixels_of(paths):
    return torch.stack([by_hand(path) for path in paths])


# timm

TINY = {"model_name": "vit_small_patch14_dinov2", "embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="session")
def vit(root):
    """A DINOv2 made at 518 pixels, as its published weights are."""
    arguments = {k: v for k, v in TINY.items() if k != "model_name"}
    model = import_timm().create_model(TINY["model_name"], num_classes=0, **arguments)
    save_file(random_state(model), root / "encoders" / "tiny-vit.safetensors")
    (root / "encoders" / "tiny-vit.json").write_text(json.dumps(TINY))
    return "tiny-vit"


def test_the_paper_s_transform_is_the_one_described(photos):
    transform = images.clip_transform()
    for path in photos:
        found = transform(Image.open(path).convert("RGB"))
        assert torch.allclose(found, by_hand(path), atol=1e-6)


def test_vit_is_the_class_token_at_224_with_resampled_positions(root, vit, photos):
    from timm.layers import resample_abs_pos_embed

    encoder = encoders.load(vit, root=root, offline=True)
    assert encoder.width == 24
    rows = encoder.encode(photos)
    assert (rows.shape, rows.dtype) == ((3, 24), np.float32)
    state = load_file(root / "encoders" / "tiny-vit.safetensors")
    assert state["pos_embed"].shape == (1, 37 * 37 + 1, 24)
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], (16, 16), num_prefix_tokens=1)
    arguments = {k: v for k, v in TINY.items() if k != "model_name"}
    model = import_timm().create_model(TINY["model_name"], num_classes=0, img_size=224, **arguments)
    model.load_state_dict(state)
    with torch.inference_mode():
        tokens = model.eval().forward_features(pixels_of(photos))
    assert tokens.shape == (3, 257, 24)
    assert np.allclose(rows, tokens[:, 0].numpy(), atol=2e-5)


@pytest.fixture(scope="session")
def mobilenet(root):
    model = import_timm().create_model("mobilenetv2_035")
    save_file(random_state(model), root / "encoders" / "mobilenetv2_035.safetensors")
    return "mobilenetv2_035"


def test_a_convolutional_model_gives_its_pooled_feature(root, mobilenet, photos):
    encoder = encoders.load(mobilenet, root=root, offline=True)
    rows = encoder.encode(photos)
    assert rows.shape == (3, encoder.width) == (3, 1280)
    model = import_timm().create_model(mobilenet)
    model.load_state_dict(load_file(root / "encoders" / f"{mobilenet}.safetensors"))
    with torch.inference_mode():
        maps = model.eval().forward_features(pixels_of(photos))
    expected = maps.mean((2, 3)).numpy()
    assert np.allclose(rows, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_native_is_timm_s_own_transform_at_224(root, mobilenet, vit, photos):
    from timm.data import create_transform

    own = encoders.load(mobilenet, root=root, transform="native")
    config = own.key()["transform"]
    assert (config["input_size"], config["crop_pct"]) == ([3, 224, 224], 0.875)
    for path in photos:
        image = Image.open(path)
        made = create_transform(
            (3, 224, 224),
            interpolation="bicubic",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            crop_pct=0.875,
        )
        assert torch.equal(own._transform(image), made(image))
    dino = encoders.load(vit, root=root, transform="native")
    assert dino.key()["transform"]["input_size"] == [3, 224, 224]
    assert not np.allclose(dino.encode(photos), encoders.load(vit, root=root).encode(photos))


def test_the_key_follows_weights_transform_and_dtype_only(root, vit, mobilenet):
    def key(name=vit, **options):
        return json.dumps(encoders.load(name, root=root, **options).key(), sort_keys=True)

    base = key()
    assert base == key(device="cuda") == key(modality="image") == key(offline=True)
    state = load_file(root / "encoders" / "tiny-vit.safetensors")
    state["norm.bias"] += 1e-3
    save_file(state, root / "encoders" / "other.safetensors")
    (root / "encoders" / "other.json").write_text(json.dumps(TINY))
    keys = {
        base,
        key("other"),
        key(mobilenet),
        key(transform="native"),
        key(dtype="bfloat16"),
        key(dtype="float16"),
    }
    assert len(keys) == 6
    assert str(root) not in "".join(keys)


def test_batches_and_half_precision_change_rounding_only(root, vit, photos):
    encoder = encoders.load(vit, root=root)
    together = encoder.encode(photos)
    alone = np.concatenate([encoder.encode([path]) for path in photos])
    assert np.abs(together - alone).max() <= 1e-5 * np.abs(together).max()
    half = encoders.load(vit, root=root, dtype="bfloat16").encode(photos)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - together).max() < 0.1 * np.abs(together).max()


def test_decoding_in_workers_gives_the_same_rows(root, vit, photos, monkeypatch):
    encoder = encoders.load(vit, root=root)
    encoder.batches.size = 1
    ticks = []
    expected = encoder.encode(photos, ticks.append)
    assert ticks == [1, 1, 1]
    monkeypatch.setattr(images, "workers_for", lambda device: 2)
    assert np.array_equal(encoder.encode(photos), expected)
    arrays = [np.asarray(Image.open(path)) for path in photos]
    assert np.array_equal(encoder.encode(arrays), expected)
    assert encoder.encode([]).shape == (0, 24)


def test_workers_follow_the_device_and_its_threads(monkeypatch):
    monkeypatch.setattr(images.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert images.workers_for("cuda:1") == 16
    for threads, workers in ((1, 0), (2, 1), (4, 1), (16, 3)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert images.workers_for("cpu") == workers


@pytest.mark.parametrize("workers", [0, 1])
def test_every_broken_image_is_named_at_once(root, vit, photos, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(images, "workers_for", lambda device: workers)
    photo(5).save(tmp_path / "torn.jpg")
    whole = (tmp_path / "torn.jpg").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.png").write_text("no picture")
    broken = [tmp_path / "torn.jpg", tmp_path / "words.png", tmp_path / "absent.jpg"]
    encoder = encoders.load(vit, root=root)
    encoder.batches.size = 2
    with pytest.raises(UserError) as error:
        encoder.encode([broken[0], *photos, *broken[1:]])
    assert error.value.message.startswith("3 broken image(s)")
    assert all(str(path) in error.value.message for path in broken)


def test_too_large_a_batch_is_halved(root, vit, photos):
    encoder = encoders.load(vit, root=root)
    expected = encoder.encode(photos)

    def small(pixels, model=encoder._model):
        if len(pixels) > 1:
            raise RuntimeError("CUDA out of memory")
        return model(pixels)

    encoder.__dict__["_model"] = small
    assert np.allclose(encoder.encode(photos), expected, atol=1e-5)
    assert encoder.batches.size == 1


def test_weights_of_another_architecture_are_explained(root, vit, tmp_path):
    path = tmp_path / "unnamed.safetensors"
    path.write_bytes((root / "encoders" / "tiny-vit.safetensors").read_bytes())
    encoder = encoders.load(f"vit_tiny_patch16_224@{path}", modality="image")
    with pytest.raises(UserError, match="weights do not fit vit_tiny_patch16_224"):
        encoder.encode([np.zeros((8, 8, 3), np.uint8)])


def test_names_that_timm_has_not(root):
    with pytest.raises(UserError, match="unknown encoder 'mobilnetv2_100', did you mean"):
        encoders.load("mobilnetv2_100", root=root, offline=True)
    with pytest.raises(MissingInput, match="weights of encoder 'resnet18' not found"):
        encoders.load("resnet18", root=root, offline=True)


# open_clip

TOWERS = {
    "tiny-RN": {"layers": [1, 1, 1, 1], "width": 8},
    "tiny-ViT": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 32},
}
LINES = ["a photo of a cat.", "two dogs, on a sofa", "x"]


@pytest.fixture(scope="session")
def clips(root):
    open_clip = import_open_clip()
    for name, tower in TOWERS.items():
        text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        vision = {"image_size": 224, **tower}
        file = root / f"{name}.json"
        file.write_text(json.dumps({"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}))
        open_clip.add_model_config(file)
        model = open_clip.create_model(name, load_weights=False, force_quick_gelu=True)
        save_file(random_state(model), root / "encoders" / f"clip-{name}.safetensors")
    return open_clip


@pytest.mark.parametrize("name", TOWERS)
def test_clip_towers_are_encode_image_and_encode_text(root, clips, photos, name):
    model = clips.create_model(name, load_weights=False, force_quick_gelu=True)
    model.load_state_dict(load_file(root / "encoders" / f"clip-{name}.safetensors"))
    with torch.inference_mode():
        image = model.eval().encode_image(pixels_of(photos)).numpy()
        text = model.encode_text(clips.get_tokenizer(name)(LINES)).numpy()
    vision = encoders.load(f"clip:{name}", modality="image", root=root, offline=True)
    words = encoders.load(f"clip:{name}", modality="text", root=root, offline=True)
    assert vision.width == words.width == 12
    assert np.allclose(vision.encode(photos), image, atol=1e-5 * np.abs(image).max())
    assert np.allclose(words.encode(LINES), text, atol=1e-5 * np.abs(text).max())
    assert (vision.key()["quick_gelu"], words.key()["quick_gelu"]) == (True, True)
    assert vision.key() != words.key()


def test_clip_prompts_beyond_77_tokens_are_an_error(root, clips):
    words = encoders.load("clip:tiny-RN", modality="text", root=root)
    fits = "cat " * 75  # and the two marks
    assert words.encode([fits]).shape == (1, 12)
    with pytest.raises(UserError, match="reads 77 tokens; prompt is longer: cat cat"):
        words.encode(["short", fits + "cat"])


def test_clip_half_precision_and_towers(root, clips, photos):
    for modality, items in (("image", photos), ("text", LINES)):
        full = encoders.load("clip:tiny-ViT", modality=modality, root=root).encode(items)
        half = encoders.load("clip:tiny-ViT", modality=modality, root=root, dtype="bfloat16")
        assert 0 < np.abs(half.encode(items) - full).max() < 0.1 * np.abs(full).max()
    with pytest.raises(UserError, match="image and a text tower"):
        encoders.load("clip:tiny-ViT", root=root)
    with pytest.raises(UserError, match="unknown encoder 'clip:RN-50', did you mean 'clip:RN50"):
        encoders.load("clip:RN-50", modality="image", root=root)


# transformers

PROMPTS = [
    "a cat",
    "the small cat sat on a red mat and saw the dog",
    "dog",
    "a dog and a cat sat on the mat on the mat on the mat on the mat",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # RoBERTa's places


def tokenizer(kind):
    """Words of PROMPTS; marks around a sentence as each kind of model has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = [*SPECIAL, *sorted({word for line in PROMPTS for word in line.split()})]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"bert": "<s> $A </s>", "roberta": "<s> $A </s>", "llama": "<s> $A"}
    if kind in marks:
        made.post_processor = processors.TemplateProcessing(
            single=marks[kind], special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>" if kind in ("bert", "roberta") else None,
        model_max_length=32,
    )


def language_model(kind):
    transformers = import_transformers()
    marks = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "vocab_size": 24}
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "bert":
        return transformers.BertModel(
            transformers.BertConfig(**marks, **size, intermediate_size=32)
        )
    if kind == "roberta":
        config = transformers.RobertaConfig(
            **marks, **size, intermediate_size=32, max_position_embeddings=40
        )
        return transformers.RobertaForMaskedLM(config)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            **{**marks, "pad_token_id": None}, n_embd=16, n_layer=2, n_head=2, n_positions=40
        )
        return transformers.GPT2LMHeadModel(config)
    config = transformers.LlamaConfig(
        **{**marks, "pad_token_id": None}, **size, intermediate_size=32, num_key_value_heads=2
    )
    return transformers.LlamaForCausalLM(config)


KINDS = ("bert", "roberta", "gpt2", "llama")


@pytest.fixture(scope="session")
def language_models(root):
    for number, kind in enumerate(KINDS):
        model = language_model(kind)
        model.load_state_dict(random_state(model, number))
        model.save_pretrained(root / "encoders" / kind)
        tokenizer(kind).save_pretrained(root / "encoders" / kind)
    return {kind: root / "encoders" / kind for kind in KINDS}


def one_by_one(folder, kind, pooling):
    """Section 1.2 for a prompt at a time, without padding, by the classes of the release."""
    transformers = import_transformers()
    causal = kind in ("gpt2", "llama")
    auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    model = auto.from_pretrained(folder).eval()
    rows = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(kind)(prompt)["input_ids"]])
        with torch.inference_mode():
            hidden = model(ids, output_hidden_states=True).hidden_states[-1][0].numpy()
        rows.append(hidden[0] if pooling == "cls" else hidden.mean(0))
    return np.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_text_pooling_is_the_direct_computation(root, language_models, kind):
    encoder = encoders.load(kind, modality="text", root=root, offline=True)
    pooling = "mean" if kind in ("gpt2", "llama") else "cls"
    assert (encoder.key()["pooling"], encoder.width) == (pooling, 16)
    expected = one_by_one(language_models[kind], kind, pooling)
    rows = encoder.encode(PROMPTS)
    assert np.allclose(rows, expected, atol=1e-5)
    other = encoders.load(kind, root=root, pooling="mean_normalized").encode(PROMPTS)
    mean = one_by_one(language_models[kind], kind, "mean")
    assert np.allclose(other, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_order_change_rounding_only(root, language_models, kind):
    encoder = encoders.load(kind, modality="text", root=root)
    together = encoder.encode(PROMPTS)
    encoder.batches.size = 1
    alone = encoder.encode(PROMPTS[::-1])[::-1]
    assert np.abs(together - alone).max() <= 2e-6 * np.abs(together).max()


def test_begin_tokens_count_and_long_prompts_are_cut(root, language_models):
    encoder = encoders.load("llama", modality="text", root=root)
    assert encoder.tokens(["cat"])[0][0] == 0
    assert len(encoder.tokens(["cat " * 50])[0]) == 32
    with pytest.raises(UserError, match="no token in the prompt ''"):
        encoders.load("gpt2", modality="text", root=root).encode(["cat", ""])
    assert encoder.encode([]).shape == (0, 16)


def test_text_keys_follow_weights_pooling_and_dtype(root, language_models):
    def key(name="bert", **options):
        return json.dumps(encoders.load(name, modality="text", root=root, **options).key())

    keys = {key(), key("roberta"), key(pooling="mean"), key(dtype="bfloat16")}
    assert len(keys) == 4
    assert key() == key(pooling="cls") == key(device="cuda") == key(transform="native")
    assert str(root) not in "".join(keys)


def test_text_half_precision(root, language_models):
    full = encoders.load("llama", modality="text", root=root).encode(PROMPTS)
    half = encoders.load("llama", modality="text", root=root, dtype="bfloat16").encode(PROMPTS)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.1 * np.abs(full).max()


def test_incomplete_weights_are_not_filled_with_random_ones(root, language_models, tmp_path):
    for file in language_models["bert"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in state if "query.weight" in name)
    save_file({k: v for k, v in state.items() if k != gone}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="weights lack 1, first"):
        encoders.load(str(tmp_path), modality="text").encode(["cat"])


# Published weights


@real
@pytest.mark.parametrize(("transform", "first", "five"), [("native", 24, 26), ("clip", 19, 26)])
def test_mobilenet_recognises_imagenet_photos(transform, first, five):
    """Measured: 24 of 27 with its own transform; CLIP's statistics cost it five."""
    encoder = encoders.load("mobilenetv2_100", root=REAL, offline=True, transform=transform)
    files = sorted((REAL / "imagenet_esc_photos").glob("*.jpg"))
    state = load_file(REAL / "encoders" / "mobilenetv2_100.safetensors")
    weight, bias = (state[f"classifier.{part}"].float().numpy() for part in ("weight", "bias"))
    ranked = (-(encoder.encode(files) @ weight.T + bias)).argsort(1)
    labels = np.array([int(file.name.partition("_")[0]) for file in files])
    assert len(files) == 27
    assert (ranked[:, 0] == labels).sum() == first
    assert (ranked[:, :5] == labels[:, None]).any(1).sum() == five


@real
def test_minilm_puts_a_paraphrase_nearer_than_another_subject():
    encoder = encoders.load("all-MiniLM-L6-v2", root=REAL, offline=True)
    lines = [
        "A cat sits on the sofa.",
        "A kitten rests on a couch.",
        "The stock market fell today.",
    ]
    rows = encoder.encode(lines)
    assert rows.shape == (3, encoder.width) == (3, 384)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    near, far = rows[0] @ rows[1], rows[0] @ rows[2]
    assert (round(float(near), 2), round(float(far), 2)) == (0.77, 0.07)  # measured
    alone = np.concatenate([encoder.encode([line]) for line in lines])
    assert np.abs(alone - rows).max() < 1e-6  # measured: 1.3e-7


def test_photos_go_through_the_store_with_progress(root, vit, photos, tmp_path, monkeypatch):
    from umlbench.features import FeatureStore, store

    monkeypatch.setattr(store, "SAY_EVERY", 0)
    monkeypatch.setattr(Samples, "fingerprint", "f" * 32)  # photos' contents are the data's part
    samples = Samples(tuple(path.name for path in photos), np.zeros(3, int), photos)
    said = []
    cache = FeatureStore(tmp_path, shard_size=2)
    encoder = encoders.load(vit, root=root)
    found = cache.get(encoder, samples, dataset="toy", split="train", say=said.append)
    assert [line.split(",")[0] for line in said] == [
        "tiny-vit toy-train: 2 of 3 encoded",
        "tiny-vit toy-train: 3 of 3 encoded",
    ]
    assert np.allclose(found.x.numpy(), encoder.encode(photos), atol=1e-5)
    assert cache.has(encoder, samples, dataset="toy", split="train")
    assert not cache.has(encoder, samples.select([0]), dataset="toy", split="val")
