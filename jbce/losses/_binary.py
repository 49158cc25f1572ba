"""Binary cross-entropy from logits: softplus(x) − x·y."""

from typing import Any

import jax
import jax.numpy as jnp

from .._exact import (
    TINY_BEYOND,
    Form,
    arithmetic_dtype,
    by_precision,
    constant,
    elementwise,
    exp_of_moderate,
    exponential,
    log1p_of_unit,
    log1p_of_unit_pair,
    single,
)
from .._typing import Array, ArrayLike, Bool, Float, Real, as_floating
from ..numerics import logistic_density
from ._labels import binary_label, binary_labels, keep, where_of_examples

# ---- the loss as a function of two numbers, and its derivatives --------------------------------
#
#   value       softplus(x) − x·y = log1p(e^−|x|) + |x|·(1 − y if x > 0 else y)
#   ∂/∂x        σ(x) − y = ((1 − y) − y·ω)/(1 + ω)  with  ω = e^−x
#   ∂²/∂x²      σ'(x)
#
# For labels from 0 to 1 every sum has terms of one sign but the numerator of the gradient, which
# at the labels 0 and 1 has one term: there is nothing to cancel. XLA CPU hands a reduction with
# its producers to a kernel library that takes them up as long as they are arithmetic (a select, a
# comparison or a conversion from int32 is not) and each is used once. So the value is arithmetic
# throughout, and the gradient is kept apart from it by a barrier: what the two would share would
# be written to memory.

_INFINITE = 1e300  # stands for infinity, so that infinity · 0 is 0 and its product rounds to inf
_CONSTANT_BEYOND = 128.0  # e⁻¹²⁸ is below the smallest subnormal float32
_BEYOND_16_BITS = 3.395e38  # above every finite bfloat16 (and float16), below the largest float32


def _loss_double(x: Array, y: Array) -> Array:
    y = binary_label(y, x.dtype, summed=True)
    size, sign = jnp.abs(x), jnp.sign(x)
    share = sign * (jnp.maximum(sign, -0.0) - y)
    return log1p_of_unit(jnp.exp(-size)) + jnp.minimum(size, _INFINITE) * share


def _loss_single(x: Array, y: Array) -> Array:
    # Of 16-bit logits in float32, where no finite number can stand for infinity: the term that
    # makes infinity is 0 for every finite 16-bit logit.
    y = binary_label(y, x.dtype, summed=True)
    size, sign = jnp.abs(x), jnp.sign(x)
    share = sign * (jnp.maximum(sign, -0.0) - y)
    finite = jnp.minimum(size, jnp.finfo(jnp.float32).max)
    infinite = jnp.maximum(finite - _BEYOND_16_BITS, -0.0) * share * 1e10
    return jnp.log1p(jnp.exp(-size)) + (finite * share + infinite)


def loss_of_pairs(x: Array, y: Array) -> Array:
    y = binary_label(y, x.dtype)
    share = jnp.where(x > 0, 1 - y, y)
    linear = jnp.where(share == 0, share, jnp.abs(x) * share)
    e = exponential(-jnp.abs(x))
    loss = (single(linear) + log1p_of_unit_pair(e.exp())).rounded()
    loss = jnp.where((linear == 0) & (jnp.abs(x) > TINY_BEYOND), e.exp_rounded(), loss)
    return jnp.where(jnp.isinf(linear), linear, loss)


def _residual_double(x: Array, y: Array) -> Array:
    y = binary_label(y, x.dtype)
    omega = exp_of_moderate(-jnp.clip(x, -_CONSTANT_BEYOND, _CONSTANT_BEYOND))
    return ((1 - y) - y * omega) / (1 + omega)


def _residual_single(x: Array, y: Array) -> Array:
    y = binary_label(y, x.dtype)
    e = jnp.exp(-jnp.abs(x))
    numerator = jnp.where(x > 0, (1 - y) - y * e, (1 - y) * e - y)
    return numerator / (1 + e)


def residual_of_pairs(x: Array, y: Array) -> Array:
    y = binary_label(y, x.dtype)
    e = exponential(-jnp.abs(x))
    power, one = e.exp(), single(constant(1.0, x))
    large = jnp.where(x > 0, 1 - y, -y)
    small = jnp.where(x > 0, -y, 1 - y)
    residual = ((single(large) + single(small) * power) / (one + power)).rounded()
    return jnp.where(jnp.abs(x) > TINY_BEYOND, large + small * e.exp_rounded(), residual)


def _apart(form: Form) -> Form:
    def separate(x: Array, y: Array, **params: Any) -> Array:
        return form(*jax.lax.optimization_barrier((x, y)), **params)

    return separate


def _curvature(x: Array, y: Array, *, dtype: Any) -> Array:
    return jnp.where(jnp.isnan(x), 0, logistic_density(x.astype(dtype)))


def _minus_logit(x: Array, y: Array, *, dtype: Any) -> Array:
    return jnp.where(jnp.isnan(x), 0, -x.astype(dtype))


_residual_forms = by_precision(
    float64=residual_of_pairs,
    float32=_residual_double,
    float16=_residual_single,
    pairs=residual_of_pairs,
)
_loss_forms = by_precision(
    float64=loss_of_pairs, float32=_loss_double, float16=_loss_single, pairs=loss_of_pairs
)


def _zero_at_nan(form: Form) -> Form:
    # The select comes after the rounding: where a sum of it is taken (forward mode), XLA CPU writes
    # to memory what ends in a select, and it had better be float32.
    def clean(x: Array, y: Array, **params: Any) -> Array:
        return jnp.where(jnp.isnan(x), 0, form(x, y, **params))

    return clean


_with_float64 = {name: _zero_at_nan(form) for name, form in _residual_forms["platforms"].items()}
_residual = elementwise(
    "binary_cross_entropy_residual",
    _curvature,
    lambda x, y, dtype: jnp.full(x.shape, -1, dtype),
    definition=lambda x, y: 1 / (1 + jnp.exp(-x)) - binary_label(y, x.dtype),
    form=_zero_at_nan(_residual_forms["form"]),
    platforms=_with_float64 | {"cpu": _apart(_with_float64["cpu"])},
)
_loss = elementwise(
    "binary_cross_entropy",
    _residual,
    _minus_logit,
    definition=lambda x, y: jnp.log1p(jnp.exp(x)) - x * binary_label(y, x.dtype),
    **_loss_forms,
)


def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
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

    Returns:
        The loss of each example in nats, in float32 for 16-bit logits.

    Raises:
        TypeError: `logits` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ; nothing broadcasts.

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
    logits = as_floating("logits", logits)
    labels = binary_labels(labels, "logits", logits)
    where = where_of_examples(where, "logits", logits)
    losses = _loss(
        keep(where, logits, 0), keep(where, labels, 0), dtype=arithmetic_dtype(logits.dtype)
    )
    return keep(where, losses, 0)
