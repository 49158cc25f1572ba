"""The training loop: a pure function of (state, key, data), to be jitted, or batched by `vmap`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from .._typing import Array, Float, Int, describe
from ..losses import (
    mean,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    total,
)
from ._data import Data, take, without_the_uncounted
from ._extra import extra

with extra():
    import optax
    from flax import nnx

Loss = Callable[[Array, Array], Array]
Penalty = Callable[[nnx.Module], Array]
Score = Callable[..., Array]  # (logits, labels, weights=) to a number, less is better

# Of the scale of float16 gradients: doubled after so many good steps, up to a limit.
_GROWTH_INTERVAL = 2_000
_LARGEST_SCALE = 2.0**24


class Scale(NamedTuple):
    """What float16 gradients are multiplied with, so that they do not underflow."""

    value: Array
    good_steps: Array  # since it last changed


class Trouble(NamedTuple):
    """The first step that could not be taken; from there on nothing changes."""

    step: Array  # −1: none
    example: Array  # the first whose loss is not finite; −1: only the gradient is not


class Best(NamedTuple):
    """The model of the best epoch so far."""

    params: nnx.State
    rest: nnx.State
    score: Array
    epoch: Array  # how many epochs it had seen; 0: none yet


class State(NamedTuple):
    """What training changes."""

    params: nnx.State
    rest: nnx.State  # of the model: batch statistics, random streams
    optimizer: optax.OptState
    scale: Scale | None
    trouble: Trouble
    best: Best | None


class History(NamedTuple):
    """What training was like, one entry per epoch."""

    loss: Float[Array, " epochs"]  # weighted mean, each batch before its step; without penalty
    penalty: Float[Array, " epochs"]  # mean over the steps; 0 without a penalty
    validation: Float[Array, " epochs"]  # score after the epoch; NaN without validation data


class Recipe(NamedTuple):
    """What stays as it is, and is compiled in."""

    graphdef: nnx.GraphDef  # of the model in training
    evaluating: nnx.GraphDef  # and when it is judged
    optimizer: optax.GradientTransformation
    loss: Loss
    penalty: Penalty | None
    score: Score
    batch_size: int
    accumulate: int = 1  # parts of a batch, one after the other
    loss_scale: float | None = None
    patience: int | None = None
    sharding: NamedSharding | None = None  # of a batch


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


def mean_of(loss: Loss) -> Score:
    """The score that is the weighted mean of a loss."""
    return _MeanOf(loss)


class _MeanOf(NamedTuple):
    loss: Loss  # equal for equal losses, so that nothing is compiled twice

    def __call__(self, logits: Array, labels: Array, *, weights: Array) -> Array:
        losses, spread = _spread(self.loss, logits, labels, weights)
        return mean(losses, weights=spread)


def initial_state(recipe: Recipe, params: Any, rest: Any) -> State:
    """The state before the first epoch."""
    nothing = jnp.asarray(-1, jnp.int32)
    scale, best = None, None
    if recipe.loss_scale is not None:
        scale = Scale(jnp.asarray(recipe.loss_scale, jnp.float32), nothing + 1)
    if recipe.patience is not None:
        best = Best(params, rest, jnp.asarray(jnp.inf, jnp.float32), nothing + 1)
    return State(
        params, rest, recipe.optimizer.init(params), scale, Trouble(nothing, nothing), best
    )


def run_epochs(
    recipe: Recipe,
    length: int,
    state: State,
    key: Array,
    first_epoch: int | Array,
    num_epochs: int | Array,
    data: Data,
    validation: Data | None = None,
) -> tuple[State, History, Int[Array, ""]]:
    """`length` epochs from `first_epoch` on; those from `num_epochs` on do nothing.

    So one compilation serves all parts of a training, though `length` need not divide
    `num_epochs`. The order of the examples in an epoch depends on `key` and its number only.

    Returns:
        The state, the history, and how many epochs have been run, which are fewer where patience
        or the numbers ended.
    """

    def run(state: State, epoch: Array) -> tuple[State, History]:
        return _run_epoch(recipe, state, key, epoch, data, validation)

    def skip(state: State, epoch: Array) -> tuple[State, History]:
        del epoch
        return state, jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), history)

    def step(carry: tuple[State, Array], epoch: Array) -> tuple[tuple[State, Array], History]:
        before, done = carry
        exists = jnp.asarray(epoch < num_epochs)
        over = is_over(recipe, before, epoch)
        goes_on = exists & (before.trouble.step < 0) & ~over
        # Not on `goes_on`: of a vmapped condition JAX copies all data to every member.
        state, history = jax.lax.cond(exists, run, skip, before, epoch)
        if recipe.patience is not None:
            state = jax.tree.map(lambda new, old: _selected(over, old, new), state, before)
        return (state, done + goes_on), history

    first_epoch = jnp.asarray(first_epoch, jnp.int32)
    _, history = jax.eval_shape(run, state, first_epoch)
    (state, done), histories = jax.lax.scan(
        step,
        (state, jnp.zeros([], jnp.int32)),
        first_epoch + jnp.arange(length, dtype=jnp.int32),
    )
    return state, histories, done


def is_over(recipe: Recipe, state: State, epochs_done: int | Array) -> Array:
    """Whether patience has ended."""
    if state.best is None or recipe.patience is None:
        return jnp.zeros([], bool)
    return epochs_done - state.best.epoch >= recipe.patience


def order_of(key: Array, epoch: int | Array, num_examples: int) -> Array:
    """The order of the examples in an epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)


