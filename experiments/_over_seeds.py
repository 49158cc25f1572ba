"""Comparing ways to train, when each was trained from several seeds."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jbce import metrics

from ._held_out import identifier
from ._record import Record


class Judged(NamedTuple):
    """A metric of every training, and what each example does to it."""

    values: np.ndarray
    """`[models, seeds]`."""
    influences: np.ndarray
    """`[models, seeds, examples]`."""

    def compared(
        self, seeds: slice = slice(None), *, baseline: Any = 0, confidence: float = 0.95
    ) -> metrics.Comparison:
        """The means over some of the seeds."""
        influences = self.influences[:, seeds].mean(axis=1)
        return metrics.compare_over_seeds(
            self.values[:, seeds], influences, baseline=baseline, confidence=confidence
        )


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
    return judged(metric, logits, labels).compared(baseline=baseline, confidence=confidence)


def judged(metric: Callable[..., jax.Array], logits: np.ndarray, labels: np.ndarray) -> Judged:
    """A metric of every training, one after the other in one program."""
    models, seeds = logits.shape[:2]
    flat = jnp.asarray(logits.reshape(models * seeds, *logits.shape[2:]), jnp.float32)
    values, influences = (np.asarray(a, np.float64) for a in _judged(metric, flat, labels))
    return Judged(values.reshape(models, seeds), influences.reshape(models, seeds, -1))


def mean_over_seeds(
    values: np.ndarray, influences: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each model over its seeds, and half the width of its interval.

    Args:
        values: of a metric, `[models, seeds]`.
        influences: of the examples, `[models, examples]`, as `metrics.compare_over_seeds` takes
            them: the difference is from a model that is always 0.
        confidence: of the intervals, which know examples and seeds.
    """
    padded = (np.pad(array, ((1, 0), (0, 0))) for array in (values, influences))
    found = metrics.compare_over_seeds(*padded, confidence=confidence)
    low, high = np.asarray(found.low[1:]), np.asarray(found.high[1:])
    return values.mean(axis=1), (high - low) / 2


def record_difference(
    models: Mapping[str, np.ndarray],
    labels: np.ndarray,
    judges: Mapping[str, Callable[..., jax.Array]],
    record: Record,
    *,
    seed: int,
    confidence: float,
    headlines: Collection[str] = ("log loss", "accuracy"),
) -> None:
    """What the second of two ways to train has more than the first, by seed and on average.

    Args:
        models: two, logits `[seeds, examples]` or `[seeds, examples, classes]`.
        labels: `[examples]`.
        judges: metrics by their titles.
        record: what takes the table, the numbers and the headlines.
        seed: the first one.
        confidence: of the intervals: over examples for a seed, over both for the mean.
        headlines: titles of those that are.
    """
    (first, second), logits = models, np.stack([*models.values()])
    num_seeds = logits.shape[1]
    rows = [[f"seed {seed + index}"] for index in range(num_seeds)] + [["mean"]]
    parts = [*(slice(index, index + 1) for index in range(num_seeds)), slice(None)]
    for title, metric in judges.items():
        unit, key = "nat" if title == "log loss" else "1", identifier(title)
        every = judged(metric, logits, labels)
        for part, row in zip(parts, rows, strict=True):
            found = every.compared(part, confidence=confidence)
            mean, low, high = (float(a[1]) for a in (found.difference, found.low, found.high))
            row.append(f"{mean:+.4f} ± {(high - low) / 2:.4f}")
        for name, number in (("", mean), (".low", low), (".high", high)):
            record.metric(f"{key}.mean_difference{name}", number, unit)
        if title in headlines:
            what = f"{title}, {second} − {first}, {num_seeds} seeds"
            record.headline(what, mean, low, high, unit=unit, interval=f"{confidence:.0%}")
    record.table(
        f"{second} less {first}",
        ("", *judges),
        [tuple(row) for row in rows],
        note=f"± half of the {confidence:.0%} interval: over examples for a seed, over examples "
        "and seeds for the mean.",
    )


def interval(of_seeds: np.ndarray, confidence: float) -> tuple[Any, Any]:
    """The mean over seeds (the first axis) and half the width of its interval, by Student's t.

    (Or over anything else of which there are a few.)
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
