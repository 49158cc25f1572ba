"""Losses that count easy examples less."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from .._arguments import (
    BinaryOptions,
    LogitOptions,
    PerExample,
    binary_numbers,
    check_names,
    keep,
    per_example,
    share,
)
from .._exact import apart, elementwise, exp_of_small, log1p_of_unit
from .._typing import Array, ArrayLike, Axis, Bool, Float, Integer, Real
from ..numerics import exprel, log_sigmoid, sigmoid, softplus
from ._of_cost import of_cost

Form = Callable[..., Array]

# The binary ones are functions of x, y and parameters. Value and slope in x are a form each with
# one exponential; what else is differentiated is the same function, composed of exact ones.


def _with_slope(
    name: str,
    value: Form,
    slope: Form,
    composed: Form,
    parameters: int,
    hard: Callable[..., tuple[Array, Array]] | None = None,
) -> Form:
    """`hard` gives value and slope of labels that are 0 or 1, at half the work."""

    def of(form: Form, at_nan: float, of_hard: Form | None = None) -> dict[str, Any]:
        def formed(x: Array, *others: Array, dtype: Any) -> Array:
            x, *rest = (array.astype(dtype) for array in (x, *others))
            return jnp.where(jnp.isnan(x), at_nan, form(jnp.where(jnp.isnan(x), 0, x), *rest))

        if of_hard is None:
            return {"form": formed}
        formed_of_hard = of(of_hard, at_nan)["form"]

        def chosen(x: Array, y: Array, *others: Array, dtype: Any) -> Array:
            are_hard = jnp.all((y == 0) | (y == 1))
            forms = (partial(f, dtype=dtype) for f in (formed_of_hard, formed))
            return jax.lax.cond(are_hard, *forms, x, y, *others)

        # An accelerator waits for its memory and not for logarithms: there is nothing to choose.
        return {"form": formed, "platforms": {"cpu": chosen}}

    def finite(x: Array, *others: Array) -> Array:
        largest = jnp.finfo(x.dtype).max
        result = composed(jnp.clip(jnp.where(jnp.isnan(x), 0, x), -largest, largest), *others)
        return jnp.where(jnp.isnan(x), 0, result)

    def derivative(function: Form, i: int) -> Form:
        def along(*arrays: Array, dtype: Any) -> Array:
            numbers = tuple(array.astype(dtype) for array in arrays)
            one = tuple(jnp.full(a.shape, float(i == k), dtype) for k, a in enumerate(numbers))
            return jax.jvp(function, numbers, one)[1]

        return along

    def in_x(*arrays: Array) -> Array:
        return derivative(finite, 0)(*arrays, dtype=arrays[0].dtype)

    arguments = range(2 + parameters)
    slope_forms = of(slope, 0.0, hard and (lambda *arrays: hard(*arrays)[1]))
    if hard is None:
        slope_forms["platforms"] = {"cpu": apart(slope_forms["form"])}
    slope_call = elementwise(
        f"{name}_slope",
        *(derivative(in_x, i) for i in arguments),
        definition=in_x,
        **slope_forms,
    )
    return elementwise(
        name,
        slope_call,
        *(derivative(finite, i) for i in arguments[1:]),
        definition=composed,
        **of(value, jnp.nan, hard and (lambda *arrays: hard(*arrays)[0])),
    )


_SMALLEST_LOG = 87.3  # minus that of the smallest normal number


def _exp_of_distance(x: Array) -> Array:
    """e^−|x|. XLA CPU's own, and its log1p, it would keep in memory where they are used twice."""
    if x.dtype != jnp.float32:
        return jnp.exp(-jnp.abs(x))
    near = jnp.minimum(jnp.abs(x), _SMALLEST_LOG)
    return jnp.where(jnp.abs(x) > _SMALLEST_LOG, 0, exp_of_small(-near, jnp.zeros_like(x)))


def _log1p(e: Array) -> Array:
    """Of e^−|x|."""
    return log1p_of_unit(e) if e.dtype == jnp.float32 else jnp.log1p(e)


# With D = y·σ(−x) + (1 − y)·σ(x) the doubt, C the cross-entropy:
#
#   loss    D^γ·C        slope    D^γ·(γ·(D'/D)·C + C')   with D' = (1 − 2y)·σ'


