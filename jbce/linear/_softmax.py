"""Categorical cross-entropy of a linear layer, and the log-odds of its labels."""

from typing import Unpack

import jax.numpy as jnp

from .._arguments import (
    Number,
    PerClass,
    PerExample,
    ScoreOptions,
    check_names,
    class_index,
    keep,
    not_ignored,
)
from .._typing import Array, ArrayLike, Bool, Float, Integer, as_integer, describe
from ..losses import log_odds as plain_log_odds
from ..losses import softmax_cross_entropy_with_integer_labels as plain_loss
from ._head import Head, over_blocks
from ._layer import Layer, layer
from ._shards import AxisName
from ._softmax_state import State, after, empty, log_odds_of, loss_of, merged

_IMPLEMENTATIONS = (None, "blocks", "logits")


def _check_implementation(implementation: str | None) -> None:
    """That there is such an implementation.

    Raises:
        ValueError: there is not.
    """
    if implementation not in _IMPLEMENTATIONS:
        raise ValueError(
            f"`implementation` must be one of {_IMPLEMENTATIONS}, but {implementation!r} came."
        )


def _with_labels(made: Layer, labels: ArrayLike, ignore: Number | None) -> Layer:
    labels = as_integer("labels", labels)
    if labels.shape != made.batch:
        raise ValueError(
            f"`labels` must have the shape of `hidden` less its features, {made.batch}, but "
            f"{describe(labels)} came with `hidden` {describe(made.arrays['hidden'])}."
        )
    examples = not_ignored(labels, ignore, made.examples)
    labels = keep(examples, labels, 0)
    made = made._replace(examples=examples)
    return made.holding("labels", class_index(labels, made.all_classes))


def _state(head: Head, labels: Array, axis_name: AxisName | None, spread: bool) -> State:
    state = over_blocks(head, lambda state, block: after(state, block, labels), empty(head, spread))
    return merged(state, axis_name)


def linear_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "_ _"],
    labels: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, "classes"] | None = None,
    class_axis: int = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    ignore: Number | None = None,
    label_smoothing: PerExample = 0.0,
    class_weights: PerClass | None = None,
    z_loss: PerExample = 0.0,
    block_size: int | None = None,
    implementation: str | None = None,
    axis_name: AxisName | None = None,
    batch_axis_name: AxisName | None = None,
    **options: Unpack[ScoreOptions],
) -> Float[Array, "*batch"]:
    """Categorical cross-entropy of hidden @ kernel + bias, whose logits never exist all at once.

    The loss is `jbce.softmax_cross_entropy_with_integer_labels` of those logits. A block of classes
    at a time is multiplied out and summed up, and again in reverse mode: memory does not grow with
    the number of classes, but for the gradient of the kernel itself, at the cost of one more
    product of the two matrices. Every transformation works: reverse and forward mode, of any order,
    `vmap` over hidden states, kernels or options.

    With 16-bit matrices all products are of 16-bit numbers, forward and backward, and all sums are
    in float32, so that no logit is rounded to 16 bits.

    Args:
        hidden: what the layer is applied to, the features along the last axis.
        kernel: [features, classes], or [classes, features] with `class_axis=0`, as embeddings are.
        labels: the class index of each example.
        bias: one number for each class; −inf says that a class does not exist.
        class_axis: which axis of the kernel has the classes.
        where: of the shape of the labels: which examples exist (the others have the loss 0 and the
            gradient 0); of the shape of the logits: which classes exist for which example.
        ignore: the label that says that there is no such example; its loss is 0, and a mean has to
            leave it out too, by `where`.
        label_smoothing: as for the plain loss, and so are all options.
        class_weights: as for the plain loss.
        z_loss: as for the plain loss.
        block_size: how many classes at a time; None takes what suits the device.
        implementation: "blocks", or "logits" for the plain loss of all logits at once; None is
            "blocks".
        axis_name: the mesh axis, or axes, over which the classes are spread. In a mesh of explicit
            axes it is read off the kernel; inside of `jax.shard_map` the kernel is the shard, and
            labels count over all shards.
        batch_axis_name: the mesh axis, or axes, over which the first axis of the batch is spread.
        **options: `temperature`, `soft_cap`, `logit_adjustment` of the plain loss.

    Returns:
        The loss of each example in nats, in float32 for 16-bit numbers.

    Raises:
        TypeError: `hidden` or `kernel` are not floating point, `labels` not integers, `where` not
            boolean.
        ValueError: the shapes do not go together, an option is out of its range, `block_size` is
            below 1, or a mesh axis is not there or does not divide the classes.

    Edges:
        As the plain loss. A hidden state with a NaN gives NaN with a gradient of 0. A label out of
        range gives NaN, and NaN gradients. A logit of inf costs inf, with NaN gradients.

    Error:
        float32: that of the logits, which a product of n features rounds by about √n/2 ulps of
        their largest term; what follows adds less than 2 ulps of the loss.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> hidden, kernel = jnp.eye(2), jnp.array([[20.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> linear_softmax_cross_entropy(hidden, kernel, jnp.array([0, 1]))
        Array([4.1223074e-09, 1.0986123e+00], dtype=float32)

    Source:
        Wijmans et al., Cut your losses in large-vocabulary language models (2024), arXiv
        2411.09009; the running sums: Milakov and Gimelshein, Online normalizer calculation for
        softmax (2018), arXiv 1805.02867.
    """
    check_names(linear_softmax_cross_entropy, options, ScoreOptions)
    _check_implementation(implementation)
    made = layer(
        hidden,
        kernel,
        bias=bias,
        class_axis=class_axis,
        where=where,
        class_weights=class_weights,
        block_size=block_size,
        axis_name=axis_name,
        batch_axis_name=batch_axis_name,
        **options,
    )
    made = _with_labels(made, labels, ignore)
    made = made.option("label_smoothing", label_smoothing, 0.0, highest=1.0)
    made = made.option("z_loss", z_loss, 0.0)
    if implementation == "logits":
        losses = plain_loss(
            made.logits(),
            made.arrays["labels"],
            where=made.arrays.get("where"),
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            z_loss=z_loss,
            **options,
        )
        return made.per_example(losses)

    def losses_of(head: Head, rows: dict[str, Array], axis_name: AxisName | None) -> Array:
        smoothing, squared = rows.get("label_smoothing"), rows.get("z_loss")
        state = _state(head, rows["labels"], axis_name, smoothing is not None)
        return jnp.squeeze(loss_of(state, rows["labels"], smoothing, squared), 1)

    return made.per_example(made.compute(losses_of))


