"""What divergences and log-domain losses are made of: near 0 each is small, and none cancels."""

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp

from .._exact import by_precision, elementwise, exp_less_its_line, polynomial
from .._typing import Array, ArrayLike, Float, as_floating
from ._entropy import binary_entropy_slope
from ._logistic import logistic_density


def _expm1mx(x: Array) -> Array:
    near = jnp.clip(x, -1, 1)
    series = near * near * exp_less_its_line(near)
    return jnp.where(jnp.abs(x) < 1, series, jnp.expm1(x) - jnp.minimum(x, jnp.finfo(x.dtype).max))


@functools.cache
def _moment(n: int) -> Callable[..., Array]:
    """∫ tⁿ·e^(xt) dt from 0 to 1, whose derivative is the next: exprel and its derivatives."""
    terms = tuple(1 / (math.factorial(k) * (n + k + 1)) for k in range(24))

    def form(x: Array) -> Array:
        series = polynomial(terms, jnp.clip(x, -2, 2))
        safe = jnp.where(jnp.abs(x) < 2, 2, x)
        half = jnp.exp(safe / 2)  # the power may overflow where the quotient does not
        share = half / safe * half
        value = jnp.where(safe > 40, share, jnp.expm1(jnp.minimum(safe, 40)) / safe)
        for k in range(1, n + 1):
            value = share - k * value / safe
        value = jnp.where(share == jnp.inf, share, value)
        return jnp.where(jnp.abs(x) < 2, series, value)

    def defined(x: Array) -> Array:
        value = (jnp.exp(x) - 1) / x
        for k in range(1, n + 1):
            value = (jnp.exp(x) - k * value) / x
        return value

    return elementwise(
        "exprel" if n == 0 else f"exprel_derivative_{n}",
        lambda x, dtype: _moment(n + 1)(x, dtype=dtype),
        definition=defined,
        **by_precision(float64=form, float32=form, float16=form),
    )


_expm1_call = elementwise(
    "expm1",
    lambda x, dtype: jnp.exp(x.astype(dtype)),
    definition=lambda x: jnp.exp(x) - 1,
    **by_precision(float64=jnp.expm1, float32=jnp.expm1, float16=jnp.expm1),
)
_expm1mx_call = elementwise(
    "expm1mx",
    lambda x, dtype: _expm1_call(x, dtype=dtype),
    definition=lambda x: jnp.exp(x) - 1 - x,
    **by_precision(float64=_expm1mx, float32=_expm1mx, float16=_expm1mx),
)

# With h = |x|/2:  log 2 − H(σ(x)) = h·tanh h − log cosh h = h·tanh h − ½·log1p(sinh² h), which
# near 0 is h² less h²/2.


_SQUARE_BELOW = 1e-9  # and far above where squares underflow


def _negentropy(x: Array) -> Array:
    h = jnp.minimum(jnp.abs(x) / 2, 1)
    near = h * jnp.tanh(h) - jnp.log1p(jnp.square(jnp.sinh(h))) / 2
    near = jnp.where(h < _SQUARE_BELOW, h * h / 2, near)
    size = jnp.minimum(jnp.abs(x), jnp.finfo(x.dtype).max)
    e = jnp.exp(-size)
    far = math.log(2) - (jnp.log1p(e) + size * (e / (1 + e)))
    return jnp.where(jnp.isnan(x), x, jnp.where(jnp.abs(x) < 2, near, far))


_negentropy_call = elementwise(
    "binary_negentropy",
    lambda x, dtype: -binary_entropy_slope(x, dtype=dtype),
    definition=lambda x: x / 2 * jnp.tanh(x / 2) - jnp.log(jnp.cosh(x / 2)),
    **by_precision(float64=_negentropy, float32=_negentropy, float16=_negentropy),
)

# log softplus(x), its slope σ/softplus, and σ(−x) − slope, the slope's relative slope.

_NOTHING_BELOW = -37.0  # there softplus(x) = eˣ, to every digit
_SERIES_BELOW = 1e-3


def _log_softplus(x: Array) -> Array:
    near = jnp.maximum(x, _NOTHING_BELOW)
    cost = jnp.log1p(jnp.exp(-jnp.abs(near))) + jnp.maximum(near, 0)
    return jnp.where(x < _NOTHING_BELOW, x, jnp.log(cost))


def _slope(x: Array) -> Array:
    near = jnp.maximum(x, _NOTHING_BELOW)
    e = jnp.exp(-jnp.abs(near))
    cost = jnp.log1p(e) + jnp.maximum(near, 0)
    return jnp.where(x < _NOTHING_BELOW, 1, jnp.where(near < 0, e, 1) / ((1 + e) * cost))


def _bend(x: Array) -> Array:
    e = jnp.exp(-jnp.abs(x))
    # (E − log1p E)/(E·log1p E) of E = eˣ, from the series of both where the difference cancels
    small, large = jnp.minimum(e, _SERIES_BELOW), jnp.maximum(e, _SERIES_BELOW)
    rest = polynomial((1 / 2, -1 / 3, 1 / 4, -1 / 5, 1 / 6), small)
    series = rest / (1 - small * rest)
    log = jnp.log1p(large)
    below = -e / (1 + e) * jnp.where(e < _SERIES_BELOW, series, (large - log) / (large * log))
    cost = jnp.log1p(e) + jnp.maximum(x, 0)
    return jnp.where(x < 0, below, (e - 1 / cost) / (1 + e))


