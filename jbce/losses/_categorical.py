"""Categorical cross-entropy from logits, and the log-odds that it is a function of."""

from typing import Any, Unpack

import jax.numpy as jnp

from .._arguments import (
    BinaryOptions,
    Number,
    PerClass,
    PerExample,
    check_names,
    dense_rows,
    integer_rows,
    is_off,
    parameter,
    per_example,
    share,
    weighed,
    weight_of_label,
)
from .._typing import Array, ArrayLike, Axis, Bool, Float, Integer, Real
from ._dense import dense_loss, dense_loss_with_options
from ._integer import integer_loss, log_odds_of_label
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
        float32, 2 to 10,007 classes, every loss ≥ 1e-30, one-hot labels, on CPU: ≤ 3.5 ulp for the
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
    z_loss: PerExample = 0.0,
    **options: Any,
) -> Array:
    """`softmax_cross_entropy`, and `poly_loss_cross_entropy` for an `epsilon`."""
    rows = dense_rows(logits, labels, axis, where, **options)
    if is_off(epsilon, 0.0) and is_off(z_loss, 0.0):
        return rows.per_example(dense_loss(rows.logits, rows.labels, axis=rows.axis))
    poly = rows.per_row(parameter("epsilon", epsilon, rows.like, (rows.axis,)))
    squared = rows.per_row(per_example("z_loss", z_loss, rows.like, (rows.axis,)))
    losses = dense_loss_with_options(rows.logits, rows.labels, poly, squared, axis=rows.axis)
    return rows.per_example(losses)


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
        ignore: the label that says that there is no such example (−100 in PyTorch); its loss is 0,
            and a mean has to leave it out too, by `where`.
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
        float32, 2 to 10,007 classes, every loss ≥ 1e-30, on CPU: ≤ 3.5 ulp for the loss and the
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
    rows = integer_rows(
        logits,
        labels,
        axis,
        where,
        ignore=ignore,
        temperature=temperature,
        soft_cap=soft_cap,
        logit_adjustment=logit_adjustment,
    )
    x, index = rows.logits, rows.labels
    if x.shape[rows.axis] == 0:
        return rows.per_example(jnp.zeros(index.shape, rows.like.dtype))
    weights = rows.class_weights(class_weights)
    if is_off(label_smoothing, 0.0) and is_off(z_loss, 0.0):
        losses = integer_loss(x, index, axis=rows.axis)
        if class_weights is not None:
            losses = weighed(losses, weights, index)
    else:
        smoothing = share("label_smoothing", label_smoothing, rows.like, (rows.axis,))
        squared = per_example("z_loss", z_loss, rows.like, (rows.axis,))
        per_row = ((1 - smoothing) * weight_of_label(weights, index), smoothing, squared)
        mass, smoothing, squared = (rows.per_row(option) for option in per_row)
        weighted = class_weights is not None
        losses = spread_loss(
            x, index, mass, smoothing, weights, squared, axis=rows.axis, weighted=weighted
        )
    return rows.per_example(losses)


def log_odds(
    logits: Float[ArrayLike, "*shape"],
    labels: Integer[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    **options: Unpack[BinaryOptions],
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
        **options: `ignore`, `temperature`, `soft_cap`, `logit_adjustment` of the loss.

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
    check_names(log_odds, options, BinaryOptions)
    rows = integer_rows(logits, labels, axis, where, **options)
    if rows.logits.shape[rows.axis] == 0:
        return rows.per_example(jnp.full(rows.labels.shape, jnp.inf, rows.like.dtype))
    odds = log_odds_of_label(rows.logits, rows.labels, axis=rows.axis)
    return rows.per_example(odds, jnp.inf)
