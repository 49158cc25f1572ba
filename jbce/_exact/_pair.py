"""Numbers that are sums of two, high + low, and have twice the digits of their dtype.

For float64, and for float32 where there is no fast float64. Only sums, and products that have few
enough bits to be exact: a compiler that contracts a product and a sum into one operation changes
nothing. Constants of sums are taken from data, because XLA simplifies (x + c) − c to x where c is a
constant.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array
from ._scalar import polynomial

_LN_2 = Fraction("0.693147180559945309417232121458176568075500134360255254120680009")


class _Format(NamedTuple):
    """What the kernels need to know of a dtype, u = 2^−precision being its unit roundoff."""

    integer: Any
    mantissa: int
    bias: int
    lower_half: int  # bits of the mantissa that a high half does without
    ln_2: tuple[
        float, float, float
    ]  # their sum; products of the first two with exponents are exact
    exp_terms: tuple[float, ...]  # 1/k! from k = 3, until the rest is below u/100
    artanh_terms: tuple[float, ...]  # 2/(2k + 1) from k = 1, likewise
    smallest_log: float  # of the smallest normal number


def _format(dtype: str, ln_2_bits: int, exp_degree: int, artanh_degree: int) -> _Format:
    finfo = jnp.finfo(dtype)
    first = Fraction(round(_LN_2 * 2**ln_2_bits), 2**ln_2_bits)
    second = Fraction(round((_LN_2 - first) * 4**ln_2_bits), 4**ln_2_bits)
    return _Format(
        integer=f"int{finfo.bits}",
        mantissa=finfo.nmant,
        bias=1 - int(finfo.minexp),
        lower_half=(finfo.nmant + 2) // 2,
        ln_2=(float(first), float(second), float(_LN_2 - first - second)),
        exp_terms=tuple(1 / math.factorial(k) for k in range(3, exp_degree + 1)),
        artanh_terms=tuple(2 / (2 * k + 1) for k in range(1, artanh_degree + 1)),
        smallest_log=float(finfo.minexp * _LN_2),
    )


_FORMATS = {
    "float32": _format("float32", 16, exp_degree=9, artanh_degree=9),
    "float64": _format("float64", 42, exp_degree=16, artanh_degree=19),
}


class Pair(NamedTuple):
    """high + low, with |low| a few ulps of `high` at most. Errors are relative, u as above."""

    high: Array
    low: Array

    def rounded(self) -> Array:
        """The nearest number of the dtype, or nearly."""
        return self.high + self.low

    def __add__(self, other: "Pair") -> "Pair":
        """The sum, to about 4u² of the larger."""
        total = two_sum(self.high, other.high)
        return Pair(total.high, total.low + (self.low + other.low))

    def __mul__(self, other: "Pair") -> "Pair":
        """The product, to about 8u²."""
        product = two_product(self.high, other.high)
        return Pair(product.high, product.low + (self.high * other.low + self.low * other.high))

    def __truediv__(self, other: "Pair") -> "Pair":
        """The quotient, to about 8u², however the platform rounds its own."""
        quotient = self.high / other.high
        product = two_product(quotient, other.high)
        rest = (self.high - product.high) - product.low + (self.low - quotient * other.low)
        return two_sum(quotient, rest / other.high)


def single(number: Array) -> Pair:
    """A number as a pair."""
    return Pair(number, jnp.zeros_like(number))


def constant(value: float, like: Array) -> Array:
    """A number that XLA does not know to be one; NaN beside NaN."""
    return jnp.where(jnp.isnan(like), like, jnp.asarray(value, like.dtype))


def two_sum(a: Array, b: Array) -> Pair:
    """a + b without error (Knuth)."""
    total = a + b
    virtual = total - a
    return Pair(total, (a - (total - virtual)) + (b - virtual))


def two_product(a: Array, b: Array) -> Pair:
    """a·b without error but 2⁻⁵³u of float64, from halves whose products are exact."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    high = a * b
    low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low
    return Pair(high, low)


def _halves(a: Array) -> tuple[Array, Array]:
    of = _FORMATS[str(a.dtype)]
    bits = jax.lax.bitcast_convert_type(a, of.integer)
    mask = jnp.asarray(-(2**of.lower_half), of.integer)
    high = jax.lax.bitcast_convert_type(bits & mask, a.dtype)
    return high, a - high


# Beyond ±40 all of E = e^−|x|, log1p(E), E/(1 + E), E/(1 + E)² are one number of either dtype.
TINY_BEYOND = 40.0


class Exponential(NamedTuple):
    """e^t = power·(1 + change), with `power` a power of 2, or 0, and −0.3 < change < 0.42."""

    power: Array
    change: Pair

    def exp(self) -> Pair:
        """e^t; the low part may be lost where it is below the smallest normal number."""
        total = two_sum(self.power, self.power * self.change.high)
        return Pair(total.high, total.low + self.power * self.change.low)

    def exp_rounded(self) -> Array:
        """e^t rounded once, near the smallest normal number too."""
        total = two_sum(constant(1.0, self.power), self.change.high)
        return self.power * (total.high + (total.low + self.change.low))

    def expm1(self) -> Pair:
        """e^t − 1."""
        whole = two_sum(self.power, -constant(1.0, self.power))
        return whole + Pair(self.power * self.change.high, self.power * self.change.low)


def exponential(t: Array) -> Exponential:
    """e^t for t ≤ 0, good to u/30; 0 where it is below the smallest normal number."""
    of = _FORMATS[str(t.dtype)]
    clipped = jnp.maximum(t, of.smallest_log)
    n = jax.lax.round(clipped * math.log2(math.e), jax.lax.RoundingMethod.TO_NEAREST_EVEN)
    r = two_sum(clipped - n * of.ln_2[0], -n * of.ln_2[1])
    low = r.low - n * of.ln_2[2]
    # e^r − 1 = r + r²/2 + r³·(1/6 + r/24 + ...), of which the last is small enough to be rounded.
    square = two_product(r.high, r.high)
    rest = r.high * square.high * polynomial(of.exp_terms, r.high)
    change = two_sum(r.high, square.high / 2)
    low = change.low + ((low + r.high * low) + (square.low / 2 + rest))
    exponent = n.astype(of.integer) + jnp.asarray(of.bias, of.integer)
    bits = jax.lax.shift_left(exponent, jnp.asarray(of.mantissa, of.integer))
    power = jax.lax.bitcast_convert_type(bits, t.dtype)
    power = jnp.where(t < of.smallest_log, 0, power)
    return Exponential(jnp.where(jnp.isnan(t), t, power), two_sum(change.high, low))


def log1p_of_unit_pair(e: Pair) -> Pair:
    """log1p on [0, 1] as 2·artanh(e/(2 + e)), good to u/8."""
    s = e / (single(constant(2.0, e.high)) + e)
    square = s.high * s.high
    rest = s.high * square * polynomial(_FORMATS[str(square.dtype)].artanh_terms, square)
    return two_sum(2 * s.high, 2 * s.low + rest)
