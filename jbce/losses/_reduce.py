"""Reductions: many losses to one number. A loss is per example; reducing it is another function."""

import jax.numpy as jnp

from .._arguments import weighed_losses
from .._typing import Array, ArrayLike, Bool, Float, Real
from ..numerics import compensated_sum


def _weighed(losses: ArrayLike, weights: ArrayLike, where: ArrayLike) -> tuple[Array, Array]:
    """Losses with 0 for those that do not count, and the weights of all."""
    losses, kept = weighed_losses("losses", losses, weights, where)
    # A loss of weight 0 does not count even where it is NaN: replaced before the product. A finite
    # one stays, for it is the derivative in that weight.
    absent = ~jnp.asarray(where) | ((kept == 0) & ~jnp.isfinite(losses))
    return jnp.where(absent, 0, losses), kept


def mean(
    losses: Float[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, "*batch"] | Real[ArrayLike, ""] = 1.0,
    where: Bool[ArrayLike, "*batch"] | Bool[ArrayLike, ""] = True,
) -> Float[Array, ""]:
    """Weighted mean of losses: Σ weight·loss / Σ weight over those that `where` keeps.

    Args:
        losses: one loss per example, of any shape.
        weights: what each counts, one number or one per loss.
        where: which exist, one boolean or one per loss.

    Returns:
        The mean, in the dtype of the losses (float32 for 16-bit losses).

    Raises:
        TypeError: `losses` are not floating point, or `where` is not boolean.
        ValueError: `weights` or `where` have a shape that is neither () nor that of `losses`.

    Edges:
        With nothing to average (no losses, `where` all False, weights all 0) the mean is 0, and so
        is its gradient. A loss of weight 0 has no part in the result, even if it is NaN or inf.

    Error:
        that of `numerics.compensated_sum`: it does not grow with the number of losses.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = jnp.array([1.0, 2.0, jnp.nan])
        >>> float(mean(losses, where=jnp.array([True, True, False])))
        1.5
        >>> float(mean(losses, weights=jnp.array([3.0, 1.0, 0.0])))
        1.25
    """
    losses, weights = _weighed(losses, weights, where)
    if weights.ndim == 0:
        count = jnp.asarray(losses.size, losses.dtype)
        return jnp.where(weights == 0, 0, compensated_sum(losses) / jnp.maximum(count, 1))
    weight = compensated_sum(weights)
    return compensated_sum(weights * losses) / jnp.where(weight == 0, 1, weight)


def total(
    losses: Float[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, "*batch"] | Real[ArrayLike, ""] = 1.0,
    where: Bool[ArrayLike, "*batch"] | Bool[ArrayLike, ""] = True,
) -> Float[Array, ""]:
    """Weighted sum of losses: Σ weight·loss over those that `where` keeps.

    Args:
        losses: one loss per example, of any shape.
        weights: what each counts, one number or one per loss.
        where: which exist, one boolean or one per loss.

    Returns:
        The sum, in the dtype of the losses (float32 for 16-bit losses).

    Raises:
        TypeError: `losses` are not floating point, or `where` is not boolean.
        ValueError: `weights` or `where` have a shape that is neither () nor that of `losses`.

    Edges:
        The sum of nothing is 0. A loss of weight 0 has no part in the result, even if it is NaN.

    Error:
        that of `numerics.compensated_sum`: it does not grow with the number of losses.

    Example:
        >>> import jax.numpy as jnp
        >>> float(total(jnp.array([1.0, 2.0, 4.0]), where=jnp.array([True, False, True])))
        5.0
    """
    losses, weights = _weighed(losses, weights, where)
    return compensated_sum(weights * losses)
