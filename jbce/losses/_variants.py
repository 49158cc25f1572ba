"""Losses that are functions of a cross-entropy and the probability that it stands for.

With z the label's log-odds: cross-entropy = softplus(−z), p = σ(z), 1 − p = σ(−z), so that nothing
here subtracts a probability from 1.
"""

import jax.numpy as jnp

from .._exact import arithmetic_dtype
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    Bool,
    Float,
    Integer,
    Real,
    as_axes,
    as_floating,
    as_real,
)
from ..numerics import one_minus_softmax, sigmoid, softplus
from ._binary import sigmoid_binary_cross_entropy
from ._categorical import log_odds, softmax_cross_entropy
from ._labels import binary_label, binary_labels, keep, leave_out, where_of_examples

Number = Real[ArrayLike, ""] | float


def _power(base: Array, exponent: Number) -> Array:
    return jnp.power(base, jnp.asarray(exponent, base.dtype))


def _safe(logits: Array) -> tuple[Array, Array]:
    """Logits in the dtype of the arithmetic, made finite; and where NaN is."""
    logits = logits.astype(arithmetic_dtype(logits.dtype))
    largest = jnp.finfo(logits.dtype).max
    is_nan = jnp.isnan(logits)
    return jnp.clip(jnp.where(is_nan, 0, logits), -largest, largest), is_nan


def sigmoid_focal_loss(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    alpha: Number | None = None,
    gamma: Number = 2.0,
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
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
        Array([1.732868e-01, 9.356561e-14], dtype=float32)

    Source:
        Lin et al., Focal loss for dense object detection (2017), arXiv 1708.02002.
    """
    logits = as_floating("logits", logits)
    labels = binary_labels(labels, "logits", logits)
    where = where_of_examples(where, "logits", logits)
    logits, labels = keep(where, logits, 0), keep(where, labels, 0)
    plain = sigmoid_binary_cross_entropy(logits, labels)
    x, is_nan = _safe(logits)
    y = binary_label(labels, x.dtype)
    doubt = y * sigmoid(-x) + (1 - y) * sigmoid(x)
    weight = jnp.ones_like(y)
    if alpha is not None:
        share = jnp.asarray(alpha, y.dtype)
        weight = share * y + (1 - share) * (1 - y)
    losses = weight * (_power(doubt, gamma) * sigmoid_binary_cross_entropy(x, labels))
    losses = jnp.where(jnp.isinf(plain), weight * plain, losses)
    return keep(where, jnp.where(is_nan, jnp.nan, losses), 0)


def softmax_focal_loss_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    gamma: Number = 2.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch"]:
    """Focal loss of class indices: (1 − p_y)^γ·cross-entropy, one per example.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        gamma: the focus; 0 is the plain cross-entropy. May be traced and differentiated in.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.

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
        Array([1.732868e-01, 9.356561e-14], dtype=float32)

    Source:
        As `sigmoid_focal_loss`.
    """
    z, undefined, impossible = _label_log_odds(logits, labels, axis, where)
    losses = _power(sigmoid(-z), gamma) * softplus(-z)
    return _finished(losses, undefined, impossible)


def generalized_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    q: Number = 0.7,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch"]:
    """(1 − p_y^q)/q, between cross-entropy (q → 0) and 1 − p_y (q = 1): labels may be wrong.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        q: from above 0 to 1; 0 is the cross-entropy. May be traced.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.

    Returns:
        The loss of each example, in float32 for 16-bit logits.

    Raises:
        TypeError: as the plain loss.
        ValueError: as the plain loss.

    Edges:
        As `softmax_cross_entropy_with_integer_labels`, but a label that is impossible costs 1/q.

    Error:
        float32: ≤ 6 ulp; −expm1(q·log p_y)/q, with log p_y of the label's log-odds.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[0.0, 0.0], [20.0, 0.0]])
        >>> generalized_cross_entropy_with_integer_labels(logits, jnp.array([0, 0]), 1.0)
        Array([5.0000000e-01, 2.0611537e-09], dtype=float32)

    Source:
        Zhang and Sabuncu, Generalized cross entropy loss for training deep neural networks with
        noisy labels (2018), arXiv 1805.07836.
    """
    z, undefined, impossible = _label_log_odds(logits, labels, axis, where)
    cost = softplus(-z)
    power: Array = jnp.asarray(q, z.dtype)
    safe = jnp.where(power == 0, 1, power)
    losses = jnp.where(power == 0, cost, -jnp.expm1(-safe * cost) / safe)
    return _finished(losses, undefined, impossible & (power == 0))


def symmetric_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    alpha: Number = 1.0,
    beta: Number = 1.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    log_zero: Number = -4.0,
) -> Float[Array, "*batch"]:
    """α·cross-entropy + β·reverse cross-entropy −Σ p·log q, with log 0 cut at `log_zero`.

    The reverse part is −log_zero·(1 − p_y), which is bounded: labels may be wrong.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        alpha: weight of the cross-entropy.
        beta: weight of the reverse cross-entropy.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.
        log_zero: what stands for log 0.

    Returns:
        The loss of each example, in float32 for 16-bit logits.

    Raises:
        TypeError: as the plain loss.
        ValueError: as the plain loss.

    Edges:
        As `softmax_cross_entropy_with_integer_labels`.

    Error:
        float32: ≤ 6 ulp for positive weights: both parts are positive.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[0.0, 0.0]])
        >>> symmetric_cross_entropy_with_integer_labels(logits, jnp.array([0]))
        Array([2.6931472], dtype=float32)

    Source:
        Wang et al., Symmetric cross entropy for robust learning with noisy labels (2019), arXiv
        1908.06112.
    """
    z, undefined, impossible = _label_log_odds(logits, labels, axis, where)
    bounded = -jnp.asarray(log_zero, z.dtype) * sigmoid(-z)
    losses = jnp.asarray(alpha, z.dtype) * softplus(-z) + jnp.asarray(beta, z.dtype) * bounded
    return _finished(losses, undefined, impossible)


def _label_log_odds(
    logits: ArrayLike, labels: ArrayLike, axis: Axis, where: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """The label's log-odds as finite numbers, where they are NaN, and where they are −inf."""
    z = log_odds(logits, labels, axis, where)
    finite, undefined = _safe(z)
    return finite, undefined, z == -jnp.inf


