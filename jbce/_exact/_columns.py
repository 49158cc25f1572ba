"""Rows of few numbers, column by column.

XLA CPU reduces a short last axis one row at a time. With the columns written out it is a loop over
rows, eight of which it takes at once. Only where an array is not spread over devices.
"""

import functools
import math

import jax.numpy as jnp

from .._typing import Array
from ._slices import sizes_are_known

_AT_ONCE = 14  # of more the compiler writes to memory what the columns are made of
_MOST = 2 * _AT_ONCE
_WORTH_IT = 2**12


def is_of_few_columns(shape: tuple[int, ...], axis: int) -> bool:
    """Whether reductions along an axis are faster by columns; not where a size is symbolic."""
    if not sizes_are_known(shape):
        return False
    return axis == len(shape) - 1 and shape[axis] <= _MOST and math.prod(shape) >= _WORTH_IT


def max_of_columns(x: Array) -> list[Array]:
    """The largest of each row among every few columns."""
    return [functools.reduce(jnp.maximum, some) for some in _some_at_once(x)]


def sum_of_columns(x: Array) -> list[Array]:
    """The sum of each row over every few columns, in float64 and rounded once."""
    return [
        functools.reduce(jnp.add, (column.astype(jnp.float64) for column in some)).astype(x.dtype)
        for some in _some_at_once(x)
    ]


def sum_of_columns_but_largest(x: Array) -> list[tuple[Array, Array]]:
    """The largest of each row among every few columns, and the sum of the others."""
    return [_largest_and_others(some) for some in _some_at_once(x)]


def _largest_and_others(columns: list[Array]) -> tuple[Array, Array]:
    largest, *columns = columns
    others = jnp.zeros(largest.shape, jnp.float64)
    for column in columns:
        others += jnp.minimum(largest, column).astype(jnp.float64)
        largest = jnp.maximum(largest, column)
    return largest, others.astype(largest.dtype)


def _some_at_once(x: Array) -> list[list[Array]]:
    columns = [x[..., place : place + 1] for place in range(x.shape[-1])]
    parts = -(-len(columns) // _AT_ONCE)
    return [columns[part::parts] for part in range(parts)]
