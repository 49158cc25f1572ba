"""The logistic family: softplus and its derivatives, which are all exact functions themselves.

softplus  →  sigmoid  →  logistic_density  →  −logistic_density · tanh(x/2)  →  ...
"""

from typing import Any

import jax.numpy as jnp

from .._exact import (
    TINY_BEYOND,
    Exponential,
    Pair,
    at_least,
    by_precision,
    constant,
    elementwise,
    exp_for_float32,
    exp_of_distance,
    exponential,
    log1p_of_unit,
    log1p_of_unit_pair,
    single,
)
from .._typing import Array, ArrayLike, Float, as_floating

# With E = e^−|x|:  softplus = log1p(E) + max(x, 0),  σ = (1 if x ≥ 0 else E)/(1 + E),
# σ' = E/(1 + E)²,  tanh(x/2) = ±(1 − E)/(1 + E): terms of one sign, but for the last, by expm1.


def _softplus_single(x: Array) -> Array:
    return log1p_of_unit(jnp.exp(-jnp.abs(x))) + jnp.maximum(x, -0.0)


def _softplus_double(x: Array) -> Array:
    return log1p_of_unit(exp_of_distance(x)) + at_least(0.0, x)


def softplus_of_pairs(x: Array) -> Array:
    e = exponential(-jnp.abs(x))
    sum_ = single(jnp.maximum(x, 0)) + log1p_of_unit_pair(e.exp())
    return _at_ends(x, e, sum_, e.exp_rounded(), x)


def _sigmoid_single(x: Array) -> Array:
    e = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, e, 1) / (1 + e)


def _sigmoid_double(x: Array) -> Array:
    return 1 / (1 + exp_for_float32(-x))


def sigmoid_of_pairs(x: Array) -> Array:
    e = exponential(-jnp.abs(x))
    power, one = e.exp(), single(constant(1.0, x))
    numerator = Pair(*(jnp.where(x < 0, a, b) for a, b in zip(power, one, strict=True)))
    return _at_ends(x, e, numerator / (one + power), e.exp_rounded(), 1)


def _density(x: Array) -> Array:
    e = jnp.exp(-jnp.abs(x))
    return e / ((1 + e) * (1 + e))


def density_of_pairs(x: Array) -> Array:
    e = exponential(-jnp.abs(x))
    power = e.exp()
    whole = single(constant(1.0, x)) + power
    density = power / (whole * whole)
    return _at_ends(x, e, density, e.exp_rounded(), e.exp_rounded())


def _half_tanh(x: Array) -> Array:
    return jnp.tanh(x / 2)


def half_tanh_of_pairs(x: Array) -> Array:
    e = exponential(-jnp.abs(x))
    size = e.expm1() / (single(constant(1.0, x)) + e.exp())
    return _at_ends(x, e, Pair(*(-jnp.sign(x) * part for part in size)), -1, 1)


def _at_ends(x: Array, e: Exponential, middle: Pair, low: Any, high: Any) -> Array:
    value = jnp.where(x < -TINY_BEYOND, low, middle.rounded())
    return jnp.where(x > TINY_BEYOND, high, value)


