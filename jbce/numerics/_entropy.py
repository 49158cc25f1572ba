"""Entropies of distributions that are given by their logits."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .._exact import (
    Machine,
    by_precision,
    constant,
    elementwise,
    exact_primitive,
    exponential,
    leave_maximum_out,
    log1p_of_unit_pair,
    per_platform,
    row_of,
    row_sum,
    single,
)
from .._typing import Array, ArrayLike, Axis, Bool, Float, as_floating
from ._logistic import logistic_density, sigmoid
from ._softmax import one_per_row, rows_of, softmax_tangent

# With E = e^−|x|:  H = log1p(E) + |x|·E/(1 + E),  H' = −x·E/(1 + E)².  Beyond ±60 they are
# (1 + |x|)·E and −x·E, with E in two steps: it falls below the smallest normal number first.
_FAR = 60.0
_STEP = 32.0


def _size(x: Array) -> Array:
    return jnp.minimum(jnp.abs(x), jnp.finfo(x.dtype).max)


def _far(size: Array, factor: Array) -> Array:
    e = exponential(_STEP - jnp.maximum(size, _STEP)).exp_rounded()
    return factor * e * math.exp(-_STEP)


def _binary(x: Array) -> Array:
    e = jnp.exp(-_size(x))
    entropy = jnp.log1p(e) + _size(x) * (e / (1 + e))
    return jnp.where(jnp.isnan(x), x, entropy)


def _binary_single(x: Array) -> Array:
    return jnp.where(_size(x) > _FAR, _far(_size(x), 1 + _size(x)), _binary(x))


def _binary_of_pairs(x: Array) -> Array:
    size = _size(x)
    e = exponential(-size).exp()
    entropy = log1p_of_unit_pair(e) + single(size) * (e / (single(constant(1.0, x)) + e))
    near = jnp.where(jnp.isnan(x), x, entropy.rounded())
    return jnp.where(size > _FAR, _far(size, 1 + size), near)


def _slope(x: Array) -> Array:
    e = jnp.exp(-_size(x))
    slope = -x * (e / ((1 + e) * (1 + e)))
    return jnp.where(jnp.isinf(x), 0, slope)


def _slope_single(x: Array) -> Array:
    size = _size(x)
    return jnp.where(size > _FAR, -jnp.sign(x) * _far(size, size), _slope(x))


binary_entropy_slope = elementwise(
    "binary_entropy_slope",
    # H'' = −σ'·(1 − x·tanh(x/2))
    lambda x, dtype: _binary_curvature(x.astype(dtype)),
    definition=lambda x: -x * jnp.exp(-x) / jnp.square(1 + jnp.exp(-x)),
    **by_precision(
        float64=_slope_single, float32=_slope, float16=_slope_single, pairs=_slope_single
    ),
)


def _binary_curvature(x: Array) -> Array:
    half_tanh = sigmoid(x) - sigmoid(-x)
    change = 1 - jnp.where(jnp.isinf(x), 0, x) * half_tanh
    return -logistic_density(x) * change


_binary_call = elementwise(
    "binary_entropy",
    binary_entropy_slope,
    definition=lambda x: jnp.log1p(jnp.exp(x)) - x / (1 + jnp.exp(-x)),
    **by_precision(
        float64=_binary_of_pairs,
        float32=_binary,
        float16=_binary_single,
        pairs=_binary_of_pairs,
    ),
)

# With m the maximum, d = x − m, E = exp(d), tail = ΣE but for one maximum:
#
#   H = log1p(tail) + Σ E·(−d)/(1 + tail)       no term is negative
#   dH = −Σ p·(t − Σp·t)·d                      minus the covariance of x and the tangent t


def _margins(row: Any, x: Array) -> Array:
    """x − maximum, and 0 where the class does not exist."""
    return jnp.where(x == -jnp.inf, 0, row.margin(x))


def _entropy_form(x: Array, *, axis: int, machine: Machine) -> Array:
    row = row_of(x, axis, machine)
    left = leave_maximum_out(row)
    tail = row.wide(left.tail)
    spread = row.sum(left.exp * -_margins(row, row.x))
    entropy = row.rounded(row.log1p(tail) + row.wide(spread) / (1 + tail))
    entropy = jnp.where(row.exists, entropy, 0)
    return jnp.where(jnp.isnan(left.tail), jnp.nan, entropy).astype(x.dtype)


def _entropy_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    (x,), (tangent,) = primals, tangents
    row = row_of(x, axis, Machine())
    moved = softmax_tangent(x, tangent, axis) * _margins(row, x)
    return _entropy(x, axis=axis), -row_sum(moved, axis)


def _definition(x: Array, *, axis: int) -> Array:
    exp = jnp.exp(x)
    whole = jnp.sum(exp, axis=axis, keepdims=True)
    finite = jnp.where(x == -jnp.inf, 0, x)
    return jnp.log(whole) - jnp.sum(exp * finite, axis=axis, keepdims=True) / whole


_entropy = exact_primitive(
    "entropy",
    definition=_definition,
    outputs=one_per_row,
    jvp=_entropy_jvp,
    shift_axis=True,
    **per_platform(_entropy_form),
)


def binary_entropy(logits: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """−p·log p − (1 − p)·log(1 − p) with p = σ(x), the entropy of a Bernoulli variable in nats.

    Args:
        logits: log-odds, of any shape.

    Returns:
        An array of the shape and dtype of `logits`. Its derivative is −x·σ'(x).

    Raises:
        TypeError: `logits` are not floating point.

    Edges:
        0 at ±inf, with a derivative of 0; NaN at NaN.

    Error:
        ≤ 0.501 ulp in float32, value and derivative; 3 in float64 and where a platform has no
        float64.

    Example:
        >>> import jax.numpy as jnp
        >>> binary_entropy(jnp.array([0.0, 20.0]))
        Array([6.9314718e-01, 4.3284228e-08], dtype=float32)

    Source:
        Shannon, A mathematical theory of communication, Bell System Technical Journal 27 (1948).
    """
    logits = as_floating("logits", logits)
    return _binary_call(logits, dtype=logits.dtype)


def entropy(
    logits: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*rows"]:
    """−Σ p·log p with p = softmax(x), the entropy of a categorical variable in nats.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        axis: the class axis, or several that make one together.
        where: which classes exist.

    Returns:
        The entropy of each row, in the dtype of `logits`. Its derivative is minus the covariance of
        the logits and the tangent under p.

    Raises:
        TypeError: `logits` are not floating point, or `where` is not boolean.
        ValueError: `axis` is not there.

    Edges:
        A class at −inf is out. 0 where at most one class exists; NaN in a row with a NaN.

    Error:
        float32, up to 5,000 classes: ≤ 6 ulp, also where all but one probability vanish.

    Example:
        >>> import jax.numpy as jnp
        >>> entropy(jnp.array([[0.0, 0.0], [20.0, 0.0]]))
        Array([6.9314718e-01, 4.3284228e-08], dtype=float32)

    Source:
        As `binary_entropy`.
    """
    _, rows, row_axis = rows_of("logits", logits, axis, where)
    return jnp.squeeze(_entropy(rows, axis=row_axis), row_axis)
