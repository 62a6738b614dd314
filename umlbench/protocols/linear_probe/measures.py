"""What else is measured with the head that a job selected (`Settings.measures`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from umlbench.heads import ROWS, Head
from umlbench.jobs import Curve
from umlbench.protocols import Metric
from umlbench.protocols.linear_probe.prepared import Prepared, Reader
from umlbench.schema import Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from umlbench.analysis.geometry import Alignment
    from umlbench.sweep import Samples

METRICS: Mapping[str, Metric] = {
    "functional_margin": Metric(
        "Functional margin", "distance in the head input space", True, digits=3
    ),
    "silhouette": Metric("Silhouette of head inputs", "-1 to 1", True, digits=3),
    "silhouette_logits": Metric("Silhouette of logits", "-1 to 1", True, digits=3),
    "davies_bouldin": Metric("DB-index of head inputs", "lower is better", False, digits=3),
    "davies_bouldin_logits": Metric("DB-index of logits", "lower is better", False, digits=3),
    "prototype_rank1": Metric("Prototypes nearest to the text of their class", "percent", True),
    "plane_accuracy": Metric("Accuracy between the two classes", "percent", True),
}
SHOWN = 20  # classes of a record's heat map of prototypes and texts


@dataclass
class Measured:
    """Further figures of a job; a figure that a head does not have is left out."""

    metrics: dict[str, float] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)  # of the features that were read


def measure(
    one: Prepared, head: Head, point: Mapping[str, Scalar], accuracy: float, reader: Reader
) -> Measured:
    """Everything that the settings ask for; `point` is the selected trial's, `accuracy` its own."""
    found = Measured()
    if one.settings.test_sets:
        _test_sets(found, one, head, accuracy, reader)
    if one.settings.geometry:
        trained_on = one.texts.get(one.settings.model_copy(update=point).text_shots)
        _geometry(found, one, head, trained_on)
    if one.settings.plane:
        _plane(found, one, head)
    return found


def _test_sets(found: Measured, one: Prepared, head: Head, accuracy: float, reader: Reader) -> None:
    """Accuracy by test set, the target's own first: a curve over their names."""
    import torch

    from umlbench.analysis import robustness

    figures = {one.settings.dataset: accuracy}
    for name, (dataset, encoder) in one.sources.test_sets.items():
        features = reader.features(encoder, dataset.split("test"), dataset.name, "test")
        logits = torch.cat([head.logits(part) for part in torch.split(features.x, ROWS)])
        figures[name] = robustness.accuracy(logits.numpy(), features.y.numpy())
        found.keys[f"{encoder.name}/{name}"] = features.key
    curve = Curve("test_set", tuple(figures), {"accuracy": tuple(figures.values())})
    found.curves.append(curve)


def _geometry(found: Measured, one: Prepared, head: Head, texts: Samples | None) -> None:
    """Mean margin, separation of inputs and logits, alignment with the text that was trained on."""
    from umlbench.analysis import geometry

    x, y, weights = _double(one.test.x), one.test.y.numpy(), _double(head.tensors["head"])
    direct, near = weights, x
    if "projection" in head.tensors:
        projection = _double(head.tensors["projection"])
        direct, near = weights @ projection, x @ geometry.distances_kept(projection).T
    logits = x @ direct.T
    margins = geometry.functional_margin(logits, weights, y)
    found.metrics["functional_margin"] = float(margins.mean())
    found.metrics |= geometry.separation(near, y)
    of_logits = geometry.separation(logits, y)
    found.metrics |= {f"{name}_logits": value for name, value in of_logits.items()}
    if texts is not None:
        aligned = geometry.alignment(weights, _double(texts.x), texts.y.numpy())
        found.metrics["prototype_rank1"] = aligned.rank1
        found.curves.append(_heat_map(aligned.some(SHOWN), head.classes))


def _heat_map(aligned: Alignment, classes: tuple[str, ...]) -> Curve:
    """A prototype a point, its inner product with each class's text a value."""
    names = [f"{label} {classes[label]}" for label in aligned.labels]
    columns = zip(names, aligned.products.T, strict=True)
    values = {name: tuple(float(v) for v in column) for name, column in columns}
    return Curve("prototype", tuple(names), values)


def _plane(found: Measured, one: Prepared, head: Head) -> None:
    """The test samples of two classes in the plane of their boundary: a curve over the samples."""
    from umlbench.analysis import geometry

    pair = one.sources.plane
    y = one.test.y.numpy()
    here = (y == pair[0]) | (y == pair[1])
    inputs = head.inputs(one.frozen[here]).numpy()
    plane = geometry.decision_plane(inputs, y[here], _double(head.tensors["head"]), *pair)
    found.metrics["plane_accuracy"] = plane.accuracy
    columns = {"u1": plane.points[:, 0], "u2": plane.points[:, 1], "second": plane.second}
    values = {name: tuple(float(v) for v in column) for name, column in columns.items()}
    found.curves.append(Curve("plane_sample", tuple(range(len(inputs))), values))


def _double(x: Any) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(x, dtype=np.float64)
