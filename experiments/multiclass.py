"""Ten kinds of clothes: one softmax, or ten yes-or-no questions?

Command:  python -m experiments multiclass
Minutes:  2
Expect:   one against the rest has a log loss that is higher by 0.049 nats (0.032 to 0.066 over 3
          seeds) than softmax's 0.373, and a Brier score higher by 0.019; of accuracy, 0.868 with
          softmax, 3 seeds do not say whether it costs any (-0.010, -0.025 to +0.005).

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
with other seeds; its last line has an interval that knows seeds too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import optax
from flax import nnx

import jbce
from jbce import plots, training

from . import _held_out
from ._convolutions import ConvNet
from ._drawing import COLOURS, INK, label, new_axes
from ._fitting import predicted
from ._held_out import HeldOut
from ._images import FASHION_CLASSES, Images, fashion_mnist
from ._over_seeds import record_difference
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
    record_difference(
        {name: np.stack([pair[name] for pair in pairs]) for name in (SOFTMAX, REST)},
        images.test_labels,
        _held_out.judges_of(is_binary=False),
        record,
        seed=config.seed,
        confidence=config.confidence,
    )
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


def draw_sums(log_sigmoids: np.ndarray) -> matplotlib.figure.Figure:
    """A histogram of what the sigmoids of an example sum to."""
    figure, (axes,) = new_axes(height=3.2)
    axes.hist(np.exp(log_sigmoids).sum(axis=-1), bins=60, color=COLOURS[0])
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    label(axes, "sum of the ten probabilities", "test images")
    return figure
