"""Sums by slices: parts of an array are added in a loop before what is left is reduced.

XLA CPU hands a sum with what leads to it to a kernel library, which takes 0.8 ns for an operation
of float64 and writes to memory what it does not know, as selects. A sum of slices is a loop that
the compiler makes itself, in which an operation takes a twentieth of that, and all that is written
is an eighth of the terms. Only where an array is not spread over devices.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from .._typing import Array

_SLICES = 8  # of 15 and more the compiler makes programs of their own
_WORTH_SLICING = 2**14
_FEWEST = 64
# Slices that lie in turn, so many numbers of each, are faster than slices one after the other, but
# have to come out even: the first pair of (slices, numbers) that does.
_IN_TURN = (
    (8, 16),
    (8, 24),
    (5, 40),
    (5, 32),
    (7, 16),
    (6, 16),
    (5, 20),
    (7, 24),
    (5, 48),
    (7, 40),
)


def sizes_are_known(shape: tuple[int, ...]) -> bool:
    """Whether no size is symbolic, as in a program that is exported for many."""
    return all(isinstance(size, int) for size in shape)


def is_worth_slicing(shape: tuple[int, ...], axis: int) -> bool:
    """Whether sums along an axis are faster by slices; not where a size is symbolic."""
    if not sizes_are_known(shape):
        return False
    return shape[axis] >= _FEWEST and math.prod(shape) >= _WORTH_SLICING


def sum_by_slices(x: Array, axis: int, dtype: Any) -> Array:
    """Sums along an axis, which is kept, in float64 but for one rounding of slices to `dtype`.

    (The kernel library's own sums of float32 are off by 6 ulp for 200 numbers.)
    """
    size = x.shape[axis]
    pair = next((pair for pair in _IN_TURN if size % math.prod(pair) == 0), None)
    if pair is not None and axis == x.ndim - 1:
        turns = x.reshape(*x.shape[:-1], -1, *pair)
        slices = [turns[..., i, :].astype(jnp.float64) for i in range(pair[0])]
        added = functools.reduce(jnp.add, slices)
        # In two steps: the library takes ten times as long for a row of 32,768 numbers of float64.
        few = _ended(jnp.sum(_ended(added.astype(dtype)).astype(jnp.float64), axis=-1))
        return jnp.sum(few, axis=-1, keepdims=True)
    added = functools.reduce(jnp.add, _one_after_the_other(x, axis))
    return jnp.sum(_ended(added.astype(dtype)).astype(jnp.float64), axis=axis, keepdims=True)


def _one_after_the_other(x: Array, axis: int) -> list[Array]:
    # Of one length, a multiple of 32, without which the loop does one number at a time. The last
    # slice begins early instead, and leaves out what is in the one before.
    size = x.shape[axis]
    length = -(-size // (32 * _SLICES)) * 32
    starts = [*range(0, size - length, length), size - length]
    slices = [
        jax.lax.slice_in_dim(x, start, start + length, axis=axis).astype(jnp.float64)
        for start in starts
    ]
    if twice := len(starts) * length - size:
        place = jax.lax.broadcasted_iota(jnp.int32, slices[-1].shape, axis)
        slices[-1] = jnp.where(place < twice, 0, slices[-1])
    return slices


def _ended(x: Array) -> Array:
    """x; a select, which the kernel library cannot take up, and with it nothing before it."""
    return jnp.where(x == jnp.inf, jnp.inf, x)
