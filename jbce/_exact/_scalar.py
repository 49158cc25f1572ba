"""Kernels in float64 for results in float32, written to be fast where XLA's own are not."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .._typing import Array


def rounded_product(x: Array) -> Array:
    """x, kept from being part of a fused multiply-add; −inf becomes the lowest number.

    If a product leads to x, the compiler takes x − y for one operation of three numbers and rounds
    it once. Then x less the maximum of all x is never 0, and an error of rounding is no longer one.
    """
    return jnp.maximum(x, jnp.finfo(x.dtype).min)


# log1p(E)/E on [0, 1] is within 1.4e-10 of P/Q, the rational function of degrees 3 and 4 that
# agrees with it at the 8 Chebyshev nodes of the interval (tests/test_numerics.py derives it anew).
_LOG1P_NUMERATOR = (
    143.14444139371705,
    187.5197941294997,
    63.56947079294327,
    4.517942306528826,
)
_LOG1P_DENOMINATOR = (
    143.1444414135911,
    259.0920122464874,
    145.40072248267273,
    26.639849876545362,
    1.0,
)


def polynomial(coefficients: Sequence[float], x: Array) -> Array:
    """Horner's scheme, coefficients from the lowest power up."""
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value  # pyright: ignore[reportReturnType]


# log1p(E) = E·(1 − E·R/Q) with R = (Q − P)/E: to 2 ulp where the arithmetic is float32.
_LOG1P_REST = tuple(
    q - p for p, q in zip((*_LOG1P_NUMERATOR[1:], 0.0), _LOG1P_DENOMINATOR[1:], strict=True)
)


def log1p_of_unit(e: Array) -> Array:
    """log1p on [0, 1], in float64 good to 1.4e-10, which is 0.0024 ulp of float32.

    XLA CPU calls a scalar routine for its own in float64 (5 times the time of a whole loss), and in
    float32 takes twice the time of this with 2.5 ulp.
    """
    whole = polynomial(_LOG1P_DENOMINATOR, e)
    if e.dtype == jnp.float32:
        return e * (1 - e * polynomial(_LOG1P_REST, e) / whole)
    return e * polynomial(_LOG1P_NUMERATOR, e) / whole


# The polynomial of degree 8 that is nearest to exp on ±ln(2)/2, relatively: within 7.8e-13
# (tests/test_numerics.py tries it against arbitrary precision).
_EXP_COEFFICIENTS = (
    0.9999999999997623,
    0.9999999999806229,
    0.5000000000618229,
    0.1666666688544792,
    0.04166666422004677,
    0.00833326703183685,
    0.0013889178644855983,
    0.0001991542206939871,
    2.4727216032157518e-05,
)
_LOG2_E = math.log2(math.e)
_LN_2 = math.log(2)


def exp_of_moderate(x: Array) -> Array:
    """exp for |x| ≤ 700 in float64, good to 1e-12.

    exp(x) = 2ⁿ·exp(r) with |r| ≤ ln(2)/2. A fifth of the time of XLA CPU's own in a loop.
    """
    n = jax.lax.round(x * _LOG2_E, jax.lax.RoundingMethod.TO_NEAREST_EVEN)
    power = polynomial(_EXP_COEFFICIENTS, x - n * _LN_2)
    # The low bits of 1.5·2⁵² + n are those of n: shifted, they add n to the exponent.
    low = jax.lax.bitcast_convert_type(n + 1.5 * 2.0**52, jnp.int64)
    exponent = jax.lax.shift_left(low, jnp.asarray(52, jnp.int64))
    bits = jax.lax.bitcast_convert_type(power, jnp.int64)
    return jax.lax.bitcast_convert_type(bits + exponent, jnp.float64)


def at_most(bound: float, x: Array) -> Array:
    """min(x, bound), and NaN of NaN: one instruction where jax's minimum is five."""
    return jnp.where(x > bound, jnp.asarray(bound, x.dtype), x)


def at_least(bound: float, x: Array) -> Array:
    """max(x, bound), likewise."""
    return jnp.where(x < bound, jnp.asarray(bound, x.dtype), x)
