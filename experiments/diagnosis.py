"""Malignant or benign: is our cross-entropy as good as scikit-learn's, and its gradient right?

Command:  python -m experiments diagnosis
Minutes:  0.5
Expect:   held-out log loss near 0.074 nats for logistic regression, within 2 % of scikit-learn's
          at the same penalty, and about the same for a small network; every entry of the
          network's gradient right.

The data are 569 tumours, each described by 30 measurements of a microscope image; 212 are
malignant, which is class 1 here. Five times, four fifths of them train the models and the last
fifth judges them, so that every tumour is judged once by models that have not seen it. The
measurements are standardised with the mean and the deviation of the training part alone.

Logistic regression minimises the mean cross-entropy + |weights|² / (2·C·n), which is the objective
of scikit-learn's LogisticRegression; the intercept is free of the penalty. The network has one
hidden layer of tanh units and the same kind of penalty, four times as strong.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression as ScikitLogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import jbce
from jbce import metrics, plots, training, verify

from ._record import Record

LOGISTIC, NETWORK, SCIKIT = MODELS = ("logistic regression", "neural network", "scikit-learn")
EXACT = "scikit-learn at its optimum"


@dataclass(frozen=True)
class Config:
    """How to split, to train and to report."""

    num_folds: int = 5
    """Parts of the data, each of which judges the models once."""
    num_epochs: int = 1_000
    """Steps of full-batch Adam, for either model."""
    learning_rate: float = 0.3
    """Of logistic regression, at the start; it decays to 0 as a cosine."""
    inverse_penalty: float = 1.0
    """C of logistic regression, ours and scikit-learn's; smaller is a stronger penalty."""
    hidden_size: int = 16
    """Hidden units of the network."""
    network_learning_rate: float = 0.02
    """Of the network, at the start; it decays to 0 as a cosine."""
    network_inverse_penalty: float = 0.25
    """C of the network; smaller is a stronger penalty."""
    num_bins: int = 10
    """Bins of the calibration error and of the reliability diagram."""
    num_worst: int = 5
    """Held-out cases of largest loss to show."""
    seed: int = 0
    """Of the split and of the network's first weights."""


class Data(NamedTuple):
    """The tumours."""

    features: np.ndarray
    """`[569, 30]`, as measured."""
    labels: np.ndarray
    """`[569]`, 1 for malignant."""


class Fold(NamedTuple):
    """One split of the data, and what was trained on its larger part."""

    train: np.ndarray
    """Indices of the examples that trained the models."""
    test: np.ndarray
    """Indices of those that judge them."""
    features: np.ndarray
    """`[569, 30]`, standardised with mean and deviation of the training part."""
    logits: dict[str, np.ndarray]
    """By model, `[test]`."""
    histories: dict[str, np.ndarray]
    """By model of ours, the mean training loss of every epoch."""
    network: training.MLP
    """The trained network."""


def run(config: Config, record: Record) -> None:
    """Cross-validate three models, check a gradient, show the worst cases."""
    data = load()
    split = StratifiedKFold(config.num_folds, shuffle=True, random_state=config.seed)
    folds = [train_fold(config, data, train, test) for train, test in split.split(*data)]
    held_out = {name: np.zeros(data.labels.size, np.float32) for name in MODELS}
    for fold in folds:
        for name in MODELS:
            held_out[name][fold.test] = fold.logits[name]

    compare(config, data, folds, record)
    draw(config, data, folds, held_out, record)
    judge_gradient(data, folds[-1], record)
    show_worst(config, data, held_out[NETWORK], record)


def load() -> Data:
    """The Wisconsin breast cancer data, with malignant as class 1 (scikit-learn has it as 0)."""
    features, target = load_breast_cancer(return_X_y=True)
    return Data(np.asarray(features), 1 - np.asarray(target))


