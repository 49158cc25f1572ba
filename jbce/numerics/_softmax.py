"""Log-sum-exp, log-softmax and softmax of rows, with the maximum left out of the sum."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._exact import Machine, exact_primitive, leave_maximum_out, per_platform, row_of, row_sum
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    Bool,
    Float,
    as_axes,
    as_boolean,
    as_floating,
    check_same_shape,
    one_axis,
    several_axes,
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


def one_per_row(x: Array, *, axis: int) -> Array:
    """What a row's number looks like, for `exact_primitive`."""
    return jnp.sum(x, axis=axis, keepdims=True)


def _logsumexp_form(x: Array, *, axis: int, machine: Machine) -> Array:
    row = row_of(x, axis, machine)
    tail = leave_maximum_out(row).tail
    lse = row.rounded(row.wide(row.maximum) + row.log1p(row.wide(tail)))
    lse = jnp.where(row.infinite, jnp.inf, jnp.where(row.exists, lse, -jnp.inf))
    lse = jnp.where(jnp.isnan(tail), jnp.nan, lse)
    return lse.astype(x.dtype)


def _log_softmax_form(x: Array, *, axis: int, machine: Machine) -> Array:
    row = row_of(x, axis, machine)
    tail = leave_maximum_out(row).tail
    log_tail = row.log1p(row.wide(tail))
    log_probs = row.rounded(row.margin(row.wide(row.x)) - log_tail)
    log_probs = jnp.where(row.exists, log_probs, -jnp.inf)
    return jnp.where(jnp.isnan(tail), jnp.nan, log_probs).astype(x.dtype)


def _softmax_form(x: Array, *, axis: int, machine: Machine) -> Array:
    row = row_of(x, axis, machine)
    exp = row.exp_margin(row.x)
    whole = row.sum(exp)
    return jnp.where(row.exists | jnp.isnan(whole), exp / whole, 0).astype(x.dtype)


def _one_minus_softmax_form(x: Array, *, axis: int, machine: Machine) -> Array:
    row = row_of(x, axis, machine)
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
    moved = row_sum(_probs(x, axis) * tangent, axis)
    return _logsumexp(x, axis=axis), moved


def _centred(x: Array, probs: Array, tangent: Array, axis: int) -> Array:
    # t_j − Σ_k p_k t_k, of the tangents less that of the maximum: so the sum has no term for it,
    # and where one probability is near 1 nothing cancels (at the maximum 1 − p comes out as the
    # sum of the others).
    x = jax.lax.stop_gradient(x)
    at_maximum = (x == jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf)).astype(x.dtype)
    ties = jnp.sum(at_maximum, axis=axis, keepdims=True)
    shift = row_sum(at_maximum * tangent, axis) / jnp.maximum(ties, 1)
    shifted = tangent - shift
    return shifted - row_sum(probs * shifted, axis)


def softmax_tangent(x: Array, tangent: Array, axis: int) -> Array:
    """The directional derivative of softmax, p·(t − Σp·t), without cancellation.

    Args:
        x: unnormalised log-probabilities.
        tangent: the direction, of the same shape and dtype.
        axis: the class axis, counted from the front.

    Returns:
        An array of the shape of `x`; 0 in rows with a NaN. The maximum's tangent is taken away from
        all of them first, so that where one probability is near 1 nothing cancels.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_tangent(jnp.array([20.0, 0.0]), jnp.array([1.0, 0.0]), 0)
        Array([ 2.0611537e-09, -2.0611537e-09], dtype=float32)
    """
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


def _sum_of_exp(x: Array, axis: int) -> Array:
    return jnp.sum(jnp.exp(x), axis=axis, keepdims=True)


_logsumexp = exact_primitive(
    "logsumexp",
    definition=lambda x, axis: jnp.log(_sum_of_exp(x, axis)),
    outputs=one_per_row,
    jvp=_logsumexp_jvp,
    shift_axis=True,
    **per_platform(_logsumexp_form),
)
_log_softmax = exact_primitive(
    "log_softmax",
    definition=lambda x, axis: x - jnp.log(_sum_of_exp(x, axis)),
    outputs=_same,
    jvp=_log_softmax_jvp,
    shift_axis=True,
    **per_platform(_log_softmax_form),
)
_softmax = exact_primitive(
    "softmax",
    definition=lambda x, axis: jnp.exp(x) / _sum_of_exp(x, axis),
    outputs=_same,
    jvp=_softmax_jvp,
    shift_axis=True,
    **per_platform(_softmax_form),
)
_one_minus_softmax = exact_primitive(
    "one_minus_softmax",
    definition=lambda x, axis: 1 - jnp.exp(x) / _sum_of_exp(x, axis),
    outputs=_same,
    jvp=_one_minus_softmax_jvp,
    shift_axis=True,
    **per_platform(_one_minus_softmax_form),
)


