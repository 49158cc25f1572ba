"""What the losses of a row look like: shapes, dtypes and shardings, for `exact_primitive`."""

import jax.numpy as jnp

from .._exact import arithmetic_dtype
from .._typing import Array


def loss_like(x: Array, labels: Array, *, axis: int) -> Array:
    """One number per row, the class axis kept."""
    return jnp.sum(_residual_like(x, labels), axis=axis, keepdims=True)


def loss_and_residual_like(x: Array, labels: Array, *, axis: int) -> list[Array]:
    """One number per row, and one per class."""
    return [loss_like(x, labels, axis=axis), _residual_like(x, labels)]


def _residual_like(x: Array, labels: Array) -> Array:
    dtype = arithmetic_dtype(x.dtype)
    return x.astype(dtype) + labels.astype(dtype)
