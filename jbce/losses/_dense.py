"""Categorical cross-entropy of dense labels as a function of a row."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._exact import (
    Machine,
    MaximumLeftOut,
    Row,
    arithmetic_dtype,
    exact_primitive,
    leave_maximum_out,
    per_platform,
    row_of,
    row_sum,
)
from .._typing import Array
from ..numerics import log_softmax, logsumexp, one_minus_softmax, softmax, softmax_tangent
from ._outputs import loss_and_residual_like, loss_like

# With m the maximum, d = x − m, E = exp(d), tail = ΣE over all classes but one maximum, Q = Σq:
#
#   loss       Σ q_k·(log1p(tail) − d_k)                       (no negative term for q ≥ 0)
#   gradient   p_j·(Q − q_j) − q_j·(1 − p_j)
#
# and with Poly-1 of weight ε and z-loss of weight z
#
#   loss       ... + ε·D + z·lse²     D = Σ q_k·(1 − p_k) = (Σ q_k·(1 − E_k) + Q·tail)/(1 + tail)
#   gradient   ... + ε·p_j·((Q − q_j) − D) + 2z·lse·p_j
#
# p_j·Q − q_j would cancel where a label is hard or nearly hard. Here Q − q_j of the largest label
# is the sum of the others, and 1 − p_j of the largest probability is tail/(1 + tail).


def _largest_left_out(row: Row, q: Array) -> tuple[Array, Array]:
    """The largest label of each row, and the sum of the others."""
    largest = jnp.where(row.exists, row.max(q), 0)
    return largest, row.sum_but_one(q, q == largest, largest)


class _Loss(NamedTuple):
    """The loss of each row, and what the residual takes of it."""

    value: Array
    doubt: Array  # D
    lse: Array


def _loss_of(left: MaximumLeftOut, q: Array, mass: Array, options: tuple[Array, ...]) -> _Loss:
    row, tail = left.row, left.tail
    log1p = row.log1p(row.wide(tail))
    loss = row.sum(_costs(row, q, row.once(log1p)))
    loss = jnp.where(row.infinite & (loss != 0), loss * jnp.inf, loss)
    loss = jnp.where(row.infinite & (tail >= 1), jnp.nan, loss)
    lse = row.rounded(row.wide(row.maximum) + log1p)
    lse = jnp.where(row.infinite | ~row.exists, 0, lse)
    doubt = jnp.zeros_like(loss)
    if options:
        poly, z = options
        apart = jax.lax.optimization_barrier(q)
        doubt = (row.sum(apart - apart * left.exp) + mass * tail) / (1 + tail)
        squared = jnp.where(row.infinite & (z > 0), jnp.inf, z * lse * lse)
        loss += jnp.where(poly == 0, 0, poly * doubt) + squared
    loss = jnp.where(jnp.isnan(tail), jnp.nan, jnp.where(row.exists, loss, 0))
    return _Loss(loss, doubt, lse)


def _in_arithmetic(
    x: Array, q: Array, options: tuple[Array, ...], axis: int, machine: Machine
) -> tuple[MaximumLeftOut, Array, tuple[Array, ...]]:
    left = leave_maximum_out(row_of(x, axis, machine))
    dtype = left.exp.dtype
    return left, q.astype(dtype), tuple(option.astype(dtype) for option in options)


def _loss_form(x: Array, q: Array, *options: Array, axis: int, machine: Machine) -> Array:
    left, q, options = _in_arithmetic(x, q, options, axis, machine)
    return _loss_of(left, q, left.row.sum(q), options).value


def _both_form(x: Array, q: Array, *options: Array, axis: int, machine: Machine) -> list[Array]:
    left, q, options = _in_arithmetic(x, q, options, axis, machine)
    row, tail = left.row, left.tail
    largest, other_labels = _largest_left_out(row, q)
    loss = _loss_of(left, q, largest + other_labels, options)
    whole = 1 + row.wide(tail)
    # Apart from the sums, with which it would share what is then written to memory.
    apart, q = row.apart(), jax.lax.optimization_barrier(q)
    not_label = jnp.where(q == largest, other_labels, other_labels + largest - q)
    probs = apart.exp_margin(apart.x) / row.rounded(whole)
    at_maximum = apart.x == apart.maximum
    not_probable = jnp.where(at_maximum, row.rounded(row.wide(tail) / whole), 1 - probs)
    residual = probs * not_label - q * not_probable
    if options:
        poly, z = options
        residual += probs * (poly * (not_label - loss.doubt) + 2 * z * loss.lse)
    return [loss.value, jnp.where(row.exists & ~jnp.isnan(tail), residual, 0)]


def _costs(row: Row, q: Array, more: Array) -> Array:
    """q·(maximum − x + more) per class: 0 without label mass, inf with some on a class at −inf."""
    if not row.double:
        return jnp.where(q == 0, 0, q * (more - row.margin(row.x)))
    return ((more - row.finite_margin()) * q.astype(jnp.float64)).astype(q.dtype)


def _finite(values: Array) -> Array:
    """0 in rows with a NaN, of which derivatives are to hold no trace."""
    return jnp.where(jnp.isnan(values), 0, values)


class _Row(NamedTuple):
    """What derivatives in the labels and the weights of the options take, composed."""

    undefined: Array
    probs: Array
    doubts: Array
    costs: Array
    lse: Array


def _composed(x: Array, axis: int) -> _Row:
    # A class at −inf is out of the softmax, and its label is not a variable.
    exists = x != -jnp.inf
    lse = jnp.expand_dims(logsumexp(x, axis), axis)
    costs = jnp.where(exists, -log_softmax(x, axis), 0)
    probs = softmax(x, axis)
    return _Row(
        jnp.isnan(probs),
        _finite(probs),
        _finite(jnp.where(exists, one_minus_softmax(x, axis), 0)),
        _finite(costs),
        jnp.where(jnp.isfinite(lse), lse, 0),
    )


def _loss_tangent(
    residual: Array, arrays: Sequence[Array], tangents: Sequence[Any], axis: int
) -> Array:
    moved = jnp.zeros_like(row_sum(residual, axis))
    x, q, *options = arrays
    x_dot, q_dot, *options_dot = tangents
    if x_dot is not None:
        moved += row_sum(residual * x_dot, axis)
    if all(t is None for t in tangents[1:]):
        return moved
    row = _composed(x, axis)
    if q_dot is not None:
        costs = row.costs + options[0] * row.doubts if options else row.costs
        moved += row_sum(costs * q_dot, axis)
    for dot, slope in zip(options_dot, (row_sum(q * row.doubts, axis), row.lse**2), strict=False):
        if dot is not None:
            moved += slope * dot
    return moved


def _alike(residual: Array, values: Sequence[Any]) -> list[Any]:
    return [value if value is None else value.astype(residual.dtype) for value in values]


def _loss_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    both = _both if len(primals) == 2 else _both_with_options
    loss, residual = both(*primals, axis=axis)
    arrays, tangents = _alike(residual, primals), _alike(residual, tangents)
    return loss, _loss_tangent(residual, arrays, tangents, axis)


def _both_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    both = _both if len(primals) == 2 else _both_with_options
    loss, residual = both(*primals, axis=axis)
    x, q, *options = arrays = _alike(residual, primals)
    x_dot, q_dot, *options_dot = tangents = _alike(residual, tangents)
    row = _composed(x, axis)
    # (Q + 2z·lse)·p − q + ε·p·((Q − q) − D), of which the last bracket is A − q with A = Σ q·p.
    whole, above = row_sum(q, axis), row_sum(q * row.probs, axis) - q
    poly, z = options or (jnp.zeros_like(loss), jnp.zeros_like(loss))
    moved = jnp.zeros_like(residual)
    if x_dot is not None:
        probs_dot = softmax_tangent(x, x_dot, axis)
        moved += whole * probs_dot
        if options:
            lse_dot = row_sum(row.probs * x_dot, axis)
            moved += poly * (probs_dot * above + row.probs * row_sum(q * probs_dot, axis))
            moved += 2 * z * (row.lse * probs_dot + lse_dot * row.probs)
    if q_dot is not None:
        moved += row.probs * row_sum(q_dot, axis) - q_dot
        if options:
            moved += poly * row.probs * (row_sum(q_dot * row.probs, axis) - q_dot)
    slopes = (row.probs * above, 2 * row.lse * row.probs)
    for dot, slope in zip(options_dot, slopes, strict=False):
        if dot is not None:
            moved += slope * dot
    moved = jnp.where(row.undefined, 0, moved)
    return [loss, residual], [_loss_tangent(residual, arrays, tangents, axis), moved]


def _definition(x: Array, q: Array, *options: Array, axis: int) -> list[Array]:
    dtype = arithmetic_dtype(x.dtype)
    total = partial(jnp.sum, axis=axis, keepdims=True)
    x, q = x.astype(dtype), q.astype(dtype)
    exp = jnp.exp(x)
    exp_sum, mass = total(exp), total(q)
    lse, probs = jnp.log(exp_sum), exp / exp_sum
    finite = jnp.where((x == -jnp.inf) & (q == 0), 0, x)
    loss, residual = mass * lse - total(q * finite), mass * probs - q
    if options:
        poly, z = (option.astype(dtype) for option in options)
        agreed = total(q * probs)
        loss += poly * (mass - agreed) + z * lse * lse
        residual += poly * probs * (agreed - q) + 2 * z * lse * probs
    return [loss, residual]


def _loss_like(x: Array, q: Array, *_: Array, axis: int) -> Array:
    return loss_like(x, q, axis=axis)


def _both_like(x: Array, q: Array, *_: Array, axis: int) -> list[Array]:
    return loss_and_residual_like(x, q, axis=axis)


def _loss_definition(*arrays: Array, axis: int) -> Array:
    return _definition(*arrays, axis=axis)[0]


def _primitives(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    both = exact_primitive(
        f"softmax_cross_entropy_and_residual_of_{name}",
        definition=_definition,
        outputs=_both_like,
        jvp=_both_jvp,
        shift_axis=True,
        multiple_results=True,
        **per_platform(_both_form),
    )
    loss = exact_primitive(
        f"softmax_cross_entropy_of_{name}",
        definition=_loss_definition,
        outputs=_loss_like,
        jvp=_loss_jvp,
        shift_axis=True,
        **per_platform(_loss_form),
    )
    return both, loss


_both, dense_loss = _primitives("dense_labels")
_both_with_options, dense_loss_with_options = _primitives("dense_labels_with_options")