def rows_of(
    name: str, x: ArrayLike, axis: Axis | None, where: ArrayLike | None
) -> tuple[Array, Array, int]:
    """The array with what `where` leaves out at −inf, the same with `axis` made one, and which."""
    x = as_floating(name, x)
    axes = tuple(range(x.ndim)) if axis is None else as_axes(name, axis, x.ndim)
    if where is not None:
        where = as_boolean("where", where)
        check_same_shape("where", where, name, x)
        x = jnp.where(where, x, -jnp.inf)
    return (x, *one_axis(x, axes))


def _unrow(rows: Array, x: Array, axis: Axis) -> Array:
    """Rows back in the shape of the array that they come from."""
    return several_axes(rows, x.shape, as_axes("x", axis, x.ndim))


def logsumexp(
    x: Float[ArrayLike, "*shape"],
    axis: Axis | None = None,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*rows"]:
    """log Σ exp(x), as maximum + log1p(tail).

    Args:
        x: unnormalised log-probabilities, of any shape.
        axis: along which to sum; or several axes; or all of them.
        where: which entries exist.

    Returns:
        One number per row, in the dtype of `x`. Its derivative is `softmax`.

    Raises:
        TypeError: `x` is not floating point, or `where` is not boolean.
        ValueError: `axis` is not there.

    Edges:
        −inf where nothing exists, with a derivative of 0 (jax #6811); inf beside an inf; NaN in a
        row with a NaN.

    Error:
        ≤ 2 ulp of the larger of the result and the largest |x|, float32.

    Example:
        >>> import jax.numpy as jnp
        >>> logsumexp(jnp.array([-20.0, 0.0]))
        Array(2.0611537e-09, dtype=float32)

    Source:
        Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax functions,
        IMA Journal of Numerical Analysis 41 (2021).
    """
    _, rows, row_axis = rows_of("x", x, axis, where)
    return jnp.squeeze(_logsumexp(rows, axis=row_axis), row_axis)


def log_softmax(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """x − log Σ exp(x), as (x − maximum) − log1p(tail), two parts that are never positive.

    Args:
        x: unnormalised log-probabilities, of any shape.
        axis: along which to normalise; or several axes.
        where: which entries exist.

    Returns:
        An array of the shape and dtype of `x`.

    Raises:
        TypeError: `x` is not floating point, or `where` is not boolean.
        ValueError: `axis` is not there.

    Edges:
        −inf for what does not exist; NaN in a row with a NaN.

    Error:
        ≤ 3.5 ulp, also for the log-probability near 0 of a confident class, float32.

    Example:
        >>> import jax.numpy as jnp
        >>> log_softmax(jnp.array([20.0, 0.0]))
        Array([-2.0611537e-09, -2.0000000e+01], dtype=float32)

    Source:
        As `logsumexp`.
    """
    x, rows, row_axis = rows_of("x", x, axis, where)
    return _unrow(_log_softmax(rows, axis=row_axis), x, axis)


def softmax(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """exp(x)/Σ exp(x).

    Args:
        x: unnormalised log-probabilities, of any shape.
        axis: along which to normalise; or several axes.
        where: which entries exist.

    Returns:
        An array of the shape and dtype of `x`. Its directional derivative is p·(t − Σp·t).

    Raises:
        TypeError: `x` is not floating point, or `where` is not boolean.
        ValueError: `axis` is not there.

    Edges:
        0 for what does not exist, also where nothing does; NaN in a row with a NaN.

    Error:
        ≤ 6 ulp for every probability ≥ 1e-30, float32.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax(jnp.array([20.0, 0.0]))
        Array([1.0000000e+00, 2.0611537e-09], dtype=float32)

    Source:
        Bridle, Probabilistic interpretation of feedforward classification network outputs,
        Neurocomputing (1990).
    """
    x, rows, row_axis = rows_of("x", x, axis, where)
    return _unrow(_softmax(rows, axis=row_axis), x, axis)


def one_minus_softmax(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """1 − softmax(x), without cancellation: the sum of the other probabilities.

    Args:
        x: unnormalised log-probabilities, of any shape.
        axis: along which to normalise; or several axes.
        where: which entries exist.

    Returns:
        An array of the shape and dtype of `x`.

    Raises:
        TypeError: `x` is not floating point, or `where` is not boolean.
        ValueError: `axis` is not there.

    Edges:
        1 for what does not exist, also where nothing does; NaN in a row with a NaN.

    Error:
        ≤ 3.5 ulp, also for the doubt of a confident class, float32.

    Example:
        >>> import jax.numpy as jnp
        >>> one_minus_softmax(jnp.array([20.0, 0.0]))
        Array([2.0611537e-09, 1.0000000e+00], dtype=float32)

    Source:
        As `logsumexp`.
    """
    x, rows, row_axis = rows_of("x", x, axis, where)
    return _unrow(_one_minus_softmax(rows, axis=row_axis), x, axis)
