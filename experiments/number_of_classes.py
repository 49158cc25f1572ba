"""How does the loss grow with the number of classes, and what is a log loss of 0.5 among 1,000?

Command:  python -m experiments number_of_classes
Minutes:  2
Expect:   zeros give log K to 0.4 ulp up to 100,000 classes, normal logits log K + σ²/2 from 1,000
          classes on. Of log K a logistic regression of the digits removes 97 % for two classes
          and 92 % for ten; of 1,000 classes with five examples each 19 %, where 74 % could be
          known.

Who knows nothing of K classes says 1/K of each, and pays log K nats: 0.69 for two, 11.5 for
100,000. Logits of 0 must give that to the last digit, however many there are. A network at its
start does not say 0 but small random numbers: with logits of variance σ² the loss is
log K + σ²/2 on the mean, so that a first loss far above log K says that the first weights are too
large.

What is learnt must be seen beside log K. The same features are used twice: real ones (the 1,797
digits that scikit-learn carries, of which K are kept), and drawn ones, for which it is known what
the best possible model pays: each class is a normal distribution about a center of its own, and
its probability follows from Bayes' rule. A logistic regression learns from half, and is judged on
the rest. Beside the loss stands the share of log K that it has removed.

The same log loss means more where there are more classes. A model that is right in its
probabilities, and spreads its doubt evenly over the other classes, has a log loss of 0.5 if it
decides right in 80 % of the cases among two classes, and in 95 % among 1,000.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
import scipy.special
from flax import nnx
from sklearn.datasets import load_digits

import jbce
from jbce import metrics, training

from ._drawing import COLOURS, DASHES, label, legend, new_axes
from ._over_seeds import interval
from ._record import Record


@dataclass(frozen=True)
class Config:
    """How many classes, and how to learn them."""

    at_start: tuple[int, ...] = (2, 10, 100, 1000, 10_000, 100_000)
    """Classes of logits that know nothing."""
    spreads: tuple[float, ...] = (0.1, 1.0, 2.0)
    """Standard deviations of random logits."""
    num_logits: int = 1_000_000
    """Random logits of each number of classes, about, but four rows of each sample at least."""
    of_digits: tuple[int, ...] = (2, 3, 5, 10)
    """Classes that are kept of the digits."""
    drawn: tuple[int, ...] = (2, 10, 100, 1000)
    """Classes about centers."""
    num_features: int = 32
    """Of the examples about centers."""
    num_examples: int = 10_000
    """About centers, of which half are judged."""
    num_epochs: int = 30
    """Of the logistic regressions about centers."""
    num_seeds: int = 5
    """Of random logits, and of which digits are kept."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """The first of the seeds."""


def run(config: Config, record: Record) -> None:
    """At the start, after training, and what a loss means."""
    at_start(config, record)
    digits(config, record)
    about_centers(config, record)
    what_it_means(config, record)


def at_start(config: Config, record: Record) -> None:
    """Zeros, and random logits."""
    rows, worst = [], 0.0
    measured = np.zeros((len(config.spreads), len(config.at_start)))
    # Smoothed to the end, the loss is the mean over all labels, whichever comes: less random.
    losses_of = jax.jit(
        partial(jbce.softmax_cross_entropy_with_integer_labels, label_smoothing=1.0)
    )
    of_label = jax.jit(jbce.softmax_cross_entropy_with_integer_labels)
    for place, classes in enumerate(config.at_start):
        examples = max(config.num_logits // classes // config.num_seeds, 4)
        shape = (config.num_seeds * examples, classes)
        labels = jnp.zeros(shape[0], jnp.int32)
        known = float(of_label(jnp.zeros(shape[1], jnp.float32), labels[0]))
        ulps = abs(known - np.log(classes)) / float(np.spacing(np.float32(known)))
        worst = max(worst, ulps)
        record.metric(f"zeros.{classes}", known, "nat")
        cells = [f"{classes:,}", f"{known:.4f}", f"{ulps:.2f}"]
        normal = np.random.default_rng([config.seed, classes]).standard_normal(shape, np.float32)
        for index, spread in enumerate(config.spreads):
            losses = np.asarray(losses_of(jnp.asarray(spread * normal), labels), np.float64)
            by_seed = losses.reshape(config.num_seeds, examples).mean(axis=1) - np.log(classes)
            middle, half = interval(by_seed, config.confidence)
            measured[index, place] = middle
            record.metric(f"random.{classes}.{spread:g}", middle, "nat")
            record.metric(f"random.{classes}.{spread:g}.half_width", half, "nat")
            cells.append(f"{middle:.3f} ± {half:.3f}")
        rows.append(tuple(cells))
    record.metric("zeros.worst_error", worst, "ulp")
    record.headline("largest error of the loss of zeros", worst, unit="ulp")
    record.table(
        "At the start: what logits that know nothing cost",
        ("classes", "zeros", "ulp off", *(f"σ = {spread:g}" for spread in config.spreads)),
        rows,
        note="Nats; for random logits what is beyond log K, with intervals over "
        f"{config.num_seeds} samples. σ²/2 is "
        f"{', '.join(f'{spread**2 / 2:.3f}' for spread in config.spreads)}.",
    )
    figure, (axes, *_) = new_axes()
    classes = np.array(config.at_start)
    axes.plot(classes, np.log(classes), color=COLOURS[0], linewidth=1.8, label="zeros: log K")
    for index, spread in enumerate(config.spreads):
        style: dict[str, Any] = {"color": COLOURS[1 + index % 4]}
        axes.plot(classes, np.log(classes) + spread**2 / 2, linestyle=DASHES[1], **style)
        axes.plot(
            *(classes, np.log(classes) + measured[index]),
            linestyle="none",
            marker="o^sD"[index % 4],
            markersize=5,
            label=f"normal logits, σ = {spread:g}",
            **style,
        )
    axes.set_xscale("log")
    label(axes, "number of classes K", "mean loss (nats)")
    legend(axes)
    record.figure(
        "at_start", figure, "Loss before anything is learnt; dashed: log K + σ²/2, for large K."
    )


def digits(config: Config, record: Record) -> None:
    """The same features, of which some classes are kept."""
    data: Any = load_digits()
    features, labels = (data.data / 16).astype(np.float32), data.target.astype(np.int32)
    rows = []
    for classes in config.of_digits:
        losses, right = [], []
        for seed in range(config.num_seeds):
            random = np.random.default_rng([config.seed, seed])
            kept = random.permutation(10)[:classes]
            # All examples stay, so that one program serves all choices; some do not exist.
            renamed = np.select([labels == digit for digit in kept], np.arange(classes), -1)
            exists, learns = renamed >= 0, random.random(len(labels)) < 0.5
            named = np.where(exists, renamed, 0).astype(np.int32)
            fitted = training.fit_logistic_regression(
                *(features, named),
                num_classes=classes,
                penalty=1e-3,
                where=exists & learns,
            )
            logits = fitted(jnp.asarray(features))
            where = jnp.asarray(exists & ~learns)
            losses.append(float(metrics.log_loss(logits, jnp.asarray(named), where=where)))
            right.append(float(metrics.accuracy(logits, jnp.asarray(named), where=where)))
        middle, half = interval(np.array(losses), config.confidence)
        known = 1 - np.array(losses) / np.log(classes)
        record.metric(f"digits.{classes}.log_loss", middle, "nat")
        record.metric(f"digits.{classes}.log_loss.half_width", half, "nat")
        record.metric(f"digits.{classes}.share_known", known.mean(), "1")
        rows.append(
            (
                f"{classes}",
                f"{np.log(classes):.3f}",
                f"{middle:.3f} ± {half:.3f}",
                "{:.3f} ± {:.3f}".format(*interval(known, config.confidence)),
                f"{np.mean(right):.3f}",
            )
        )
    record.table(
        "Digits, of which some are kept: logistic regression",
        ("classes", "log K", "log loss", "known of log K", "accuracy"),
        rows,
        note=f"Held out, nats, intervals over {config.num_seeds} choices of digits.",
    )


def about_centers(config: Config, record: Record) -> None:
    """Classes whose best possible loss is known."""
    rows = []
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, config.num_epochs * 40))
    for classes in config.drawn:
        random = np.random.default_rng([config.seed, classes])
        centers = random.standard_normal((classes, config.num_features))
        labels = random.integers(0, classes, config.num_examples).astype(np.int32)
        noise = random.standard_normal((config.num_examples, config.num_features))
        features = centers[labels] + 1.5 * noise
        # Bayes' rule: linear in the features, since all classes scatter alike.
        best = (features @ centers.T - np.square(centers).sum(axis=-1) / 2) / 1.5**2
        half = config.num_examples // 2
        fitted = training.fit(
            training.LogisticRegression(config.num_features, classes, rngs=nnx.Rngs(config.seed)),
            (features[:half].astype(np.float32), labels[:half]),
            optimizer=optimizer,
            epochs=config.num_epochs,
            batch_size=-(-half // 40),
            key=jax.random.key(config.seed),
            progress=False,
        )
        learnt = fitted.model(jnp.asarray(features[half:], jnp.float32))
        both = jnp.stack([jnp.asarray(best[half:], jnp.float32), learnt])
        held_out = jnp.asarray(labels[half:])
        losses = metrics.compare(
            metrics.log_loss, both, held_out, baseline=0, confidence=config.confidence
        )
        right = np.asarray(jax.vmap(metrics.accuracy, in_axes=(0, None))(both, held_out))
        bayes, ours = (float(value) for value in losses.estimate)
        beyond = [float(a[1]) for a in (losses.difference, losses.low, losses.high)]
        for name, value in (("best", bayes), ("learnt", ours), ("beyond_best", beyond[0])):
            record.metric(f"centers.{classes}.{name}", value, "nat")
        record.metric(f"centers.{classes}.beyond_best.low", beyond[1], "nat")
        record.metric(f"centers.{classes}.beyond_best.high", beyond[2], "nat")
        rows.append(
            (
                f"{classes:,}",
                f"{np.log(classes):.3f}",
                f"{bayes:.3f}",
                f"{ours:.3f}",
                f"{beyond[0]:+.3f} ± {(beyond[2] - beyond[1]) / 2:.3f}",
                f"{1 - ours / np.log(classes):.3f}",
                f"{right[1]:.3f}",
            )
        )
    record.table(
        "Classes about centers: logistic regression beside the best possible",
        ("classes", "log K", "best", "learnt", "beyond the best", "known", "accuracy"),
        rows,
        note=f"{config.num_examples // 2:,} held-out examples, {config.num_features} features, as "
        "many examples for each number of classes, nats.",
    )


def what_it_means(config: Config, record: Record) -> None:
    """What one loss says among few and among many classes."""
    rows = []
    for classes in config.at_start:
        right = accuracy_of(0.5, classes)
        record.metric(f"half_a_nat.{classes}.accuracy", right, "1")
        record.metric(f"half_a_nat.{classes}.share_known", 1 - 0.5 / np.log(classes), "1")
        rows.append((f"{classes:,}", f"{1 - 0.5 / np.log(classes):.3f}", f"{right:.3f}"))
        if classes in (2, 1000):
            record.headline(f"right decisions at a log loss of 0.5, {classes:,} classes", right)
    record.table(
        "What a log loss of 0.5 nats says",
        ("classes", "known of log K", "right decisions"),
        rows,
        note="Of a model that is right in its probabilities and spreads its doubt evenly. In each "
        f"row the truth has the probability {np.exp(-0.5):.3f} on the (geometric) mean.",
    )


def accuracy_of(loss: float, classes: int) -> float:
    """The share p of right decisions of whoever says p and, of each other class, (1 − p)/(K − 1).

    With probabilities that are right, the log loss is the entropy of what is said.
    """

    def beyond(p: float) -> float:
        doubt = 1 - p
        return scipy.special.entr([p, doubt]).sum() + doubt * np.log(classes - 1) - loss

    found: Any = scipy.optimize.brentq(beyond, 1 / classes, 1 - 1e-12)
    return float(found)
