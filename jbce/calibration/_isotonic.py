"""Isotonic calibration: the best map among all that never decrease."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._optimum import is_class
from .._typing import Array, ArrayLike, Bool, Float, Real
from ..numerics import log_sigmoid
from ._apply import check_parameters, prepared
from ._multiclass import known_penalty
from ._sample import arguments, finished, only_the_infinite, rows_of


class Isotonic(NamedTuple):
    """A map of logits that never decreases, by its values at the examples that it was fitted to.

    Between two of them the probability is interpolated linearly in the logit, beyond the first and
    the last it is theirs. With one row per class, each maps the log-odds of its class, and the
    probabilities that come out are divided by their sum.
    """

    thresholds: Float[Array, "*models_and_classes examples"]  # in rising order
    log_odds: Float[Array, "*models_and_classes examples"]  # at the thresholds; may be ±inf

    def __call__(self, logits: Float[ArrayLike, "*logits"]) -> Float[Array, "*logits"]:
        """Calibrated logits, of the shape of `logits`: float32, or float64 for float64 logits.

        ±inf where the calibrated probability is 0 or 1. A row of classes that are all given 0 gets
        equal logits.
        """
        x, thresholds, log_odds = prepared(logits, self)
        shape = thresholds.shape[-1:]
        if thresholds.ndim == 2 and x.ndim:
            shape = (x.shape[-1], *shape)
        check_parameters(self, {"thresholds": shape, "log_odds": shape})
        interpolated = _interpolated if thresholds.ndim == 1 else _of_classes
        return interpolated(x, thresholds, log_odds)


def fit_isotonic(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    prior_weight: Real[ArrayLike, ""] = 0.0,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Isotonic:
    """The never decreasing map of logits that has the least log loss, and the least Brier score.

    Pool adjacent violators: examples of equal logits make a block, neighbouring blocks merge while
    the share of positives does not rise from one to the next, and a block's calibrated probability
    is its share of positives. The map is optimal for every proper score at once. For class indices,
    each class is so calibrated against the rest, by its log-odds.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats in [0, 1].
        prior_weight: ≥ 0, a scalar; the weight of two examples that are added, a positive one at
            the smallest logit and a negative one at the largest. With it no probability is 0 or 1,
            and calibrated logits are finite. May be traced.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        An `Isotonic`, `[n]` per field, or `[classes, n]` for class indices, in float32, or float64
        for float64 logits. Its log-odds are differentiable in weights, float labels and
        `prior_weight`, its thresholds in logits, both as if the blocks did not change, which they
        do not almost everywhere; a log-odds of ±inf has derivative 0.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, there are fewer than two classes, or
            `prior_weight` is known and not a finite number ≥ 0.

    Edges: infinite logits rank where they belong. A single class gives probability 0 or 1. Nothing
        counts: log-odds 0. An undefined example that counts: NaN.
    Error: the blocks are those of float64 sums; one rounding. A round merges all runs of violators
        at once and costs O(n); most samples take a few dozen rounds, the worst as many as blocks.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([-1.0, 0.0, 1.0, 2.0]), jnp.array([0, 1, 0, 1])
        >>> fit_isotonic(logits, labels)(logits).tolist()
        [-inf, 0.0, 0.0, inf]

    Source: B. Zadrozny and C. Elkan, Transforming classifier scores into accurate multiclass
        probability estimates, KDD (2002).
    """
    arrays = arguments(logits, labels, weights, where)
    return _fit(*arrays, known_penalty("prior_weight", prior_weight))


@jax.jit
def _fit(
    logits: Array, labels: Array, weights: Array, where: Array, prior_weight: Array
) -> Isotonic:
    with jax.enable_x64(True):
        rows, labels, weights, status = rows_of((logits, labels, weights, where))
        prior_weight = prior_weight.astype(jnp.float64)
        if rows.ndim == 1:
            fields = _pooled(rows.astype(status.dtype), labels, weights, prior_weight)
        else:
            # As the map will see them, so that equal odds are ties however they were summed.
            columns = _class_log_odds(rows.astype(status.dtype)).astype(status.dtype).T
            positive = is_class(labels, rows).astype(jnp.float64).T
            fields = jax.vmap(_pooled, in_axes=(0, 0, None, None))(
                columns, positive, weights, prior_weight
            )
        return Isotonic(*(finished(field, status) for field in fields))


def _pooled(
    logits: Array, labels: Array, weights: Array, prior_weight: Array
) -> tuple[Array, Array]:
    """Thresholds and log-odds [n], in rising order of the logits that count.

    What is in float64 meets no gather, whose transpose makes float32 numbers (see `optimum`).
    """
    counted = lax.stop_gradient(weights) != 0
    order = jnp.lexsort((lax.stop_gradient(logits), ~counted)).astype(jnp.int32)
    # What does not count comes last and takes the place of the last that does.
    index = jnp.arange(logits.size, dtype=jnp.int32)
    last = jnp.maximum(jnp.sum(counted, dtype=jnp.int32) - 1, 0)
    thresholds = logits[order][jnp.minimum(index, last)]
    rank = jnp.zeros_like(order).at[order].set(index)
    positive = weights * labels + jnp.where(rank == 0, prior_weight, 0.0)
    negative = weights * (1 - labels) + jnp.where(rank == last, prior_weight, 0.0)
    masses = (mass[order] for mass in lax.stop_gradient((positive, negative)))
    block = _blocks(lax.stop_gradient(thresholds), *masses)
    positive, negative = (_sum_by(block[rank], mass) for mass in (positive, negative))
    log_odds = _safe_log(positive) - _safe_log(negative)
    log_odds = jnp.where((positive == 0) & (negative == 0), 0.0, log_odds)
    return thresholds, log_odds.astype(logits.dtype)[block]


def _safe_log(mass: Array) -> Array:
    return jnp.where(mass > 0, jnp.log(jnp.where(mass > 0, mass, 1.0)), -jnp.inf)


def _sum_by(block: Array, values: Array) -> Array:
    return jax.ops.segment_sum(values, block, block.size)


def _blocks(logits: Array, positive: Array, negative: Array) -> Array:
    """The index of each example's block, [n], by pooling adjacent violators."""

    def merged(state: tuple[Array, Array]) -> tuple[Array, Array]:
        block, _ = state
        ups, downs = _sum_by(block, positive), _sum_by(block, negative)
        # The share of block i is at least that of block i + 1: by products, for masses of 0.
        used = jnp.arange(block.size, dtype=jnp.int32) < block[-1]
        violates = used & (ups * jnp.roll(downs, -1) >= jnp.roll(ups, -1) * downs)
        # Each block moves down by as many as there are violations below it.
        moved = jnp.cumsum(violates, dtype=jnp.int32) - violates.astype(jnp.int32)
        return block - moved[block], jnp.any(violates)

    if logits.size == 0:
        return jnp.zeros([0], jnp.int32)
    is_new = jnp.concatenate([jnp.zeros([1], bool), logits[1:] > logits[:-1]])
    block = jnp.cumsum(is_new, dtype=jnp.int32)
    return lax.while_loop(lambda state: state[1], merged, (block, jnp.ones([], bool)))[0]


