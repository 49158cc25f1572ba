"""Texts as bags of n-grams, beside scikit-learn and dense matrices."""

import dataclasses
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from experiments import _fitting, _text

TEXTS = [
    "Call 08001 now now now, FREE!",
    "are you free now?",
    "see you at home then",
    "free call at 0800",
    "never seen words",
]
LABELS = np.array([1, 0, 0, 1, 0], np.int32)
SEEN = np.arange(4)
SEARCH = _text.Search(
    size=100,
    length=30,
    num_epochs=2,
    batch_size=2,
    learning_rate=0.1,
    strengths=(1e-3, 1e-2),
    ratios=False,
    seed=0,
)


def dense(encoded, num_places):
    matrix = np.zeros((len(encoded.ids), num_places))
    for row, (ids, weights) in enumerate(zip(encoded.ids, encoded.weights, strict=True)):
        np.add.at(matrix[row], ids, weights)
    return matrix


def test_ngrams_are_runs_of_words_and_of_characters_within_a_word():
    found = list(_text.ngrams("It's 42!", (1, 2), (3,)))
    of_words = ["it's", "00", "!", "it's 00", "00 !"]
    of_characters = ["~ it", "~it'", "~t's", "~'s ", "~ 00", "~00 ", "~ ! "]
    assert found == [*of_words, *of_characters]


def test_weights_are_those_of_scikit_learn():
    encoded = _text.encode(_text.bags(TEXTS, (1, 2)), LABELS, SEEN, SEARCH)
    peer = TfidfVectorizer(
        tokenizer=lambda text: list(_text.ngrams(text, (1,), ())),
        token_pattern=cast("Any", None),
        ngram_range=(1, 2),
        sublinear_tf=True,
    )
    peer.fit([TEXTS[i] for i in SEEN])
    names = _text.bags(TEXTS, (1, 2)).names
    found = dense(encoded, len(encoded.vocabulary))
    order = [peer.vocabulary_[names[gram]] for gram in encoded.vocabulary]
    assert len(order) == len(peer.vocabulary_)
    np.testing.assert_allclose(found, peer.transform(TEXTS).toarray()[:, order], atol=1e-6)
    np.testing.assert_array_equal(found, _text.as_matrix(encoded).toarray().astype(np.float64))


def test_words_and_characters_are_each_of_length_1():
    bags = _text.bags(TEXTS, (1,), (2, 3))
    encoded = _text.encode(bags, LABELS, SEEN, dataclasses.replace(SEARCH, size=1000, length=100))
    names = np.array(bags.names)[encoded.vocabulary]
    of_characters = np.char.startswith(names, "~")
    found = dense(encoded, len(names))[2]
    for kind in (of_characters, ~of_characters):
        assert np.sum(found[kind] ** 2) == pytest.approx(1, abs=1e-6)


def test_what_is_not_seen_teaches_nothing():
    others = [*TEXTS[:4], "now now call call home"]
    features = []
    for texts, label in ((TEXTS, 0), (others, 1)):
        bags, labels = _text.bags(texts, (1, 2)), np.array([*LABELS[:4], label])
        encoded = _text.encode(bags, labels, SEEN, SEARCH)
        features.append((encoded.of(SEEN), [bags.names[i] for i in encoded.vocabulary]))
    (first, names), (second, other_names) = features
    assert names == other_names
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ratios_are_the_log_odds_of_naive_bayes():
    bags = _text.bags(TEXTS, (1,))
    plain = _text.encode(bags, LABELS, SEEN, SEARCH)
    scaled = _text.encode(bags, LABELS, SEEN, dataclasses.replace(SEARCH, ratios=True))
    size = len(plain.vocabulary)
    has = dense(plain, size)[SEEN] > 0
    shares = [1 + has[LABELS[SEEN] == label].sum(0) for label in (1, 0)]
    ratio = np.abs(np.log(shares[0] / shares[0].sum() / (shares[1] / shares[1].sum())))
    np.testing.assert_allclose(dense(scaled, size), dense(plain, size) * ratio, atol=1e-6)


def test_of_a_long_text_the_heaviest_count():
    bags = _text.bags(TEXTS, (1, 2))
    whole = _text.encode(bags, LABELS, SEEN, SEARCH)
    short = _text.encode(bags, LABELS, SEEN, dataclasses.replace(SEARCH, length=2))
    heaviest = np.sort(whole.weights, axis=1)[:, : -2 - 1 : -1]
    np.testing.assert_array_equal(short.weights, heaviest)


def test_the_classifier_is_a_product_with_the_dense_matrix():
    encoded = _text.encode(_text.bags(TEXTS, (1, 2)), LABELS, SEEN, SEARCH)
    model = _text.BagClassifier(SEARCH.size, 0.0)
    kernel = np.random.default_rng(0).normal(size=SEARCH.size).astype(np.float32)
    model.kernel[...], model.bias[...] = jnp.asarray(kernel), jnp.asarray(0.5)
    expected = dense(encoded, SEARCH.size) @ kernel + 0.5
    ids, weights = encoded.of(np.arange(5))
    found = model((jnp.asarray(ids), jnp.asarray(weights)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_strength_is_that_of_the_least_loss_on_the_fifth():
    labels = np.tile([0, 1], 10)
    asked = []

    def judged(learns, judges):
        asked.append((learns, judges))
        signs = 2.0 * labels[judges] - 1
        return [-signs, signs]

    assert _text.best_strength(judged, labels, np.arange(20), SEARCH) == SEARCH.strengths[1]
    ((learns, judges),) = asked
    assert sorted([*learns, *judges]) == [*range(20)] and len(judges) == 4


def test_filling_adds_examples_of_no_weight():
    data = _fitting.filled((np.ones((2, 3)), np.ones(2)), np.array([1, 1]), 4)
    assert data.features[0].shape == (4, 3) and data.features[1].shape == (4,)
    np.testing.assert_array_equal(data.weights, [1, 1, 0, 0])
