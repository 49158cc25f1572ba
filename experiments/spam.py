"""Can log loss train a spam filter?

Command:  python -m experiments spam
Minutes:  2
Expect:   yes: held-out log losses of 0.034 nats (SMS, 99.1 % right) and 0.142 (Spambase, 94.9 %).
          scikit-learn's optimiser finds no other filter in the same words (0.032, within the
          noise); its own words, without punctuation, cost more (0.045). On Spambase boosted trees
          are better than the networks (0.126), a logistic regression is worse (0.174).

SMS: 5,574 messages, of which 747 are spam (Almeida and Gómez Hidalgo, Contributions to the study of
SMS spam filtering, DocEng 2011). A message is its words and pairs of words, weighted by TF-IDF, and
one logit is linear in them: an embedding of width 1, so that no matrix of messages times vocabulary
is ever made. Spambase: 4,601 e-mails as 57 numbers, how frequent certain words and capitals are
(Hopkins et al., UCI 1999). Small networks learn from their logarithms, and their mean logit judges.

Every fifth is judged by models that have seen the other four only: vocabulary, rarity, mean and
spread come from those, and so does every choice. A part of them validates the strength of the
penalty (SMS) or the epoch to stop after (Spambase). The other settings were looked for by splitting
once more what the models of the first fold have seen, which other folds hold out in part.

The peers are scikit-learn's: its logistic regression of the same words and pairs, and of those that
its own TF-IDF makes (without punctuation, and with digits as they are), both with a strength chosen
by the same messages from the same values; for Spambase a logistic regression of the networks'
features and boosted trees, as they come.

Some messages were sent more than once, so that a filter may have seen the very text that it judges.
The log loss of the others is told beside.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from jbce import metrics, training

from . import _text
from ._data import File, path_of
from ._fitting import filled, predicted
from ._held_out import HeldOut, judge, stratified_folds
from ._record import Record

SMS = File(
    "sms_spam",
    "SMSSpamCollection",
    "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
    "https://raw.githubusercontent.com/AlexandreBoult/Spam-Filter/HEAD/SMSSpamCollection",
)
SPAMBASE = File(
    "tabular",
    "spambase.data",
    "b1ef93de71f97714d3d7d4f58fc9f718da7bbc8ac8a150eff2778616a8097b12",
    "https://archive.ics.uci.edu/ml/machine-learning-databases/spambase/spambase.data",
)
CLASSES = ("ham", "spam")
BAG, NETWORKS = "bag of words", "networks"
LOGISTIC, BOOSTING = "LogisticRegression", "HistGradientBoosting"
TF_IDF = "scikit-learn's words"


@dataclass(frozen=True)
class Config:
    """What to learn from, and how."""

    num_folds: int = 5
    """Parts that are judged in turn."""
    strengths: tuple[float, ...] = (1e-6, 3e-6, 1e-5, 3e-5)
    """Of the penalty of the filter of SMS."""
    vocabulary: int = 16_384
    """Words and pairs that it knows."""
    length: int = 256
    """Words and pairs of a message that count."""
    num_epochs: int = 20
    """Of the filter of SMS."""
    num_inner_folds: int = 5
    """Parts of the e-mails that may be seen, which validate in turn."""
    hidden_size: int = 64
    """Of the two hidden layers of the networks."""
    num_network_epochs: int = 60
    """Of the networks, at most."""
    max_examples: int = 10_000
    """Of each data set, drawn at random."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the folds, the first weights and the order of the examples."""


def run(config: Config, record: Record) -> None:
    """Short messages, then e-mails."""
    sms(config, record)
    spambase(config, record)


# --------------------------------------------------------------------------------------------- SMS


def sms(config: Config, record: Record) -> None:
    """A linear classifier of the words and pairs of words of a message."""
    messages, labels = read_messages(config)
    bags = _text.bags(messages, words=(1, 2))
    search = _text.Search(
        size=config.vocabulary,
        length=config.length,
        num_epochs=config.num_epochs,
        batch_size=64,
        learning_rate=0.3,
        strengths=config.strengths,
        ratios=False,
        seed=config.seed,
    )
    peers = {
        LOGISTIC: lambda learns: _text.as_matrix(_text.encode(bags, labels, learns, search)),
        TF_IDF: functools.partial(_text.scikit_tf_idf, messages),
    }
    logits = {name: np.zeros(len(labels)) for name in (BAG, *peers)}
    for seen, held_out in stratified_folds(labels, config.num_folds, config.seed):
        fitted = _text.fit(bags, labels, seen, search)
        logits[BAG][held_out] = fitted.logits(held_out)
        for name, features_of in peers.items():
            logits[name][held_out] = _text.scikit_logits(
                features_of, labels, seen, held_out, search
            )
        raising, lowering = fitted.telling(bags, seen, 8)
    judge(
        HeldOut(
            "SMS",
            logits,
            labels,
            CLASSES,
            describe=lambda index: _text.beginning(messages[index]),
            id="sms",
        ),
        record,
        confidence=config.confidence,
    )
    record.table(
        "SMS: what is telling",
        ("for spam", "for ham"),
        [*zip(raising, lowering, strict=True)],
        note=_text.TELLING,
    )
    sent_once(messages, logits[BAG], labels, record, config.confidence)


