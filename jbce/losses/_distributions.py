"""Losses between two distributions that are both given by their logits."""

import jax.numpy as jnp

from .._arguments import PerExample, keep, parameter, split_where, transformed
from .._exact import arithmetic_dtype, row_sum
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    Bool,
    Float,
    as_axes,
    as_floating,
    check_same_shape,
    one_axis,
)
from ..numerics import binary_negentropy, softmax
from ._categorical import softmax_cross_entropy
from ._two_rows import both_exist, kl_divergence_of_rows, log_ratio


def _both(
    logits: ArrayLike,
    target_logits: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    temperature: PerExample = 1.0,
) -> tuple[Array, Array, tuple[int, ...], Array | None]:
    """Both in one dtype without what does not exist, the class axes, and which examples do."""
    x, t = as_floating("logits", logits), as_floating("target_logits", target_logits)
    check_same_shape("target_logits", t, "logits", x)
    axes = as_axes("logits", axis, x.ndim)
    classes, examples = split_where(where, x, axes)
    wide = None if examples is None else jnp.expand_dims(examples, axes)
    dtype = arithmetic_dtype(x.dtype, t.dtype)
    x, t = (
        transformed(
            keep(classes, keep(wide, a.astype(dtype), 0), -jnp.inf), axes, None, temperature, None
        )
        for a in (x, t)
    )
    return x, t, axes, examples