def _finished(losses: Array, undefined: Array, impossible: Array) -> Array:
    return jnp.where(undefined, jnp.nan, jnp.where(impossible, jnp.inf, losses))


def poly_loss_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    epsilon: Number = 2.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """Poly-1: cross-entropy + ε·Σ q·(1 − p), one per example.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the mass of each class, of the same shape.
        epsilon: weight of the first term of the polynomial. May be traced.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.

    Returns:
        The loss of each example, in float32 for 16-bit logits; the class axis is gone.

    Raises:
        TypeError: as `softmax_cross_entropy`.
        ValueError: as `softmax_cross_entropy`.

    Edges:
        As `softmax_cross_entropy`.

    Error:
        float32, ε ≥ 0: ≤ 6 ulp; both parts are positive, and 1 − p does not cancel.

    Example:
        >>> import jax.numpy as jnp
        >>> poly_loss_cross_entropy(jnp.array([20.0, 0.0]), jnp.array([1.0, 0.0]))
        Array(6.183461e-09, dtype=float32)

    Source:
        Leng et al., PolyLoss: a polynomial expansion perspective of classification loss functions
        (2022), arXiv 2204.12511.
    """
    plain = softmax_cross_entropy(logits, labels, axis, where)
    x, q = as_floating("logits", logits), as_real("labels", labels).astype(plain.dtype)
    axes = as_axes("logits", axis, x.ndim)
    x, q = leave_out(x.astype(plain.dtype), q, axes, where)
    is_nan = jnp.any(jnp.isnan(x), axis=axes, keepdims=True)
    doubt = jnp.sum(q * one_minus_softmax(jnp.where(is_nan, 0, x), axis), axis=axes)
    # Nothing is doubted where no class exists.
    exists = jnp.any((x != -jnp.inf) | is_nan, axis=axes)
    return plain + jnp.asarray(epsilon, plain.dtype) * jnp.where(exists, doubt, 0)


def safe_softmax_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """`softmax_cross_entropy` under Optax's name for logits of −inf; ours always takes them.

    Args:
        logits: as there.
        labels: as there.
        axis: as there.
        where: as there.

    Returns:
        As there.

    Raises:
        TypeError: as there.
        ValueError: as there.

    Edges:
        As there.

    Error:
        As there.

    Example:
        >>> import jax.numpy as jnp
        >>> safe_softmax_cross_entropy(jnp.array([0.0, -jnp.inf]), jnp.array([1.0, 0.0]))
        Array(0., dtype=float32)

    Source:
        As there.
    """
    return softmax_cross_entropy(logits, labels, axis, where)


def smooth_labels(
    labels: Float[ArrayLike, "*batch classes"], alpha: Number
) -> Float[Array, "*batch classes"]:
    """(1 − α)·labels + α/num_classes: labels that are less sure.

    Args:
        labels: dense labels, the classes along the last axis.
        alpha: from 0 (as they are) to 1 (uniform). May be traced.

    Returns:
        Labels of the same shape and dtype.

    Raises:
        TypeError: `labels` are not floating point.
        ValueError: `alpha` is a number outside of [0, 1].

    Edges:
        All classes get a share, also those at −inf logits, where label mass costs inf.

    Error:
        ≤ 1.5 ulp.

    Example:
        >>> import jax.numpy as jnp
        >>> smooth_labels(jnp.array([1.0, 0.0, 0.0, 0.0]), 0.1)
        Array([0.92499995, 0.025     , 0.025     , 0.025     ], dtype=float32)

    Source:
        Szegedy et al., Rethinking the Inception architecture for computer vision (2015), arXiv
        1512.00567.
    """
    labels = as_floating("labels", labels)
    if isinstance(alpha, float | int) and not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be from 0 to 1, but {alpha} came.")
    share = jnp.asarray(alpha, labels.dtype)
    return (1 - share) * labels + share / labels.shape[-1]
