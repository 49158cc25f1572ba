"""Categorical cross-entropy from logits, and the log-odds that it is a function of."""

import jax
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
from ._dense import dense_loss, dense_loss_with_options
from ._integer import integer_loss, log_odds_of_label
from ._labels import check_class_labels, class_index, keep, leave_out, split_where
from ._options import (
    Number,
    PerClass,
    PerExample,
    is_off,
    not_ignored,
    parameter,
    per_example,
    share,
    spread,
    transformed,
    weights_of_classes,
)
from ._spread import spread_loss


def softmax_cross_entropy(
    logits: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "*shape"] | Bool[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    label_smoothing: PerExample = 0.0,
    class_weights: PerClass | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
    z_loss: PerExample = 0.0,
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
        label_smoothing: share α of the labels' mass that is spread evenly over the classes that
            exist: (1 − α)·q + α·Σq/n.
        class_weights: w, one for each class: the labels, smoothed, become w·q.
        temperature: T of logits/T.
        soft_cap: c of c·tanh(logits/c), before the temperature.
        logit_adjustment: one for each class, added after the temperature: τ·log π for priors π.
        z_loss: weight of (logsumexp of these logits)², added to the loss.

    Options may be arrays, traced or not: `class_weights` and `logit_adjustment` have the shape of
    the class axis, the others are one number or one per example.

    Returns:
        The loss of each example in nats, in float32 for 16-bit logits; the class axis is gone.

    Raises:
        TypeError: `logits` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ, `axis` is not there, or an option is out of its range (where
            it is traced, the loss is NaN).

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
    return dense_cross_entropy(
        logits,
        labels,
        axis,
        where,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        temperature=temperature,
        soft_cap=soft_cap,
        logit_adjustment=logit_adjustment,
        z_loss=z_loss,
    )


def dense_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    *,
    epsilon: PerExample = 0.0,
    label_smoothing: PerExample = 0.0,
    class_weights: PerClass | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
    z_loss: PerExample = 0.0,
) -> Array:
    """`softmax_cross_entropy`, and `poly_loss_cross_entropy` for an `epsilon`."""
    logits, labels = as_floating("logits", logits), as_real("labels", labels)
    check_same_shape("labels", labels, "logits", logits)
    axes = as_axes("logits", axis, logits.ndim)
    dtype = arithmetic_dtype(logits.dtype)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels.astype(dtype)
    elif not is_off(label_smoothing, 0.0) or class_weights is not None:
        wider = max(arithmetic_dtype(labels.dtype), dtype, key=lambda dtype: dtype.itemsize)
        labels = labels.astype(wider)
    logits, labels, examples = leave_out(logits, labels, axes, where)
    logits = transformed(logits, axes, soft_cap, temperature, logit_adjustment)
    if not is_off(label_smoothing, 0.0):
        smoothing = share("label_smoothing", label_smoothing, labels, axes)
        labels = spread(labels, logits, axes, smoothing)
    if class_weights is not None:
        labels = labels * weights_of_classes(class_weights, labels, axes)
    rows, row_axis = one_axis(logits, axes)
    labels, _ = one_axis(labels, axes)
    if is_off(epsilon, 0.0) and is_off(z_loss, 0.0):
        return jnp.squeeze(dense_loss(rows, labels, axis=row_axis), row_axis)
    like = jax.ShapeDtypeStruct(rows.shape, dtype)
    poly = parameter("epsilon", epsilon, like, (row_axis,))
    squared = per_example("z_loss", z_loss, like, (row_axis,))
    one_each = tuple(1 if axis == row_axis else n for axis, n in enumerate(rows.shape))
    per_row = (jnp.broadcast_to(option, one_each) for option in (poly, squared))
    losses = dense_loss_with_options(rows, labels, *per_row, axis=row_axis)
    return keep(examples, jnp.squeeze(losses, row_axis), 0)


