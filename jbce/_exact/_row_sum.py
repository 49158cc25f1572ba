"""The sum that derivative rules take."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .._typing import Array
from ._primitive import exact_primitive

# On jax 0.10 the sum of a product, one factor of which lacks a batch axis, is wrong on CPU from
# 4096 numbers on where it meets an array of the product's shape, as in t − Σp·t: XLA makes one
# kernel of it all and forgets to broadcast that factor. So Hessians by `vmap` under `jit` came out
# wrong. A select that changes nothing ends the kernel; a primitive, because a derivative rule is
# linear and that select is not.


def _plain(x: Array, *, axis: tuple[int, ...]) -> Array:
    return jnp.sum(x, axis=axis, keepdims=True)


def _guarded(x: Array, *, axis: tuple[int, ...]) -> Array:
    total = _plain(x, axis=axis)
    return jnp.where(total == jnp.inf, jnp.inf, total)


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: tuple[int, ...]) -> Any:
    return _row_sum(*primals, axis=axis), _row_sum(tangents[0], axis=axis)


_row_sum = exact_primitive(
    "row_sum",
    _guarded,
    definition=_plain,
    outputs=_plain,
    jvp=_jvp,
    linear=_plain,
    shift_axis=True,
)


def row_sum(x: Array, axis: int | tuple[int, ...]) -> Array:
    """jnp.sum along axes counted from the front, which are kept."""
    return _row_sum(x, axis=axis if isinstance(axis, tuple) else (axis,))
