"""Figure 7's jobs on tiny photos and language models: who learns, from where, and resuming."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tiny_world
import torch
from safetensors.torch import load_file

from umlbench import api, recipe
from umlbench.encoders import text
from umlbench.errors import MissingInput, UserError
from umlbench.jobs import Context, Job
from umlbench.protocols import transfer
from umlbench.protocols.finetune import feeds
from umlbench.protocols.finetune.training import Training
from umlbench.protocols.transfer.prepared import prepare
from umlbench.protocols.transfer.settings import Settings

BASE = {
    "dataset": "imagenet",
    "text_encoder": "bert-large-uncased",
    "image_size": 32,
    "frozen_iterations": 8,
    "max_iterations": 16,
    "warmup_iterations": 2,
    "eval_every": 5,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "stack_learning_rate": 1e-3,
}
BERT, GPT2 = "bert-large-uncased", "gpt2-large"
CORNERS = [(b, i) for b in ("full_finetune", "frozen") for i in ("text", "scratch")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    tiny_world.make(root, ("imagenet", "dtd", BERT, GPT2, "openlm-research/open_llama_3b_v2"))
    return root


@pytest.fixture(scope="module")
def context(root, tmp_path_factory):
    return Context(cache=tmp_path_factory.mktemp("cache"), data=root, offline=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def job(backbone="full_finetune", initialisation="text", seed=1, grid=None, **changes):
    cell = {"backbone": backbone, "initialisation": initialisation}
    settings = Settings(**{**BASE, **cell, **changes})
    return Job("t", "transfer", 1, cell, seed, settings, grid or {}, "val_accuracy")


def run(one, context):
    [(_, outcome)] = transfer.run([one], context)
    return outcome


def start(context, *cell, **changes):
    """The network of a cell at its start, by name."""
    return prepare(job(*cell, **changes), context).training({}).learner.state_dict()


# The two starts


@pytest.mark.parametrize("name", [BERT, GPT2, "openlm-research/open_llama_3b_v2"])
def test_the_two_starts_differ_in_the_stack_alone(context, root, name):
    one, other = (start(context, "frozen", i, text_encoder=name) for i in ("text", "scratch"))
    stored = load_file(root / "encoders" / name / "model.safetensors")
    assert one.keys() == other.keys()
    for key, value in one.items():
        if ".stack." not in key:
            assert torch.equal(value, other[key]), key
            continue
        place = key.split(".stack.")[1]
        assert any(torch.equal(value, theirs) for theirs in stored.values()), place
        assert not any(torch.equal(other[key], theirs) for theirs in stored.values()), place


def test_scratch_reads_no_weight(context, monkeypatch):
    monkeypatch.setattr(text, "from_folder", lambda *_, **__: 1 / 0)
    weights = start(context, "frozen", "scratch")
    spread = [v.std() for n, v in weights.items() if ".stack.layers" in n and v.ndim == 2]
    assert spread
    assert all(abs(std - 0.02) < 0.004 for std in spread)  # the library's rule for BERT
    with pytest.raises(ZeroDivisionError):
        start(context, "frozen", "text")


def test_scratch_follows_its_seed_and_no_global_generator(context):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = start(context, "frozen", "scratch")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = (start(context, "frozen", "scratch", seed=seed) for seed in (1, 2))
    key = next(n for n, v in one.items() if ".stack.layers" in n and v.ndim == 2)
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])


def test_a_job_from_scratch_knows_the_architecture_alone(context, root, tmp_path):
    """Other weights of the same shape: its inputs, and so its id, stay."""
    mine = tmp_path / "data"
    (mine / "encoders").mkdir(parents=True)
    (mine / "imagenet").symlink_to(root / "imagenet")
    shutil.copytree(root / "encoders" / GPT2, mine / "encoders" / GPT2)
    file = mine / "encoders" / GPT2 / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + bytes(4))
    there = Context(cache=context.cache, data=mine, offline=True)
    for initialisation, same in (("scratch", True), ("text", False)):
        settings = job(initialisation=initialisation, text_encoder=GPT2).settings
        assert (transfer.inputs(settings, context) == transfer.inputs(settings, there)) == same


# Who learns


def moved(one, context):
    """By iteration, the names of what differs from the start after its step."""
    training = prepare(one, context).training({})
    before = {n: v.clone() for n, v in training.learner.state_dict().items()}
    found, step = {}, training._step

    def noting(iteration):
        step(iteration)
        now = training.learner.state_dict()
        found[iteration] = {n for n in before if not torch.equal(before[n], now[n])}

    training._step = noting
    training.finish()
    return found, set(before)


NEW = {"token", "positions", "embed.weight", "embed.bias", "hidden.weight", "hidden.bias"}
NEW = {f"towers.0.{name}" for name in NEW} | {"head.head"}
FIXED = {"head.scales"}


@pytest.mark.parametrize("name", [BERT, GPT2])
@pytest.mark.parametrize("initialisation", ["text", "scratch"])
def test_a_frozen_stack_stays_with_its_norms_and_the_rest_learns(context, name, initialisation):
    found, _ = moved(job("frozen", initialisation, text_encoder=name), context)
    assert set(found) == set(range(16))
    assert found[15] == NEW


@pytest.mark.parametrize("name", [BERT, GPT2])
def test_the_stack_learns_from_its_first_step_on(context, name):
    found, everything = moved(job(text_encoder=name), context)
    for iteration, names in found.items():
        assert (names <= NEW) == (iteration < 8), iteration
    assert found[7] == NEW
    assert found[15] == everything - FIXED


def test_the_stack_has_a_rate_of_its_own(context):
    training = prepare(job(), context).training({"stack_learning_rate": 5e-4})
    bases = {id(p): g["base"] for g in training.optimizer.param_groups for p in g["params"]}
    named = dict(training.learner.named_parameters())
    rates = {n: bases[id(p)] for n, p in named.items() if id(p) in bases}
    assert set(rates) == set(named) - FIXED
    assert {n for n, rate in rates.items() if rate == 5e-4} == {n for n in named if ".stack." in n}
    assert {rate for n, rate in rates.items() if ".stack." not in n} == {1e-2}


def test_a_frozen_stack_has_no_grid_of_its_own():
    grid = {"stack_learning_rate": (1e-3, 1e-4), "learning_rate": (1e-2, 1e-3)}
    assert len(job("full_finetune", grid=grid).trials()) == 4
    assert len(job("frozen", grid=grid).trials()) == 2


# Photos


@pytest.mark.parametrize("augmentation", ["none", "random_resized_crop"])
def test_photos_kept_and_photos_decoded_ahead_give_the_same_figures(
    context, monkeypatch, augmentation
):
    one = job("frozen", augmentation=augmentation)
    kept = run(one, context)
    monkeypatch.setattr(feeds, "room_for", lambda *_: None)
    streamed = run(one, context)
    assert (kept.metrics, kept.trials) == (streamed.metrics, streamed.trials)


def test_crops_are_for_training_alone(context):
    one = prepare(job(), context)
    assert one.train.crop.size == 32
    assert one.train.kept.shape[2:] == (37, 37)
    for feed in (one.val, one.test):
        assert feed.crop is None
        assert feed.kept.shape[2:] == (32, 32)
    assert prepare(job(augmentation="none"), context).train.crop is None


def test_every_epoch_sees_other_parts_of_a_photo(context):
    feed = prepare(job(), context).train
    [(one,), (same,)] = feed.batches([torch.tensor([1]), torch.tensor([1])], 3)
    [(again,)] = feed.batches([torch.tensor([1])], 4)
    assert not torch.equal(one, same)
    assert torch.equal(same, again)


# Resuming


def ends(monkeypatch):
    """The weights at the end of every training to come."""
    found, finish = [], Training.finish

    def watched(self, *arguments):
        result = finish(self, *arguments)
        found.append({n: v.clone() for n, v in self.learner.state().items()})
        return result

    monkeypatch.setattr(Training, "finish", watched)
    return found


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_interrupted_before_or_after_the_stack_begins_the_weights_are_the_same(
    context, monkeypatch, stop
):
    """To the bit, with crops and dropout; evaluations end iterations 0, 5, 10 and 15 of each trial.

    The stack begins with iteration 8.
    """
    weights = ends(monkeypatch)
    one = job(seed=stop, grid={"learning_rate": (1e-2, 1e-3)}, patience=99)
    with monkeypatch.context() as patch:
        calls, moment = [], Training._moment

        def interrupted(self):
            calls.append(1)
            if len(calls) > stop:
                raise KeyboardInterrupt
            return moment(self)

        patch.setattr(Training, "_moment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(one, context)
    weights.clear()
    resumed = run(one, context)
    [*_, after] = weights
    unbroken = run(one, context)
    assert (resumed.metrics, resumed.trials) == (unbroken.metrics, unbroken.trials)
    assert resumed.selection == unbroken.selection
    assert any(".stack." in name for name in after)
    for name, value in weights[-1].items():
        assert torch.equal(after[name], value), name


# From the command to the record


@pytest.mark.parametrize("name", [BERT, GPT2])
def test_figure7_runs_end_to_end(root, tmp_path, monkeypatch, name):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    small = {**BASE, "text_encoder": name, "max_iterations": 6, "precision": "float32"}
    changes = [f"{key}={value}" for key, value in small.items()]
    mine = tmp_path / "mine.yaml"
    mine.write_text(recipe.load("figure7", overrides=changes).to_yaml())
    ran = api.run(mine, results=tmp_path, data=root, offline=True)
    assert [record.error for record in ran.failed] == []
    cells = {(r.cell["backbone"], r.cell["initialisation"]) for r in ran.made}
    assert cells == set(CORNERS)
    assert all(list(r.seconds) == ["decode", "train", "wait"] for r in ran.made)
    [report] = api.build_reports([mine], results=tmp_path)
    assert report.done == report.jobs == 4
    printed = {tuple(e.coords.values()): e.paper for e in report.entries() if e.paper}
    assert printed == {("full_finetune", "text"): 1.4, ("frozen", "text"): 42.7}
    assert {e.metric for e in report.entries() if e.paper} == {"relative_gain"}
    files = api.plot(mine, results=tmp_path, formats=["svg"])
    assert [file.name for file in files] == ["figure7.svg"]


def test_a_plan_states_memory(context):
    stored = load_file(context.data / f"encoders/{BERT}/model.safetensors")
    count = sum(value.numel() for value in stored.values())
    assert transfer.memory(job().settings, context) == 16 * count
    assert transfer.memory(job("frozen").settings, context) == 4 * count
    absent = Context(cache=context.cache, data=context.cache, offline=True)
    assert transfer.memory(job().settings, absent) is None


def test_reads_names_photos_and_language_model():
    for cell in CORNERS:
        assert [str(n) for n in transfer.reads(job(*cell).settings).needs] == ["imagenet", BERT]
        assert transfer.reads(job(*cell).settings).features == ()


# Bad input


def test_a_folder_that_is_no_image_set_is_one_clear_line(context, tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(MissingInput, match="no such folder"):
        transfer.inputs(job(dataset=f"{tmp_path}/").settings, context)


def test_a_name_that_is_no_language_model_is_one_clear_line(context):
    with pytest.raises(MissingInput, match="weights of encoder 'resnet18' not found"):
        transfer.inputs(job(text_encoder="resnet18").settings, context)


@pytest.mark.parametrize("content", ["{}", '{"model_type": "abacus"}', '{"model_type": "clap"}'])
@pytest.mark.parametrize("initialisation", ["scratch", "text"])
def test_a_folder_that_is_no_language_model_is_one_clear_line(
    context, tmp_path, content, initialisation
):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "model.safetensors").write_bytes(b"")
    one = job("frozen", initialisation, text_encoder=f"mine@{tmp_path}")
    with pytest.raises(UserError, match=r"'mine'|'clap'") as told:
        prepare(one, context).training({})
    assert "\n" not in told.value.message


@pytest.mark.parametrize("name", ["initialisation", "image_size", "text_encoder"])
def test_a_grid_that_varies_what_is_read_is_refused(context, name):
    one = job(grid={name: (getattr(job().settings, name),)})
    with pytest.raises(UserError, match=f"{name} is not a point of the grid"):
        run(one, context)


def test_a_broken_photo_is_named(root, context, tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for label in "ab":
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                photo = np.full((40, 40, 3), 50 * number, np.uint8)
                tiny_world.Image.fromarray(photo).save(tmp_path / split / label / f"{number}.png")
    (tmp_path / "train" / "a" / "0.png").write_bytes(b"no photo")
    with pytest.raises(UserError, match=r"1 broken image\(s\): .*0.png"):
        run(job(dataset=f"{tmp_path}/"), context)
