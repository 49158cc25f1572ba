"""The confusion matrix, and metrics of all its classes at once."""

import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import is_defined, is_positive, most_probable
from ._sums import Additive, Columns, ratio, register


def cells(these: Examples) -> Columns:
    """The cell of each example in the matrix of labels and decisions."""
    if these.binary:
        num_classes = 2
        labels = is_positive(these.labels).astype(jnp.int32)
        decisions = (these.logits > 0).astype(jnp.int32)
    else:
        num_classes = these.logits.shape[-1]
        labels, decisions = these.labels, most_probable(these.logits)
    group = jnp.maximum(labels, 0) * num_classes + decisions
    return Columns((), group, num_classes**2, ~is_defined(these))


def _matrix(sums: Array) -> Array:
    num_classes = round(sums.size**0.5)
    return sums.reshape(num_classes, num_classes)


def confusion_matrix(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, "classes classes"]:
    """How much weight of each class was taken for each class.

        C[label, decision] = Σ w,   decision = (logit > 0), or argmax over the classes

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        `[classes, classes]`, 2 × 2 for binary labels (negative first); a row is a label, a column a
        decision: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together.

    Edges: a binary logit of 0 decides for the negative class; of several largest classes the first
        is the decision. An undefined example that counts makes everything NaN.
    Error: sums in float64, and one rounding (float32 holds counts to 16,777,216).

    Example:
        >>> import jax.numpy as jnp
        >>> confusion_matrix(jnp.array([2.0, -1.0, 0.5, -3.0]), jnp.array([1, 0, 0, 0])).tolist()
        [[2.0, 1.0], [0.0, 1.0]]
    """
    return _CONFUSION(logits, labels, weights, where)


_CONFUSION = Additive("confusion_matrix", cells, _matrix)
register(confusion_matrix, _CONFUSION)


def parts(sums: Array) -> tuple[Array, Array, Array]:
    """True positives, labels and decisions of each class."""
    matrix = _matrix(sums)
    # (`jnp.diagonal` gathers, whose derivative forgets float64.)
    right = jnp.sum(matrix * jnp.eye(matrix.shape[0], dtype=matrix.dtype), axis=0)
    return right, jnp.sum(matrix, axis=1), jnp.sum(matrix, axis=0)


def balanced_accuracy(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The mean recall of the classes that occur: accuracy as if they were equally frequent.

        mean over classes k with examples of  C[k, k] / Σ_j C[k, j]

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

    Edges: a class without examples has no recall and is left out. Nothing counts: NaN. An undefined
        example that counts: NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> float(balanced_accuracy(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])))
        0.75
    """
    return _BALANCED(logits, labels, weights, where)


def _mean_recall(sums: Array) -> Array:
    right, of_label, _ = parts(sums)
    occurs = of_label != 0.0
    recalls = jnp.where(occurs, ratio(right, of_label), 0.0)
    return ratio(jnp.sum(recalls), jnp.sum(occurs).astype(jnp.float64))


_BALANCED = Additive("balanced_accuracy", cells, _mean_recall)
register(balanced_accuracy, _BALANCED)


def matthews_correlation(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The correlation of labels and decisions, for any number of classes.

        (c·s − Σ_k t_k·d_k) / √((s² − Σ_k d_k²)·(s² − Σ_k t_k²))

    with c right of s in all, t_k labels and d_k decisions of class k.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A correlation in [−1, 1]: float32, or float64 for float64 logits. 0 is chance.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together.

    Edges: only one class occurs, or is decided for: NaN (0 in scikit-learn). An undefined example
        that counts: NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([2.0, -1.0, 0.5, -3.0]), jnp.array([1, 0, 0, 0])
        >>> round(float(matthews_correlation(logits, labels)), 4)
        0.5774

    Source: J. Gorodkin, Comparing two K-category assignments by a K-category correlation
        coefficient, Comput. Biol. Chem. 28 (2004).
    """
    return _MATTHEWS(logits, labels, weights, where)


def _correlation(sums: Array) -> Array:
    right, of_label, of_decision = parts(sums)
    total = jnp.sum(of_label)
    right, of_label, of_decision = (
        a / jnp.where(total == 0.0, 1.0, total) for a in (right, of_label, of_decision)
    )
    # 1 − Σ t² as Σ t·(1 − t): exactly 0 where there is one class.
    spread = jnp.sum(of_label * (1 - of_label)) * jnp.sum(of_decision * (1 - of_decision))
    root = jnp.sqrt(jnp.where(spread > 0.0, spread, 1.0))
    covariance = jnp.sum(right) - jnp.sum(of_label * of_decision)
    return jnp.where(spread > 0.0, covariance / root, jnp.nan)


_MATTHEWS = Additive("matthews_correlation", cells, _correlation)
register(matthews_correlation, _MATTHEWS)
