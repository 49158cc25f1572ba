"""Malignant or benign: is our cross-entropy as good as scikit-learn's, and its gradient right?

Command:  python -m experiments diagnosis
Minutes:  0.5
Expect:   held-out log loss near 0.074 nats for logistic regression, within 2 % of scikit-learn's
          at the same penalty, and about the same for a small network; every entry of the
          network's gradient right. With `--data pneumonia` (1 minute more) a network that finds
          0.92 of the normal X-rays kept back from training and 0.60 of the official test images'
          (0.54 to 0.67); its log loss there is 0.56 nats (0.43 to 0.68).

The data are 569 tumours, each described by 30 measurements of a microscope image; 212 are
malignant, which is class 1 here. Five times, four fifths of them train the models and the last
fifth judges them, so that every tumour is judged once by models that have not seen it. The
measurements are standardised with the mean and the deviation of the training part alone.

Logistic regression minimises the mean cross-entropy + |weights|² / (2·C·n), which is the objective
of scikit-learn's LogisticRegression; the intercept is free of the penalty. The network has one
hidden layer of tanh units and the same kind of penalty, four times as strong.

`--data pneumonia` takes chest X-rays of children instead, 28 × 28 pixels (PneumoniaMNIST; Yang et
al., Scientific Data 2023; Kermany et al., Cell 2018), with the official test images. Small
convolutional networks learn from seven eighths of the others; the rest says after which epoch a
network was best, how to calibrate it (Platt), and which penalty a logistic regression on the pixels
should have. Nothing is chosen by the test images, but for two rows that say so: `calibrated`, each
half by the other, and the one that is told their base rate.

That base rate is 0.625 where training had 0.742. Were this all, adding the difference of the
log-odds would calibrate the network, and the share of the normal that it calls normal would be the
same. It is not all: adding it takes the log loss down but not to that of `calibrated`, expectation
maximisation on the probabilities finds a base rate that is higher instead of lower, and specificity
falls by a third. The normal X-rays of the test part are others than those of training, and what
Platt learnt from images kept back from training does not hold for them.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from flax import nnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression as ScikitLogisticRegression
from sklearn.preprocessing import StandardScaler

import jbce
from jbce import calibration, metrics, plots, training, verify

from . import _held_out, _images
from ._convolutions import ConvNet
from ._fitting import logistic_of_best_penalty
from ._held_out import HeldOut, stratified_folds
from ._record import Record

LOGISTIC, NETWORK, SCIKIT = MODELS = ("logistic regression", "neural network", "scikit-learn")
EXACT = "scikit-learn at its optimum"


@dataclass(frozen=True)
class Config:
    """How to split, to train and to report."""

    data: Literal["all", "tumours", "pneumonia"] = "tumours"
    """The tumours come with scikit-learn; the X-rays are downloaded where they are not at hand."""
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
    num_image_epochs: int = 12
    """Passes of a network through the X-rays."""
    image_widths: tuple[int, ...] = (16, 32)
    """Channels of each convolution of that network."""
    image_learning_rate: float = 3e-3
    """Of that network, at the start; it decays to 0 as a cosine."""
    num_networks: int = 3
    """That are trained on X-rays and differ by their seed; the first is judged in full."""
    num_bins: int = 10
    """Bins of the calibration error over the folds."""
    num_worst: int = 5
    """Held-out cases of largest loss to show."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the splits, of the networks' first weights, and of the order of the X-rays."""


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
    """The tumours, the chest X-rays, or both."""
    if config.data in ("all", "tumours"):
        tumours(config, record)
    if config.data in ("all", "pneumonia"):
        pneumonia(config, record)


