"""Variants of the plain losses under the names of Optax and of their papers."""

from typing import Unpack

import jax

from .._arguments import (
    DenseOptions,
    PerExample,
    check_names,
    per_class,
    share,
    within,
)
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
    describe,
)
from ..numerics import safe_log
from ._categorical import (
    dense_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)


def balanced_softmax_loss_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    class_counts: Real[ArrayLike, "..."],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch"]:
    """Cross-entropy of p_k ∝ n_k·exp(x_k): as if classes were as rare as they will not be.

    The plain loss with `logit_adjustment=log(class_counts)`, by the name of its paper.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        class_counts: how many examples of each class there were in training.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.

    Returns:
        The loss of each example, in float32 for 16-bit logits.

    Raises:
        TypeError: as the plain loss.
        ValueError: as the plain loss; a count is negative.

    Edges:
        A class that never was is out of the softmax.

    Error:
        That of the plain loss for the adjusted logits, which are rounded once.

    Example:
        >>> import jax.numpy as jnp
        >>> counts = jnp.array([90, 10])
        >>> balanced_softmax_loss_with_integer_labels(jnp.zeros((1, 2)), jnp.array([1]), counts)
        Array([2.3025851], dtype=float32)

    Source:
        Ren et al., Balanced meta-softmax for long-tailed visual recognition (2020), arXiv
        2007.10740; Menon et al., Long-tail learning via logit adjustment (2021), arXiv 2007.07314.
    """
    x = as_floating("logits", logits)
    like = jax.ShapeDtypeStruct(x.shape, arithmetic_dtype(x.dtype))
    per_class("class_counts", class_counts, like, as_axes("logits", axis, x.ndim))
    counts = as_real("class_counts", class_counts).astype(like.dtype)
    counts = within("class_counts", class_counts, counts, 0.0)
    adjustment = safe_log(counts)
    return softmax_cross_entropy_with_integer_labels(
        x, labels, axis, where, logit_adjustment=adjustment
    )


def poly_loss_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    epsilon: PerExample = 2.0,
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    **options: Unpack[DenseOptions],
) -> Float[Array, "..."]:
    """Poly-1: cross-entropy + ε·Σ q·(1 − p), one per example.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the mass of each class, of the same shape.
        epsilon: weight of the first term of the polynomial. May be traced.
        axis: the class axis, or several that make one together.
        where: which classes or which examples exist, as for the plain loss.
        **options: those of `softmax_cross_entropy`.

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
    check_names(poly_loss_cross_entropy, options, DenseOptions)
    return dense_cross_entropy(logits, labels, axis, where, epsilon=epsilon, **options)


def safe_softmax_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    **options: Unpack[DenseOptions],
) -> Float[Array, "..."]:
    """`softmax_cross_entropy` under Optax's name for logits of −inf; ours always takes them.

    Args:
        logits: as there.
        labels: as there.
        axis: as there.
        where: as there.
        **options: as there.

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
    check_names(safe_softmax_cross_entropy, options, DenseOptions)
    return softmax_cross_entropy(logits, labels, axis, where, **options)


def smooth_labels(
    labels: Float[ArrayLike, "*batch classes"], alpha: PerExample
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
    if labels.ndim == 0:
        raise ValueError(f"`labels` must have a class axis, but {describe(labels)} came.")
    mixed = share("alpha", alpha, labels, (labels.ndim - 1,))
    return (1 - mixed) * labels + mixed / labels.shape[-1]