def _run_epoch(
    recipe: Recipe, state: State, key: Array, epoch: Array, data: Data, validation: Data | None
) -> tuple[State, History]:
    num_examples = data.num_examples
    batch_size = min(recipe.batch_size, num_examples)
    num_batches = -(-num_examples // batch_size)
    if num_batches == 1:
        state, (loss, penalty, _) = step(recipe, state, data, epoch, jnp.arange(num_examples))
    else:
        padding = num_batches * batch_size - num_examples
        order = jnp.pad(order_of(key, epoch, num_examples), (0, padding))
        exists = jnp.arange(num_batches * batch_size) < num_examples

        def step_on(state: State, batch: tuple[Array, ...]) -> tuple[State, tuple]:
            indices, exists, number = batch
            indices, exists = constrained(recipe, (indices, exists))
            return step(recipe, state, take(data, indices, exists), number, indices)

        batches = (
            order.reshape(num_batches, batch_size),
            exists.reshape(num_batches, batch_size),
            epoch * num_batches + jnp.arange(num_batches, dtype=jnp.int32),
        )
        state, (losses, penalties, weights) = jax.lax.scan(step_on, state, batches)
        loss, penalty = mean(losses, weights=weights), jnp.mean(penalties)
    state, score = validated(recipe, state, epoch + 1, validation)
    return state, History(loss, penalty, score)


def constrained(recipe: Recipe, batch: Any) -> Any:
    """A batch, spread over the devices."""
    if recipe.sharding is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, recipe.sharding)


