"""Whether probabilities are honest: of what is said with probability p, a share p comes true."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._bins import Binning, Closed, Judged, bin_count, bin_index, judged, mass_index, one_of
from ._sums import Additive, Columns, column, ratio, register

Norm = Literal[1, 2] | float


class Reliability(NamedTuple):
    """What a reliability diagram shows; a bin without weight has NaN for its two means."""

    confidence: Float[Array, "*classes num_bins"]  # mean probability in the bin
    accuracy: Float[Array, "*classes num_bins"]  # share of it that came true
    weight: Float[Array, "*classes num_bins"]  # total weight of the bin


def _columns(
    these: Examples, num_bins: int, of: Judged, binning: Binning, closed: Closed
) -> Columns:
    probs, outcomes, undefined = judged(these, of)
    if binning == "mass":
        weights = these.weights[..., None] if of == "classes" else these.weights
        # Along the examples, which are the last axis here: one row, or one for each class.
        shape = (-1, probs.shape[-1]) if of == "classes" else (-1,)
        along = probs.reshape(shape).T
        index = mass_index(along, jnp.broadcast_to(weights, probs.shape).reshape(shape).T, num_bins)
        index = index.T.reshape(probs.shape)
    else:
        index = bin_index(probs, num_bins, closed)
    num_groups = num_bins
    if of == "classes":
        classes = jax.lax.broadcasted_iota(jnp.int32, probs.shape, probs.ndim - 1)
        index = classes * num_bins + index
        num_groups *= probs.shape[-1]
    return Columns((jnp.ones_like(probs), probs, outcomes), index, num_groups, undefined)


def _bins(sums: Array, num_bins: int, of: Judged, **_: Any) -> Reliability:
    if of == "classes":
        sums = sums.reshape(-1, num_bins, sums.shape[-1])
    weight, confident, right = (column(sums, k) for k in range(3))
    return Reliability(
        confidence=ratio(confident, weight), accuracy=ratio(right, weight), weight=weight
    )


def _bin_options(num_bins: int, of: Judged, binning: Binning, closed: Closed) -> dict[str, Any]:
    return {
        "num_bins": bin_count(num_bins),
        "of": one_of("of", of, Judged),
        "binning": one_of("binning", binning, Binning),
        "closed": one_of("closed", closed, Closed),
    }


def _separable(binning: Binning, **_: Any) -> bool:
    return binning != "mass"


def reliability(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    of: Judged = "top_label",
    binning: Binning = "width",
    closed: Closed = "right",
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Reliability:
    """Probability and how often it comes true, in bins of probability.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        num_bins: number of bins, a Python integer ≥ 1.
        of: `top_label`: the probability of the decision, max(p, 1 − p) or max_k p_k, which comes
            true where the decision is right (binary ones are at least ½, the lower bins empty);
            `positive`: p of a binary logit, which comes true where the label is positive;
            `classes`: that of every class, in bins of its own.
        binning: `width`: of equal width over [0, 1]; `mass`: of equal weight as nearly as can be,
            where equal probabilities share a bin: that of the middle of their ranks.
        closed: bins are (lo, hi] if `right`, [lo, hi) if `left` (the last one closed).
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        Mean probability, share that came true and weight of each bin, `[num_bins]` each, or
        `[classes, num_bins]`: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, `num_bins` < 1, or there is no such choice.

    Edges: an infinite logit has probability 0 or 1. An empty bin has weight 0 and NaN means, which
        a plot leaves out. An undefined example that counts makes everything NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([5.0, 4.0, -4.0, 0.1])
        >>> reliability(logits, jnp.array([1, 0, 0, 1]), num_bins=2).accuracy.tolist()
        [nan, 0.75]

    Source: A. Niculescu-Mizil and R. Caruana, Predicting good probabilities with supervised
        learning, ICML (2005).
    """
    options = {"num_bins": num_bins, "of": of, "binning": binning, "closed": closed}
    return _RELIABILITY(logits, labels, weights, where, **options)


_RELIABILITY = Additive(
    "reliability", _columns, _bins, lambda **options: (_bin_options(**options), {}), _separable
)
register(reliability, _RELIABILITY)


def expected_calibration_error(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    of: Judged = "top_label",
    binning: Binning = "width",
    closed: Closed = "right",
    norm: Norm = 1,
    debiased: bool = False,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The mean gap between probability and truth over the bins of `reliability`.

        (Σ_b W_b·|accuracy_b − confidence_b|ᵖ / Σ_b W_b)^(1/p)

    with p the `norm`; the largest gap of a bin that holds weight for `norm=math.inf`. Of all
    classes, the mean of the classes' errors. What the literature calls

        ECE, 15 bins (Guo et al. 2017)            the default
        ECE of the positive class                 of="positive"
        class-wise, or static, calibration error  of="classes"
        adaptive, or equal-mass                   binning="mass"
        maximum calibration error                 norm=math.inf
        root mean squared, debiased (Kumar 2019)  of="positive", norm=2, debiased=True
        bins as torchmetrics and netcal have them closed="left"

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        num_bins: number of bins, a Python integer ≥ 1.
        of: which probability: `top_label`, `positive` or `classes`, as in `reliability`.
        binning: bins of equal `width` or of equal `mass`, as in `reliability`.
        closed: which end of a bin belongs to it, `right` or `left`.
        norm: 1, 2 or `math.inf`.
        debiased: subtract what the scatter of the labels adds: from each squared gap
            a(1 − a)/(W − 1) in a bin of weight W > 1 and share a, from each absolute gap
            E|N(gap, a(1 − a)/W)| − |gap|; the result is at least 0. Weights count as repetition.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A probability gap in [0, 1]: float32, or float64 for float64 logits. 0 is best.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, `num_bins` < 1, there is no such choice, or
            `debiased` is asked for with `norm=math.inf`.

    Edges: an infinite logit has probability 0 or 1. Nothing counts: NaN. An undefined example that
        counts: NaN. Even a perfectly calibrated model has an expected value above 0 on a finite
        sample, the more so the more bins there are, unless `debiased`.
    Error: sums in float64, and one rounding; a probability within a rounding of a bin's edge may
        fall on its other side.

    Example:
        >>> import jax.numpy as jnp
        >>> float(expected_calibration_error(jnp.zeros(4), jnp.array([0, 1, 0, 0])))
        0.25

    Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural
        networks, ICML (2017); J. Nixon et al., Measuring calibration in deep learning, CVPR
        workshops (2019); A. Kumar, P. Liang and T. Ma, Verified uncertainty calibration, NeurIPS
        (2019).
    """
    options = {
        "num_bins": num_bins,
        "of": of,
        "binning": binning,
        "closed": closed,
        "norm": norm,
        "debiased": debiased,
    }
    return _ERROR(logits, labels, weights, where, **options)


