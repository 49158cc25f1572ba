"""The examples that a metric judges, or that calibrate: checked, and brought to one form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, ArrayLike, as_boolean, as_floating, as_real, describe


class Examples(NamedTuple):
    """Checked arguments of a metric; logits and labels are 0 where an example does not count."""

    logits: Array  # float32 or float64, [*batch] if binary, else [*batch, classes]
    labels: Array  # [*batch]; not boolean; class indices are int32, and −1 where out of range
    weights: Array  # float64, [*batch], 0 where an example does not count
    counted: Array  # boolean, [*batch]
    binary: bool
    dtype: jnp.dtype  # of the result
    uniform: bool  # every example has the same weight


def checked(
    logits: ArrayLike, labels: ArrayLike, weights: ArrayLike, where: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """The arguments of a metric as arrays whose shapes and dtypes fit together.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there is no class.
    """
    logits, labels = as_floating("logits", logits), as_real("labels", labels)
    weights, where = as_real("weights", weights), as_boolean("where", where)
    if labels.shape != logits.shape:
        indices = jnp.issubdtype(labels.dtype, jnp.integer)
        if not (indices and logits.ndim and labels.shape == logits.shape[:-1]):
            raise ValueError(
                "`labels` must have the shape of `logits` (binary), or be integers of that shape "
                "less its last axis (multi-class), "
                f"but {describe(labels)} came with `logits` {describe(logits)}."
            )
        if logits.shape[-1] == 0:
            raise ValueError(f"`logits` must have at least one class, but are {describe(logits)}.")
    for name, array in (("weights", weights), ("where", where)):
        if array.shape not in ((), labels.shape):
            raise ValueError(
                f"`{name}` must be a scalar or have the shape of `labels`, "
                f"but {describe(array)} came with `labels` {describe(labels)}."
            )
    return logits, labels, weights, where


def examples(logits: Array, labels: Array, weights: Array, where: Array) -> Examples:
    """The examples, of arrays that are checked."""
    binary = labels.shape == logits.shape
    uniform = weights.ndim == 0 and where.ndim == 0
    dtype = jnp.dtype(logits.dtype if logits.dtype == jnp.float64 else jnp.float32)
    with jax.enable_x64(True):
        weights = jnp.where(where, weights.astype(jnp.float64), 0.0)
        weights = jnp.broadcast_to(weights, labels.shape)
        counted = weights != 0.0
    # What does not count becomes harmless here, for values and for derivatives.
    if not binary:
        labels = _class_indices(labels, logits.shape[-1])
    elif labels.dtype == jnp.bool_:
        labels = labels.astype(jnp.int8)
    labels = jnp.where(counted, labels, jnp.zeros_like(labels))
    counted_logits = counted if binary else counted[..., None]
    logits = jnp.where(counted_logits, logits.astype(dtype), 0.0)
    return Examples(logits, labels, weights, counted, binary, dtype, uniform)


def _class_indices(labels: Array, num_classes: int) -> Array:
    # An 8-bit integer cannot be compared with 300 classes, and a 64-bit one may wrap into range.
    wide = labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels
    return jnp.where((wide >= 0) & (wide < num_classes), wide, -1).astype(jnp.int32)
