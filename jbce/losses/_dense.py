"""Categorical cross-entropy of dense labels as a function of a row."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._exact import (
    arithmetic_dtype,
    exact_primitive,
    kept_axis,
    leave_maximum_out,
    per_platform,
    row_of,
)
from .._typing import Array
from ..numerics import log_softmax, softmax, softmax_tangent

# With m the maximum, d = x − m, E = exp(d), tail = ΣE over all classes but one maximum, Q = Σq:
#
#   loss       Σ q_k·(−d_k) + Q·log1p(tail)                    (no negative term for q ≥ 0)
#   gradient   p_j·(Q − q_j) − q_j·(1 − p_j)
#
# p_j·Q − q_j would cancel where a label is hard or nearly hard. Here Q − q_j of the largest label
# is the sum of the others, and 1 − p_j of the largest probability is tail/(1 + tail).


def _left_out(q: Array, axis: int) -> tuple[Array, Array]:
    """Q, and Q − q_j without cancellation at the largest q_j."""
    largest = jnp.max(q, axis=axis, keepdims=True, initial=-jnp.inf)
    is_largest = q == largest
    ties = jnp.sum(is_largest.astype(q.dtype), axis=axis, keepdims=True)
    others = jnp.sum(jnp.where(is_largest, 0, q), axis=axis, keepdims=True)
    rest = others + jnp.where(ties > 1, (ties - 1) * largest, 0)
    whole = rest + largest
    return whole, jnp.where(is_largest, rest, whole - q)


def _loss_form(x: Array, q: Array, *, axis: int, double: bool) -> Array:
    return _both_form(x, q, axis=axis, double=double)[0]


def _both_form(x: Array, q: Array, *, axis: int, double: bool) -> list[Array]:
    row = row_of(x, axis, double)
    q = q.astype(row.x.dtype)
    left = leave_maximum_out(row)
    linear = jnp.where(q == 0, 0, -q * row.margin(row.x))
    loss = row.sum(linear) + row.sum(q) * row.log1p(left.tail)
    several_infinite = row.infinite & (left.tail >= 1)
    loss = jnp.where(row.exists, jnp.where(several_infinite, jnp.nan, loss), 0)

    _, others = _left_out(q, axis)
    one_less = jnp.where(left.at_maximum, left.tail, (1 + left.tail) - left.exp)
    residual = (left.exp * others - q * one_less) / (1 + left.tail)
    return [loss, jnp.where(row.exists & row.defined, residual, 0)]


def _one_per_row(x: Any, q: Any, *, axis: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(kept_axis(x.shape, axis), arithmetic_dtype(x.dtype))


def _both_outputs(x: Any, q: Any, *, axis: int) -> list[jax.ShapeDtypeStruct]:
    loss = _one_per_row(x, q, axis=axis)
    return [loss, jax.ShapeDtypeStruct(x.shape, loss.dtype)]


def _loss_tangent(residual: Array, x: Array, tangents: Sequence[Any], axis: int) -> Array:
    terms = []
    if tangents[0] is not None:
        terms.append(residual * tangents[0].astype(residual.dtype))
    if tangents[1] is not None:
        # A class at −inf is out of the softmax, and its label is not a variable.
        cost = jnp.where(x == -jnp.inf, 0, -log_softmax(x, axis=axis))
        cost = jnp.where(jnp.isnan(jnp.max(x, axis=axis, keepdims=True)), 0, cost)
        terms.append(cost * tangents[1].astype(residual.dtype))
    return jnp.sum(sum(terms[1:], terms[0]), axis=axis, keepdims=True)


def _loss_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    loss, residual = _both(*primals, axis=axis)
    x = primals[0].astype(residual.dtype)
    return loss, _loss_tangent(residual, x, tangents, axis)


def _both_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    loss, residual = _both(*primals, axis=axis)
    x, q = (primal.astype(residual.dtype) for primal in primals)
    moved = jnp.zeros_like(residual)
    # The residual is Q·p − q.
    if tangents[0] is not None:
        whole = jnp.sum(q, axis=axis, keepdims=True)
        moved += whole * softmax_tangent(x, tangents[0].astype(residual.dtype), axis)
    if tangents[1] is not None:
        tangent = tangents[1].astype(residual.dtype)
        moved += softmax(x, axis=axis) * jnp.sum(tangent, axis=axis, keepdims=True) - tangent
    return [loss, residual], [_loss_tangent(residual, x, tangents, axis), moved]


_both = exact_primitive(
    "softmax_cross_entropy_and_residual_of_dense_labels",
    outputs=_both_outputs,
    jvp=_both_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_both_form),
)
dense_loss = exact_primitive(
    "softmax_cross_entropy",
    outputs=_one_per_row,
    jvp=_loss_jvp,
    shift_axis=True,
    **per_platform(_loss_form),
)
