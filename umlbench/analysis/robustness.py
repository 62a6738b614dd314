"""Accuracy of a trained head on other test sets (section 4.2, appendix E.3; figures 5, 12 to 15).

ImageNet-A and -R hold 200 of ImageNet's classes. As in the code that the release builds on, the
head's rows of the classes that a set holds compete, and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def rows(labels: ArrayLike) -> NDArray[np.int64]:
    """The rows of the head that a set with these labels (N,) is judged on, ascending.

    Labels are the head's own (`umlbench.data.layout.imagenet_variant`). The released code numbers a
    set's folders anew and maps them back: it keeps the same rows, in the order of the folders.
    """
    import numpy as np

    return np.unique(np.asarray(labels, dtype=np.int64))


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Percent of the samples whose class has the highest logit among the set's classes.

    `logits` (N, C) are of all the head's classes, `labels` (N,) among them.
    """
    import numpy as np

    truth, known = np.asarray(labels), rows(labels)
    predicted = known[np.asarray(logits)[:, known].argmax(1)]
    return float(100 * (predicted == truth).mean())