def train_fold(config: Config, data: Data, train: np.ndarray, test: np.ndarray) -> Fold:
    """Train the three models on one part and keep their logits for the other."""
    scaler = StandardScaler().fit(data.features[train])
    precise = np.asarray(scaler.transform(data.features))
    features = precise.astype(np.float32)
    seen, labels = jnp.asarray(features[train]), jnp.asarray(data.labels[train])
    num_features = seen.shape[1]

    logistic = fit(
        training.LogisticRegression(num_features, rngs=nnx.Rngs(config.seed)),
        seen,
        labels,
        inverse_penalty=config.inverse_penalty,
        learning_rate=config.learning_rate,
        num_epochs=config.num_epochs,
    )
    network = fit(
        # Smooth, so that it has a gradient to judge: training drives a network of ReLUs onto its
        # kinks, where it has none.
        training.MLP(
            num_features, (config.hidden_size,), rngs=nnx.Rngs(config.seed), activation=jnp.tanh
        ),
        seen,
        labels,
        inverse_penalty=config.network_inverse_penalty,
        learning_rate=config.network_learning_rate,
        num_epochs=config.num_epochs,
    )
    scikit, exact = (
        ScikitLogisticRegression(C=config.inverse_penalty, **how).fit(
            precise[train], data.labels[train]
        )
        for how in ({}, {"tol": 1e-8, "max_iter": 10_000})
    )

    unseen = jnp.asarray(features[test])
    return Fold(
        train=train,
        test=test,
        features=features,
        logits={
            LOGISTIC: np.asarray(logistic.model(unseen)),
            NETWORK: np.asarray(network.model(unseen)),
            SCIKIT: np.asarray(scikit.decision_function(precise[test]), np.float32),
            EXACT: np.asarray(exact.decision_function(precise[test]), np.float32),
        },
        histories={
            LOGISTIC: np.asarray(logistic.history.loss),
            NETWORK: np.asarray(network.history.loss),
        },
        network=network.model,
    )


def fit(
    model: Any,
    features: jax.Array,
    labels: jax.Array,
    *,
    inverse_penalty: float,
    learning_rate: float,
    num_epochs: int,
) -> training.FitResult:
    """Minimise the mean cross-entropy + |weights|² / (2·C·n), with every example in every step."""

    return training.fit(
        model,
        (features, labels),
        optimizer=decaying_adam(learning_rate, num_epochs),
        epochs=num_epochs,
        penalty=penalty_on_weights(1 / (2 * inverse_penalty * len(labels))),
        key=jax.random.key(0),  # of the order of the examples, which full batches do not need
        progress=False,
    )


# Fits with the very same optimizer and penalty share their compilation.


