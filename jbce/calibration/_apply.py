"""What all fitted maps do when they are called on logits."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .._typing import Array, ArrayLike, as_floating, describe


def prepared(logits: ArrayLike, fitted: Any) -> list[Array]:
    """Logits and the parameters of a fitted map in one dtype.

    Raises:
        TypeError: `logits` are not floating point.
    """
    x = as_floating("logits", logits)
    dtype = x.dtype if x.dtype == jnp.float64 else jnp.dtype(jnp.float32)
    return [x.astype(dtype), *(jnp.asarray(value).astype(dtype) for value in fitted)]


def check_parameters(fitted: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """A fitted map is that of one model.

    Raises:
        ValueError: a parameter has another shape.
    """
    for name, shape in shapes.items():
        value = getattr(fitted, name)
        if jnp.shape(value) != shape:
            raise ValueError(
                f"`{name}` must have the shape {shape} for these logits, but "
                f"{describe(jnp.asarray(value))} came; for one map per model, use jax.vmap."
            )


def over_finite(x: Array, change: Callable[[Array], Array]) -> Array:
    """`change(x)` where x is finite, and x elsewhere, also for derivatives."""
    finite = jnp.isfinite(x)
    return jnp.where(finite, change(jnp.where(finite, x, 0)), x)
