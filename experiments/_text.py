"""Texts as bags of n-grams, and classifiers of them that never make a dense matrix of both."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.sparse
from flax import nnx
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from jbce import training

from ._fitting import filled, predicted

_TOKEN = re.compile(r"[\w']+|[^\w\s]+")
_DIGIT = re.compile(r"\d")
_OF_CHARACTERS = "~"


@dataclass(frozen=True)
class Search:
    """How to train, and what to choose from."""

    size: int
    """Of the vocabulary."""
    length: int
    """N-grams of a text that count."""
    num_epochs: int
    """Passes through the texts; the learning rate falls to 0 over them."""
    batch_size: int
    """Texts in each step."""
    learning_rate: float
    """Of Adam, to begin with."""
    strengths: tuple[float, ...]
    """Of the penalty, `strength/2·Σ kernel²`: what is chosen."""
    ratios: bool
    """Whether weights are scaled as naive Bayes would have it."""
    seed: int
    """Of the inner split and the order of the texts."""


class Bags(NamedTuple):
    """Which n-grams are in which texts: a sparse matrix, by rows.

    All texts are numbered together. Nothing is learnt of them until `encode` says from which.
    """

    names: list[str]
    """The n-grams; those of characters begin with a tilde."""
    texts: np.ndarray
    """`[entries]`, ascending: in which text."""
    grams: np.ndarray
    """`[entries]`: which n-gram."""
    counts: np.ndarray
    """`[entries]`: how often."""


class Encoded(NamedTuple):
    """Texts as rows of the same length, filled up with weights of 0."""

    ids: np.ndarray
    """`[texts, length]`, int32: places in the vocabulary."""
    weights: np.ndarray
    """`[texts, length]`, float32."""
    vocabulary: np.ndarray
    """Which n-gram of the bags has each place."""

    def of(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The features of some texts."""
        return self.ids[texts], self.weights[texts]


def ngrams(text: str, words: Sequence[int], characters: Sequence[int]) -> Iterator[str]:
    """Runs of words, and runs of characters of a word with a space before and after it.

    Capitals are small letters, and every digit is 0: what matters of a telephone number is that it
    is one.
    """
    tokens = _TOKEN.findall(_DIGIT.sub("0", text.lower()))
    for size in words:
        for start in range(len(tokens) - size + 1):
            yield " ".join(tokens[start : start + size])
    for token in tokens:
        padded = f" {token} "
        for size in characters:
            for start in range(len(padded) - size + 1):
                yield _OF_CHARACTERS + padded[start : start + size]


def bags(texts: Sequence[str], words: Sequence[int], characters: Sequence[int] = ()) -> Bags:
    """Counts the n-grams of these sizes."""
    numbers: dict[str, int] = {}
    rows, grams, counts = [], [], []
    for row, text in enumerate(texts):
        found = Counter(ngrams(text, words, characters))
        rows += [row] * len(found)
        grams += [numbers.setdefault(gram, len(numbers)) for gram in found]
        counts += found.values()
    return Bags([*numbers], np.array(rows), np.array(grams), np.array(counts))


