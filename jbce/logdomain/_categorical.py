"""Logarithms of categorical losses, from the label's log-odds z: log softplus(−z)."""

from collections.abc import Callable
from typing import Unpack

import jax.numpy as jnp

from .._arguments import (
    BinaryOptions,
    LogitOptions,
    Number,
    PerClass,
    PerExample,
    ScoreOptions,
    check_names,
    dense_rows,
    integer_rows,
    is_class,
    is_off,
    keep,
    share,
    weight_of_label,
)
from .._typing import Array, ArrayLike, Axis, Bool, Float, Integer, Real
from ..losses import log_odds
from ..losses import softmax_cross_entropy as plain_dense
from ..losses import softmax_cross_entropy_with_integer_labels as plain_integer
from ..numerics import (
    log1mexp,
    log_mixture,
    log_sigmoid,
    log_softplus,
    logaddexp,
    safe_log,
    softplus,
)


def _integer(
    who: Callable[..., Array],
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    function: Callable[[Array], Array],
    at_infinity: Callable[[Array], Array],
    class_weights: PerClass | None = None,
    **options: Unpack[BinaryOptions],
) -> Array:
    """A function of the label's log-odds, and its limits where those are infinite."""
    check_names(who, options, LogitOptions)
    z = log_odds(logits, labels, axis, where, **options)
    finite = jnp.isfinite(z)
    losses = function(jnp.where(finite, z, 0))
    infinite = jnp.where(z == -jnp.inf, at_infinity(jnp.full_like(z, jnp.inf)), -z)
    losses = jnp.where(finite, losses, infinite)
    if class_weights is None:
        return losses
    rows = integer_rows(logits, labels, axis, where, **options)
    weight = weight_of_label(rows.class_weights(class_weights), rows.labels)
    log_weight = rows.per_example(safe_log(weight))
    nothing = (log_weight == -jnp.inf) & ~jnp.isnan(losses)
    return jnp.where(nothing, -jnp.inf, losses + jnp.where(nothing, 0, log_weight))


def softmax_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    label_smoothing: PerExample = 0.0,
    class_weights: PerClass | None = None,
    **options: Unpack[ScoreOptions],
) -> Float[Array, "..."]:
    """log of `jbce.softmax_cross_entropy`.

    The likeliest class has the cost softplus(−z) with its log-odds z, which may be tiny, and all
    others at least log 2: log Σ q·cost is a sum of the two in log space.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the mass of each class, ≥ 0, of the same shape.
        axis: the class axis, or several that make one together.
        where: which classes or examples exist, as the loss; an example that does not is −inf.
        label_smoothing: as the loss.
        class_weights: as the loss.
        **options: `temperature`, `soft_cap`, `logit_adjustment` of the loss.

    Returns:
        The logarithm of each example's loss, in float32 for 16-bit logits.

    Raises:
        TypeError: as the loss.
        ValueError: as the loss.

    Edges:
        −inf where the loss is 0, inf where it is inf, NaN where it is NaN and for negative labels.

    Error:
        float32: a few ulps of the larger of the result and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_cross_entropy(jnp.array([1000.0, 0.0]), jnp.array([1.0, 0.0]))
        Array(-1000., dtype=float32)

    Source:
        As `sigmoid_binary_cross_entropy`.
    """
    rows = dense_rows(
        logits,
        labels,
        axis,
        where,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        **options,
    )
    x, q = rows.logits.astype(rows.like.dtype), rows.labels.astype(rows.like.dtype)
    if x.shape[rows.axis] == 0:
        return jnp.full([n for a, n in enumerate(x.shape) if a != rows.axis], -jnp.inf, x.dtype)
    best = jnp.argmax(x, rows.axis, keepdims=True).astype(jnp.int32)
    is_best = is_class(x, best, rows.axis)
    mass = jnp.sum(jnp.where(is_best, q, 0), rows.axis)
    rest = plain_dense(x, jnp.where(is_best, 0, q), rows.axis)
    z = log_odds(x, jnp.squeeze(best, rows.axis), rows.axis)
    # Infinite log-odds have a constant cost; a NaN has no derivative.
    finite = jnp.isfinite(z)
    cost = jnp.where(finite, log_softplus(-jnp.where(finite, z, 0)), -z)
    known = ~jnp.isnan(rest)
    likeliest = jnp.where(mass == 0, -jnp.inf, safe_log(mass) + jnp.where(mass == 0, 0, cost))
    losses = logaddexp(jnp.where(known, likeliest, 0), jnp.where(known, safe_log(rest), 0))
    return keep(rows.exist, jnp.where(known, losses, jnp.nan), -jnp.inf)


def softmax_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    label_smoothing: PerExample = 0.0,
    **options: Unpack[LogitOptions],
) -> Float[Array, "*batch"]:
    """log of `jbce.softmax_cross_entropy_with_integer_labels`: log softplus(−log_odds).

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        axis: the class axis, or several that make one together.
        where: which classes or examples exist, as the loss; an example that does not is −inf.
        label_smoothing: as the loss.
        **options: `ignore`, `class_weights`, `temperature`, `soft_cap`, `logit_adjustment` of the
            loss.

    Returns:
        The logarithm of each example's loss, in float32 for 16-bit logits.

    Raises:
        TypeError: as the loss.
        ValueError: as the loss.

    Edges:
        −inf where the loss is 0, inf where it is inf, NaN where it is NaN.

    Error:
        float32: the error of the log-odds, and 0.501 ulp.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits, labels = jnp.array([[7e4, 0.0, 0.0]]), jnp.array([0])
        >>> softmax_cross_entropy_with_integer_labels(logits, labels)       # of a loss of 1e-30400
        Array([-69999.3...], dtype=float32)
        >>> jax.grad(lambda x: softmax_cross_entropy_with_integer_labels(x, labels).sum())(logits)
        Array([[-1. ,  0.5,  0.5]], dtype=float32)

    Source:
        As `sigmoid_binary_cross_entropy`.
    """
    losses = _integer(
        softmax_cross_entropy_with_integer_labels,
        logits,
        labels,
        axis,
        where,
        lambda z: log_softplus(-z),
        lambda cost: cost,
        **options,
    )
    if is_off(label_smoothing, 0.0):
        return losses
    even = plain_integer(logits, labels, axis, where, label_smoothing=1.0, **options)
    smoothing = share("label_smoothing", label_smoothing, even)
    return log_mixture(1 - smoothing, losses, smoothing, safe_log(even))


