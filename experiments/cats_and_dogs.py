"""Cat or dog: how far does a small network come, and what do flipped images add?

Command:  python -m experiments cats_and_dogs
Minutes:  5
Expect:   with 3,280 JPEGs and 10 epochs 0.70 are right (0.68 to 0.72) at a log loss of 0.55 nats
          (0.53 to 0.57). Over three seeds flips take 0.018 nats off it, which could be none
          (-0.036 to +0.001), and add 0.010 to the AUROC (0.001 to 0.019); the accuracy does not say
          (+0.005, -0.025 to +0.034). A temperature from images kept back does not help (0.554);
          logistic regression on pixels has 0.662.

The images are those of CIFAR-10 that show a cat (0) or a dog (1), 32 × 32 pixels, and the test
images are its own. A small convolutional network learns with our binary cross-entropy, from the
images as they are, and with each flipped left to right or not, at random, whenever it is used, both
from several seeds. A sixth of the training images is kept back. It says after which epoch a network
was best, and it fits the temperature; nothing is chosen by test images.

Beside the networks stands logistic regression on the pixels, whose penalty is chosen by the images
kept back as well. Where the first 20,000 training images are at hand as JPEGs, those are used, of
which 3,936 are cats or dogs; all of CIFAR-10 has 10,000.

Intervals of the first table know the test images, of the networks of the first seed. The second
table repeats what flips change with other seeds; its last line has an interval that knows them too.
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
from ._over_seeds import record_difference
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
    num_seeds: int = 3
    """Pairs of networks, of which the first is judged in full; at least 2."""
    num_worst: int = 8
    """Test images of largest loss to show."""
    confidence: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the first pair (first weights, order and flips), and of the images kept back."""


def run(config: Config, record: Record) -> None:
    """Pairs of networks and a logistic regression; the first network is judged in full."""
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
    num_steps = config.num_epochs * math.ceil(len(seen) / config.batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, num_steps))
    pairs = [
        {
            name: fit(config, scaled, seen, kept, optimizer, seed, flips=name == FLIPS)
            for name in (FLIPS, PLAIN)
        }
        for seed in range(config.seed, config.seed + config.num_seeds)
    ]
    fitted = pairs[0]
    test_logits = {
        name: np.stack([np.asarray(predicted(pair[name].model, scaled.test)) for pair in pairs])
        for name in (PLAIN, FLIPS)
    }
    kept_logits = predicted(fitted[FLIPS].model, scaled.train[kept])
    temperature = calibration.fit_temperature(kept_logits, jnp.asarray(train_labels[kept]))
    held_out = HeldOut(
        "cats and dogs",
        {
            FLIPS: test_logits[FLIPS][0],
            "with temperature": np.asarray(temperature(jnp.asarray(test_logits[FLIPS][0]))),
            PLAIN: test_logits[PLAIN][0],
            LINEAR: on_pixels(scaled, seen, kept),
        },
        images.test_labels,
        CLASSES,
        "image {}".format,
    )
    _held_out.judge(
        held_out, record, num_worst=config.num_worst, confidence=config.confidence, seed=config.seed
    )
    tell(config, held_out, float(temperature.temperature), record)
    record_difference(
        test_logits,
        images.test_labels,
        _held_out.judges_of(is_binary=True),
        record,
        seed=config.seed,
        confidence=config.confidence,
    )
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
    config: Config,
    images: Images,
    seen: np.ndarray,
    kept: np.ndarray,
    optimizer: optax.GradientTransformation,
    seed: int,
    *,
    flips: bool,
) -> training.FitResult:
    """A network as it was after its best epoch."""
    shape = images.train.shape[1:]
    return training.fit(
        ConvNet(shape, config.widths, rngs=nnx.Rngs(seed), flips=flips, mean=True),
        (images.train[seen], images.train_labels[seen]),
        optimizer=optimizer,
        epochs=config.num_epochs,
        batch_size=config.batch_size,
        key=jax.random.key(seed),
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


def tell(config: Config, held_out: HeldOut, temperature: float, record: Record) -> None:
    """The accuracy with its interval, and the temperature."""
    record.metric("temperature", temperature, "1")
    accuracy = metrics.confidence_interval(
        metrics.accuracy,
        jnp.asarray(held_out.logits[FLIPS]),
        jnp.asarray(held_out.labels),
        confidence=config.confidence,
    )
    record.headline("accuracy, cats and dogs", accuracy.estimate, accuracy.low, accuracy.high)
    record.say(
        f"{FLIPS} is right for {float(accuracy.estimate):.3f} of the test images "
        f"({config.confidence:.0%} interval {float(accuracy.low):.3f} to "
        f"{float(accuracy.high):.3f}). The temperature that images kept back ask for is "
        f"{temperature:.3f}."
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