def _error(sums: Array, norm: Norm, debiased: bool, **bins: Any) -> Array:
    confidence, share, weight = _bins(sums, **bins)
    total = jnp.sum(weight, axis=-1)
    gaps = jnp.where(weight == 0.0, 0.0, jnp.abs(share - confidence))
    if norm == math.inf:
        errors = jnp.where(total == 0.0, jnp.nan, jnp.max(gaps, axis=-1))
        return jnp.mean(errors)
    scatter = jnp.where(weight == 0.0, 0.0, share * (1 - share))
    if norm == 1:
        if debiased:
            spread = jnp.sqrt(_positive(scatter) / jnp.where(weight == 0.0, 1.0, weight))
            gaps = jnp.where(scatter > 0.0, 2 * gaps - _folded(gaps, spread), gaps)
        errors = jnp.maximum(ratio(jnp.sum(weight * gaps, axis=-1), total), 0.0)
        return jnp.mean(errors)
    squares = gaps**2
    if debiased:
        squares = squares - jnp.where(
            weight > 1.0, scatter / jnp.where(weight > 1.0, weight - 1, 1.0), 0.0
        )
    squared = ratio(jnp.sum(weight * squares, axis=-1), total)
    root = jnp.where(squared > 0.0, jnp.sqrt(jnp.where(squared > 0.0, squared, 1.0)), 0.0)
    return jnp.mean(jnp.where(jnp.isnan(squared), jnp.nan, root))


def _positive(a: Array) -> Array:
    return jnp.where(a > 0.0, a, 1.0)


def _folded(mean: Array, spread: Array) -> Array:
    """E|X| of X normal."""
    z = mean / spread
    density = jnp.exp(-0.5 * z**2) * math.sqrt(2 / math.pi)
    return spread * density + mean * jax.scipy.special.erf(z / math.sqrt(2))


def _error_options(
    norm: Norm, debiased: bool, **bins: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    if norm not in (1, 2, math.inf):
        raise ValueError(f"`norm` must be 1, 2 or math.inf, but {norm!r} came.")
    if debiased and norm == math.inf:
        raise ValueError("`debiased` is for `norm` 1 or 2; of a largest gap no bias is known.")
    return _bin_options(**bins) | {"norm": norm, "debiased": bool(debiased)}, {}


def _error_columns(these: Examples, norm: Norm, debiased: bool, **bins: Any) -> Columns:
    return _columns(these, **bins)


_ERROR = Additive("expected_calibration_error", _error_columns, _error, _error_options, _separable)
register(expected_calibration_error, _ERROR)
