"""Log-sum-exp, log-softmax and softmax of rows, with the maximum left out of the sum."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._exact import exact_primitive, leave_maximum_out, per_platform, row_of
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    Bool,
    Float,
    as_axes,
    as_boolean,
    as_floating,
    one_axis,
)

# With m the maximum, d = x − m, E = exp(d) and tail = ΣE over all entries but one maximum:
#
#   logsumexp      m + log1p(tail)           log_softmax    d − log1p(tail)
#   softmax        E/(1 + tail)              1 − softmax    tail/(1 + tail) at the maximum,
#                                                           (1 + tail − E)/(1 + tail) elsewhere
#
# tail is never added to a 1 that would absorb it, where that 1 is to be taken away again.


def _same(x: Array, *, axis: int) -> Array:
    return -x


def _one_per_row(x: Array, *, axis: int) -> Array:
    return jnp.sum(x, axis=axis, keepdims=True)


def _logsumexp_form(x: Array, *, axis: int, double: bool) -> Array:
    row = row_of(x, axis, double)
    tail = leave_maximum_out(row).tail
    lse = row.rounded(row.wide(row.maximum) + row.log1p(row.wide(tail)))
    lse = jnp.where(row.infinite, jnp.inf, jnp.where(row.exists, lse, -jnp.inf))
    lse = jnp.where(jnp.isnan(tail), jnp.nan, lse)
    return lse.astype(x.dtype)


def _log_softmax_form(x: Array, *, axis: int, double: bool) -> Array:
    row = row_of(x, axis, double)
    tail = leave_maximum_out(row).tail
    log_tail = row.log1p(row.wide(tail))
    log_probs = row.rounded(row.margin(row.wide(row.x)) - log_tail)
    log_probs = jnp.where(row.exists, log_probs, -jnp.inf)
    return jnp.where(jnp.isnan(tail), jnp.nan, log_probs).astype(x.dtype)


def _softmax_form(x: Array, *, axis: int, double: bool) -> Array:
    row = row_of(x, axis, double)
    exp = row.exp_margin(row.x)
    whole = row.sum(exp)
    return jnp.where(row.exists | jnp.isnan(whole), exp / whole, 0).astype(x.dtype)


def _one_minus_softmax_form(x: Array, *, axis: int, double: bool) -> Array:
    row = row_of(x, axis, double)
    left = leave_maximum_out(row)
    others = jnp.where(left.at_maximum, left.tail, (1 + left.tail) - left.exp)
    exists = row.exists | jnp.isnan(left.tail)
    return jnp.where(exists, others / (1 + left.tail), 1).astype(x.dtype)


def _probs(x: Array, axis: int) -> Array:
    """softmax(x), and 0 in rows with a NaN, of which derivatives are to hold no trace."""
    probs = _softmax(x, axis=axis)
    return jnp.where(jnp.isnan(probs), 0, probs)


def _logsumexp_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    (x,), (tangent,) = primals, tangents
    moved = jnp.sum(_probs(x, axis) * tangent, axis=axis, keepdims=True)
    return _logsumexp(x, axis=axis), moved


def _centred(x: Array, probs: Array, tangent: Array, axis: int) -> Array:
    # t_j − Σ_k p_k t_k, of the tangents less that of the maximum: so the sum has no term for it,
    # and where one probability is near 1 nothing cancels (at the maximum 1 − p comes out as the
    # sum of the others).
    x = jax.lax.stop_gradient(x)
    at_maximum = (x == jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf)).astype(x.dtype)
    ties = jnp.sum(at_maximum, axis=axis, keepdims=True)
    shift = jnp.sum(at_maximum * tangent, axis=axis, keepdims=True) / jnp.maximum(ties, 1)
    shifted = tangent - shift
    return shifted - jnp.sum(probs * shifted, axis=axis, keepdims=True)


def softmax_tangent(x: Array, tangent: Array, axis: int) -> Array:
    """The softmax's directional derivative p·(t − Σp·t), 0 in rows with a NaN."""
    probs = _probs(x, axis)
    return probs * _centred(x, probs, tangent, axis)


def _log_softmax_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    (x,), (tangent,) = primals, tangents
    log_probs = _log_softmax(x, axis=axis)
    moved = _centred(x, _probs(x, axis), tangent, axis)
    return log_probs, jnp.where(jnp.isnan(log_probs), 0, moved)


def _softmax_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    (x,), (tangent,) = primals, tangents
    return _softmax(x, axis=axis), softmax_tangent(x, tangent, axis)


def _one_minus_softmax_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    (x,), (tangent,) = primals, tangents
    return _one_minus_softmax(x, axis=axis), -softmax_tangent(x, tangent, axis)


_logsumexp = exact_primitive(
    "logsumexp",
    outputs=_one_per_row,
    jvp=_logsumexp_jvp,
    shift_axis=True,
    **per_platform(_logsumexp_form),
)
_log_softmax = exact_primitive(
    "log_softmax",
    outputs=_same,
    jvp=_log_softmax_jvp,
    shift_axis=True,
    **per_platform(_log_softmax_form),
)
_softmax = exact_primitive(
    "softmax",
    outputs=_same,
    jvp=_softmax_jvp,
    shift_axis=True,
    **per_platform(_softmax_form),
)
_one_minus_softmax = exact_primitive(
    "one_minus_softmax",
    outputs=_same,
    jvp=_one_minus_softmax_jvp,
    shift_axis=True,
    **per_platform(_one_minus_softmax_form),
)


def _rows(x: ArrayLike, axis: Axis, where: ArrayLike | None) -> tuple[Array, Array, int]:
    """The array with what `where` leaves out at −inf, the same with `axis` made one, and which."""
    x = as_floating("x", x)
    axes = as_axes("x", axis, x.ndim)
    if where is not None:
        x = jnp.where(as_boolean("where", where), x, -jnp.inf)
    return (x, *one_axis(x, axes))


def _unrow(rows: Array, x: Array, axis: Axis) -> Array:
    """Rows back in the shape of the array that they come from."""
    axes = as_axes("x", axis, x.ndim)
    if len(axes) == 1:
        return rows
    front = [a for a in range(x.ndim) if a not in axes]
    order = [*front, *axes]
    return rows.reshape([x.shape[a] for a in order]).transpose(
        [order.index(a) for a in range(x.ndim)]
    )


def logsumexp(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*rows"]:
    """log Σ exp(x)."""
    _, rows, row_axis = _rows(x, axis, where)
    return jnp.squeeze(_logsumexp(rows, axis=row_axis), row_axis)


def log_softmax(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """x − log Σ exp(x)."""
    x, rows, row_axis = _rows(x, axis, where)
    return _unrow(_log_softmax(rows, axis=row_axis), x, axis)


def softmax(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """exp(x)/Σ exp(x)."""
    x, rows, row_axis = _rows(x, axis, where)
    return _unrow(_softmax(rows, axis=row_axis), x, axis)


def one_minus_softmax(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """1 − softmax(x), without cancellation: the sum of the other probabilities."""
    x, rows, row_axis = _rows(x, axis, where)
    return _unrow(_one_minus_softmax(rows, axis=row_axis), x, axis)