def tumours(config: Config, record: Record) -> None:
    """Cross-validate three models, check a gradient, show the worst cases."""
    data = load()
    split = stratified_folds(data.labels, config.num_folds, config.seed)
    folds = [train_fold(config, data, train, test) for train, test in split]
    logits = {name: np.zeros(data.labels.size, np.float32) for name in (NETWORK, LOGISTIC, SCIKIT)}
    for fold in folds:
        for name, unseen in logits.items():
            unseen[fold.test] = fold.logits[name]
    held_out = HeldOut("tumours", logits, data.labels, ("benign", "malignant"), "row {}".format)

    compare(config, data, folds, record)
    pooled = dataclasses.replace(held_out, id="pooled")
    calibrated = _held_out.with_calibrated(held_out, config.seed)
    _held_out.compare(pooled, calibrated, record, config.confidence)
    _held_out.grade(pooled, record, config.confidence)
    draw(folds, held_out, record)
    _held_out.draw(held_out, calibrated, record)
    judge_gradient(data, folds[-1], record)
    _held_out.show_worst(held_out, record, config.num_worst)


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
                record.metric(f"{metric}.{_held_out.identifier(name)}", mean, unit)
                record.metric(f"{metric}.{_held_out.identifier(name)}.standard_error", error, unit)
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


