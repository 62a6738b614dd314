"""Presets: what else a value of an axis stands for."""

import pytest
import yaml

from umlbench import recipe
from umlbench.errors import UserError

ALIGNED = {"encoder": "clip:RN50", "scale": 100.0, "learnable_scale": False}
FILE = {
    "id": "mine",
    "title": "Two ways to encode",
    "protocol": "linear_probe",
    "axes": {"alignment": ["unaligned", "aligned"], "dataset": ["dtd", "digits"]},
    "presets": {
        "alignment": {"unaligned": {}, "aligned": ALIGNED},
        "dataset": {"dtd": {"patience": 3}},
    },
    "seeds": [1],
    "settings": {"encoder": "pixels", "method": "unimodal"},
    "grid": {"learning_rate": [0.1, 0.01], "learnable_scale": [False, True]},
    "selection": "val_accuracy",
    "report": {"metrics": ["accuracy"], "rows": ["alignment"], "columns": ["dataset"]},
}


def load(tmp_path, *overrides, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**FILE, **changes}))
    return recipe.load(path, overrides=overrides)


def at(loaded, alignment, dataset="dtd"):
    cell = {"alignment": alignment, "dataset": dataset}
    return next(job for job in loaded.jobs() if job.cell == cell)


def test_a_value_stands_for_several_settings(tmp_path):
    loaded = load(tmp_path)
    aligned, unaligned = at(loaded, "aligned").settings, at(loaded, "unaligned").settings
    assert (aligned.encoder, aligned.scale, aligned.dataset) == ("clip:RN50", 100.0, "dtd")
    assert (unaligned.encoder, unaligned.scale) == ("pixels", 1.0)
    assert aligned.patience == unaligned.patience == 3
    assert at(loaded, "aligned", "digits").settings.patience == 10


def test_what_a_preset_says_does_not_vary_inside_a_job(tmp_path):
    loaded = load(tmp_path)
    assert set(at(loaded, "aligned").grid) == {"learning_rate"}
    assert len(at(loaded, "unaligned").trials()) == 4
    assert len(at(loaded, "aligned").trials()) == 2


def test_a_job_is_the_one_that_settings_alone_would_make(tmp_path):
    """A preset is a way to write settings: it is no part of a job's identity."""
    mine = at(load(tmp_path), "aligned")
    grid = {"learning_rate": FILE["grid"]["learning_rate"]}
    plain = load(
        tmp_path,
        axes={"dataset": ["dtd"]},
        presets={},
        settings={**FILE["settings"], **ALIGNED, "patience": 3},
        grid=grid,
        report={"metrics": ["accuracy"], "rows": ["dataset"]},
    )
    assert [job.id for job in plain.jobs()] == [mine.id]


@pytest.mark.parametrize(
    ("change", "scale"), [("scale=7.0", 7.0), ("settings.scale=7.0", 7.0), ("patience=4", 100.0)]
)
def test_set_has_the_last_word(tmp_path, change, scale):
    loaded = load(tmp_path, change)
    assert at(loaded, "aligned").settings.scale == scale
    assert at(loaded, "aligned").settings.encoder == "clip:RN50"


def test_a_narrowed_axis_keeps_the_other_presets_and_a_setting_has_none(tmp_path):
    assert [c["alignment"] for c in load(tmp_path, "alignment=aligned").cells()] == ["aligned"] * 2
    loaded = load(tmp_path, "settings.dataset=dtd", "report.columns=[]")
    assert loaded.settings({"alignment": "aligned"}).patience == 10
    with pytest.raises(UserError, match=r"alignment\[0\]: presets.alignment does not say what"):
        load(tmp_path, "alignment=other")


def test_a_file_narrows_what_it_extends(tmp_path):
    load(tmp_path)
    child = {"extends": "mine", "id": "child", "axes": {"dataset": ["digits"]}}
    (tmp_path / "child.yaml").write_text(yaml.safe_dump(child))
    assert len(list(recipe.load(tmp_path / "child.yaml").jobs())) == 2


def test_written_out_it_is_the_same_recipe(tmp_path):
    loaded = load(tmp_path)
    (tmp_path / "copy.yaml").write_text(loaded.to_yaml())
    assert recipe.load(tmp_path / "copy.yaml").file == loaded.file
