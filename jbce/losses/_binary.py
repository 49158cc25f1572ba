"""Binary cross-entropy from logits: softplus(x) − x·y."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._arguments import (
    Number,
    PerClass,
    PerExample,
    binary_label,
    binary_scores,
    is_off,
    keep,
    positive_weight,
    share,
)
from .._exact import (
    TINY_BEYOND,
    Form,
    apart,
    arithmetic_dtype,
    at_least,
    at_most,
    by_precision,
    constant,
    elementwise,
    exp_for_float32,
    exp_of_distance,
    exponential,
    log1p_of_unit,
    log1p_of_unit_pair,
    single,
)
from .._typing import Array, ArrayLike, Bool, Float, Real
from ..numerics import logistic_density, sigmoid, softplus

# ---- the loss as a function of two numbers, and its derivatives --------------------------------
#
#   value       softplus(x) − x·y = log1p(e^−|x|) + |x|·(1 − y if x > 0 else y)
#   ∂/∂x        σ(x) − y = ((1 − y) − y·ω)/(1 + ω)  with  ω = e^−x
#   ∂²/∂x²      σ'(x)
#
# For labels from 0 to 1 every sum has terms of one sign but the numerator of the gradient, which
# at the labels 0 and 1 has one term, and max(x, 0) − x·y, which float64 holds without error of a
# float32 logit and label until it is rounded once: there is nothing to cancel. The gradient is kept
# apart from the value by a barrier: what the two would share would be written to memory.

_INFINITE = 1e300  # stands for infinity, so that infinity · 0 is 0 and its product rounds to inf


def _finite(x: Array) -> Array:
    return at_least(-_INFINITE, at_most(_INFINITE, x))


def _loss_double(x: Array, y: Array) -> Array:
    y, finite = binary_label(y, x.dtype), _finite(x)
    return log1p_of_unit(exp_of_distance(x)) + (at_least(0.0, finite) - finite * y)


def _share_of_size(x: Array, share: Array) -> Array:
    return jnp.where(share == 0, share, jnp.abs(x) * share)


def _loss_single(x: Array, y: Array) -> Array:
    y = binary_label(y, x.dtype)
    return log1p_of_unit(jnp.exp(-jnp.abs(x))) + _share_of_size(x, jnp.where(x > 0, 1 - y, y))


def loss_of_pairs(x: Array, y: Array) -> Array:
    y = binary_label(y, x.dtype)
    linear = _share_of_size(x, jnp.where(x > 0, 1 - y, y))
    e = exponential(-jnp.abs(x))
    loss = (single(linear) + log1p_of_unit_pair(e.exp())).rounded()
    loss = jnp.where((linear == 0) & (jnp.abs(x) > TINY_BEYOND), e.exp_rounded(), loss)
    return jnp.where(jnp.isinf(linear), linear, loss)


def _residual_double(x: Array, a: Array, b: Array) -> Array:
    omega = exp_for_float32(-x)
    return (b - a * omega) / (1 + omega)


def _residual_single(x: Array, a: Array, b: Array) -> Array:
    e = jnp.exp(-jnp.abs(x))
    return jnp.where(x > 0, b - a * e, b * e - a) / (1 + e)


def _residual_pairs(x: Array, a: Array, b: Array) -> Array:
    e = exponential(-jnp.abs(x))
    power, one = e.exp(), single(constant(1.0, x))
    large, small = jnp.where(x > 0, b, -a), jnp.where(x > 0, -a, b)
    residual = ((single(large) + single(small) * power) / (one + power)).rounded()
    return jnp.where(jnp.abs(x) > TINY_BEYOND, large + small * e.exp_rounded(), residual)


def _of_label(form: Form) -> Form:
    def of_label(x: Array, y: Array) -> Array:
        y = binary_label(y, x.dtype)
        return form(x, y, 1 - y)

    return of_label


residual_of_pairs = _of_label(_residual_pairs)


def _curvature(x: Array, y: Array, *, dtype: Any) -> Array:
    return jnp.where(jnp.isnan(x), 0, logistic_density(x.astype(dtype)))


def _minus_logit(x: Array, y: Array, *, dtype: Any) -> Array:
    return jnp.where(jnp.isnan(x), 0, -x.astype(dtype))


def _at_nan(value: float, form: Form) -> Form:
    # The select comes after the rounding: where another sum than ours is taken of it, XLA CPU
    # writes to memory what ends in a select, and it had better be float32.
    def clean(x: Array, *labels: Array, **params: Any) -> Array:
        with jax.enable_x64(True):
            return jnp.where(jnp.isnan(x), value, form(x, *labels, **params))

    return clean


def _loss_forms(**forms: Form) -> dict[str, Any]:
    made = by_precision(**forms)
    return made | {
        "platforms": {name: _at_nan(jnp.nan, form) for name, form in made["platforms"].items()}
    }


def _residual_forms(**forms: Form) -> dict[str, Any]:
    made = by_precision(**forms)
    platforms = {name: _at_nan(0.0, form) for name, form in made["platforms"].items()}
    platforms["cpu"] = apart(platforms["cpu"])
    return {"form": _at_nan(0.0, made["form"]), "platforms": platforms}


_residual = elementwise(
    "binary_cross_entropy_residual",
    _curvature,
    lambda x, y, dtype: jnp.full(x.shape, -1, dtype),
    definition=lambda x, y: 1 / (1 + jnp.exp(-x)) - binary_label(y, x.dtype),
    **_residual_forms(
        float64=residual_of_pairs,
        float32=_of_label(_residual_double),
        float16=_of_label(_residual_single),
        pairs=residual_of_pairs,
    ),
)
_loss = elementwise(
    "binary_cross_entropy",
    _residual,
    _minus_logit,
    definition=lambda x, y: jnp.log1p(jnp.exp(x)) - x * binary_label(y, x.dtype),
    **_loss_forms(
        float64=loss_of_pairs, float32=_loss_double, float16=_loss_single, pairs=loss_of_pairs
    ),
)


# ---- the same with a weight for each side: a·softplus(−x) + b·softplus(x) ------------------------
#
#   ∂/∂x   b·σ(x) − a·σ(−x)        ∂/∂a   softplus(−x)        ∂/∂b   softplus(x)


def _weighted_double(x: Array, a: Array, b: Array) -> Array:
    finite = _finite(x)
    linear = at_least(0.0, finite) * b + at_least(0.0, -finite) * a
    return (a + b) * log1p_of_unit(exp_of_distance(x)) + linear


def _weighted_single(x: Array, a: Array, b: Array) -> Array:
    linear = _share_of_size(x, jnp.where(x > 0, b, a))
    return (a + b) * log1p_of_unit(jnp.exp(-jnp.abs(x))) + linear


def _weighted_pairs(x: Array, a: Array, b: Array) -> Array:
    linear = _share_of_size(x, jnp.where(x > 0, b, a))
    e = exponential(-jnp.abs(x))
    mass = single(a) + single(b)
    loss = (single(linear) + mass * log1p_of_unit_pair(e.exp())).rounded()
    tiny = (linear == 0) & (jnp.abs(x) > TINY_BEYOND)
    loss = jnp.where(tiny, mass.rounded() * e.exp_rounded(), loss)
    return jnp.where(jnp.isinf(linear), linear, loss)


def _number(x: Array, value: Array) -> Array:
    return jnp.where(jnp.isnan(x), 0, value)


def _cost_of(sign: int) -> Callable[..., Array]:
    def cost(x: Array, a: Array, b: Array, *, dtype: Any) -> Array:
        # An infinite cost that has no weight has no derivative in it.
        x, weight = x.astype(dtype), a if sign < 0 else b
        absent = jnp.isinf(x) & (weight == 0)
        return _number(x, softplus(sign * jnp.where(absent, 0, x)) * (~absent).astype(dtype))

    return cost


_weighted_residual = elementwise(
    "weighted_binary_cross_entropy_residual",
    lambda x, a, b, dtype: _number(x, (a + b).astype(dtype) * logistic_density(x.astype(dtype))),
    lambda x, a, b, dtype: _number(x, -sigmoid(-x.astype(dtype))),
    lambda x, a, b, dtype: _number(x, sigmoid(x.astype(dtype))),
    definition=lambda x, a, b: (b - a * jnp.exp(-x)) / (1 + jnp.exp(-x)),
    **_residual_forms(
        float64=_residual_pairs,
        float32=_residual_double,
        float16=_residual_single,
        pairs=_residual_pairs,
    ),
)
_weighted = elementwise(
    "weighted_binary_cross_entropy",
    _weighted_residual,
    _cost_of(-1),
    _cost_of(1),
    definition=lambda x, a, b: a * jnp.log1p(jnp.exp(-x)) + b * jnp.log1p(jnp.exp(x)),
    **_loss_forms(
        float64=_weighted_pairs,
        float32=_weighted_double,
        float16=_weighted_single,
        pairs=_weighted_pairs,
    ),
)


def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    ignore: Number | None = None,
    label_smoothing: PerExample = 0.0,
    pos_weight: PerClass | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
) -> Float[Array, "*batch"]:
    """Binary cross-entropy from logits: −y·log σ(x) − (1 − y)·log σ(−x), one loss per example.

    Also log loss, logistic loss, the negative log-likelihood of a Bernoulli variable. It is
    computed as softplus(x) − x·y without cancellation. Its gradient in the logit is σ(x) − y and
    its second derivative σ(x)·σ(−x); both are as exact as the value, in forward and reverse mode.

    Args:
        logits: log-odds of class 1, of any shape.
        labels: 0 or 1 (boolean, integer or floating point), or the probability of class 1, of the
            same shape. Floating point labels are used as given, and the loss is differentiable in
            them.
        where: which examples exist; the others have the loss 0 and the gradient 0, whatever they
            hold.
        ignore: the label that says that there is no such example; its loss is 0, and a mean has to
            leave it out too, by `where`.
        label_smoothing: share α of the labels that is spread evenly: (1 − α)·y + α/2.
        pos_weight: weight of the first term, −y·log σ(x), after smoothing.
        temperature: T of logits/T.
        soft_cap: c of c·tanh(logits/c), before the temperature.
        logit_adjustment: added to the logits after the temperature: log π/(1 − π) for a prior π.

    Options may be arrays, traced or not: one number or one per example; `pos_weight` and
    `logit_adjustment` also one for each entry of the last axis (a label of a multi-label problem).

    Returns:
        The loss of each example in nats, in float32 for 16-bit logits.

    Raises:
        TypeError: `logits` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ, or an option is out of its range (where it is traced, the
            loss is NaN).

    Edges:
        A logit of ±inf costs 0 if the label agrees and inf if not, with a gradient of 0 or ∓1. A
        NaN logit gives NaN with a gradient of 0, a NaN label NaN. An integer label that is neither
        0 nor 1 gives NaN in loss and gradient.

    Error:
        float32, labels 0 and 1, on CPU: ≤ 0.503 ulp for the value and ≤ 0.5001 for gradient and
        second derivative, tried at all 2³² logits (`python -m experiments certify --exhaustive`);
        results below the smallest normal number may be flushed to 0. Where a platform has no
        float64: 0.7, 0.6 and 0.6. float64: ≤ 0.7. Between the labels the error is counted in ulps
        of the largest term.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits = jnp.array([0.0, 20.0, -jnp.inf])
        >>> labels = jnp.array([1, 1, 0])
        >>> sigmoid_binary_cross_entropy(logits, labels)
        Array([6.9314718e-01, 2.0611537e-09, 0.0000000e+00], dtype=float32)
        >>> jax.grad(lambda x: sigmoid_binary_cross_entropy(x, labels).sum())(logits)
        Array([-5.0000000e-01, -2.0611537e-09,  0.0000000e+00], dtype=float32)

    Source:
        Cox, The regression analysis of binary sequences, Journal of the Royal Statistical Society
        B 20 (1958).
    """
    logits, labels, where = binary_scores(
        logits,
        labels,
        where,
        ignore=ignore,
        temperature=temperature,
        soft_cap=soft_cap,
        logit_adjustment=logit_adjustment,
    )
    dtype = arithmetic_dtype(logits.dtype)
    if is_off(label_smoothing, 0.0) and pos_weight is None:
        losses = _loss(logits, labels, dtype=dtype)
    else:
        yes = binary_label(labels, dtype)
        no = 1 - yes
        if not is_off(label_smoothing, 0.0):
            smoothing = share("label_smoothing", label_smoothing, yes)
            yes, no = ((1 - smoothing) * side + smoothing / 2 for side in (yes, no))
        if pos_weight is not None:
            yes = yes * positive_weight(pos_weight, yes)
        losses = _weighted(logits, yes, no, dtype=dtype)
    return keep(where, losses, 0)
