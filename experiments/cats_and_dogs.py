"""Cat or dog: how far does a small network come, and what do flipped images add?

Command:  python -m experiments cats_and_dogs
Minutes:  2
Expect:   with 3,280 JPEGs and 10 epochs 0.722 are right (0.702 to 0.742) at a log loss of 0.543
          nats; without flips it is higher by 0.031 (0.011 to 0.051), while the accuracy does not
          say so (-0.019, -0.041 to +0.003). A temperature of 0.85 from images kept back does not
          help (0.547); logistic regression on pixels has 0.662.

The images are those of CIFAR-10 that show a cat (0) or a dog (1), 32 × 32 pixels, and the test
images are its own. A small convolutional network learns with our binary cross-entropy, twice: from
the images as they are, and with each flipped left to right or not, at random, whenever it is used.
A sixth of the training images is kept back. It says after which epoch a network was best, and it
fits the temperature; nothing is chosen by test images.

Beside the networks stands logistic regression on the pixels, whose penalty is chosen by the images
kept back as well. Where the first 20,000 training images are at hand as JPEGs, those are used, of
which 3,936 are cats or dogs; all of CIFAR-10 has 10,000. Flips and the loss they save are judged
with one seed.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jbce import calibration, metrics, plots, training

from . import _held_out
from ._convolutions import ConvNet
from ._drawing import pictures
from ._fitting import logistic_of_best_penalty, predicted
from ._held_out import HeldOut, stratified_folds
from ._images import Images, cifar10
from ._record import Record

FLIPS, PLAIN, LINEAR = "CNN with flips", "CNN", "logistic regression"
CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Config:
    """How to train."""

    num_train: int = 10_000
    """Training images to use at most, those kept back among them."""
    num_epochs: int = 10
    """Passes through them; the best of them by the images kept back is used."""
    batch_size: int = 64
    """Images per step."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each convolution."""
    learning_rate: float = 3e-3
    """Of Adam, at the start; it decays to 0 as a cosine."""
    num_worst: int = 8
    """Test images of largest loss to show."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the first weights, of the order and the flips, and of the images kept back."""


def run(config: Config, record: Record) -> None:
    """Two networks and a logistic regression, the first of them judged in full."""
    images = cifar10((3, 5))
    train, train_labels = images.train[: config.num_train], images.train_labels[: config.num_train]
    seen, kept = next(iter(stratified_folds(train_labels, 6, config.seed)))
    mean, deviation = train[seen].mean(axis=(0, 1, 2)), train[seen].std(axis=(0, 1, 2))
    scaled = Images(
        (train - mean) / deviation,
        train_labels,
        (images.test - mean) / deviation,
        images.test_labels,
    )
    fitted = {name: fit(config, scaled, seen, kept, flips=name == FLIPS) for name in (FLIPS, PLAIN)}
    kept_logits = {n: predicted(result.model, scaled.train[kept]) for n, result in fitted.items()}
    test_logits = {n: predicted(result.model, scaled.test) for n, result in fitted.items()}
    temperature = calibration.fit_temperature(kept_logits[FLIPS], jnp.asarray(train_labels[kept]))
    held_out = HeldOut(
        "cats and dogs",
        {
            FLIPS: np.asarray(test_logits[FLIPS]),
            "with temperature": np.asarray(temperature(test_logits[FLIPS])),
            PLAIN: np.asarray(test_logits[PLAIN]),
            LINEAR: on_pixels(scaled, seen, kept),
        },
        images.test_labels,
        CLASSES,
        "image {}".format,
    )
    compared = _held_out.judge(
        held_out, record, num_worst=config.num_worst, confidence=config.confidence, seed=config.seed
    )
    tell(config, held_out, compared, float(temperature.temperature), record)
    record.figure(
        "training_curve",
        plots.training_curve(
            {
                f"{name}, {part}": np.asarray(curve)
                for name, result in fitted.items()
                for part, curve in (
                    ("training", result.history.loss),
                    ("kept back", result.history.validation),
                )
            }
        ),
        "The mean loss of every epoch, of the training images (as they came) and of those kept "
        "back.",
    )
    record.figure("worst", draw_worst(config, images, held_out), "The test images that cost most.")


