"""What is known of a row's softmax after some of its classes, with its label left out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import is_class
from .._typing import Array
from ..numerics import softplus
from ._cost import cost, log_odds
from ._head import Block, Head
from ._shards import gathered

# With m the maximum of the other logits, S = Σ exp(x_j − m) over them. S ≥ 1, so that no term is
# absorbed; two states merge, whether they are of blocks or of shards. m is a constant, of which
# nothing depends: derivatives come by way of S, and are those of a softmax.


_SCALE = 2.0**-20  # a sum of margins to the lowest number, which stands for −inf, stays finite


class Spread(NamedTuple):
    """What label smoothing needs of the other classes that exist."""

    count: Array  # of all classes
    weight: Array  # Σ w_j
    linear: Array  # Σ w_j·(m − x_j)·_SCALE


class State(NamedTuple):
    """Each [rows, 1]."""

    maximum: Array  # m, the lowest number before there is another class
    rest: Array  # S
    label: Array  # x_y, 0 before it came
    label_weight: Array | None
    spread: Spread | None


def empty(head: Head, spread: bool) -> State:
    """Before the first class."""
    zero = jnp.sum(head.hidden[:, :0], axis=1, keepdims=True)  # of the same devices as the logits
    return State(
        maximum=zero + jnp.finfo(zero.dtype).min,
        rest=zero,
        label=zero,
        label_weight=None if head.class_weights is None else zero,
        spread=Spread(zero, zero, zero) if spread else None,
    )


def _sum(values: Array) -> Array:
    return jnp.sum(values, axis=1, keepdims=True)


def _moved(distance: Array, weight: Array) -> Array:
    """What a sum of margins gains as their reference moves."""
    return jnp.where(weight == 0, 0, distance) * weight


class _Parts(NamedTuple):
    """A block taken apart."""

    label: Array  # x_y, 0 where it is in another block
    others: Array  # −inf at the label


def _by_index(x: Array, place: Array) -> _Parts:
    """One element per row read and written, where a pass over all of them costs time."""
    here = (place >= 0) & (place < x.shape[1])
    inside = jnp.where(here, place, 0)
    label = jnp.where(here, jnp.take_along_axis(x, inside, axis=1), 0)
    row = jax.lax.broadcasted_iota(jnp.int32, place.shape, 0)
    outside = jnp.where(here, place, x.shape[1])
    return _Parts(label, x.at[row, outside].set(-jnp.inf, mode="drop", unique_indices=True))


def _by_mask(x: Array, place: Array) -> _Parts:
    """Two selects, which accelerators fuse with what comes before and after."""
    is_label = is_class(x, place, 1)
    return _Parts(_sum(jnp.where(is_label, x, 0)), jnp.where(is_label, -jnp.inf, x))


def after(state: State, block: Block, labels: Array) -> State:
    """The state after the classes of a block."""
    x = block.logits
    place = labels - block.index[:, :1]
    label, others = (_by_index if jax.default_backend() == "cpu" else _by_mask)(x, place)
    highest = jnp.max(jax.lax.stop_gradient(others), axis=1, keepdims=True)
    maximum = jnp.maximum(state.maximum, jnp.minimum(highest, jnp.finfo(x.dtype).max))
    label_weight, spread, weights = state.label_weight, state.spread, block.class_weights
    new: Array | float = 1.0
    if block.is_new is not None:
        # Of classes that were in an earlier block only the sums have to know. XLA CPU takes up a
        # product into a sum, and writes a select to memory.
        new = block.is_new.astype(x.dtype)
        first = jnp.argmax(block.is_new, axis=1, keepdims=True).astype(jnp.int32)
        place = jnp.where(place < first, -1, place)
        label = jnp.where(place < 0, 0, label)
    rest = state.rest * jnp.exp(state.maximum - maximum) + _sum(jnp.exp(others - maximum) * new)
    if weights is not None and label_weight is not None:
        label_weight = label_weight + _sum(jnp.where(is_class(x, place, 1), weights, 0))
    if spread is not None:
        exists = others != -jnp.inf
        largest = jnp.finfo(x.dtype).max
        numbers = jnp.minimum(jnp.where(exists, others, 0), largest)
        # scaled before they are subtracted, since their difference may be twice the largest number
        margins = jnp.where(exists, maximum * _SCALE - numbers * _SCALE, 0)
        weight = jnp.where(exists, 1 if weights is None else weights, 0).astype(x.dtype) * new
        moved = _moved(maximum * _SCALE - state.maximum * _SCALE, spread.weight)
        spread = Spread(
            count=spread.count + _sum((x != -jnp.inf).astype(x.dtype) * new),
            weight=spread.weight + _sum(weight),
            linear=spread.linear + moved + _sum(weight * margins),
        )
    return State(maximum, rest, state.label + label, label_weight, spread)


def merged(state: State, axis_name: str | tuple[str, ...] | None) -> State:
    """The state of all shards of the classes."""
    if axis_name is None:
        return state
    leaves, structure = jax.tree.flatten(state)
    shards = gathered(jnp.concatenate(leaves, 1), axis_name)
    columns = [shards[:, :, i : i + 1] for i in range(len(leaves))]
    of: State = jax.tree.unflatten(structure, columns)
    maximum = jax.lax.stop_gradient(jnp.max(of.maximum, axis=0))
    distance = maximum[None] - jax.lax.stop_gradient(of.maximum)
    spread = of.spread
    if spread is not None:
        linear = spread.linear + _moved(distance * _SCALE, spread.weight)
        spread = Spread(*(jnp.sum(a, axis=0) for a in (spread.count, spread.weight, linear)))
    return State(
        maximum=maximum,
        rest=jnp.sum(of.rest * jnp.exp(-distance), axis=0),
        label=jnp.sum(of.label, axis=0),
        label_weight=None if of.label_weight is None else jnp.sum(of.label_weight, axis=0),
        spread=spread,
    )


class _Known(NamedTuple):
    """A state of which functions are safe to take."""

    alone: Array  # there is no other class
    maximum: Array
    rest: Array
    label: Array


def _poisoned(values: Array, labels: Array) -> Array:
    """NaN, and NaN gradients, for labels out of range."""
    return values * jnp.where(labels >= 0, 1, jnp.nan).astype(values.dtype)


def _known(state: State, labels: Array) -> _Known:
    alone = state.rest == 0
    rest = jnp.where(alone, 1, state.rest)
    # Of a logit of inf what counts may be told from what does not by a product with 0.
    infinite = jnp.isnan(rest) & (state.maximum == jnp.finfo(rest.dtype).max)
    rest = jnp.where(infinite, jnp.inf, rest)
    return _Known(
        alone=alone,
        maximum=jnp.where(alone, 0, state.maximum),
        rest=_poisoned(rest, labels),
        label=jnp.where(alone, 0, state.label),
    )


def log_odds_of(state: State, labels: Array) -> Array:
    """x_y − logsumexp of the others; inf where there is none."""
    of = _known(state, labels)
    value = log_odds(of.label, of.maximum, of.rest)
    return jnp.where(of.alone & (labels >= 0), jnp.inf, value)


def loss_of(state: State, labels: Array, smoothing: Array | None, z_loss: Array | None) -> Array:
    """The loss of each row, from the cost c_k = logsumexp(x) − x_k of its label and of the others.

    With `a` the label's mass and s what is spread over n classes, as for the plain loss:

        a·c_y + (s/n)·Σ w_k·c_k + z·lse²           (all terms ≥ 0)
    """
    of = _known(state, labels)
    of_label = jnp.where(of.alone & (labels >= 0), 0, cost(of.label, of.maximum, of.rest))
    mass = jnp.ones_like(of_label) if state.label_weight is None else state.label_weight
    if smoothing is None and z_loss is None:
        return of_label if state.label_weight is None else _poisoned(_times(mass, of_label), labels)
    # logsumexp(x) − m = log S + softplus(z)
    finite = jnp.isfinite(of.label)
    z = log_odds(jnp.where(finite, of.label, 0), of.maximum, of.rest)
    excess = jnp.log(of.rest) + jnp.where(finite, softplus(z), jnp.maximum(of.label, 0))
    loss = of_label
    if smoothing is not None and state.spread is not None:
        count, weight, linear = state.spread
        exists = state.label != -jnp.inf
        each = smoothing / jnp.maximum(count, 1)
        loss = _times((1 - smoothing) * mass, of_label)
        loss = loss + _times(each * jnp.where(exists, mass, 0), jnp.where(exists, of_label, 0))
        loss = loss + _times(each * weight, jnp.where(of.alone, 0, excess))
        loss = loss + _times(each / _SCALE, jnp.where(of.alone, 0, linear))
    elif state.label_weight is not None:
        loss = _times(mass, of_label)
    if z_loss is not None:
        nothing = of.alone & (state.label == -jnp.inf)
        lse = jnp.where(of.alone, jnp.where(nothing, 0, state.label), of.maximum + excess)
        loss = loss + _times(z_loss, lse * lse)
    return _poisoned(loss, labels)


def _times(factor: Array, value: Array) -> Array:
    """factor·value, 0 where the factor is 0; where the value is no number it is not scaled."""
    finite = jnp.isfinite(value)
    product = factor * jnp.where(finite, value, 0)  # a factor of 0 has a derivative
    return jnp.where(finite, product, jnp.where(factor == 0, 0, value))
