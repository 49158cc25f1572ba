"""Sums in log space."""

import jax.numpy as jnp

from .._typing import Array
from ..numerics import softplus


def log(x: Array) -> Array:
    """log x, −inf at 0 with a derivative of 0: what has no mass is no variable."""
    positive = x > 0
    logarithm = jnp.log(jnp.where(positive, x, 1))
    return jnp.where(positive, logarithm, jnp.where(x == 0, -jnp.inf, jnp.nan))


def log_sum(a: Array, b: Array) -> Array:
    """log(eᵃ + eᵇ), also where they are infinite."""
    high, low = jnp.maximum(a, b), jnp.minimum(a, b)
    finite = jnp.isfinite(high) & (low != -jnp.inf)
    return high + jnp.where(finite, softplus(jnp.where(finite, low - high, 0)), 0)


def mixed(yes: Array, log_yes: Array, no: Array, log_no: Array) -> Array:
    """log(yes·e^log_yes + no·e^log_no), without what has no mass."""
    sides = ((yes, log_yes), (no, log_no))
    return log_sum(*(log(mass) + jnp.where(mass == 0, 0, value) for mass, value in sides))
