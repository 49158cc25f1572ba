"""Reductions of losses that are given by their logarithms."""

import jax
import jax.numpy as jnp

from .._arguments import weighed_losses
from .._typing import Array, ArrayLike, Bool, Float, Real
from ..numerics import compensated_sum, exp_of_difference


def _sums(
    log_losses: ArrayLike, weights: ArrayLike, where: ArrayLike
) -> tuple[Array, Array, Array]:
    """The largest log-loss m that counts, Σ w·e^(l − m), and Σ w."""
    losses, weights = weighed_losses("log_losses", log_losses, weights, where)
    weights = jnp.broadcast_to(weights, losses.shape)
    weights = jnp.where(weights >= 0, weights, jnp.nan)
    counts = weights != 0
    largest = jax.lax.stop_gradient(jnp.max(jnp.where(counts, losses, -jnp.inf), initial=-jnp.inf))
    # What does not count is kept where it is finite, for it is the derivative in its weight.
    absent = ~jnp.asarray(where) | (~counts & ~jnp.isfinite(losses))
    losses = jnp.where(
        absent, -jnp.inf, jnp.where(counts, losses, jnp.minimum(losses, largest + 80))
    )
    # The exponential of what is infinite or equal to the largest is 0 or 1 without a difference.
    finite = jnp.isfinite(losses) | jnp.isnan(losses)
    shift = jnp.where(jnp.isfinite(largest), largest, 0)
    shares = exp_of_difference(jnp.where(finite, losses, shift), jnp.full_like(losses, shift))
    shares = jnp.where(finite, shares, (losses == jnp.inf).astype(losses.dtype))
    return largest, compensated_sum(weights * shares), compensated_sum(weights)


def _log(largest: Array, relative: Array) -> Array:
    """largest + log relative, −inf where nothing is left."""
    positive = (relative > 0) & (largest != -jnp.inf)
    logs = largest + jnp.log(jnp.where(positive, relative, 1))
    return jnp.where(jnp.isnan(relative), jnp.nan, jnp.where(positive, logs, -jnp.inf))


def mean(
    log_losses: Float[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, "*batch"] | Real[ArrayLike, ""] = 1.0,
    where: Bool[ArrayLike, "*batch"] | Bool[ArrayLike, ""] = True,
) -> Float[Array, ""]:
    """log of the weighted mean of losses, log(Σ w·e^l / Σ w): log-mean-exp.

    Args:
        log_losses: the logarithms of the losses, of any shape.
        weights: what each loss counts, ≥ 0, one number or one per loss.
        where: which exist, one boolean or one per loss.

    Returns:
        The logarithm of the mean, in the dtype of the losses (float32 for 16 bits). Its gradient
        are the shares of the losses in their mean, which sum to 1.

    Raises:
        TypeError: `log_losses` are not floating point, or `where` is not boolean.
        ValueError: `weights` or `where` have a shape that is neither () nor that of `log_losses`.

    Edges:
        −inf with a gradient of 0 where there is nothing to average or all losses are 0. What has a
        weight of 0 has no part in it, even if it is NaN. A negative weight gives NaN.

    Error:
        1 ulp of the larger of the result and 1; the gradient's entries 3 ulp.

    Example:
        >>> import jax.numpy as jnp
        >>> mean(jnp.array([-1e4, -1e4 - 1.0]))
        Array(-10000.38, dtype=float32)
    """
    largest, total_, weight = _sums(log_losses, weights, where)
    return _log(largest, total_ / jnp.where(weight == 0, 1, weight))


def total(
    log_losses: Float[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, "*batch"] | Real[ArrayLike, ""] = 1.0,
    where: Bool[ArrayLike, "*batch"] | Bool[ArrayLike, ""] = True,
) -> Float[Array, ""]:
    """log of the weighted sum of losses, log Σ w·e^l.

    Args:
        log_losses: the logarithms of the losses, of any shape.
        weights: what each loss counts, ≥ 0, one number or one per loss.
        where: which exist, one boolean or one per loss.

    Returns:
        The logarithm of the sum, in the dtype of the losses (float32 for 16 bits).

    Raises:
        TypeError: `log_losses` are not floating point, or `where` is not boolean.
        ValueError: `weights` or `where` have a shape that is neither () nor that of `log_losses`.

    Edges:
        As `mean`.

    Error:
        As `mean`.

    Example:
        >>> import jax.numpy as jnp
        >>> total(jnp.array([-1e4, -jnp.inf]))
        Array(-10000., dtype=float32)
    """
    largest, total_, _ = _sums(log_losses, weights, where)
    return _log(largest, total_)
