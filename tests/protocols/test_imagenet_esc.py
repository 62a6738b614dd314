"""ImageNet-ESC from imported and from encoded features to records; weight 0 on both engines."""

import pytest
import tiny_esc

from umlbench import api
from umlbench.errors import MissingInput, UserError
from umlbench.jobs import Context, Job
from umlbench.protocols import imagenet_esc
from umlbench.protocols.imagenet_esc.settings import Settings
from umlbench.sweep import engine, engines

BASE = {
    "dataset": "esc10",
    "audio_encoder": "imported:mine",
    "image_encoder": "imported:mine",
    "text_encoder": "tfidf",
    "text_type": "descriptions",
    "shots": 2,
    "max_iterations": 61,
    "warmup_iterations": 10,
    "eval_every": 20,
}
GRID = {"learning_rate": (0.1, 0.01)}
QUICK = ["max_iterations=21", "warmup_iterations=5", "eval_every=10", "grid.learning_rate=[0.1]"]


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    root, cache = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("cache")
    tiny_esc.unheard(root, cache)
    return Context(cache=cache, data=root, offline=True)


def job(context, modalities="audio+image+text", seed=1, **changes):
    settings = Settings(**{**BASE, "modalities": modalities, **changes})
    inputs = imagenet_esc.inputs(settings, context)
    cell = {"modalities": modalities}
    return Job("t", "imagenet_esc", 1, cell, seed, settings, GRID, "val_accuracy", inputs)


def run(jobs, context):
    return {one.id: outcome for one, outcome in imagenet_esc.run(jobs, context)}


def figures(outcome):
    return outcome.metrics, outcome.selection, outcome.trials


def test_a_job_is_the_same_alone_and_among_others(context):
    jobs = [job(context, seed=seed) for seed in (1, 2, 6)]
    assert len({imagenet_esc.batch(one) for one in jobs}) == 1
    together = run(jobs, context)
    for one in jobs:
        assert figures(run([one], context)[one.id]) == figures(together[one.id])
    assert together[jobs[0].id].metrics != together[jobs[2].id].metrics  # one division, two streams


@pytest.mark.parametrize("name", engines("cpu"))
@pytest.mark.parametrize("third", ["image", "text"])
def test_with_a_third_modality_of_weight_zero_it_is_the_job_of_two(
    context, monkeypatch, third, name
):
    monkeypatch.setattr(engine, "engines", lambda device: (name,))
    two = job(context, "audio+image" if third == "text" else "audio+text", method="uml_init")
    three = job(context, method="uml_init", **{f"{third}_alpha": 0.0})
    assert three.id == two.id
    found = [run([one], context)[two.id] for one in (two, three)]
    assert figures(found[0]) == figures(found[1])
    assert (found[0].features, found[0].selection) == (found[1].features, found[1].selection)


def test_a_record_says_division_rows_and_features(context):
    outcome = run([one := job(context, seed=9)], context)[one.id]
    assert outcome.selection["division"] == 4
    assert outcome.selection["draw"] == "fold4"
    assert (
        "esc10: no photo of rain, crying_baby, sneezing and 1 more"
        in (outcome.selection["notices"])
    )
    assert {"mine/fold4", "mine/train", "tfidf/text"} <= set(outcome.features)
    assert set(one.inputs) == {
        *("esc50", "imported:mine of esc50 (audio)"),
        *("imagenet_esc_photos", "imported:mine of imagenet_esc_photos (image)"),
        *("esc10/descriptions", "tfidf of esc10/descriptions (text)"),
    }
    assert outcome.metrics["accuracy"] > 30  # chance is 10
    assert (
        outcome.metrics["accuracy"] == outcome.trials["test_accuracy"][outcome.selection["trial"]]
    )


def test_what_helps_brings_its_classes(context):
    """Features around class means: a photo of a class moves what is said of its sounds."""
    one, other = (job(context, "audio+image", method=m) for m in ("uml", "uml_permuted"))
    found = run([one], context)[one.id], run([other], context)[other.id]
    assert found[0].trials["test_accuracy"] != found[1].trials["test_accuracy"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "esc27"}, "esc50 has no class 'hen', 'chirping_birds', 'frog' and 18 more"),
        ({"shots": 5}, "fold1 has 8 clips of a class, 10 are needed"),
        ({"auxiliary_shots": 2}, "train has 1 photos of a class, 2 are needed"),
        ({"text_type": "poems"}, "unknown text corpus of esc10 'poems'"),
    ],
)
def test_what_does_not_fit_is_said_before_training(context, changes, message):
    with pytest.raises(UserError) as error:
        job(context, **changes)
    assert error.value.message.startswith(message)
    assert "\n" not in error.value.message
    job(context, shots=4)  # and as many to validate


def test_text_that_lacks_a_class_is_a_notice(context, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"dog": ["Woof."], "sea waves": ["Surf."]}')
    one = job(context, "audio+text", text_type=str(file))
    outcome = run([one], context)[one.id]
    [said] = [line for line in outcome.selection["notices"] if "no text" in line]
    assert said == "esc10: no text for rooster, rain, crackling_fire and 5 more"


def test_imported_features_of_one_modality_only(context, tmp_path, monkeypatch):
    """Through the front door: a recipe of the package, with rows made elsewhere."""
    monkeypatch.setenv("UMLBENCH_CACHE", str(context.cache))
    how = {"results": tmp_path, "data": context.data, "offline": True, "seeds": "1,2"}
    mine = ["audio_encoder=imported:mine", "text_encoder=tfidf", *QUICK]
    only = ["modalities=audio,audio+text,shots=1,method=uml,scaling=raw"]
    ran = api.run("real_esc", overrides=mine, only=only, **how)
    assert (len(ran.made), ran.failed) == (4, ())
    with pytest.raises(MissingInput, match="no features were imported as 'theirs' for esc50"):
        api.run("real_esc", overrides=["audio_encoder=imported:theirs"], only=only, **how)


def test_without_data_a_table_names_everything_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingInput) as error:
        api.run("table25", results=tmp_path, data=tmp_path / "data", offline=True)
    for part in (
        "get ESC-50 from github.com/karolpiczak/ESC-50",
        "get photos from www.image-net.org",
        "get AudioCLIP-Partial-Training.pt of github.com/AndreyGuzhov/AudioCLIP",
        "descriptors_imagenet.json",
    ):
        assert part in str(error.value)
    assert error.value.exit_code == 4
