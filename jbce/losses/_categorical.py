"""Categorical cross-entropy from logits, and the log-odds that it is a function of."""

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
    as_integer,
    as_real,
    check_same_shape,
    one_axis,
)
from ._dense import dense_loss
from ._integer import integer_loss, log_odds_of_label
from ._labels import check_class_labels, class_index, keep, leave_out, split_where


def softmax_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """Categorical cross-entropy of dense labels: Σ_k q_k·(logsumexp(x) − x_k), one per example.

    The labels q are a distribution over the classes (one-hot, soft, smoothed), used as given. The
    gradient is p·Σq − q in the logits, with p = softmax(x), and −log p in the labels; nothing
    cancels where a label is hard, or nearly.

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the mass of each class, boolean, integer or floating point, of the same shape.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist (label mass on others is dropped); of the
            batch's shape: which examples exist (the others have the loss 0 and the gradient 0).

    Returns:
        The loss of each example in nats, in float32 for 16-bit logits; the class axis is gone.

    Raises:
        TypeError: `logits` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ, or `axis` is not there.

    Edges:
        A class at −inf is out of the softmax, and label mass on it costs inf. One class at +inf
        costs 0 if it has all the mass, else inf; several give NaN. A NaN logit gives a NaN loss for
        its example, with a gradient of 0. Where no class exists the loss and the gradient are 0.

    Error:
        float32, 2 to 5,003 classes, every loss ≥ 1e-30, one-hot labels, on CPU: ≤ 3.5 ulp for the
        loss and the label's gradient, ≤ 6 for other gradients ≥ 1e-30; between one-hot labels in
        ulps of the largest term (`tests/certificate.json`, `experiments/BOUNDS.md`).

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[0.0, 0.0], [20.0, 0.0]])
        >>> softmax_cross_entropy(logits, jnp.array([[0.5, 0.5], [1.0, 0.0]]))
        Array([6.9314718e-01, 2.0611537e-09], dtype=float32)

    Source:
        Bridle, Probabilistic interpretation of feedforward classification network outputs,
        Neurocomputing (1990). The maximum left out of the sum: Blanchard, Higham and Higham,
        Accurately computing the log-sum-exp and softmax functions, IMA Journal of Numerical
        Analysis 41 (2021).
    """
    logits, labels = as_floating("logits", logits), as_real("labels", labels)
    check_same_shape("labels", labels, "logits", logits)
    axes = as_axes("logits", axis, logits.ndim)
    labels = labels.astype(
        labels.dtype
        if jnp.issubdtype(labels.dtype, jnp.floating)
        else arithmetic_dtype(logits.dtype)
    )
    logits, labels = leave_out(logits, labels, axes, where)
    rows, row_axis = one_axis(logits, axes)
    return jnp.squeeze(dense_loss(rows, one_axis(labels, axes)[0], axis=row_axis), row_axis)


def _rows_and_labels(
    logits: Array, labels: Array, axes: tuple[int, ...], where: ArrayLike | None
) -> tuple[Array, Array, int, Array | None]:
    """Logits with one class axis, labels that keep it, the axis, and which examples exist."""
    check_class_labels(labels, "logits", logits, axes)
    classes, examples = split_where(where, logits, axes)
    if examples is not None:
        logits = keep(jnp.expand_dims(examples, axes), logits, 0)
        labels = keep(examples, labels, 0)
    rows, row_axis = one_axis(keep(classes, logits, -jnp.inf), axes)
    index = jnp.expand_dims(class_index(labels, rows.shape[row_axis]), row_axis)
    return rows, index, row_axis, examples


