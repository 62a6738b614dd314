"""What a fine-tuning cell may say, and which of it can change a figure."""

import pytest
from pydantic import ValidationError

from umlbench.protocols.finetune.settings import Settings
from umlbench.protocols.linear_probe.settings import Settings as ProbeSettings

BASE = {"dataset": "dtd", "encoder": "mobilenetv2_100", "text_encoder": "all-MiniLM-L6-v2"}


def settings(method="uml", **changes):
    return Settings(**{**BASE, "method": method, **changes})


def same(one, two):
    return one.identity() == two.identity()


def test_it_is_a_linear_probe_with_other_defaults_and_fields_of_its_own():
    probe, ours = ProbeSettings(**BASE, method="uml"), settings()
    shared = set(ProbeSettings.model_fields)
    assert shared < set(Settings.model_fields)
    differ = {name for name in shared if getattr(probe, name) != getattr(ours, name)}
    assert differ == {"learning_rate", "batch_size"}
    assert (ours.learning_rate, ours.batch_size, ours.weight_decay) == (5e-5, 64, 0.0)
    assert ours.schedule == probe.schedule


def test_what_only_text_reads_is_not_in_the_identity_of_a_job_without_text():
    plain = settings("unimodal")
    for change in (
        {"text_training": "unfrozen"},
        {"text_update": "full", "text_learning_rate": 1e-3},
        {"lora_rank": 4, "dtype": "float16", "text_ratio": 2.0, "alpha": 0.1},
    ):
        assert same(settings("unimodal", **change), plain)
    assert same(settings("uml", text_training="none", lora_rank=4), plain)
    assert same(settings("uml_init", text_training="none"), plain)


def test_what_only_unfrozen_text_reads_is_not_in_the_identity_of_frozen_text():
    assert same(settings(lora_rank=4, text_update="full", text_learning_rate=0.1), settings())
    full = {"text_training": "unfrozen", "text_update": "full"}
    assert same(settings(**full, lora_rank=4), settings(**full))
    assert not same(settings(text_training="unfrozen"), settings(**full))
    assert not same(settings(text_training="unfrozen", lora_rank=4), settings(**full))
    assert not same(settings(dtype="float16"), settings())


@pytest.mark.parametrize(
    "change",
    [{"mode": "corrected"}, {"precision": "bfloat16"}, {"micro_batch": 8}, {"compiled": True}],
)
def test_what_changes_a_rounding_or_more_is_in_the_identity(change):
    assert not same(settings("unimodal", **change), settings("unimodal"))


def test_recomputing_activations_changes_nothing():
    unfrozen = settings(text_training="unfrozen")
    assert same(settings(text_training="unfrozen", gradient_checkpointing=False), unfrozen)


@pytest.mark.parametrize(
    ("changes", "vectors", "learns"),
    [
        ({"method": "unimodal"}, False, False),
        ({"method": "unimodal_wide"}, False, False),
        ({"method": "uml"}, True, False),
        ({"method": "uml", "text_training": "none"}, False, False),
        ({"method": "uml", "text_training": "unfrozen"}, False, True),
        ({"method": "uml_init", "text_training": "unfrozen"}, True, True),
    ],
)
def test_which_text_is_encoded_once_and_which_learns(changes, vectors, learns):
    one = settings(**changes)
    assert (one.reads_vectors, one.text_learns) == (vectors, learns)


UNFROZEN = {"text_training": "unfrozen"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "pixels"}, "'pixels' has no weights to train"),
        ({"encoder": "imported:mine"}, "'imported:mine' has no weights to train"),
        ({"encoder": "pixel"}, "unknown encoder 'pixel', did you mean 'pixels'"),
        ({"scaling": "centred"}, "'centred' needs frozen features"),
        ({"mode": "eval"}, "faithful"),
        ({"precision": "half"}, "float16"),
        ({"micro_batch": 0}, "greater than or equal to 1"),
        ({**UNFROZEN, "text_shots": "average"}, "text_shots 'average' needs frozen vectors"),
        ({**UNFROZEN, "text_scaling": "centred"}, "text_scaling 'centred' needs frozen vectors"),
        ({**UNFROZEN, "text_encoder": "clip:RN50"}, "'clip:RN50' is no model of transformers"),
        ({**UNFROZEN, "text_encoder": "tfidf"}, "'tfidf' is no model of transformers"),
        ({"warmup_iterations": 12800}, "is not below max_iterations"),
        ({"test_sets": ["dtd"]}, "is measured on frozen features"),
        ({"geometry": True}, "is measured on frozen features"),
        ({"plane": ["dotted", "grid"]}, "is measured on frozen features"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_all_that_is_wrong_with_text_that_learns_is_said_at_once():
    with pytest.raises(ValidationError) as error:
        settings(**UNFROZEN, text_shots="average", text_encoder="tfidf")
    [one] = error.value.errors()
    assert "tfidf" in one["msg"]
    assert "average" in one["msg"]


def test_the_same_is_allowed_where_text_takes_no_part():
    settings("unimodal", **UNFROZEN, text_shots="average", text_encoder="tfidf")