def linear_log_odds(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "_ _"],
    labels: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, "classes"] | None = None,
    class_axis: int = -1,
    where: Bool[ArrayLike, "..."] | None = None,
    ignore: Number | None = None,
    block_size: int | None = None,
    implementation: str | None = None,
    axis_name: AxisName | None = None,
    batch_axis_name: AxisName | None = None,
    **options: Unpack[ScoreOptions],
) -> Float[Array, "*batch"]:
    """Log-odds of each label against all other classes of hidden @ kernel + bias.

    `jbce.log_odds` of the logits, which never exist all at once. Any loss is a function of them:
    softplus(−log_odds) is the cross-entropy.

    Args:
        hidden: as `linear_softmax_cross_entropy`, and so are all that follow.
        kernel: as there.
        labels: as there.
        bias: as there.
        class_axis: as there.
        where: as there; an example that does not exist has log-odds of inf.
        ignore: as there.
        block_size: as there.
        implementation: as there.
        axis_name: as there.
        batch_axis_name: as there.
        **options: as there.

    Returns:
        The log-odds of each label in nats, in float32 for 16-bit numbers.

    Raises:
        TypeError: as there.
        ValueError: as there.

    Edges:
        inf where no other class exists; NaN for a label out of range.

    Error:
        float32: that of the logits, and 1 ulp.

    Example:
        >>> import jax.numpy as jnp
        >>> linear_log_odds(jnp.ones((1, 1)), jnp.array([[100.0, 0.0, 0.0]]), jnp.array([0]))
        Array([99.306854], dtype=float32)

    Source:
        Good, Probability and the weighing of evidence (1950).
    """
    check_names(linear_log_odds, options, ScoreOptions)
    _check_implementation(implementation)
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
    made = _with_labels(made, labels, ignore)
    if implementation == "logits":
        where = made.arrays.get("where")
        odds = plain_log_odds(made.logits(), made.arrays["labels"], where=where, **options)
        return made.per_example(odds, jnp.inf)

    def odds_of(head: Head, rows: dict[str, Array], axis_name: AxisName | None) -> Array:
        state = _state(head, rows["labels"], axis_name, False)
        return jnp.squeeze(log_odds_of(state, rows["labels"]), 1)

    return made.per_example(made.compute(odds_of), jnp.inf)