def softmax_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch"]:
    """Categorical cross-entropy of class indices: logsumexp(x) − x_y, one loss per example.

    It is softplus of minus the label's log-odds, and is computed with the label left out of the
    sum, so that it does not collapse for confident examples: at a margin of 20 nats the usual
    form is exactly 0 in float32, value and gradient. The gradient is softmax(x) − onehot(y).

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example, the shape of `logits` less the class axis.
        axis: the class axis, or several that make one together (the index counts in their order).
        where: of the logits' shape: which classes exist (a label on another costs inf); of the
            batch's shape: which examples exist (the others have the loss 0 and the gradient 0).

    Returns:
        The loss of each example in nats, in float32 for 16-bit logits.

    Raises:
        TypeError: `logits` are not floating point, `labels` not integers, `where` not boolean.
        ValueError: the shapes do not go together, or `axis` is not there.

    Edges:
        A class at −inf is out of the softmax, and a label on it costs inf. One class at +inf costs
        0 if it is the label, else inf; several give NaN. A NaN logit gives a NaN loss for its
        example, with a gradient of 0. A label out of range gives NaN in loss and gradient: it
        never wraps. Where no class exists the loss and the gradient are 0.

    Error:
        float32, 2 to 5,003 classes, every loss ≥ 1e-30, on CPU: ≤ 3.5 ulp for the loss and the
        label's gradient, ≤ 6 for other gradients ≥ 1e-30, rows of the gradient sum to 0 within
        8 ulp of their largest entry (`tests/certificate.json`, `experiments/BOUNDS.md`).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> logits = jnp.array([[0.0, 0.0, -jnp.inf], [20.0, 0.0, -jnp.inf]])
        >>> labels = jnp.array([1, 0])
        >>> softmax_cross_entropy_with_integer_labels(logits, labels)
        Array([6.9314718e-01, 2.0611537e-09], dtype=float32)
        >>> jax.grad(lambda x: softmax_cross_entropy_with_integer_labels(x, labels).sum())(logits)
        Array([[ 5.0000000e-01, -5.0000000e-01,  0.0000000e+00],
               [-2.0611537e-09,  2.0611537e-09,  0.0000000e+00]], dtype=float32)

    Source:
        As `softmax_cross_entropy`. The collapse: Prieto et al., Grokking at the edge of numerical
        stability (2025), arXiv 2501.04697.
    """
    logits, labels = as_floating("logits", logits), as_integer("labels", labels)
    axes = as_axes("logits", axis, logits.ndim)
    rows, index, row_axis, examples = _rows_and_labels(logits, labels, axes, where)
    if rows.shape[row_axis] == 0:
        return jnp.zeros(labels.shape, arithmetic_dtype(logits.dtype))
    losses = jnp.squeeze(integer_loss(rows, index, axis=row_axis), row_axis)
    return keep(examples, losses, 0)


def log_odds(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch"]:
    """Log-odds of the label against all other classes: x_y − logsumexp of the others.

    The one number that the categorical loss is a function of: the loss is softplus(−log_odds), the
    probability of the label sigmoid(log_odds), and 1 − p sigmoid(−log_odds).

    Args:
        logits: unnormalised log-probabilities, the classes along `axis`.
        labels: the class index of each example, the shape of `logits` less the class axis.
        axis: the class axis, or several that make one together.
        where: of the logits' shape: which classes exist; of the batch's shape: which examples
            exist (the others have log-odds of inf: the label is certain, and the loss 0).

    Returns:
        The log-odds of each label in nats, in float32 for 16-bit logits.

    Raises:
        TypeError: `logits` are not floating point, `labels` not integers, `where` not boolean.
        ValueError: the shapes do not go together, or `axis` is not there.

    Edges:
        inf where no other class exists, −inf for a label at −inf; NaN for a label out of range.

    Error:
        float32: a few ulps of the larger of the margin to the best other class and the logarithm
        of how many others compete.

    Example:
        >>> import jax.numpy as jnp
        >>> log_odds(jnp.array([100.0, 0.0, 0.0]), jnp.array(0))
        Array(99.306854, dtype=float32)

    Source:
        Good, Probability and the weighing of evidence (1950).
    """
    logits, labels = as_floating("logits", logits), as_integer("labels", labels)
    axes = as_axes("logits", axis, logits.ndim)
    rows, index, row_axis, examples = _rows_and_labels(logits, labels, axes, where)
    if rows.shape[row_axis] == 0:
        return jnp.full(labels.shape, jnp.inf, arithmetic_dtype(logits.dtype))
    odds = jnp.squeeze(log_odds_of_label(rows, index, axis=row_axis), row_axis)
    return keep(examples, odds, jnp.inf)
