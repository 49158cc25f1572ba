"""What a proper score is made of: miscalibration, and what is left when that is mended."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._optimum import is_class
from .._typing import Array, ArrayLike, Bool, Float, Real, as_floating, check_same_shape
from ..metrics import brier_score, log_loss
from ._isotonic import fit_isotonic
from ._sample import arguments, rows_of, weighted_mean
from ._temperature import fit_temperature


class Terms(NamedTuple):
    """score = calibration + refinement = calibration − discrimination + uncertainty."""

    score: Float[Array, ""]  # of the logits as they are
    calibration: Float[Array, ""]  # what recalibration gains: 0 for an honest model
    refinement: Float[Array, ""]  # the score after recalibration
    discrimination: Float[Array, ""]  # what the recalibrated logits gain over the base rate
    uncertainty: Float[Array, ""]  # the score of the base rate, which knows no logits


class Decomposition(NamedTuple):
    """The terms of two proper scores."""

    log_loss: Terms  # in nats
    brier_score: Terms


def decomposition(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    calibrated: Float[ArrayLike, "*logits"] | None = None,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Decomposition:
    """Log loss and Brier score, split into calibration, refinement and their relatives.

        refinement     = score(calibrated)
        calibration    = score(logits) − refinement
        uncertainty    = score(base rate)
        discrimination = uncertainty − refinement

    For binary labels `calibrated` is by default `fit_isotonic` on the same examples: the split is
    then that of the CORP approach, free of bins and choices, and all its terms are ≥ 0. For class
    indices it is by default `fit_temperature`, of which that is true of the calibration of the log
    loss only. Both are fitted to what they are judged by, and so flatter the refinement of small
    samples; the result of `cross_fit` does not.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats in [0, 1].
        calibrated: logits after calibration, of the shape of `logits`.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        The `Terms` of each score, scalars in float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there are fewer than two classes.

    Edges: an example with log loss inf makes that score and its calibration inf. Nothing counts: 0.
        An undefined example that counts: NaN.
    Error: differences are taken in float64 and rounded once.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([3.0, 3.0, -3.0, -3.0]), jnp.array([1, 0, 1, 0])
        >>> terms = decomposition(logits, labels).brier_score  # no better than the base rate
        >>> terms.refinement.item(), terms.discrimination.item(), terms.uncertainty.item()
        (0.25, 0.0, 0.25)

    Source: T. Dimitriadis, T. Gneiting and A. I. Jordan, Stable reliability diagrams for
        probabilistic classifiers, PNAS 118 (2021); J. Bröcker, Reliability, sufficiency, and the
        decomposition of proper scores, Q. J. R. Meteorol. Soc. 135 (2009).
    """
    arrays = arguments(logits, labels, weights, where)
    if calibrated is not None:
        calibrated = as_floating("calibrated", calibrated)
        check_same_shape("calibrated", calibrated, "logits", arrays[0])
    return _decomposition(*arrays, calibrated)


@jax.jit
def _decomposition(
    logits: Array, labels: Array, weights: Array, where: Array, calibrated: Array | None
) -> Decomposition:
    dtype = logits.dtype if logits.dtype == jnp.float64 else jnp.float32
    # No term of a split by the best of all rising maps is negative, and rounding makes none so.
    least = -jnp.inf
    with jax.enable_x64(True):
        logits = logits.astype(jnp.float64)
        arrays = logits, labels, weights, where
        if calibrated is None:
            binary = labels.shape == logits.shape
            fit = fit_isotonic if binary else fit_temperature
            calibrated = fit(logits, labels, weights=weights, where=where)(logits)
            least = 0.0 if binary else least
        calibrated = calibrated.astype(jnp.float64)
        base = jnp.broadcast_to(_base_rate(arrays), logits.shape)
        judged = jnp.stack([logits, calibrated, base])

        def terms(judge) -> Terms:
            score, refinement, uncertainty = jax.vmap(
                lambda which: judge(which, labels, weights=weights, where=where)
            )(judged)
            calibration = _at_least(least, score - refinement)
            discrimination = _at_least(least, uncertainty - refinement)
            values = score, calibration, refinement, discrimination, uncertainty
            return Terms(*(value.astype(dtype) for value in values))

        return Decomposition(terms(log_loss), terms(brier_score))


def _at_least(least: float, value: Array) -> Array:
    return jnp.where(value < least, least, value)


def _base_rate(arrays: tuple[Array, Array, Array, Array]) -> Array:
    """The logit, or the logits of classes, of the weighted share of each label."""
    rows, labels, weights, _ = rows_of(arrays)
    if rows.ndim == 1:
        share = weighted_mean(labels, weights)
        return jnp.log(share) - jnp.log1p(-share)
    return jnp.log(weighted_mean(is_class(labels, rows).astype(jnp.float64), weights))
