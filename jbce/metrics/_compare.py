"""Whether the difference of two models is real."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._arguments import checked
from .._typing import Array, ArrayLike, Bool, Float, Int, Real, as_floating, describe
from ._intervals import check_confidence, influences, normal_quantile
from ._resampling import of_models
from ._sums import canonical

Baseline = int | Literal["smallest", "largest"]


class Comparison(NamedTuple):
    """A metric of several models, and its differences from one of them."""

    estimate: Float[Array, " models"]
    baseline: Int[Array, ""]
    """Which model the others are compared with."""
    difference: Float[Array, " models"]
    """The model's estimate less that of the baseline."""
    standard_error: Float[Array, " models"]
    """Of the difference, on the same examples."""
    low: Float[Array, " models"]
    high: Float[Array, " models"]
    """Of the difference, each for itself."""
    adjusted_low: Float[Array, " models"]
    adjusted_high: Float[Array, " models"]
    """Of all differences at once, with the confidence that all hold."""
    p_value: Float[Array, " models"]
    """Of no difference, each for itself."""
    adjusted_p_value: Float[Array, " models"]
    """With multiplicity: of the smallest of so many."""


def compare(
    metric: Callable[..., Array],
    logits: Float[ArrayLike, "models *logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    baseline: Baseline = 0,
    confidence: float = 0.95,
    key: Array | None = None,
    num_resamples: int = 2000,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Comparison:
    """Differences of a metric between models on the same examples, with intervals and p-values.

    The models are compared in pairs, example by example: what makes an example hard for both
    cancels. By the infinitesimal jackknife (`influence`; of `roc_auc`, DeLong's test) with a normal
    distribution, or, with a key, by the paired bootstrap, studentised. Multiplicity is accounted
    for: by Holm's and Bonferroni's rules, or by the largest of the resampled differences, which
    knows their correlation.

    A baseline that is named beforehand makes M − 1 comparisons. One that the data choose
    (`smallest`, `largest`) looks better than it is; then all M(M − 1)/2 differences are accounted
    for, of which those from the best are shown.

    Args:
        metric: a function of `jbce.metrics` that gives one number (options by
            `functools.partial`), or any other of (logits, labels, *, weights, where).
        logits: `[models, *batch]` for binary labels, `[models, *batch, classes]` for class indices.
        labels: `[*batch]`, the same for all models.
        baseline: the index of the model that the others are compared with, or the one with the
            `smallest` (a loss) or `largest` (a share) estimate.
        confidence: of the intervals.
        key: of `jax.random.key`, for the bootstrap; None for the jackknife.
        num_resamples: of the bootstrap.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A `Comparison`, `[models]` each; the baseline's own row has difference 0 and p-value 1.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, there is no such baseline, or `confidence` is
            not between 0 and 1.

    Edges: two models of the same logits differ by 0 ± 0 with p-value 1. Where a metric is
        undefined, NaN. Resamples in which one is undefined are left out.
    Error: p-values of the bootstrap come in steps of 1/(num_resamples + 1); those of the jackknife
        are as good as the normal distribution is. tests/test_intervals.py measures both.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jbce.metrics import log_loss
        >>> labels = jnp.arange(400) % 2
        >>> good = (2.0 * labels - 1) + jax.random.normal(jax.random.key(0), 400)
        >>> result = compare(log_loss, jnp.stack([good, 0.3 * good]), labels)
        >>> bool(result.difference[1] > 0), bool(result.adjusted_p_value[1] < 0.01)
        (True, True)

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6
        (1979); P. H. Westfall and S. S. Young, Resampling-based multiple testing (1993); J. C. Hsu,
        Multiple comparisons (1996).
    """
    metric, confidence = canonical(metric), check_confidence(confidence)
    models = jnp.asarray(logits)
    if models.ndim < 1 or models.shape[0] < 1:
        raise ValueError(f"`logits` must be [models, *batch, ..], but {describe(models)} came.")
    _, *others = checked(models[0], labels, weights, where)
    which = check_baseline(baseline, models.shape[0])
    if key is None:
        estimates, covariance = _estimates_and_covariance(metric, models, *others)
        return by_covariance(estimates, covariance, which, confidence)
    resamples = of_models(metric, key, num_resamples, models, *others)
    return _by_resamples(_estimates(metric, models, *others), resamples, which, confidence)


def compare_estimates(
    estimates: Float[ArrayLike, " models"],
    covariance: Float[ArrayLike, "models models"],
    *,
    baseline: Baseline = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Differences of nearly normal estimates whose covariance is known, as `compare` gives them.

    For what is not a metric of the same examples: means over seeds, over folds, over data sets.

    Args:
        estimates: `[models]`.
        covariance: `[models, models]` of the estimates (not of one example).
        baseline: as in `compare`.
        confidence: of the intervals.

    Returns:
        A `Comparison`, `[models]` each.

    Raises:
        ValueError: the shapes do not fit together, there is no such baseline, `confidence` is not
            between 0 and 1, or a known `covariance` is none.

    Edges: two estimates of correlation 1 and the same variance differ by 0 ± 0 if they are equal,
        and surely if they are not. NaN where an estimate is.
    Error: the variance of a difference is taken in float64, and is 0 below 1e-14 of the larger
        variance; hand over float64 arrays of numpy where the difference is small beside them.
        The result is float32, or float64 where 64-bit types are on.

    Example:
        >>> import numpy as np
        >>> result = compare_estimates(np.array([1.0, 1.3]), np.diag([0.01, 0.01]))
        >>> bool(result.low[1] < 0.3 < result.high[1])
        True
    """
    confidence = check_confidence(confidence)
    with jax.enable_x64(True):
        numbers, matrix = as_floating("estimates", estimates), as_floating("covariance", covariance)
        if numbers.ndim != 1 or matrix.shape != (numbers.size, numbers.size) or not numbers.size:
            raise ValueError(
                "`estimates` must be [models] and `covariance` [models, models], but "
                f"{describe(numbers)} and {describe(matrix)} came."
            )
        if not isinstance(matrix, Tracer):
            _check_covariance(np.asarray(matrix, np.float64))
        which = check_baseline(baseline, numbers.size)
        found = by_covariance(numbers, matrix, which, confidence)
    return as_dtype(found, jnp.zeros([]).dtype)


@functools.partial(jax.jit, static_argnums=6)
def by_reach(
    estimates: Array,
    pairs: Array,
    errors: Array,
    p_values: Array,
    reach: Array,
    simultaneous: Array,
    baseline: Baseline,
) -> Comparison:
    """A comparison of which all pairs are known, [models, models]."""
    index = _index(baseline, estimates)
    adjusted = _holm(p_values, _family(baseline, index, estimates.size))
    table = jnp.stack([pairs, errors, p_values, adjusted])[..., index]
    reaches = reach[:, index], simultaneous[:, index]
    return _comparison(estimates.dtype, estimates, index, table, *reaches)


def num_hypotheses(baseline: Baseline, number: int) -> int:
    """Pairs that are compared, of so many models."""
    return max(number * (number - 1) // 2 if isinstance(baseline, str) else number - 1, 1)


def _check_covariance(matrix: np.ndarray) -> None:
    known = np.where(np.isfinite(matrix), matrix, 0.0)
    variances = np.diagonal(known)
    if (variances < 0).any():
        raise ValueError(f"`covariance` has the variance {variances.min()}, which must be ≥ 0.")
    sizes = np.sqrt(np.outer(variances, variances))
    slack = 1e-6 * sizes + 1e-300
    if (np.abs(known - known.T) > slack).any() or (np.abs(known) > sizes + slack).any():
        raise ValueError(
            "`covariance` must be symmetric, with no entry beyond the product of its two standard "
            "deviations."
        )


@functools.partial(jax.jit, static_argnums=0)
def _estimates(metric: Callable[..., Array], models: Array, *others: Array) -> Array:
    labels, weights, where = others
    return jax.lax.map(lambda x: metric(x, labels, weights=weights, where=where), models)


@functools.partial(jax.jit, static_argnums=0)
def _estimates_and_covariance(
    metric: Callable[..., Array], models: Array, *others: Array
) -> tuple[Array, Array]:
    values = influences(metric, models, *others)
    with jax.enable_x64(True):
        values = values.astype(jnp.float64)
        covariance = jax.lax.dot_general(values, values, (((1,), (1,)), ((), ())))
    return _estimates(metric, models, *others), covariance


@functools.partial(jax.jit, static_argnums=(2, 3))
def by_covariance(
    estimates: Array, covariance: Array, baseline: Baseline, confidence: float
) -> Comparison:
    """A comparison of estimates [models] that are nearly normal."""
    dtype, number = estimates.dtype, estimates.size
    index = _index(baseline, estimates)
    with jax.enable_x64(True):
        estimates, covariance = (a.astype(jnp.float64) for a in (estimates, covariance))
        variances = jnp.diagonal(covariance)
        larger = jnp.maximum(variances[:, None], variances[None, :])
        squared = variances[:, None] + variances[None, :] - 2 * covariance
        # Of two models of the same logits, a rounding of 0
        squared = jnp.where(squared <= 1e-14 * larger, 0.0, squared)
        errors = jnp.where(squared == 0.0, 0.0, jnp.sqrt(jnp.where(squared == 0.0, 1.0, squared)))
        pairs = estimates[:, None] - estimates[None, :]
        p_values = jax.scipy.special.erfc(_studentised(pairs, errors) / math.sqrt(2))
        adjusted = _holm(p_values, _family(baseline, index, number))
        table = jnp.stack([pairs, errors, p_values, adjusted])[..., index]
        reaches = (
            normal_quantile(1 - (1 - confidence) / (2 * n)) * errors[:, index]
            for n in (1, num_hypotheses(baseline, number))
        )
        return _comparison(dtype, estimates, index, table, *reaches)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _by_resamples(
    estimates: Array, resamples: Array, baseline: Baseline, confidence: float
) -> Comparison:
    """A comparison of estimates [models] of which there are resamples [models, resamples]."""
    dtype, number = estimates.dtype, estimates.size
    index = _index(baseline, estimates)
    with jax.enable_x64(True):
        estimates, resamples = (a.astype(jnp.float64) for a in (estimates, resamples))
        family = _family(baseline, index, number)
        pairs = estimates[:, None] - estimates[None, :]
        moved = (resamples[:, None] - resamples[None, :]) - pairs[..., None]
        valid = ~jnp.isnan(moved)  # where both are defined
        errors = jnp.std(moved, axis=-1, ddof=1, where=valid)
        sizes = _studentised(moved, errors[..., None])  # [models, models, resamples]
        counted = jnp.where(family[..., None] & valid, sizes, 0.0)
        largest = jnp.max(counted, axis=(0, 1), keepdims=True)
        observed = _studentised(pairs, errors)

        def share(beyond: Array) -> Array:
            counted = jnp.sum(beyond & valid, axis=-1)
            of = jnp.sum(valid, axis=-1)
            return (1 + counted).astype(jnp.float64) / (1 + of).astype(jnp.float64)

        def quantile(sizes: Array) -> Array:
            return jnp.nanquantile(sizes, jnp.asarray(confidence, jnp.float64), axis=-1)

        p_values, adjusted = (share(a >= observed[..., None]) for a in (sizes, largest))
        # Nothing varies but two are not the same: of one example, say. Nobody knows.
        unknown = jnp.isnan(pairs) | ((errors == 0.0) & (pairs != 0.0))
        p_values, adjusted = (jnp.where(unknown, jnp.nan, a) for a in (p_values, adjusted))
        errors = jnp.where(unknown, jnp.nan, errors)
        table = jnp.stack([pairs, errors, p_values, adjusted])[..., index]
        error = errors[:, index]
        reaches = quantile(sizes)[:, index] * error, quantile(largest)[0, 0] * error
        return _comparison(dtype, estimates, index, table, *reaches)


def _comparison(
    dtype: jnp.dtype,
    estimates: Array,
    index: Array,
    table: Array,  # differences, standard errors, p-values and adjusted ones: [4, models]
    reach: Array,  # half the width of an interval, [models]
    simultaneous: Array,
) -> Comparison:
    difference, error, *p_values = table
    is_baseline = jnp.arange(estimates.size, dtype=jnp.int32) == index
    p_value, adjusted = (jnp.where(is_baseline & ~jnp.isnan(p), 1.0, p) for p in p_values)
    found = Comparison(
        estimate=estimates,
        baseline=index,
        difference=difference,
        standard_error=error,
        low=difference - reach,
        high=difference + reach,
        adjusted_low=difference - simultaneous,
        adjusted_high=difference + simultaneous,
        p_value=p_value,
        adjusted_p_value=adjusted,
    )
    return as_dtype(found, dtype)


def as_dtype(comparison: Comparison, dtype: jnp.dtype) -> Comparison:
    """The same, but for the index, in another dtype."""
    cast = jax.tree.map(lambda a: a.astype(dtype), comparison)
    return cast._replace(baseline=comparison.baseline)


def _studentised(differences: Array, errors: Array) -> Array:
    """|difference| in standard errors: 0 where both are 0, infinite where only the error is."""
    sizes = jnp.abs(differences)
    ratio = sizes / jnp.where(errors == 0, 1, errors)
    return jnp.where(errors == 0, jnp.where(sizes > 0, jnp.inf, sizes), ratio)


def _holm(p_values: Array, family: Array) -> Array:
    """Holm's step-down, [models, models], of the hypotheses in the family (each pair once)."""
    number = jnp.sum(family)
    flat = jnp.where(family, p_values, jnp.inf).ravel()
    order = jnp.argsort(flat)
    ranks = jnp.arange(flat.size)
    factors = jnp.maximum(number - ranks, 1).astype(flat.dtype)
    stepped = jax.lax.cummax(jnp.where(ranks < number, flat[order] * factors, 0))
    adjusted = jnp.zeros_like(flat).at[order].set(jnp.minimum(stepped, 1)).reshape(family.shape)
    adjusted = jnp.where(family, adjusted, 0)
    either = adjusted + adjusted.T
    return jnp.where(jnp.isnan(p_values), jnp.nan, either)


def _family(baseline: Baseline, index: Array, number: int) -> Array:
    """Which pairs are hypotheses, each once: [models, models]."""
    models = jnp.arange(number, dtype=jnp.int32)
    first, second = models[:, None], models[None, :]
    of_baseline = True if isinstance(baseline, str) else (first == index) | (second == index)
    return (first < second) & of_baseline


def _index(baseline: Baseline, estimates: Array) -> Array:
    if not isinstance(baseline, str):
        return jnp.asarray(baseline, jnp.int32)
    losses = (estimates if baseline == "smallest" else -estimates).astype(jnp.zeros(()).dtype)
    return jax.lax.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses), 0, jnp.int32)


def check_baseline(baseline: Baseline, models: int) -> Baseline:
    """A model that there is, counted from the front, or a way to choose one.

    Raises:
        ValueError: it is not.
    """
    if isinstance(baseline, str):
        if baseline not in ("smallest", "largest"):
            raise ValueError(
                f"`baseline` must be an index, 'smallest' or 'largest', but {baseline!r} came."
            )
        return baseline
    if not -models <= operator.index(baseline) < models:
        raise ValueError(f"`baseline` is {baseline}, but there are {models} models.")
    return operator.index(baseline) % models
