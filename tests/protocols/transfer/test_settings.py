"""What a cell of Figure 7 may say, and which of it can change a figure."""

import pytest
from pydantic import ValidationError

from umlbench import paper
from umlbench.protocols.transfer.settings import Settings


def settings(**changes):
    return Settings(dataset="dtd", **changes)


def test_the_defaults_are_the_paper_s():
    one = settings()
    assert (one.image_size, one.patch_size, one.dropout) == (224, 16, 0.1)
    assert one.frozen_iterations == 2000
    assert one.text_encoder == "bert-large-uncased"


@pytest.mark.parametrize("backbone", paper.load("figure7").axes["backbone"])
def test_backbones_have_the_figure_s_names(backbone):
    assert settings(backbone=backbone).stack_learns == (backbone == "full_finetune")


def test_what_only_a_stack_that_learns_reads_is_not_in_the_identity_of_a_frozen_one():
    changes = {"stack_learning_rate": 1e-5, "frozen_iterations": 7}
    frozen = {"backbone": "frozen"}
    assert settings(**frozen, **changes).identity() == settings(**frozen).identity()
    for name, value in changes.items():
        assert settings(**{name: value}).identity() != settings().identity()


@pytest.mark.parametrize(
    "change",
    [
        {"initialisation": "scratch"},
        {"embedding_norm": False},
        {"augmentation": "none"},
        {"image_size": 64},
        {"patch_size": 8},
        {"head_width": 5},
        {"dropout": 0.0},
        {"precision": "bfloat16"},
        {"micro_batch": 4},
        {"compiled": True},
    ],
)
def test_what_changes_a_figure_is_in_the_identity(change):
    for backbone in ("frozen", "full_finetune"):
        assert (
            settings(backbone=backbone, **change).identity()
            != settings(backbone=backbone).identity()
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_encoder": "tfidf"}, "'tfidf' is no model of transformers"),
        ({"text_encoder": "clip:RN50"}, "'clip:RN50' is no model of transformers"),
        ({"text_encoder": "mobilenetv2_100"}, "'mobilenetv2_100' is no model of transformers"),
        ({"text_encoder": "imported:mine"}, "'imported:mine' is no model of transformers"),
        ({"text_encoder": "tfidff"}, "did you mean 'tfidf'"),
        ({"image_size": 230}, r"image_size \(230\) is no multiple of patch_size \(16\)"),
        ({"backbone": "half"}, "full_finetune"),
        ({"initialisation": "random"}, "scratch"),
        ({"dropout": 1.0}, "less than 1"),
        ({"warmup_iterations": 12800}, "is not below max_iterations"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_an_unknown_data_set_is_refused_with_the_nearest():
    with pytest.raises(ValidationError, match="did you mean 'dtd'"):
        Settings(dataset="dtdd")