_half_tanh_call = elementwise(
    "half_tanh",
    # d tanh(x/2)/dx = ½·sech²(x/2) = 2·σ'(x)
    lambda x, dtype: 2 * _density_call(x, dtype=dtype),
    definition=lambda x: jnp.tanh(x / 2),
    **by_precision(
        float64=half_tanh_of_pairs, float32=_half_tanh, float16=_half_tanh, pairs=half_tanh_of_pairs
    ),
)
_density_call = elementwise(
    "logistic_density",
    # σ'' = σ'·(1 − 2σ) = −σ'·tanh(x/2)
    lambda x, dtype: -_density_call(x, dtype=dtype) * _half_tanh_call(x, dtype=dtype),
    definition=lambda x: jnp.exp(-x) / jnp.square(1 + jnp.exp(-x)),
    **by_precision(
        float64=density_of_pairs, float32=_density, float16=_density, pairs=density_of_pairs
    ),
)
_sigmoid_call = elementwise(
    "sigmoid",
    lambda x, dtype: _density_call(x, dtype=dtype),
    definition=lambda x: 1 / (1 + jnp.exp(-x)),
    **by_precision(
        float64=sigmoid_of_pairs,
        float32=_sigmoid_double,
        float16=_sigmoid_single,
        pairs=sigmoid_of_pairs,
    ),
)
_softplus_call = elementwise(
    "softplus",
    lambda x, dtype: _sigmoid_call(x, dtype=dtype),
    definition=lambda x: jnp.log1p(jnp.exp(x)),
    **by_precision(
        float64=softplus_of_pairs,
        float32=_softplus_double,
        float16=_softplus_single,
        pairs=softplus_of_pairs,
    ),
)


def softplus(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + eˣ), the logarithm of 1 plus the odds.

    Args:
        x: log-odds, of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its derivative is `sigmoid`.

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        0 at −inf, inf at inf, NaN at NaN.

    Error:
        ≤ 0.503 ulp in float32, 0.7 in float64, and 0.7 in float32 where a platform has no
        float64; 16-bit results are correctly rounded but near ties (0.5001 ulp).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> softplus(jnp.array([-20.0, 0.0, 20.0]))
        Array([2.0611537e-09, 6.9314718e-01, 2.0000000e+01], dtype=float32)

    Source:
        Dugas et al., Incorporating second-order functional knowledge for better option pricing,
        NeurIPS (2000).
    """
    x = as_floating("x", x)
    return _softplus_call(x, dtype=x.dtype)


def sigmoid(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """1/(1 + e⁻ˣ), the probability whose log-odds are x; 1 − sigmoid(x) is sigmoid(−x).

    Args:
        x: log-odds, of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its derivative is `logistic_density`.

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        0 at −inf, 1 at inf, NaN at NaN.

    Error:
        ≤ 0.501 ulp in float32, 0.6 in float64, and 0.6 in float32 where a platform has no
        float64; 16-bit results are correctly rounded but near ties (0.5001 ulp).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> sigmoid(jnp.array([-20.0, 0.0, 20.0]))
        Array([2.0611537e-09, 5.0000000e-01, 1.0000000e+00], dtype=float32)

    Source:
        Cox, The regression analysis of binary sequences, Journal of the Royal Statistical Society
        B 20 (1958).
    """
    x = as_floating("x", x)
    return _sigmoid_call(x, dtype=x.dtype)


def logistic_density(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """σ'(x) = σ(x)·σ(−x), the density of the logistic distribution and variance of a label.

    Args:
        x: log-odds, of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its derivative is −σ'(x)·tanh(x/2).

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        0 at ±inf, NaN at NaN.

    Error:
        ≤ 0.501 ulp in float32, 0.6 in float64, and 0.6 in float32 where a platform has no float64;
        the derivative is a product, 1.6 ulp.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logistic_density(jnp.array([-20.0, 0.0, 20.0]))
        Array([2.0611537e-09, 2.5000000e-01, 2.0611537e-09], dtype=float32)

    Source:
        Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 2, chapter 23 (1995).
    """
    x = as_floating("x", x)
    return _density_call(x, dtype=x.dtype)


def log_sigmoid(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log σ(x) = −softplus(−x), the logarithm of a probability from its log-odds.

    Args:
        x: log-odds, of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its derivative is σ(−x).

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        −inf at −inf, 0 at inf, NaN at NaN.

    Error:
        As `softplus`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> log_sigmoid(jnp.array([-20.0, 0.0, 20.0]))
        Array([-2.0000000e+01, -6.9314718e-01, -2.0611537e-09], dtype=float32)

    Source:
        As `softplus`.
    """
    x = as_floating("x", x)
    return -_softplus_call(-x, dtype=x.dtype)