def step(
    recipe: Recipe, state: State, batch: Data, number: Array, indices: Array
) -> tuple[State, tuple[Array, Array, Array]]:
    """One step of the optimizer; with the loss, the penalty and the weight of the batch.

    The gradient is Σ w·∇loss / Σ w over the whole batch, also where it is accumulated in parts.
    A step whose loss or gradient is not finite is not taken: the state says so, and stays.
    """
    batch = constrained(recipe, without_the_uncounted(batch))
    gradient, rest, loss_sum, weight, bad = _accumulated(recipe, state, batch)
    positive = weight > 0
    divisor = jnp.where(positive, weight, 1)
    gradient = jax.tree.map(lambda leaf: leaf / divisor.astype(leaf.dtype), gradient)
    loss = loss_sum / divisor
    penalty = jnp.zeros_like(loss)
    if recipe.penalty is not None:
        value, slope = jax.value_and_grad(_penalty, argnums=1)(recipe, state.params, state.rest)
        penalty = jnp.asarray(value, loss.dtype)
        gradient = jax.tree.map(jnp.add, gradient, slope)
    updates, optimizer_state = recipe.optimizer.update(gradient, state.optimizer, state.params)
    params: Any = optax.apply_updates(state.params, updates)

    # What an optimizer makes of a gradient that is not finite (`optax.zero_nans`) is its business.
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]
    good = jnp.all(jnp.stack([jnp.isfinite(penalty), jnp.isfinite(loss), *finite]))
    harmless, scale = _rescaled(state.scale, good)
    trouble = (bad >= 0) | ~(good | harmless)
    taken = (bad < 0) & good & (state.trouble.step < 0)
    chosen = State(
        params, rest, optimizer_state, scale, _recorded(state, trouble, number, bad, indices), None
    )
    kept = state._replace(scale=scale, trouble=chosen.trouble, best=None)
    next_state = jax.tree.map(lambda new, old: _selected(taken, new, old), chosen, kept)
    return next_state._replace(best=state.best), (loss, penalty, weight)


def _recorded(state: State, trouble: Array, number: Array, bad: Array, indices: Array) -> Trouble:
    first = trouble & (state.trouble.step < 0)
    example = jnp.where(bad >= 0, indices[jnp.maximum(bad, 0)], -1)
    return Trouble(
        jnp.where(first, number, state.trouble.step).astype(jnp.int32),
        jnp.where(first, example, state.trouble.example).astype(jnp.int32),
    )


def _selected(taken: Array, new: Array, old: Array) -> Array:
    return jnp.where(taken, new, old)  # of keys, too


def _rescaled(scale: Scale | None, good: Array) -> tuple[Array, Scale | None]:
    """Whether a gradient that is not finite is no trouble yet, and the next scale."""
    if scale is None:
        return jnp.zeros([], bool), None
    enough = scale.good_steps + 1 >= _GROWTH_INTERVAL
    grown = jnp.where(enough, jnp.minimum(scale.value * 2, _LARGEST_SCALE), scale.value)
    value = jnp.where(good, grown, jnp.maximum(scale.value / 2, 1.0))
    return scale.value > 1.0, Scale(value, jnp.where(good & ~enough, scale.good_steps + 1, 0))


def _penalty(recipe: Recipe, params: Any, rest: Any) -> Array:
    assert recipe.penalty is not None
    return recipe.penalty(nnx.merge(recipe.graphdef, params, rest, copy=True))


