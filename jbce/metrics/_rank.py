"""Examples in the order of their logits, and what is summed along it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._arguments import Examples, checked, examples
from .._typing import Array, ArrayLike
from ._examples import is_class, is_defined, is_positive, most_probable
from ._sums import product, ratio

_BLOCK = 32
_LABEL_BIT = 31  # of the payload that is sorted along; the bits below it are the example's index


class Ranking(NamedTuple):
    """Examples from the largest logit to the smallest."""

    values: Array  # [n], falling
    positive: Array  # boolean, [n]; of equal values the positive ones come last
    weights: Array  # float64, [n], or [resamples, n]
    order: Array  # int32, [n]: where each was
    starts: Array  # boolean, [n]: whether a new value begins here

    def through(self) -> tuple[Array, Array]:
        """Weight of the positives and of the negatives at or above each value, [.., n]."""
        return tuple(running_sum(weights)[..., self.last()] for weights in self.parts())  # pyright: ignore[reportReturnType]

    def parts(self) -> tuple[Array, Array]:
        """The weights of the positives and of the negatives, 0 for the others."""
        zero = jnp.zeros_like(self.weights)
        return (
            jnp.where(self.positive, self.weights, zero),
            jnp.where(self.positive, zero, self.weights),
        )

    def last(self) -> Array:
        """The index of the last example of the same value, [n]."""
        size = self.starts.size
        places = jnp.arange(size, dtype=jnp.int32)
        ends = jnp.concatenate([self.starts[1:], jnp.ones_like(self.starts[:1])])
        return lax.cummin(jnp.where(ends, places, size), reverse=True)

    def first(self) -> Array:
        """The index of the first example of the same value, [n]."""
        places = jnp.arange(self.starts.size, dtype=jnp.int32)
        return lax.cummax(jnp.where(self.starts, places, 0))


Statistic = Callable[[Ranking], Array]


def mann_whitney(these: Ranking) -> Array:
    """The share of pairs in which the positive one comes first; a tie counts ½."""
    positives, negatives = these.parts()
    through = running_sum(negatives)
    # Indices, not maxima, find the ends of a tie: it is differentiated in the weights.
    before = (through - negatives)[..., these.first()]
    total = jnp.sum(negatives, axis=-1)
    below = total[..., None] - (before + through[..., these.last()]) / 2
    return ratio(jnp.sum(positives * below, axis=-1), jnp.sum(positives, axis=-1) * total)


def average_precision_of(these: Ranking) -> Array:
    """The mean, over the positives, of the share of positives at or above them."""
    positives, _ = these.parts()
    above, wrong = these.through()
    either = above + wrong
    precision = above / jnp.where(either == 0.0, 1.0, either)
    return ratio(jnp.sum(positives * precision, axis=-1), jnp.sum(positives, axis=-1))


def running_sum(a: Array) -> Array:
    """Along the last axis: in blocks, each a product with a triangle of ones."""
    *batch, size = a.shape
    if size <= _BLOCK:
        return jnp.cumsum(a, axis=-1)
    blocks = in_blocks(a)
    within = within_blocks(blocks)
    totals = within[..., -1]
    sums = within + (running_sum(totals) - totals)[..., None]
    return sums.reshape(*batch, -1)[..., :size]


def in_blocks(a: Array) -> Array:
    """[.., n] as [.., blocks, 32], with zeros behind."""
    *batch, size = a.shape
    blocks = -(-size // _BLOCK)
    padded = jnp.pad(a, [(0, 0)] * len(batch) + [(0, blocks * _BLOCK - size)])
    return padded.reshape(*batch, blocks, _BLOCK)


def within_blocks(blocks: Array) -> Array:
    """The running sums of each block."""
    return product(blocks, jnp.triu(jnp.ones((_BLOCK, _BLOCK), blocks.dtype)))


def ranked(
    statistic: Statistic,
    logits: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    where: ArrayLike,
) -> Array:
    """A statistic of the ranking by logits; of classes the mean of one against the rest.

    Raises:
        TypeError: an argument has a dtype that its role does not allow.
        ValueError: the shapes do not fit together, or there are 2^31 examples or more.
    """
    arrays = checked(logits, labels, weights, where)
    if arrays[1].size >= 2**_LABEL_BIT:
        raise ValueError(f"`labels` must be fewer than 2^31, but {arrays[1].size} came.")
    return _ranked(statistic, *arrays)


@functools.partial(jax.jit, static_argnums=0)
def _ranked(statistic: Statistic, *arrays: Array) -> Array:
    these = examples(lax.stop_gradient(arrays[0]), *arrays[1:])
    undefined = jnp.any(these.counted & ~is_defined(these))
    values = over_rankings(statistic, these)
    with jax.enable_x64(True):
        return jnp.where(undefined, jnp.nan, jnp.mean(values)).astype(these.dtype)


def over_rankings(function: Callable[[Ranking], Any], these: Examples) -> Any:
    """`function` of the ranking of binary labels, or of each class against the rest: stacked."""
    if these.binary:
        values, positive = these.logits.ravel(), is_positive(these.labels).ravel()
        with jax.enable_x64(True):
            result = function(ranking(values, positive, these.weights.ravel()))
        return jax.tree.map(lambda a: a[None], result)
    labels, odds = these.labels.ravel(), _AllLogOdds(these)
    with jax.enable_x64(True):
        weights = these.weights.ravel()

        def of_class(index: Array) -> Any:
            return function(ranking(odds.of_class(index), labels == index, weights))

        return lax.map(of_class, jnp.arange(these.logits.shape[-1], dtype=jnp.int32))


class _AllLogOdds:
    """The log-odds of every class at O(classes) per example, one class at a time.

    (`jbce.log_odds` gives one class for that price.)
    """

    def __init__(self, these: Examples) -> None:
        logits = these.logits.reshape(-1, these.logits.shape[-1])
        self.dtype = these.dtype
        self.top = most_probable(logits)
        with jax.enable_x64(True):
            self.below = _below_largest(logits.astype(jnp.float64))
            rest = jnp.where(is_class(self.top, logits), -jnp.inf, self.below)
            self.of_top = -jax.nn.logsumexp(rest, axis=-1)
            self.tail = jnp.sum(jnp.exp(rest), axis=-1)

    def of_class(self, index: Array) -> Array:
        """[examples], to the precision of the logits: rows of equal odds are ties."""
        column = self.below[:, index]
        # x_k − logsumexp of the others, where the others hold the largest: 1 + (tail − e_k).
        others = jnp.maximum(self.tail - jnp.exp(column), 0.0)
        odds = jnp.where(self.top == index, self.of_top, column - jnp.log1p(others))
        return odds.astype(self.dtype)


def _below_largest(logits: Array) -> Array:
    """logits − max(logits) over the last axis: 0 at the largest, also where that is +inf."""
    largest = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    is_infinite = (logits == largest) & jnp.isinf(largest)
    return jnp.where(is_infinite, 0.0, jnp.where(is_infinite, 0.0, logits) - largest)


def ranking(values: Array, positive: Array, weights: Array) -> Ranking:
    """Of [n] each; to be called with 64-bit types enabled."""
    values = lax.stop_gradient(values)
    payload = (positive.astype(jnp.uint32) << _LABEL_BIT) | jnp.arange(
        values.size, dtype=jnp.uint32
    )
    if values.dtype == jnp.float32:
        # One 64-bit integer holds all: XLA sorts that 4 times faster than floats on a CPU, and by
        # radix on a GPU.
        packed = (~ordered_bits(values).astype(jnp.uint64) << 32) | payload.astype(jnp.uint64)
        packed = lax.sort(packed, is_stable=False)
        keys, payload = packed >> 32, packed.astype(jnp.uint32)
    else:
        keys, payload = lax.sort((-values, payload), num_keys=2, is_stable=False)
    label_bit = jnp.uint32(1 << _LABEL_BIT)
    order = (payload & ~label_bit).astype(jnp.int32)
    starts = jnp.concatenate([jnp.ones_like(keys[:1], bool), keys[1:] != keys[:-1]])
    return Ranking(values[order], (payload & label_bit) != 0, weights[order], order, starts)


def ordered_bits(values: Array) -> Array:
    """Integers in the order of the float32 `values`; −0 and +0 become one."""
    bits = lax.bitcast_convert_type(values, jnp.uint32)
    sign_bit = jnp.uint32(1 << 31)
    return jnp.where(bits > sign_bit, ~bits, bits | sign_bit)