@cache
def decaying_adam(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """Adam whose rate falls to 0 as a cosine, so that it comes to rest."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))


@cache
def penalty_on_weights(strength: float) -> Callable[[nnx.Module], jax.Array]:
    """`strength` · |weights|² of a model, over its matrices; a bias, the intercept, is free."""

    def penalty(model: nnx.Module) -> jax.Array:
        leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
        squares = [jnp.sum(leaf**2) for leaf in leaves if leaf.ndim == 2]
        return strength * jnp.sum(jnp.stack(squares))

    return penalty


def compare(config: Config, data: Data, folds: list[Fold], record: Record) -> None:
    """A table of the three models, each metric as mean ± standard error over the folds."""
    judges: dict[str, tuple[str, str, Callable[..., jax.Array]]] = {
        "log loss (nats)": ("log_loss", "nat", metrics.log_loss),
        "Brier score": ("brier_score", "1", metrics.brier_score),
        "accuracy": ("accuracy", "1", metrics.accuracy),
        "AUROC": ("roc_auc", "1", metrics.roc_auc),
        "calibration error": (
            "expected_calibration_error",
            "1",
            partial(metrics.expected_calibration_error, num_bins=config.num_bins),
        ),
    }
    held_out = [
        (
            {name: jnp.asarray(logits) for name, logits in fold.logits.items()},
            jnp.asarray(data.labels[fold.test]),
        )
        for fold in folds
    ]
    rows, log_loss = [], {}
    for title, (metric, unit, judge) in judges.items():
        cells = [title]
        for name in (*MODELS, EXACT):
            scores = np.array([float(judge(logits[name], labels)) for logits, labels in held_out])
            mean, error = scores.mean(), scores.std(ddof=1) / math.sqrt(len(scores))
            if metric == "log_loss":
                log_loss[name] = mean
            if name in MODELS:
                cells.append(f"{mean:.4f} ± {error:.4f}")
                record.metric(f"{metric}.{_identifier(name)}", mean, unit)
                record.metric(f"{metric}.{_identifier(name)}.standard_error", error, unit)
        rows.append(tuple(cells))
    record.table(
        f"On examples that were not seen in training, over {len(folds)} folds",
        ("", *MODELS),
        rows,
        note="mean ± standard error over the folds. Accuracy and AUROC: higher is better; the "
        "others: lower.",
    )
    ratio = log_loss[LOGISTIC] / log_loss[SCIKIT]
    exact_ratio = log_loss[LOGISTIC] / log_loss[EXACT]
    record.metric("log_loss_ratio", ratio, "1")
    record.metric("log_loss_ratio_at_optimum", exact_ratio, "1")
    verdict = "within" if abs(ratio - 1) <= 0.02 else "NOT within"
    record.say(
        f"At the same penalty, the log loss of our logistic regression is {ratio:.4f} times "
        f"scikit-learn's: {verdict} 2 %. The two minimise the same function and differ only by "
        "where they stop: beside a scikit-learn that is told to go on to the minimum (tol=1e-8) "
        f"it is {exact_ratio:.6f} times."
    )


def draw(
    config: Config,
    data: Data,
    folds: list[Fold],
    held_out: dict[str, np.ndarray],
    record: Record,
) -> None:
    """The training, the honesty of the probabilities, and the ranking."""
    labels = jnp.asarray(data.labels)
    record.figure(
        "training_curve",
        plots.training_curve(folds[-1].histories, xscale="log"),
        "Training: the mean loss of the training examples at every step of Adam, in the last fold.",
    )
    record.figure(
        "reliability",
        plots.reliability_diagram(
            {
                name: metrics.reliability(jnp.asarray(logits), labels, num_bins=config.num_bins)
                for name, logits in held_out.items()
                if name != SCIKIT
            }
        ),
        "Reliability: of the decisions made with a given confidence, how many were right, over "
        "all examples when they were held out. On the diagonal the confidence is honest. Nearly "
        "all decisions are confident (below); a point in the middle stands for few of them and "
        "scatters. A large marker would be a point that is further off than 19 in 20 points of an "
        "honest model are. A decision between two classes has a confidence of at least one half.",
    )
    record.figure(
        "roc",
        plots.roc_curve(
            {
                name: metrics.roc_curve(jnp.asarray(logits), labels)
                for name, logits in held_out.items()
            }
        ),
        "ROC: the malignant tumours that are found against the benign ones that are suspected, "
        "as the threshold falls, over all examples when they were held out.",
    )


def judge_gradient(data: Data, fold: Fold, record: Record) -> verify.GradientReport:
    """Prove every entry of the trained network's gradient, as training computes it."""
    graph, parameters, rest = nnx.split(fold.network, nnx.Param, ...)
    features, labels = jnp.asarray(fold.features[fold.train]), jnp.asarray(data.labels[fold.train])

    def loss(parameters: Any) -> jax.Array:
        logits = nnx.merge(graph, parameters, rest)(features)
        return jbce.mean(jbce.sigmoid_binary_cross_entropy(logits, labels))

    report = verify.check_gradients(loss, parameters)
    record.metric("gradient.entries", report.num_entries, "1")
    record.metric("gradient.right", report.verdict == "right", "1")
    record.say("Is the gradient of the network's mean loss right, in exact arithmetic and floats?")
    record.say(str(report))
    return report


def show_worst(config: Config, data: Data, logits: np.ndarray, record: Record) -> None:
    """The examples that cost the network most when they were held out."""
    with jax.enable_x64(True):
        log_odds = jnp.asarray(logits, jnp.float64)
        losses = jbce.sigmoid_binary_cross_entropy(log_odds, jnp.asarray(data.labels))
        malignant = jax.nn.sigmoid(log_odds)
        corrected = jnp.exp(-losses)
        worst = np.argsort(-np.asarray(losses), kind="stable")[: config.num_worst]
        rows = [
            (
                str(example),
                "malignant" if data.labels[example] else "benign",
                f"{float(malignant[example]):.4f}",
                f"{float(corrected[example]):.4f}",
                f"{-float(losses[example]):.4f}",
                f"{float(losses[example]):.4f}",
            )
            for example in worst
        ]
        share = float(losses[worst].sum() / losses.sum())
    record.metric("worst_cases.share_of_loss", share, "1")
    record.table(
        f"The network's {len(rows)} worst cases",
        ("id", "actual", "p(malignant)", "corrected", "ln(corrected)", "loss"),
        rows,
        note="id: the row in the data, from 0. corrected: the probability that the network gave "
        f"to what was the case. These {len(rows)} of {len(losses)} examples carry {share:.0%} of "
        "the whole loss.",
    )


def _identifier(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")
