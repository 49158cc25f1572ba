"""The logistic family: softplus and its derivatives, which are all exact functions themselves.

softplus  →  sigmoid  →  logistic_density  →  −logistic_density · tanh(x/2)  →  ...
"""

import jax.numpy as jnp

from .._exact import by_precision, elementwise, exp_of_moderate, log1p_of_unit
from .._typing import Array, ArrayLike, Float, as_floating

# Beyond ±128 the float32 results are constant (e⁻¹²⁸ is below the smallest subnormal), and within
# it the powers stay far inside of float64.
_CONSTANT_BEYOND = 128.0


def _softplus_builtin(x: Array) -> Array:
    return jnp.log1p(jnp.exp(-jnp.abs(x))) + jnp.maximum(x, -0.0)


def _softplus_double(x: Array) -> Array:
    return log1p_of_unit(jnp.exp(-jnp.abs(x))) + jnp.maximum(x, -0.0)


def _sigmoid_double(x: Array) -> Array:
    clipped = jnp.clip(x, -_CONSTANT_BEYOND, _CONSTANT_BEYOND)
    return jnp.where(jnp.isnan(x), x, 1 / (1 + exp_of_moderate(-clipped)))


def _sigmoid_builtin(x: Array) -> Array:
    e = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, e, 1) / (1 + e)


def _density(x: Array) -> Array:
    e = jnp.exp(-jnp.abs(x))
    return e / ((1 + e) * (1 + e))


def _half_tanh(x: Array) -> Array:
    return jnp.tanh(x / 2)


_half_tanh_call = elementwise(
    "half_tanh",
    by_precision(float64=_half_tanh, float32=_half_tanh, float16=_half_tanh),
    # d tanh(x/2)/dx = ½·sech²(x/2) = 2·σ'(x)
    lambda x, dtype: 2 * _density_call(x, dtype=dtype),
)
_density_call = elementwise(
    "logistic_density",
    by_precision(float64=_density, float32=_density, float16=_density),
    # σ'' = σ'·(1 − 2σ) = −σ'·tanh(x/2)
    lambda x, dtype: -_density_call(x, dtype=dtype) * _half_tanh_call(x, dtype=dtype),
)
_sigmoid_call = elementwise(
    "sigmoid",
    by_precision(float64=_sigmoid_builtin, float32=_sigmoid_double, float16=_sigmoid_builtin),
    lambda x, dtype: _density_call(x, dtype=dtype),
)
_softplus_call = elementwise(
    "softplus",
    by_precision(float64=_softplus_builtin, float32=_softplus_double, float16=_softplus_builtin),
    lambda x, dtype: _sigmoid_call(x, dtype=dtype),
)


def softplus(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + eˣ)."""
    x = as_floating("x", x)
    return _softplus_call(x, dtype=x.dtype)


def sigmoid(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """1/(1 + e⁻ˣ)."""
    x = as_floating("x", x)
    return _sigmoid_call(x, dtype=x.dtype)


def logistic_density(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """σ'(x) = σ(x)·σ(−x)."""
    x = as_floating("x", x)
    return _density_call(x, dtype=x.dtype)


def log_sigmoid(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log σ(x) = −softplus(−x)."""
    x = as_floating("x", x)
    return -_softplus_call(-x, dtype=x.dtype)
