"""How an exact function becomes one primitive of a program.

An exact function is one equation in a jaxpr, with its derivative rule, its batching and one
lowering per platform. A named jit with a custom rule would not do: on jax 0.10 `scan` forgets
custom rules at second order, and a checker that re-runs the program in other arithmetic could not
recognise the function behind its polynomials and bit patterns.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._definitions import define
from .._typing import Array

Form = Callable[..., Any]


def exact_primitive(
    name: str,
    form: Form,
    *,
    definition: Form,
    outputs: Callable[..., Any],
    jvp: Form,
    platforms: dict[str, Form] | None = None,
    alone: dict[str, Form] | None = None,
    linear: Form | None = None,
    shift_axis: bool = False,
    multiple_results: bool = False,
) -> Callable[..., Any]:
    """Makes a primitive of a function and returns how to call it.

    Args:
        name: what a jaxpr shows.
        form: `(*arrays, **params) -> array` (or a list), traced wherever no other form is named.
        definition: what it computes, as plain `jax.numpy` that is right in exact arithmetic.
        outputs: `(*arrays, **params) -> array` (or a list): any plain function whose results have
            the shapes, dtypes and shardings of what comes out; it is traced, never run.
        jvp: `(primals, tangents, **params) -> (outputs, tangents)`, written from exact functions; a
            tangent that is zero comes as `None`.
        platforms: other forms, by the name of their platform.
        alone: forms for programs of one device, and for what each device does by itself in a
            `shard_map`, by the name of their platform: they may cut arrays that may be spread
            elsewhere.
        linear: the plain function of one array whose transpose is its own, if it is linear: jax
            knows that of its own operations for every sharding.
        shift_axis: the functions have a parameter `axis`, one or several counted from the front,
            that a batch axis in front of them pushes on by one.
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
        with _float64_of(avals):
            made = jax.make_jaxpr(functools.partial(outputs, **params))(*avals).out_avals
        return made if multiple_results else made[0]

    def batch(arrays: Sequence[Any], axes: Sequence[int | None], **params: Any) -> Any:
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
            axis = params["axis"]
            params["axis"] = tuple(a + 1 for a in axis) if isinstance(axis, tuple) else axis + 1
        results = primitive.bind(*arrays, **params)
        return (results, [0] * len(results)) if multiple_results else (results, 0)

    def rule(primals: Sequence[Array], tangents: Sequence[Any], **params: Any) -> Any:
        with _float64_of(primals):
            return jvp(primals, [None if type(t) is ad.Zero else t for t in tangents], **params)

    define(primitive, definition)
    primitive.def_impl(run)
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    ad.primitive_jvps[primitive] = rule
    if linear is not None:

        def pull(cotangent: Any, array: Any, **params: Any) -> Sequence[Any]:
            with _float64_of([array.aval]):
                plain = functools.partial(linear, **params)
                return jax.linear_transpose(plain, array.aval)(cotangent)

        ad.primitive_transposes[primitive] = pull
    mlir.register_lowering(primitive, mlir.lower_fun(form, multiple_results))
    for platform in {**(platforms or {}), **(alone or {})}:
        lowering = _lowering(
            (platforms or {}).get(platform, form), (alone or {}).get(platform), multiple_results
        )
        mlir.register_lowering(primitive, lowering, platform=platform)

    def call(*arrays: Array, **params: Any) -> Any:
        return primitive.bind(*alike(arrays), **params)

    return call


def _lowering(form: Form, alone: Form | None, multiple_results: bool) -> Callable[..., Any]:
    lower = mlir.lower_fun(form, multiple_results)
    if alone is None:
        return lower
    lower_alone = mlir.lower_fun(alone, multiple_results)

    def choose(context: mlir.LoweringRuleContext, *arrays: Any, **params: Any) -> Any:
        return (lower_alone if _is_alone(context) else lower)(context, *arrays, **params)

    return choose


def _is_alone(context: mlir.LoweringRuleContext) -> bool:
    """Whether what is lowered knows no array that is spread over devices."""
    axes: Any = context.module_context.axis_context
    if hasattr(axes, "manual_axes"):
        return set(axes.mesh.axis_names) == set(axes.manual_axes)
    return getattr(axes, "num_devices", None) == 1


def _float64_of(arrays: Sequence[Any]) -> contextlib.AbstractContextManager[Any]:
    """Float64 arrays are transformed when the block of `enable_x64` that made them has ended."""
    is_double = any(array.dtype == jnp.float64 for array in arrays)
    return jax.enable_x64(True) if is_double else contextlib.nullcontext()


def alike(arrays: Sequence[Array]) -> Sequence[Array]:
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
    *partials: Form | None,
    definition: Form,
    form: Form,
    platforms: dict[str, Form] | None = None,
) -> Callable[..., Any]:
    """An exact function of numbers, applied to arrays of one shape.

    Args:
        name: what a jaxpr shows.
        partials: for each argument the partial derivative, `(*arrays, dtype) -> array`, or None
            where there is none to take.
        definition: `(*arrays) -> array` of floating point numbers, the function itself.
        form: `(*arrays, dtype) -> array`, of the dtype that it is told.
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

    def defined(*arrays: Array, dtype: Any) -> Array:
        return definition(*(a if _is_integer(a) else a.astype(dtype) for a in arrays))

    call = exact_primitive(
        name, form, definition=defined, outputs=outputs, jvp=jvp, platforms=platforms
    )
    return call


def apart(form: Form) -> Form:
    """The form, of whose program nothing is shared with another's: it would be kept in memory."""

    def separate(*arrays: Array, **params: Any) -> Array:
        return form(*jax.lax.optimization_barrier(arrays), **params)

    return separate


def _is_integer(array: Array) -> bool:
    return bool(jnp.issubdtype(array.dtype, jnp.integer))


def arithmetic_dtype(*dtypes: Any) -> Any:
    """The dtype that a function computes in: the widest, and float32 for 16-bit numbers."""
    widest = max(map(jnp.dtype, dtypes), key=lambda dtype: dtype.itemsize)
    return widest if widest.itemsize >= 4 else jnp.dtype(jnp.float32)


def by_precision(
    *, float64: Form, float32: Form, float16: Form, pairs: Form | None = None
) -> dict[str, Any]:
    """Forms by the widest dtype of the floating arguments, as `elementwise` takes them.

    Args:
        float64: for float64.
        float32: for float32, traced with float64 arguments, whether or not `jax_enable_x64` is set;
            its result is rounded once.
        float16: for float16 and bfloat16, traced with float32 arguments.
        pairs: for float32 where the platform has no float64, traced with float32 arguments.

    Integers come as they are.
    """

    def choose(has_float64: bool) -> Form:
        of_float32 = (float32, jnp.float64) if has_float64 or not pairs else (pairs, jnp.float32)
        of_size = {8: (float64, jnp.float64), 4: of_float32, 2: (float16, jnp.float32)}

        def form(*arrays: Array, dtype: Any) -> Array:
            floating = [jnp.issubdtype(array.dtype, jnp.floating) for array in arrays]
            widest = max(
                a.dtype.itemsize for a, is_float in zip(arrays, floating, strict=True) if is_float
            )
            chosen, inside = of_size[widest]
            with jax.enable_x64(True):
                arguments = [
                    array.astype(inside) if is_float else array
                    for array, is_float in zip(arrays, floating, strict=True)
                ]
                return chosen(*arguments).astype(dtype)

        return form

    with_float64 = dict.fromkeys(("cpu", "cuda", "rocm"), choose(True)) if pairs else {}
    return {"form": choose(False), "platforms": with_float64}
