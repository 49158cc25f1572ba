"""Cross-entropy of an integer label, part of whose mass is spread over the classes; and z-loss."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._arguments import entry_of_class, is_class
from .._exact import Machine, Row, arithmetic_dtype, exact_primitive, per_platform, row_sum
from .._typing import Array
from ..numerics import log_softmax, logsumexp, softmax, softmax_tangent
from ._integer import (
    finished,
    integer_loss,
    integer_loss_and_residual,
    leave_label_out,
    undefined,
)
from ._outputs import loss_and_residual_like, loss_like

# With c_k = logsumexp(x) − x_k the cost of a class, `a` the label's mass, `s` what is spread over
# the n classes that exist, weighed by w, and z the weight of the squared log-sum-exp:
#
#   loss        a·c_y + (s/n)·Σ w_k·c_k + z·lse²            (all terms positive)
#   gradient    (a + (s/n)·Σw + 2z·lse)·p_j − a·[j = y] − (s/n)·w_j
#
# The label is left out of the sum as for the plain loss: lse − max = log1p(S + (E_y − 1)), and
# a·(p_y − 1) = −a·S/(S + E_y).
#
# All arrays keep the class axis: one per row is [.., 1, ..], one per class [1, .., classes, .., 1].
# `weighted` is False where w is 1.


def _times(factor: Array, value: Array) -> Array:
    """factor·value, 0 where the factor is 0 whatever the value."""
    return jnp.where(factor == 0, 0, factor * value)


def _sums(row: Row, w: Array, weighted: bool) -> tuple[Array, Array, Array]:
    """Of the classes that exist: how many, Σw, and Σw·(maximum − x), per row and in `row.wide`."""

    def of_existing(x: Array) -> tuple[Array, Array, Array]:
        exists = x != -jnp.inf
        weights = jnp.where(exists, w, 0)
        margins = jnp.where((weights == 0) | (x == row.maximum), 0, row.maximum - x)
        terms = (row.wide(exists.astype(x.dtype)), weights, weights * row.wide(margins))
        zero = jnp.zeros((), weights.dtype)
        # All in one pass, of which nothing is written to memory.
        sums = jax.lax.reduce(terms, (zero,) * 3, lambda a, b: (*map(jnp.add, a, b),), (row.axis,))
        count, weight, linear = (jnp.expand_dims(total, row.axis) for total in sums)
        return count, weight, linear

    if not row.double:
        return of_existing(row.x)
    # XLA CPU takes up arithmetic into a fast reduction, and selects only into a slow one: they are
    # for where a class at −inf makes the arithmetic fail.
    x = jax.lax.optimization_barrier(row.x)
    # It takes up a weight per class into a sum in float64 only, which is slow for long rows.
    linear = (
        row.sum(w * (row.wide(row.maximum) - row.wide(x)))
        if weighted
        else row.wide(row.sum(row.maximum - x))
    )

    def of_all(x: Array) -> tuple[Array, Array, Array]:
        count = jnp.full_like(linear, x.shape[row.axis])
        return count, jnp.zeros_like(linear) + row.sum(w), linear

    return jax.lax.cond(jnp.all(jnp.isfinite(linear)), of_all, of_existing, row.x)


def _both_form(
    x: Array,
    labels: Array,
    a: Array,
    s: Array,
    w: Array,
    z: Array,
    *,
    axis: int,
    weighted: bool,
    machine: Machine,
) -> list[Array]:
    left = leave_label_out(x, labels, axis, machine)
    row = left.row
    a, s, w, z = (row.wide(array.astype(row.x.dtype)) for array in (a, s, w, z))
    count, weight, linear = _sums(row, w, weighted)
    each = s / jnp.maximum(count, 1)
    log_whole = row.log1p(left.rest + (left.label_exp - 1))
    lse = row.wide(row.maximum) + log_whole
    loss = _times(a, log_whole - left.label_margin)
    loss += _times(each, linear + weight * log_whole) + _times(z, lse * lse)

    whole = jnp.where(left.known, left.rest + left.label_exp, jnp.nan)
    pull = each * weight + 2 * z * jnp.where(row.infinite, 0, lse)
    of_label = row.rounded((pull * left.label_exp - a * left.rest) / whole)
    others = row.rounded((a + pull) / whole) * left.others
    residual = jnp.where(left.is_label, of_label, others)
    residual = residual - jnp.where(row.x == -jnp.inf, 0, row.rounded(each) * row.rounded(w))
    return [finished(left, loss), jnp.where(row.exists & ~undefined(left), residual, 0)]


def _costs(x: Array, axis: int) -> Array:
    """c_k, 0 for classes that do not exist: their weight is no variable."""
    log_probs = log_softmax(x, axis=axis)
    return jnp.where((x == -jnp.inf) | jnp.isnan(log_probs), 0, -log_probs)


def _of_rows(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """The dtype's lse and 1/n per row, and which classes exist, as numbers."""
    exists = (x != -jnp.inf).astype(x.dtype)
    count = jnp.maximum(jnp.sum(exists, axis=axis, keepdims=True), 1)
    lse = jnp.expand_dims(logsumexp(x, axis=axis), axis)
    return jnp.where(jnp.isfinite(lse), lse, 0), 1 / count, exists


