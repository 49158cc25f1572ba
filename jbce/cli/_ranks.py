"""Ranking metrics: exact while the examples fit in memory, from a histogram with a bound beyond."""

import functools
from typing import Any, NamedTuple

import numpy as np

from ._accumulate import SMALL, Rows, joined, padded
from ._predictions import Chunk

_KEPT = 1 << 21  # numbers
_SCORE_BINS = 48


class Kept:
    """All examples, as long as they are few."""

    def __init__(self) -> None:
        self._parts: list[tuple[Rows, np.ndarray | None]] | None = []
        self._size = 0

    def add(self, chunk: Chunk) -> None:
        """Keeps a chunk, or forgets everything."""
        if self._parts is None:
            return
        self._size += chunk.logits.size
        if self._size > _KEPT:
            self._parts = None
            return
        self._parts.append((Rows(chunk.logits, chunk.labels, chunk.weights), chunk.groups))

    def rows(self, group: int | None) -> Rows | None:
        """The examples of a group, or all; None if they were too many."""
        if self._parts is None:
            return None
        if group is None:
            return joined([rows for rows, _ in self._parts])
        return joined([r.part(g == group) for r, g in self._parts if g is not None])


@functools.lru_cache
def _exact(binary: bool) -> Any:
    import jax

    from .. import metrics

    def of(logits: Any, labels: Any, weights: Any, where: Any) -> dict[str, Any]:
        options = {"weights": weights, "where": where}
        found = {"roc_auc": metrics.roc_auc(logits, labels, **options)}
        if binary:
            found["average_precision"] = metrics.average_precision(logits, labels, **options)
        return found

    return jax.jit(jax.vmap(of, in_axes=(0, None, None, None)))


def exact(rows: Rows) -> dict[str, np.ndarray]:
    """The metrics of all models, [models] each; to be called with 64-bit types enabled."""
    count = len(rows.labels)
    size = SMALL
    while size < count:  # few sizes, few compilations
        size *= 4
    found = _exact(rows.logits.ndim == 2)(*padded(rows, size), np.arange(size) < count)
    return {name: np.asarray(values) for name, values in found.items()}


class Counts(NamedTuple):
    """Weights by label, in bins of the logit from the lowest to the highest."""

    negatives: np.ndarray
    positives: np.ndarray
    edges: np.ndarray  # the lowest logit of each bin


def of_bins(sums: np.ndarray) -> Counts:
    """What the stream of `histogram_roc_auc` has summed: negatives' bins, then positives'."""
    negatives, positives = np.asarray(sums, np.float64).reshape(2, -1)
    some = negatives + positives > 0
    return Counts(negatives[some], positives[some], _edges(len(some))[some])


def of_rows(rows: Rows, model: int) -> Counts:
    """A bin for each logit that there is."""
    logits, labels, weights = rows.logits[model], rows.labels, rows.weights
    edges, index = np.unique(logits[weights > 0], return_inverse=True)
    labels, weights = labels[weights > 0], weights[weights > 0]
    negatives, positives = (
        np.bincount(index, np.where(labels == label, weights, 0.0), len(edges)) for label in (0, 1)
    )
    return Counts(negatives, positives, edges)


def average_precision(of: Counts) -> tuple[float, float]:
    """The average precision of the bins, and how far it may be off the exact one.

    As if the examples of a bin were tied. Of those in a bin the exact one counts at least
    ∫ (P + t)/(P + t + N + n) dt, over t from 0 to p, all n negatives ahead, and at most
    p·(P + p)/(P + p + N), with P and N in the bins above.
    """
    p, n = of.positives[::-1], of.negatives[::-1]
    total = p.sum()
    if total == 0:
        return float("nan"), float("nan")
    some = p > 0
    p, n, above, others = (a[some] for a in (p, n, p.cumsum() - p, n.cumsum() - n))
    tied = p * (above + p) / (above + p + others + n)
    best = p * (above + p) / (above + p + others)
    ahead = others + n
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.where(ahead > 0, ahead * np.log1p(p / (above + ahead)), 0.0)
    low, middle, high = ((a.sum() / total) for a in (p - lost, tied, best))
    return float(middle), float(max(high - middle, middle - low))


def curves(of: Counts) -> tuple[Any, Any]:
    """`RocCurve` and `PrecisionRecallCurve`, at the edges of the bins."""
    from .. import metrics

    n, p = (np.concatenate([[0.0], np.cumsum(a[::-1])]) for a in (of.negatives, of.positives))
    thresholds: Any = np.concatenate([[np.inf], of.edges[::-1]])
    with np.errstate(invalid="ignore", divide="ignore"):
        precision: Any = np.where(p + n > 0, p / (p + n), 1.0)
        return (
            metrics.RocCurve(n / n[-1], p / p[-1], thresholds),
            metrics.PrecisionRecallCurve(precision, p / p[-1], thresholds),
        )


def score_histogram(of: Counts) -> Any:
    """`ScoreHistogram` in bins of equal width over all but the outermost thousandths.

    What is said with certainty has no place on an axis of log-odds: it is in the outermost bins.
    """
    from .. import plots

    finite = np.isfinite(of.edges)
    edges, share = of.edges[finite], np.cumsum((of.negatives + of.positives)[finite])
    low, high = -1.0, 1.0
    if len(edges):
        places = np.searchsorted(share, (0.001 * share[-1], 0.999 * share[-1]))
        low, high = edges[np.minimum(places, len(edges) - 1)]
    if not high > low:
        low, high = low - 0.5, high + 0.5
    bounds = np.linspace(low, high, _SCORE_BINS + 1)
    index = np.clip(np.searchsorted(bounds, of.edges, side="right") - 1, 0, _SCORE_BINS - 1)
    p, n = (np.bincount(index, a, _SCORE_BINS) for a in (of.positives, of.negatives))
    return plots.ScoreHistogram(bounds, p, n)


def _edges(num_bins: int) -> np.ndarray:
    """The lowest float32 of each bin, which are the leading bits in the order of the numbers."""
    bits = np.arange(num_bins, dtype=np.int64) * (2**32 // num_bins)
    # A positive number has its sign bit set here, a negative one all bits turned around.
    raw = np.where(bits < 2**31, 2**32 - 1 - bits, bits - 2**31).astype(np.uint32)
    with np.errstate(invalid="ignore"):
        values = raw.view(np.float32).astype(np.float64)
    # The bin of -inf starts at NaNs.
    return np.where(np.isnan(values), np.where(bits < 2**31, -np.inf, np.inf), values)