def read_messages(config: Config) -> tuple[list[str], np.ndarray]:
    """The messages, and 1 for spam."""
    lines = path_of(SMS).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t", 1) for line in lines]
    some = _text.drawn(len(pairs), config.max_examples, config.seed)
    labels = np.array([pairs[i][0] == CLASSES[1] for i in some], np.int32)
    return [pairs[i][1] for i in some], labels


def sent_once(
    messages: list[str], logits: np.ndarray, labels: np.ndarray, record: Record, confidence: float
) -> None:
    """The log loss of the messages whose words no other message has."""
    texts = [" ".join(_text.ngrams(message, (1,), ())) for message in messages]
    _, number, times = np.unique(texts, return_inverse=True, return_counts=True)
    once = times[number] == 1
    found = metrics.confidence_interval(
        metrics.log_loss,
        jnp.asarray(logits[once], jnp.float32),
        jnp.asarray(labels[once]),
        confidence=confidence,
    )
    record.metric("sms.sent_once", once.sum(), "1")
    record.metric("sms.log_loss_of_sent_once", found.estimate, "nat")
    record.say(
        f"{len(once) - once.sum():,} of the {len(once):,} messages have the words of another. The "
        f"log loss of the other {once.sum():,} is {float(found.estimate):.4f} "
        f"({float(found.low):.4f} to {float(found.high):.4f})."
    )


# ---------------------------------------------------------------------------------------- Spambase


def spambase(config: Config, record: Record) -> None:
    """Small networks on how frequent words, signs and capitals are."""
    table = np.loadtxt(path_of(SPAMBASE), delimiter=",")
    some = _text.drawn(len(table), config.max_examples, config.seed)
    table = table[some]
    features, labels = np.log1p(table[:, :-1]), table[:, -1].astype(np.int32)
    logits = {name: np.zeros(len(labels)) for name in (NETWORKS, LOGISTIC, BOOSTING)}
    for seen, held_out in stratified_folds(labels, config.num_folds, config.seed):
        spread = features[seen].std(axis=0)
        standard = (features - features[seen].mean(axis=0)) / np.where(spread > 0, spread, 1)
        standard = standard.astype(np.float32)
        logits[NETWORKS][held_out] = networks(
            standard[seen], labels[seen], standard[held_out], config
        )
        for name, peer in (
            (LOGISTIC, LogisticRegression(max_iter=5000)),
            (BOOSTING, HistGradientBoostingClassifier(random_state=config.seed)),
        ):
            peer.fit(standard[seen], labels[seen])
            logits[name][held_out] = peer.decision_function(standard[held_out])
    judge(
        HeldOut(
            "Spambase",
            logits,
            labels,
            CLASSES,
            describe=lambda index: f"line {some[index] + 1}",
            id="spambase",
        ),
        record,
        confidence=config.confidence,
    )


def networks(
    features: np.ndarray, labels: np.ndarray, asked: np.ndarray, config: Config
) -> np.ndarray:
    """The mean logits of networks; a part of the examples each says after which epoch."""
    inner = StratifiedKFold(config.num_inner_folds, shuffle=True, random_state=config.seed)
    fewest = len(labels) // config.num_inner_folds
    logits = []
    for number, (learns, judges) in enumerate(inner.split(features, labels)):
        rngs = nnx.Rngs(config.seed + number)
        sizes = [config.hidden_size] * 2
        fitted = training.fit(
            training.MLP(features.shape[1], sizes, dropout=0.3, rngs=rngs),
            filled(features[learns], labels[learns], len(labels) - fewest + 2),
            validation=filled(features[judges], labels[judges], fewest + 4),
            optimizer=_ADAMW,
            epochs=config.num_network_epochs,
            patience=config.num_network_epochs,
            batch_size=64,
            key=jax.random.key(config.seed),
            progress=False,
        )
        logits.append(np.asarray(predicted(fitted.model, asked)))
    return np.mean(logits, axis=0)


_ADAMW = optax.adamw(2e-3, weight_decay=1.0)