def encode(bags: Bags, labels: np.ndarray, seen: np.ndarray, search: Search) -> Encoded:
    """All texts; vocabulary, rarities and ratios are learnt from those `seen` alone.

    The vocabulary is the `search.size` n-grams that are in most texts. A weight is
    (1 + log count)·(1 + log((1 + n)/(1 + texts that have it))), as scikit-learn has it, divided so
    that the squares of a text's words have the sum 1, and those of its characters too. With
    `ratios` it is then multiplied with the size of naive Bayes' log-odds of the n-gram (Wang and
    Manning, Baselines and bigrams, ACL 2012). Of a long text the `search.length` largest count.
    """
    learnt = np.isin(bags.texts, seen)
    positive = learnt & (labels[bags.texts] == 1)
    frequency = np.bincount(bags.grams[learnt], minlength=len(bags.names))
    of_positive = np.bincount(bags.grams[positive], minlength=len(bags.names))
    vocabulary = np.argsort(-frequency, kind="stable")[: search.size]
    vocabulary = vocabulary[frequency[vocabulary] > 0]
    places = np.full(len(bags.names), -1)
    places[vocabulary] = np.arange(len(vocabulary))

    known = places[bags.grams] >= 0
    texts, grams, counts = bags.texts[known], bags.grams[known], bags.counts[known]
    weights = (1 + np.log(counts)) * (1 + np.log((1 + len(seen)) / (1 + frequency[grams])))
    kinds = 2 * texts + np.array([name[0] == _OF_CHARACTERS for name in bags.names])[grams]
    weights /= np.sqrt(np.bincount(kinds, weights**2))[kinds]
    if search.ratios:
        shares = np.stack([1 + of_positive, 1 + frequency - of_positive]).astype(float)
        shares /= shares[:, vocabulary].sum(axis=1, keepdims=True)
        weights *= np.abs(np.log(shares[0] / shares[1]))[grams]

    order = np.lexsort((-weights, texts))  # of each text the heaviest first
    texts, grams, weights = texts[order], grams[order], weights[order]
    columns = np.arange(len(texts)) - np.searchsorted(texts, texts)
    kept = columns < search.length
    ids = np.zeros((len(labels), search.length), np.int32)
    padded = np.zeros((len(labels), search.length), np.float32)
    ids[texts[kept], columns[kept]] = places[grams[kept]]
    padded[texts[kept], columns[kept]] = weights[kept]
    return Encoded(ids, padded, vocabulary)


