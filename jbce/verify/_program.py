"""Programs as data: what a function computes, without its own derivative rules."""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from ._interpreter import meaning_of

_CUSTOM = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call"}


def stripped(closed: Any) -> Any:
    """The program with every custom rule replaced by the body that the rule is for.

    Exact functions are replaced by their definitions, so that jax differentiates those. To be
    called, and its result traced, with x64 enabled: a program may hold float64 inside.
    """
    return closed.replace(jaxpr=_strip(closed.jaxpr))


def _strip(jaxpr: Any) -> Any:
    return jaxpr.replace(eqns=[_strip_equation(equation) for equation in jaxpr.eqns])


def _strip_equation(equation: Any) -> Any:
    definition = meaning_of(equation)
    if definition is not None:
        results = equation.primitive.multiple_results
        return _call_of(equation, lambda *xs: _as_list(definition(*xs, **equation.params), results))
    if equation.primitive.name in _CUSTOM:
        name = next(n for n in ("call_jaxpr", "fun_jaxpr", "call") if n in equation.params)
        return _call_of(equation, jaxpr_as_fun(_closed(_strip_any(equation.params[name]))))
    params = {name: _strip_any(value) for name, value in equation.params.items()}
    changed = any(params[name] is not equation.params[name] for name in params)
    return equation.replace(params=params) if changed else equation


def _as_list(results: Any, multiple: bool) -> list[Any]:
    return list(results) if multiple else [results]


def _strip_any(value: Any) -> Any:
    if isinstance(value, ClosedJaxpr):
        return stripped(value)
    if isinstance(value, Jaxpr):
        return _strip(value)
    if isinstance(value, tuple | list) and any(_has_program(v) for v in value):
        parts = [_strip_any(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _has_program(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr) or (
        isinstance(value, tuple | list) and any(_has_program(v) for v in value)
    )


def _closed(jaxpr: Any) -> Any:
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def _call_of(equation: Any, function: Callable[..., Any]) -> Any:
    """The equation as a call of a function: a template that jax makes, put in its place."""
    like = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    template = jax.make_jaxpr(jax.jit(function))(*like)
    (call,) = template.eqns
    return call.replace(
        invars=equation.invars, outvars=equation.outvars, source_info=equation.source_info
    )


def as_function(closed: Any) -> Callable[..., Any]:
    """A program with one result as a function."""
    run = jaxpr_as_fun(closed)
    return lambda *args: run(*args)[0]


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, those of inner programs too."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if isinstance(part, ClosedJaxpr | Jaxpr):
                    yield from equations(part)


def coarsest_roundoff(closed: Any) -> float:
    """The unit roundoff of the coarsest floats of a program."""
    dtypes = {v.aval.dtype for v in closed.jaxpr.invars}
    for equation in equations(closed):
        dtypes |= {v.aval.dtype for v in equation.outvars if hasattr(v.aval, "dtype")}
    floats = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return max(float(jnp.finfo(dtype).eps) / 2 for dtype in floats)


def scalar_program(function: Callable[..., Any], values: Sequence[Any]) -> Any:
    """The program of a function of leaves to one number.

    Raises:
        TypeError: it returns something else.
    """
    closed = jax.make_jaxpr(function)(*values)
    avals = [v.aval for v in closed.jaxpr.outvars]
    if len(avals) != 1 or avals[0].shape or not jnp.issubdtype(avals[0].dtype, jnp.floating):
        came = ", ".join(aval.str_short() for aval in avals) or "nothing"
        raise TypeError(f"`fn` must return one floating point number, but {came} came.")
    return closed


class Leaves:
    """The floating point leaves of some arguments, as one list; all else is held."""

    def __init__(self, args: Sequence[Any], argnums: int | Sequence[int]) -> None:
        self.args = list(args)
        given = argnums if isinstance(argnums, Sequence) else (argnums,)
        chosen = tuple(operator.index(number) for number in given)
        chosen = tuple(n % len(args) if -len(args) <= n < len(args) else n for n in chosen)
        for number in chosen:
            if not 0 <= number < len(args):
                raise ValueError(f"`argnums` is {argnums}, but {len(args)} arguments came.")
        self.slots: list[tuple[int, int]] = []
        self.paths: list[str] = []
        self.values: list[Any] = []
        self.flat: list[list[Any]] = []
        self.trees: list[Any] = []
        for number, arg in enumerate(self.args):
            with_path, tree = jax.tree_util.tree_flatten_with_path(arg)
            self.flat.append([leaf for _, leaf in with_path])
            self.trees.append(tree)
            for position, (path, leaf) in enumerate(with_path):
                if number in chosen and _is_float(leaf):
                    self.slots.append((number, position))
                    self.paths.append(f"argument {number}{jax.tree_util.keystr(path)}")
                    self.values.append(jnp.asarray(leaf))
        if not self.values:
            kinds = ", ".join(str(jnp.asarray(x).dtype) for f in self.flat for x in f) or "nothing"
            raise TypeError(
                f"`args` must hold floating point arrays at `argnums` {argnums}, but {kinds} came."
            )

    def function(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """`fn` as a function of the leaves."""

        def of_leaves(*leaves: Any) -> Any:
            flat = [list(values) for values in self.flat]
            for (number, position), leaf in zip(self.slots, leaves, strict=True):
                flat[number][position] = leaf
            args = [jax.tree.unflatten(t, v) for t, v in zip(self.trees, flat, strict=True)]
            return fn(*args)

        return of_leaves


def _is_float(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, float)
    return bool(jnp.issubdtype(dtype, jnp.floating))
