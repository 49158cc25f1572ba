"""The share of right decisions."""

import operator
from typing import Any

import jax
import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import entry_of_label, is_defined, is_positive, most_probable
from ._proper import mean_columns, mean_value
from ._sums import Additive, Columns, register


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
        is the decision. Nothing counts: NaN. An undefined example that counts: NaN.
    Error: one rounding of a float64 mean; with equal weights exact below 2^53 examples.

    Example:
        >>> import jax.numpy as jnp
        >>> float(accuracy(jnp.array([1.5, -0.5, 2.0, -3.0]), jnp.array([1, 0, 0, 0])))
        0.75
    """
    return _ACCURACY(logits, labels, weights, where)


_ACCURACY = Additive(
    "accuracy",
    lambda these: mean_columns(is_right(these), ~is_defined(these)),
    mean_value,
    is_mean=True,
)
register(accuracy, _ACCURACY)


def top_k_accuracy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Real[ArrayLike, "*batch"],
    *,
    k: int = 5,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The weighted share of examples whose label is among the k most probable classes.

    Args:
        logits: `[*batch, classes]`.
        labels: `[*batch]`, class indices.
        k: how many guesses an example has, a Python integer ≥ 1.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A share in [0, 1]: float32, or float64 for float64 logits. `k=1` is `accuracy`.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, the labels are binary, or `k` < 1.

    Edges: of equal logits the class that comes first is the more probable one; so a constant model
        gets no more than it earns. Nothing counts: NaN. An undefined example that counts: NaN.
    Error: as `accuracy`.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
        >>> float(top_k_accuracy(logits, jnp.array([1, 2]), k=2))
        0.5
    """
    return _TOP_K(logits, labels, weights, where, k=k)


def _among_k(these: Examples, k: int) -> Columns:
    if these.binary:
        raise ValueError("`labels` must be class indices for `top_k_accuracy`, not binary.")
    of_label = entry_of_label(these)[..., None]
    classes = jax.lax.broadcasted_iota(jnp.int32, these.logits.shape, these.logits.ndim - 1)
    first = classes < these.labels[..., None]
    above = (these.logits > of_label) | ((these.logits == of_label) & first)
    return mean_columns(jnp.sum(above, axis=-1) < k, ~is_defined(these))


def _k(k: int) -> tuple[dict[str, Any], dict[str, Any]]:
    if operator.index(k) < 1:
        raise ValueError(f"`k` must be at least 1, but {k} came.")
    return {"k": operator.index(k)}, {}


_TOP_K = Additive("top_k_accuracy", _among_k, lambda sums, k: mean_value(sums), _k, is_mean=True)
register(top_k_accuracy, _TOP_K)
