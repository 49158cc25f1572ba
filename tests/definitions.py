"""The functions under test as formulas in float64 numpy, and the distance to them in ulps.

None of the formulas cancels where a test looks: they are right to a few ulps of float64, which is
nothing beside an ulp of float32 or less.
"""

import jax.numpy as jnp
import numpy as np


def ulps(result, exact, dtype=None):
    """The distance of `result` from `exact` in units in the last place of its dtype at `exact`.

    Total: equal infinities and NaNs are 0 apart, unlike ones inf. Below the smallest normal number
    the unit is that of the smallest normal number, and a flushed result is 0 apart; so is infinity
    beyond the largest number.
    """
    result = np.asarray(result)
    finfo = jnp.finfo(dtype or result.dtype)
    with np.errstate(invalid="ignore"):  # a NaN of bfloat16
        result, exact = result.astype(np.float64), np.asarray(exact, np.float64)
    tiny = float(finfo.smallest_normal)
    exponent = np.floor(np.log2(np.clip(np.abs(np.nan_to_num(exact)), tiny, 1e308)))
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(result - exact) / 2.0 ** (exponent - finfo.nmant)
    flushed = (np.abs(exact) < tiny) & (np.abs(result) <= tiny)
    overflowed = (np.abs(exact) > float(finfo.max)) & (result == np.copysign(np.inf, exact))
    same = (result == exact) | (np.isnan(result) & np.isnan(exact)) | flushed | overflowed
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))


def binary(x, y):
    """Loss, gradient and second derivative of softplus(x) − x·y."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    e = np.exp(-np.abs(x))
    loss = np.log1p(e) + np.abs(x) * np.where(x > 0, 1 - y, y)
    gradient = np.where(x > 0, (1 - y) - y * e, (1 - y) * e - y) / (1 + e)
    return loss, gradient, e / (1 + e) ** 2


def softmax_parts(x):
    """d = x − max, p and 1 − p of rows, by leaving one maximum out."""
    x = np.asarray(x, np.float64)
    best = np.argmax(x, axis=-1, keepdims=True)
    is_best = np.arange(x.shape[-1]) == best
    d = x - np.take_along_axis(x, best, axis=-1)
    e = np.exp(d)
    tail = np.sum(np.where(is_best, 0, e), axis=-1, keepdims=True)
    others = np.where(is_best, tail, 1 + tail - e)
    return d, tail, e / (1 + tail), others / (1 + tail)


def categorical(x, q):
    """Loss, gradient and Hessian of Σ q·(logsumexp(x) − x) over the last axis."""
    q = np.asarray(q, np.float64)
    d, tail, p, not_p = softmax_parts(x)
    whole = q.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        loss = np.sum(np.where(q == 0, 0, -q * d), -1) + np.sum(q, -1) * np.log1p(tail[..., 0])
    others = np.stack([np.delete(q, j, axis=-1).sum(-1) for j in range(q.shape[-1])], axis=-1)
    gradient = p * others - q * not_p
    diagonal = p * not_p
    hessian = -p[..., :, None] * p[..., None, :]
    index = np.arange(q.shape[-1])
    hessian[..., index, index] = diagonal
    return loss, gradient, hessian * whole[..., None]


def one_hot(labels, num_classes):
    """Class indices as dense labels."""
    return (np.asarray(labels)[..., None] == np.arange(num_classes)).astype(np.float64)


def transformed(x, soft_cap=None, temperature=1.0, logit_adjustment=0.0):
    """Logits after the options that change them, and the derivative."""
    x = np.asarray(x, np.float64)
    slope = np.ones_like(x)
    finite = np.isfinite(x)
    if soft_cap is not None:
        squashed = np.tanh(np.where(finite, x, 0) / soft_cap)
        slope = 1 - squashed**2
        x = np.where(finite, soft_cap * squashed, np.where(x == np.inf, soft_cap, x))
    return x / temperature + logit_adjustment, slope / temperature


def with_options(
    x, q, *, label_smoothing=0.0, class_weights=1.0, z_loss=0.0, epsilon=0.0, **of_logits
):
    """Loss and gradient of dense labels over the last axis, with every option."""
    x, slope = transformed(x, **of_logits)
    exists = x != -np.inf
    q = np.asarray(q, np.float64)
    even = np.where(exists, q.sum(-1, keepdims=True) / exists.sum(-1, keepdims=True), 0)
    q = class_weights * ((1 - label_smoothing) * q + label_smoothing * even)
    loss, gradient, _ = categorical(x, q)
    _, tail, p, not_p = softmax_parts(x)
    lse = x.max(-1, keepdims=True) + np.log1p(tail)
    doubt = np.sum(q * not_p, -1, keepdims=True)
    agreed = np.sum(q * p, -1, keepdims=True)
    loss = loss + (epsilon * doubt + z_loss * lse**2)[..., 0]
    gradient = gradient + epsilon * p * (agreed - q) + 2 * z_loss * lse * p
    return loss, np.where(exists, gradient, 0) * slope


def binary_with_options(x, y, *, label_smoothing=0.0, pos_weight=1.0, **of_logits):
    """Loss and gradient of binary labels, with every option."""
    x, slope = transformed(x, **of_logits)
    y = np.asarray(y, np.float64)
    yes, no = ((1 - label_smoothing) * side + label_smoothing / 2 for side in (y, 1 - y))
    yes = pos_weight * yes
    (cost_of_yes, slope_of_yes, _), (cost_of_no, slope_of_no, _) = binary(x, 1.0), binary(x, 0.0)
    return yes * cost_of_yes + no * cost_of_no, (yes * slope_of_yes + no * slope_of_no) * slope
