"""Arguments of categorical losses: rows of logits, and labels that go with them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._exact import arithmetic_dtype
from .._typing import (
    Array,
    ArrayLike,
    Axis,
    as_axes,
    as_floating,
    as_integer,
    as_real,
    check_same_shape,
    one_axis,
)
from ._labels import check_class_labels, class_index, entry_of_class, keep, leave_out, split_where
from ._options import (
    Number,
    PerClass,
    PerExample,
    is_off,
    not_ignored,
    share,
    spread,
    transformed,
    weights_of_classes,
)


class Rows(NamedTuple):
    """What exists of a batch: the rest is −inf, has no label mass, or is a row of 0.

    `labels` are dense, of the logits' shape, or indices that keep the class axis, −1 where unknown.
    """

    logits: Array
    labels: Array
    axis: int
    exist: Array | None  # which examples, in the shape of the batch
    given: tuple[int, ...]  # the logits' shape as it came, of which `axes` are classes
    axes: tuple[int, ...]

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """The shape of the rows in the dtype of the arithmetic."""
        return jax.ShapeDtypeStruct(self.logits.shape, arithmetic_dtype(self.logits.dtype))

    def per_row(self, option: Array) -> Array:
        """A number or a number per row as [.., 1, ..]."""
        shape = tuple(1 if a == self.axis else n for a, n in enumerate(self.logits.shape))
        return jnp.broadcast_to(option, shape)

    def class_weights(self, value: PerClass | None) -> Array:
        """`class_weights` as [1, .., classes, .., 1], 1 if there are none."""
        given = jax.ShapeDtypeStruct(self.given, self.like.dtype)
        return one_axis(weights_of_classes(value, given, self.axes), self.axes)[0]

    def per_example(self, values: Array, otherwise: float = 0) -> Array:
        """One value per row as one per example."""
        return keep(self.exist, jnp.squeeze(values, self.axis), otherwise)


def integer_rows(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    *,
    ignore: Number | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
) -> Rows:
    """Rows with class indices.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape does not fit, or an option is out of its range.
    """
    logits, labels = as_floating("logits", logits), as_integer("labels", labels)
    axes, given = as_axes("logits", axis, logits.ndim), logits.shape
    check_class_labels(labels, "logits", logits, axes)
    classes, examples = split_where(where, logits, axes)
    examples = not_ignored(labels, ignore, examples)
    if examples is not None:
        logits = keep(jnp.expand_dims(examples, axes), logits, 0)
        labels = keep(examples, labels, 0)
    logits = keep(classes, logits, -jnp.inf)
    logits = transformed(logits, axes, soft_cap, temperature, logit_adjustment)
    rows, row_axis = one_axis(logits, axes)
    index = jnp.expand_dims(class_index(labels, rows.shape[row_axis]), row_axis)
    return Rows(rows, index, row_axis, examples, given, axes)


def dense_rows(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis,
    where: ArrayLike | None,
    *,
    label_smoothing: PerExample = 0.0,
    class_weights: PerClass | None = None,
    temperature: PerExample = 1.0,
    soft_cap: PerExample | None = None,
    logit_adjustment: PerClass | None = None,
) -> Rows:
    """Rows with dense labels.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape does not fit, or an option is out of its range.
    """
    logits, labels = as_floating("logits", logits), as_real("labels", labels)
    check_same_shape("labels", labels, "logits", logits)
    axes, given = as_axes("logits", axis, logits.ndim), logits.shape
    dtype = arithmetic_dtype(logits.dtype)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels.astype(dtype)
    elif not is_off(label_smoothing, 0.0) or class_weights is not None:
        labels = labels.astype(arithmetic_dtype(labels.dtype, dtype))
    logits, labels, examples = leave_out(logits, labels, axes, where)
    logits = transformed(logits, axes, soft_cap, temperature, logit_adjustment)
    if not is_off(label_smoothing, 0.0):
        smoothing = share("label_smoothing", label_smoothing, labels, axes)
        labels = spread(labels, logits, axes, smoothing)
    if class_weights is not None:
        labels = labels * weights_of_classes(class_weights, labels, axes)
    rows, row_axis = one_axis(logits, axes)
    return Rows(rows, one_axis(labels, axes)[0], row_axis, examples, given, axes)


def weight_of_label(weights: Array, index: Array) -> Array:
    """The entry of each label, of `Rows.class_weights` or one that is alike."""
    axis = max(range(weights.ndim), key=weights.shape.__getitem__)
    return entry_of_class(weights, index, axis)


def weighed(losses: Array, weights: Array, index: Array) -> Array:
    """Losses times the weights of their labels; 0 where that is 0, unless the label is unknown."""
    weight = weight_of_label(weights, index)
    # An infinite loss, or one that is NaN, has no derivative in its weight.
    finite = jnp.isfinite(losses)
    product = weight * jnp.where(finite, losses, 0)
    other = jnp.where((weight == 0) & (index >= 0), 0, losses)
    return jnp.where(finite, product, other)
