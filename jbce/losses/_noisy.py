"""Losses for labels that may be wrong."""

from typing import Unpack

import jax.numpy as jnp

from .._arguments import (
    LogitOptions,
    PerExample,
    check_names,
    parameter,
    per_example,
    share,
)
from .._typing import Array, ArrayLike, Axis, Bool, Float, Integer
from ..numerics import exprel
from ._of_cost import of_cost


def generalized_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    q: PerExample = 0.7,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    **options: Unpack[LogitOptions],
) -> Float[Array, "*batch"]:
    """(1 − p_y^q)/q, between cross-entropy (q → 0) and 1 − p_y (q = 1): labels may be wrong.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        q: from above 0 to 1; 0 is the cross-entropy. May be traced.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.
        **options: as `softmax_focal_loss_with_integer_labels`.

    Returns:
        The loss of each example, in float32 for 16-bit logits.

    Raises:
        TypeError: as the plain loss.
        ValueError: as the plain loss; `q` is not from 0 to 1.

    Edges:
        As `softmax_cross_entropy_with_integer_labels`, but a label that is impossible costs 1/q.

    Error:
        float32: ≤ 6 ulp; c·(1 − e^−u)/u with u = q·c.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[0.0, 0.0], [20.0, 0.0]])
        >>> generalized_cross_entropy_with_integer_labels(logits, jnp.array([0, 0]), 1.0)
        Array([5.0000000e-01, 2.0611537e-09], dtype=float32)

    Source:
        Zhang and Sabuncu, Generalized cross entropy loss for training deep neural networks with
        noisy labels (2018), arXiv 1805.07836.
    """

    def generalized(cost: Array) -> Array:
        # (1 − e^−qc)/q = c·(1 − e^−u)/u with u = qc
        return cost * exprel(-share("q", q, cost) * cost)

    def at_infinity(cost: Array) -> Array:
        power = share("q", q, cost)
        return jnp.where(power == 0, cost, 1 / jnp.where(power == 0, 1, power))

    check_names(generalized_cross_entropy_with_integer_labels, options, LogitOptions)
    return of_cost(generalized, at_infinity, logits, labels, axis, where, **options)


def symmetric_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    alpha: PerExample = 1.0,
    beta: PerExample = 1.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    log_zero: PerExample = -4.0,
    **options: Unpack[LogitOptions],
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
        **options: as `softmax_focal_loss_with_integer_labels`.

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

    def weights(cost: Array) -> tuple[Array, Array]:
        height = parameter("log_zero", log_zero, cost)
        return per_example("alpha", alpha, cost), -per_example("beta", beta, cost) * height

    def symmetric(cost: Array) -> Array:
        plain, bounded = weights(cost)
        return plain * cost + bounded * -jnp.expm1(-cost)

    def at_infinity(cost: Array) -> Array:
        plain, bounded = weights(cost)
        return jnp.where(plain == 0, bounded, cost)

    check_names(symmetric_cross_entropy_with_integer_labels, options, LogitOptions)
    return of_cost(symmetric, at_infinity, logits, labels, axis, where, **options)