def _existing(
    logits: Array,
    labels: Array,
    axes: tuple[int, ...],
    where: ArrayLike | None,
    ignore: Number | None = None,
) -> tuple[Array, Array, Array | None]:
    """Logits and labels without a trace of what does not exist, and which examples do."""
    check_class_labels(labels, "logits", logits, axes)
    classes, examples = split_where(where, logits, axes)
    examples = not_ignored(labels, ignore, examples)
    if examples is not None:
        logits = keep(jnp.expand_dims(examples, axes), logits, 0)
        labels = keep(examples, labels, 0)
    return keep(classes, logits, -jnp.inf), labels, examples


def _rows_and_index(
    logits: Array, labels: Array, axes: tuple[int, ...]
) -> tuple[Array, Array, int]:
    """Logits with one class axis, labels that keep it, and which it is."""
    rows, row_axis = one_axis(logits, axes)
    return rows, jnp.expand_dims(class_index(labels, rows.shape[row_axis]), row_axis), row_axis


def softmax_cross_entropy_with_integer_labels(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    ignore: Number | None = None,
    label_smoothing: PerExample = 0.0,
    class_weights: PerClass | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
    z_loss: PerExample = 0.0,
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
        ignore: the label that says that there is no such example (−100 in PyTorch).
        label_smoothing: as `softmax_cross_entropy`, and so are all that follow.
        class_weights: as there; without smoothing the loss is that of the label times its weight.
        temperature: as there.
        soft_cap: as there.
        logit_adjustment: as there.
        z_loss: as there.

    Returns:
        The loss of each example in nats, in float32 for 16-bit logits. No option makes dense labels
        of the indices.

    Raises:
        TypeError: `logits` are not floating point, `labels` not integers, `where` not boolean.
        ValueError: the shapes do not go together, `axis` is not there, or an option is out of its
            range (where it is traced, the loss is NaN).

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
    logits, labels, examples = _existing(logits, labels, axes, where, ignore)
    logits = transformed(logits, axes, soft_cap, temperature, logit_adjustment)
    rows, index, row_axis = _rows_and_index(logits, labels, axes)
    dtype = arithmetic_dtype(logits.dtype)
    if rows.shape[row_axis] == 0:
        return jnp.zeros(labels.shape, dtype)
    like = jax.ShapeDtypeStruct(logits.shape, dtype)
    weights = one_axis(weights_of_classes(class_weights, like, axes), axes)[0]
    if is_off(label_smoothing, 0.0) and is_off(z_loss, 0.0):
        losses = integer_loss(rows, index, axis=row_axis)
        if class_weights is not None:
            losses = weighed(losses, weights, index)
    else:
        like = jax.ShapeDtypeStruct(rows.shape, dtype)
        smoothing = share("label_smoothing", label_smoothing, like, (row_axis,))
        squared = per_example("z_loss", z_loss, like, (row_axis,))
        mass = (1 - smoothing) * weight_of_label(weights, index)
        per_row = (jnp.broadcast_to(a, index.shape) for a in (mass, smoothing, squared))
        mass, smoothing, squared = per_row
        losses = spread_loss(rows, index, mass, smoothing, weights, squared, axis=row_axis)
    return keep(examples, jnp.squeeze(losses, row_axis), 0)


def weight_of_label(weights: Array, index: Array) -> Array:
    """The entry of each label, of `weights_of_classes` or one that is alike."""
    return jnp.take(weights.reshape(-1), index, mode="clip")


def weighed(losses: Array, weights: Array, index: Array) -> Array:
    """Losses times the weights of their labels; 0 where that is 0, unless the label is unknown."""
    weight = weight_of_label(weights, index)
    return jnp.where((weight == 0) & (index >= 0), 0, weight * losses)


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
    logits, labels, examples = _existing(logits, labels, axes, where)
    rows, index, row_axis = _rows_and_index(logits, labels, axes)
    if rows.shape[row_axis] == 0:
        return jnp.full(labels.shape, jnp.inf, arithmetic_dtype(logits.dtype))
    odds = jnp.squeeze(log_odds_of_label(rows, index, axis=row_axis), row_axis)
    return keep(examples, odds, jnp.inf)
