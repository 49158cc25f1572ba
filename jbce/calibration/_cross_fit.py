"""Calibrated logits of examples that the map was not fitted to."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, ArrayLike, Bool, Float, Real
from ._sample import arguments


def cross_fit(
    fit: Callable[..., Any],
    logits: Float[ArrayLike, "*logits"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    key: Array,
    num_folds: int = 5,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> Float[Array, "*logits"]:
    """Every example's logits, calibrated by a map that was fitted to the other folds.

    Examples are dealt at random to folds of equal size, label by label, so that all folds have
    about the same share of every label. The loss of the result is an honest estimate of the loss
    after calibration; that of `fit(logits, labels)(logits)` is not.

    Args:
        fit: `fit_temperature` or another fit, or `functools.partial` of one with its options.
        logits: `[*batch]` for binary labels, `[*batch, classes]` for class indices.
        labels: `[*batch]`.
        key: what deals the examples.
        num_folds: a Python integer from 2 to the number of examples.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Returns:
        Calibrated logits, of the shape of `logits`: float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or `num_folds` is out of range.

    Edges: what `where` leaves out or has weight 0 belongs to folds too and is calibrated, but has
        no part in a fit.
    Error: that of `fit`.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jbce.calibration import fit_temperature
        >>> logits, labels = jnp.array([4.0, 4.0, 4.0, 4.0]), jnp.array([1, 1, 1, 0])
        >>> cross_fit(fit_temperature, logits, labels, num_folds=4, key=jax.random.key(0)).tolist()
        [0.6931..., 0.6931..., 0.6931..., 4...]

    Source: M. Stone, Cross-validatory choice and assessment of statistical predictions,
        J. R. Stat. Soc. B 36 (1974).
    """
    logits, labels, weights, where = arguments(logits, labels, weights, where)
    count = operator.index(num_folds)
    if not 2 <= count <= labels.size:
        raise ValueError(
            f"`num_folds` must be from 2 to the number of examples, {labels.size}, "
            f"but {num_folds} came."
        )
    return _cross_fit(fit, count, key, logits, labels, weights, where)


@partial(jax.jit, static_argnums=(0, 1))
def _cross_fit(
    fit: Callable[..., Any],
    count: int,
    key: Array,
    logits: Array,
    labels: Array,
    weights: Array,
    where: Array,
) -> Array:
    folds = _folds(labels.ravel(), count, key).reshape(labels.shape)

    def calibrated(so_far: Array, fold: Array) -> tuple[Array, None]:
        held_out = folds == fold
        fitted = fit(logits, labels, weights=weights, where=where & ~held_out)
        held_out = held_out if labels.shape == logits.shape else held_out[..., None]
        return jnp.where(held_out, fitted(logits), so_far), None

    dtype = logits.dtype if logits.dtype == jnp.float64 else jnp.float32
    nothing = jnp.zeros(logits.shape, dtype)
    return lax.scan(calibrated, nothing, jnp.arange(count, dtype=jnp.int32))[0]


def _folds(labels: Array, count: int, key: Array) -> Array:
    """The fold of each example, [n]: round the folds in random order, label after label."""
    shuffled = jax.random.permutation(key, jnp.arange(labels.size, dtype=jnp.int32))
    order = shuffled[jnp.argsort(lax.stop_gradient(labels)[shuffled], stable=True)]
    dealt = jnp.arange(labels.size, dtype=jnp.int32) % count
    return jnp.zeros_like(dealt).at[order].set(dealt)
