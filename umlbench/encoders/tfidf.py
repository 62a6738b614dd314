"""`tfidf`: weighted word counts of a sentence; the text encoder of `digits`.

Fitted once on a whole corpus of sentences (never on labels), frozen from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders.batches import Tick, no_tick
from umlbench.errors import UserError
from umlbench.seeds import digest

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

    from umlbench.data.samples import Samples
    from umlbench.encoders import Encoder, Modality, Setup

# No stop words: scikit-learn's English list holds "top", "bottom", "one", "two", "three", the very
# words that describe a digit. Common words are damped by their document frequency instead.
OPTIONS: dict[str, Any] = {"lowercase": True, "sublinear_tf": True, "max_features": 128}


@dataclass(frozen=True)
class Tfidf:
    """A fitted vectorizer; `corpus` is the fingerprint of what it was fitted on."""

    vectorizer: TfidfVectorizer = field(repr=False)
    corpus: str
    name: str = "tfidf"
    modality: Modality = "text"

    @property
    def width(self) -> int:
        """Words kept: at most `max_features`."""
        return len(self.vectorizer.vocabulary_)

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`; the vocabulary's hash tells another tokenizer or word list apart."""
        words = digest(self.vectorizer.get_feature_names_out().tolist())
        fitted = {"corpus": self.corpus, "vocabulary": words}
        return {"library": "scikit-learn", "name": self.name, "revision": 1, **fitted, **OPTIONS}

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, width) float32 rows of length 1; 0 for a sentence without a known word."""
        if not len(items):
            return np.zeros((0, self.width), dtype=np.float32)
        rows = self.vectorizer.transform(items)
        tick(len(items))
        return np.asarray(rows.toarray(), dtype=np.float32)


def fit(corpus: Samples) -> Tfidf:
    """Fit on the sentences of `corpus`; `UserError` where they hold no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(**OPTIONS)
    try:
        vectorizer.fit(corpus.items)
    except ValueError as error:
        message = f"encoder 'tfidf' found no words in its corpus of {len(corpus)} sentences"
        raise UserError(
            message, "give it a text corpus with words of two letters or more"
        ) from error
    return Tfidf(vectorizer, corpus.fingerprint)


def build(setup: Setup) -> Encoder:
    """Runs on the CPU whatever the device; `UserError` without a corpus."""
    setup.require_float32("tfidf")
    if setup.corpus is None:
        hint = "pass the sentences it shall be fitted on, e.g. umlbench.data.texts('digits')"
        raise UserError("encoder 'tfidf' is fitted on a text corpus, and none was given", hint)
    return fit(setup.corpus)
