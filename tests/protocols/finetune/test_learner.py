"""Who learns: the backbone, the shared head, and text encoders by adapters or as a whole."""

import sys
from copy import deepcopy

import pytest
import tiny_world
import torch
from torch import nn

from umlbench import encoders
from umlbench.encoders.text import import_transformers
from umlbench.errors import UserError
from umlbench.models.head import SharedHead
from umlbench.protocols.finetune.feeds import Prompts, Vectors
from umlbench.protocols.finetune.learner import Learner, Unit, add_adapters, text_tower
from umlbench.protocols.finetune.settings import Settings
from umlbench.protocols.finetune.training import Stream, Training, Tuning
from umlbench.sweep import Samples, Schedule, Shuffled

KINDS = ("Llama", "Bert", "Roberta", "GPT2")
SENTENCES = ["a cat", "a small dog", "cat", "the dog there", "a lion cat", "dogs"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    for kind in KINDS:
        tiny_world._language(root / kind, kind)
    return root


def encoder(world, kind):
    return encoders.load(f"{kind}@{world / kind}", modality="text", offline=True)


def settings(**changes):
    base = {"dataset": "dtd", "encoder": "mobilenetv2_100", "text_encoder": "all-MiniLM-L6-v2"}
    unfrozen = {"text_training": "unfrozen", "lora_rank": 3, **changes}
    return Settings(**base, method="uml", **unfrozen)


def prompts(text):
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    return Prompts(text.token_ids(SENTENCES), labels, text.padded)


def training(text, tower, mode="corrected", **tuning):
    stream = torch.Generator().manual_seed(0)
    x = Samples(torch.randn(8, 20, generator=stream), torch.arange(8) % 2)
    head = SharedHead(torch.randn(2, 20, generator=stream), [None] * 2, [1.0, 1.0], learnable=False)
    learner = Learner([nn.Linear(20, 20, bias=False), tower], head, mode)
    learner.towers[0].weight.data = torch.eye(20)
    feed = prompts(text)
    streams = [Stream(Vectors(x), Shuffled(8, 4, 1)), Stream(feed, Shuffled(6, 4, 2))]
    schedule = Schedule(max_iterations=30, warmup_iterations=1, eval_every=2, iterations=5)
    return Training(learner, streams, Vectors(x), Vectors(x), Tuning(1e-2, **tuning), schedule)


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def after_training(one):
    """All weights before, and after the last step."""
    before, last = deepcopy(one.learner.state_dict()), {}
    step = one._step

    def noting(iteration):
        step(iteration)
        last.update(deepcopy(one.learner.state_dict()))

    one._step = noting
    one.finish()
    return before, last


# Adapters


@pytest.mark.parametrize("kind", KINDS)
def test_lora_changes_its_own_weights_alone(world, kind):
    text = encoder(world, kind)
    before, after = after_training(training(text, text_tower(text, settings(), 1)))
    moved = changed(before, after)
    adapters = {name for name in before if "lora_" in name}
    assert adapters
    assert moved == adapters | {"towers.0.weight", "head.head"}


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_start_at_the_frozen_encoder(world, kind):
    text = encoder(world, kind)
    [inputs] = prompts(text).batches([torch.arange(6)])
    tower = text_tower(text, settings(), 1).eval()
    expected = torch.from_numpy(text.encode(SENTENCES))
    torch.testing.assert_close(tower(*inputs).detach(), expected, rtol=1e-4, atol=1e-5)


def adapters_of(world, seed, rank=3):
    text = encoder(world, "Llama")
    tower = text_tower(text, settings(lora_rank=rank), seed)
    return {n: p for n, p in tower.named_parameters() if "lora_" in n}


def test_adapters_follow_their_seed_and_no_global_generator(world):
    torch.manual_seed(1)
    one = adapters_of(world, 1)
    torch.manual_seed(2)
    same, other = adapters_of(world, 1), adapters_of(world, 2)
    assert changed(one, same) == set()
    first = {name for name in one if "lora_A" in name}
    assert changed(one, other) == first
    assert {tuple(p.shape) for n, p in one.items() if n in first} == {(3, 20)}
    assert all(0.9 * 20**-0.5 < p.abs().max() <= 20**-0.5 for n, p in one.items() if n in first)


def test_a_frozen_part_may_be_in_halves(world):
    text = encoder(world, "Llama")
    tower = text_tower(text, settings(dtype="bfloat16"), 1)
    dtypes = {"lora_" in n: p.dtype for n, p in tower.named_parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    [inputs] = prompts(text).batches([torch.arange(6)])
    assert tower(*inputs).dtype == torch.float32


def test_without_peft_the_way_out_is_named(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="needs the package peft") as told:
        text_tower(encoder(world, "Bert"), settings(), 1)
    assert "umlbench[finetune]" in told.value.hint


def test_a_model_without_known_projections_is_one_clear_line():
    class Abacus(import_transformers().PretrainedConfig):
        model_type = "abacus"

    model = nn.Sequential(nn.Linear(2, 2))
    model.config = Abacus()
    with pytest.raises(UserError, match="no attention projections of a 'abacus'"):
        add_adapters(model, 2, 1)


# All of it


@pytest.mark.parametrize("kind", ["Llama", "Bert"])
def test_full_training_changes_everything_but_a_pooler(world, kind):
    text = encoder(world, kind)
    tower = text_tower(text, settings(text_update="full"), 1)
    one = training(text, tower, apart_rate=1e-3)
    before, after = after_training(one)
    still = before.keys() - changed(before, after)
    assert all("pooler" in name or name == "head.scales" for name in still), still


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["corrected", "evaluation"])
def test_recomputed_activations_give_the_same_weights(world, kind, mode):
    """To the bit, with dropout; also in evaluation mode, where transformers would not recompute."""
    text, weights, forwards = encoder(world, kind), [], []
    for recompute in (True, False):
        tower = text_tower(text, settings(gradient_checkpointing=recompute), 1)
        one = training(text, tower, mode)
        projection = next(m for n, m in tower.named_modules() if n.endswith("lora_A.default"))
        count = []
        projection.register_forward_hook(lambda *_, count=count: count.append(1))
        _, after = after_training(one)
        weights.append(after)
        forwards.append(len(count))
    assert changed(*weights) == set()
    assert forwards == [10, 5]


# Learning later


def test_what_waits_begins_at_its_step_and_adapters_alone_do(world):
    """Five steps, the text's adapters from the third one on; the rest of it never learns."""
    text = encoder(world, "Llama")
    one, seen = training(text, text_tower(text, settings(), 1), apart_from=3), []
    before, step = deepcopy(one.learner.state_dict()), one._step

    def noting(iteration):
        step(iteration)
        seen.append(changed(before, one.learner.state_dict()))

    one._step = noting
    one.finish()
    adapters = {name for name in before if "lora_" in name}
    assert [bool(names & adapters) for names in seen] == [False, False, False, True, True]
    assert all({"towers.0.weight", "head.head"} <= names for names in seen)
    assert seen[-1] == adapters | {"towers.0.weight", "head.head"}


def test_a_state_has_the_same_names_before_and_after_the_wait():
    head = SharedHead(torch.ones(2, 3), [None], [1.0], learnable=False)
    tower = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False))
    learner = Learner([tower], head, "corrected", apart=[tower])
    names = set(learner.state())
    assert names == {"towers.0.0.weight", "towers.0.0.bias", "head.head"}
    learner.wait(True)
    assert set(learner.state()) == names
    assert [p.requires_grad for p in tower.parameters()] == [False] * 4
    learner.wait(False)
    assert [p.requires_grad for p in tower.parameters()] == [True, True, False, False]


# The learner


def test_unit_vectors_have_length_one():
    tower = Unit(nn.Identity())
    x = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    torch.testing.assert_close(tower(x), torch.tensor([[0.6, 0.8], [0.0, 1.0]]))


def test_text_of_unit_length(world):
    text = encoder(world, "Llama")
    [inputs] = prompts(text).batches([torch.arange(6)])
    rows = text_tower(text, settings(text_scaling="unit"), 1)(*inputs)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(6))


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [("faithful", True, False), ("corrected", True, True), ("evaluation", False, False)],
)
def test_modes(mode, before, after):
    learner = Learner([nn.Dropout()], SharedHead(torch.ones(2, 3), [None], [1.0], False), mode)
    assert learner.towers[0].training == before
    learner.eval()
    learner.after_validation()
    assert learner.towers[0].training == after