@jax.jit
def _of_classes(x: Array, thresholds: Array, log_odds: Array) -> Array:
    one_against_rest = jnp.moveaxis(_class_log_odds(x).astype(x.dtype), -1, 0)
    found = jax.vmap(_interpolated)(one_against_rest, thresholds, log_odds)
    found = jnp.where(jnp.isnan(found), jnp.nan, log_sigmoid(found))
    nowhere = jnp.all(found == -jnp.inf, axis=0)
    return jnp.moveaxis(jnp.where(nowhere, 0.0, found), 0, -1)


@jax.jit
def _interpolated(x: Array, thresholds: Array, log_odds: Array) -> Array:
    if thresholds.size == 0:
        return jnp.zeros_like(x)
    below = jnp.clip(jnp.searchsorted(thresholds, x, side="right") - 1, 0, thresholds.size - 1)
    above = jnp.minimum(below + 1, thresholds.size - 1)
    start, end, low, high = thresholds[below], thresholds[above], log_odds[below], log_odds[above]
    span = end - start
    # At a threshold, beyond the ends, and inside a block there is nothing between.
    between = (x > start) & (low < high) & (span > 0) & (span < jnp.inf)
    share = jnp.where(between, x - start, 1) / jnp.where(between, span, 2)
    # log of a mixture of probabilities, less that of one minus it: both are sums without loss.
    up = jnp.logaddexp(jnp.log1p(-share) + log_sigmoid(low), jnp.log(share) + log_sigmoid(high))
    down = jnp.logaddexp(jnp.log1p(-share) + log_sigmoid(-low), jnp.log(share) + log_sigmoid(-high))
    return jnp.where(jnp.isnan(x), jnp.nan, jnp.where(between, up - down, low))


def _class_log_odds(rows: Array) -> Array:
    """x_k − logsumexp of the other classes, for every class, [*batch, classes], in float64."""
    with jax.enable_x64(True):
        top = lax.argmax(rows, rows.ndim - 1, jnp.int32)
        is_top = is_class(top, rows)
        rows = only_the_infinite(rows).astype(jnp.float64)
        largest = jnp.max(lax.stop_gradient(rows), axis=-1, keepdims=True)
        exists = rows > -jnp.inf
        below = jnp.where(exists, rows, 0.0) - jnp.where(largest > -jnp.inf, largest, 0.0)
        ratios = jnp.where(exists, jnp.exp(below), 0.0)
        tail = jnp.sum(jnp.where(is_top, 0.0, ratios), axis=-1, keepdims=True)
        # The largest has the tail against it; another has 1 and the rest of the tail.
        others = jnp.where(tail > ratios, tail - ratios, 0.0)
        log_odds = jnp.where(is_top, -_safe_log(tail), below - jnp.log1p(others))
        log_odds = jnp.where(exists, log_odds, -jnp.inf)
        return jnp.where(jnp.isnan(rows), jnp.nan, log_odds)
