"""The area under the ROC curve from a histogram, with a bound of its error."""

from typing import NamedTuple

import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array, ArrayLike, Bool, Float, Real
from ._examples import is_defined, is_positive
from ._rank import ordered_bits
from ._sums import Additive, Columns, ratio, register

_BITS = 16  # of a float32: sign, exponent and 7 of the mantissa
_BINS = 2**_BITS


class BoundedRocAuc(NamedTuple):
    """An area under the ROC curve that is within `error` of the exact one."""

    estimate: Float[Array, ""]
    error: Float[Array, ""]


def histogram_roc_auc(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> BoundedRocAuc:
    """The area under the ROC curve without a sort, and how far it may be off.

    The logits are counted in the 65,536 bins that the leading 16 bits of a float32 make, in the
    order of the numbers: 1/128 to 1/256 of a logit wide, whatever its size. Pairs in one bin count
    ½ each, and each is off by ½ at most:

        error = Σ_b p_b·n_b / (2·P·N)

    with p_b positives and n_b negatives in bin b, P and N in all. 100 times faster than `roc_auc`,
    in constant memory, and `stream` takes it. bfloat16 logits have a bin each: the estimate is
    exact, whatever the bound.

    Args:
        logits: `[*batch]`.
        labels: `[*batch]`; boolean, integers 0 or 1, or floats, positive above ½.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        The estimate, and the bound of its distance from the exact area: float32, or float64 for
        float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or the labels are class indices.

    Edges: no positive, or no negative example counts: NaN. An undefined example that counts: NaN.
    Error: as returned, and one rounding. Of 1e7 normal logits, 4e-7 where the bound says 4e-4.

    Example:
        >>> import jax.numpy as jnp
        >>> area = histogram_roc_auc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1]))
        >>> float(area.estimate), float(area.error)
        (0.75, 0.0)
    """
    return _HISTOGRAM(logits, labels, weights, where)


def _columns(these: Examples) -> Columns:
    if not these.binary:
        raise ValueError(
            "`labels` must be binary for `histogram_roc_auc`: pass one class's log-odds."
        )
    bins = (ordered_bits(these.logits.astype(jnp.float32)) >> (32 - _BITS)).astype(jnp.int32)
    group = jnp.where(is_positive(these.labels), bins + _BINS, bins)
    return Columns((), group, 2 * _BINS, ~is_defined(these))


def _value(sums: Array) -> BoundedRocAuc:
    negatives, positives = sums.reshape(2, _BINS)
    below = jnp.cumsum(negatives) - negatives / 2
    pairs = jnp.sum(positives) * jnp.sum(negatives)
    return BoundedRocAuc(
        ratio(jnp.sum(positives * below), pairs),
        ratio(jnp.sum(positives * negatives) / 2, pairs),
    )


_HISTOGRAM = Additive("histogram_roc_auc", _columns, _value)
register(histogram_roc_auc, _HISTOGRAM)
