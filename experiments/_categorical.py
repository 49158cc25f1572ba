"""Rows of logits of every kind, and how many ulps a categorical loss and its gradient are off.

The rows come from raw random bits by exact arithmetic, so that a row can be kept as its recipe.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_MANY = 10_007  # what is done with so many depends on how many logits there are, too
SMALLEST = 1e-30  # losses and probabilities below it do not count
GOALS = {"loss": 3.5, "the label's gradient": 3.5, "other gradients": 6.0, "row sums": 8.0}


@dataclass(frozen=True)
class Recipe:
    """A batch of rows."""

    seed: int
    num_classes: int
    spread: float
    """Standard deviation of the logits."""
    offset: float
    """Common to all logits."""
    margin: float
    """0 for random labels, else the label is the maximum, raised by up to so much."""


def recipes(seeds: int) -> Iterator[Recipe]:
    """2 to 10,007 classes, spreads 0.1 to 20, offsets to ±1000, margins to 60."""
    for seed in range(seeds):
        for num_classes in (2, 3, 10, 100, 1000, 5003, _MANY):
            for spread in (0.1, 1.0, 5.0, 20.0):
                for offset in (0.0, 1000.0, -77.3) if num_classes < _MANY else (-77.3,):
                    for margin in (0.0, 60.0):
                        yield Recipe(seed, num_classes, spread, offset, margin)


def rows(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Logits in float32, about 20,000 or 20 rows, and of many classes 2²¹; and labels."""
    examples = max(20_000 // recipe.num_classes, 20)
    if recipe.num_classes >= _MANY:
        examples = 2**21 // recipe.num_classes + 1
    bits = np.random.Philox(key=[recipe.seed, recipe.num_classes])

    def uniform(*shape: int) -> np.ndarray:  # (0, 1), four to a draw, summed to nearly a normal
        raw = bits.random_raw(int(np.prod(shape))).reshape(*shape, 1)
        return ((raw >> np.arange(0, 64, 16, dtype=np.uint64)) % 2**16 + 0.5) / 2**16

    normal = (uniform(examples, recipe.num_classes).sum(-1) - 2) * np.sqrt(3)
    logits = (recipe.spread * normal + recipe.offset).astype(np.float32)
    labels = (uniform(examples)[:, 0] * recipe.num_classes).astype(np.int32)
    if recipe.margin:
        labels = np.argmax(logits, axis=1).astype(np.int32)
        raised = (recipe.margin * uniform(examples)[:, 0]).astype(np.float32)
        logits[np.arange(examples), labels] += raised
    return logits, labels


def exact(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses and their gradients in float64, with one maximum left out of each sum."""
    x = logits.astype(np.float64)
    examples, best = np.arange(len(x)), np.argmax(x, axis=1)
    margins = x - x[examples, best][:, None]
    e = np.exp(margins)
    e[examples, best] = 0
    tail = e.sum(1)
    e[examples, best] = 1
    losses = np.log1p(tail) - margins[examples, labels]
    gradients = e / (1 + tail)[:, None]
    e[examples, labels] = 0
    gradients[examples, labels] = np.where(best == labels, -tail, -e.sum(1)) / (1 + tail)
    return losses, gradients


def errors(loss: Callable[..., Any], recipe: Recipe) -> dict[str, float]:
    """The worst, in ulps of float32, of a loss `(logits, labels) -> (losses, gradients)`."""
    logits, labels = rows(recipe)
    exact_losses, exact_gradients = exact(logits, labels)
    losses, gradients = (np.asarray(a).astype(np.float64) for a in loss(logits, labels))
    counts = exact_losses >= SMALLEST
    is_label = labels[:, None] == np.arange(recipe.num_classes)
    large = counts[:, None] & (np.abs(exact_gradients) >= SMALLEST)
    off = ulps(gradients, exact_gradients)
    sums = np.abs(gradients.sum(1)) / _ulp(np.abs(gradients).max(1))
    found = {
        "loss": ulps(losses, exact_losses)[counts],
        "the label's gradient": off[is_label & large],
        "other gradients": off[~is_label & large],
        "row sums": sums[counts],
    }
    return {name: float(values.max(initial=0)) for name, values in found.items()}


def ulps(found: np.ndarray, exactly: np.ndarray) -> np.ndarray:
    """The distance in units in the last place of float32; inf for what is not finite."""
    return np.nan_to_num(np.abs(found - exactly) / _ulp(exactly), nan=np.inf, posinf=np.inf)


def _ulp(values: np.ndarray) -> np.ndarray:
    exponents = np.frexp(np.maximum(np.abs(values), 2.0**-126))[1] - 1
    return np.ldexp(1.0, exponents - 23)


def usual(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss as it is written by hand: log-sum-exp less the label's logit."""
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - chosen
