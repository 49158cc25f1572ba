"""Ten kinds of clothes: one softmax, or ten yes-or-no questions?

Command:  python -m experiments multiclass
Minutes:  2
Expect:   one against the rest has a log loss that is higher by 0.047 nats (0.036 to 0.058 over 3
          seeds) than softmax's 0.375, and a Brier score higher by 0.018; of accuracy, 0.867 with
          softmax, 3 seeds do not say whether it costs any (-0.008, -0.021 to +0.005).

The same small convolutional network learns Fashion-MNIST from the same weights in the same order
with two losses: softmax cross-entropy, and one binary cross-entropy for each class against the
rest, summed over the classes. Both get the same optimiser, whose rate was the better of two for
both on 2,000 training images. Of the 60,000 training images the first 12,000 of a random order are
used, five times each: the question is which loss learns more from the same little work, not which
is better at the end of long training.

One against the rest gives ten probabilities that need not sum to 1. Its log loss needs them to:
here each is divided by their sum. As logits of a softmax that is log σ(x), which is minus the
binary cross-entropy of a label 1, so that no digit is lost. Another way, softmax(x), divides odds
instead of probabilities; it is shown beside the first. The decision is the same for both.

A softmax has it from the start that exactly one class is the case; ten sigmoids have to learn it.
The last figure shows how far they have come.

Intervals of the table know the test images, of one pair of networks. The second table repeats that
with other seeds; its last line has an interval that knows seeds too (Student's t, of their mean).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
import scipy.special
from flax import nnx

import jbce
from jbce import plots, training

from . import _held_out
from ._convolutions import ConvNet
from ._drawing import COLOURS, INK, label, new_axes
from ._fitting import predicted
from ._held_out import HeldOut
from ._images import FASHION_CLASSES, Images, fashion_mnist
from ._over_seeds import interval
from ._record import Record

SOFTMAX, REST, ODDS = "softmax", "one v. rest", "its odds"


@dataclass(frozen=True)
class Config:
    """What to train."""

    num_train: int = 12_000
    """Training images to use, of 60,000."""
    num_test: int = 10_000
    """Test images to use, of 10,000."""
    num_epochs: int = 5
    """Passes through them."""
    batch_size: int = 128
    """Images per step."""
    widths: tuple[int, ...] = (16, 32)
    """Channels of each convolution."""
    learning_rate: float = 0.01
    """Of Adam, at the start; it decays to 0 as a cosine."""
    num_seeds: int = 3
    """Pairs of networks, of which the first is judged in full; at least 2."""
    num_worst: int = 5
    """Test images of largest loss to show."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the first pair, and of the choice of training images."""


