"""A linear layer whose logits are made a block of classes at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from .._arguments import keep, transformed
from .._typing import Array
from ._product import product

Carry = TypeVar("Carry")

# How many logits exist at a time: on CPU what a cache holds, elsewhere what fills the device.
_LOGITS_ON_CPU = 2**21
_LOGITS_ELSEWHERE = 2**25
_MOST_CLASSES = 2**14
_ALIGNED = 128


class Head(NamedTuple):
    """Arrays of a linear layer, one row per example; on a device of several, those of its shard.

    What there is one of per row is [rows, 1]; an option that is off is None.
    """

    hidden: Array  # [rows, features], in the dtype of the sums
    kernel: Array  # its classes along `class_axis`
    bias: Array | None  # [classes]
    where: Array | None  # [rows, classes]
    class_weights: Array | None  # [classes], and so may other options be
    logit_adjustment: Array | None  # [classes]
    soft_cap: Array | None
    temperature: Array | None
    class_axis: int
    block_size: int | None
    dtype: Any  # of the products
    first_class: Array | int  # of the shard

    @property
    def num_classes(self) -> int:
        """Of the shard."""
        return self.kernel.shape[self.class_axis]

    @property
    def size_of_block(self) -> int:
        """As asked for, or so that blocks fit: if there is one that divides the classes, that."""
        classes = self.num_classes
        if self.block_size is not None:
            return min(self.block_size, classes)
        room = _LOGITS_ON_CPU if jax.default_backend() == "cpu" else _LOGITS_ELSEWHERE
        most = room // max(self.hidden.shape[0], 1) // _ALIGNED * _ALIGNED
        most = min(max(most, _ALIGNED), _MOST_CLASSES)
        for size in range(most, most // 2, -_ALIGNED):
            if classes % size == 0:
                return size
        count = -(-classes // most)
        even = -(-classes // max(count, 1))
        return min(-(-even // _ALIGNED) * _ALIGNED, classes)


class Block(NamedTuple):
    """Logits of some classes, which are in one piece."""

    logits: Array  # [rows, classes of the block], −inf where a class does not exist
    index: Array  # [1, classes of the block], counted over all shards
    is_new: Array | None  # likewise, where the last block overlaps the one before it
    exists: Array | None  # as the logits, what `where` says
    class_weights: Array | None  # [1, classes of the block]

    def new(self, values: Array, otherwise: int | float) -> Array:
        """Values without those of classes that were in an earlier block."""
        return keep(self.is_new, values, otherwise)


def _block(head: Head, number: Array | int) -> Block:
    size = head.size_of_block
    start = jnp.minimum(number * size, head.num_classes - size).astype(jnp.int32)

    def of_classes(array: Array, axis: int) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, start, size, axis)

    kernel = of_classes(head.kernel, head.class_axis)
    axes = "nd,dv->nv" if head.class_axis else "nd,vd->nv"
    logits = product(head.hidden, kernel, axes, head.dtype)
    if head.bias is not None:
        logits = logits + of_classes(head.bias, 0).astype(logits.dtype)[None]
    temperature = 1.0 if head.temperature is None else jnp.squeeze(head.temperature, 1)
    soft_cap = None if head.soft_cap is None else jnp.squeeze(head.soft_cap, 1)
    adjustment = head.logit_adjustment
    adjustment = None if adjustment is None else of_classes(adjustment, 0)
    logits = transformed(logits, (1,), soft_cap, temperature, adjustment)
    exists = None if head.where is None else of_classes(head.where, 1)
    if exists is not None:
        logits = jnp.where(exists, logits, -jnp.inf)
    local = start + jax.lax.broadcasted_iota(jnp.int32, (1, size), 1)
    weights = None
    if head.class_weights is not None:
        weights = of_classes(head.class_weights, 0)[None]
    is_new = local >= number * size if head.num_classes % size else None
    return Block(logits, local + head.first_class, is_new, exists, weights)


def over_blocks(head: Head, body: Callable[[Carry, Block], Carry], carry: Carry) -> Carry:
    """The carry after all blocks; of a block's logits nothing is kept for reverse mode.

    The kernel is sliced in the loop and not cut up before it, so that nothing of its size is copied
    and its cotangent is written in place, whatever the number of classes.
    """
    if head.num_classes == 0:
        return carry

    @jax.checkpoint
    def step(carry: Carry, number: Array | int) -> Carry:
        return body(carry, _block(head, number))

    count = -(-head.num_classes // head.size_of_block)
    if count == 1:
        return step(carry, jnp.zeros((), jnp.int32))
    numbers = jnp.arange(count, dtype=jnp.int32)
    return jax.lax.scan(lambda carry, number: (step(carry, number), None), carry, numbers)[0]