def fit(
    config: Config, images: Images, seen: np.ndarray, kept: np.ndarray, *, flips: bool
) -> training.FitResult:
    """A network as it was after its best epoch."""
    num_steps = config.num_epochs * math.ceil(len(seen) / config.batch_size)
    shape = images.train.shape[1:]
    return training.fit(
        ConvNet(shape, config.widths, rngs=nnx.Rngs(config.seed), flips=flips, mean=True),
        (images.train[seen], images.train_labels[seen]),
        optimizer=optax.adam(optax.cosine_decay_schedule(config.learning_rate, num_steps)),
        epochs=config.num_epochs,
        batch_size=config.batch_size,
        key=jax.random.key(config.seed),
        validation=(images.train[kept], images.train_labels[kept]),
        patience=config.num_epochs,  # never stops, but gives back the best epoch
        progress=False,
    )


def on_pixels(images: Images, seen: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Logits of the test images by logistic regression on the means of squares of four pixels."""

    def features(part: np.ndarray) -> jax.Array:
        squares = part.reshape(len(part), 16, 2, 16, 2, 3).mean(axis=(2, 4))
        return jnp.asarray(squares.reshape(len(part), -1))

    best = logistic_of_best_penalty(
        *(features(images.train[seen]), jnp.asarray(images.train_labels[seen])),
        *(features(images.train[kept]), jnp.asarray(images.train_labels[kept])),
        penalties=(0.1, 1.0, 10.0),
    )
    return np.asarray(best(features(images.test)))


def tell(
    config: Config, held_out: HeldOut, compared: dict, temperature: float, record: Record
) -> None:
    """The accuracy with its interval, and what flips add."""
    record.metric("temperature", temperature, "1")
    accuracy = metrics.confidence_interval(
        metrics.accuracy,
        jnp.asarray(held_out.logits[FLIPS]),
        jnp.asarray(held_out.labels),
        confidence=config.confidence,
    )
    record.headline("accuracy, cats and dogs", accuracy.estimate, accuracy.low, accuracy.high)
    place = [FLIPS, _held_out.CALIBRATED, *list(held_out.logits)[1:]].index(PLAIN)
    found = {
        title: [
            float(array[place])
            for array in (comparison.difference, comparison.adjusted_low, comparison.adjusted_high)
        ]
        for title, comparison in compared.items()
    }
    value, low, high = (-number for number in found["log loss"])
    record.headline("what flips add to the log loss", value, high, low, unit="nat")
    value, low, high = found["accuracy"]
    record.say(
        f"{FLIPS} is right for {float(accuracy.estimate):.3f} of the test images "
        f"({config.confidence:.0%} interval {float(accuracy.low):.3f} to "
        f"{float(accuracy.high):.3f}). Without flips the log loss is "
        f"{found['log loss'][0]:+.4f} nats ({found['log loss'][1]:+.4f} to "
        f"{found['log loss'][2]:+.4f}) and the accuracy {value:+.4f} ({low:+.4f} to {high:+.4f}), "
        "with multiplicity over all rows; these intervals know the images, not the seed. The "
        f"temperature that images kept back ask for is {temperature:.3f}."
    )


def draw_worst(config: Config, images: Images, held_out: HeldOut):
    """The test images of largest loss, with the probability given to what they show."""
    logits = held_out.logits[FLIPS].astype(np.float64)
    losses = np.logaddexp(0, np.where(held_out.labels == 1, -logits, logits))
    worst = np.argsort(-losses, kind="stable")[: config.num_worst]
    titles = [
        f"{CLASSES[held_out.labels[i]]}, p = {np.exp(-losses[i]):.1g}" for i in map(int, worst)
    ]
    return pictures([images.test[i] for i in worst], titles, num_columns=4)
