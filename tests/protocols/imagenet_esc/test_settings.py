"""Who takes part, what decides a cell's identity, and what is refused."""

import pytest
from pydantic import ValidationError

from umlbench.protocols.imagenet_esc.settings import MODALITIES, Settings


def settings(modalities="audio+image+text", dataset="esc27", **changes):
    return Settings(dataset=dataset, modalities=modalities, **changes)


@pytest.mark.parametrize(
    ("modalities", "auxiliaries"),
    [
        ("audio", ()),
        ("audio+image", ("image",)),
        ("audio+image+text", ("text", "image")),
        ("audio + text + image", ("text", "image")),
        ("image+audio+text", ("text", "audio")),
    ],
)
def test_the_first_is_the_target_and_text_leads_those_that_help(modalities, auxiliaries):
    found = settings(modalities)
    assert (found.target, found.auxiliaries) == (modalities.split()[0].split("+")[0], auxiliaries)


@pytest.mark.parametrize("third", ["text", "image"])
def test_a_weight_of_zero_takes_a_modality_away(third):
    other = {"text": "image", "image": "text"}[third]
    without = settings(f"audio+{other}", method="uml_init").identity()
    assert settings(method="uml_init", **{f"{third}_alpha": 0}).identity() == without
    alone = settings(f"audio+{third}", **{f"{third}_alpha": 0})
    assert alone.identity() == settings("audio").identity()
    assert (alone.starts_from, alone.made_of.text) == ("random", False)


CHANGES = {
    "audio": {"audio_encoder": "logmel", "audio_scaling": "unit", "batch_norm": "eval"},
    "image": {"image_encoder": "pixels", "image_scaling": "unit", "transform": "native"},
    "text": {"text_encoder": "tfidf", "text_scaling": "unit", "text_type": "cupl", "text_shots": 1},
}


@pytest.mark.parametrize(
    "modalities", ["audio", "image", "audio+text", "image+audio", "audio+image+text"]
)
def test_what_an_absent_modality_reads_changes_nothing(modalities):
    before = settings(modalities).identity()
    for modality in MODALITIES:
        present = modality in modalities
        for field, value in CHANGES[modality].items():
            assert (settings(modalities, **{field: value}).identity() != before) == present, field
        weight = {f"{modality}_alpha": 0.5}
        helps = present and not modalities.startswith(modality)
        assert (settings(modalities, **weight).identity() != before) == helps
    for field, value in {"method": "uml_init", "space": "widest"}.items():
        assert (settings(modalities, **{field: value}).identity() != before) == ("+" in modalities)
    shots = settings(modalities, auxiliary_shots=2).identity()
    assert (shots != before) == (modalities in ("image+audio", "audio+image+text"))
    norm = settings(modalities, centred_norm=9).identity()
    assert norm == before
    centred = settings(modalities, audio_scaling="centred", centred_norm=9).identity()
    assert (centred.get("centred_norm") == 9) == ("audio" in modalities)
    half = settings(modalities, dtype="bfloat16").identity()
    assert (half != before) == (modalities != "audio")  # sounds are encoded in float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modalities": "audio+imge"}, "unknown modality 'imge', did you mean 'image'"),
        ({"modalities": ""}, "unknown modality ''"),
        ({"modalities": "audio+image+audio"}, "'audio' is named twice"),
        ({"modalities": "text+audio"}, "'text' cannot be the target: begin with audio or image"),
        ({"modalities": "image+text", "dataset": "esc10"}, "one photo a class: image cannot be"),
        ({"dataset": "esc50"}, "'esc19', 'esc27' or 'esc10'"),
        ({"method": "unimodal"}, "'uml', 'uml_init', "),
        ({"audio_encoder": "logmell"}, "unknown encoder 'logmell', did you mean 'logmel'"),
        ({"text_shots": 0}, "must be at least 1, not 0: leave text out of modalities"),
        ({"warmup_iterations": 12800}, r"warmup_iterations \(12800\) is not below"),
        ({"shots": 0}, "greater than or equal to 1"),
        ({"image_alpha": -1}, "greater than or equal to 0"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)
