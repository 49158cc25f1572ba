"""The share of right decisions."""

import jax
import jax.numpy as jnp

from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import Examples, average, checked, examples, is_defined, is_positive, most_probable


def is_right(these: Examples) -> Array:
    """Whether the more probable class is the label, [*batch]."""
    if these.binary:
        return (these.logits > 0) == is_positive(these.labels)
    return most_probable(these.logits) == these.labels


def accuracy(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The weighted share of examples whose more probable class is the label.

        Σ w·[decision = label] / Σ w,   decision = (logit > 0), or argmax over the classes

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A share in [0, 1]: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together.

    Edges: a binary logit of 0 decides for the negative class; of several largest classes the first
        is the decision. Nothing counts: 0. An undefined example that counts: NaN.
    Error: one rounding of a float64 mean; with equal weights exact below 2^53 examples.

    Example:
        >>> import jax.numpy as jnp
        >>> float(accuracy(jnp.array([1.5, -0.5, 2.0, -3.0]), jnp.array([1, 0, 0, 0])))
        0.75
    """
    return _accuracy(*checked(logits, labels, weights, where))


@jax.jit
def _accuracy(logits: Array, labels: Array, weights: Array, where: Array) -> Array:
    these = examples(logits, labels, weights, where)
    shares = is_right(these).astype(these.dtype)
    return average(jnp.where(is_defined(these), shares, jnp.nan), these)