class BagClassifier(nnx.Module):
    """Logistic regression of bags: one logit a text, `Σ weights·kernel[ids] + bias`."""

    def __init__(self, size: int, strength: float):
        self.kernel = nnx.Param(jnp.zeros(size))
        self.bias = nnx.Param(jnp.zeros(()))
        # No parameter, and not compiled in: fits of all strengths share their compilation.
        self.strength = nnx.Variable(jnp.asarray(strength, jnp.float32))

    def __call__(self, features: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Logits `[texts]` of (ids, weights)."""
        ids, weights = features
        return jnp.sum(weights * self.kernel[...][ids], axis=-1) + self.bias[...]


TELLING = (
    "Words and pairs of words by how much they move the logit of a text that has them, most "
    "telling first: those in 10 texts and more, in the model of the last split. Every digit is "
    "written 0."
)


class Fitted(NamedTuple):
    """A classifier, and what it was chosen for."""

    model: BagClassifier
    encoded: Encoded

    def logits(self, texts: np.ndarray) -> np.ndarray:
        """Of some texts."""
        return np.asarray(predicted(self.model, self.encoded.of(texts)))

    def telling(self, bags: Bags, texts: np.ndarray, number: int) -> tuple[list[str], list[str]]:
        """The words and pairs, of those in 10 of these texts and more, that move logits most.

        Returns:
            Those that raise the logits of the texts that have them most, and those that lower them.
        """
        ids, weights = self.encoded.of(texts)
        size = len(self.encoded.vocabulary)
        total = np.bincount(ids.ravel(), weights.ravel(), minlength=size)
        often = np.bincount(ids.ravel(), weights.ravel() > 0, minlength=size)
        moves = (total / np.maximum(often, 1) * np.asarray(self.model.kernel[...])[:size])[:size]
        names = [bags.names[gram] for gram in self.encoded.vocabulary]
        order = [
            place
            for place in np.argsort(-moves, kind="stable")
            if often[place] >= 10 and not names[place].startswith(_OF_CHARACTERS)
        ]
        return [names[i] for i in order[:number]], [names[i] for i in order[: -number - 1 : -1]]


def fit(bags: Bags, labels: np.ndarray, seen: np.ndarray, search: Search) -> Fitted:
    """Learns from the texts that are `seen`: a fifth of them validates, then all of them teach.

    The penalty is chosen by the log loss of that fifth, for which vocabulary and rarities come
    from the other four.
    """

    def judged(learns: np.ndarray, judges: np.ndarray) -> Iterator[np.ndarray]:
        encoded = encode(bags, labels, learns, search)
        for strength in search.strengths:
            model = _trained(encoded, labels, learns, len(seen), strength, search)
            yield Fitted(model, encoded).logits(judges)

    strength = best_strength(judged, labels, seen, search)
    encoded = encode(bags, labels, seen, search)
    return Fitted(_trained(encoded, labels, seen, len(seen), strength, search), encoded)


def scikit_logits(
    features_of: Callable[[np.ndarray], Any],
    labels: np.ndarray,
    seen: np.ndarray,
    asked: np.ndarray,
    search: Search,
) -> np.ndarray:
    """Logits of scikit-learn's logistic regression, its strength chosen as in `fit`, by the same.

    `features_of` gives those of all texts, as the texts with these indices make them.
    """

    def trained(features: Any, learns: np.ndarray, strength: float) -> LogisticRegression:
        model = LogisticRegression(C=1 / (strength * len(learns)), max_iter=1000)
        return model.fit(features[learns], labels[learns])

    def judged(learns: np.ndarray, judges: np.ndarray) -> Iterator[np.ndarray]:
        features = features_of(learns)
        for strength in search.strengths:
            yield trained(features, learns, strength).decision_function(features[judges])

    strength = best_strength(judged, labels, seen, search)
    features = features_of(seen)
    return trained(features, seen, strength).decision_function(features[asked])


def best_strength(
    judged: Callable[[np.ndarray, np.ndarray], Iterable[np.ndarray]],
    labels: np.ndarray,
    seen: np.ndarray,
    search: Search,
) -> float:
    """The strength of the least log loss on a fifth of what may be seen.

    `judged(learns, judges)` gives the logits of the one for each strength, learnt from the other.
    """
    parts: Any = train_test_split(
        seen, test_size=0.2, random_state=search.seed, stratify=labels[seen]
    )
    learns, judges = np.sort(parts[0]), np.sort(parts[1])
    signs = 1 - 2 * labels[judges]
    losses = [np.logaddexp(0, signs * logits).mean() for logits in judged(learns, judges)]
    return search.strengths[int(np.argmin(losses))]


def scikit_tf_idf(texts: Sequence[str], learns: np.ndarray) -> Any:
    """All texts as scikit-learn weighs words and pairs of words, in a sparse matrix."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return vectorizer.fit([texts[i] for i in learns]).transform(texts)


def as_matrix(encoded: Encoded) -> scipy.sparse.csr_matrix:
    """The same texts as a sparse matrix."""
    num_texts, length = encoded.ids.shape
    ends = np.arange(num_texts + 1) * length
    shape = num_texts, len(encoded.vocabulary)
    return scipy.sparse.csr_matrix((encoded.weights.ravel(), encoded.ids.ravel(), ends), shape)


def beginning(text: str) -> str:
    """What a text begins with, to name it in a table."""
    return text if len(text) <= 40 else text[:37] + "..."


def drawn(number: int, most: int, seed: int) -> np.ndarray:
    """Indices, in their order, of `most` of so many examples, drawn at random."""
    return np.sort(np.random.default_rng(seed).permutation(number)[:most])


def _trained(
    encoded: Encoded,
    labels: np.ndarray,
    learns: np.ndarray,
    num_rows: int,
    strength: float,
    search: Search,
) -> BagClassifier:
    # Folds that differ by one text mostly have the same size then.
    num_rows += num_rows % 2
    num_steps = search.num_epochs * -(-num_rows // search.batch_size)
    fitted = training.fit(
        BagClassifier(search.size, strength),
        filled(encoded.of(learns), labels[learns], num_rows),
        optimizer=_adam(search.learning_rate, num_steps),
        penalty=_penalty,
        epochs=search.num_epochs,
        batch_size=search.batch_size,
        key=jax.random.key(search.seed),
        progress=False,
    )
    return fitted.model


def _penalty(model: Any) -> jax.Array:
    return model.strength[...] / 2 * jnp.sum(model.kernel[...] ** 2)


# One and the same object for the same numbers: fits then share their compilation.
@functools.cache
def _adam(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.linear_schedule(learning_rate, 0.0, num_steps))
