"""Arguments of reductions."""

import jax.numpy as jnp

from .._exact import arithmetic_dtype
from .._typing import Array, ArrayLike, as_boolean, as_floating, as_real, describe


def weighed_losses(
    name: str, losses: ArrayLike, weights: ArrayLike, where: ArrayLike
) -> tuple[Array, Array]:
    """Losses in the dtype of the arithmetic, and their weights, 0 for those that do not count.

    Raises:
        TypeError: `losses` are not floating point, or `where` is not boolean.
        ValueError: `weights` or `where` have a shape that is neither () nor that of the losses.
    """
    losses = as_floating(name, losses)
    losses = losses.astype(arithmetic_dtype(losses.dtype))
    weights, where = as_real("weights", weights), as_boolean("where", where)
    for argument, array in (("weights", weights), ("where", where)):
        if array.shape not in ((), losses.shape):
            raise ValueError(
                f"`{argument}` must be one number or have the shape of `{name}`, "
                f"but {describe(array)} came with `{name}` {describe(losses)}."
            )
    return losses, jnp.where(where, weights.astype(losses.dtype), 0)
