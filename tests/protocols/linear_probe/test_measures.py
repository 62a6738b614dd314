"""What is measured with a job's selected head, against the head itself and direct computations."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import davies_bouldin_score, silhouette_score

from umlbench import data
from umlbench.errors import UserError
from umlbench.features import FeatureStore
from umlbench.jobs import Context, Job
from umlbench.needs import EncoderNeed
from umlbench.protocols import linear_probe
from umlbench.protocols.linear_probe.settings import Settings

BASE = {
    "dataset": "digits",
    "encoder": "pixels",
    "text_encoder": "tfidf",
    "text_type": "descriptions",
    "shots": 4,
    "max_iterations": 101,
    "eval_every": 50,
}
GRID = {"learning_rate": (1e-2, 1e-3), "text_shots": (None, 3)}
ALL = {"geometry": True, "plane": ["four", "Nine"], "test_sets": ["digits"]}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(cache=tmp_path_factory.mktemp("features"), offline=True, heads="results")


def job(method, **changes):
    settings = Settings(**{**BASE, "method": method, **changes})
    return Job("t", "linear_probe", 1, {"method": method}, 1, settings, GRID, "val_accuracy")


@pytest.fixture(scope="module", params=["unimodal", "uml", "uml_init"])
def measured(request, context):
    ((_, outcome),) = linear_probe.run([job(request.param, **ALL)], context)
    return outcome


@pytest.fixture(scope="module")
def test_split(context):
    encoder = EncoderNeed("pixels", "image").find(context)
    samples = data.load("digits").split("test")
    found = FeatureStore(context.cache).get(encoder, samples, dataset="digits", split="test")
    return found.x, found.y.numpy()


def curve(outcome, axis):
    (found,) = [one for one in outcome.curves if one.axis == axis]
    return found


def test_margin_and_separation_are_those_of_the_stored_head(measured, test_split):
    x, y = test_split
    inputs, weights = measured.head.inputs(x).numpy(), measured.head.tensors["head"]
    logits = inputs @ weights.T
    margins = []
    for one, row, label in zip(inputs, logits, y, strict=True):
        rival = max((c for c in range(10) if c != label), key=row.__getitem__)
        apart = weights[label] - weights[rival]
        margins.append(apart @ one / np.linalg.norm(apart))
    figures = measured.metrics
    assert figures["functional_margin"] == pytest.approx(np.mean(margins), rel=1e-4)
    assert figures["silhouette"] == pytest.approx(silhouette_score(inputs, y), rel=1e-4)
    assert figures["silhouette_logits"] == pytest.approx(silhouette_score(logits, y), rel=1e-4)
    expected = davies_bouldin_score(inputs, y)
    assert figures["davies_bouldin"] == pytest.approx(expected, rel=1e-4)
    expected = davies_bouldin_score(logits, y)
    assert figures["davies_bouldin_logits"] == pytest.approx(expected, rel=1e-4)


def test_prototypes_meet_the_text_that_the_head_was_trained_with(measured):
    if measured.head.tensors.get("projection") is None:
        assert "prototype_rank1" not in measured.metrics
        assert [one.axis for one in measured.curves] == ["test_set", "plane_sample"]
        return
    products = curve(measured, "prototype")
    assert products.points[:2] == ("0 zero", "1 one")
    matrix = np.array([products.values[name] for name in products.points]).T
    assert matrix.shape == (10, 10)
    rank1 = 100 * np.mean(matrix.argmax(1) == np.arange(10))
    assert measured.metrics["prototype_rank1"] == rank1


def test_the_plane_holds_the_test_samples_of_both_classes(measured, test_split):
    x, y = test_split
    found = curve(measured, "plane_sample")
    here = (y == 4) | (y == 9)
    assert len(found.points) == here.sum()
    assert found.values["second"] == tuple((y[here] == 9).astype(float))
    logits = measured.head.logits(x)[here].numpy()
    four = logits[:, 4] > logits[:, 9]
    assert (np.array(found.values["u1"]) > 0).tolist() == four.tolist()
    right = np.mean(four == (y[here] == 4))
    assert measured.metrics["plane_accuracy"] == pytest.approx(100 * right)


def test_a_test_set_is_measured_like_the_target_s_own(measured):
    found = curve(measured, "test_set")
    assert found.points == ("digits",)
    assert found.values["accuracy"] == (pytest.approx(measured.metrics["accuracy"]),)


def test_measuring_changes_no_other_figure(context):
    plain, more = job("uml"), job("uml", **ALL)
    ((_, before),) = linear_probe.run([plain], context)
    ((_, after),) = linear_probe.run([more], context)
    assert before.metrics.items() <= after.metrics.items()
    assert (before.trials, before.selection) == (after.trials, after.selection)
    assert before.curves == ()
    assert more.id != plain.id
    assert "measure" in after.seconds


def test_nothing_asked_is_no_setting():
    unset = {"geometry": False, "plane": None, "test_sets": []}
    assert job("uml", **unset).id == job("uml").id
    assert not set(unset) & set(job("uml").settings.identity())


def test_the_head_travels_only_where_it_is_kept(tmp_path):
    alone = Context(cache=tmp_path, offline=True)
    ((_, outcome),) = linear_probe.run([job("unimodal", plane=["one", "two"])], alone)
    assert outcome.head is None
    assert "plane_accuracy" in outcome.metrics


# Mistakes


def test_a_class_that_does_not_exist_is_said_before_training(context):
    with pytest.raises(UserError, match="unknown class of digits 'fuor', did you mean 'four'"):
        linear_probe.inputs(job("uml", plane=["fuor", "nine"]).settings, context)


def folders(root, name, classes):
    from PIL import Image

    for split in ("train", "test"):
        for word in classes:
            (root / name / split / word).mkdir(parents=True)
            for number in range(3):
                Image.new("L", (8, 8)).save(root / name / split / word / f"{split}{number}.png")
    return str(root / name)


@pytest.mark.parametrize(
    ("classes", "what"),
    [
        (["a", "b", "d"], "class 2 is 'd' there and 'c' here"),
        (["a", "b"], "it has 2 classes, not 3"),
    ],
)
def test_a_test_set_of_other_classes_is_refused(context, tmp_path, classes, what):
    mine = folders(tmp_path, "mine", ["a", "b", "c"])
    other = folders(tmp_path, "other", classes)
    settings = job("unimodal", dataset=mine, test_sets=[other]).settings
    with pytest.raises(
        UserError, match=f"folder:other cannot be a test set of folder:mine: {what}"
    ):
        linear_probe.inputs(settings, context)


def test_a_test_set_has_a_fingerprint_and_is_read(context, tmp_path):
    mine, other = (folders(tmp_path, name, ["a", "b"]) for name in ("mine", "other"))
    settings = job("unimodal", dataset=mine, test_sets=[other]).settings
    assert other in linear_probe.inputs(settings, context)
    reads = linear_probe.reads(settings)
    assert [str(need) for need in reads.needs] == [mine, other, "pixels"]
    assert len(reads.features) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_sets": ["imagenet_b"]}, "unknown dataset 'imagenet_b', did you mean 'imagenet_"),
        ({"test_sets": ["dtd", "dtd"]}, "repeats 'dtd'"),
        ({"plane": ["one", "one"]}, "needs two classes, not 'one' twice"),
        ({"plane": ["one"]}, "at least 2 items"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Settings(**{**BASE, "method": "uml", **change})
