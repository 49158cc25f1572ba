"""Comparing ways to train, when each was trained from several seeds."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jbce import metrics


class Judged(NamedTuple):
    """A metric of every training, and what each example does to it."""

    values: np.ndarray
    """`[models, seeds]`."""
    influences: np.ndarray
    """`[models, examples]`, the means over the seeds."""


def compare_over_seeds(
    metric: Callable[..., jax.Array],
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    baseline: Any = 0,
    confidence: float = 0.95,
) -> metrics.Comparison:
    """Means over the seeds, and their differences, paired by example and by seed.

    The intervals know both that other examples and that other seeds would have given other numbers.

    Args:
        metric: of `jbce.metrics`.
        logits: `[models, seeds, examples]` or `[models, seeds, examples, classes]`.
        labels: `[examples]`.
        baseline: as in `metrics.compare`.
        confidence: of the intervals.
    """
    values, influences = judged(metric, logits, labels)
    return metrics.compare_over_seeds(values, influences, baseline=baseline, confidence=confidence)


def judged(metric: Callable[..., jax.Array], logits: np.ndarray, labels: np.ndarray) -> Judged:
    """A metric of every training, one after the other in one program."""
    models, seeds = logits.shape[:2]
    flat = jnp.asarray(logits.reshape(models * seeds, *logits.shape[2:]), jnp.float32)
    values, influences = (np.asarray(a, np.float64) for a in _judged(metric, flat, labels))
    return Judged(values.reshape(models, seeds), influences.reshape(models, seeds, -1).mean(axis=1))


def interval(of_seeds: np.ndarray, confidence: float) -> tuple[Any, Any]:
    """The mean over seeds (the first axis) and half the width of its interval, by Student's t.

    (Or over anything else of which there are a few, as test images.)
    """
    count = len(of_seeds)
    error = of_seeds.std(axis=0, ddof=1) / np.sqrt(count)
    return of_seeds.mean(axis=0), scipy.stats.t.ppf((1 + confidence) / 2, count - 1) * error


def mean_interval(of_seeds: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """The mean of one number over seeds, and both ends of its interval."""
    mean, half = interval(of_seeds, confidence)
    return float(mean), float(mean - half), float(mean + half)


@partial(jax.jit, static_argnums=0)
def _judged(
    metric: Callable[..., jax.Array], logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return jax.lax.map(
        lambda one: (metric(one, labels), metrics.influence(metric, one, labels)), logits
    )
