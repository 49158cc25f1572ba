"""The likeliest classes of a linear layer."""

from typing import Unpack

import jax
import jax.numpy as jnp

from .._arguments import ScoreOptions, check_names
from .._typing import Array, ArrayLike, Bool, Float, Integer
from ._head import Block, Head, over_blocks
from ._layer import as_index, layer
from ._shards import AxisName, gathered


def _best(values: Array, index: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row; of equal ones those that come first."""
    best, places = jax.lax.top_k(values, k)
    return best, jnp.take_along_axis(index, places, axis=1)


def _beside(x: Array, axis_name: AxisName) -> Array:
    """What all shards have of a row, side by side, so that lower classes come first."""
    shards = jnp.moveaxis(gathered(x, axis_name), 0, 1)
    return shards.reshape(x.shape[0], -1)


def linear_top_k(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "_ _"],
    k: int,
    *,
    bias: Float[ArrayLike, "classes"] | None = None,
    class_axis: int = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    block_size: int | None = None,
    axis_name: AxisName | None = None,
    batch_axis_name: AxisName | None = None,
    **options: Unpack[ScoreOptions],
) -> tuple[Float[Array, "*batch k"], Integer[Array, "*batch k"]]:
    """The k largest logits of hidden @ kernel + bias, and their classes, from the largest down.

    `jax.lax.top_k` of logits that never exist all at once.

    Args:
        hidden: as `linear_softmax_cross_entropy`.
        kernel: as there.
        k: how many, from 1 to the number of classes.
        bias: as there, and so are all that follow.
        class_axis: as there.
        where: as there; an example that does not exist has logits of −inf.
        block_size: as there.
        axis_name: as there.
        batch_axis_name: as there.
        **options: as there.

    Returns:
        Logits, after `options`, in float32 for 16-bit numbers, and class indices.

    Raises:
        TypeError: as there.
        ValueError: as there, or there are not k classes.

    Edges:
        Of equal logits the lower class comes first. Where fewer than k classes exist, −inf and −1
        fill up. A hidden state with a NaN gives NaN, and classes without a meaning.

    Error:
        That of the logits.

    Example:
        >>> import jax.numpy as jnp
        >>> linear_top_k(jnp.ones((1, 1)), jnp.array([[1.0, 5.0, 3.0]]), 2)
        (Array([[5., 3.]], dtype=float32), Array([[1, 2]], dtype=int32))

    Source:
        Milakov and Gimelshein, Online normalizer calculation for softmax (2018), arXiv 1805.02867.
    """
    check_names(linear_top_k, options, ScoreOptions)
    made = layer(
        hidden,
        kernel,
        bias=bias,
        class_axis=class_axis,
        where=where,
        block_size=block_size,
        axis_name=axis_name,
        batch_axis_name=batch_axis_name,
        **options,
    )
    k = as_index("k", k)
    if not 1 <= k <= made.all_classes:
        raise ValueError(f"`k` must be from 1 to {made.all_classes}, the classes, but {k} came.")

    def best_of(head: Head, _: dict[str, Array], axis_name: AxisName | None) -> tuple[Array, Array]:
        def body(best: tuple[Array, Array], block: Block) -> tuple[Array, Array]:
            logits = block.new(block.logits, -jnp.inf)
            index = jnp.broadcast_to(block.index, logits.shape)
            values = jnp.concatenate([best[0], logits], 1)
            return _best(values, jnp.concatenate([best[1], index], 1), k)

        nothing = jnp.sum(head.hidden[:, :0], axis=1, keepdims=True)
        nothing = jnp.broadcast_to(nothing, (nothing.shape[0], k))
        empty = (nothing - jnp.inf, nothing.astype(jnp.int32) - 1)
        values, index = over_blocks(head, body, empty)
        if axis_name is not None:
            values, index = _best(_beside(values, axis_name), _beside(index, axis_name), k)
        return values, index

    values, index = made.compute(best_of)
    exist = jnp.ones((*made.batch, 1), jnp.bool_)
    if made.examples is not None:
        exist = made.examples[..., None]
    return made.per_example(values, -jnp.inf), jnp.where(exist, index, -1)