def one_versus_rest(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The binary cross-entropies of all classes, each against the rest; one sum per example."""
    is_class = jax.nn.one_hot(labels, logits.shape[-1])
    return jnp.sum(jbce.sigmoid_binary_cross_entropy(logits, is_class), axis=-1)


def normalised(logits: np.ndarray) -> np.ndarray:
    """Logits of the softmax that is σ(x) / Σ σ(x): the logarithms of the sigmoids."""
    return -np.asarray(jbce.sigmoid_binary_cross_entropy(logits, np.ones_like(logits)))


def run(config: Config, record: Record) -> None:
    """Pairs of networks, the first judged in full."""
    images = fashion_mnist()
    used = np.random.default_rng(config.seed).permutation(len(images.train))[: config.num_train]
    mean, deviation = images.train[used].mean(), images.train[used].std()
    images = Images(
        (images.train[used] - mean) / deviation,
        images.train_labels[used],
        (images.test[: config.num_test] - mean) / deviation,
        images.test_labels[: config.num_test],
    )
    num_steps = config.num_epochs * math.ceil(len(used) / config.batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, num_steps))
    pairs, histories = [], {}
    for seed in range(config.seed, config.seed + config.num_seeds):
        pair = {}
        for name, loss in ((SOFTMAX, None), (REST, one_versus_rest)):
            pair[name], history = train(config, images, loss, optimizer, seed)
            histories.setdefault(name, history)
        pairs.append({SOFTMAX: pair[SOFTMAX], REST: normalised(pair[REST]), ODDS: pair[REST]})
    _held_out.judge(
        HeldOut("Fashion-MNIST", pairs[0], images.test_labels, FASHION_CLASSES, "image {}".format),
        record,
        num_worst=config.num_worst,
        confidence=config.confidence,
        seed=config.seed,
    )
    record.figure(
        "training_curve",
        plots.training_curve(histories),
        "Training: the mean loss of an epoch, of each network in its own measure (one softmax, or "
        "a sum of ten binary cross-entropies).",
    )
    over_seeds(config, pairs, images.test_labels, record)
    record.figure(
        "sums",
        draw_sums(pairs[0][REST]),
        "The sum of the ten sigmoids of one against the rest, before it is made 1, over the test "
        "images.",
    )


def train(
    config: Config,
    images: Images,
    loss: Callable[[jax.Array, jax.Array], jax.Array] | None,
    optimizer: optax.GradientTransformation,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the test images, and the training loss of each epoch."""
    model = ConvNet(
        images.train.shape[1:], config.widths, len(FASHION_CLASSES), rngs=nnx.Rngs(seed)
    )
    fitted = training.fit(
        model,
        (images.train, images.train_labels),
        loss=loss,
        optimizer=optimizer,
        epochs=config.num_epochs,
        batch_size=config.batch_size,
        key=jax.random.key(seed),
        progress=False,
    )
    return np.asarray(predicted(fitted.model, images.test)), np.asarray(fitted.history.loss)


def over_seeds(
    config: Config, pairs: list[dict[str, np.ndarray]], labels: np.ndarray, record: Record
) -> None:
    """What one against the rest has more than softmax, for every seed and on average."""
    found = [
        {name: of_each_image(pair[name], labels) for name in (SOFTMAX, REST)} for pair in pairs
    ]
    rows = [[f"seed {config.seed + index}"] for index in range(len(pairs))] + [["mean"]]
    for title, unit in (("log loss", "nat"), ("Brier", "1"), ("accuracy", "1")):
        means, key = [], _held_out.identifier(title)
        for models, row in zip(found, rows, strict=False):
            difference = models[REST][title] - models[SOFTMAX][title]
            _, half = interval(difference, config.confidence)
            means.append(difference.mean())
            row.append(f"{means[-1]:+.4f} ± {half:.4f}")
        mean, half = interval(np.array(means), config.confidence)
        rows[-1].append(f"{mean:+.4f} ± {half:.4f}")
        record.metric(f"{key}.mean_difference", mean, unit)
        record.metric(f"{key}.mean_difference.low", mean - half, unit)
        record.metric(f"{key}.mean_difference.high", mean + half, unit)
        if title != "Brier":
            record.headline(
                f"{title}, one v. rest − softmax, {len(pairs)} seeds",
                *(mean, mean - half, mean + half),
                unit=unit,
                interval=f"{config.confidence:.0%}",
            )
    record.table(
        "One against the rest minus softmax",
        ("", "log loss", "Brier", "accuracy"),
        [tuple(row) for row in rows],
        note=f"± half of the {config.confidence:.0%} interval: over test images for a seed, over "
        "seeds for the mean.",
    )


def of_each_image(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics that are means over images, before the mean."""
    log_probs = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    is_class = np.eye(logits.shape[-1])[labels]
    return {
        "log loss": -log_probs[np.arange(len(labels)), labels],
        "Brier": ((np.exp(log_probs) - is_class) ** 2).sum(axis=-1),
        "accuracy": (np.argmax(logits, axis=-1) == labels).astype(float),
    }


def draw_sums(log_sigmoids: np.ndarray) -> matplotlib.figure.Figure:
    """A histogram of what the sigmoids of an example sum to."""
    figure, (axes,) = new_axes(height=3.2)
    axes.hist(np.exp(log_sigmoids).sum(axis=-1), bins=60, color=COLOURS[0])
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    label(axes, "sum of the ten probabilities", "test images")
    return figure
