"""Categorical cross-entropy of an integer label, and its log-odds, as functions of a row."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import entry_of_class, is_class
from .._exact import (
    Machine,
    Row,
    arithmetic_dtype,
    exact_primitive,
    exp_for_float32,
    is_worth_slicing,
    leave_maximum_out,
    log1p_of_unit,
    per_platform,
    row_of,
    row_sum,
)
from .._typing import Array
from ..numerics import softmax_tangent
from ._outputs import loss_and_residual_like, loss_like

# Leave the label out: with m the maximum of the row, d = x − m, E = exp(d), S = Σ_{j≠y} E_j,
#
#   loss        log(S + E_y) − d_y = log1p(S + (E_y − 1)) − d_y
#   gradient    −S/(S + E_y) at the label, E_j/(S + E_y) elsewhere
#
# If the label is the maximum, E_y = 1 and d_y = 0, and the loss is log1p(S): no term is added to a
# 1 that would absorb it. If it is not, S ≥ 1, so that S + (E_y − 1) and −d_y are both positive.
# Ties need no thought.
#
# All arrays keep the class axis: logits [.., classes, ..], labels [.., 1, ..], −1 for a label that
# is out of range, which makes the loss and the gradient of its example NaN.


class LabelLeftOut(NamedTuple):
    """A row with its label left out of the sum of exponentials."""

    row: Row
    known: Array  # the label is in range
    is_label: Array  # per class
    others: Array  # E, and 0 at the label
    rest: Array  # S; this and what follows in `row.wide`
    label_exp: Array  # E_y
    label_margin: Array  # d_y


def leave_label_out(x: Array, labels: Array, axis: int, machine: Machine) -> LabelLeftOut:
    """Summarises rows."""
    row = row_of(x, axis, machine)
    label_logit = entry_of_class(row.x, labels, axis)
    is_label = is_class(x, labels, axis)
    others = jnp.where(is_label, 0, row.exp_margin(row.x))
    return LabelLeftOut(
        row=row,
        known=labels >= 0,
        is_label=is_label,
        others=others,
        rest=row.wide(row.sum(others)),
        label_exp=row.wide(row.exp_margin(label_logit)),
        label_margin=row.margin(row.wide(label_logit)),
    )


def undefined(left: LabelLeftOut) -> Array:
    """Which rows have a NaN."""
    return jnp.isnan(left.rest + left.label_exp)


def finished(left: LabelLeftOut, loss: Array) -> Array:
    """Losses of `row.wide`, with what rows have that are no numbers, rounded."""
    row = left.row
    # Several classes at +inf are infinite equals: nothing says by how much they differ.
    several_infinite = row.infinite & (left.rest + left.label_exp >= 2)
    loss = jnp.where(left.known & ~several_infinite, loss, jnp.nan)
    loss = jnp.where(row.exists, loss, 0)
    return row.rounded(jnp.where(undefined(left), jnp.nan, loss))


class _Summary(NamedTuple):
    """What there is one of per row, with exponentials relative to a reference."""

    loss: Array
    at_label: Array  # the gradient there
    whole: Array  # S + E_y; NaN for a label that is out of range, inf where the gradient is 0
    reference: Array


def _summary_of(left: LabelLeftOut) -> _Summary:
    row, whole = left.row, left.rest + left.label_exp
    loss = row.log1p(left.rest + (left.label_exp - 1)) - left.label_margin
    at_label = row.once(row.rounded(-left.rest / whole))
    whole = jnp.where(left.known, row.rounded(whole), jnp.nan)
    # inf stands for the whole of a row in which nothing is, or of one with a NaN.
    whole = row.once(jnp.where(row.exists & ~undefined(left), whole, jnp.inf))
    return _Summary(finished(left, loss), at_label, whole, row.maximum)


# Of many classes the maximum of some will do for m, which saves a pass over all of them. With any
# reference whose exponentials do not overflow
#
#   loss        log1p(S/E_y), or log(S + E_y) − d_y where S is the larger
#
# and where they do, or a row has what is no number, a second branch takes the maximum.

_MANY = 2**13  # classes
_LARGE = 2**21  # logits: fewer stay in the cache, where a pass over them costs little
_SAMPLED = 16  # one class in so many


def _is_sampled(x: Array, axis: int, machine: Machine) -> bool:
    is_cut = machine.alone and x.dtype != jnp.float64 and is_worth_slicing(x.shape, axis)
    return is_cut and x.shape[axis] >= _MANY and x.size >= _LARGE


def _of_sample(x: Array, labels: Array, axis: int, machine: Machine) -> tuple[_Summary, Array]:
    """The summary of each row, and whether all numbers are in reach of its reference."""
    some = jax.lax.slice_in_dim(x, 0, x.shape[axis] // _SAMPLED, axis=axis)
    row = row_of(x, axis, machine, reference=row_of(some, axis, machine).maximum)
    margin = row.wide(entry_of_class(row.x, labels, axis)) - row.wide(row.maximum)
    label_exp = exp_for_float32(margin)
    others = jnp.where(is_class(x, labels, axis), 0, row.exp_margin(row.x, may_exceed=True))
    rest = row.wide(row.sum(others))
    whole = rest + label_exp
    ratio = rest / label_exp
    loss = jnp.where(ratio < 1, log1p_of_unit(jnp.minimum(ratio, 1)), jnp.log(whole) - margin)
    known = labels >= 0
    summary = _Summary(
        row.rounded(jnp.where(known, loss, jnp.nan)),
        row.rounded(-rest / whole),
        row.rounded(jnp.where(known, whole, jnp.nan)),
        row.maximum,
    )
    return summary, jnp.isfinite(margin) & (margin < 80) & (jnp.abs(whole) < 1e35)


def _summary_by_sample(x: Array, labels: Array, axis: int, machine: Machine) -> _Summary:
    summary, in_reach = _of_sample(x, labels, axis, machine)
    return jax.lax.cond(
        jnp.all(in_reach),
        lambda *_: summary,
        lambda x, labels: _summary_of(leave_label_out(x, labels, axis, machine)),
        x,
        labels,
    )


def _loss_form(x: Array, labels: Array, *, axis: int, machine: Machine) -> Array:
    if _is_sampled(x, axis, machine):
        return _summary_by_sample(x, labels, axis, machine).loss
    return _summary_of(leave_label_out(x, labels, axis, machine)).loss


def _both_form(x: Array, labels: Array, *, axis: int, machine: Machine) -> list[Array]:
    if _is_sampled(x, axis, machine):
        summary = _summary_by_sample(x, labels, axis, machine)
        again = row_of(x, axis, machine, reference=summary.reference).apart()
        others = again.exp_margin(again.x)
    else:
        left = leave_label_out(x, labels, axis, machine)
        summary = _summary_of(left)
        # By columns the exponentials were never in memory, and are computed again.
        again = left.row.apart()
        others = again.exp_margin(again.x) if left.row.by_columns else left.others
    residual = jnp.where(is_class(x, labels, axis), summary.at_label, others / summary.whole)
    return [summary.loss, jnp.where(summary.whole == jnp.inf, 0, residual)]


def _loss_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    loss, residual = integer_loss_and_residual(*primals, axis=axis)
    tangent = tangents[0].astype(residual.dtype)
    return loss, row_sum(residual * tangent, axis)


def _both_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    loss, residual = integer_loss_and_residual(*primals, axis=axis)
    x, tangent = primals[0].astype(residual.dtype), tangents[0].astype(residual.dtype)
    loss_tangent = row_sum(residual * tangent, axis)
    # The label is a constant of p − onehot(y): the residual moves as the softmax does.
    return [loss, residual], [loss_tangent, softmax_tangent(x, tangent, axis)]


def _definition(x: Array, labels: Array, *, axis: int) -> list[Array]:
    x = x.astype(arithmetic_dtype(x.dtype))
    exp = jnp.exp(x)
    whole = jnp.sum(exp, axis=axis, keepdims=True)
    loss = jnp.log(whole) - entry_of_class(x, labels, axis)
    residual = exp / whole - is_class(x, labels, axis).astype(x.dtype)
    known = labels >= 0
    return [jnp.where(known, loss, jnp.nan), jnp.where(known, residual, jnp.nan)]


integer_loss_and_residual = exact_primitive(
    "softmax_cross_entropy_and_residual",
    definition=_definition,
    outputs=loss_and_residual_like,
    jvp=_both_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_both_form),
)
integer_loss = exact_primitive(
    "softmax_cross_entropy_with_integer_labels",
    definition=lambda x, labels, axis: _definition(x, labels, axis=axis)[0],
    outputs=loss_like,
    jvp=_loss_jvp,
    shift_axis=True,
    **per_platform(_loss_form),
)

# The log-odds x_y − logsumexp of the others leave out the label and the maximum m' of the others:
#
#   (x_y − m') − log1p(tail')      gradient    1 at the label, −softmax of the others elsewhere


def _others(x: Array, labels: Array, axis: int) -> Array:
    return jnp.where(is_class(x, labels, axis), -jnp.inf, x)


class _LogOdds(NamedTuple):
    """What there is one of per row: z, a reference r, and Σ exp(x_j − r) over the others."""

    value: Array
    reference: Array
    rest: Array
    undefined: Array  # the row has a NaN, or nothing beside its label


def _log_odds_by_maximum(x: Array, labels: Array, axis: int, machine: Machine) -> _LogOdds:
    left = leave_maximum_out(row_of(_others(x, labels, axis), axis, machine))
    row, tail, label_logit = left.row, left.tail, entry_of_class(x, labels, axis)
    log_odds = row.rounded(row.margin(row.wide(label_logit)) - row.log1p(row.wide(tail)))
    log_odds = jnp.where(
        row.infinite, jnp.where(label_logit == jnp.inf, jnp.nan, -jnp.inf), log_odds
    )
    # With nothing beside it a label has the loss 0, whatever it is.
    log_odds = jnp.where(row.exists, log_odds, jnp.inf)
    undefined_row = jnp.isnan(label_logit) | jnp.isnan(tail)
    log_odds = jnp.where(undefined_row | (labels < 0), jnp.nan, log_odds)
    return _LogOdds(log_odds, row.maximum, 1 + tail, undefined_row | ~row.exists)


def _log_odds_of(x: Array, labels: Array, axis: int, machine: Machine) -> _LogOdds:
    if not machine.double:
        return _log_odds_by_maximum(x, labels, axis, machine)
    # Where no label is so confident that S underflows, the maximum of the whole row serves as well,
    # z = d_y − log S, and takes XLA CPU half the time.
    left = leave_label_out(x, labels, axis, machine)
    row = left.row
    rest = row.rounded(left.rest)
    number = jnp.isfinite(left.label_margin) & jnp.isfinite(left.rest)

    def by_label(x: Array, labels: Array) -> _LogOdds:
        log_odds = row.rounded(left.label_margin - jnp.log(left.rest))
        return _LogOdds(log_odds, row.maximum, rest, jnp.zeros_like(rest, jnp.bool_))

    return jax.lax.cond(
        jnp.all(number & left.known & (rest > 1e-30)),
        by_label,
        partial(_log_odds_by_maximum, axis=axis, machine=machine),
        x,
        labels,
    )


def _log_odds_form(x: Array, labels: Array, *, axis: int, machine: Machine) -> Array:
    return _log_odds_of(x.astype(arithmetic_dtype(x.dtype)), labels, axis, machine).value


def _log_odds_both_form(x: Array, labels: Array, *, axis: int, machine: Machine) -> list[Array]:
    odds = _log_odds_of(x.astype(arithmetic_dtype(x.dtype)), labels, axis, machine)
    row = row_of(x, axis, machine)._replace(maximum=odds.reference)
    slope = jnp.where(is_class(x, labels, axis), 1, -row.exp_margin(row.x) / odds.rest)
    slope = jnp.where(odds.undefined, 0, slope)  # of a NaN logit no trace
    return [odds.value, jnp.where(labels >= 0, slope, jnp.nan)]


def _log_odds_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    log_odds_value, slope = _log_odds_and_slope(*primals, axis=axis)
    tangent = tangents[0].astype(slope.dtype)
    return log_odds_value, row_sum(slope * tangent, axis)


def _log_odds_both_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    x, labels = primals
    log_odds_value, slope = _log_odds_and_slope(x, labels, axis=axis)
    x, tangent = x.astype(slope.dtype), tangents[0].astype(slope.dtype)
    moved = row_sum(slope * tangent, axis)
    others = softmax_tangent(_others(x, labels, axis), tangent, axis)
    return [log_odds_value, slope], [moved, -jnp.where(is_class(x, labels, axis), 0, others)]


def _log_odds_definition(x: Array, labels: Array, *, axis: int) -> list[Array]:
    x = x.astype(arithmetic_dtype(x.dtype))
    exp = jnp.exp(_others(x, labels, axis))
    others = jnp.sum(exp, axis=axis, keepdims=True)
    log_odds = entry_of_class(x, labels, axis) - jnp.log(others)
    slope = jnp.where(is_class(x, labels, axis), 1, -exp / others)
    return [jnp.where(labels >= 0, array, jnp.nan) for array in (log_odds, slope)]


_log_odds_and_slope = exact_primitive(
    "log_odds_and_slope",
    definition=_log_odds_definition,
    outputs=loss_and_residual_like,
    jvp=_log_odds_both_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_log_odds_both_form),
)
log_odds_of_label = exact_primitive(
    "log_odds",
    definition=lambda x, labels, axis: _log_odds_definition(x, labels, axis=axis)[0],
    outputs=loss_like,
    jvp=_log_odds_jvp,
    shift_axis=True,
    **per_platform(_log_odds_form),
)