def _focal_parts(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """e^−|x|, how much of |x| the cross-entropy has, C without that part, and D."""
    e = _exp_of_distance(x)
    share_of_size = jnp.where(x > 0, 1 - y, y)
    doubt = (share_of_size + (1 - share_of_size) * e) / (1 + e)
    return e, share_of_size, _log1p(e), doubt


def _focal(x: Array, y: Array, gamma: Array) -> Array:
    _, part, log, doubt = _focal_parts(x, y)
    return jnp.power(doubt, gamma) * (log + jnp.where(part == 0, 0, jnp.abs(x) * part))


def _focal_slope(x: Array, y: Array, gamma: Array) -> Array:
    e, part, log, doubt = _focal_parts(x, y)
    cost = log + jnp.minimum(jnp.abs(x), jnp.finfo(x.dtype).max) * part
    density = e / ((1 + e) * (1 + e))
    relative = (1 - 2 * y) * jnp.where(doubt == 0, 1, density / jnp.where(doubt == 0, 1, doubt))
    residual = jnp.where(x > 0, (1 - y) - y * e, (1 - y) * e - y) / (1 + e)
    return jnp.power(doubt, gamma) * (gamma * relative * cost + residual)


def _focal_composed(x: Array, y: Array, gamma: Array) -> Array:
    # D^γ as exp(γ·log D), of which no derivative overflows; of a hard label, with r = 0 the mass of
    # the other one, log D = log σ(±x) + log(1 − r + r·e^∓x)
    hard = (y == 0) | (y == 1)
    away, rest = jnp.where(y > 0.5, -x, x), jnp.where(y > 0.5, 1 - y, y)
    rest = jnp.where(hard, rest, 0)
    log_doubt = log_sigmoid(away) + jnp.log1p(rest * jnp.expm1(jnp.minimum(-away, 80)))
    soft = jnp.log(jnp.where(hard, 1, y * sigmoid(-x) + (1 - y) * sigmoid(x)))
    cost = y * softplus(-x) + (1 - y) * softplus(x)
    return jnp.exp(gamma * jnp.where(hard, log_doubt, soft)) * cost


_focal_loss = _with_slope("sigmoid_focal_loss", _focal, _focal_slope, _focal_composed, 1)

# With p = σ(x), n = σ(−x), s = max(p − m, 0):
#
#   loss     y·n^γ₊·softplus(−x) − (1 − y)·s^γ₋·log(1 − s)
#   slope    −y·n^γ₊·(γ₊·p·softplus(−x) + n) + (1 − y)·s^γ₋·σ'·(−γ₋·log(1 − s)/s + 1/(1 − s))
#
# 1 − s is n + m; with m = 0 minus its logarithm is softplus(x).


class _Sides(NamedTuple):
    p: Array
    n: Array
    yes: Array  # softplus(−x)
    s: Array
    no: Array  # −log(1 − s)


def _sides(x: Array, margin: Array) -> _Sides:
    e = _exp_of_distance(x)
    large, small, log = 1 / (1 + e), e / (1 + e), _log1p(e)
    p, n = jnp.where(x > 0, large, small), jnp.where(x > 0, small, large)
    s = jnp.maximum(p - margin, 0)
    shifted = jnp.where(s < 0.5, -jnp.log1p(-jnp.minimum(s, 0.5)), -jnp.log(n + margin))
    no = jnp.where(margin == 0, log + jnp.maximum(x, 0), shifted)
    return _Sides(p, n, log + jnp.maximum(-x, 0), s, no)


def _mixed(y: Array, yes: Array, no: Array) -> Array:
    return jnp.where(y == 0, 0, y * yes) + jnp.where(y == 1, 0, (1 - y) * no)


def _asymmetric(x: Array, y: Array, positive: Array, negative: Array, margin: Array) -> Array:
    of = _sides(x, margin)
    return _mixed(y, jnp.power(of.n, positive) * of.yes, jnp.power(of.s, negative) * of.no)


def _asymmetric_slope(x: Array, y: Array, positive: Array, negative: Array, margin: Array) -> Array:
    largest = jnp.finfo(x.dtype).max
    of = _sides(jnp.clip(x, -largest, largest), margin)
    yes = -jnp.power(of.n, positive) * (positive * of.p * of.yes + of.n)
    safe = jnp.where(of.s == 0, 1, of.s)
    rate = jnp.where(margin == 0, of.p, of.p * of.n / jnp.maximum(of.n + margin, 1e-30))
    no = jnp.power(safe, negative) * (negative * of.p * of.n * of.no / safe + rate)
    return _mixed(y, yes, jnp.where(of.s == 0, 0, no))


def _asymmetric_hard(
    x: Array, y: Array, positive: Array, negative: Array, margin: Array
) -> tuple[Array, Array]:
    # With u = ∓x both sides are s^γ·−log(1 − s), s = max(σ(u) − m, 0), with no margin for y = 1.
    yes = y == 1
    u, m = jnp.where(yes, -x, x), jnp.where(yes, 0, margin)
    gamma = jnp.where(yes, positive, negative)
    e = _exp_of_distance(u)
    p, n = jnp.where(u > 0, 1, e) / (1 + e), jnp.where(u > 0, e, 1) / (1 + e)
    s = jnp.maximum(p - m, 0)
    counts = s > 0
    # One logarithm for all, that of w = 1 + v, to which is added what w lost of v.
    plain, little = m == 0, s < 0.5
    v = jnp.where(plain, e, -s)
    w = jnp.where(plain | little, 1 + v, n + m)
    log = jnp.log(w) + jnp.where(plain | little, (v - (w - 1)) / w, 0)
    no = jnp.where(plain, log + jnp.maximum(u, 0), -log)
    log_s = jnp.log(jnp.where(counts, s, 1))
    power = jnp.where(counts, jnp.exp(gamma * log_s), (gamma == 0).astype(x.dtype))
    cost = jnp.minimum(no, jnp.finfo(x.dtype).max)
    rate = jnp.where(plain, p, p * n / jnp.where(plain, 1, w))
    slope = power * (gamma * p * n * cost / jnp.where(counts, s, 1) + rate)
    slope = jnp.where(counts, slope, 0)
    return jnp.where(power == 0, 0, power * no), jnp.where(yes, -slope, slope)


def _asymmetric_composed(
    x: Array, y: Array, positive: Array, negative: Array, margin: Array
) -> Array:
    yes = jnp.exp(positive * log_sigmoid(-x)) * softplus(-x)
    p, n = sigmoid(x), sigmoid(-x)
    counts = p > margin
    # log s and −log(1 − s) from those of p where the margin is little beside p, and beside n
    little = counts & (2 * margin < p)
    inverse = 1 + jnp.exp(jnp.minimum(-x, 80))
    near = log_sigmoid(x) + jnp.log1p(-jnp.where(little, margin, 0) * inverse)
    log_s = jnp.where(little, near, jnp.log(jnp.where(counts & ~little, p - margin, 1)))
    odds = 1 + jnp.exp(jnp.minimum(x, 80))
    small = margin * odds < 1
    cost = softplus(x) - jnp.log1p(jnp.where(small, margin, 0) * odds)
    cost = jnp.where(small, cost, -jnp.log(jnp.where(small, 1, n + margin)))
    return y * yes + (1 - y) * jnp.where(counts, jnp.exp(negative * log_s) * cost, 0)


_asymmetric_loss = _with_slope(
    "asymmetric_loss", _asymmetric, _asymmetric_slope, _asymmetric_composed, 3, _asymmetric_hard
)


def _parameter(name: str, value: PerExample, y: Array) -> Array:
    """A number of the rank of `y`: XLA CPU would write it to memory as an array of its shape."""
    array = per_example(name, value, y)
    return array if array.ndim else jnp.reshape(array, (1,) * y.ndim)


def sigmoid_focal_loss(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    alpha: PerExample | None = None,
    gamma: PerExample = 2.0,
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    **options: Unpack[BinaryOptions],
) -> Float[Array, "*batch"]:
    """Focal loss: αₜ·(1 − pₜ)^γ·cross-entropy, one per example; examples that are easy count less.

    pₜ = y·σ(x) + (1 − y)·σ(−x) is the probability of the label and αₜ = α·y + (1 − α)·(1 − y).
    1 − pₜ is summed of probabilities, so that it keeps its digits where pₜ is near 1.

    Args:
        logits: log-odds of class 1, of any shape.
        labels: 0 or 1, or the probability of class 1, of the same shape.
        alpha: weight of class 1 beside 1 − α of class 0; None weighs both 1. May be traced.
        gamma: the focus; 0 is the plain cross-entropy. May be traced and differentiated in.
        where: which examples exist; the others have the loss 0 and the gradient 0.
        **options: `ignore`, `temperature`, `soft_cap`, `logit_adjustment` of the plain loss,
            `sigmoid_binary_cross_entropy`.

    Returns:
        The loss of each example, in float32 for 16-bit logits.

    Raises:
        TypeError: `logits` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ.

    Edges:
        A logit of ±inf costs 0 if the label agrees and inf if not. A NaN logit gives NaN with a
        gradient of 0.

    Error:
        float32: a few ulps times 1 + γ·|log(1 − pₜ)|, which is how a power magnifies.

    Example:
        >>> import jax.numpy as jnp
        >>> sigmoid_focal_loss(jnp.array([0.0, 10.0]), jnp.array([1, 1]))
        Array([1.7328...e-01, 9.3565...e-14], dtype=float32)

    Source:
        Lin et al., Focal loss for dense object detection (2017), arXiv 1708.02002.
    """
    check_names(sigmoid_focal_loss, options, BinaryOptions)
    x, y, where = binary_numbers(logits, labels, where, **options)
    losses = _focal_loss(x, y, _parameter("gamma", gamma, y), dtype=y.dtype)
    if alpha is not None:
        balance = share("alpha", alpha, y)
        weight = balance * y + (1 - balance) * (1 - y)
        losses = jnp.where((weight == 0) & jnp.isinf(losses), 0, weight * losses)
    return keep(where, losses, 0)


def asymmetric_loss(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    gamma_negative: PerExample = 4.0,
    gamma_positive: PerExample = 0.0,
    margin: PerExample = 0.05,
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    **options: Unpack[BinaryOptions],
) -> Float[Array, "*batch"]:
    """Asymmetric loss of multi-label problems: easy negatives count less, very easy ones nothing.

    −y·(1 − p)^γ₊·log p − (1 − y)·s^γ₋·log(1 − s) with p = σ(x) and s = max(p − margin, 0), one per
    label; its authors sum over the labels of an example.

    Args:
        logits: log-odds of each label, of any shape.
        labels: 0 or 1, or the probability of class 1, of the same shape.
        gamma_negative: the focus γ₋ of absent labels. May be traced, as all parameters.
        gamma_positive: the focus γ₊ of present labels.
        margin: the probability below which an absent label costs nothing.
        where: which labels exist; the others have the loss 0 and the gradient 0.
        **options: as `sigmoid_focal_loss`.

    Returns:
        The loss of each label, in float32 for 16-bit logits.

    Raises:
        TypeError: `logits` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ, or a parameter is negative.

    Edges:
        A logit of inf with an absent label costs −log(margin), inf only where that is 0. Where p is
        the margin itself the gradient is that of the left, 0. A NaN logit gives NaN with a gradient
        of 0.

    Error:
        float32: a few ulps times 1 + γ·|log(1 − p)| for present labels, and 1 + (1 + γ)·p/s for
        absent ones, which is how a difference and a power magnify.

    Example:
        >>> import jax.numpy as jnp
        >>> asymmetric_loss(jnp.array([-5.0, 0.0, 0.0]), jnp.array([0, 0, 1]))
        Array([0.        , 0.0245150..., 0.6931472 ], dtype=float32)

    Source:
        Ridnik et al., Asymmetric loss for multi-label classification (2021), arXiv 2009.14119.
    """
    check_names(asymmetric_loss, options, BinaryOptions)
    x, y, where = binary_numbers(logits, labels, where, **options)
    given = (("gamma_positive", gamma_positive), ("gamma_negative", gamma_negative))
    parameters = [_parameter(name, value, y) for name, value in (*given, ("margin", margin))]
    return keep(where, _asymmetric_loss(x, y, *parameters, dtype=y.dtype), 0)


def softmax_focal_loss_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    gamma: PerExample = 2.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    **options: Unpack[LogitOptions],
) -> Float[Array, "*batch"]:
    """Focal loss of class indices: (1 − p_y)^γ·cross-entropy, one per example.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        gamma: the focus; 0 is the plain cross-entropy. May be traced and differentiated in.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.
        **options: `ignore`, `class_weights`, `temperature`, `soft_cap`, `logit_adjustment` of the
            plain loss, `softmax_cross_entropy_with_integer_labels`.

    Returns:
        The loss of each example, in float32 for 16-bit logits.

    Raises:
        TypeError: as the plain loss.
        ValueError: as the plain loss.

    Edges:
        As `softmax_cross_entropy_with_integer_labels`.

    Error:
        float32: a few ulps times 1 + γ·|log(1 − p_y)|.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[0.0, 0.0], [10.0, 0.0]])
        >>> softmax_focal_loss_with_integer_labels(logits, jnp.array([0, 0]))
        Array([1.7328...e-01, 9.3565...e-14], dtype=float32)

    Source:
        As `sigmoid_focal_loss`.
    """

    def focal(cost: Array) -> Array:
        # (1 − e^−c)^γ·c, of a small c as c^(γ + 1)·exprel(−c)^γ: no derivative overflows
        focus = per_example("gamma", gamma, cost)
        is_small = cost < 1
        small, large = jnp.where(is_small, cost, 1), jnp.where(is_small, 1, cost)
        of_small = jnp.power(small, focus + 1) * jnp.power(exprel(-small), focus)
        return jnp.where(is_small, of_small, jnp.power(-jnp.expm1(-large), focus) * large)

    check_names(softmax_focal_loss_with_integer_labels, options, LogitOptions)
    return of_cost(focal, lambda cost: cost, logits, labels, axis, where, **options)
