"""A metric under resampling of the examples: what it would have been on other data."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._arguments import Examples, checked, examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import is_defined
from ._rank import (
    Ranking,
    Statistic,
    average_precision_of,
    in_blocks,
    mann_whitney,
    over_rankings,
    running_sum,
    within_blocks,
)
from ._ranking import average_precision, roc_auc
from ._sums import Additive, Columns, additive, canonical, product, ratio, valued

_COUNTS = 2**28  # of resamples × examples that exist at a time, a byte each
_COUNTS_IN_SUMS = 2**24  # of them in one product of matrices
_COUNTS_IN_CACHE = 2**20  # of them along a ranking
_MOST_COLUMNS = 512  # of sums that are made by one product of matrices

# P(X ≤ k) of a Poisson variable of mean 1, in 2^−32
_POISSON = [
    min(round(2**32 * sum(math.exp(-1) / math.factorial(j) for j in range(k + 1))), 2**32 - 1)
    for k in range(12)
]


def bootstrap(
    metric: Callable[..., Any],
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    key: Array,
    num_resamples: int = 2000,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Any:
    """The metric of resamples: every example counts Poisson(1) times, independently.

        metric_b = metric(logits, labels, weights=weights·N_b),   N_b,i ~ Poisson(1)

    The Poisson bootstrap: what a multinomial resampling gives from a few hundred examples on,
    without a fixed number of examples. A metric that is a function of sums costs one product of
    matrices for all resamples; `roc_auc` and `average_precision` are swept along one sort, exactly;
    any other function of (logits, labels, weights=) is called for each.

    The counts depend on the key, the number of examples and the index of the resample alone. So
    models that are judged on the same examples with the same key are resampled in pairs:

        jax.vmap(lambda x: bootstrap(metric, x, labels, key=key))(logits_of_models)

    draws once, and the resamples of a difference are differences of the resamples.

    Args:
        metric: a function of `jbce.metrics` (options by `functools.partial`), or any other of
            (logits, labels, *, weights).
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`.
        key: of `jax.random.key`.
        num_resamples: how many.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        What `metric` returns, with a leading axis of resamples.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or `num_resamples` < 1.

    Edges: a resample in which the metric is undefined (of few positives, none is drawn) is NaN. An
        undefined example that counts makes all NaN.
    Error: that of the metric; counts are drawn from 32 bits, so that none is above 12.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jbce.metrics import accuracy
        >>> logits, labels = jnp.linspace(-2, 3, 100), jnp.arange(100) > 50
        >>> values = bootstrap(accuracy, logits, labels, key=jax.random.key(0), num_resamples=500)
        >>> values.shape, bool(abs(values.std() - 0.03) < 0.01)
        ((500,), True)

    Source: B. Efron, Bootstrap methods: another look at the
        jackknife, Ann. Statist. 7 (1979); N. Chamandy et al., Estimating uncertainty for massive
        data streams, Google (2012).
    """
    arrays = checked(logits, labels, weights, where)
    logits, *others = arrays
    values = of_models(metric, key, num_resamples, logits[None], *others)
    return jax.tree.map(lambda a: a[0], values)


def of_models(
    metric: Callable[..., Any], key: Array, num_resamples: int, logits: Array, *others: Array
) -> Any:
    """`bootstrap` of models along the first axis of logits, on the same counts.

    Raises:
        ValueError: `num_resamples` < 1.
    """
    if operator.index(num_resamples) < 1:
        raise ValueError(f"`num_resamples` must be at least 1, but {num_resamples} came.")
    metric = canonical(metric)
    number = operator.index(num_resamples)
    if others[0].size == 0:
        undefined = metric(logits[0], others[0], weights=others[1], where=others[2])
        shape = (logits.shape[0], number)
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (*shape, *a.shape)), undefined)
    return _of_models(_under(metric), number, key, logits, *others)


# Values of a metric under counts [resamples, examples], of checked arguments.
_Under = Callable[..., Any]


@functools.lru_cache(maxsize=256)
def _under(metric: Callable[..., Any]) -> _Under:
    made, static, traced = additive(metric)
    if made is not None and made.separable(**static):
        return functools.partial(_sums_under, made, static, traced)
    if metric in _RANKED:
        return functools.partial(_ranking_under, _RANKED[metric])
    return functools.partial(_calls_under, metric)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _of_models(under: _Under, num_resamples: int, key: Array, logits: Array, *others: Array) -> Any:
    size = others[0].size
    chunks = -(-num_resamples // max(_COUNTS // max(size, 1), 1))
    at_a_time = -(-num_resamples // chunks)

    def of_chunk(index: Array) -> Any:
        resamples = index * at_a_time + jnp.arange(at_a_time, dtype=jnp.int32)
        counts = lax.map(lambda b: _poisson(jax.random.fold_in(key, b), size), resamples)
        return lax.map(lambda x: under(counts, x, *others), logits)

    values = lax.map(of_chunk, jnp.arange(chunks, dtype=jnp.int32))
    # [chunks, models, resamples, ..] to [models, resamples, ..]
    joined = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), values)
    return jax.tree.map(
        lambda a: a.reshape(a.shape[0], -1, *a.shape[3:])[:, :num_resamples], joined
    )


def _in_chunks(function: Callable[[Array], Any], counts: Array, most: int) -> Any:
    """`function` of a few resamples at a time: at most so many counts."""
    resamples, size = counts.shape
    chunks = -(-resamples // max(most // max(size, 1), 1))
    at_a_time = -(-resamples // chunks)
    padded = jnp.pad(counts, [(0, chunks * at_a_time - resamples), (0, 0)])
    values = lax.map(function, padded.reshape(chunks, at_a_time, size))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:resamples], values)


def _poisson(key: Array, size: int) -> Array:
    bits = jax.random.bits(key, (size,), jnp.uint32)
    above = (bits > jnp.uint32(threshold) for threshold in _POISSON)
    return functools.reduce(operator.add, (a.astype(jnp.uint8) for a in above))


def _sums_under(
    metric: Additive,
    static: dict[str, Any],
    traced: dict[str, Any],
    counts: Array,
    *arrays: Array,
) -> Any:
    these = examples(*arrays)
    with jax.enable_x64(True):
        parts = metric.columns(these, **static)
        table, group, flags = _table(parts, these)
        size, _, width = table.shape
        groups = parts.num_groups
        as_product = groups * width <= _MOST_COLUMNS
        if as_product:
            index = jnp.arange(size, dtype=jnp.int32)[:, None]
            table = jnp.zeros((size, groups, width), jnp.float64).at[index, group].add(table)
            table = table.reshape(size, -1)

    def sums_of(counts: Array) -> Array:
        if as_product:
            return product(counts, table).reshape(-1, groups, width)

        def one(count: Array) -> Array:
            added = (table * count[:, None, None]).reshape(-1, width)
            return jax.ops.segment_sum(added, group.ravel(), groups)

        return lax.map(one, counts)

    def of_counts(counts: Array) -> Any:
        with jax.enable_x64(True):
            counts = counts.astype(jnp.float64)
            sums, flagged = sums_of(counts), product(counts, flags)[:, None, :] > 0.0
            sums = jnp.where(flagged[..., 1:], jnp.inf, sums)
            sums = jnp.where(flagged[..., :1], jnp.nan, sums)
        return jax.vmap(lambda s: valued(metric, s, these.dtype, static | traced))(sums)

    return _in_chunks(of_counts, counts, _COUNTS_IN_SUMS)


def _table(parts: Columns, these: Examples) -> tuple[Array, Array, Array]:
    """What each example adds, [examples, terms, columns], to which group; and flags.

    The flags, [examples, 1 + columns], are of what is undefined, and of what is infinite in a
    column: 0 times that would be NaN.
    """
    columns = parts.columns or (jnp.ones_like(these.weights),)
    size = these.weights.size
    values = jnp.stack([c.astype(jnp.float64) for c in columns], axis=-1)
    values = values.reshape(size, -1, len(columns))
    weights = these.weights.reshape(size, 1, 1)
    values = jnp.where(weights == 0.0, 0.0, weights * values)
    undefined = jnp.any(jnp.isnan(values), axis=(1, 2))
    if parts.undefined is not None:
        undefined |= (parts.undefined & these.counted).ravel()
    flags = jnp.concatenate([undefined[:, None], jnp.any(jnp.isinf(values), axis=1)], axis=-1)
    group = jnp.zeros(values.shape[:2], jnp.int32)
    if parts.group is not None:
        group = parts.group.reshape(values.shape[:2])
    return jnp.where(jnp.isfinite(values), values, 0.0), group, flags.astype(jnp.float64)


_RANKED = {roc_auc: mann_whitney, average_precision: average_precision_of}


def _ranking_under(statistic: Statistic, counts: Array, *arrays: Array) -> Array:
    these = examples(*arrays)
    undefined = jnp.any(these.counted & ~is_defined(these))

    def of_ranking(order: Ranking) -> Array:
        of_counts = functools.partial(_of_ranked, statistic, these.uniform, order)
        return _in_chunks(of_counts, counts, _COUNTS_IN_CACHE)

    values = over_rankings(of_ranking, these)  # [rankings, resamples]
    with jax.enable_x64(True):
        return jnp.where(undefined, jnp.nan, jnp.mean(values, axis=0)).astype(these.dtype)


def _of_ranked(statistic: Statistic, uniform: bool, order: Ranking, counts: Array) -> Array:
    """The statistic under each of counts [resamples, examples]."""
    with jax.enable_x64(True):
        counts = counts[:, order.order]
        if statistic is mann_whitney and uniform:
            return _pairs_of_counts(order, counts)
        return statistic(order._replace(weights=counts.astype(jnp.float64) * order.weights[None]))


def _pairs_of_counts(order: Ranking, counts: Array) -> Array:
    """`mann_whitney` of whole numbers: in float32, which holds those of a block."""

    def strictly(counts: Array, positive: Array) -> tuple[Array, Array, Array]:
        """Pairs whose positive one comes first in the order as it stands, and all of each."""
        counts = counts.astype(jnp.float32)
        positives, negatives = (
            in_blocks(jnp.where(of, counts, jnp.float32(0))) for of in (positive, ~positive)
        )
        inside = jnp.sum(within_blocks(positives) * negatives, axis=-1).astype(jnp.float64)
        p, n = (jnp.sum(a, axis=-1).astype(jnp.float64) for a in (positives, negatives))
        pairs = jnp.sum(inside + (running_sum(p) - p) * n, axis=-1)
        return pairs, jnp.sum(p, axis=-1), jnp.sum(n, axis=-1)

    won, p, n = strictly(counts, order.positive)
    # In a tie the positives come last. Backwards, the pairs that are lost: a tie is in neither.
    first, last = order.first(), order.last()
    mixed = jnp.any(order.positive[last] & ~order.positive[first])

    def with_ties() -> Array:
        forward = first + last - jnp.arange(first.size, dtype=jnp.int32)
        return strictly(counts[:, forward], order.positive[forward])[0]

    ties = lax.cond(mixed, with_ties, lambda: won)
    some = jnp.any(order.weights != 0.0)
    return ratio((won + ties) / 2, jnp.where(some, p * n, 0.0))


def _calls_under(metric: Callable[..., Any], counts: Array, *arrays: Array) -> Any:
    logits, labels, weights, where = arrays
    dtype = jnp.zeros(()).dtype
    base = jnp.where(where, jnp.broadcast_to(weights, labels.shape).astype(dtype), 0)

    def of_count(count: Array) -> Any:
        return metric(logits, labels, weights=base * count.astype(dtype).reshape(labels.shape))

    return lax.map(of_count, counts)
