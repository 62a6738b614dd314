import numpy as np
import pytest

from umlbench import data, encoders
from umlbench.data.samples import Samples
from umlbench.errors import UserError


def corpus(*sentences):
    ids = tuple(str(row) for row in range(len(sentences)))
    return Samples(ids, np.zeros(len(sentences), dtype=np.int64), sentences)


def test_sentences_become_unit_rows_of_modest_width():
    texts = data.texts("digits")
    encoder = encoders.load("tfidf", corpus=texts)
    rows = encoder.encode(texts.items)
    assert rows.shape == (160, encoder.width) == (160, 128)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.array_equal(encoder.encode(texts.items[5:6]), rows[5:6])


def test_words_that_describe_a_digit_are_kept():
    encoder = encoders.load("tfidf", corpus=corpus("Two loops on Top", "one bar at the bottom"))
    assert encoder.encode(["two", "top", "one", "bottom"]).any(axis=1).all()
    assert not encoder.encode(["unheard"]).any()
    assert encoder.encode([]).shape == (0, encoder.width)


def test_the_key_names_the_corpus():
    one = encoders.load("tfidf", corpus=corpus("a round loop", "a flat bar"))
    two = encoders.load("tfidf", corpus=corpus("a round loop", "a flat bar", "a flat bar"))
    again = encoders.load("tfidf", corpus=corpus("a round loop", "a flat bar"))
    assert one.key() == again.key()
    assert one.key()["corpus"] != two.key()["corpus"]


def test_no_corpus_and_an_empty_corpus_are_refused():
    with pytest.raises(UserError, match="fitted on a text corpus, and none was given"):
        encoders.load("tfidf")
    for empty in (corpus(), corpus("", "?")):
        with pytest.raises(UserError, match="found no words"):
            encoders.load("tfidf", corpus=empty)
