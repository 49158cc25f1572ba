"""How sure a metric is."""

import functools
import statistics
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import checked
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import is_positive
from ._ranking import roc_auc
from ._resampling import of_models
from ._sums import canonical


class Interval(NamedTuple):
    """A metric, and where it would lie on other data of the same kind."""

    estimate: Float[Array, ""]
    standard_error: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


def influence(
    metric: Callable[..., Array],
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, "*batch"]:
    """What each example does to a metric: w_i·∂metric/∂w_i, by one pass of reverse mode.

    It sums to 0, and its sum of squares is the variance of the metric: the infinitesimal jackknife.
    Of `roc_auc` it is DeLong's, of a mean (loss_i − mean)/n. Of two models on the same examples
    the products sum to their covariance, and the difference is the influence on the difference.

    Args:
        metric: a function of `jbce.metrics` that gives one number (options by
            `functools.partial`), or any other of (logits, labels, *, weights, where).
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        `[*batch]`, in the unit of the metric; 0 for examples that do not count.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together.

    Edges: a metric that is not smooth in the weights (an absolute value at 0, bins of equal mass)
        has the derivative of the side where it is. (`jax.grad` in the weights gives the same, but
        where 64-bit types are off JAX warns that it rounds what goes back through a ranking.)
    Error: that of the metric's derivative in the dtype of its result.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbce.metrics import accuracy
        >>> influence(accuracy, jnp.array([1.0, -1.0, 2.0, 3.0]), jnp.array([1, 0, 1, 0])).tolist()
        [0.0625, 0.0625, 0.0625, -0.1875]

    Source: L. A. Jaeckel, The infinitesimal jackknife, Bell Laboratories (1972); E. R. DeLong,
        D. M. DeLong and D. L. Clarke-Pearson, Comparing the areas under two or more correlated
        receiver operating characteristic curves, Biometrics 44 (1988).
    """
    metric = canonical(metric)
    logits, labels, weights, where = checked(logits, labels, weights, where)
    dtype = jnp.zeros(()).dtype
    counted = jnp.broadcast_to(weights.astype(dtype), labels.shape)
    counted = jnp.where(where, counted, jnp.zeros_like(counted))
    with jax.enable_x64(True):  # for the steps back through sums in float64
        by_weight = jax.grad(lambda w: metric(logits, labels, weights=w, where=where))(counted)
    return counted * by_weight


@functools.partial(jax.jit, static_argnums=0)
def influences(metric: Callable[..., Array], logits: Array, *others: Array) -> Array:
    """Those of models, [models, examples], so scaled that products sum to unbiased covariances."""
    labels, weights, where = others

    def of_model(logits: Array) -> Array:
        return influence(metric, logits, labels, weights=weights, where=where).ravel()

    values = jax.lax.map(of_model, logits)
    weights = jnp.broadcast_to(jnp.where(where, weights, jnp.zeros_like(weights)), labels.shape)
    weights = weights.ravel().astype(values.dtype)
    largest = jnp.max(weights, initial=0)
    weights = weights / jnp.where(largest == 0, 1, largest)  # their squares are to be numbers

    def unbiased(kind: Array) -> Array:
        kept = jnp.where(kind, weights, 0)
        squares = jnp.sum(kept**2)
        number = jnp.sum(kept) ** 2 / jnp.where(squares == 0, 1, squares)  # n, of equal weights
        return jnp.sqrt(number / (number - 1))  # infinite, of a single one

    if getattr(metric, "of", metric) is roc_auc and labels.ndim == logits.ndim - 1:
        # DeLong's: positives and negatives are two samples.
        positive = (labels if labels.dtype == jnp.bool_ else is_positive(labels)).ravel()
        return values * jnp.where(positive, unbiased(positive), unbiased(~positive))[None]
    return values * unbiased(jnp.ones_like(weights, bool))


def confidence_interval(
    metric: Callable[..., Array],
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    confidence: float = 0.95,
    key: Array | None = None,
    num_resamples: int = 2000,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Interval:
    """A metric with its interval: by the infinitesimal jackknife, or by the bootstrap with a key.

        estimate ± z·s,   s² = n/(n − 1)·Σ influence²        or the quantiles of `bootstrap`

    The first is closed, and as good as the normal distribution is for the metric; of `roc_auc` it
    is DeLong's. The second knows skewness.

    Args:
        metric: a function of `jbce.metrics` that gives one number (options by
            `functools.partial`), or any other of (logits, labels, *, weights, where).
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`.
        confidence: the share of such intervals that hold what the metric is of all data.
        key: of `jax.random.key`, for the bootstrap; None for the jackknife.
        num_resamples: of the bootstrap.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        Estimate, standard error and the interval, each of the dtype of the metric.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or `confidence` is not between 0 and 1.

    Edges: resamples in which the metric is undefined are left out. One example: NaN.
    Error: coverage comes near `confidence` as examples grow; tests/test_intervals.py measures it.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbce.metrics import accuracy
        >>> logits, labels = jnp.linspace(-2, 3, 100), jnp.arange(100) > 50
        >>> interval = confidence_interval(accuracy, logits, labels)
        >>> [round(float(value), 3) for value in interval]
        [0.89, 0.031, 0.828, 0.952]

    Source: B. Efron and R. J. Tibshirani, An introduction to the bootstrap (1993).
    """
    metric, confidence = canonical(metric), check_confidence(confidence)
    logits, *others = checked(logits, labels, weights, where)
    estimate = metric(logits, others[0], weights=others[1], where=others[2])
    if key is not None:
        values = of_models(metric, key, num_resamples, logits[None], *others)[0]
        low, high = jnp.nanquantile(
            values, jnp.array([(1 - confidence) / 2, (1 + confidence) / 2], values.dtype)
        )
        return Interval(estimate, jnp.nanstd(values, ddof=1), low, high)
    values = influences(metric, logits[None], *others)[0]
    error = jnp.where(jnp.isnan(estimate), jnp.nan, jnp.sqrt(jnp.sum(values**2)))
    reach = normal_quantile((1 + confidence) / 2) * error
    return Interval(estimate, error, estimate - reach, estimate + reach)


def check_confidence(confidence: float) -> float:
    """A probability.

    Raises:
        ValueError: it is not.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, but {confidence} came.")
    return float(confidence)


def normal_quantile(probability: float) -> float:
    """Of the standard normal distribution."""
    return statistics.NormalDist().inv_cdf(probability)
