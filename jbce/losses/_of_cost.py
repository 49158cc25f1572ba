"""Losses that are functions of a cross-entropy c: p = e^−c and 1 − p = −expm1(−c).

Nothing is subtracted from 1, and the gradient is the plain loss's times the function's slope: no
more than one number per example is added to its work.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .._arguments import PerClass, integer_rows, weighed
from .._typing import Array, ArrayLike, Axis
from ._categorical import softmax_cross_entropy_with_integer_labels


def of_cost(
    function: Callable[[Array], Array],
    at_infinity: Callable[[Array], Array],
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    class_weights: PerClass | None = None,
    **options: Any,
) -> Array:
    """A function of the plain loss, which is handed on where it is 0 or NaN."""
    plain = softmax_cross_entropy_with_integer_labels(logits, labels, axis, where, **options)
    ordinary = (plain > 0) & (plain < jnp.inf)
    losses = function(jnp.where(ordinary, plain, 1))
    losses = jnp.where(ordinary, losses, jnp.where(plain == jnp.inf, at_infinity(plain), plain))
    if class_weights is None:
        return losses
    rows = integer_rows(logits, labels, axis, where, **options)
    losses = jnp.expand_dims(losses, rows.axis)
    return rows.per_example(weighed(losses, rows.class_weights(class_weights), rows.labels))
