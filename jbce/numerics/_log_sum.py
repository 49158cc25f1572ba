"""Sums in log space."""

import jax.numpy as jnp

from .._typing import Array, ArrayLike, Float, as_floating, check_same_shape
from ._logistic import softplus


def safe_log(x: Array) -> Array:
    """log x, −inf at 0 with a derivative of 0: what has no mass is no variable."""
    positive = x > 0
    logarithm = jnp.log(jnp.where(positive, x, 1))
    return jnp.where(positive, logarithm, jnp.where(x == 0, -jnp.inf, jnp.nan))


def logaddexp(
    a: Float[ArrayLike, "*shape"], b: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """log(eᵃ + eᵇ), the larger of the two plus softplus of minus their distance.

    Args:
        a: of any shape.
        b: of the same shape and dtype.

    Returns:
        An array of that shape. Its derivatives are sigmoid(a − b) and sigmoid(b − a), also where
        the two are equal, at every order.

    Raises:
        TypeError: `a` or `b` is not floating point.
        ValueError: the shapes differ.

    Edges:
        The other one where one is −inf; inf where one is inf; NaN where one is NaN.

    Error:
        ≤ 2 ulp of the larger of the result and the larger |a|, |b|, float32.

    Example:
        >>> import jax.numpy as jnp
        >>> logaddexp(jnp.array([0.0, -1e4]), jnp.array([0.0, -jnp.inf]))
        Array([ 6.931472e-01, -1.000000e+04], dtype=float32)

    Source:
        `numpy.logaddexp`.
    """
    a, b = as_floating("a", a), as_floating("b", b)
    check_same_shape("b", b, "a", a)
    swap = (b > a) | jnp.isnan(b)
    high, low = jnp.where(swap, b, a), jnp.where(swap, a, b)
    finite = jnp.isfinite(high) & jnp.isfinite(low)
    return high + jnp.where(finite, softplus(jnp.where(finite, low - high, 0)), 0)


def log_mixture(weight: Array, a: Array, other_weight: Array, b: Array) -> Array:
    """log(weight·eᵃ + other_weight·eᵇ), without what has no weight, in which it has no derivative.

    Args:
        weight: of eᵃ, ≥ 0, of any shape.
        a: of the same shape.
        other_weight: of eᵇ.
        b: likewise.

    Returns:
        An array of that shape.

    Example:
        >>> import jax.numpy as jnp
        >>> one, zero = jnp.ones(1), jnp.zeros(1)
        >>> log_mixture(one, jnp.array([-1e4]), zero, jnp.array([jnp.inf]))
        Array([-10000.], dtype=float32)
    """
    sides = ((weight, a), (other_weight, b))
    logs = (safe_log(mass) + jnp.where(mass == 0, 0, value) for mass, value in sides)
    return logaddexp(*logs)
