"""How well a model ranks: areas under the ROC and the precision-recall curve, and the curves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import checked, examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import is_defined, is_positive
from ._rank import Ranking, average_precision_of, mann_whitney, ranked, ranking


def roc_auc(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The area under the ROC curve, exactly: the Mann–Whitney statistic, where a tie counts ½.

        Σ_{i positive, j negative} w_i·w_j·([x_i > x_j] + ½·[x_i = x_j]) / (Σ_i w_i · Σ_j w_j)

    by one sort: O(n log n) time, O(n) memory. For class indices it is the unweighted average over
    the classes, each against the rest and ranked by its log-odds
    (`sklearn.metrics.roc_auc_score(multi_class="ovr", average="macro")`).

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A probability in [0, 1]: float32, or float64 for float64 logits. ½ is chance.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there are 2^31 examples or more.

    Edges: infinite logits rank where they belong, and tie with each other. Nothing to compare (no
        positive or no negative example counts; for class indices, in any class): NaN. An undefined
        example that counts: NaN. Constant between ties, so its derivative is 0.
    Error: with equal weights one rounding of the exact value up to 1e8 examples; else sums in
        float64. Log-odds of classes are computed in float64 and rounded to float32 (unless the
        logits are float64) before they are ranked.

    Example:
        >>> import jax.numpy as jnp
        >>> float(roc_auc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])))
        0.75

    Source: J. A. Hanley and B. J. McNeil, The meaning and use of the area under a receiver
        operating characteristic (ROC) curve, Radiology 143 (1982).
    """
    return ranked(mann_whitney, logits, labels, weights, where)


def average_precision(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The mean precision at the positive examples: the area under the precision-recall curve.

        Σ_{i positive} w_i·precision(x_i) / Σ_{i positive} w_i

    with precision(x) the share of positives among the examples with a logit ≥ x: steps, without
    interpolation (which is optimistic). For class indices it is the unweighted average over
    the classes, each against the rest and ranked by its log-odds.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A share in [0, 1]: float32, or float64 for float64 logits. Chance is the share of positives.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there are 2^31 examples or more.

    Edges: infinite logits rank where they belong. No positive example counts (in any class): NaN.
        An undefined example that counts: NaN. Constant between ties, so its derivative is 0.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])
        >>> round(float(average_precision(logits, labels)), 4)
        0.8333

    Source: J. Davis and M. Goadrich, The relationship between precision-recall and ROC curves, ICML
        (2006).
    """
    return ranked(average_precision_of, logits, labels, weights, where)


class RocCurve(NamedTuple):
    """True against false positive rate, from (0, 0) to (1, 1)."""

    false_positive_rate: Float[Array, " points"]
    true_positive_rate: Float[Array, " points"]
    thresholds: Float[Array, " points"]  # positive is what is at or above; +inf at first


class PrecisionRecallCurve(NamedTuple):
    """Precision against recall, from recall 0 to 1."""

    precision: Float[Array, " points"]
    recall: Float[Array, " points"]
    thresholds: Float[Array, " points"]  # positive is what is at or above; +inf at first


def roc_curve(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> RocCurve:
    """The receiver operating characteristic: true and false positive rate at every threshold.

    Args:
        logits: `[*batch]`.
        labels: `[*batch]`; boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        One point more than there are examples, the first at (0, 0), the last at (1, 1); float32, or
        float64 for float64 logits. The shape does not depend on the values, so that `jit` and
        `vmap` take it: the points of equal logits are one point, several times.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, the labels are class indices, or there are 2^31
            examples or more.

    Edges: no positive, or no negative example counts: NaN rates. An undefined example that counts:
        NaN rates. What does not count comes last, at (1, 1) with threshold −inf.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> curve = roc_curve(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1]))
        >>> curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    return _roc_curve(*_binary("roc_curve", logits, labels, weights, where))


def precision_recall_curve(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> PrecisionRecallCurve:
    """Precision and recall at every threshold.

    Args:
        logits: `[*batch]`.
        labels: `[*batch]`; boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        One point more than there are examples, from recall 0 (where precision is 1 by convention)
        to recall 1; float32, or float64 for float64 logits. The shape does not depend on the
        values: the points of equal logits are one point, several times.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, the labels are class indices, or there are 2^31
            examples or more.

    Edges: no positive example counts: NaN recall. An undefined example that counts: NaN. What does
        not count comes last, with threshold −inf.
    Error: sums in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> curve = precision_recall_curve(jnp.array([0.1, 0.4, 0.3, 0.8]), jnp.array([0, 0, 1, 1]))
        >>> curve.precision.tolist()[:3], curve.recall.tolist()
        ([1.0, 1.0, 0.5], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    return _precision_recall_curve(
        *_binary("precision_recall_curve", logits, labels, weights, where)
    )


def _binary(name: str, *arguments: ArrayLike) -> tuple[Array, Array, Array, Array]:
    arrays = checked(*arguments)
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"`labels` must be binary for `{name}`: pass one class's log-odds.")
    return arrays


@jax.jit
def _roc_curve(*arrays: Array) -> RocCurve:
    order, undefined, dtype = _descending(*arrays)
    with jax.enable_x64(True):
        positives, negatives = (jnp.where(undefined, jnp.nan, a) for a in _from_nothing(order))
        curve = RocCurve(negatives / negatives[-1], positives / positives[-1], _thresholds(order))
        return jax.tree.map(lambda a: a.astype(dtype), curve)


@jax.jit
def _precision_recall_curve(*arrays: Array) -> PrecisionRecallCurve:
    order, undefined, dtype = _descending(*arrays)
    with jax.enable_x64(True):
        positives, negatives = (jnp.where(undefined, jnp.nan, a) for a in _from_nothing(order))
        either = positives + negatives
        precision = jnp.where(either == 0.0, 1.0, positives / jnp.where(either == 0.0, 1.0, either))
        curve = PrecisionRecallCurve(precision, positives / positives[-1], _thresholds(order))
        return jax.tree.map(lambda a: a.astype(dtype), curve)


def _from_nothing(order: Ranking) -> tuple[Array, ...]:
    return tuple(jnp.concatenate([jnp.zeros(1, jnp.float64), a]) for a in order.through())


def _thresholds(order: Ranking) -> Array:
    return jnp.concatenate([jnp.full(1, jnp.inf, order.values.dtype), order.values])


def _descending(*arrays: Array) -> tuple[Ranking, Array, jnp.dtype]:
    these = examples(*arrays)
    undefined = jnp.any(these.counted & ~is_defined(these))
    with jax.enable_x64(True):
        # What does not count comes last.
        values = jnp.where(these.counted, these.logits, -jnp.inf).ravel()
        order = ranking(values, is_positive(these.labels).ravel(), these.weights.ravel())
    return order, undefined, these.dtype
