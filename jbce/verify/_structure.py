"""Rules of the primitives that move, add up, multiply and order elements."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ._elementwise import extremum
from ._extra import flint
from ._interpreter import Run, UnknownPrimitive, Value, moved, place, rule
from ._jet import NAN, ONE, ZERO, Balls, Jet, as_jet, compose, constant, objects, zeros
from ._scalar import UNARY

# ---- moving --------------------------------------------------------------------------------------


def _reshape(p: dict[str, Any], c: Any) -> Any:
    if p.get("dimensions") is not None:
        c = c.transpose(p["dimensions"])
    return c.reshape(p["new_sizes"])


def _broadcast_in_dim(p: dict[str, Any], c: Any) -> Any:
    index = [1] * len(p["shape"])
    for size, axis in zip(c.shape, p["broadcast_dimensions"], strict=True):
        index[axis] = size
    return np.broadcast_to(c.reshape(index), p["shape"])


def _slice(p: dict[str, Any], c: Any) -> Any:
    steps = p["strides"] or (1,) * c.ndim
    parts = zip(p["start_indices"], p["limit_indices"], steps, strict=True)
    return c[tuple(slice(start, stop, step) for start, stop, step in parts)]


# The frequent ones by numpy, which need not be compiled for each shape.
_MOVES: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast_in_dim,
    "slice": _slice,
    "squeeze": lambda p, c: np.squeeze(c, p["dimensions"]),
    "expand_dims": lambda p, c: np.expand_dims(c, p["dimensions"]),
    "transpose": lambda p, c: c.transpose(p["permutation"]),
    "rev": lambda p, c: np.flip(c, p["dimensions"]),
}


@rule(*_MOVES)
def _move_one(run: Run, equation: Any, x: Value, *rest: Value) -> Value:
    move, params = _MOVES[equation.primitive.name], equation.params
    if rest:
        return _move(run, equation, x, *rest)
    if isinstance(x, Jet):
        return x.map(lambda c: _array(move(params, c)))
    return move(params, np.asarray(x))


def _array(value: Any) -> Balls:
    return value if isinstance(value, np.ndarray) else objects([value], ())


@rule("concatenate")
def _concatenate(run: Run, equation: Any, *values: Value) -> Jet:
    jets = [as_jet(v) for v in values]
    axis = equation.params["dimension"]
    coefficients: list[Balls | None] = []
    for k in range(max(len(jet.coefficients) for jet in jets)):
        parts = [jet[k] for jet in jets]
        if all(part is None for part in parts):
            coefficients.append(None)
            continue
        filled = [
            zeros(jet.shape) if part is None else part
            for jet, part in zip(jets, parts, strict=True)
        ]
        coefficients.append(np.concatenate(filled, axis))
    return Jet(coefficients)


@rule(
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "pad",
    "split",
    "stack",
    "unstack",
    "tile",
)
def _move(run: Run, equation: Any, *values: Value) -> Any:
    primitive, params = equation.primitive, dict(equation.params)
    fill = params.get("fill_value")
    if "fill_value" in params:
        params["fill_value"] = -1
    values = tuple(_floating(v, atom) for v, atom in zip(values, equation.invars, strict=True))
    fill = NAN if fill is None else flint.arb(float(fill))
    return moved(lambda *xs: primitive.bind(*xs, **params), *values, fill=fill)


def _floating(value: Value, atom: Any) -> Value:
    """Floats are jets, whatever they come as."""
    is_float = jnp.issubdtype(atom.aval.dtype, jnp.floating)
    return as_jet(value) if is_float else value


def _scatter_params(equation: Any) -> dict[str, Any]:
    names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    return {name: equation.params[name] for name in names}


@rule("scatter")
def _scatter(run: Run, equation: Any, operand: Value, indices: Value, updates: Value) -> Jet:
    params = _scatter_params(equation)
    body = equation.params.get("update_jaxpr")
    if body is not None and getattr(body, "jaxpr", body).eqns:
        raise UnknownPrimitive(f"`scatter` with a function of its own at {place(equation)}")
    operand, updates = as_jet(operand), as_jet(updates)
    return moved(lambda *xs: jax.lax.scatter(*xs, **params), operand, indices, updates)


@rule("scatter-add", "scatter_add")
def _scatter_add(run: Run, equation: Any, operand: Value, indices: Value, updates: Value) -> Jet:
    operand, updates = as_jet(operand), as_jet(updates)
    return scattered(operand, _targets(equation, operand, indices, updates), updates)


def scattered(operand: Jet, targets: NDArray[Any], updates: Jet) -> Jet:
    """The operand with each update added where its number says, −1 for nowhere."""
    coefficients: list[Balls | None] = []
    for k in range(max(len(operand.coefficients), len(updates.coefficients))):
        base, added = operand[k], updates[k]
        if added is None:
            coefficients.append(base)
            continue
        total = (zeros(operand.shape) if base is None else base).ravel().tolist()
        for target, element in zip(targets, added.ravel().tolist(), strict=True):
            if target >= 0:
                total[target] = total[target] + element
        coefficients.append(objects(total, operand.shape))
    return Jet(coefficients)


def _targets(equation: Any, operand: Jet, indices: Value, updates: Jet) -> NDArray[Any]:
    """Where each update goes, by number, −1 for nowhere: what the transpose takes from there."""
    params = _scatter_params(equation)
    with jax.enable_x64(True):
        numbers = jnp.arange(1, operand.value.size + 1, dtype=jnp.float64).reshape(operand.shape)

        def add(update: Any) -> Any:
            return jax.lax.scatter_add(jnp.zeros_like(numbers), indices, update, **params)

        like = jax.ShapeDtypeStruct(updates.shape, jnp.float64)
        (where,) = jax.linear_transpose(add, like)(numbers)
    return np.asarray(where).astype(np.int64).ravel() - 1


@rule("scatter-mul", "scatter_mul")
def _scatter_mul(run: Run, equation: Any, operand: Value, indices: Value, updates: Value) -> Jet:
    operand, updates = as_jet(operand), as_jet(updates)
    targets = _targets(equation, operand, indices, updates)
    while (targets >= 0).any():  # one factor for each element at a time
        factors = np.full(operand.value.size, -1)
        _, first = np.unique(np.where(targets >= 0, targets, -1), return_index=True)
        first = first[targets[first] >= 0]
        factors[targets[first]] = first
        factor = at(updates, factors.reshape(operand.shape), ONE)
        operand = operand.times(factor, run.order)
        targets[first] = -1
    return operand


# ---- adding up -----------------------------------------------------------------------------------


@rule("reduce_sum")
def _reduce_sum(run: Run, equation: Any, x: Jet) -> Jet:
    axes = tuple(equation.params["axes"])
    return x.map(lambda c: _sum(c, axes))


def _sum(c: Balls, axes: Any) -> Balls:
    shape = tuple(size for axis, size in enumerate(c.shape) if axis not in axes)
    if c.size == 0 or not axes:
        return zeros(shape) if axes else c
    total = np.empty(shape, object)
    total[...] = np.add.reduce(c, axis=axes)
    return total


@rule("reduce_prod")
def _reduce_prod(run: Run, equation: Any, x: Jet) -> Jet:
    rows, shape = _rows(x, equation.params["axes"])
    return functools.reduce(lambda a, b: a.times(b, run.order), rows, constant(np.ones(shape)))


@rule("reduce_max", "reduce_min")
def _reduce_extremum(run: Run, equation: Any, x: Jet) -> Jet:
    largest = equation.primitive.name == "reduce_max"
    rows, shape = _rows(x, equation.params["axes"])
    if not rows:
        return constant(np.full(shape, -np.inf if largest else np.inf))
    return functools.reduce(lambda a, b: extremum(run, equation, a, b, largest), rows)


def _rows(x: Jet, axes: Any) -> tuple[list[Jet], tuple[int, ...]]:
    """The slices along `axes`, one after the other, and their shape."""
    axes = tuple(axes)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    shape = tuple(x.shape[axis] for axis in kept)
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=int))
    front = x.map(lambda c: c.transpose([*axes, *kept]).reshape((count, *shape)))
    return [take(front, i) for i in range(count)], shape


def take(x: Jet, index: int) -> Jet:
    return x.map(lambda c: objects(c[index : index + 1].ravel().tolist(), c.shape[1:]))


@rule("argmax", "argmin")
def _arg_extremum(run: Run, equation: Any, x: Jet) -> NDArray[Any]:
    largest = equation.primitive.name == "argmax"
    rows, shape = _rows(x, equation.params["axes"])
    best, index = rows[0], np.zeros(shape, np.int64)
    for number, row in enumerate(rows[1:], 1):
        signs = run.signs(row, best, equation)
        is_nan, was_nan = _nans(row), _nans(best)
        better = (signs == (1 if largest else -1)) | (is_nan & ~was_nan)  # the first NaN wins
        index = np.where(better, number, index)
        best = extremum(run, equation, best, row, largest)
    return index.astype(equation.params["index_dtype"])


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _cumulative(run: Run, equation: Any, x: Jet) -> Jet:
    name, axis = equation.primitive.name, equation.params["axis"]
    combine: dict[str, Callable[[Jet, Jet], Jet]] = {
        "cumsum": lambda a, b: a + b,
        "cumprod": lambda a, b: a.times(b, run.order),
        "cummax": lambda a, b: extremum(run, equation, a, b, True),
        "cummin": lambda a, b: extremum(run, equation, a, b, False),
    }
    if name == "cumlogsumexp":
        power = compose(UNARY["exp"], x, run.order)
        rows, _ = _rows(power, (axis,))
        sums = _accumulated(rows, equation.params["reverse"], lambda a, b: a + b)
        return stacked([compose(UNARY["log"], s, run.order) for s in sums], axis)
    rows, _ = _rows(x, (axis,))
    return stacked(_accumulated(rows, equation.params["reverse"], combine[name]), axis)


def _accumulated(rows: list[Jet], backwards: bool, combine: Callable[..., Jet]) -> list[Jet]:
    rows = rows[::-1] if backwards else rows
    sums = list(itertools.accumulate(rows, combine))
    return sums[::-1] if backwards else sums


def stacked(rows: list[Jet], axis: int) -> Jet:
    coefficients = []
    for k in range(max(len(row.coefficients) for row in rows)):
        parts = [zeros(row.shape) if row[k] is None else row[k] for row in rows]
        flat = [e for part in parts for e in np.asarray(part, object).ravel().tolist()]
        whole = objects(flat, (len(rows), *rows[0].shape))
        coefficients.append(np.moveaxis(whole, 0, axis))
    return Jet(coefficients)


def at(x: Jet, numbers: NDArray[Any], otherwise: Any) -> Jet:
    """Elements by number, `otherwise` (a ball) at −1."""
    coefficients = []
    for k, c in enumerate(x.coefficients):
        if c is None:
            coefficients.append(None)
            continue
        pool = np.concatenate([c.reshape(-1), objects([otherwise if k == 0 else ZERO], (1,))])
        coefficients.append(pool[numbers])
    return Jet(coefficients)


# ---- ordering ------------------------------------------------------------------------------------


@rule("sort")
def _sort(run: Run, equation: Any, *values: Value) -> list[Value]:
    axis, num_keys = equation.params["dimension"], equation.params["num_keys"]
    order = _order(run, equation, list(values[:num_keys]), axis)
    return [_reordered(v, order, axis) for v in values]


@rule("top_k")
def _top_k(run: Run, equation: Any, x: Jet) -> list[Value]:
    axis, k = len(x.shape) - 1, equation.params["k"]
    order = _order(run, equation, [-x], axis, backwards=True)[..., :k]
    return [_reordered(x, order, axis), order.astype(np.int32)]


def _reordered(value: Value, order: NDArray[Any], axis: int) -> Value:
    if isinstance(value, Jet):
        return value.map(lambda c: np.take_along_axis(c, order, axis))
    return np.take_along_axis(np.asarray(value), order, axis)


def _nans(x: Jet) -> NDArray[Any]:
    return np.array([ball.is_nan() for ball in x.value.ravel()], bool).reshape(x.shape)


def _order(
    run: Run, equation: Any, keys: list[Value], axis: int, *, backwards: bool = False
) -> NDArray[Any]:
    """The stable order of rows along an axis; `backwards` has negated keys, NaNs first."""
    keys = [as_jet(key) for key in keys]
    shape = keys[0].shape
    numbers = np.moveaxis(np.arange(keys[0].value.size).reshape(shape), axis, -1)
    order = np.empty(numbers.shape, np.int64)

    def element(key: Jet, number: Any) -> Jet:
        return at(key, np.array([number]), NAN)

    for index in np.ndindex(numbers.shape[:-1]):
        row = numbers[index]

        def compare(i: Any, j: Any, row: Any = row) -> int:
            for key in keys:
                one, other = element(key, row[i]), element(key, row[j])
                last = int(_nans(one)[0]) - int(_nans(other)[0])  # NaN comes last
                if last:
                    return -last if backwards else last
                (sign,) = run.signs(one, other, equation)
                if sign in (-1, 1):
                    return int(sign)
            return 0

        order[index] = sorted(range(len(row)), key=functools.cmp_to_key(compare))
    return np.moveaxis(order, -1, axis)
