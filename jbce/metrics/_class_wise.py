"""Precision, recall and F1: of a class, or averaged over the classes."""

from typing import Any, Literal

import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._bins import one_of
from ._confusion import cells, parts
from ._sums import Additive, Columns, ratio, register

Average = Literal["positive", "macro", "micro", "weighted", "none"]


def _columns(these: Examples, average: Average | None) -> Columns:
    if average == "positive" and not these.binary and these.logits.shape[-1] != 2:
        raise ValueError(
            f"`average`='positive' is for two classes, but {these.logits.shape[-1]} came."
        )
    return cells(these)


def _averaged(
    numerator: Array, denominator: Array, support: Array, average: Average | None
) -> Array:
    if average is None:
        average = "positive" if support.size == 2 else "macro"
    if average == "positive":
        return ratio(numerator[1], denominator[1])
    if average == "micro":
        return ratio(jnp.sum(numerator), jnp.sum(denominator))
    of_classes = ratio(numerator, denominator)
    if average == "none":
        return of_classes
    if average == "macro":
        return jnp.mean(of_classes)
    return ratio(jnp.sum(jnp.where(support == 0.0, 0.0, support * of_classes)), jnp.sum(support))


def _precision(sums: Array, average: Average | None) -> Array:
    right, of_label, of_decision = parts(sums)
    return _averaged(right, of_decision, of_label, average)


def _recall(sums: Array, average: Average | None) -> Array:
    right, of_label, _ = parts(sums)
    return _averaged(right, of_label, of_label, average)


def _f1(sums: Array, average: Average | None) -> Array:
    right, of_label, of_decision = parts(sums)
    return _averaged(2 * right, of_label + of_decision, of_label, average)


def _average(average: Average | None) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"average": average if average is None else one_of("average", average, Average)}, {}


def precision(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    average: Average | None = None,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, "*classes"]:
    """Of the examples that were taken for a class, the share that is of it.

        C[k, k] / Σ_j C[j, k]

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        average: `positive`: that of the positive class, the second of two; `macro`: the mean over
            the classes; `weighted`: the same, weighted by how often a class is the label; `micro`:
            of the sums over the classes; `none`: one per class. None: `positive` of two classes,
            `macro` of more.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A share in [0, 1], or `[classes]` of them: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there is no such `average`.

    Edges: a class that is never decided for has no precision: NaN, and so has a
        `macro` average over it (0 in scikit-learn). An undefined example that counts: NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([2.0, -1.0, 0.5, -3.0]), jnp.array([1, 0, 0, 0])
        >>> round(float(precision(logits, labels)), 4)
        0.5
    """
    return _PRECISION(logits, labels, weights, where, average=average)


_PRECISION = Additive("precision", _columns, _precision, _average)
register(precision, _PRECISION)


def recall(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    average: Average | None = None,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, "*classes"]:
    """Of the examples of a class, the share that was taken for it: the true positive rate.

        C[k, k] / Σ_j C[k, j]

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        average: `positive`: that of the positive class, the second of two; `macro`: the mean over
            the classes; `weighted`: the same, weighted by how often a class is the label; `micro`:
            of the sums over the classes; `none`: one per class. None: `positive` of two classes,
            `macro` of more.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A share in [0, 1], or `[classes]` of them: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there is no such `average`.

    Edges: a class without examples has no recall: NaN, and so has a `macro` average over
        it (0 in scikit-learn; `balanced_accuracy` leaves such classes out). An undefined
        example that counts: NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([2.0, -1.0, 0.5, -3.0]), jnp.array([1, 0, 0, 0])
        >>> round(float(recall(logits, labels)), 4)
        1.0
    """
    return _RECALL(logits, labels, weights, where, average=average)


_RECALL = Additive("recall", _columns, _recall, _average)
register(recall, _RECALL)


def f1_score(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    average: Average | None = None,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, "*classes"]:
    """The harmonic mean of precision and recall.

        2·C[k, k] / (Σ_j C[k, j] + Σ_j C[j, k])

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        average: `positive`: that of the positive class, the second of two; `macro`: the mean over
            the classes; `weighted`: the same, weighted by how often a class is the label; `micro`:
            of the sums over the classes; `none`: one per class. None: `positive` of two classes,
            `macro` of more.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A share in [0, 1], or `[classes]` of them: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there is no such `average`.

    Edges: a class that neither occurs nor is decided for has no score: NaN, and so has a
        `macro` average over it. An undefined example that counts: NaN.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([2.0, -1.0, 0.5, -3.0]), jnp.array([1, 0, 0, 0])
        >>> round(float(f1_score(logits, labels)), 4)
        0.6667
    """
    return _F1(logits, labels, weights, where, average=average)


_F1 = Additive("f1_score", _columns, _f1, _average)
register(f1_score, _F1)
