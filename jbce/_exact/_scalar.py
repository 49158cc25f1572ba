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


# log1p(E) = E·(1 − E·R/Q) with R = (Q − P)/E: in float32 to 1.9 ulp with fused multiply-adds, 2.2
# without.
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


# exp at the 9 Chebyshev nodes of ±ln(2)/2, interpolated: exp(r) to 1.1e-12.
_EXP_COEFFICIENTS = (
    1.0,
    0.9999999999797852,
    0.49999999999797934,
    0.16666666891045775,
    0.041666666890957,
    0.008333266097949614,
    0.0013888821677630362,
    0.00019915866926782682,
    2.4876164022625967e-05,
)
_LOG2_E = math.log2(math.e)
_LN_2 = math.log(2)


def exp_of_moderate(x: Array) -> Array:
    """exp for |x| ≤ 700 in float64, good to 1.3e-12.

    exp(x) = 2ⁿ·exp(r) with |r| ≤ ln(2)/2. A fifth of the time of XLA CPU's own in a loop.
    """
    n = jax.lax.round(x * _LOG2_E, jax.lax.RoundingMethod.TO_NEAREST_EVEN)
    power = polynomial(_EXP_COEFFICIENTS, x - n * _LN_2)
    # The low bits of 1.5·2⁵² + n are those of n: shifted, they add n to the exponent.
    low = jax.lax.bitcast_convert_type(n + 1.5 * 2.0**52, jnp.int64)
    exponent = jax.lax.shift_left(low, jnp.asarray(52, jnp.int64))
    bits = jax.lax.bitcast_convert_type(power, jnp.int64)
    return jax.lax.bitcast_convert_type(bits + exponent, jnp.float64)


# (exp(r) − 1 − r)/r² at the 6 Chebyshev nodes of ±ln(2)/2, interpolated: exp(r) to 2.3e-10.
_EXP_REST = (
    0.5000000013457727,
    0.16666666681614256,
    0.04166646500604005,
    0.008333310934448869,
    0.0013933641031986701,
    0.00019890980869750327,
)
_LN_2_HIGH = round(_LN_2 * 2**16) / 2**16  # times an exponent it has no rounding error in float32
_LN_2_LOW = _LN_2 - _LN_2_HIGH


def exp_of_small(x: Array, error: Array) -> Array:
    """exp(x + error) in float32 for −87.3 ≤ x ≤ 89 and a tiny error, to 0.9 ulp.

    exp(0) is 1, and from 2^127.5 on the result is inf.
    """
    n = jax.lax.round(x * _LOG2_E, jax.lax.RoundingMethod.TO_NEAREST_EVEN)
    r = (x - n * _LN_2_HIGH) - (n * _LN_2_LOW - error)
    power = 1 + (r + r * r * polynomial(_EXP_REST, r))
    # The low bits of 1.5·2²³ + n are those of n: less those of 1.5·2²³, and with the bias 127.
    low = jax.lax.bitcast_convert_type(n + 1.5 * 2.0**23, jnp.int32)
    bits = jax.lax.shift_left(low + jnp.int32(127 - 0x4B400000), jnp.int32(23))
    return power * jax.lax.bitcast_convert_type(bits, jnp.float32)


_FACTORIALS = tuple(1 / math.factorial(k + 2) for k in range(18))


def exp_less_its_line(x: Array) -> Array:
    """(eˣ − 1 − x)/x² on ±1, from its series."""
    return polynomial(_FACTORIALS[:10] if x.dtype == jnp.float32 else _FACTORIALS, x)


_CONSTANT_BEYOND = 128.0  # e⁻¹²⁸ is below the smallest subnormal float32


def exp_for_float32(x: Array) -> Array:
    """exp in float64 for results in float32, which are constant beyond ±128: there exp(±128)."""
    return exp_of_moderate(at_least(-_CONSTANT_BEYOND, at_most(_CONSTANT_BEYOND, x)))


def exp_of_distance(x: Array) -> Array:
    """exp(−|x|) in float64 for results in float32."""
    return exp_of_moderate(at_least(-_CONSTANT_BEYOND, -jnp.abs(x)))


def at_most(bound: float, x: Array) -> Array:
    """min(x, bound), and NaN of NaN: one instruction where jax's minimum is five."""
    return jnp.where(x > bound, jnp.asarray(bound, x.dtype), x)


def at_least(bound: float, x: Array) -> Array:
    """max(x, bound), likewise."""
    return jnp.where(x < bound, jnp.asarray(bound, x.dtype), x)
