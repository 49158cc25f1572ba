"""Categorical cross-entropy of dense labels as a function of a row."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._exact import Row, arithmetic_dtype, exact_primitive, per_platform, row_of
from .._typing import Array
from ..numerics import log_softmax, softmax, softmax_tangent
from ._outputs import loss_and_residual_like, loss_like

# With m the maximum, d = x − m, E = exp(d), tail = ΣE over all classes but one maximum, Q = Σq:
#
#   loss       Σ q_k·(−d_k) + Q·log1p(tail)                    (no negative term for q ≥ 0)
#   gradient   p_j·(Q − q_j) − q_j·(1 − p_j)
#
# p_j·Q − q_j would cancel where a label is hard or nearly hard. Here Q − q_j of the largest label
# is the sum of the others, and 1 − p_j of the largest probability is tail/(1 + tail).

_INFINITE = 1e300  # stands for infinity in float64, so that infinity · 0 is 0


def _one_left_out(values: Array, largest: Array, axis: int) -> Array:
    """Sums of rows without one of their largest values, and 0 at those values, 1 elsewhere.

    The indicator is arithmetic, which XLA CPU takes up into its reductions; a select it would
    write to memory first.
    """
    below = jnp.sign(largest - values)
    ties = values.shape[axis] - jnp.sum(below, axis=axis, keepdims=True)
    rest = jnp.sum(values * below, axis=axis, keepdims=True)
    return rest + jnp.maximum(ties - 1, 0) * largest


def _loss_form(x: Array, q: Array, *, axis: int, double: bool) -> Array:
    return _both_form(x, q, axis=axis, double=double)[0]


def _both_form(x: Array, q: Array, *, axis: int, double: bool) -> list[Array]:
    row = row_of(x, axis, double)
    q = q.astype(row.x.dtype)
    # Equal to the maximum is what has the exponential 1.
    exp = row.exp_margin(row.x)
    tail = _one_left_out(exp, row.exp_margin(row.maximum), axis)
    linear = row.sum(_linear(row, q))
    loss = linear + row.sum(q) * row.rounded(row.log1p(row.wide(tail)))
    loss = jnp.where(row.infinite & (linear != 0), linear * jnp.inf, loss)
    loss = jnp.where(row.infinite & (tail >= 1), jnp.nan, loss)
    undefined = jnp.isnan(tail)
    loss = jnp.where(undefined, jnp.nan, jnp.where(row.exists, loss, 0))

    largest = jnp.max(q, axis=axis, keepdims=True, initial=-jnp.inf)
    largest = jnp.where(row.exists, largest, 0)
    other_labels = _one_left_out(q, largest, axis)
    whole = 1 + row.wide(tail)
    # Apart from the sums, with which it would share what is then written to memory.
    exp, q = jax.lax.optimization_barrier((exp, q))
    not_label = jnp.where(q == largest, other_labels, other_labels + largest - q)
    probs = exp / row.rounded(whole)
    not_probable = jnp.where(exp == 1, row.rounded(row.wide(tail) / whole), 1 - probs)
    residual = probs * not_label - q * not_probable
    return [loss, jnp.where(row.exists & ~undefined, residual, 0)]


def _linear(row: Row, q: Array) -> Array:
    """q·(maximum − x) per class: 0 without label mass, inf with some on a class at −inf."""
    if not row.double:
        return jnp.where(q == 0, 0, -q * row.margin(row.x))
    finfo = jnp.finfo(row.x.dtype)
    x, maximum = jax.lax.optimization_barrier((row.x, jnp.clip(row.maximum, finfo.min, finfo.max)))
    margin = jnp.minimum(x, maximum).astype(jnp.float64) - maximum.astype(jnp.float64)
    return (jnp.maximum(margin, -_INFINITE) * -q.astype(jnp.float64)).astype(q.dtype)


def _loss_tangent(residual: Array, x: Array, tangents: Sequence[Any], axis: int) -> Array:
    terms = []
    if tangents[0] is not None:
        terms.append(residual * tangents[0].astype(residual.dtype))
    if tangents[1] is not None:
        # A class at −inf is out of the softmax, and its label is not a variable.
        log_probs = log_softmax(x, axis=axis)
        cost = jnp.where((x == -jnp.inf) | jnp.isnan(log_probs), 0, -log_probs)
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
        probs = softmax(x, axis=axis)
        label_moved = probs * jnp.sum(tangent, axis=axis, keepdims=True) - tangent
        moved += jnp.where(jnp.isnan(probs), 0, label_moved)
    return [loss, residual], [_loss_tangent(residual, x, tangents, axis), moved]


def _definition(x: Array, q: Array, *, axis: int) -> list[Array]:
    dtype = arithmetic_dtype(x.dtype)
    x, q = x.astype(dtype), q.astype(dtype)
    exp = jnp.exp(x)
    whole = jnp.sum(exp, axis=axis, keepdims=True)
    mass = jnp.sum(q, axis=axis, keepdims=True)
    finite = jnp.where((x == -jnp.inf) & (q == 0), 0, x)
    loss = mass * jnp.log(whole) - jnp.sum(q * finite, axis=axis, keepdims=True)
    return [loss, mass * exp / whole - q]


_both = exact_primitive(
    "softmax_cross_entropy_and_residual_of_dense_labels",
    definition=_definition,
    outputs=loss_and_residual_like,
    jvp=_both_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_both_form),
)
dense_loss = exact_primitive(
    "softmax_cross_entropy",
    definition=lambda x, q, axis: _definition(x, q, axis=axis)[0],
    outputs=loss_like,
    jvp=_loss_jvp,
    shift_axis=True,
    **per_platform(_loss_form),
)
