"""From probabilities and their logarithms back to log-odds."""

import jax.numpy as jnp

from .._exact import by_precision, elementwise
from .._typing import Array, ArrayLike, Float, as_floating, check_same_shape


def _logit(p: Array) -> Array:
    # Between ¼ and ¾ the difference of logarithms would cancel, and 2p − 1 is exact.
    odds_less_one = (2 * p - 1) / (1 - p)
    middle = jnp.log1p(jnp.clip(odds_less_one, -0.7, 2.1))
    return jnp.where(jnp.abs(p - 0.5) <= 0.25, middle, jnp.log(p) - jnp.log1p(-p))


def _logit_slope(p: Array) -> Array:
    inside = (p >= 0) & (p <= 1)
    return jnp.where(inside, 1 / (p * (1 - p)), jnp.nan)


def _log1mexp(x: Array) -> Array:
    near = jnp.log(-jnp.expm1(-jnp.minimum(x, 0.7)))
    return jnp.where(x < 0.7, near, jnp.log1p(-jnp.exp(-jnp.maximum(x, 0.7))))


def _inverse_expm1(x: Array) -> Array:
    return jnp.where(x >= 0, jnp.exp(-x) / -jnp.expm1(-x), jnp.nan)


def _xlogy(x: Array, y: Array) -> Array:
    return jnp.where((x == 0) & ~jnp.isnan(y), 0, x * jnp.log(y))


def _ratio(x: Array, y: Array) -> Array:
    return jnp.where((x == 0) & ~jnp.isnan(y), 0, x / y)


_logit_slope_call = elementwise(
    "logit_slope",
    # d 1/(p − p²)/dp = (2p − 1)/(p − p²)²
    lambda p, dtype: (2 * p.astype(dtype) - 1) * jnp.square(_logit_slope_call(p, dtype=dtype)),
    definition=lambda p: 1 / (p * (1 - p)),
    **by_precision(float64=_logit_slope, float32=_logit_slope, float16=_logit_slope),
)
_logit_call = elementwise(
    "logit",
    lambda p, dtype: _logit_slope_call(p, dtype=dtype),
    definition=lambda p: jnp.log(p) - jnp.log1p(-p),
    **by_precision(float64=_logit, float32=_logit, float16=_logit),
)
_inverse_expm1_call = elementwise(
    "inverse_expm1",
    # s = 1/(eˣ − 1):  s' = −eˣ·s² = −s·(1 + s)
    lambda x, dtype: (
        -_inverse_expm1_call(x, dtype=dtype) * (1 + _inverse_expm1_call(x, dtype=dtype))
    ),
    definition=lambda x: 1 / jnp.expm1(x),
    **by_precision(float64=_inverse_expm1, float32=_inverse_expm1, float16=_inverse_expm1),
)
_log1mexp_call = elementwise(
    "log1mexp",
    lambda x, dtype: _inverse_expm1_call(x, dtype=dtype),
    definition=lambda x: jnp.log1p(-jnp.exp(-x)),
    **by_precision(float64=_log1mexp, float32=_log1mexp, float16=_log1mexp),
)
_ratio_call = elementwise(
    "ratio",
    lambda x, y, dtype: _ratio_call(jnp.ones_like(x), y, dtype=dtype),
    lambda x, y, dtype: -_ratio_call(_ratio_call(x, y, dtype=dtype), y.astype(dtype), dtype=dtype),
    definition=lambda x, y: x / y,
    **by_precision(float64=_ratio, float32=_ratio, float16=_ratio),
)
_xlogy_call = elementwise(
    "xlogy",
    lambda x, y, dtype: _xlogy_call(jnp.ones_like(x), y, dtype=dtype),
    lambda x, y, dtype: _ratio_call(x, y, dtype=dtype),
    definition=lambda x, y: jnp.where(x == 0, 0, x * jnp.log(jnp.where(x == 0, 1, y))),
    **by_precision(float64=_xlogy, float32=_xlogy, float16=_xlogy),
)


def logit(p: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log(p/(1 − p)), the log-odds of a probability.

    Args:
        p: probabilities, of any shape.

    Returns:
        An array of the shape and dtype of `p`. Its derivative is 1/(p·(1 − p)).

    Raises:
        TypeError: `p` is not floating point.

    Edges:
        −inf at 0, inf at 1, with an infinite derivative; NaN where p is no probability. A float
        near 1 has few digits of 1 − p left: where logits are at hand, keep them.

    Error:
        ≤ 0.501 ulp in float32, value and derivative; 3 in float64.

    Example:
        >>> import jax.numpy as jnp
        >>> logit(jnp.array([0.25, 0.5, 1.0]))
        Array([-1.0986123,  0.       ,        inf], dtype=float32)

    Source:
        Berkson, Application of the logistic function to bio-assay, Journal of the American
        Statistical Association 39 (1944).
    """
    p = as_floating("p", p)
    return _logit_call(p, dtype=p.dtype)


def log1mexp(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 − e⁻ˣ) for x ≥ 0, as `jax.nn.log1mexp`: log(1 − p) from −log p.

    Args:
        x: minus the logarithm of a probability, of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its derivative is 1/(eˣ − 1).

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        −inf at 0, 0 at inf, NaN below 0.

    Error:
        ≤ 0.501 ulp in float32, value and derivative; 3 in float64.

    Example:
        >>> import jax.numpy as jnp
        >>> log1mexp(jnp.array([1e-10, 20.0]))
        Array([-2.3025850e+01, -2.0611537e-09], dtype=float32)

    Source:
        Mächler, Accurately computing log(1 − exp(−|a|)), vignette of the R package Rmpfr (2012).
    """
    x = as_floating("x", x)
    return _log1mexp_call(x, dtype=x.dtype)


def xlogy(x: Float[ArrayLike, "*shape"], y: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """x·log y, and 0 where x is 0: a term of a cross-entropy; −xlogy(p, p) is one of an entropy.

    Args:
        x: weights, of any shape.
        y: numbers ≥ 0, of the same shape.

    Returns:
        An array of the shape of both, in the wider of their dtypes. Its derivatives are log y and
        x/y, the latter 0 where x is 0.

    Raises:
        TypeError: `x` or `y` is not floating point.
        ValueError: the shapes differ.

    Edges:
        0 at x = 0 unless y is NaN, also at y = 0; elsewhere −inf·x at y = 0, and NaN for y < 0.

    Error:
        ≤ 0.501 ulp in float32, value and derivatives; 2 in float64.

    Example:
        >>> import jax.numpy as jnp
        >>> xlogy(jnp.array([0.0, 0.5]), jnp.array([0.0, 0.5]))
        Array([ 0.       , -0.3465736], dtype=float32)

    Source:
        `scipy.special.xlogy`.
    """
    x, y = as_floating("x", x), as_floating("y", y)
    check_same_shape("y", y, "x", x)
    return _xlogy_call(x, y, dtype=jnp.promote_types(x.dtype, y.dtype))
