"""Arguments of binary losses."""

from typing import Unpack

from .._exact import arithmetic_dtype
from .._typing import Array, ArrayLike, as_floating, as_real
from ._labels import binary_label, binary_labels, keep, where_of_examples
from ._options import BinaryOptions, Number, PerClass, PerExample, not_ignored, transformed


def binary_scores(
    logits: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    *,
    ignore: Number | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
) -> tuple[Array, Array, Array | None]:
    """Logits and labels of `binary_labels` without what does not exist, and which examples do.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape does not fit, or an option is out of its range.
    """
    logits, given = as_floating("logits", logits), as_real("labels", labels)
    labels = binary_labels(given, "logits", logits)
    where = not_ignored(given, ignore, where_of_examples(where, "logits", logits))
    logits, labels = keep(where, logits, 0), keep(where, labels, 0)
    return transformed(logits, (), soft_cap, temperature, logit_adjustment), labels, where


def binary_numbers(
    logits: ArrayLike, labels: ArrayLike, where: ArrayLike | None, **options: Unpack[BinaryOptions]
) -> tuple[Array, Array, Array | None]:
    """`binary_scores`, with labels as numbers of the arithmetic's dtype."""
    x, y, where = binary_scores(logits, labels, where, **options)
    return x, binary_label(y, arithmetic_dtype(x.dtype)), where
