"""The layers of every kind of language model behind patches, each position seeing every other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from umlbench.encoders.text import import_transformers
from umlbench.errors import UserError
from umlbench.models.vision_from_text import Shape, Stack, VisionFromText, patches

WIDTH = 16
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 9}
INNER = {**SIZES, "intermediate_size": 24, "max_position_embeddings": 12}
KINDS = {
    "Bert": INNER,
    "Roberta": INNER,
    "Electra": {**INNER, "embedding_size": WIDTH},
    "DistilBert": {"dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 9},
    "GPT2": {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 12, "vocab_size": 9},
    "Llama": INNER,
    "Mistral": {**INNER, "num_key_value_heads": 1},
    "OPT": {**SIZES, "ffn_dim": 24, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 12},
}
CAUSAL = ("GPT2", "Llama", "Mistral", "OPT")


def language(kind, sizes=None):
    """A model with weights wide enough for every layer to matter."""
    transformers = import_transformers()
    config = getattr(transformers, f"{kind}Config")(**(sizes or KINDS[kind]), pad_token_id=1)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    stream = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=stream) * 0.3 + (
            parameter.ndim == 1
        )
    return model


def states(seed=0, count=7):
    return torch.randn(2, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def stack(kind, **how):
    return Stack(language(kind), **how).eval()


# Every position sees every other


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_output_hears_of_the_last_input_and_the_last_of_the_first(kind):
    one = stack(kind)
    for far, near in ((-1, 0), (0, -1)):
        changed = states()
        changed[:, far] = states(1)[:, far]
        with torch.no_grad():
            assert (one(states())[:, near] - one(changed)[:, near]).abs().min() > 1e-6


@pytest.mark.parametrize("kind", CAUSAL)
def test_the_models_themselves_only_look_back(kind):
    model, changed = language(kind), states()
    changed[:, -1] = states(1)[:, -1]
    with torch.no_grad():
        before, after = (
            model(inputs_embeds=x, use_cache=False).last_hidden_state for x in (states(), changed)
        )
    assert torch.equal(before[:, :-1], after[:, :-1])


class Back(nn.Module):
    """A layer whose outputs are means of what came before."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, attention_mask=None):
        counts = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.weight * x.cumsum(1) / counts


def test_layers_that_look_back_in_a_way_of_their_own_are_refused():
    model = language("GPT2")
    model.h = nn.ModuleList([Back()])
    with pytest.raises(UserError, match=r"a 'gpt2' cannot be .* its layers look back only"):
        Stack(model)


@pytest.mark.parametrize(
    ("kind", "sizes", "why"),
    [
        ("T5", {"d_model": WIDTH, "num_layers": 1, "vocab_size": 9}, "none of encoder.layer, "),
        ("Bloom", {"hidden_size": WIDTH, "n_layer": 1, "n_head": 2, "vocab_size": 9}, "alone: "),
    ],
)
def test_a_model_without_usable_layers_is_one_clear_line(kind, sizes, why):
    with pytest.raises(UserError, match=why) as told:
        Stack(language(kind, sizes))
    assert "\n" not in told.value.message
    assert "bert" in told.value.hint


# The layers are those of the library


def full(count=7):
    """A mask that hides nothing, which the library takes as it is."""
    return torch.zeros(2, 1, count, count)


@torch.no_grad()
def behind_embeddings(model, x):
    """The model's own last states, its positions silenced."""
    if model.config.model_type in ("bert", "roberta", "electra"):
        return model.encoder(model.embeddings.LayerNorm(x), attention_mask=full())[0]
    if model.config.model_type == "distilbert":
        return model.transformer(model.embeddings.LayerNorm(x), attention_mask=full())[0]
    if model.config.model_type == "gpt2":
        model.wpe.weight.zero_()
    if model.config.model_type == "opt":
        model.decoder.embed_positions.weight.zero_()
    mask = full()
    return model(inputs_embeds=x, attention_mask=mask, use_cache=False).last_hidden_state


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "OPT"])
def test_it_computes_what_the_library_does_with_a_mask_that_hides_nothing(kind):
    expected = behind_embeddings(language(kind), states())
    torch.testing.assert_close(stack(kind)(states()).detach(), expected, rtol=1e-4, atol=1e-5)


def test_the_norm_of_the_embeddings_is_kept_by_choice():
    model = language("Bert")
    bare = Stack(model, embedding_norm=False).eval()
    names = {name for name, _ in stack("Bert").named_parameters()}
    assert names - {name for name, _ in bare.named_parameters()} == {"first.weight", "first.bias"}
    with torch.no_grad():
        normed = model.embeddings.LayerNorm(states())
        assert torch.equal(stack("Bert")(states()), bare(normed))


def test_dropout_of_the_patches_is_its_own():
    quiet = {**KINDS["Bert"], "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    for rate, same in ((0.0, True), (0.5, False)):
        one = Stack(language("Bert", quiet), dropout=rate)
        calm, wild = one.eval()(states()), one.train()(states())
        assert torch.equal(calm, wild) == same


def test_building_leaves_the_mode_as_it_was():
    assert Stack(language("Bert")).training


# Patches, token, positions, head


def test_patches_are_raw_values_line_by_line():
    image = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    cut = patches(image, 2)
    assert cut.shape == (2, 6, 12)
    assert torch.equal(cut[1, 4], image[1, :, 2:4, 2:4].permute(1, 2, 0).reshape(-1))
    last = image.to(memory_format=torch.channels_last)
    assert torch.equal(patches(last, 2), cut)


def vision(seed=0, image=224, head=10, patch=16):
    stream = torch.Generator().manual_seed(seed)
    return VisionFromText(stack("GPT2"), Shape(image, patch, WIDTH, head), stream).eval()


def photos(image=32):
    return torch.randn(2, 3, image, image, generator=torch.Generator().manual_seed(3))


def test_a_photo_of_224_pixels_is_196_patches_of_768_values_and_a_token():
    one = vision()
    shapes = {n: tuple(p.shape) for n, p in one.named_parameters() if not n.startswith("stack.")}
    assert shapes == {
        "token": (WIDTH,),
        "positions": (197, WIDTH),
        "embed.weight": (WIDTH, 768),
        "embed.bias": (WIDTH,),
        "hidden.weight": (10, WIDTH),
        "hidden.bias": (10,),
    }


def test_the_output_is_read_at_the_token_through_the_head_s_first_layer():
    one, read = vision(image=32), []
    one.stack.register_forward_hook(lambda m, x, y: read.append((x[0].detach(), y.detach())))
    with torch.no_grad():
        found = one(photos())
        [(before, after)] = read
        embedded = patches(photos(), 16) @ one.embed.weight.T + one.embed.bias
        torch.testing.assert_close(before[:, 1:], embedded + one.positions[1:])
        torch.testing.assert_close(before[:, 0], (one.token + one.positions[0]).expand(2, -1))
        expected = nn.functional.gelu(after[:, 0] @ one.hidden.weight.T + one.hidden.bias)
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_the_last_patch_of_a_photo_changes_the_output():
    changed = photos()
    changed[:, :, 16:, 16:] += 1
    one = vision(image=32)
    assert (one(photos()) - one(changed)).abs().max() > 1e-6


def test_what_is_new_starts_from_its_stream():
    torch.manual_seed(1)
    one, same, other = vision(5), vision(5), vision(6)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        new = not name.startswith("stack.") and "bias" not in name
        assert torch.equal(value, other.state_dict()[name]) == (not new), name
    assert float(one.positions.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert float(one.embed.weight.detach().abs().max()) == pytest.approx(768**-0.5, rel=0.01)
