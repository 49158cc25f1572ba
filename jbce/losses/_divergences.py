"""Divergences of distributions, as Optax names them."""

import jax.numpy as jnp

from .._exact import arithmetic_dtype
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    Bool,
    Float,
    as_axes,
    as_boolean,
    as_floating,
    check_same_shape,
)
from ..numerics import binary_negentropy, compensated_sum, xlogy


def _arrays(
    log_predictions: ArrayLike, name: str, targets: ArrayLike, axis: Axis | None
) -> tuple[Array, Array, tuple[int, ...]]:
    """Both in the dtype of the arithmetic, and the axes."""
    p = as_floating("log_predictions", log_predictions)
    q = as_floating(name, targets)
    check_same_shape(name, q, "log_predictions", p)
    axes = tuple(range(p.ndim)) if axis is None else as_axes("log_predictions", axis, p.ndim)
    dtype = arithmetic_dtype(p.dtype, q.dtype)
    return p.astype(dtype), q.astype(dtype), axes


def _summed(terms: Array, axes: tuple[int, ...], where: ArrayLike | None) -> Array:
    if where is not None:
        where = as_boolean("where", where)
        check_same_shape("where", where, "log_predictions", terms)
        terms = jnp.where(where, terms, 0)
    return compensated_sum(terms, axes)


def kl_divergence(
    log_predictions: Float[ArrayLike, "*shape"],
    targets: Float[ArrayLike, "*shape"],
    axis: Axis | None = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """Kullback-Leibler divergence Σ q·(log q − log p) of predictions p from targets q.

    Args:
        log_predictions: log-probabilities (of `jbce.numerics.log_softmax`, say).
        targets: probabilities of the same shape.
        axis: of the outcomes; or several axes; or all.
        where: which outcomes count.

    Returns:
        The divergence in nats, float32 for 16 bits, without the axis.

    Raises:
        TypeError: an argument is not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        An outcome with a target of 0 costs nothing, also at a log-prediction of −inf (optax: NaN);
        a target above 0 there costs inf.

    Error:
        ≤ 1 ulp of the largest term: the terms have both signs.

    Example:
        >>> import jax.numpy as jnp
        >>> kl_divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0]))
        Array(0.6931472, dtype=float32)

    Source:
        Kullback and Leibler, On information and sufficiency, Annals of Mathematical Statistics 22
        (1951).
    """
    p, q, axes = _arrays(log_predictions, "targets", targets, axis)
    impossible = (p == -jnp.inf) & (q == 0)
    cross = q * jnp.where(impossible, 0, p)
    return _summed(xlogy(q, q) - cross, axes, where)


def kl_divergence_with_log_targets(
    log_predictions: Float[ArrayLike, "*shape"],
    log_targets: Float[ArrayLike, "*shape"],
    axis: Axis | None = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """`kl_divergence` with targets in log space: Σ exp(log q)·(log q − log p).

    Args:
        log_predictions: log-probabilities.
        log_targets: log-probabilities of the same shape.
        axis: of the outcomes; or several axes; or all.
        where: which outcomes count.

    Returns:
        The divergence in nats, float32 for 16 bits, without the axis.

    Raises:
        TypeError: an argument is not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        An outcome with a log-target of −inf costs nothing, whatever the prediction.

    Error:
        float32: a few ulps of the largest term.

    Example:
        >>> import jax.numpy as jnp
        >>> log_q = jnp.array([0.0, -jnp.inf])
        >>> kl_divergence_with_log_targets(jnp.log(jnp.array([0.5, 0.5])), log_q)
        Array(0.6931472, dtype=float32)

    Source:
        As `kl_divergence`.
    """
    p, q, axes = _arrays(log_predictions, "log_targets", log_targets, axis)
    exists = q != -jnp.inf
    safe = jnp.where(exists, q, 0)
    terms = jnp.exp(safe) * (safe - jnp.where(exists, p, 0))
    return _summed(jnp.where(exists, terms, 0), axes, where)


def generalized_kl_divergence(
    log_predictions: Float[ArrayLike, "*shape"],
    targets: Float[ArrayLike, "*shape"],
    axis: Axis | None = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """Σ q·(log q − log p) + p − q, for measures that need not sum to 1.

    Args:
        log_predictions: logarithms of the predicted measure.
        targets: the measure, of the same shape.
        axis: of the outcomes; or several axes; or all.
        where: which outcomes count.

    Returns:
        The divergence, float32 for 16 bits, without the axis.

    Raises:
        TypeError: an argument is not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        As `kl_divergence`.

    Error:
        ≤ 2 ulp of the largest term.

    Example:
        >>> import jax.numpy as jnp
        >>> generalized_kl_divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 1.0]))
        Array(0.38629436, dtype=float32)

    Source:
        Bregman, The relaxation method of finding the common point of convex sets, USSR
        Computational Mathematics and Mathematical Physics 7 (1967).
    """
    p, q, axes = _arrays(log_predictions, "targets", targets, axis)
    divergence = kl_divergence(p, q, axes, where)
    return divergence + _summed(jnp.exp(p) - q, axes, where)


def jensen_shannon_divergence(
    log_predictions: Float[ArrayLike, "*shape"],
    log_targets: Float[ArrayLike, "*shape"],
    axis: Axis | None = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """½·KL(p‖m) + ½·KL(q‖m) with m = (p + q)/2: symmetric, and at most log 2.

    Args:
        log_predictions: log-probabilities.
        log_targets: log-probabilities of the same shape.
        axis: of the outcomes; or several axes; or all.
        where: which outcomes count.

    Returns:
        The divergence in nats, float32 for 16 bits, without the axis.

    Raises:
        TypeError: an argument is not floating point, or `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        Outcomes at −inf in one or both are taken.

    Error:
        float32: a few ulps; no term is negative, so that it keeps its digits where the two are
        nearly equal.

    Example:
        >>> import jax.numpy as jnp
        >>> one, other = jnp.array([0.0, -jnp.inf]), jnp.array([-jnp.inf, 0.0])
        >>> jensen_shannon_divergence(one, other)
        Array(0.6931472, dtype=float32)

    Source:
        Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information
        Theory 37 (1991).
    """
    p, q, axes = _arrays(log_predictions, "log_targets", log_targets, axis)
    in_p, in_q = p != -jnp.inf, q != -jnp.inf
    safe_p, safe_q = jnp.where(in_p, p, 0), jnp.where(in_q, q, 0)
    mass = jnp.where(in_p, jnp.exp(safe_p), 0) + jnp.where(in_q, jnp.exp(safe_q), 0)
    # p·log(2p/(p + q)) + q·log(2q/(p + q)) = (p + q)·(log 2 − H(p/(p + q)))
    surprise = binary_negentropy(jnp.where(in_p & in_q, safe_p - safe_q, jnp.inf))
    return _summed(mass * surprise / 2, axes, where)