def _loss_tangent(
    residual: Array, arrays: Sequence[Array], tangents: Sequence[Any], axis: int
) -> Array:
    x, labels, _, s, w, _ = arrays
    x_dot, _, a_dot, s_dot, w_dot, z_dot = tangents
    moved = jnp.zeros_like(jnp.sum(residual, axis=axis, keepdims=True))
    if x_dot is not None:
        moved += row_sum(residual * x_dot, axis)
    if a_dot is not None:
        cost = integer_loss(x, labels, axis=axis)
        moved += jnp.where(jnp.isnan(cost), 0, cost) * a_dot
    if s_dot is not None:
        _, each, _ = _of_rows(x, axis)
        moved += each * row_sum(w * _costs(x, axis), axis) * s_dot
    if w_dot is not None:
        _, each, _ = _of_rows(x, axis)
        moved += s * each * row_sum(_costs(x, axis) * w_dot, axis)
    if z_dot is not None:
        lse, _, _ = _of_rows(x, axis)
        moved += lse * lse * z_dot
    return moved


def _alike(residual: Array, values: Sequence[Any]) -> list[Any]:
    """In the residual's dtype, but for the labels."""
    return [
        value if i == 1 or value is None else value.astype(residual.dtype)
        for i, value in enumerate(values)
    ]


def _loss_jvp(
    primals: Sequence[Array], tangents: Sequence[Any], *, axis: int, weighted: bool
) -> Any:
    loss, residual = _both(*primals, axis=axis, weighted=weighted)
    arrays, tangents = _alike(residual, primals), _alike(residual, tangents)
    return loss, _loss_tangent(residual, arrays, tangents, axis)


def _both_jvp(
    primals: Sequence[Array], tangents: Sequence[Any], *, axis: int, weighted: bool
) -> Any:
    loss, residual = _both(*primals, axis=axis, weighted=weighted)
    x, labels, a, s, w, z = arrays = _alike(residual, primals)
    x_dot, _, a_dot, s_dot, w_dot, z_dot = tangents = _alike(residual, tangents)
    lse, each, exists = _of_rows(x, axis)
    probs = softmax(x, axis=axis)
    undefined_row = jnp.isnan(probs)
    probs = jnp.where(undefined_row, 0, probs)
    weight = row_sum(exists * w, axis)
    moved, pull = jnp.zeros_like(residual), jnp.zeros_like(loss)
    if x_dot is not None:
        whole = a + s * each * weight + 2 * z * lse
        moved += whole * softmax_tangent(x, x_dot, axis)
        pull += 2 * z * row_sum(probs * x_dot, axis)
    if a_dot is not None:
        moved += a_dot * integer_loss_and_residual(x, labels, axis=axis)[1]
    if s_dot is not None:
        pull += s_dot * each * weight
        moved -= s_dot * each * w * exists
    if w_dot is not None:
        pull += s * each * row_sum(exists * w_dot, axis)
        moved -= s * each * w_dot * exists
    if z_dot is not None:
        pull += 2 * lse * z_dot
    return [loss, residual], [
        _loss_tangent(residual, arrays, tangents, axis),
        jnp.where(undefined_row, 0, moved + pull * probs),
    ]


def _definition(
    x: Array, labels: Array, a: Array, s: Array, w: Array, z: Array, *, axis: int, weighted: bool
) -> list[Array]:
    dtype = arithmetic_dtype(x.dtype)
    x, a, s, w, z = (array.astype(dtype) for array in (x, a, s, w, z))
    exists = x != -jnp.inf
    exp = jnp.exp(x)
    whole = jnp.sum(exp, axis=axis, keepdims=True)
    lse = jnp.log(whole)
    w = jnp.where(exists, w, 0)
    each = s / jnp.sum(exists.astype(dtype), axis=axis, keepdims=True)
    weight = jnp.sum(w, axis=axis, keepdims=True)
    linear = jnp.sum(w * jnp.where(exists, x, 0), axis=axis, keepdims=True)
    loss = (
        a * (lse - entry_of_class(x, labels, axis)) + each * (weight * lse - linear) + z * lse * lse
    )
    residual = (a + each * weight + 2 * z * lse) * exp / whole
    residual = residual - a * is_class(x, labels, axis).astype(dtype) - each * w
    known = labels >= 0
    return [jnp.where(known, loss, jnp.nan), jnp.where(known, residual, jnp.nan)]


def _loss_like(x: Array, labels: Array, *_: Array, axis: int, weighted: bool) -> Array:
    return loss_like(x, labels, axis=axis)


def _both_like(x: Array, labels: Array, *_: Array, axis: int, weighted: bool) -> list[Array]:
    return loss_and_residual_like(x, labels, axis=axis)


_both = exact_primitive(
    "softmax_cross_entropy_and_residual_of_spread_labels",
    definition=_definition,
    outputs=_both_like,
    jvp=_both_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_both_form),
)


def _loss_form(*arrays: Array, **params: Any) -> Array:
    return _both_form(*arrays, **params)[0]


def _loss_definition(*arrays: Array, **params: Any) -> Array:
    return _definition(*arrays, **params)[0]


spread_loss = exact_primitive(
    "softmax_cross_entropy_of_spread_labels",
    definition=_loss_definition,
    outputs=_loss_like,
    jvp=_loss_jvp,
    shift_axis=True,
    **per_platform(_loss_form),
)
