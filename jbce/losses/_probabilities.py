"""Cross-entropy from probabilities, for those who have no logits."""

from typing import Any

import jax
import jax.numpy as jnp

from .._arguments import (
    Number,
    binary_label,
    binary_labels,
    check_class_labels,
    class_index,
    entry_of_class,
    is_off,
    keep,
    not_ignored,
    parameter,
    where_of_examples,
    within,
)
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


def _clipped(probs: Array, epsilon: Number) -> Array:
    """Probabilities in [ε, 1 − ε]; what is no probability stays none."""
    if is_off(epsilon, 0.0):
        return probs
    probs = probs.astype(arithmetic_dtype(probs.dtype))
    least = within("epsilon", epsilon, parameter("epsilon", epsilon, probs), 0.0, 0.5)
    inside = (probs >= 0) & (probs <= 1)
    return jnp.where(inside, jnp.clip(probs, least, 1 - least), probs)


def binary_cross_entropy(
    probs: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    where: Bool[ArrayLike, "*batch"] | None = None,
    ignore: Number | None = None,
    epsilon: Number = 0.0,
) -> Float[Array, "*batch"]:
    """Binary cross-entropy of probabilities: −y·log p − (1 − y)·log(1 − p), one loss per example.

    Where logits are at hand, `sigmoid_binary_cross_entropy` is exact for them; a probability near 1
    has already lost its digits.

    Args:
        probs: probability of class 1, of any shape.
        labels: 0 or 1 (boolean, integer or floating point), or a probability, of the same shape.
        where: which examples exist; the others have the loss 0 and the gradient 0.
        ignore: the label that says that there is no such example; its loss is 0, and a mean has to
            leave it out too, by `where`.
        epsilon: probabilities are clipped to [ε, 1 − ε], where it is asked for.

    Returns:
        The loss of each example in nats, in float32 for 16-bit probabilities.

    Raises:
        TypeError: `probs` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shapes differ, or `epsilon` is not from 0 to 1/2.

    Edges:
        No hidden clip: a probability of 0 or 1 costs 0 where the label agrees and inf where it does
        not. There the gradient is −1 or 1, and ∓inf. What is clipped has the gradient 0, however
        wrong it is. What is no probability gives NaN, and so does an integer label that is neither
        0 nor 1.

    Error:
        float32: ≤ 1 ulp; computed in float64 and rounded once.

    Example:
        >>> import jax.numpy as jnp
        >>> binary_cross_entropy(jnp.array([0.5, 1.0, 0.0]), jnp.array([1, 1, 1]))
        Array([0.6931472, 0.       ,       inf], dtype=float32)

    Source:
        Good, Rational decisions, Journal of the Royal Statistical Society B 14 (1952).
    """
    probs, given = as_floating("probs", probs), as_real("labels", labels)
    labels = binary_labels(given, "probs", probs)
    where = not_ignored(given, ignore, where_of_examples(where, "probs", probs))
    probs = _clipped(probs, epsilon)
    losses = _binary(
        keep(where, probs, 0.5), keep(where, labels, 0), dtype=arithmetic_dtype(probs.dtype)
    )
    return keep(where, losses, 0)


def categorical_cross_entropy(
    probs: Float[ArrayLike, "*shape"],
    labels: Real[ArrayLike, "..."],
    axis: Axis = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    *,
    ignore: Number | None = None,
    epsilon: Number = 0.0,
) -> Float[Array, "..."]:
    """Categorical cross-entropy of probabilities: −Σ q_k·log p_k, one loss per example.

    Where logits are at hand, `softmax_cross_entropy` is exact for them; a probability near 1 has
    already lost its digits.

    Args:
        probs: probabilities of the classes along `axis`; used as given, not normalised.
        labels: class indices (integers, the shape of `probs` less its class axis), or a
            distribution over the classes (the shape of `probs`), used as given.
        axis: the class axis, or several that make one together.
        where: which examples exist; the others have the loss 0 and the gradient 0.
        ignore: the class index that says that there is no such example.
        epsilon: probabilities are clipped to [ε, 1 − ε], where it is asked for.

    Returns:
        The loss of each example in nats, in float32 for 16-bit probabilities.

    Raises:
        TypeError: `probs` are not floating point, `labels` are complex, `where` is not boolean.
        ValueError: the shape of `labels` is neither of the two, `axis` is not there, `epsilon` is
            not from 0 to 1/2, or there are dense labels to ignore.

    Edges:
        No hidden clip: a probability of 0 costs inf under any label mass, and nothing under none;
        its gradient is −inf, and that of a probability of 1 −1 at the label. What is clipped has
        the gradient 0. What is no probability gives NaN, and so does an index that is out of range.

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
    if where is not None:
        batch = tuple(n for a, n in enumerate(probs.shape) if a not in axes)
        where = where_of_examples(where, "losses", jax.ShapeDtypeStruct(batch, probs.dtype))
    if labels.shape == probs.shape:
        if ignore is not None:
            raise ValueError("`ignore` is for class indices, but dense labels came; use `where`.")
        kept = None if where is None else jnp.expand_dims(where, axes)
        probs = _clipped(keep(kept, probs, 1), epsilon)
        dtype = arithmetic_dtype(probs.dtype)
        labels = keep(kept, labels.astype(dtype), 0)
        return jnp.sum(_cost(probs, labels, dtype=dtype), axis=axes)
    labels = as_integer("labels", labels)
    check_class_labels(labels, "probs", probs, axes)
    where = not_ignored(labels, ignore, where)
    if where is not None:
        probs = keep(jnp.expand_dims(where, axes), probs, 1)
        labels = keep(where, labels, 0)
    probs = _clipped(probs, epsilon)
    dtype = arithmetic_dtype(probs.dtype)
    rows, row_axis = one_axis(probs, axes)
    index = jnp.expand_dims(class_index(labels, rows.shape[row_axis]), row_axis)
    chosen = entry_of_class(rows, index, row_axis)
    chosen = jnp.where(index >= 0, chosen, jnp.nan)
    losses = _cost(chosen, jnp.ones_like(chosen), dtype=dtype)
    return keep(where, jnp.squeeze(losses, row_axis), 0)
