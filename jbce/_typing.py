"""Array types, and the checks of shape and dtype that every public function makes at trace time."""

import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as Array
from jaxtyping import ArrayLike as ArrayLike
from jaxtyping import Bool as Bool
from jaxtyping import Float as Float
from jaxtyping import Int as Int
from jaxtyping import Integer as Integer
from jaxtyping import Real as Real

Axis = int | Sequence[int]


def describe(array: Array | np.ndarray | jax.ShapeDtypeStruct) -> str:
    """Shape and dtype in one word, as jaxprs write them: `float32[3,4]`."""
    return f"{array.dtype.name}[{','.join(map(str, array.shape))}]"


def as_array(name: str, value: ArrayLike) -> Array:
    """`value` as an array.

    Raises:
        TypeError: it is not an array or a number (a list is neither, as in `jax.numpy`).
    """
    if not isinstance(value, (jax.Array, np.ndarray, np.generic, bool, int, float)):
        raise TypeError(
            f"`{name}` must be an array or a number, but a {type(value).__name__} came; "
            f"jnp.asarray({name}) makes an array of it."
        )
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "USOMm":
        raise TypeError(f"`{name}` must be numbers, but an array of {value.dtype} came.")
    return jnp.asarray(value)


def as_floating(name: str, value: ArrayLike) -> Array:
    """`value` as an array of floating point numbers.

    Raises:
        TypeError: its dtype is not floating point. Nothing is converted silently: integer logits
            are almost always labels in the wrong place.
    """
    array = as_array(name, value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"`{name}` must be floating point, but {describe(array)} came.")
    return array


def as_real(name: str, value: ArrayLike) -> Array:
    """`value` as an array of booleans, integers or floating point numbers.

    Raises:
        TypeError: it holds something else (complex numbers, keys).
    """
    array = as_array(name, value)
    if not (
        jnp.issubdtype(array.dtype, jnp.floating)
        or jnp.issubdtype(array.dtype, jnp.integer)
        or array.dtype == jnp.bool_
    ):
        raise TypeError(
            f"`{name}` must be boolean, integer or floating point, but {describe(array)} came."
        )
    return array


def as_integer(name: str, value: ArrayLike) -> Array:
    """`value` as an array of integers.

    Raises:
        TypeError: it holds something else.
    """
    array = as_array(name, value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"`{name}` must be integers, but {describe(array)} came.")
    return array


def as_boolean(name: str, value: ArrayLike) -> Array:
    """`value` as an array of booleans.

    Raises:
        TypeError: it holds something else; numbers are weights, not a choice of what exists.
    """
    array = as_array(name, value)
    if array.dtype != jnp.bool_:
        raise TypeError(f"`{name}` must be boolean, but {describe(array)} came.")
    return array


def check_same_shape(
    name: str, array: Array, other_name: str, other: Array | jax.ShapeDtypeStruct
) -> None:
    """Nothing broadcasts by accident.

    Raises:
        ValueError: the shapes differ.
    """
    if array.shape != other.shape:
        raise ValueError(
            f"`{name}` must have the shape of `{other_name}`, "
            f"but {describe(array)} came with `{other_name}` {describe(other)}."
        )


def as_axes(name: str, axis: Axis, rank: int) -> tuple[int, ...]:
    """`axis` as a tuple of axes counted from the front.

    Raises:
        TypeError: an axis is no integer.
        ValueError: an axis is not there, or is named twice.
    """
    try:
        given = tuple(map(operator.index, axis if isinstance(axis, Sequence) else (axis,)))
    except TypeError:
        raise TypeError(f"`axis` must be an integer or several, but {axis!r} came.") from None
    if any(not -rank <= a < rank for a in given):
        raise ValueError(f"`axis` is {axis}, but `{name}` has {rank} axes.")
    axes = tuple(a % rank for a in given)
    if len(set(axes)) != len(axes):
        raise ValueError(f"`axis` is {axis}, which names an axis twice.")
    return axes


def one_axis(x: Array, axes: tuple[int, ...]) -> tuple[Array, int]:
    """`x` with `axes` made one, and which it is; a single axis stays where it is."""
    if len(axes) == 1:
        return x, axes[0]
    front = [a for a in range(x.ndim) if a not in axes]
    x = x.transpose(*front, *axes)
    batch, classes = x.shape[: len(front)], x.shape[len(front) :]
    return x.reshape(*batch, math.prod(classes)), len(front)


def several_axes(rows: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """What `one_axis` made of an array of that shape, back in the shape."""
    if len(axes) == 1:
        return rows
    order = [*(a for a in range(len(shape)) if a not in axes), *axes]
    rows = rows.reshape([shape[a] for a in order])
    return rows.transpose([order.index(a) for a in range(len(shape))])
