"""What a recipe may say of a self-supervised cell, and what belongs to its identity."""

import pytest
from pydantic import ValidationError

from umlbench.protocols.self_supervised.settings import Settings

BASE = {"dataset": "mosi", "method": "uml"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 12}, r"width: 12 is not divisible by heads \(5\)"),
        ({"width": 15, "positions": "sinusoidal"}, "width: 15 is odd"),
        ({"dataset": "mosii"}, "unknown dataset 'mosii', did you mean 'mosi'"),
        ({"auxiliary": ["vision"]}, "'vision' is named twice"),
        ({"auxiliary": ["text", "text"]}, "'text' is named twice"),
        ({"auxiliary": []}, "auxiliary: names no modality"),
        ({"auxiliary": ""}, "auxiliary: names no modality"),
        ({"auxiliary": [3]}, "valid string"),
        ({"epochs": 30, "warmup_epochs": 29}, "warmup_epochs: 30 of 30 epochs"),
        ({"warmup_epochs": -2}, "greater than or equal to -1"),
        ({"dropout": 1.0}, "less than 1"),
        ({"method": "uml_init"}, "unimodal"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Settings(**{**BASE, **change})


@pytest.mark.parametrize("given", [("audio", "text"), ["audio", "text"], "audio+text"])
def test_auxiliaries_are_a_list_or_the_value_of_an_axis(given):
    assert Settings(**BASE, auxiliary=given).modalities == ("vision", "audio", "text")


def test_what_only_auxiliaries_use_is_no_part_of_unimodal():
    plain = Settings(dataset="mosi", method="unimodal")
    other = Settings(
        dataset="mosi",
        method="unimodal",
        auxiliary=["audio"],
        auxiliary_weight=2.0,
        warmup_epochs=3,
        warmup="target",
        samples="all",
    )
    assert plain.identity() == other.identity()
    assert plain.modalities == ("vision",)
    for change in ({"warmup_epochs": 3}, {"auxiliary": "audio"}, {"mask_padding": True}):
        assert Settings(**BASE, **change).identity() != Settings(**BASE).identity()


def test_iterations_replace_epochs():
    one, two = (Settings(**BASE, iterations=10, epochs=n) for n in (1, 2))
    assert one.identity() == two.identity()
    assert (one.steps(4), Settings(**BASE, epochs=2).steps(4)) == (10, 8)


@pytest.mark.parametrize("name", ["mosi", "my/own.npz", "own.npz"])
def test_a_file_of_yours_is_a_dataset(name):
    assert Settings(dataset=name, method="uml").dataset == name
