"""What a Brier score is made of."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._bins import Closed, bin_count, bin_index, judged, one_of
from ._sums import Additive, Columns, ratio, register


class BrierDecomposition(NamedTuple):
    """Brier score = reliability − resolution + uncertainty + within_bins."""

    reliability: Float[Array, ""]  # mean squared gap of probability and truth: 0 is best
    resolution: Float[Array, ""]  # variance of the truth between bins: more is better
    uncertainty: Float[Array, ""]  # variance of the labels, whatever the model
    within_bins: Float[Array, ""]  # what the bins do not see: 0 where a bin has one probability


def brier_decomposition(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    closed: Closed = "right",
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> BrierDecomposition:
    """Murphy's split of the binary Brier score, over bins of the positive class's probability.

        Σ_b W_b·(p̄_b − ȳ_b)² − Σ_b W_b·(ȳ_b − ȳ)² + ȳ·(1 − ȳ) + within,   each / Σ_b W_b

    The four terms add up to the score, exactly: `within_bins` is Stephenson's correction, the
    variance of the probabilities inside the bins less twice their covariance with the labels.
    (`jbce.calibration.decomposition` splits without bins, and other scores too.)

    Args:
        logits: `[*batch]`.
        labels: `[*batch]`; boolean, integers 0 or 1, or floats, positive above ½.
        num_bins: number of bins of equal width, a Python integer ≥ 1.
        closed: bins are (lo, hi] if `right`, [lo, hi) if `left`.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        The four terms: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or `num_bins` < 1.

    Edges: nothing counts: NaN. An undefined example that counts: NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> split = brier_decomposition(jnp.zeros(4), jnp.array([0, 1, 1, 1]))
        >>> [float(term) for term in split]
        [0.0625, 0.0, 0.1875, 0.0]

    Source: A. H. Murphy, A new vector partition of the probability score, J. Appl. Meteorol. 12
        (1973); D. B. Stephenson, C. A. S. Coelho and I. T. Jolliffe, Two extra components in the
        Brier score decomposition, Weather Forecast. 23 (2008).
    """
    return _BRIER(logits, labels, weights, where, num_bins=num_bins, closed=closed)


def _columns(these: Examples, num_bins: int, closed: Closed) -> Columns:
    probs, outcomes, undefined = judged(these, "positive")
    columns = (jnp.ones_like(probs), probs, outcomes, probs**2, probs * outcomes)
    return Columns(columns, bin_index(probs, num_bins, closed), num_bins, undefined)


def _value(sums: Array, **_: Any) -> BrierDecomposition:
    weight, p, y, squares, products = sums.T
    total = jnp.sum(weight)
    some = jnp.where(weight == 0.0, 1.0, weight)
    mean_p, mean_y = p / some, y / some
    base = ratio(jnp.sum(y), total)
    variance = jnp.sum(squares - weight * mean_p**2)
    covariance = jnp.sum(products - weight * mean_p * mean_y)
    return BrierDecomposition(
        ratio(jnp.sum(weight * (mean_p - mean_y) ** 2), total),
        ratio(jnp.sum(weight * (mean_y - base) ** 2), total),
        base * (1 - base),
        ratio(variance - 2 * covariance, total),
    )


def _options(num_bins: int, closed: Closed) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"num_bins": bin_count(num_bins), "closed": one_of("closed", closed, Closed)}, {}


_BRIER = Additive("brier_decomposition", _columns, _value, _options)
register(brier_decomposition, _BRIER)
