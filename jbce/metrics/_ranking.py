"""How well a model ranks: the probability that a positive example comes above a negative one."""

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import (
    Examples,
    below_largest,
    checked,
    examples,
    is_class,
    is_defined,
    is_positive,
    most_probable,
)

_LABEL_BIT = 31  # of the payload that is sorted along; the bits below it are the example's index


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
    arrays = checked(logits, labels, weights, where)
    if arrays[1].size >= 2**_LABEL_BIT:
        raise ValueError(f"`labels` must be fewer than 2^31, but {arrays[1].size} came.")
    return _roc_auc(*arrays)


@jax.jit
def _roc_auc(logits: Array, labels: Array, weights: Array, where: Array) -> Array:
    these = examples(logits, labels, weights, where)
    undefined = jnp.any(these.counted & ~is_defined(these))
    area = _binary_area(these) if these.binary else _average_area(these)
    with jax.enable_x64(True):
        return jnp.where(undefined, jnp.nan, area).astype(these.dtype)


def _binary_area(these: Examples) -> Array:
    ranked, positive = these.logits.ravel(), is_positive(these.labels).ravel()
    with jax.enable_x64(True):
        return _area(ranked, positive, these.weights.ravel())


def _average_area(these: Examples) -> Array:
    num_classes = these.logits.shape[-1]
    labels, logits = these.labels.ravel(), these.logits.reshape(-1, num_classes)
    top = most_probable(logits)
    is_top = is_class(top, logits)
    with jax.enable_x64(True):
        # The log-odds of every class at O(classes) per example (`jbce.log_odds` gives one class
        # for that price), one column at a time, so that they are never all kept.
        weights = these.weights.ravel()
        below = below_largest(logits.astype(jnp.float64))
        rest = jnp.where(is_top, -jnp.inf, below)
        top_log_odds = -jax.nn.logsumexp(rest, axis=-1)
        tail = jnp.sum(jnp.exp(rest), axis=-1)

        def area(index: Array) -> Array:
            column = below[:, index]
            # x_k − logsumexp of the others, where the others hold the largest: 1 + (tail − e_k).
            others = jnp.maximum(tail - jnp.exp(column), 0.0)
            log_odds = jnp.where(top == index, top_log_odds, column - jnp.log1p(others))
            # To the precision of the logits: rows of equal odds are ties, however they were summed.
            return _area(log_odds.astype(these.dtype), labels == index, weights)

        return jnp.mean(lax.map(area, jnp.arange(num_classes, dtype=jnp.int32)))


def _area(ranked: Array, positive: Array, weights: Array) -> Array:
    """The Mann–Whitney statistic of `ranked` [n]; to be called with 64-bit types enabled."""
    keys, positive, order = _sort(ranked, positive)
    weights = weights[order]
    positives, negatives = jnp.where(positive, weights, 0.0), jnp.where(positive, 0.0, weights)
    # In a tie the negatives come first, so that a positive finds all of them in its running sum.
    through = jnp.cumsum(negatives)
    starts = jnp.concatenate([jnp.ones_like(positive[:1]), keys[1:] != keys[:-1]])
    so_far = jnp.concatenate([jnp.zeros_like(through[:1]), through[:-1]])
    before = lax.cummax(jnp.where(starts, so_far, 0.0))
    pairs = jnp.sum(positives * (before + through)) / 2
    return pairs / (jnp.sum(positives) * jnp.sum(negatives))


def _sort(ranked: Array, positive: Array) -> tuple[Array, Array, Array]:
    """Keys in rising order, in each tie negatives first, with their labels and indices."""
    index = jnp.arange(ranked.size, dtype=jnp.uint32)
    payload = (positive.astype(jnp.uint32) << _LABEL_BIT) | index
    if ranked.dtype == jnp.float32:
        # One 64-bit integer holds all: XLA sorts that 4 times faster than floats on a CPU, and by
        # radix on a GPU.
        packed = (_ordered_bits(ranked).astype(jnp.uint64) << 32) | payload.astype(jnp.uint64)
        packed = lax.sort(packed, is_stable=False)
        keys, payload = packed >> 32, packed.astype(jnp.uint32)
    else:
        keys, payload = lax.sort((ranked, payload), num_keys=2, is_stable=False)
    label_bit = jnp.uint32(1 << _LABEL_BIT)
    return keys, (payload & label_bit) != 0, (payload & ~label_bit).astype(jnp.int32)


def _ordered_bits(values: Array) -> Array:
    """Integers in the order of the float32 `values`; −0 and +0 become one."""
    bits = lax.bitcast_convert_type(values, jnp.uint32)
    sign_bit = jnp.uint32(1 << 31)
    return jnp.where(bits > sign_bit, ~bits, bits | sign_bit)
