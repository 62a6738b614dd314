"""Margins, planes and prototypes by hand; separation against the definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from umlbench.analysis import geometry

STREAM = np.random.default_rng(0)


def case(seed, samples=40, classes=4, width=6):
    stream = np.random.default_rng(seed)
    head = stream.standard_normal((classes, width))
    y = np.arange(samples) % classes
    return stream.standard_normal((samples, width)) + head[y], head, y


# Functional margin


def test_margins_by_hand():
    """Distances to the lines between (1, 0), (0, 1) and (-1, 0)."""
    head = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    x = np.array([[3.0, 1.0], [3.0, 1.0], [-2.0, -1.0]])
    y = np.array([0, 1, 2])
    # |w0 - w1| = sqrt 2, |w2 - w1| = sqrt 2; sample 2 has logits -2, -1, 2: its rival is class 1.
    expected = [2 / 2**0.5, -2 / 2**0.5, 3 / 2**0.5]
    assert geometry.functional_margin(x @ head.T, head, y) == pytest.approx(expected)


@given(st.integers(0, 50))
def test_margins_are_distances_to_the_nearest_rival_boundary_that_logits_name(seed):
    """Equation 5, sample by sample; positive exactly where the head is right."""
    x, head, y = case(seed)
    logits = x @ head.T
    found = geometry.functional_margin(logits, head, y)
    for one, w, label, margin in zip(logits, x, y, found, strict=True):
        rival = max((c for c in range(4) if c != label), key=lambda c, one=one: one[c])
        apart = head[label] - head[rival]
        assert margin == pytest.approx(apart @ w / np.linalg.norm(apart))
    assert np.array_equal(found > 0, logits.argmax(1) == y)
    scaled = geometry.functional_margin(7 * logits, 7 * head, y)
    assert scaled == pytest.approx(found)  # the length of the head does not matter


def test_classes_with_one_row_have_no_margin():
    head = np.ones((2, 3))
    assert geometry.functional_margin(np.ones((1, 3)) @ head.T, head, np.array([0])) == [0.0]


# Silhouette and Davies-Bouldin index


def silhouette_by_definition(x, y):
    apart, found = cdist(x, x), []
    for i, label in enumerate(y):
        own = (y == label) & (np.arange(len(y)) != i)
        a = apart[i, own].mean()
        b = min(apart[i, y == other].mean() for other in set(y) - {label})
        found.append((b - a) / max(a, b))
    return np.mean(found)


def davies_bouldin_by_definition(x, y):
    means = np.stack([x[y == c].mean(0) for c in sorted(set(y))])
    within = [cdist(x[y == c], means[[c]]).mean() for c in sorted(set(y))]
    between = cdist(means, means)
    worst = [
        max((within[i] + within[j]) / between[i, j] for j in range(len(means)) if j != i)
        for i in range(len(means))
    ]
    return np.mean(worst)


def test_separation_is_what_its_names_say():
    x, _, y = case(3)
    found = geometry.separation(x, y)
    assert found["silhouette"] == pytest.approx(silhouette_by_definition(x, y))
    assert found["davies_bouldin"] == pytest.approx(davies_bouldin_by_definition(x, y))
    apart = geometry.separation(x + 10 * np.eye(6)[y], y)
    assert apart["silhouette"] > found["silhouette"]
    assert apart["davies_bouldin"] < found["davies_bouldin"]


@pytest.mark.parametrize("y", [[0, 0, 0], [0, 1, 2]])
def test_one_class_or_one_sample_a_class_has_no_separation(y):
    assert geometry.separation(np.eye(3), np.array(y)) == {}


def test_a_projection_s_distances_are_those_of_its_triangle():
    projection, x = STREAM.standard_normal((30, 5)), STREAM.standard_normal((8, 5))
    small = x @ geometry.distances_kept(projection).T
    assert small.shape == (8, 5)
    wide = x @ projection.T
    assert cdist(small, small) == pytest.approx(cdist(wide, wide))
    y = np.arange(8) % 2
    assert geometry.separation(small, y) == pytest.approx(geometry.separation(wide, y))
    narrow = STREAM.standard_normal((3, 5))
    small = x @ geometry.distances_kept(narrow).T
    assert cdist(small, small) == pytest.approx(cdist(x @ narrow.T, x @ narrow.T))


# Prototypes


def test_prototypes_against_texts_by_hand():
    """Class 1 has no text. Its means: (2, 0) for class 0, (0, 1) for class 2."""
    head = np.array([[1.0, 0.5], [9.0, 9.0], [2.0, 1.0]])
    texts = np.array([[3.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = geometry.alignment(head, texts, np.array([0, 2, 0]))
    assert found.labels.tolist() == [0, 2]
    assert found.products == pytest.approx(np.array([[2.0, 0.5], [4.0, 1.0]]))
    assert found.rank1 == 50.0


def test_a_head_made_of_orthogonal_texts_is_aligned_and_a_permuted_one_is_not():
    texts, labels = np.repeat(np.eye(5), 3, axis=0), np.repeat(np.arange(5), 3)
    assert geometry.alignment(np.eye(5), texts, labels).rank1 == 100.0
    assert geometry.alignment(np.roll(np.eye(5), 1, axis=0), texts, labels).rank1 == 0.0


@pytest.mark.parametrize(("classes", "shown"), [(5, 5), (20, 20), (100, 20)])
def test_some_of_many_classes(classes, shown):
    products = np.arange(classes**2, dtype=float).reshape(classes, classes)
    some = geometry.Alignment(np.arange(classes), products).some(20)
    assert len(some.labels) == shown
    assert (some.labels[0], some.labels[-1]) == (0, classes - 1)
    for i, label in enumerate(some.labels):
        assert some.products[i].tolist() == products[label, some.labels].tolist()


# Decision planes


def test_a_plane_by_hand():
    """w_a - w_b is along the first axis; means differ along the first two."""
    head = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [5.0, 5.0, 5.0]])
    x = np.array([[1.0, 2.0, 7.0], [3.0, 2.0, 7.0], [-1.0, -1.0, 7.0], [9.0, 9.0, 9.0]])
    found = geometry.decision_plane(x, np.array([0, 0, 1, 2]), head, 0, 1)
    assert found.points == pytest.approx(np.array([[1.0, 2.0], [3.0, 2.0], [-1.0, -1.0]]))
    assert found.second.tolist() == [False, False, True]
    assert found.accuracy == 100.0


@given(st.integers(0, 50))
def test_the_boundary_is_where_the_first_coordinate_is_zero(seed):
    x, head, y = case(seed)
    found = geometry.decision_plane(x, y, head, 1, 3)
    here = (y == 1) | (y == 3)
    logits = (x @ head.T)[here]
    lead = (logits[:, 1] - logits[:, 3]) / np.linalg.norm(head[1] - head[3])
    assert found.points[:, 0] == pytest.approx(lead)
    right = np.where(y[here] == 1, lead > 0, lead < 0)
    assert found.accuracy == pytest.approx(100 * right.mean())
    means = [found.points[found.second == side].mean(0) for side in (False, True)]
    difference = x[y == 1].mean(0) - x[y == 3].mean(0)
    # Both axes have length 1 and are orthogonal: the means keep their distance.
    assert np.linalg.norm(means[0] - means[1]) == pytest.approx(np.linalg.norm(difference))


def test_a_plane_of_one_row_has_one_coordinate():
    found = geometry.decision_plane(np.eye(2), np.array([0, 1]), np.ones((2, 2)), 0, 1)
    assert found.points[:, 0].tolist() == [0.0, 0.0]
    assert found.accuracy == 0.0
