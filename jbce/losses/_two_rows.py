"""Two rows of logits: how far the softmax of one is from that of the other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._exact import (
    Machine,
    Row,
    at_least,
    exact_primitive,
    exp_less_its_line,
    per_platform,
    row_of,
    row_sum,
    two_sum,
)
from .._typing import Array
from ..numerics import log_softmax, softmax, softmax_tangent
from ._outputs import loss_and_residual_like, loss_like

# With p = softmax(t), q = softmax(x), u = (x − max x) − (t − max t), v = u − Σ p·u, and e and f the
# exponentials of both margins:
#
#   divergence  Σ p·(log p − log q) = log Σ p·eᵛ = log1p(S),   S = Σ p·(eᵛ − 1 − v)
#   log ratio   log q − log p = u − shift = d,   shift = log(Σe/Σf) = log1p(W),   W = Σ p·(eᵘ − 1)
#   gradients   q − p = p·(eᵈ − 1) in x,   −p·v in t
#
# No term of S is negative, and an error of ε in the mean Σ p·u is one of ε in log1p(S), relative to
# it: where rows are nearly equal, but for a common offset, nothing cancels. Where −Σ p·u is large,
# so is the divergence, and it is shift − Σ p·u. A term of W is p times what changes.

_FAR = -16.0


class _Pair(NamedTuple):
    """Both rows, and what there is one of per row."""

    first: Row
    second: Row
    undefined: Array
    whole: Array  # Σe
    other_whole: Array  # Σf
    mean: Array  # Σ p·u
    divergence: Array


def _moved(first: Row, second: Row) -> Array:
    """u of each class, finite; in float64 where that is at hand."""
    finfo = jnp.finfo(first.x.dtype)
    if not first.double:
        margins = [jnp.maximum(row.margin(row.x), finfo.min / 4) for row in (first, second)]
        rough = margins[0] - margins[1]
        x, t, top, other_top = (
            jnp.clip(a, finfo.min / 4, finfo.max / 4)
            for a in (first.x, second.x, first.maximum, second.maximum)
        )
        difference, offset = two_sum(x, -t), two_sum(top, -other_top)
        exact = (difference.high - offset.high) + (difference.low - offset.low)
        # Where that is large, so are logits, whose differences may overflow.
        return jnp.where(jnp.abs(rough) < 1 / finfo.eps**4, exact, rough)
    return first.finite_margin() - second.finite_margin()


def _rounded(u: Array, less: Array) -> Array:
    return (u - less.astype(u.dtype)).astype(less.dtype)


def _is_out(row: Row) -> Array:
    """Which classes have no probability, not even a small one."""
    return (row.x == -jnp.inf) | (row.infinite & (row.x != jnp.inf))


def _mean(first: Row, second: Row, whole: Array) -> Array:
    """Σ p·u; −∞ where the first row lacks a class that the second has."""
    f, u = second.exp_margin(second.x), _moved(first, second)
    weighed = jnp.where(f == 0, 0, (f.astype(u.dtype) * u).astype(f.dtype))
    is_missing = _is_out(first) & ~_is_out(second)
    total = first.sum(jnp.where(is_missing, -jnp.inf, weighed))
    return first.once(first.rounded(first.wide(total) / first.wide(whole)))


def _surplus(first: Row, second: Row, mean: Array, whole: Array) -> Array:
    """S, where the mean is not far below 0."""
    e, f, u = first.exp_margin(first.x), second.exp_margin(second.x), _moved(first, second)
    mean = at_least(2 * _FAR, mean)
    scale = first.once(first.rounded(jnp.exp(-first.wide(mean))))  # f·eᵛ = e·scale
    v = _rounded(u, mean)
    small = jnp.clip(v, -1, 1)
    series = f * (small * small * exp_less_its_line(small))
    terms = jnp.where(jnp.abs(v) < 1, series, e * scale - f * (1 + v))
    return first.wide(first.sum(jnp.where(f == 0, e * scale, terms))) / first.wide(whole)


def _shift(first: Row, second: Row, whole: Array, other_whole: Array) -> Array:
    """log(Σe/Σf)."""
    e, f, u = first.exp_margin(first.x), second.exp_margin(second.x), _moved(first, second)
    u = u.astype(f.dtype)
    terms = jnp.where(jnp.abs(u) < 1, f * _expm1(u), e - f)
    change = first.wide(first.sum(terms)) / first.wide(other_whole)
    near = first.rounded(jnp.log1p(jnp.clip(change, -0.5, 0.5)))
    far = _log_ratio_of(first, whole, other_whole)
    return first.once(jnp.where(jnp.abs(change) < 0.5, near, far))


def _expm1(x: Array) -> Array:
    """On ±1."""
    x = jnp.clip(x, -1, 1)
    return x + x * x * exp_less_its_line(x)


def _log_ratio_of(row: Row, whole: Array, other_whole: Array) -> Array:
    return jnp.log(row.rounded(row.wide(whole) / row.wide(other_whole)))


def _apart(*rows: Row) -> list[Row]:
    """For a sum of its own: what two sums share is written to memory, in float64.

    Columns are few, and stay near.
    """
    return [row if row.by_columns else row.apart() for row in rows]


def _spread_alike(x: Array, t: Array) -> list[Array]:
    """Both as an explicit mesh spreads their sum."""
    if jax.typeof(x).sharding == jax.typeof(t).sharding:
        return [x, t]
    nothing = jnp.full_like(x + t, -jnp.inf)
    return [jnp.maximum(array, nothing) for array in (x, t)]


def _pair_of(x: Array, t: Array, axis: int, machine: Machine) -> _Pair:
    first, second = (row_of(array, axis, machine) for array in _spread_alike(x, t))
    # At least 1, but for rows in which nothing is.
    whole, other_whole = (
        row.once(jnp.maximum(row.sum(row.exp_margin(row.x)), 1)) for row in (first, second)
    )
    first, second = _apart(first, second)
    mean = _mean(first, second, other_whole)
    first, second = _apart(first, second)
    near = first.rounded(first.log1p(_surplus(first, second, mean, other_whole)))
    far = _log_ratio_of(first, whole, other_whole) - mean
    undefined = jnp.isnan(whole) | jnp.isnan(other_whole)
    divergence = jnp.where(second.exists, jnp.where(mean < _FAR, far, near), 0)
    divergence = jnp.where(undefined, jnp.nan, divergence)
    return _Pair(first, second, undefined, whole, other_whole, mean, divergence)


def _divergence_form(x: Array, t: Array, *, axis: int, machine: Machine) -> Array:
    return _pair_of(x, t, axis, machine).divergence


def _both_form(x: Array, t: Array, *, axis: int, machine: Machine) -> list[Array]:
    pair = _pair_of(x, t, axis, machine)
    first, second = _apart(pair.first, pair.second)
    shift = _shift(first, second, pair.whole, pair.other_whole)
    first, second = first.apart(), second.apart()
    probs = first.exp_margin(first.x) / pair.whole
    targets = second.exp_margin(second.x) / pair.other_whole
    d = _rounded(_moved(first, second), shift)
    is_near = (targets != 0) & (jnp.abs(d) < 1)
    residual = jnp.where(is_near, targets * _expm1(d), probs - targets)
    return [pair.divergence, jnp.where(second.exists & ~pair.undefined, residual, 0)]


def _ratios_form(x: Array, t: Array, *, axis: int, machine: Machine) -> list[Array]:
    pair = _pair_of(x, t, axis, machine)
    first, second = _apart(pair.first, pair.second)
    d = _rounded(_moved(first, second), _shift(first, second, pair.whole, pair.other_whole))
    # v of margins from the class that is the second row's largest, whose v may be next to nothing.
    top = first.max(jnp.where(second.x == second.maximum, first.x, -jnp.inf))
    centred = first._replace(maximum=top)
    v = _rounded(_moved(centred, second), _mean(centred, second, pair.other_whole))
    exists = ~(_is_out(first) | _is_out(second) | pair.undefined)
    is_finite = (pair.mean != -jnp.inf) & jnp.isfinite(v)
    return [jnp.where(exists, d, 0), jnp.where(exists & is_finite, v, 0)]


def _tangent(residual: Array, arrays: Sequence[Array], tangents: Sequence[Any], axis: int) -> Array:
    moved = jnp.zeros_like(row_sum(residual, axis))
    x_dot, t_dot = tangents
    if x_dot is not None:
        moved += row_sum(residual * x_dot, axis)
    if t_dot is not None:
        _, v = _ratios(*arrays, axis=axis)
        probs = softmax(arrays[1], axis)
        moved -= row_sum(jnp.where(jnp.isnan(probs), 0, probs) * v * t_dot, axis)
    return moved


def _divergence_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    divergence, residual = _both(*primals, axis=axis)
    return divergence, _tangent(residual, primals, tangents, axis)


def _both_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    divergence, residual = _both(*primals, axis=axis)
    moved = _difference(softmax_tangent, primals, tangents, axis)
    exists = jnp.any(primals[1] != -jnp.inf, axis=axis, keepdims=True)
    moved = jnp.where(exists & ~jnp.isnan(divergence), moved, 0)
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
    moved = jnp.zeros_like(primals[0] + primals[1])
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