def _accumulated(recipe: Recipe, state: State, batch: Data) -> tuple[Any, Any, Array, Array, Array]:
    """Over a batch: Σ w·∇loss, the model's rest, Σ w·loss, Σ w, and the first loss not finite."""
    size = batch.num_examples
    parts = min(recipe.accumulate, size)
    if parts == 1:
        return _summed(recipe, state.params, state.rest, state.scale, batch, 0)
    length = -(-size // parts)
    if parts * length > size:
        missing = (0, parts * length - size)
        batch = without_the_uncounted(
            jax.tree.map(lambda leaf: jnp.pad(leaf, [missing] + [(0, 0)] * (leaf.ndim - 1)), batch)
        )
    split = jax.tree.map(lambda leaf: leaf.reshape(parts, length, *leaf.shape[1:]), batch)

    def add(carry: Any, part: tuple[Data, Array]) -> tuple[Any, None]:
        gradient, rest, loss, weight, bad = carry
        more, rest, *sums, worse = _summed(recipe, state.params, rest, state.scale, *part)
        gradient = jax.tree.map(jnp.add, gradient, more)
        return (
            gradient,
            rest,
            loss + sums[0],
            weight + sums[1],
            jnp.where(bad < 0, worse, bad),
        ), None

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    number = jnp.zeros([], batch.weights.dtype)  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    shapes = jax.eval_shape(
        lambda: _summed(
            recipe,
            state.params,
            state.rest,
            state.scale,
            jax.tree.map(lambda leaf: leaf[0], split),
            0,
        )
    )
    first = (
        zeros,
        state.rest,
        jnp.zeros([], shapes[2].dtype),
        number,
        jnp.asarray(-1, jnp.int32),
    )
    offsets = jnp.arange(parts, dtype=jnp.int32) * length
    return jax.lax.scan(add, first, (split, offsets))[0]


def _summed(
    recipe: Recipe, params: Any, rest: Any, scale: Scale | None, batch: Data, offset: int | Array
) -> tuple[Any, Any, Array, Array, Array]:
    # The sum is differentiated at the size of a mean, where float16 holds it.
    factor = (1.0 if scale is None else scale.value) / batch.num_examples

    def objective(params: Any) -> tuple[Array, Any]:
        model: Any = nnx.merge(recipe.graphdef, params, rest, copy=True)
        losses, weights = _spread(recipe.loss, model(batch.features), batch.labels, batch.weights)
        summed = total(losses, weights=weights)
        wrong = (~jnp.isfinite(losses) & (weights != 0)).reshape(batch.num_examples, -1).any(-1)
        bad = jnp.where(wrong.any(), jnp.argmax(wrong).astype(jnp.int32) + offset, -1)
        _, _, after = nnx.split(model, nnx.Param, ...)
        return summed * factor, (after, summed, jnp.sum(weights), bad)

    gradient, (after, summed, weight, bad) = jax.grad(objective, has_aux=True)(params)
    gradient = jax.tree.map(lambda leaf: leaf / jnp.asarray(factor, leaf.dtype), gradient)
    return gradient, after, summed, weight, bad


def _spread(loss: Loss, logits: Array, labels: Any, weights: Any) -> tuple[Array, Array]:
    losses = loss(logits, labels)
    if losses.shape[:1] != weights.shape or losses.shape != logits.shape[: losses.ndim]:
        raise ValueError(
            "`loss` must give one loss per example (or per logit), with the examples first, but "
            f"for {weights.shape[0]} examples {describe(losses)} came, from logits "
            f"{describe(logits)} and labels {describe(labels)}."
        )
    weights = weights.reshape(weights.shape + (1,) * (losses.ndim - 1))
    return losses, jnp.broadcast_to(weights, losses.shape)


def validated(
    recipe: Recipe, state: State, epochs_done: Array, validation: Data | None
) -> tuple[State, Array]:
    """The score after an epoch, and the state that remembers the best one."""
    if validation is None:
        return state, jnp.asarray(jnp.nan, jnp.float32)
    validation = without_the_uncounted(validation)
    logits = logits_of(
        recipe.evaluating, state.params, state.rest, validation.features, recipe.batch_size
    )
    score = recipe.score(logits, validation.labels, weights=validation.weights)
    score = jnp.asarray(score, jnp.float32)
    if state.best is not None:
        better = (score < state.best.score) & (state.trouble.step < 0)
        now = Best(state.params, state.rest, score, jnp.asarray(epochs_done, jnp.int32))
        best = jax.tree.map(lambda new, old: _selected(better, new, old), now, state.best)
        state = state._replace(best=best)
    return state, score


def logits_of(graphdef: Any, params: Any, rest: Any, features: Any, batch_size: int) -> Array:
    """The logits of all examples, in batches so that they need no more memory than training."""
    model: Any = nnx.merge(graphdef, params, rest, copy=True)
    size = jax.tree.leaves(features)[0].shape[0]
    batch_size = min(max(batch_size, 512), size)
    num_batches = -(-size // batch_size)
    if num_batches == 1:
        return model(features)

    def split(leaf: Array) -> Array:
        rows = [(0, num_batches * batch_size - size)] + [(0, 0)] * (leaf.ndim - 1)
        return jnp.pad(leaf, rows).reshape(num_batches, batch_size, *leaf.shape[1:])

    # A merged model belongs to one trace: inside the loop it is merged anew.
    logits = jax.lax.map(
        lambda part: nnx.merge(graphdef, params, rest, copy=True)(part),
        jax.tree.map(split, features),
    )
    return logits.reshape(num_batches * batch_size, *logits.shape[2:])[:size]
