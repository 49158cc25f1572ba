"""Whether the difference of two ways to train is real, of each of which there are several seeds."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._typing import ArrayLike, Float, as_floating, describe
from ._compare import Baseline, Comparison, as_dtype, by_reach, check_baseline, num_hypotheses
from ._intervals import check_confidence


def compare_over_seeds(
    values: Float[ArrayLike, "models seeds"],
    influences: Float[ArrayLike, "models examples"],
    *,
    baseline: Baseline = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Differences of a metric's means over seeds, paired by seed and by example.

    The examples and the seeds are two samples: the variance of a mean over both is at most the sum
    of what either gives, v = vₑ + vₛ. Few seeds know their own variance badly: an interval reaches
    √(tₑ²vₑ + tₛ²vₛ) to either side, with Student's quantiles tₑ of (examples − 1) and tₛ of
    (seeds − 1) degrees of freedom, and a p-value is what makes it reach 0. (One quantile of Welch's
    and Satterthwaite's degrees of freedom is shorter, but holds 88 % of the time with two seeds.)

    It is computed by numpy and SciPy, outside of `jax.jit`.

    Args:
        values: of the metric, `[models, seeds]`; a seed is the same for all models.
        influences: of the examples, `[models, examples]`: the means over the seeds of what
            `influence` gives. vₑ is their sum of squares times n/(n − 1).
        baseline: as in `compare`.
        confidence: of the intervals.

    Returns:
        A `Comparison` of the means, `[models]` each; its standard errors are √(vₑ + vₛ).

    Raises:
        TypeError: something is not of floating point, or is traced by `jax.jit`.
        ValueError: the numbers of models differ, something is empty, there is no such baseline, or
            `confidence` is not between 0 and 1.

    Edges: one seed says nothing of others: its intervals are of the examples alone. One example
        says nothing of others, and all is NaN; so is what has a NaN in it. Models of the same
        numbers differ by 0 ± 0.
    Error: p-values are interpolated, to a relative 2e-5, and 0 below 1e-100; else that of float64.
        The result is float32, or float64 where 64-bit types are on. Intervals hold at least as
        often as they say; tests/test_intervals.py measures it.

    Example:
        >>> import numpy as np
        >>> values = np.array([[0.40, 0.42, 0.41], [0.50, 0.49, 0.53]])
        >>> result = compare_over_seeds(values, np.zeros([2, 100]))
        >>> bool(0 < result.low[1] < 0.1 < result.high[1])
        True

    Source: W. G. Howe, Approximate confidence limits on the mean of X + Y where X and Y are two
        tabled independent random variables, J. Am. Stat. Assoc. 69 (1974).
    """
    confidence = check_confidence(confidence)
    named = {"values": values, "influences": influences}
    for name, value in named.items():
        if isinstance(value, Tracer):
            raise TypeError(
                f"`{name}` must be numbers, outside of jax.jit and jax.vmap, but {value} came."
            )
    with jax.enable_x64(True):
        of_seeds, of_examples = (
            np.asarray(as_floating(name, value), np.float64) for name, value in named.items()
        )
    if of_seeds.ndim != 2 or of_examples.ndim != 2 or len(of_seeds) != len(of_examples):
        raise ValueError(
            "`values` must be [models, seeds] and `influences` [models, examples], but "
            f"{describe(of_seeds)} and {describe(of_examples)} came."
        )
    if not of_seeds.size or not of_examples.size:
        raise ValueError(
            "There must be a model, a seed and an example, but `values` are "
            f"{describe(of_seeds)} and `influences` {describe(of_examples)}."
        )
    (number, num_seeds), num_examples = of_seeds.shape, of_examples.shape[1]
    which = check_baseline(baseline, number)
    of_seeds = np.where(np.isfinite(of_seeds), of_seeds, np.nan)
    counts = num_seeds, num_examples
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        means = of_seeds.mean(axis=1)
        deviations = (of_seeds - means[:, None]) / math.sqrt(num_seeds * max(num_seeds - 1, 1))
        grown = math.sqrt(num_examples / (num_examples - 1)) if num_examples > 1 else math.nan
        pairs = means[:, None] - means
        variances = _variances_of_pairs(deviations), _variances_of_pairs(of_examples * grown)
        errors = np.sqrt(sum(variances))
        p_values = _howe_p_values(pairs, variances, counts)
        reaches = [
            _howe_reach((1 - confidence) / n, variances, counts)
            for n in (1, num_hypotheses(baseline, number))
        ]
    with jax.enable_x64(True):
        found = by_reach(means, pairs, errors, p_values, *reaches, which)
    return as_dtype(found, jnp.zeros([]).dtype)


def _howe_reach(p: Any, variances: Sequence[np.ndarray], counts: Sequence[int]) -> Any:
    """Half the width of an interval about a sum that fails with the probability `p`."""
    squares = (
        _student(p, count) ** 2 * part for part, count in zip(variances, counts, strict=True)
    )
    return np.sqrt(sum(squares))


def _student(p: Any, count: int) -> Any:
    """Which the mean of so many leaves on either side with the probability `p`, in errors."""
    import scipy.special  # not with the core, which loads in a moment

    return -scipy.special.stdtrit(count - 1, np.asarray(p) / 2) if count > 1 else 0.0 * p


_LOGS = np.linspace(0, -100, 2**15 + 1)  # of p-values


@functools.lru_cache(maxsize=32)
def _squares_of_student(count: int) -> np.ndarray:
    return _student(10.0**_LOGS, count) ** 2


def _howe_p_values(
    pairs: np.ndarray, variances: Sequence[np.ndarray], counts: Sequence[int]
) -> np.ndarray:
    """The probability with which `_howe_reach` reaches a difference."""
    squares = [_squares_of_student(count) for count in counts]
    wanted = np.abs(pairs)

    def at(index: np.ndarray) -> Any:
        parts = zip(squares, variances, strict=True)
        return np.sqrt(sum(square[index] * part for square, part in parts))

    # the last point of the table that does not reach beyond the difference, by halving
    first = np.zeros(pairs.shape, np.intp)
    for half in 2 ** np.arange(14, -1, -1):
        first = np.where(at(first + half) <= wanted, first + half, first)
    first = np.minimum(first, _LOGS.size - 2)
    low, high = at(first), at(first + 1)
    share = np.where(high > low, (wanted - low) / (high - low), 0.0)
    found = 10.0 ** (_LOGS[first] + share * (_LOGS[1] - _LOGS[0]))
    found = np.where(wanted > high, 0.0, found)
    found = np.where(wanted == 0, 1.0, found)
    return np.where(np.isnan(wanted) | np.isnan(high), np.nan, found)


def _variances_of_pairs(parts: np.ndarray) -> np.ndarray:
    """Of the differences of models, whose variances are sums of squares: `[models, models]`."""
    covariance = parts @ parts.T
    variances = np.diagonal(covariance)
    squared = variances[:, None] + variances - 2 * covariance
    # Of two models of the same numbers, a rounding of 0
    return np.where(squared <= 1e-14 * np.maximum(variances[:, None], variances), 0.0, squared)
