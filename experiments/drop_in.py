"""Does a training run notice that one import line has changed from Optax's losses to ours?

Command:  python -m experiments drop_in
Minutes:  0.7
Expect:   with float32 logits the same curves to 3e-4 for every loss, and the same test accuracy;
          with bfloat16 logits Optax's loss is rounded to 3 digits and exactly 0 for 86 % of the
          training images at the end, ours for none.

The whole difference between two runs is that one says `from optax import losses` and the other
`import jbce as losses`. The model is a Flax MLP, the data are the 1,797 digits that scikit-learn
carries, or Fashion-MNIST (`--data fashion_mnist --num-epochs 5`, 70,000 images, 2 minutes; there
the two part by 1e-3 after 4,700 steps, as any two roundings do).
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from optax import losses as optax_losses
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jbce
from jbce import plots, training

from ._images import fashion_mnist
from ._record import Record


@dataclass(frozen=True)
class Config:
    """What to train."""

    data: Literal["digits", "fashion_mnist"] = "digits"
    """The images."""
    num_epochs: int = 60
    """Passes through the training images."""
    batch_size: int = 64
    """Images per step."""
    hidden_size: int = 128
    """Hidden units of the network."""
    learning_rate: float = 2e-3
    """Of Adam."""
    seed: int = 0
    """Of the first weights, the order of the images, and the split."""


class Data(NamedTuple):
    """Images as vectors, and their classes."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


Loss = Callable[[ModuleType, jax.Array, jax.Array], jax.Array]


def _one_hot(labels: jax.Array) -> jax.Array:
    return jax.nn.one_hot(labels, 10)


# Each is written once, and gets the module that its losses come from.
LOSSES: dict[str, Loss] = {
    "integer labels": lambda losses, logits, labels: (
        losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    ),
    "integer labels, bfloat16 logits": lambda losses, logits, labels: (
        losses.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.bfloat16), labels)
    ),
    "smoothed labels": lambda losses, logits, labels: losses.softmax_cross_entropy(
        logits, losses.smooth_labels(_one_hot(labels), 0.1)
    ),
    "Poly-1": lambda losses, logits, labels: losses.poly_loss_cross_entropy(
        logits, _one_hot(labels)
    ),
    "one against the rest": lambda losses, logits, labels: losses.sigmoid_binary_cross_entropy(
        logits, _one_hot(labels)
    ).sum(-1),
    "focal, one against the rest": lambda losses, logits, labels: losses.sigmoid_focal_loss(
        logits, _one_hot(labels), alpha=0.25
    ).sum(-1),
}
LIBRARIES = {"Optax": optax_losses, "jbce": jbce}


def run(config: Config, record: Record) -> None:
    """Trains every loss twice from the same weights, and compares."""
    data = _load(config)
    rows = []
    for name, loss in LOSSES.items():
        runs = {who: _train(config, data, loss, losses) for who, losses in LIBRARIES.items()}
        ours, theirs = runs["jbce"], runs["Optax"]
        apart = np.abs(ours.curve - theirs.curve) / theirs.curve
        key = name.replace(" ", "_").replace(",", "").replace("-", "_").lower()
        record.metric(f"{key}_largest_difference_of_the_curves", apart.max(), "1")
        for who, result in runs.items():
            record.metric(f"{key}_{who}_test_accuracy", result.accuracy, "1")
            record.metric(f"{key}_{who}_losses_of_0", result.zeros, "1")
        rows.append(
            (
                name,
                f"{apart.max():.1e}",
                *(f"{runs[who].accuracy:.4f}" for who in LIBRARIES),
                *(f"{100 * runs[who].zeros:.1f} %" for who in LIBRARIES),
            )
        )
        if name.startswith("integer"):
            record.headline(f"{name}: largest relative distance of the curves", apart.max())
            for who in LIBRARIES:
                record.headline(f"{name}: losses of exactly 0, {who}", runs[who].zeros)
            record.figure(
                key,
                plots.training_curve({who: result.curve for who, result in runs.items()}),
                f"The mean training loss, {name}.",
            )
    record.table(
        "The same run with either library",
        ("loss", "curves apart", "Optax: accuracy", "jbce", "Optax: losses of 0", "jbce"),
        rows,
    )
    record.say(
        "Curves apart: the largest relative difference of the mean training loss over the epochs. "
        "Losses of 0: training examples whose loss is exactly 0 at the end, so that nothing tells "
        "them apart."
    )


class _Result(NamedTuple):
    curve: np.ndarray
    accuracy: float
    zeros: float


def _train(config: Config, data: Data, loss: Loss, losses: ModuleType) -> _Result:
    """What a user's script does: Flax, Optax and a loss."""
    sizes = (data.train.shape[1], [config.hidden_size], 10)
    model = training.MLP(*sizes, rngs=nnx.Rngs(config.seed))
    optimizer = nnx.Optimizer(model, optax.adam(config.learning_rate), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        def objective(model: Any) -> jax.Array:
            return jnp.mean(loss(losses, model(images), labels).astype(jnp.float32))

        value, gradient = nnx.value_and_grad(objective)(model)
        optimizer.update(model, gradient)
        return value

    order, curve = np.random.default_rng(config.seed), []
    for _ in range(config.num_epochs):
        values = []
        permuted = order.permutation(len(data.train))
        for start in range(0, len(permuted) - config.batch_size + 1, config.batch_size):
            batch = permuted[start : start + config.batch_size]
            images, labels = (jnp.asarray(a[batch]) for a in (data.train, data.train_labels))
            values.append(step(model, optimizer, images, labels))
        curve.append(float(np.mean(jax.device_get(values))))
    predicted = np.argmax(model(jnp.asarray(data.test)), -1)
    at_end = loss(losses, model(jnp.asarray(data.train)), jnp.asarray(data.train_labels))
    return _Result(
        np.array(curve),
        float(np.mean(predicted == data.test_labels)),
        float(np.mean(np.asarray(at_end) == 0)),
    )


def _load(config: Config) -> Data:
    if config.data == "digits":
        digits: Any = load_digits()
        images = (digits.data / 16).astype(np.float32)
        labels = digits.target.astype(np.int32)
        parts: Any = train_test_split(
            images, labels, test_size=0.2, random_state=config.seed, stratify=labels
        )
        train, test, train_labels, test_labels = parts
        return Data(train, train_labels, test, test_labels)
    images = fashion_mnist()
    return Data(
        images.train.reshape(-1, 784),
        images.train_labels,
        images.test.reshape(-1, 784),
        images.test_labels,
    )
