"""Proper scores: no model can do better than to say the probability that it believes."""

import math
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real, as_real, describe
from ..losses import sigmoid_binary_cross_entropy, softmax_cross_entropy_with_integer_labels
from ..numerics import one_minus_softmax, sigmoid, softmax
from ._examples import is_class, is_defined
from ._sums import Additive, Columns, column, ratio, register

OverClasses = Literal["sum", "half", "mean"]


def mean_columns(values: Array, undefined: Array | None = None) -> Columns:
    """What a weighted mean is made of."""
    return Columns(
        (jnp.ones_like(values, jnp.float64), values.astype(jnp.float64)), None, 1, undefined
    )


def mean_value(sums: Array) -> Array:
    """The weighted mean; NaN where nothing counts."""
    return ratio(column(sums, 1)[0], column(sums, 0)[0])


def log_loss(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    base: Real[ArrayLike, ""] = math.e,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The weighted mean of −log p(label): the cross-entropy of the labels and the model.

        Σ w·(−log p_y) / (Σ w · log base),   p = sigmoid(logit), or softmax over the classes

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats in [0, 1].
        base: of the logarithm, and so the unit: e gives nats, 2 bits, 10 bans. May be traced.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A loss ≥ 0 in the unit that `base` gives: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or `base` is known and not a positive finite
            number other than 1.

    Edges: an example with an infinite logit costs 0 or inf. A row where no class exists (all −inf)
        costs 0, as in `jbce.losses`. Nothing counts: NaN. An undefined example that counts: NaN.
    Error: that of the losses (see `jbce.losses`), averaged in float64, and one rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> labels = jnp.array([True, False, True])
        >>> float(log_loss(jnp.zeros(3), labels, base=2))
        1.0

    Source: I. J. Good, Rational decisions, J. R. Stat. Soc. B 14 (1952).
    """
    return _LOG_LOSS(logits, labels, weights, where, base=base)


def losses_of(these: Examples) -> Array:
    """The loss of each example in nats, [*batch]."""
    if these.binary:
        return sigmoid_binary_cross_entropy(these.logits, these.labels)
    return softmax_cross_entropy_with_integer_labels(these.logits, these.labels)


_LOG_LOSS = Additive(
    "log_loss",
    lambda these: mean_columns(losses_of(these)),
    lambda sums, unit: mean_value(sums) / jnp.asarray(unit).astype(jnp.float64),
    lambda base: ({}, {"unit": _log_of_base(base)}),
    is_mean=True,
)
register(log_loss, _LOG_LOSS)


def _log_of_base(base: ArrayLike) -> float | Array:
    array = as_real("base", base)
    if array.shape != ():
        raise ValueError(f"`base` must be a scalar, but {describe(array)} came.")
    if isinstance(base, Tracer):
        return jnp.log(array.astype(float))
    value = float(np.asarray(base))
    if not (0 < value < math.inf and value != 1):
        raise ValueError(f"`base` must be positive, finite and not 1, but {value} came.")
    return math.log(value)


def brier_score(
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    over_classes: OverClasses = "sum",
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, ""]:
    """The weighted mean squared distance between probabilities and label.

        binary       Σ w·(p − y)² / Σ w
        multi-class  Σ w·Σ_k (p_k − [k = y])² / Σ w

    The true class enters as 1 − p_y, which is the sum of what the others have: nothing cancels
    however confident the model is.

    Args:
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`; binary ones are boolean, integers 0 or 1, or floats in [0, 1].
        over_classes: multi-class only: the `sum` (Brier's), `half` of it (two classes give the
            binary score), or the `mean`.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        A score in [0, 1] (binary) or [0, 2] (multi-class, so that two classes give twice the
        binary score): float32, or float64 for float64 logits. 0 is best.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there is no such `over_classes`.

    Edges: infinite logits give the limit. Nothing counts: NaN. An undefined example that counts:
        NaN.
    Error: relative, within 1e-5 in float32 for every score ≥ 1e-26 (tests/test_metrics.py).

    Example:
        >>> import jax.numpy as jnp
        >>> float(brier_score(jnp.zeros(2), jnp.array([0, 1])))
        0.25
        >>> float(brier_score(jnp.zeros([2, 2]), jnp.array([0, 1])))
        0.5

    Source: G. W. Brier, Verification of forecasts expressed in terms of probability,
        Mon. Weather Rev. 78 (1950).
    """
    return _BRIER_SCORE(logits, labels, weights, where, over_classes=over_classes)


def _squares(these: Examples, over_classes: OverClasses) -> Columns:
    if these.binary:
        if over_classes != "sum":
            raise ValueError(
                f"`over_classes` is for class indices, but {over_classes!r} came with binary ones."
            )
        squares = _binary_squares(these)
    else:
        others = jnp.where(
            is_class(these.labels, these.logits),
            one_minus_softmax(these.logits, -1),
            softmax(these.logits, -1),
        )
        share = {"sum": 1.0, "half": 0.5, "mean": 1 / these.logits.shape[-1]}[over_classes]
        squares = jnp.sum(others.astype(jnp.float64) ** 2, axis=-1) * share
    return mean_columns(squares, ~is_defined(these))


def _binary_squares(these: Examples) -> Array:
    labels = these.labels.astype(these.dtype)
    # p − y = (1 − y) − (1 − p): of the two forms, the one whose second term is the smaller.
    misses = jnp.where(
        labels > 0.5, (1 - labels) - sigmoid(-these.logits), sigmoid(these.logits) - labels
    )
    return misses.astype(jnp.float64) ** 2


def _over_classes(over_classes: OverClasses) -> tuple[dict[str, Any], dict[str, Any]]:
    if over_classes not in get_args(OverClasses):
        raise ValueError(
            f"`over_classes` must be one of {get_args(OverClasses)}, but {over_classes!r} came."
        )
    return {"over_classes": over_classes}, {}


_BRIER_SCORE = Additive(
    "brier_score",
    _squares,
    lambda sums, over_classes: mean_value(sums),
    _over_classes,
    is_mean=True,
)
register(brier_score, _BRIER_SCORE)
