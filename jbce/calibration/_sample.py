"""The examples that a calibrator is fitted to, checked and brought to one form for every fit."""

from typing import NamedTuple

import jax.numpy as jnp

from .._arguments import checked, examples
from .._optimum import binary_losses, categorical_losses, is_class
from .._typing import Array, ArrayLike, describe

Arguments = tuple[Array, Array, Array, Array]  # logits, labels, weights, where


class Sample(NamedTuple):
    """Examples in one row each, in float64, without anything that would poison a sum."""

    logits: Array  # [n] if binary, else [n, classes]; finite, 0 where a class does not exist
    labels: Array  # [n]: float64 if binary, else class indices in int32
    weights: Array  # [n], 0 where an example does not count
    exists: Array  # boolean, of the shape of `logits`: what takes part in the loss


class Status(NamedTuple):
    """What the result of a fit is to be."""

    undefined: Array  # an example that counts has no finite loss: the fit is NaN
    dtype: jnp.dtype


def arguments(
    logits: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    where: ArrayLike,
    *,
    kind: str | None = None,
) -> Arguments:
    """Checked arguments of a fit for `kind` of labels: "binary", "multi-class" or either.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or are those of the other kind of labels, or
            there are fewer than two classes.
    """
    arrays = checked(logits, labels, weights, where)
    shown = f"but {describe(arrays[1])} came with `logits` {describe(arrays[0])}."
    binary = arrays[0].shape == arrays[1].shape
    if kind == "binary" and not binary:
        raise ValueError(f"`labels` must be binary, of the shape of `logits`, {shown}")
    if kind == "multi-class" and binary:
        raise ValueError(
            f"`labels` must be class indices, of the shape of `logits` less its last axis, {shown}"
        )
    if not binary and arrays[0].shape[-1] < 2:
        raise ValueError(f"`logits` must have at least two classes, {shown}")
    if arrays[0].dtype.itemsize < 4:  # all arithmetic would widen them: one program for all
        return arrays[0].astype(jnp.float32), *arrays[1:]
    return arrays


def rows_of(arrays: Arguments) -> tuple[Array, Array, Array, Status]:
    """One row each: logits as they are, labels, weights, and the status of the fit.

    To be called with 64-bit types enabled. Labels are float64 if binary; an example that is
    undefined has logits 0, label 0 and weight 0.
    """
    these = examples(*arrays)
    rows = these.logits.reshape(-1, *these.logits.shape[these.labels.ndim :])
    rows, labels, weights = rows.astype(jnp.float64), these.labels.ravel(), these.weights.ravel()
    if these.binary:
        in_range = jnp.issubdtype(labels.dtype, jnp.floating) | (labels == 0) | (labels == 1)
        labels = labels.astype(jnp.float64)
        defined = in_range & ~jnp.isnan(labels) & ~jnp.isnan(rows)
        rows = jnp.where(defined, rows, 0.0)
    else:
        rows = only_the_infinite(rows)
        some, several = jnp.any(rows > -jnp.inf, axis=-1), jnp.any(rows == jnp.inf, axis=-1)
        defined = (labels >= 0) & some & ~several & ~jnp.any(jnp.isnan(rows), axis=-1)
        rows = jnp.where(defined[:, None], rows, 0.0)
    counts = weights != 0
    defined &= ~jnp.isnan(weights)
    status = Status(jnp.any(counts & ~defined), these.dtype)
    weights = jnp.where(defined, weights, 0.0)
    return rows, jnp.where(defined, labels, jnp.zeros_like(labels)), weights, status


def sample_of(arrays: Arguments) -> tuple[Sample, Status]:
    """The sample that `arrays` hold; to be called with 64-bit types enabled."""
    rows, labels, weights, status = rows_of(arrays)
    finite = jnp.isfinite(rows)
    if rows.ndim == 1:
        # An infinite logit costs nothing or everything, whatever the map.
        hopeless = ~finite & (labels != (rows > 0).astype(jnp.float64))
    else:
        hopeless = jnp.any(is_class(labels, rows) & ~finite, axis=-1)
    undefined = status.undefined | jnp.any((weights != 0) & hopeless)
    weights = jnp.where(hopeless, 0.0, weights)
    # No row is without a class, not even one that does not count.
    exists = finite if rows.ndim == 1 else finite | hopeless[:, None]
    sample = Sample(jnp.where(finite, rows, 0.0), labels, weights, exists)
    return sample, Status(undefined, status.dtype)


def only_the_infinite(rows: Array) -> Array:
    """Rows [*batch, classes] in which one class at +inf is written as 0, and the others as −inf.

    That is the same distribution, in numbers that a map can scale and shift.
    """
    infinite = rows == jnp.inf
    certain = jnp.sum(infinite, axis=-1, keepdims=True) == 1
    return jnp.where(certain, jnp.where(infinite, 0.0, -jnp.inf), rows)


def mean_loss(calibrated: Array, sample: Sample) -> Array:
    """The weighted mean log loss of logits that a map made of `sample.logits`."""
    if sample.logits.ndim == 1:
        z = jnp.where(sample.exists, calibrated, 0.0)
        losses = binary_losses(z, sample.labels)
        return weighted_mean(jnp.where(sample.exists, losses, 0.0), sample.weights)
    z = jnp.where(sample.exists, calibrated, -jnp.inf)
    return weighted_mean(categorical_losses(z, sample.labels), sample.weights)


def weighted_mean(values: Array, weights: Array) -> Array:
    """Mean over the first axis; 0 where no weight is."""
    total = jnp.sum(weights)
    weights = weights.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.sum(weights * values, axis=0) / jnp.where(total == 0, 1.0, total)


def finished(value: Array, status: Status) -> Array:
    """A parameter as it is returned: rounded once, NaN if the fit is undefined."""
    return jnp.where(status.undefined, jnp.nan, value).astype(status.dtype)