def softmax_cross_entropy_with_target_logits(
    logits: Float[ArrayLike, "*shape"],
    target_logits: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """Cross-entropy −Σ p·log softmax(logits) with p = softmax(target_logits).

    Args:
        logits: unnormalised log-probabilities of the model.
        target_logits: unnormalised log-probabilities of what it is to be, of the same shape.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist, for both; of the batch's: which examples.

    Returns:
        The loss of each example in nats, in float32 for 16-bit logits; the class axis is gone.

    Raises:
        TypeError: logits are not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        As `softmax_cross_entropy` of the probabilities; a NaN in the targets gives NaN.

    Error:
        That of `softmax_cross_entropy`, and 6 ulp of each target's probability.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_cross_entropy_with_target_logits(jnp.zeros(2), jnp.array([1.0, 0.0]))
        Array(0.6931472, dtype=float32)

    Source:
        Hinton, Vinyals and Dean, Distilling the knowledge in a neural network (2015), arXiv
        1503.02531.
    """
    x, t, axes, examples = _both(logits, target_logits, axis, where)
    undefined = jnp.any(jnp.isnan(t), axis=axes, keepdims=True)
    probs = softmax(jnp.minimum(jnp.where(undefined, 0, t), jnp.finfo(t.dtype).max), axes)
    # What the targets do not have is no variable: its cost may be infinite.
    losses = softmax_cross_entropy(x, jnp.where(probs == 0, 0, probs), axes)
    return keep(examples, jnp.where(jnp.squeeze(undefined, axes), jnp.nan, losses), 0)


def softmax_kl_divergence(
    logits: Float[ArrayLike, "*shape"],
    target_logits: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """Kullback-Leibler divergence Σ p·(log p − log q) of q = softmax(logits) from the targets' p.

    Swap the arguments for the reverse divergence Σ q·(log q − log p). With the difference v of the
    logits less its mean under p it is log1p(Σ p·(eᵛ − 1 − v)): no term is negative, so that it
    keeps its digits where the two are nearly equal and the sum of p·(log p − log q) has lost them
    all. Its gradient is q − p in the logits and −p·v in those of the targets.

    Args:
        logits: unnormalised log-probabilities of the model.
        target_logits: unnormalised log-probabilities of what it is to be, of the same shape.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist, for both; of the batch's: which examples.

    Returns:
        The divergence of each example in nats, ≥ 0, in float32 for 16-bit logits.

    Raises:
        TypeError: logits are not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        A class that the targets do not have costs what the model gives it; one that only the model
        has not costs inf. Targets without any class cost 0. NaN in either gives NaN. Both, and
        infinite costs in the targets, have a gradient of 0.

    Error:
        float32, up to 1,000 classes: ≤ 12 ulp for every divergence ≥ 1e-30, and a common offset of
        the logits takes nothing; both gradients ≤ 6 ulp of the largest entry of their row.
        Probabilities below the smallest normal number count as 0.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_kl_divergence(jnp.array([1e-3, 0.0]), jnp.array([0.0, 0.0]))
        Array(1.25...e-07, dtype=float32)

    Source:
        Kullback and Leibler, On information and sufficiency, Annals of Mathematical Statistics 22
        (1951).
    """
    x, t, axes, examples = _both(logits, target_logits, axis, where)
    return keep(examples, _kl(x, t, axes), 0)


def _kl(x: Array, t: Array, axes: tuple[int, ...]) -> Array:
    (x, axis), (t, _) = one_axis(x, axes), one_axis(t, axes)
    return jnp.squeeze(kl_divergence_of_rows(x, t, axis=axis), axis)


def softmax_jensen_shannon_divergence(
    logits: Float[ArrayLike, "*shape"],
    target_logits: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """Jensen-Shannon divergence of two softmax distributions: symmetric, and at most log 2.

    Args:
        logits: unnormalised log-probabilities.
        target_logits: unnormalised log-probabilities, of the same shape.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist, for both; of the batch's: which examples.

    Returns:
        The divergence of each example in nats, in float32 for 16-bit logits.

    Raises:
        TypeError: logits are not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        As `jensen_shannon_divergence`; NaN in either gives NaN, with a gradient of 0.

    Error:
        float32, up to 1,000 classes: ≤ 12 ulp; no term is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_jensen_shannon_divergence(jnp.array([50.0, 0.0]), jnp.array([0.0, 50.0]))
        Array(0.6931472, dtype=float32)

    Source:
        As `jensen_shannon_divergence`.
    """
    x, t, axes, examples = _both(logits, target_logits, axis, where)
    (x, axis), (t, _) = one_axis(x, axes), one_axis(t, axes)
    undefined = jnp.any(jnp.isnan(x) | jnp.isnan(t), axis=axis, keepdims=True)
    x, t = jnp.where(undefined, 0, x), jnp.where(undefined, 0, t)
    # p·log(2p/(p + q)) + q·log(2q/(p + q)) = (p + q)·(log 2 − H(p/(p + q)))
    ratio = jnp.where(both_exist(x, t, axis), log_ratio(x, t, axis), jnp.inf)
    terms = (softmax(t, axis) + softmax(x, axis)) * binary_negentropy(ratio) / 2
    divergence = jnp.where(undefined, jnp.nan, row_sum(terms, axis))
    return keep(examples, jnp.squeeze(divergence, axis), 0)


def distillation_loss(
    logits: Float[ArrayLike, "*shape"],
    teacher_logits: Float[ArrayLike, "*shape"],
    temperature: PerExample = 1.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """T²·KL of softmax(logits/T) from softmax(teacher_logits/T), one per example.

    With the cross-entropy instead of the divergence the gradient is the same; the divergence is 0
    where the student is the teacher. T² keeps gradients of one size over temperatures.

    Args:
        logits: unnormalised log-probabilities of the student.
        teacher_logits: those of the teacher, of the same shape; differentiable too
            (`jax.lax.stop_gradient` for a fixed one).
        temperature: T, one number or one per example. May be traced.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist, for both; of the batch's: which examples.

    Returns:
        The loss of each example, in float32 for 16-bit logits.

    Raises:
        TypeError: logits are not floating point, or `where` is not boolean.
        ValueError: the shapes differ, `axis` is not there, or the temperature is not positive.

    Edges:
        As `softmax_kl_divergence`.

    Error:
        As `softmax_kl_divergence`.

    Example:
        >>> import jax.numpy as jnp
        >>> distillation_loss(jnp.array([2.0, 0.0]), jnp.array([2.0, 0.0]), 4.0)
        Array(0., dtype=float32)

    Source:
        Hinton, Vinyals and Dean, Distilling the knowledge in a neural network (2015), arXiv
        1503.02531.
    """
    x, t, axes, examples = _both(logits, teacher_logits, axis, where, temperature)
    losses = _kl(x, t, axes)
    scale = parameter("temperature", temperature, losses)
    return keep(examples, jnp.square(scale) * losses, 0)