def softmax_focal_loss_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    gamma: Number = 2.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    **options: Unpack[LogitOptions],
) -> Float[Array, "*batch"]:
    """log of `jbce.softmax_focal_loss_with_integer_labels`: γ·log(1 − p_y) + log cross-entropy.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        gamma: the focus.
        axis: the class axis, or several that make one together.
        where: which classes or examples exist, as the loss; an example that does not is −inf.
        **options: as `softmax_cross_entropy_with_integer_labels`.

    Returns:
        The logarithm of each example's loss, in float32 for 16-bit logits.

    Raises:
        TypeError: as the loss.
        ValueError: as the loss.

    Edges:
        As `softmax_cross_entropy_with_integer_labels`.

    Error:
        float32: (1 + γ) times that of `softmax_cross_entropy_with_integer_labels`.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_focal_loss_with_integer_labels(jnp.array([1000.0, 0.0]), jnp.array(0))
        Array(-3000., dtype=float32)

    Source:
        As `sigmoid_focal_loss`.
    """

    def focal(z: Array) -> Array:
        return jnp.asarray(gamma, z.dtype) * log_sigmoid(-z) + log_softplus(-z)

    return _integer(
        softmax_focal_loss_with_integer_labels,
        logits,
        labels,
        axis,
        where,
        focal,
        lambda cost: cost,
        **options,
    )


def generalized_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    q: Number = 0.7,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    **options: Unpack[LogitOptions],
) -> Float[Array, "*batch"]:
    """log of `jbce.generalized_cross_entropy_with_integer_labels`: log((1 − p_y^q)/q).

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        q: from above 0 to 1; 0 is the cross-entropy.
        axis: the class axis, or several that make one together.
        where: which classes or examples exist, as the loss; an example that does not is −inf.
        **options: as `softmax_cross_entropy_with_integer_labels`.

    Returns:
        The logarithm of each example's loss, in float32 for 16-bit logits.

    Raises:
        TypeError: as the loss.
        ValueError: as the loss.

    Edges:
        As `softmax_cross_entropy_with_integer_labels`, but an impossible label has −log q.

    Error:
        float32: a few ulps of the larger of the result and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> generalized_cross_entropy_with_integer_labels(jnp.array([1000.0, 0.0]), jnp.array(0))
        Array(-1000., dtype=float32)

    Source:
        Zhang and Sabuncu (2018), arXiv 1805.07836.
    """

    def generalized(z: Array) -> Array:
        power = jnp.asarray(q, z.dtype)
        cost = softplus(-z)
        small = (cost < 1e-10) | (power == 0)  # 1 − e^−u = u, to every digit
        safe, size = jnp.where(power == 0, 1, power), jnp.where(small, 1, cost)
        return jnp.where(small, log_softplus(-z), log1mexp(safe * size) - jnp.log(safe))

    def at_infinity(cost: Array) -> Array:
        power = jnp.asarray(q, cost.dtype)
        return jnp.where(power == 0, cost, -jnp.log(jnp.where(power == 0, 1, power)))

    return _integer(
        generalized_cross_entropy_with_integer_labels,
        logits,
        labels,
        axis,
        where,
        generalized,
        at_infinity,
        **options,
    )


def symmetric_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    alpha: Number = 1.0,
    beta: Number = 1.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    log_zero: Number = -4.0,
    **options: Unpack[LogitOptions],
) -> Float[Array, "*batch"]:
    """log of `jbce.symmetric_cross_entropy_with_integer_labels`.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        alpha: weight of the cross-entropy, ≥ 0.
        beta: weight of the reverse cross-entropy, ≥ 0.
        axis: the class axis, or several that make one together.
        where: which classes or examples exist, as the loss; an example that does not is −inf.
        log_zero: what stands for log 0.
        **options: as `softmax_cross_entropy_with_integer_labels`.

    Returns:
        The logarithm of each example's loss, in float32 for 16-bit logits.

    Raises:
        TypeError: as the loss.
        ValueError: as the loss.

    Edges:
        As `softmax_cross_entropy_with_integer_labels`.

    Error:
        float32: a few ulps of the larger of the result and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> symmetric_cross_entropy_with_integer_labels(jnp.array([1000.0, 0.0]), jnp.array(0))
        Array(-998.39056, dtype=float32)

    Source:
        Wang et al. (2019), arXiv 1908.06112.
    """

    def parts(z: Array) -> tuple[Array, Array]:
        plain, reverse, height = (jnp.asarray(a, z.dtype) for a in (alpha, beta, log_zero))
        return plain, -reverse * height

    def symmetric(z: Array) -> Array:
        plain, bounded = parts(z)
        return log_mixture(plain, log_softplus(-z), bounded, log_sigmoid(-z))

    def at_infinity(cost: Array) -> Array:
        plain, bounded = parts(cost)
        return jnp.where(plain == 0, safe_log(bounded), cost)

    return _integer(
        symmetric_cross_entropy_with_integer_labels,
        logits,
        labels,
        axis,
        where,
        symmetric,
        at_infinity,
        **options,
    )
