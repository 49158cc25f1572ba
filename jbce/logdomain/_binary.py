"""Logarithms of binary losses."""

from collections.abc import Callable
from typing import Unpack

import jax.numpy as jnp

from .._arguments import (
    BinaryOptions,
    PerClass,
    PerExample,
    binary_numbers,
    check_names,
    is_off,
    keep,
    per_example,
    positive_weight,
    share,
)
from .._typing import Array, ArrayLike, Bool, Float, Real
from ..numerics import log_mixture, log_sigmoid, log_softplus, safe_log


def _binary(
    who: Callable[..., Array],
    logits: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    function: Callable[[Array, Array], Array],
    **options: Unpack[BinaryOptions],
) -> Array:
    """A function of logits that are no NaN, and labels."""
    check_names(who, options, BinaryOptions)
    x, y, where = binary_numbers(logits, labels, where, **options)
    x, undefined = x.astype(y.dtype), jnp.isnan(x)
    losses = function(jnp.where(undefined, 0, x), y)
    return keep(where, jnp.where(undefined, jnp.nan, losses), -jnp.inf)


def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    label_smoothing: PerExample = 0.0,
    pos_weight: PerClass | None = None,
    **options: Unpack[BinaryOptions],
) -> Float[Array, "*batch"]:
    """log of `jbce.sigmoid_binary_cross_entropy`: log softplus(∓x) for hard labels.

    Args:
        logits: log-odds of class 1, of any shape.
        labels: 0 or 1, or the probability of class 1, of the same shape.
        where: which examples exist; the others are −inf (a loss of 0), with a gradient of 0.
        label_smoothing: as the loss.
        pos_weight: as the loss.
        **options: `ignore`, `temperature`, `soft_cap`, `logit_adjustment` of the loss.

    Returns:
        The logarithm of each example's loss, in float32 for 16-bit logits.

    Raises:
        TypeError: as the loss.
        ValueError: as the loss.

    Edges:
        −inf where the loss is 0, inf where it is inf. A NaN logit gives NaN with a gradient of 0,
        and so does a label outside of [0, 1].

    Error:
        float32, hard labels: ≤ 0.501 ulp, value and gradient; soft labels: 3 ulp of the larger of
        the result and 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits, labels = jnp.array([1e4, -1e4]), jnp.array([1, 0])
        >>> sigmoid_binary_cross_entropy(logits, labels)
        Array([-10000., -10000.], dtype=float32)
        >>> jax.grad(lambda x: sigmoid_binary_cross_entropy(x, labels).sum())(logits)
        Array([-1.,  1.], dtype=float32)

    Source:
        The loss whose gradient descent does not stall: Nacson et al., Convergence of gradient
        descent on separable data (2019), arXiv 1803.01905.
    """

    def of(x: Array, y: Array) -> Array:
        yes, no = y, 1 - y
        if not is_off(label_smoothing, 0.0):
            smoothing = share("label_smoothing", label_smoothing, y)
            yes, no = ((1 - smoothing) * side + smoothing / 2 for side in (yes, no))
        if pos_weight is not None:
            yes = yes * positive_weight(pos_weight, yes)
        return log_mixture(yes, log_softplus(-x), no, log_softplus(x))

    return _binary(sigmoid_binary_cross_entropy, logits, labels, where, of, **options)


def sigmoid_focal_loss(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    alpha: PerExample | None = None,
    gamma: PerExample = 2.0,
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    **options: Unpack[BinaryOptions],
) -> Float[Array, "*batch"]:
    """log of `jbce.sigmoid_focal_loss`: log αₜ + γ·log(1 − pₜ) + log cross-entropy.

    Args:
        logits: log-odds of class 1, of any shape.
        labels: 0 or 1, or the probability of class 1, of the same shape.
        alpha: weight of class 1 beside 1 − α of class 0; None weighs both 1.
        gamma: the focus.
        where: which examples exist; the others are −inf, with a gradient of 0.
        **options: `ignore`, `temperature`, `soft_cap`, `logit_adjustment` of the loss.

    Returns:
        The logarithm of each example's loss, in float32 for 16-bit logits.

    Raises:
        TypeError: as the loss.
        ValueError: as the loss.

    Edges:
        As `sigmoid_binary_cross_entropy`.

    Error:
        float32: 3 ulp of the largest term.

    Example:
        >>> import jax.numpy as jnp
        >>> sigmoid_focal_loss(jnp.array([1000.0]), jnp.array([1]))
        Array([-3000.], dtype=float32)

    Source:
        Lin et al., Focal loss for dense object detection (2017), arXiv 1708.02002.
    """

    def of(x: Array, y: Array) -> Array:
        focus = per_example("gamma", gamma, y)
        cost = log_mixture(y, log_softplus(-x), 1 - y, log_softplus(x))
        doubt = log_mixture(y, log_sigmoid(-x), 1 - y, log_sigmoid(x))
        losses = cost + jnp.where(focus == 0, 0, focus * jnp.where(focus == 0, 0, doubt))
        if alpha is not None:
            weight = share("alpha", alpha, y)
            losses = losses + safe_log(weight * y + (1 - weight) * (1 - y))
        return losses

    return _binary(sigmoid_focal_loss, logits, labels, where, of, **options)