def draw(folds: list[Fold], held_out: HeldOut, record: Record) -> None:
    """The training and the ranking."""
    labels = jnp.asarray(held_out.labels)
    record.figure(
        "training_curve",
        plots.training_curve(folds[-1].histories, xlabel="step", xscale="log"),
        "Training: the mean loss of the training examples at every step of Adam, in the last fold.",
    )
    record.figure(
        "roc",
        plots.roc_curve(
            {
                name: metrics.roc_curve(jnp.asarray(logits), labels)
                for name, logits in held_out.logits.items()
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


class XRays(NamedTuple):
    """What a network says of images that it has not learnt from."""

    validation: np.ndarray
    """Logits of the images of the training part that were kept back."""
    validation_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def pneumonia(config: Config, record: Record) -> None:
    """Networks on chest X-rays, and probabilities where the base rate has changed."""
    images = _images.pneumonia()
    split = stratified_folds(images.train_labels, 8, config.seed)
    seen, kept = next(iter(split))
    mean, deviation = images.train[seen].mean(), images.train[seen].std()
    train, test = ((part - mean) / deviation for part in (images.train, images.test))
    validation = (train[kept], images.train_labels[kept])
    num_steps = config.num_image_epochs * -(-len(seen) // 64)
    networks = []
    for seed in range(config.seed, config.seed + config.num_networks):
        fitted = training.fit(
            ConvNet(train.shape[1:], config.image_widths, rngs=nnx.Rngs(seed)),
            (train[seen], images.train_labels[seen]),
            optimizer=decaying_adam(config.image_learning_rate, num_steps),
            epochs=config.num_image_epochs,
            batch_size=64,
            key=jax.random.key(seed),
            validation=validation,
            patience=config.num_image_epochs,  # never stops, but gives back the best epoch
            progress=False,
        )
        logits = np.asarray(fitted.model(jnp.asarray(np.concatenate([train[kept], test]))))
        networks.append(
            XRays(logits[: len(kept)], validation[1], logits[len(kept) :], images.test_labels)
        )
    linear = pixels(train[seen], images.train_labels[seen], *validation)

    network, rate = networks[0], float(images.train_labels.mean())
    platt = calibration.fit_platt(
        jnp.asarray(network.validation), jnp.asarray(network.validation_labels)
    )
    believed = np.asarray(platt(jnp.asarray(network.test)))
    found, true = estimated_base_rate(believed, rate), float(images.test_labels.mean())
    held_out = HeldOut(
        "chest X-rays",
        {
            "CNN": network.test,
            "Platt, validation": believed,
            "and true base rate": believed + _log_odds(true) - _log_odds(rate),
            "and found base rate": believed + _log_odds(found) - _log_odds(rate),
            "logistic regression": np.asarray(linear(jnp.asarray(test.reshape(len(test), -1)))),
        },
        images.test_labels,
        ("normal", "pneumonia"),
        "image {}".format,
        id="pneumonia",
    )
    _held_out.judge(
        held_out, record, num_worst=config.num_worst, confidence=config.confidence, seed=config.seed
    )
    beside_validation(networks, config.confidence, record)
    record.metric("pneumonia.base_rate.found", found, "1")
    record.say(
        f"Of the training images {rate:.3f} show pneumonia, of the test images {true:.3f}. The "
        f"network's own probabilities, without a label, suggest {found:.3f} (expectation "
        "maximisation)."
    )


def pixels(
    features: np.ndarray, labels: np.ndarray, kept: np.ndarray, kept_labels: np.ndarray
) -> training.Logistic:
    """Logistic regression on the pixels; the penalty is the best for the images kept back."""
    seen, unseen = (jnp.asarray(part.reshape(len(part), -1)) for part in (features, kept))
    return logistic_of_best_penalty(
        *(seen, jnp.asarray(labels), unseen, jnp.asarray(kept_labels)),
        penalties=(0.01, 0.1, 1.0, 10.0),
    )


def estimated_base_rate(logits: np.ndarray, rate: float) -> float:
    """The share of positives among examples without labels, from a model that learnt at `rate`.

    It is the share that the probabilities have on average when they are changed to that share
    (Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a priori
    probabilities, Neural Computation 2002). Right if nothing but the share has changed.
    """
    found = rate
    for _ in range(1_000):
        shifted = logits.astype(np.float64) + _log_odds(found) - _log_odds(rate)
        found = float(scipy.special.expit(shifted).mean())
    return found


def _log_odds(rate: float) -> float:
    return math.log(rate / (1 - rate))


def beside_validation(networks: list[XRays], confidence: float, record: Record) -> None:
    """What a change of the base rate alone could not do."""
    judges: dict[str, Callable[..., jax.Array]] = {
        "base rate": lambda _, labels, **how: jbce.mean(labels.astype(jnp.float32), **how),
        "mean probability": lambda logits, _, **how: jbce.mean(jax.nn.sigmoid(logits), **how),
        "log loss": metrics.log_loss,
        "recall": metrics.recall,
        "specificity": lambda logits, labels, **how: metrics.recall(-logits, 1 - labels, **how),
    }
    parts = {
        "validation": [(network.validation, network.validation_labels) for network in networks],
        "test": [(network.test, network.test_labels) for network in networks],
    }
    rows = []
    for title, judge in judges.items():
        cells, unit = [title], "nat" if title == "log loss" else "1"
        for part, predictions in parts.items():
            key = f"pneumonia.{part}.{_held_out.identifier(title)}"
            arrays = [(jnp.asarray(logits), jnp.asarray(labels)) for logits, labels in predictions]
            interval = metrics.confidence_interval(judge, *arrays[0], confidence=confidence)
            spread = float(np.std([judge(*pair) for pair in arrays], ddof=1)) if arrays[1:] else 0.0
            value, low, high = map(float, (interval.estimate, interval.low, interval.high))
            record.metric(key, value, unit)
            record.metric(f"{key}.low", low, unit)
            record.metric(f"{key}.high", high, unit)
            record.metric(f"{key}.deviation_over_seeds", spread, unit)
            cells.append(f"{value:.3f} ± {(high - low) / 2:.3f}")
            cells.append(f"{spread:.3f}")
            if title == "specificity":
                record.headline(f"specificity, X-rays, {part}", value, low, high)
        rows.append(tuple(cells))
    record.table(
        "X-rays kept back from training, and the official test images",
        ("", "validation", "seeds", "test", "seeds"),
        rows,
        note=f"± half of the {confidence:.0%} interval over images; seeds: the standard deviation "
        f"over {len(networks)} networks. Recall: of pneumonia, how many were found; specificity: "
        "of the normal, how many were called so. Neither of these depends on the base rate.",
    )
