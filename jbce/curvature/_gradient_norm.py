"""Norms of the gradients of single examples in their logits."""

import jax.numpy as jnp

from .._arguments import binary_numbers, dense_rows, integer_rows, is_class, keep
from .._typing import Array, ArrayLike, Axis, Bool, Float, Integer, Real, as_axes
from ..numerics import one_minus_softmax, sigmoid, softmax


def _norm(values: Array, axes: tuple[int, ...]) -> Array:
    """The Euclidean norm, also where squares would underflow; the derivative of nothing is 0."""
    largest = jnp.max(jnp.abs(values), axis=axes, keepdims=True, initial=0)
    scale = jnp.where(jnp.isfinite(largest) & (largest > 0), largest, 1)
    squares = jnp.sum(jnp.square(values / scale), axis=axes)
    size = jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))
    return size * jnp.squeeze(scale, axes)


def sigmoid_gradient_norm(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    axis: Axis | None = None,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """‖σ(x) − y‖₂ of binary labels, over the labels of an example along `axis`.

    Args:
        logits: log-odds of class 1.
        labels: 0 or 1, or the probability of class 1, of the same shape.
        axis: the axis, or axes, of an example's labels; None for one label per example, |σ(x) − y|.
        where: which labels exist.

    Returns:
        One norm per example, in float32 for 16-bit logits.

    Raises:
        TypeError: as `jbce.sigmoid_binary_cross_entropy`.
        ValueError: as there; `axis` is not there.

    Edges:
        0 for an example that does not exist; a NaN logit gives NaN.

    Error:
        float32: 1 ulp for one hard label; a few over an axis, also where squares would underflow.

    Example:
        >>> import jax.numpy as jnp
        >>> sigmoid_gradient_norm(jnp.array([[-60.0, 0.0], [-60.0, -60.0]]), jnp.zeros((2, 2)), -1)
        Array([5.0000000e-01, 1.2383...e-26], dtype=float32)

    Source:
        Paul, Ganguli and Dziugaite, Deep learning on a data diet (2021), arXiv 2107.07075, of whose
        EL2N score this is the binary one.
    """
    x, y, where = binary_numbers(logits, labels, where)
    x = x.astype(y.dtype)
    # (1 − y)·σ(x) − y·σ(−x), of which a hard label has one term
    residual = keep(where, (1 - y) * sigmoid(x) - y * sigmoid(-x), 0)
    if axis is None:
        return jnp.abs(residual)
    return _norm(residual, as_axes("logits", axis, x.ndim))


def softmax_gradient_norm_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch"]:
    """‖softmax(x) − onehot(y)‖₂, the EL2N score of an example.

    (1 − p_y)·√(1 + Σ r²) with the softmax r of the other classes: nothing cancels or underflows
    where the label is sure.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist; of the batch's: which examples.

    Returns:
        One norm per example, in float32 for 16-bit logits.

    Raises:
        TypeError: as `jbce.softmax_cross_entropy_with_integer_labels`.
        ValueError: as there.

    Edges:
        0 for an example that does not exist. NaN for a label out of range and beside a NaN logit.

    Error:
        float32: ≤ 6 ulp for norms ≥ 1e-30.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_gradient_norm_with_integer_labels(jnp.array([60.0, 0.0]), jnp.array(0))
        Array(1.2383...e-26, dtype=float32)

    Source:
        Paul, Ganguli and Dziugaite (2021), arXiv 2107.07075.
    """
    rows = integer_rows(logits, labels, axis, where)
    x = rows.logits.astype(rows.like.dtype)
    if x.shape[rows.axis] == 0:
        return rows.per_example(jnp.zeros(rows.labels.shape, x.dtype))
    is_label = is_class(x, rows.labels, rows.axis)
    others = softmax(jnp.where(is_label, -jnp.inf, x), rows.axis)
    doubt = jnp.sum(
        jnp.where(is_label, one_minus_softmax(x, rows.axis), 0), rows.axis, keepdims=True
    )
    norm = doubt * jnp.sqrt(1 + jnp.sum(jnp.square(others), rows.axis, keepdims=True))
    exists = jnp.any(x != -jnp.inf, rows.axis, keepdims=True)
    norm = jnp.where(exists, norm, 0)
    return rows.per_example(jnp.where(rows.labels >= 0, norm, jnp.nan))


def softmax_gradient_norm(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """‖softmax(x)·Σq − q‖₂ of dense labels q.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the mass of each class, of the same shape.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist; of the batch's: which examples.

    Returns:
        One norm per example, in float32 for 16-bit logits.

    Raises:
        TypeError: as `jbce.softmax_cross_entropy`.
        ValueError: as there.

    Edges:
        0 for an example that does not exist; NaN beside a NaN logit.

    Error:
        float32: a few ulps where a label is hard, else of the largest term.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_gradient_norm(jnp.array([60.0, 0.0]), jnp.array([1.0, 0.0]))
        Array(1.2383...e-26, dtype=float32)

    Source:
        Paul, Ganguli and Dziugaite (2021), arXiv 2107.07075.
    """
    rows = dense_rows(logits, labels, axis, where)
    x, q = (a.astype(rows.like.dtype) for a in (rows.logits, rows.labels))
    whole = jnp.sum(q, rows.axis, keepdims=True)
    residual = softmax(x, rows.axis) * (whole - q) - q * one_minus_softmax(x, rows.axis)
    residual = jnp.where(x == -jnp.inf, 0, residual)
    return rows.per_example(jnp.expand_dims(_norm(residual, (rows.axis,)), rows.axis))
