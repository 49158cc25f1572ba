"""How an exact function becomes one primitive of a program.

An exact function is one equation in a jaxpr, with its derivative rule, its batching and one
lowering per platform. A named jit with a custom rule would not do: on jax 0.10 `scan` forgets
custom rules at second order, and a checker that re-runs the program in other arithmetic could not
recognise the function behind its polynomials and bit patterns.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._typing import Array

Form = Callable[..., Any]


def exact_primitive(
    name: str,
    form: Form,
    *,
    outputs: Callable[..., Any],
    jvp: Form,
    platforms: dict[str, Form] | None = None,
    shift_axis: bool = False,
    multiple_results: bool = False,
) -> Callable[..., Any]:
    """Makes a primitive of a function and returns how to call it.

    Args:
        name: what a jaxpr shows.
        form: `(*arrays, **params) -> array` (or a list), traced wherever no other form is named.
        outputs: `(*arrays, **params) -> array` (or a list): any plain function whose results have
            the shapes, dtypes and shardings of what comes out; it is traced, never run.
        jvp: `(primals, tangents, **params) -> (outputs, tangents)`, written from exact functions; a
            tangent that is zero comes as `None`.
        platforms: other forms, by the name of their platform.
        shift_axis: the functions have a parameter `axis`, counted from the front, that a batch
            axis in front of it pushes on by one.
        multiple_results: whether lists come out.

    All arrays have the same rank, and a batch axis is a leading axis of all of them.
    """
    primitive = Primitive(name)
    primitive.multiple_results = multiple_results

    @functools.cache
    def compiled(params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
        return jax.jit(lambda *arrays: primitive.bind(*arrays, **dict(params)))

    def run(*arrays: Array, **params: Any) -> Any:
        with jax.disable_jit(False):  # under disable_jit the call would come back here for ever
            return compiled(tuple(params.items()))(*arrays)

    def abstract(*avals: ShapedArray, **params: Any) -> Any:
        made = jax.make_jaxpr(functools.partial(outputs, **params))(*avals).out_avals
        return made if multiple_results else made[0]

    def batch(arrays: Sequence[Array], axes: Sequence[int | None], **params: Any) -> Any:
        size = next(
            array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None
        )
        arrays = [
            jnp.broadcast_to(array, (size, *array.shape))
            if axis is None
            else jnp.moveaxis(array, axis, 0)
            for array, axis in zip(arrays, axes, strict=True)
        ]
        if shift_axis:
            params["axis"] += 1
        results = primitive.bind(*arrays, **params)
        return (results, [0] * len(results)) if multiple_results else (results, 0)

    def rule(primals: Sequence[Array], tangents: Sequence[Any], **params: Any) -> Any:
        return jvp(primals, [None if type(t) is ad.Zero else t for t in tangents], **params)

    primitive.def_impl(run)
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    ad.primitive_jvps[primitive] = rule
    mlir.register_lowering(primitive, mlir.lower_fun(form, multiple_results))
    for platform, other in (platforms or {}).items():
        mlir.register_lowering(
            primitive, mlir.lower_fun(other, multiple_results), platform=platform
        )

    def call(*arrays: Array, **params: Any) -> Any:
        return primitive.bind(*_alike(arrays), **params)

    return call


def _alike(arrays: Sequence[Array]) -> Sequence[Array]:
    """Arrays that vary over the same axes of a `shard_map`.

    One that does not vary and meets one that does has a gradient that is a sum over the axis. What
    jax does for its own operations a select does here, whose condition depends on all arrays; it
    is a constant when compiled.
    """
    if len({str(getattr(jax.typeof(array), "manual_axis_type", "")) for array in arrays}) < 2:
        return arrays
    nothing = [jnp.sum(array.reshape(-1)[:0].astype(jnp.float32)) for array in arrays]
    always = functools.reduce(jnp.add, nothing) == 0
    return [jnp.where(always, array, array) for array in arrays]


def elementwise(
    name: str,
    form: Form,
    *partials: Form | None,
    platforms: dict[str, Form] | None = None,
) -> Callable[..., Any]:
    """An exact function of numbers, applied to arrays of one shape.

    Args:
        name: what a jaxpr shows.
        form: `(*arrays, dtype) -> array`, of the dtype that it is told.
        partials: for each argument the partial derivative, `(*arrays, dtype) -> array`, or None
            where there is none to take.
        platforms: other forms, by the name of their platform.
    """

    def outputs(*arrays: Array, dtype: Any) -> Array:
        return functools.reduce(jnp.add, [array.astype(dtype) for array in arrays])

    def jvp(primals: Sequence[Array], tangents: Sequence[Any], *, dtype: Any) -> Any:
        terms = [
            partial(*primals, dtype=dtype) * tangent.astype(dtype)
            for partial, tangent in zip(partials, tangents, strict=True)
            if partial is not None and tangent is not None
        ]
        return call(*primals, dtype=dtype), functools.reduce(jnp.add, terms)

    call = exact_primitive(name, form, outputs=outputs, jvp=jvp, platforms=platforms)
    return call


def arithmetic_dtype(dtype: Any) -> Any:
    """The dtype that a function computes in: float32 for 16-bit numbers."""
    return jnp.dtype(dtype) if jnp.dtype(dtype).itemsize >= 4 else jnp.dtype(jnp.float32)


def by_precision(*, float64: Form, float32: Form, float16: Form) -> Form:
    """One form of a function out of three, chosen by the widest dtype of its floating arguments.

    `float32` is traced with float64 arguments, whether or not `jax_enable_x64` is set, and rounds
    once at its end; `float16` (bfloat16 too) with float32 arguments. Integers come as they are.
    """

    def form(*arrays: Array, dtype: Any) -> Array:
        widest = max(a.dtype.itemsize for a in arrays if jnp.issubdtype(a.dtype, jnp.floating))
        if widest == 8:
            chosen, inside = float64, jnp.float64
        elif widest == 4:
            chosen, inside = float32, jnp.float64
        else:
            chosen, inside = float16, jnp.float32
        with jax.enable_x64(True):
            arguments = [
                a.astype(inside) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in arrays
            ]
            return chosen(*arguments).astype(dtype)

    return form
