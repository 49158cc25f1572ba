"""Whether confidences are honest: of the decisions made with confidence c, a share c is right."""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, ArrayLike, Bool, Float, Real
from ._accuracy import is_right
from ._examples import (
    Examples,
    below_largest,
    checked,
    examples,
    is_class,
    is_defined,
    most_probable,
)


class Reliability(NamedTuple):
    """What a reliability diagram shows; a bin without weight has NaN for its two means."""

    confidence: Float[Array, " num_bins"]  # mean confidence of the bin's decisions
    accuracy: Float[Array, " num_bins"]  # share of them that is right
    weight: Float[Array, " num_bins"]  # total weight of the bin


def reliability(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Reliability:
    """Confidence and accuracy of the model's decisions, in equal bins of confidence.

    The confidence of a decision is the probability of the class decided for: max(p, 1 − p) for a
    binary logit, max_k p_k over classes. Bin i of `num_bins` holds the confidences in
    (i / num_bins, (i + 1) / num_bins]; a confidence on an edge belongs to the bin below it. Binary
    confidences are at least ½, so that the lower bins are empty.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        num_bins: number of bins, a Python integer ≥ 1.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        Mean confidence, accuracy and weight of each bin, `[num_bins]` each: float32, or float64 for
        float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or `num_bins` < 1.

    Edges: an infinite logit has confidence 1. An empty bin has weight 0 and NaN means, which a plot
        leaves out. An undefined example that counts makes all means NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([5.0, 4.0, -4.0, 0.1])
        >>> reliability(logits, jnp.array([1, 0, 0, 1]), num_bins=2).accuracy.tolist()
        [nan, 0.75]

    Source: A. Niculescu-Mizil and R. Caruana, Predicting good probabilities with supervised
        learning, ICML (2005).
    """
    return _reliability(*checked(logits, labels, weights, where), _bin_count(num_bins))


@functools.partial(jax.jit, static_argnums=4)
def _reliability(
    logits: Array, labels: Array, weights: Array, where: Array, num_bins: int
) -> Reliability:
    these = examples(logits, labels, weights, where)
    return Reliability(*(values.astype(these.dtype) for values in _bins(these, num_bins)))


def expected_calibration_error(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    num_bins: int = 15,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The mean gap between confidence and accuracy over the bins of `reliability`.

        Σ_b W_b·|accuracy_b − confidence_b| / Σ_b W_b

    Confidence is that of the decision (top label), for binary logits too, and bins are equally wide
    over [0, 1] and open below: (lo, hi]. Other tools bin the probability of the positive class,
    or close their bins the other way; their numbers differ.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        num_bins: number of bins, a Python integer ≥ 1.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A probability gap in [0, 1]: float32, or float64 for float64 logits. 0 is best.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or `num_bins` < 1.

    Edges: an infinite logit has confidence 1. Nothing counts: 0. An undefined example that counts:
        NaN. Even a perfectly calibrated model has an expected value above 0 on a finite sample.
    Error: sums in float64, and one rounding; a confidence within a rounding of a bin's edge may
        fall on its other side.

    Example:
        >>> import jax.numpy as jnp
        >>> float(expected_calibration_error(jnp.zeros(4), jnp.array([0, 1, 0, 0])))
        0.25

    Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural
        networks, ICML (2017).
    """
    return _calibration_error(*checked(logits, labels, weights, where), _bin_count(num_bins))


@functools.partial(jax.jit, static_argnums=4)
def _calibration_error(
    logits: Array, labels: Array, weights: Array, where: Array, num_bins: int
) -> Array:
    these = examples(logits, labels, weights, where)
    confidence, right, weight = _bins(these, num_bins)
    with jax.enable_x64(True):
        total = jnp.sum(weight)
        gaps = jnp.where(weight == 0.0, 0.0, jnp.abs(right - confidence))
        error = jnp.sum(weight * gaps) / jnp.where(total == 0.0, 1.0, total)
        return error.astype(these.dtype)


def _bin_count(num_bins: int) -> int:
    if operator.index(num_bins) < 1:
        raise ValueError(f"`num_bins` must be at least 1, but {num_bins} came.")
    return operator.index(num_bins)


def _bins(these: Examples, num_bins: int) -> tuple[Array, Array, Array]:
    """The fields of `Reliability` in float64."""
    right, undefined = is_right(these).ravel(), (these.counted & ~is_defined(these)).ravel()
    with jax.enable_x64(True):
        confidence = _confidence(these).ravel()
        weights = these.weights.ravel()
        confidence = jnp.where(jnp.isnan(confidence), 1.0, confidence)
        columns = [weights, weights * confidence, jnp.where(right, weights, 0.0)]
        weight, confident, right = jax.ops.segment_sum(
            jnp.stack(columns, axis=-1), _bin_index(confidence, num_bins), num_bins
        ).T
        # 0 / 0 in an empty bin is the NaN that is meant; an undefined example spoils every bin.
        divisor = jnp.where(jnp.any(undefined), jnp.nan, weight)
        return confident / divisor, right / divisor, weight


def _confidence(these: Examples) -> Array:
    """Probability of the most probable class, [*batch], in float64."""
    if these.binary:
        return jax.nn.sigmoid(jnp.abs(these.logits.astype(jnp.float64)))
    below = below_largest(these.logits)
    is_top = is_class(most_probable(these.logits), these.logits)
    # The largest term, which is 1, joins the sum in float64, where it absorbs nothing.
    tail = jnp.sum(jnp.where(is_top, 0.0, jnp.exp(below)), axis=-1)
    return 1 / (1 + tail.astype(jnp.float64))


def _bin_index(confidence: Array, num_bins: int) -> Array:
    """The i with confidence in (i / num_bins, (i + 1) / num_bins]."""
    index = jnp.ceil(confidence * num_bins) - 1
    # The product rounds: an edge i / num_bins may come back as a little more, or less, than i.
    index = jnp.where(confidence <= index / num_bins, index - 1, index)
    index = jnp.where(confidence > (index + 1) / num_bins, index + 1, index)
    return jnp.clip(index, 0, num_bins - 1).astype(jnp.int32)
