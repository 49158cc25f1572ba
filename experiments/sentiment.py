"""How far do counts of words and letters get in telling praise from blame?

Command:  python -m experiments sentiment
Minutes:  3
Expect:   to held-out log losses of 0.448 nats (MR, 79.1 % right) and 0.377 (SST-2, 83.4 %), which
          are 35 % and 46 % of what there is to know; scikit-learn, from words alone, comes to 0.470
          and 0.420. Naive Bayes' weights help the log loss a little (by 0.006 and 0.016), and the
          accuracy not beyond the noise.

MR: 10,662 sentences of film reviews, half of them praise (Pang and Lee, Seeing stars, ACL 2005);
every fifth is judged by models that have seen the other four only. SST-2: the same kind of
sentences (many are the very same) with the labels of several people and an official test split of
1,821 (Socher et al., EMNLP 2013); the official training and development sentences are those seen.

A sentence is its words, pairs of words, and runs of 3 to 5 letters within a word, weighted by
TF-IDF; one logit is linear in them. No vectors of words come from elsewhere. The weights are then
scaled by naive Bayes' log-odds of each n-gram (Wang and Manning, Baselines and bigrams, ACL 2012),
which tells the penalty where to look; beside it stands the same without. The peer is scikit-learn's
logistic regression of its TF-IDF of words and pairs.

Vocabulary, rarity and log-odds come from the sentences that may be seen, and a fifth of those
chooses the strength of the penalty, for the peer too. The other settings were looked for by
splitting once more what the models of the first fold of MR have seen, which other folds hold out in
part, as does the test of SST-2, whose sentences are from the same reviews.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from . import _text
from ._data import File, path_of
from ._held_out import HeldOut, judge, stratified_folds
from ._record import Record

_BASE = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/HEAD/data"
MR = {
    "rt-polarity.neg": "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
    "rt-polarity.pos": "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
}
SST = {
    "stsa.binary.train": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
    "stsa.binary.dev": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
    "stsa.binary.test": "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
}
CLASSES = ("blame", "praise")
WEIGHTED, PLAIN, PEER = "n-grams, weighted", "n-grams, plain", "scikit-learn's words"


@dataclass(frozen=True)
class Config:
    """What to learn from, and how."""

    data: Literal["all", "mr", "sst_2"] = "all"
    """Both data sets, or one."""
    num_folds: int = 5
    """Parts of MR that are judged in turn."""
    strengths: tuple[float, ...] = (2e-5, 4e-5, 8e-5)
    """Of the penalty."""
    vocabulary: int = 65_536
    """N-grams that a model knows."""
    length: int = 320
    """N-grams of a sentence that count."""
    num_epochs: int = 10
    """Passes through the sentences."""
    max_sentences: int = 20_000
    """Of each data set, drawn at random."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the folds and the order of the sentences."""


def run(config: Config, record: Record) -> None:
    """Sentences with folds, then sentences with a test split."""
    if config.data != "sst_2":
        sentences, labels, _ = some(*movie_reviews(), config)
        splits = stratified_folds(labels, config.num_folds, config.seed)
        judged("MR", sentences, labels, splits, config, record)
    if config.data != "mr":
        sentences, labels, test = some(*treebank(), config)
        splits = [(np.flatnonzero(~test), np.flatnonzero(test))]
        judged("SST-2", sentences, labels, splits, config, record)


def judged(
    name: str,
    sentences: list[str],
    labels: np.ndarray,
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    config: Config,
    record: Record,
) -> None:
    """Three models of one data set, and what speaks for praise and for blame."""
    bags = _text.bags(sentences, words=(1, 2), characters=(3, 4, 5))
    search = _text.Search(
        size=config.vocabulary,
        length=config.length,
        num_epochs=config.num_epochs,
        batch_size=64,
        learning_rate=0.1,
        strengths=config.strengths,
        ratios=True,
        seed=config.seed,
    )
    peer = functools.partial(_text.scikit_tf_idf, sentences)
    logits = {model: np.zeros(len(labels)) for model in (WEIGHTED, PLAIN, PEER)}
    asked = []
    for seen, held_out in splits:
        asked.append(held_out)
        plain = _text.fit(bags, labels, seen, replace(search, ratios=False))
        fitted = _text.fit(bags, labels, seen, search)
        logits[PLAIN][held_out] = plain.logits(held_out)
        logits[WEIGHTED][held_out] = fitted.logits(held_out)
        logits[PEER][held_out] = _text.scikit_logits(peer, labels, seen, held_out, search)
        raising, lowering = fitted.telling(bags, seen, 8)
    kept = np.sort(np.concatenate(asked))
    judge(
        HeldOut(
            name,
            {model: of[kept] for model, of in logits.items()},
            labels[kept],
            CLASSES,
            describe=lambda index: _text.beginning(sentences[kept[index]]),
            id=name.lower().replace("-", "_"),
        ),
        record,
        confidence=config.confidence,
    )
    record.table(
        f"{name}: what is telling",
        (f"for {CLASSES[1]}", f"for {CLASSES[0]}"),
        [*zip(raising, lowering, strict=True)],
        note=_text.TELLING,
    )


def movie_reviews() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Sentences of film reviews, whether they are praise, and no test split."""
    sentences, labels = [], []
    for label, (name, digest) in enumerate(MR.items()):
        path = path_of(File("text", name, digest, f"{_BASE}/raw/{name}"))
        lines = path.read_text(encoding="latin-1").strip().split("\n")
        sentences += lines
        labels += [label] * len(lines)
    return sentences, np.array(labels, np.int32), np.zeros(len(labels), bool)


def treebank() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Sentences, whether they are praise, and which are those of the test."""
    sentences, labels, test = [], [], []
    for name, digest in SST.items():
        path = path_of(File("text", name, digest, f"{_BASE}/{name}"))
        lines = path.read_text(encoding="utf-8").strip().split("\n")
        labels += [int(line[0]) for line in lines]
        sentences += [line[2:] for line in lines]
        test += [name.endswith("test")] * len(lines)
    return sentences, np.array(labels, np.int32), np.array(test)


def some(
    sentences: list[str], labels: np.ndarray, test: np.ndarray, config: Config
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """`max_sentences` of them at most."""
    chosen = _text.drawn(len(labels), config.max_sentences, config.seed)
    return [sentences[i] for i in chosen], labels[chosen], test[chosen]
