"""What a head has learned, as geometry (sections F.2 and E; figures 41 to 47).

Every function takes arrays: head inputs x (N, T) (frozen features, projected where the method has a
projection), the head W (C, T), labels y (N,). Logits are W x without the logit scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int64]


def functional_margin(logits: Floats, head: Floats, y: Labels) -> Floats:
    """(w_y x - w_j x) / |w_y - w_j| of every sample (N,), equation 5.

    j is the wrong class with the highest logit; `logits` (N, C) are W x. Where two classes share
    one row the margin is 0.
    """
    import numpy as np
    from scipy.spatial.distance import cdist

    each = np.arange(len(y))
    others = logits.copy()
    others[each, y] = -np.inf
    rival = others.argmax(1)
    apart = cdist(head, head)[y, rival]
    lead = logits[each, y] - logits[each, rival]
    margin: Floats = np.divide(lead, apart, out=np.zeros_like(lead), where=apart > 0)
    return margin


def separation(x: Floats, y: Labels) -> dict[str, float]:
    """Silhouette score and Davies-Bouldin index of the classes y (N,) of vectors x (N, width).

    Nothing where there are fewer than two classes or no class with two samples: neither is defined.
    """
    import numpy as np
    from sklearn.metrics import davies_bouldin_score, silhouette_score

    if not 2 <= len(np.unique(y)) < len(y):
        return {}
    return {
        "silhouette": float(silhouette_score(x, y)),
        "davies_bouldin": float(davies_bouldin_score(x, y)),
    }


def distances_kept(projection: Floats) -> Floats:
    """A square matrix R (D, D) for a projection P (T, D): |P x - P z| = |R x - R z| for all x, z.

    Distances between head inputs are then those of D numbers a sample instead of T.
    """
    import numpy as np

    return np.asarray(np.linalg.qr(projection, mode="r"))


@dataclass(frozen=True)
class Alignment:
    """Inner products of prototypes with texts.

    `products` (C', C') has a row for the prototype and a column for the mean text vector of each of
    `labels` (C',), the classes that have text.
    """

    labels: Labels
    products: Floats

    @property
    def rank1(self) -> float:
        """Percent of the prototypes whose largest inner product is that with their own text."""
        import numpy as np

        return float(100 * (self.products.argmax(1) == np.arange(len(self.labels))).mean())

    def some(self, most: int) -> Alignment:
        """At most `most` of the classes, evenly spread over them."""
        import numpy as np

        kept = np.unique(np.linspace(0, len(self.labels) - 1, most).round().astype(int))
        return Alignment(self.labels[kept], self.products[np.ix_(kept, kept)])


def alignment(head: Floats, texts: Floats, labels: Labels) -> Alignment:
    """Prototypes W (C, T) against the mean text vector of each class of `texts` (M, T)."""
    import numpy as np

    known, of = np.unique(labels, return_inverse=True)
    means = np.zeros((len(known), texts.shape[1]))
    np.add.at(means, of, texts)
    means /= np.bincount(of)[:, None]
    return Alignment(known, head[known] @ means.T)


@dataclass(frozen=True)
class DecisionPlane:
    """Samples of two classes in the plane of their boundary's normal and of their means.

    `points` (n, 2): the first coordinate is along u1 = (w_a - w_b) / |w_a - w_b|, so that the
    boundary of the bias-free head is where it is 0 and class a has the positive side. The second is
    along u2, the part of the difference of the class means that u1 lacks. `second` (n,) says which
    samples are of class b.
    """

    points: Floats
    second: NDArray[np.bool_]

    @property
    def accuracy(self) -> float:
        """Percent of the samples on their class's side of the boundary."""
        import numpy as np

        right = np.where(self.second, self.points[:, 0] < 0, self.points[:, 0] > 0)
        return float(100 * right.mean())


def decision_plane(x: Floats, y: Labels, head: Floats, a: int, b: int) -> DecisionPlane:
    """The samples x (N, T) of classes a and b in the plane of section F.2.

    Where rows or means of the two classes coincide, that coordinate is 0.
    """
    import numpy as np

    here = (y == a) | (y == b)
    x, second = x[here], y[here] == b
    normal = _unit(head[a] - head[b])
    between = x[~second].mean(0) - x[second].mean(0)
    along = _unit(between - (between @ normal) * normal)
    return DecisionPlane(x @ np.stack([normal, along], axis=1), second)


def _unit(vector: Floats) -> Floats:
    import numpy as np

    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
