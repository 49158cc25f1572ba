"""Binary cross-entropy of a linear layer with very many labels."""

from typing import Unpack

import jax
import jax.numpy as jnp

from .._arguments import PerClass, PerExample, ScoreOptions, check_names, keep, positive_weight
from .._typing import Array, ArrayLike, Bool, Float, Real, as_real, describe
from ..losses import sigmoid_binary_cross_entropy as plain_loss
from ._head import Block, Head, over_blocks
from ._layer import Layer, layer
from ._shards import AxisName

# Labels are dense, one per class, or sets of class indices. Of a set each block marks its own.


def _with_labels(made: Layer, labels: ArrayLike) -> Layer:
    labels = as_real("labels", labels)
    dense = not jnp.issubdtype(labels.dtype, jnp.integer)
    logits = (*made.batch, made.num_classes)
    if dense and labels.shape != logits:
        raise ValueError(
            f"`labels` of {labels.dtype} must have the shape of the logits, {logits}, but "
            f"{describe(labels)} came (integers are sets of class indices)."
        )
    if not dense and (labels.shape[:-1] != made.batch or labels.ndim == 0):
        raise ValueError(
            f"`labels` of integers are sets of class indices, {made.batch} of them, but "
            f"{describe(labels)} came."
        )
    if not dense and labels.shape == logits:
        raise ValueError(
            f"`labels` {describe(labels)} have the shape of the logits; integers are sets of class "
            "indices, one label for each class is boolean or floating point."
        )
    if made.examples is not None:
        labels = jnp.where(made.examples[..., None], labels, jnp.zeros((), labels.dtype))
    if dense:
        return made.holding("labels", labels, "batch classes")
    known = labels < made.all_classes
    index = jnp.where(known & (labels >= 0), labels, -1).astype(jnp.int32)
    made = made.holding("labels", index, "batch other")
    return made.holding("known", jnp.all(known, axis=-1))


def _marked(labels: Array, block: Block) -> Array:
    """Which classes of a block are in the set of each row."""
    size = block.logits.shape[1]
    place = labels - block.index[:, :1]
    place = jnp.where((place >= 0) & (place < size), place, size)
    row = jax.lax.broadcasted_iota(jnp.int32, labels.shape, 0)
    nothing = jnp.zeros_like(block.logits, jnp.int32)
    return nothing.at[row, place].max(1, mode="drop") > 0


def linear_sigmoid_binary_cross_entropy(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "_ _"],
    labels: Real[ArrayLike, "*batch _"] | Bool[ArrayLike, "*batch classes"],
    *,
    bias: Float[ArrayLike, "classes"] | None = None,
    class_axis: int = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    label_smoothing: PerExample = 0.0,
    pos_weight: PerClass | None = None,
    block_size: int | None = None,
    axis_name: AxisName | None = None,
    batch_axis_name: AxisName | None = None,
    **options: Unpack[ScoreOptions],
) -> Float[Array, "*batch"]:
    """Binary cross-entropy of hidden @ kernel + bias, summed over the classes of each example.

    `jbce.sigmoid_binary_cross_entropy` of logits that never exist all at once, for problems of very
    many labels (extreme multi-label classification). See `linear_softmax_cross_entropy`.

    Args:
        hidden: what the layer is applied to, the features along the last axis.
        kernel: [features, classes], or [classes, features] with `class_axis=0`.
        labels: the classes that each example has, as a set of class indices of which negative ones
            say that there is none, integers [*batch, any]; or one label for each class, boolean or
            floating point, [*batch, classes].
        bias: one number for each class.
        class_axis: which axis of the kernel has the classes.
        where: of the shape of the batch: which examples exist; of that of the logits: which classes
            count for which example.
        label_smoothing: as for the plain loss: one number, or one per example.
        pos_weight: as for the plain loss: one number, or one per class.
        block_size: as `linear_softmax_cross_entropy`, and so are all that follow.
        axis_name: as there.
        batch_axis_name: as there.
        **options: as there.

    Returns:
        The loss of each example in nats, in float32 for 16-bit numbers.

    Raises:
        TypeError: `hidden` or `kernel` are not floating point, `where` not boolean.
        ValueError: as there.

    Edges:
        An index that is in a set twice counts once; one that is no class gives NaN. A logit of −inf
        costs 0, or inf if its label is 1. A hidden state with a NaN gives NaN with a gradient of 0.

    Error:
        float32: that of the logits, and of a sum of as many numbers as there are blocks.

    Example:
        >>> import jax.numpy as jnp
        >>> hidden, kernel = jnp.ones((2, 1)), jnp.array([[20.0, -20.0, -20.0]])
        >>> linear_sigmoid_binary_cross_entropy(hidden, kernel, jnp.array([[0, -1], [0, 2]]))
        Array([6.18346...e-09, 2.00000...e+01], dtype=float32)

    Source:
        Jain et al., Renee: end-to-end training of extreme classification models (2023), which is
        where the logits of this loss are the memory of a step.
    """
    check_names(linear_sigmoid_binary_cross_entropy, options, ScoreOptions)
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
    made = _with_labels(made, labels)
    made = made.option("label_smoothing", label_smoothing, 0.0, highest=1.0)
    if pos_weight is not None:
        classes = jax.ShapeDtypeStruct((made.num_classes,), made.like.dtype)
        weights = jnp.broadcast_to(positive_weight(pos_weight, classes), classes.shape)
        made = made.holding("class_weights", weights, "classes")
    return made.per_example(made.compute(_losses))


def _losses(head: Head, rows: dict[str, Array], axis_name: AxisName | None) -> Array:
    labels, smoothing, known = rows["labels"], rows.get("label_smoothing"), rows.get("known")

    def body(total: Array, block: Block) -> Array:
        logits = block.new(keep(block.exists, block.logits, 0), 0)
        if known is None:
            start = block.index[0, 0] - head.first_class
            of_block = jax.lax.dynamic_slice_in_dim(labels, start, logits.shape[1], 1)
        else:
            of_block = _marked(labels, block)
        losses = plain_loss(
            logits,
            of_block,
            label_smoothing=0.0 if smoothing is None else jnp.broadcast_to(smoothing, logits.shape),
            pos_weight=None if block.class_weights is None else block.class_weights[0],
        )
        return total + jnp.sum(block.new(keep(block.exists, losses, 0), 0), axis=1)

    total = over_blocks(head, body, jnp.sum(head.hidden[:, :0], axis=1))
    if axis_name is not None:
        total = jax.lax.psum(total, axis_name)
    return (
        total if known is None else total * jnp.where(known[:, 0], 1, jnp.nan).astype(total.dtype)
    )
