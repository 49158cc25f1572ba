"""Which probability of an example is judged, against what, and in which bin."""

import operator
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array
from ..numerics import max_tail, softmax
from ._accuracy import is_right
from ._examples import is_class, is_defined, is_positive

Judged = Literal["top_label", "positive", "classes"]
Binning = Literal["width", "mass"]
Closed = Literal["right", "left"]


class Judgement(NamedTuple):
    """Probabilities, and whether what they are the probability of came true."""

    probs: Array  # float64, [*batch], or [*batch, classes] for `classes`
    outcomes: Array  # float64, of that shape
    undefined: Array  # boolean, [*batch]


def judged(these: Examples, of: Judged) -> Judgement:
    """What `of` says of the examples; to be called with 64-bit types enabled.

    Raises:
        ValueError: it does not go with the labels.
    """
    undefined = ~is_defined(these)
    if of == "positive" and not these.binary:
        raise ValueError("`of`='positive' is for binary labels, but class indices came.")
    if of == "top_label":
        probs, outcomes = _confidence(these), is_right(these)
    elif these.binary:
        probs = jax.nn.sigmoid(these.logits.astype(jnp.float64))
        outcomes = is_positive(these.labels)
        if of == "classes":
            outcomes = jnp.stack([~outcomes, outcomes], axis=-1)
            probs = jnp.stack([jax.nn.sigmoid(-these.logits.astype(jnp.float64)), probs], axis=-1)
    else:
        probs = softmax(these.logits, -1).astype(jnp.float64)
        outcomes = is_class(these.labels, these.logits)
    return Judgement(
        jnp.where(jnp.isnan(probs), 1.0, probs), outcomes.astype(jnp.float64), undefined
    )


def _confidence(these: Examples) -> Array:
    """Probability of the most probable class, [*batch], in float64."""
    if these.binary:
        return jax.nn.sigmoid(jnp.abs(these.logits.astype(jnp.float64)))
    # The largest term, which is 1, joins the sum in float64, where it absorbs nothing.
    return 1 / (1 + max_tail(these.logits).tail.astype(jnp.float64))


def bin_index(probs: Array, num_bins: int, closed: Closed) -> Array:
    """The i with probability in (i / num_bins, (i + 1) / num_bins], or [.., ..) if closed left."""
    if closed == "left":
        index = jnp.floor(probs * num_bins)
        index = jnp.where(probs < index / num_bins, index - 1, index)
        index = jnp.where(probs >= (index + 1) / num_bins, index + 1, index)
    else:
        index = jnp.ceil(probs * num_bins) - 1
        # The product rounds: an edge i / num_bins may come back as a little more, or less, than i.
        index = jnp.where(probs <= index / num_bins, index - 1, index)
        index = jnp.where(probs > (index + 1) / num_bins, index + 1, index)
    return jnp.clip(index, 0, num_bins - 1).astype(jnp.int32)


def mass_index(probs: Array, weights: Array, num_bins: int) -> Array:
    """Bins of nearly equal weight along the last axis; equal probabilities share a bin."""
    order = jnp.argsort(probs, axis=-1)
    ranked = jnp.take_along_axis(probs, order, axis=-1)
    through = jnp.cumsum(jnp.take_along_axis(weights, order, axis=-1), axis=-1)
    total = through[..., -1:]
    starts = jnp.concatenate(
        [jnp.ones_like(ranked[..., :1], bool), ranked[..., 1:] != ranked[..., :-1]], axis=-1
    )
    ends = jnp.concatenate([starts[..., 1:], jnp.ones_like(starts[..., :1])], axis=-1)
    places = jnp.broadcast_to(jnp.arange(probs.shape[-1]), probs.shape)
    axis = probs.ndim - 1
    first = jax.lax.cummax(jnp.where(starts, places, 0), axis)
    last = jax.lax.cummin(jnp.where(ends, places, probs.shape[-1] - 1), axis, reverse=True)
    before = jnp.concatenate([jnp.zeros_like(through[..., :1]), through[..., :-1]], axis=-1)
    middle = jnp.take_along_axis(before, first, axis=-1) + jnp.take_along_axis(
        through, last, axis=-1
    )
    index = jnp.floor(middle / 2 * num_bins / jnp.where(total == 0.0, 1.0, total))
    index = jnp.clip(index, 0, num_bins - 1).astype(jnp.int32)
    return jnp.put_along_axis(jnp.zeros_like(index), order, index, axis=-1, inplace=False)


def one_of(name: str, value: Any, choices: Any) -> Any:
    """A choice that there is.

    Raises:
        ValueError: there is not.
    """
    if value not in get_args(choices):
        raise ValueError(f"`{name}` must be one of {get_args(choices)}, but {value!r} came.")
    return value


def bin_count(num_bins: int) -> int:
    """A number of bins.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below 1.
    """
    if operator.index(num_bins) < 1:
        raise ValueError(f"`num_bins` must be at least 1, but {num_bins} came.")
    return operator.index(num_bins)
