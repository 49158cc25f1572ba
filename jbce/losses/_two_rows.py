"""Two rows of logits: how far the softmax of one is from that of the other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._exact import (
    Machine,
    Row,
    at_least,
    at_most,
    exact_primitive,
    exp_less_its_line,
    leave_maximum_out,
    per_platform,
    row_of,
    row_sum,
    two_sum,
)
from .._typing import Array
from ..numerics import log_softmax, softmax, softmax_tangent
from ._outputs import loss_and_residual_like, loss_like

# With p = softmax(t), q = softmax(x), u = (x − max x) − (t − max t) and v = u − Σ p·u:
#
#   divergence  Σ p·(log p − log q) = log Σ p·eᵛ = log1p(S),   S = Σ p·(eᵛ − 1 − v)
#   log ratio   log q − log p = u − shift = d,   shift = Σ p·u + log1p(S) = log Σ e/Σ f
#   gradients   q − p = p·(eᵈ − 1) in x,   −p·v in t
#
# with e and f the exponentials of both margins. No term of S is negative, and an error of ε in the
# mean Σ p·u is one of ε in log1p(S), relative to it: where rows are nearly equal, but for a common
# offset, nothing cancels. Where −Σ p·u is large, so is the divergence, and it is shift − Σ p·u. The
# shift is taken from what is smaller, and has less to cancel: the mean and log1p(S), or the
# logarithms of Σ e and Σ f, which are near 0 where both rows are confident of one class.

_FAR = -16.0
_INFINITE = 1e300  # stands for infinity in float64


class _Pair(NamedTuple):
    """What both rows have of each class, and of each row what all of it takes."""

    first: Row
    second: Row
    undefined: Array
    shift: Array
    divergence: Array
    whole: Array  # Σ exp(x − max x)
    other_whole: Array


def _moved(first: Row, second: Row) -> Array:
    """u of each class, finite; in float64 where that is at hand."""
    finfo = jnp.finfo(first.x.dtype)
    if not first.double:
        x, t, top, other_top = (
            jnp.clip(a, finfo.min / 4, finfo.max / 4)
            for a in (first.x, second.x, first.maximum, second.maximum)
        )
        difference, offset = two_sum(x, -t), two_sum(top, -other_top)
        return (difference.high - offset.high) + (difference.low - offset.low)
    margins = []
    for row in (first, second):
        maximum = jnp.clip(row.maximum, finfo.min, finfo.max).astype(jnp.float64)
        margin = at_most(float(finfo.max), row.x).astype(jnp.float64) - maximum
        margins.append(at_least(-_INFINITE, margin))
    return margins[0] - margins[1]


def _is_out(row: Row) -> Array:
    """Which classes have no probability, not even a small one."""
    return (row.x == -jnp.inf) | (row.infinite & (row.x != jnp.inf))


def _mean(first: Row, second: Row, whole: Array) -> Array:
    """Σ f·u/Σ f; −∞ where a class that the second row has is out of the first."""
    f, u = second.exp_margin(second.x), _moved(first, second)
    weighed = (f.astype(u.dtype) * u).astype(f.dtype)
    total = first.sum(jnp.where(f == 0, 0, jnp.where(_is_out(first), -jnp.inf, weighed)))
    return first.once(first.rounded(first.wide(total) / whole))


def _surplus(first: Row, second: Row, mean: Array) -> Array:
    """S·Σ f, where the mean is not far below 0."""
    e, f, u = first.exp_margin(first.x), second.exp_margin(second.x), _moved(first, second)
    mean = at_least(2 * _FAR, mean)
    scale = first.once(first.rounded(jnp.exp(-first.wide(mean))))  # f·eᵛ = e·scale
    v = _rounded(u, mean)
    small = jnp.clip(v, -1, 1)
    series = f * (small * small * exp_less_its_line(small))
    terms = jnp.where(jnp.abs(v) < 1, series, e * scale - f * (1 + v))
    return first.sum(jnp.where(f == 0, e * scale, terms))


def _rounded(u: Array, less: Array) -> Array:
    return (u - less.astype(u.dtype)).astype(less.dtype)


def _apart(*rows: Row) -> list[Row]:
    """For a sum of its own: what two sums share is written to memory, in float64.

    Columns are few, and stay near.
    """
    return [row if row.by_columns else row.apart() for row in rows]


def _pair_of(x: Array, t: Array, axis: int, machine: Machine) -> _Pair:
    first, second = row_of(x, axis, machine), row_of(t, axis, machine)
    left, other_left = leave_maximum_out(first), leave_maximum_out(second)
    whole, other_whole = (1 + first.wide(row.tail) for row in (left, other_left))
    one, two = _apart(first, second)
    mean = _mean(one, two, other_whole)
    one, two = _apart(one, two)
    surplus = first.wide(_surplus(one, two, mean)) / other_whole
    near = first.rounded(first.log1p(surplus))
    log_whole, other_log_whole = (first.log1p(first.wide(row.tail)) for row in (left, other_left))
    far = first.rounded(log_whole - other_log_whole)
    is_confident = first.rounded(jnp.maximum(log_whole, other_log_whole)) < jnp.abs(mean) + near
    is_far = mean < _FAR
    undefined = jnp.isnan(left.tail) | jnp.isnan(other_left.tail)
    divergence = jnp.where(second.exists, jnp.where(is_far, far - mean, near), 0)
    return _Pair(
        first=one,
        second=two,
        undefined=undefined,
        shift=jnp.where(is_confident, far, mean + near),
        divergence=jnp.where(undefined, jnp.nan, divergence),
        whole=first.rounded(whole),
        other_whole=first.rounded(other_whole),
    )


def _divergence_form(x: Array, t: Array, *, axis: int, machine: Machine) -> Array:
    return _pair_of(x, t, axis, machine).divergence


def _both_form(x: Array, t: Array, *, axis: int, machine: Machine) -> list[Array]:
    pair = _pair_of(x, t, axis, machine)
    first, second = pair.first.apart(), pair.second.apart()
    probs = jnp.where(first.exists, first.exp_margin(first.x) / pair.whole, 0)
    targets = jnp.where(second.exists, second.exp_margin(second.x) / pair.other_whole, 0)
    d = _rounded(_moved(first, second), pair.shift)
    small = jnp.clip(d, -1, 1)
    series = targets * (small + small * small * exp_less_its_line(small))
    residual = jnp.where((targets != 0) & (jnp.abs(d) < 1), series, probs - targets)
    return [pair.divergence, jnp.where(pair.undefined, 0, residual)]


def _ratios_form(x: Array, t: Array, *, axis: int, machine: Machine) -> list[Array]:
    pair = _pair_of(x, t, axis, machine)
    first, second = pair.first.apart(), pair.second.apart()
    d = _rounded(_moved(first, second), pair.shift)
    # v of margins from the class that is the second row's largest, whose v may be next to nothing.
    top = first.max(jnp.where(second.x == second.maximum, first.x, -jnp.inf))
    centred = first._replace(maximum=top)
    mean = _mean(centred, second, first.wide(pair.other_whole))
    v = _rounded(_moved(centred, second), mean)
    exists = ~(_is_out(first) | _is_out(second) | pair.undefined)
    return [jnp.where(exists, d, 0), jnp.where(exists & jnp.isfinite(v), v, 0)]


def _tangent(residual: Array, arrays: Sequence[Array], tangents: Sequence[Any], axis: int) -> Array:
    moved = jnp.zeros_like(row_sum(residual, axis))
    x_dot, t_dot = tangents
    if x_dot is not None:
        moved += row_sum(residual * x_dot, axis)
    if t_dot is not None:
        _, v = _ratios(*arrays, axis=axis)
        pull = jnp.where(v == 0, 0, softmax(arrays[1], axis) * v)  # and of NaN there is no trace
        moved -= row_sum(pull * t_dot, axis)
    return moved


def _divergence_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    divergence, residual = _both(*primals, axis=axis)
    return divergence, _tangent(residual, primals, tangents, axis)


def _both_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    divergence, residual = _both(*primals, axis=axis)
    moved = _difference(softmax_tangent, primals, tangents, axis)
    moved = jnp.where(jnp.isnan(divergence), 0, moved)
    tangent = _tangent(residual, primals, tangents, axis)
    return [divergence, residual], [tangent, moved]


def _log_softmax_tangent(x: Array, tangent: Array, axis: int) -> Array:
    return jax.jvp(lambda x: log_softmax(x, axis), (x,), (tangent,))[1]


def _ratios_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    ratios = _ratios(*primals, axis=axis)
    x, t = primals
    _, t_dot = tangents
    of_ratio = _difference(_log_softmax_tangent, primals, tangents, axis)
    # v = u − Σ p·u
    of_deviation = _difference(_log_softmax_tangent, (t, t), tangents, axis)
    if t_dot is not None:
        of_deviation -= row_sum(softmax_tangent(t, t_dot, axis) * ratios[1], axis)
    exists = both_exist(x, t, axis)
    return ratios, [jnp.where(exists, moved, 0) for moved in (of_ratio, of_deviation)]


def log_ratio(x: Array, t: Array, axis: int) -> Array:
    """log q − log p of each class, and 0 of one that both rows do not have."""
    return _ratios(x, t, axis=axis)[0]


def both_exist(x: Array, t: Array, axis: int) -> Array:
    """Which classes both rows have; none where one of them has a NaN."""
    return (log_softmax(x, axis) > -jnp.inf) & (log_softmax(t, axis) > -jnp.inf)


def _difference(rule: Any, primals: Sequence[Array], tangents: Sequence[Any], axis: int) -> Array:
    """The tangent in the first array less that in the second."""
    moved = jnp.zeros_like(primals[0])
    for sign, array, tangent in zip((1, -1), primals, tangents, strict=True):
        if tangent is not None:
            moved += sign * rule(array, tangent, axis)
    return moved


def _definition(x: Array, t: Array, *, axis: int) -> list[Array]:
    exp, other_exp = jnp.exp(x), jnp.exp(t)
    whole, other_whole = (jnp.sum(a, axis=axis, keepdims=True) for a in (exp, other_exp))
    q, p = exp / whole, other_exp / other_whole
    x, t = (jnp.where((p == 0) & (a == -jnp.inf), 0, a) for a in (x, t))
    ratio = (x - jnp.log(whole)) - (t - jnp.log(other_whole))
    divergence = -jnp.sum(p * ratio, axis=axis, keepdims=True)
    return [divergence, q - p, ratio, ratio + divergence]


_both = exact_primitive(
    "softmax_kl_divergence_and_residual",
    definition=lambda x, t, axis: _definition(x, t, axis=axis)[:2],
    outputs=loss_and_residual_like,
    jvp=_both_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_both_form),
)
kl_divergence_of_rows = exact_primitive(
    "softmax_kl_divergence",
    definition=lambda x, t, axis: _definition(x, t, axis=axis)[0],
    outputs=loss_like,
    jvp=_divergence_jvp,
    shift_axis=True,
    **per_platform(_divergence_form),
)
_ratios = exact_primitive(
    "softmax_log_ratio_and_deviation",
    definition=lambda x, t, axis: _definition(x, t, axis=axis)[2:],
    outputs=lambda x, t, axis: [x - t, x - t],
    jvp=_ratios_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_ratios_form),
)
