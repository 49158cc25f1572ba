"""Matrix products of numbers of few bits with sums of many, forward and backward.

A product of bfloat16 matrices with float32 sums has a float32 cotangent, so that jax's own rule
multiplies float32 with bfloat16 in the backward pass, at a fraction of the speed. This one rounds
the cotangent to the dtype of the products, and sums and returns float32.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._definitions import define
from .._exact import arithmetic_dtype
from .._typing import Array

_product = Primitive("linear_product")


def product(a: Array, b: Array, axes: str, dtype: Any) -> Array:
    """The sum of products that `axes` names, as `jnp.einsum` does.

    Args:
        a: of any floating dtype; rounded to `dtype`.
        b: likewise.
        axes: such as "nd,dv->nv"; each letter is in two of the three.
        dtype: of the factors, forward and backward. Cotangents in float16, which would underflow,
            are taken in float32.

    Returns:
        The sums, in float32 for 16-bit factors. Cotangents are summed likewise, and have the dtype
        of what they belong to: an argument in float32 gets its cotangent unrounded.
    """
    return _product.bind(a, b, axes=axes, dtype=jnp.dtype(dtype))


def _form(a: Array, b: Array, *, axes: str, dtype: Any) -> Array:
    return jnp.einsum(
        axes, a.astype(dtype), b.astype(dtype), preferred_element_type=arithmetic_dtype(dtype)
    )


def _definition(a: Array, b: Array, *, axes: str, dtype: Any) -> Array:
    wide = arithmetic_dtype(dtype)
    return jnp.einsum(axes, a.astype(wide), b.astype(wide))


def _abstract(a: Any, b: Any, *, axes: str, dtype: Any) -> Any:
    def form(a: Array, b: Array) -> Array:
        return _form(a, b, axes=axes, dtype=dtype)

    return jax.make_jaxpr(form)(a, b).out_avals[0]


def _backward(dtype: Any) -> Any:
    return jnp.dtype(jnp.float32) if dtype == jnp.float16 else dtype


def _split(axes: str) -> tuple[str, str, str]:
    arguments, out = axes.split("->")
    a, b = arguments.split(",")
    return a, b, out


def _cotangent_of_a(cotangent: Array, a: Any, b: Array, *, axes: str, dtype: Any) -> Array:
    of_a, of_b, out = _split(axes)
    found = product(cotangent, b, f"{out},{of_b}->{of_a}", _backward(dtype))
    return found.astype(a.aval.dtype)


def _cotangent_of_b(cotangent: Array, a: Array, b: Any, *, axes: str, dtype: Any) -> Array:
    of_a, of_b, out = _split(axes)
    found = product(a, cotangent, f"{of_a},{out}->{of_b}", _backward(dtype))
    return found.astype(b.aval.dtype)


def _batch(
    arrays: Sequence[Array], batched: Sequence[int | None], *, axes: str, dtype: Any
) -> tuple[Array, int]:
    *arguments, out = _split(axes)
    new = next(letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in axes)
    moved = [
        array if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, batched, strict=True)
    ]
    names = [
        name if axis is None else new + name for name, axis in zip(arguments, batched, strict=True)
    ]
    return product(moved[0], moved[1], f"{names[0]},{names[1]}->{new}{out}", dtype), 0


define(_product, _definition)
_product.def_impl(jax.jit(_form, static_argnames=("axes", "dtype")))
_product.def_abstract_eval(_abstract)
ad.defbilinear(_product, _cotangent_of_a, _cotangent_of_b)
batching.primitive_batchers[_product] = _batch
mlir.register_lowering(_product, mlir.lower_fun(_form, False))
