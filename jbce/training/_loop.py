"""The training loop: a pure function of (state, key, data), to be jitted, or batched by `vmap`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, Float, describe
from ..losses import (
    mean,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from ._extra import extra

with extra():
    import optax
    from flax import nnx

Loss = Callable[[Array, Array], Array]
Penalty = Callable[[nnx.Module], Array]


class State(NamedTuple):
    """What training changes."""

    params: nnx.State
    rest: nnx.State  # of the model: batch statistics, random streams
    optimizer: optax.OptState


class Data(NamedTuple):
    """What it learns from, one entry per example."""

    features: Array  # [examples, ...]
    labels: Array  # [examples, ...]
    weights: Array  # [examples]


class History(NamedTuple):
    """What training was like, one entry per epoch, measured before each of its steps."""

    loss: Float[Array, " epochs"]  # weighted mean over the examples, without the penalty
    penalty: Float[Array, " epochs"]  # mean over the steps; 0 without a penalty


class Recipe(NamedTuple):
    """What stays as it is, and is compiled in."""

    graphdef: nnx.GraphDef
    optimizer: optax.GradientTransformation
    loss: Loss
    penalty: Penalty | None
    batch_size: int


def default_loss(logits: Array, labels: Array) -> Array:
    """Binary cross-entropy for labels of the logits' shape, categorical for class indices.

    Raises:
        ValueError: the labels are neither.
    """
    if labels.shape == logits.shape:
        if labels.dtype == jnp.bool_:
            labels = labels.astype(jnp.int8)
        return sigmoid_binary_cross_entropy(logits, labels)
    if labels.shape == logits.shape[:-1] and jnp.issubdtype(labels.dtype, jnp.integer):
        return softmax_cross_entropy_with_integer_labels(logits, labels)
    raise ValueError(
        "`labels` must have the shape of the model's logits (binary), or be integers of that shape "
        f"less its last axis (multi-class), but {describe(labels)} came with logits "
        f"{describe(logits)}. Another `loss` may be passed for other labels."
    )


def initial_state(model: nnx.Module, optimizer: optax.GradientTransformation) -> State:
    """The state before the first epoch."""
    _, params, rest = nnx.split(model, nnx.Param, ...)
    return State(params, rest, optimizer.init(params))


def run_epochs(
    recipe: Recipe,
    length: int,
    state: State,
    key: Array,
    first_epoch: int | Array,
    num_epochs: int | Array,
    data: Data,
) -> tuple[State, History]:
    """`length` epochs from `first_epoch` on; those from `num_epochs` on do nothing.

    So one compilation serves all parts of a training, though `length` need not divide
    `num_epochs`. The order of the examples in an epoch depends on `key` and its number only.
    """

    def run(state: State, epoch: Array) -> tuple[State, History]:
        return _run_epoch(recipe, state, jax.random.fold_in(key, epoch), data)

    def skip(state: State, epoch: Array) -> tuple[State, History]:
        del epoch
        return state, jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), history)

    first_epoch = jnp.asarray(first_epoch, jnp.int32)
    _, history = jax.eval_shape(run, state, first_epoch)
    return jax.lax.scan(
        lambda state, epoch: jax.lax.cond(epoch < num_epochs, run, skip, state, epoch),
        state,
        first_epoch + jnp.arange(length, dtype=jnp.int32),
    )


def _run_epoch(recipe: Recipe, state: State, key: Array, data: Data) -> tuple[State, History]:
    step = functools.partial(_step, recipe)
    num_examples, batch_size = data.weights.shape[0], recipe.batch_size
    if batch_size >= num_examples:
        state, (loss, penalty, _) = step(state, data)
        return state, History(loss, penalty)
    num_batches = -(-num_examples // batch_size)
    padding = num_batches * batch_size - num_examples
    # The last batch is filled up with examples of weight 0.
    order = jnp.pad(jax.random.permutation(key, num_examples), (0, padding))
    exists = jnp.arange(num_batches * batch_size) < num_examples

    def step_on(state: State, batch: tuple[Array, Array]) -> tuple[State, tuple]:
        indices, exists = batch
        chosen = Data(*(array[indices] for array in data))
        return step(state, chosen._replace(weights=jnp.where(exists, chosen.weights, 0)))

    batches = order.reshape(num_batches, batch_size), exists.reshape(num_batches, batch_size)
    state, (losses, penalties, weights) = jax.lax.scan(step_on, state, batches)
    return state, History(mean(losses, weights=weights), jnp.mean(penalties))


def _step(recipe: Recipe, state: State, data: Data) -> tuple[State, tuple[Array, Array, Array]]:
    """One step of the optimizer; with the loss, the penalty and the weight of the batch."""

    def objective(params: Any) -> tuple[Array, Any]:
        model: Any = nnx.merge(recipe.graphdef, params, state.rest, copy=True)
        losses, weights = _weighed_losses(recipe.loss, model(data.features), data)
        loss = mean(losses, weights=weights)
        penalty = jnp.zeros_like(loss)
        if recipe.penalty is not None:
            penalty = jnp.asarray(recipe.penalty(model), loss.dtype)
        _, _, rest = nnx.split(model, nnx.Param, ...)
        return loss + penalty, (rest, (loss, penalty, jnp.sum(weights)))

    gradient, (rest, report) = jax.grad(objective, has_aux=True)(state.params)
    updates, optimizer_state = recipe.optimizer.update(gradient, state.optimizer, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    return State(params, rest, optimizer_state), report


def _weighed_losses(loss: Loss, logits: Array, data: Data) -> tuple[Array, Array]:
    losses = loss(logits, data.labels)
    if losses.shape[:1] != data.weights.shape:
        raise ValueError(
            "`loss` must give one loss per example (or more), with the examples first, but for "
            f"{data.weights.shape[0]} examples {describe(losses)} came, from logits "
            f"{describe(logits)} and labels {describe(data.labels)}."
        )
    weights = data.weights.reshape(data.weights.shape + (1,) * (losses.ndim - 1))
    return losses, jnp.broadcast_to(weights, losses.shape)
