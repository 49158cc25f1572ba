"""Cross-entropy from probabilities, for those who have no logits."""

from typing import Any

import jax.numpy as jnp

from .._exact import arithmetic_dtype, by_precision, elementwise
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    Bool,
    Float,
    Real,
    as_axes,
    as_floating,
    as_integer,
    as_real,
    one_axis,
)
from ._labels import (
    binary_label,
    binary_labels,
    check_class_labels,
    class_index,
    keep,
    where_of_examples,
)


def _probability(p: Array) -> Array:
    """p, or NaN where it is none."""
    return jnp.where((p >= 0) & (p <= 1), p, jnp.nan)


def _weighed(weight: Array, cost: Array) -> Array:
    """weight·cost, and 0 at weight 0 whatever the cost."""
    return jnp.where(weight == 0, 0, weight * cost)


def _log1m(p: Array) -> Array:
    # log(1 − p): 1 − p is exact from ½ up, and near enough from ¼.
    return jnp.where(p > 0.25, jnp.log(1 - p), jnp.log1p(-jnp.minimum(p, 0.25)))


def _binary_form(p: Array, y: Array) -> Array:
    p, y = _probability(p), binary_label(y, p.dtype)
    return _weighed(y, jnp.abs(jnp.log(p))) + _weighed(1 - y, jnp.abs(_log1m(p)))


def _binary_slope(p: Array, y: Array, *, dtype: Any) -> Array:
    # (1 − y)/(1 − p) − y/p, each term 0 where its label is
    p, y = _probability(p).astype(dtype), binary_label(y, dtype)
    no, yes = (1 - y) == 0, y == 0
    return jnp.where(no, 0, (1 - y) / jnp.where(no, 1, 1 - p)) - jnp.where(
        yes, 0, y / jnp.where(yes, 1, p)
    )


def _binary_label_slope(p: Array, y: Array, *, dtype: Any) -> Array:
    p = _probability(p).astype(dtype)
    return _log1m(p) - jnp.log(p)


def _binary_definition(p: Array, y: Array) -> Array:
    y = binary_label(y, p.dtype)
    return -_weighed(y, jnp.log(p)) - _weighed(1 - y, jnp.log1p(-p))


_binary = elementwise(
    "binary_cross_entropy_of_probabilities",
    _binary_slope,
    _binary_label_slope,
    definition=_binary_definition,
    **by_precision(float64=_binary_form, float32=_binary_form, float16=_binary_form),
)


def _cost_form(p: Array, q: Array) -> Array:
    return _weighed(q, jnp.abs(jnp.log(_probability(p))))


def _cost_slope(p: Array, q: Array, *, dtype: Any) -> Array:
    p, q = _probability(p).astype(dtype), q.astype(dtype)
    return jnp.where(q == 0, 0, -q / jnp.where(q == 0, 1, p))


_cost = elementwise(
    "cross_entropy_of_probabilities",
    _cost_slope,
    lambda p, q, dtype: -jnp.log(_probability(p).astype(dtype)),
    definition=lambda p, q: -_weighed(q, jnp.log(p)),
    **by_precision(float64=_cost_form, float32=_cost_form, float16=_cost_form),
)


def binary_cross_entropy(
    probs: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
    """Binary cross-entropy of probabilities: −y·log p − (1 − y)·log(1 − p), one loss per example.

    Where logits are at hand, `sigmoid_binary_cross_entropy` is exact for them; a probability near 1
    has already lost its digits.

    Args:
        probs: probability of class 1, of any shape.
        labels: 0 or 1 (boolean, integer or floating point), or a probability, of the same shape.
        where: which examples exist; the others have the loss 0 and the gradient 0.

    Returns:
        The loss of each example in nats, in float32 for 16-bit probabilities.

    Raises:
        TypeError: `probs` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ.

    Edges:
        No hidden clip: a probability of 0 or 1 costs 0 where the label agrees and inf where it does
        not. There the gradient is −1 or 1, and ∓inf. What is no probability gives NaN, and so
        does an integer label that is neither 0 nor 1.

    Error:
        float32: ≤ 1 ulp; computed in float64 and rounded once.

    Example:
        >>> import jax.numpy as jnp
        >>> binary_cross_entropy(jnp.array([0.5, 1.0, 0.0]), jnp.array([1, 1, 1]))
        Array([0.6931472, 0.       ,       inf], dtype=float32)

    Source:
        Good, Rational decisions, Journal of the Royal Statistical Society B 14 (1952).
    """
    probs = as_floating("probs", probs)
    labels = binary_labels(labels, "probs", probs)
    where = where_of_examples(where, "probs", probs)
    losses = _binary(
        keep(where, probs, 0.5), keep(where, labels, 0), dtype=arithmetic_dtype(probs.dtype)
    )
    return keep(where, losses, 0)


def categorical_cross_entropy(
    probs: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "..."],
    axis: Axis = -1,
) -> Float[Array, "..."]:
    """Categorical cross-entropy of probabilities: −Σ q_k·log p_k, one loss per example.

    Where logits are at hand, `softmax_cross_entropy` is exact for them; a probability near 1 has
    already lost its digits.

    Args:
        probs: probabilities of the classes along `axis`; used as given, not normalised.
        labels: class indices (integers, the shape of `probs` less its class axis), or a
            distribution over the classes (the shape of `probs`), used as given.
        axis: the class axis, or several that make one together.

    Returns:
        The loss of each example in nats, in float32 for 16-bit probabilities.

    Raises:
        TypeError: `probs` are not floating point, or `labels` are complex.
        ValueError: the shape of `labels` is neither of the two, or `axis` is not there.

    Edges:
        No hidden clip: a probability of 0 costs inf under any label mass, and nothing under none.
        What is no probability gives NaN, and so does a class index that is out of range.

    Error:
        float32: ≤ 1 ulp for a class index; computed in float64 and rounded once.

    Example:
        >>> import jax.numpy as jnp
        >>> probs = jnp.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
        >>> categorical_cross_entropy(probs, jnp.array([0, 0]))
        Array([0.6931472, 0.       ], dtype=float32)
        >>> categorical_cross_entropy(probs, jnp.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]))
        Array([1.3862944, 0.       ], dtype=float32)

    Source:
        Good, Rational decisions, Journal of the Royal Statistical Society B 14 (1952).
    """
    probs, labels = as_floating("probs", probs), as_real("labels", labels)
    axes = as_axes("probs", axis, probs.ndim)
    dtype = arithmetic_dtype(probs.dtype)
    if labels.shape == probs.shape:
        return jnp.sum(_cost(probs, labels.astype(dtype), dtype=dtype), axis=axes)
    labels = as_integer("labels", labels)
    check_class_labels(labels, "probs", probs, axes)
    rows, row_axis = one_axis(probs, axes)
    index = jnp.expand_dims(class_index(labels, rows.shape[row_axis]), row_axis)
    chosen = jnp.take_along_axis(rows, jnp.maximum(index, 0), row_axis, mode="clip")
    chosen = jnp.where(index >= 0, chosen, jnp.nan)
    losses = _cost(chosen, jnp.ones_like(chosen), dtype=dtype)
    return jnp.squeeze(losses, row_axis)
