"""Labels and `where` as every loss takes them."""

from typing import Any

import jax
import jax.numpy as jnp

from .._typing import Array, ArrayLike, as_boolean, as_real, check_same_shape, describe


def binary_labels(labels: ArrayLike, name: str, scores: Array) -> Array:
    """Labels of the scores' shape: floating point, or integers in 8 bits: 0, 1, or 2 for all else.

    8 bits, because XLA CPU writes to memory what it does not take up into a reduction: int32, bool.
    """
    labels = as_real("labels", labels)
    check_same_shape("labels", labels, name, scores)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels
    if labels.dtype == jnp.bool_:
        return labels.astype(jnp.int8)
    return jnp.where((labels == 0) | (labels == 1), labels.astype(jnp.int8), 2)


def binary_label(label: Array, dtype: Any) -> Array:
    """A label of `binary_labels` as a number; an integer that is neither 0 nor 1 is NaN."""
    if not jnp.issubdtype(label.dtype, jnp.integer):
        return label.astype(dtype)
    return jnp.where(label > 1, jnp.nan, label.astype(dtype))


def class_index(labels: Array, num_classes: int) -> Array:
    """Integer labels in 32 bits, −1 for what is not from 0 to num_classes − 1."""
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)
    known = (labels >= 0) & (labels < num_classes)
    return jnp.where(known, labels, 0).astype(jnp.int32) - (~known).astype(jnp.int32)


def is_class(x: Array, index: Array, axis: int) -> Array:
    """Per class of rows, whether it is the one of `index`, which keeps the class axis."""
    return jax.lax.broadcasted_iota(jnp.int32, x.shape, axis) == index


def entry_of_class(x: Array, index: Array, axis: int) -> Array:
    """The entry of each row's class, or of the nearest one that there is; `x` may be of one row.

    Rows that are spread over devices in a mesh of explicit axes are summed with a mask: of what a
    gather does to them jax wants to be told more.
    """
    if any(name is not None for a in (x, index) for name in jax.typeof(a).sharding.spec):
        is_entry = is_class(x, jnp.clip(index, 0, x.shape[axis] - 1), axis)
        return jnp.sum(jnp.where(is_entry, x, 0), axis=axis, keepdims=True)
    if x.size == x.shape[axis]:
        return jnp.take(x.reshape(-1), index, mode="clip")
    return jnp.take_along_axis(x, jnp.maximum(index, 0), axis, mode="clip")


def keep(where: Array | None, values: Array, otherwise: int | float) -> Array:
    """The values that `where` keeps, `otherwise` in the place of the others."""
    return values if where is None else jnp.where(where, values, otherwise)


def where_of_examples(
    where: ArrayLike | None, name: str, scores: Array | jax.ShapeDtypeStruct
) -> Array | None:
    """`where` for losses with an example for every score."""
    if where is None:
        return None
    where = as_boolean("where", where)
    check_same_shape("where", where, name, scores)
    return where


def split_where(
    where: ArrayLike | None, logits: Array | jax.ShapeDtypeStruct, axes: tuple[int, ...]
) -> tuple[Array | None, Array | None]:
    """`where` over classes and `where` over examples; one of them, told by its shape.

    Raises:
        ValueError: the shape is neither that of the logits nor that of the batch.
    """
    if where is None:
        return None, None
    where = as_boolean("where", where)
    batch = batch_shape(logits.shape, axes)
    if where.shape == logits.shape:
        return where, None
    if where.shape == batch:
        return None, where
    raise ValueError(
        "`where` must have the shape of `logits` (which classes exist) or that of the batch "
        f"{batch} (which examples exist), but {describe(where)} came with `logits` "
        f"{describe(logits)}."
    )


def leave_out(
    logits: Array, labels: Array, axes: tuple[int, ...], where: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Logits and dense labels without what `where` leaves out: −inf and no mass, or a row of 0.

    And which examples exist.
    """
    classes, examples = split_where(where, logits, axes)
    wide = None if examples is None else jnp.expand_dims(examples, axes)
    logits = keep(classes, keep(wide, logits, 0), -jnp.inf)
    return logits, keep(classes, keep(wide, labels, 0), 0), examples


def batch_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` less its class axes."""
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def check_class_labels(labels: Array, name: str, scores: Array, axes: tuple[int, ...]) -> None:
    """Integer labels have the shape of the scores less the class axes.

    Raises:
        ValueError: they have not.
    """
    batch = batch_shape(scores.shape, axes)
    if labels.shape != batch:
        hint = " (dense labels are for softmax_cross_entropy)" * (labels.shape == scores.shape)
        raise ValueError(
            f"`labels` must have the shape of `{name}` less its class axis, {batch}, but "
            f"{describe(labels)} came with `{name}` {describe(scores)}{hint}."
        )