_bend_call = elementwise(
    "log_softplus_bend",
    # b = σ(−x) − s:  b' = −σ' − s·b
    lambda x, dtype: _bend_slope(x.astype(dtype)),
    definition=lambda x: 1 / (1 + jnp.exp(x)) - 1 / ((1 + jnp.exp(-x)) * jnp.log1p(jnp.exp(x))),
    **by_precision(float64=_bend, float32=_bend, float16=_bend),
)
_slope_call = elementwise(
    "log_softplus_slope",
    # s = σ/softplus:  s' = s·(σ(−x) − s)
    lambda x, dtype: _slope_call(x, dtype=dtype) * _bend_call(x, dtype=dtype),
    definition=lambda x: 1 / ((1 + jnp.exp(-x)) * jnp.log1p(jnp.exp(x))),
    **by_precision(float64=_slope, float32=_slope, float16=_slope),
)
_log_softplus_call = elementwise(
    "log_softplus",
    lambda x, dtype: _slope_call(x, dtype=dtype),
    definition=lambda x: jnp.log(jnp.log1p(jnp.exp(x))),
    **by_precision(float64=_log_softplus, float32=_log_softplus, float16=_log_softplus),
)


def _bend_slope(x: Array) -> Array:
    product = _slope_call(x, dtype=x.dtype) * _bend_call(x, dtype=x.dtype)
    return -logistic_density(x) - product


def exprel(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """(eˣ − 1)/x, and 1 at 0.

    Args:
        x: of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its n-th derivative is ∫ tⁿ·e^(xt) dt from 0 to 1.

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        0 at −inf, inf at inf, NaN at NaN.

    Error:
        ≤ 0.501 ulp in float32, value and derivative; 8 in float64, and in float32 where a platform
        has no float64.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> exprel(jnp.array([0.0, -1e9])), jax.grad(exprel)(0.0)
        (Array([1.e+00, 1.e-09], dtype=float32), Array(0.5, dtype=float32, weak_type=True))

    Source:
        `scipy.special.exprel`.
    """
    x = as_floating("x", x)
    return _moment(0)(x, dtype=x.dtype)


def expm1mx(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """eˣ − 1 − x, without cancellation: what a Kullback-Leibler divergence is made of.

    Args:
        x: of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its derivative is eˣ − 1.

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        inf at ±inf, NaN at NaN; below 1e-19 it is x²/2 and may underflow to 0.

    Error:
        ≤ 0.501 ulp in float32, value and derivative; 4 in float64, and in float32 where a platform
        has no float64.

    Example:
        >>> import jax.numpy as jnp
        >>> expm1mx(jnp.array([-1e-4, 1.0]))
        Array([4.999833e-09, 7.182818e-01], dtype=float32)

    Source:
        As `log1pmx` of R's and Boost's incomplete gamma functions, of which it is the inverse.
    """
    x = as_floating("x", x)
    return _expm1mx_call(x, dtype=x.dtype)


def binary_negentropy(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log 2 − H(σ(x)), without cancellation: how much surer a binary distribution is than a coin.

    Args:
        x: log-odds, of any shape.

    Returns:
        In nats, an array of the shape and dtype of `x`. Its derivative is x·σ'(x).

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        0 at 0, log 2 at ±inf, NaN at NaN.

    Error:
        ≤ 0.501 ulp in float32, value and derivative; 6 in float64, and in float32 where a platform
        has no float64.

    Example:
        >>> import jax.numpy as jnp
        >>> binary_negentropy(jnp.array([1e-4, 100.0]))
        Array([1.2499999e-09, 6.9314718e-01], dtype=float32)

    Source:
        Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information
        Theory 37 (1991).
    """
    x = as_floating("x", x)
    return _negentropy_call(x, dtype=x.dtype)


def log_softplus(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log log(1 + eˣ), the logarithm of a cross-entropy, which never underflows.

    Args:
        x: log-odds against the label, of any shape.

    Returns:
        An array of the shape and dtype of `x`. Its derivative is σ(x)/softplus(x), which goes to 1.

    Raises:
        TypeError: `x` is not floating point.

    Edges:
        x to every digit below −37; −inf at −inf, inf at inf, NaN at NaN.

    Error:
        ≤ 0.501 ulp in float32, value and derivative; in float64, and where a platform has none,
        4 ulp of the larger of the result and 1; 16-bit results 0.84 ulp beside their zero at 0.54.

    Example:
        >>> import jax.numpy as jnp
        >>> log_softplus(jnp.array([-1e6, 0.0, 1e6]))
        Array([-1.0000000e+06, -3.6651292e-01,  1.3815511e+01], dtype=float32)

    Source:
        The objective of Nacson et al., Convergence of gradient descent on separable data (2019),
        arXiv 1803.01905, per example.
    """
    x = as_floating("x", x)
    return _log_softplus_call(x, dtype=x.dtype)
