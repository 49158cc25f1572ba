"""Rules of the primitives that multiply arrays, or look at them through windows."""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._elementwise import extremum
from ._extra import flint
from ._interpreter import Run, Value, rule
from ._jet import INF, NAN, ZERO, Balls, Jet, as_jet, objects, product, zeros
from ._structure import at, scattered


@rule("dot_general")
def _dot_general(run: Run, equation: Any, *values: Value) -> Jet:
    a, b = (as_jet(v) for v in values)
    (contract_a, contract_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    free_a = [i for i in range(len(a.shape)) if i not in (*contract_a, *batch_a)]
    free_b = [i for i in range(len(b.shape)) if i not in (*contract_b, *batch_b)]

    def sizes(jet: Jet, axes: Any) -> list[int]:
        return [jet.shape[i] for i in axes]

    batch, rows, columns = sizes(a, batch_a), sizes(a, free_a), sizes(b, free_b)
    inner = int(np.prod(sizes(a, contract_a), dtype=int))
    shape_a = (int(np.prod(batch, dtype=int)), int(np.prod(rows, dtype=int)), inner)
    shape_b = (shape_a[0], inner, int(np.prod(columns, dtype=int)))
    a = a.map(lambda c: c.transpose([*batch_a, *free_a, *contract_a]).reshape(shape_a))
    b = b.map(lambda c: c.transpose([*batch_b, *contract_b, *free_b]).reshape(shape_b))
    result = product(a, b, run.order, _matrix_product)
    return result.map(lambda c: c.reshape((*batch, *rows, *columns)))


def _matrix_product(a: Balls, b: Balls) -> Balls:
    """A stack of products, by matrices of balls."""
    stack, rows, inner = a.shape
    columns = b.shape[2]
    if 0 in (stack, rows, inner, columns):
        return zeros((stack, rows, columns))
    flat: list[Any] = []
    for p, q in zip(a, b, strict=True):
        left = flint.arb_mat(rows, inner, p.ravel().tolist())
        right = flint.arb_mat(inner, columns, q.ravel().tolist())
        flat += (left * right).entries()
    return objects(flat, (stack, rows, columns))


def _windows(
    shape: tuple[int, ...],
    window: Any,
    strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> NDArray[Any]:
    """For each place of a window the number of the element under it, −1 outside of the array.

    The shape is the window's size, then that of the places.
    """
    axes = []
    for size, w, stride, (low, high), base, dilation in zip(
        shape, window, strides, padding, base_dilation, window_dilation, strict=True
    ):
        dilated = 0 if size == 0 else (size - 1) * base + 1
        places = max(0, (low + dilated + high - ((w - 1) * dilation + 1)) // stride + 1)
        where = np.arange(places)[None, :] * stride + np.arange(w)[:, None] * dilation - low
        inside = (where >= 0) & (where < dilated) & (where % base == 0)
        axes.append(np.where(inside, where // base, -1))
    rank = len(shape)
    number, outside = np.zeros((), np.int64), np.zeros((), bool)
    for i, axis in enumerate(axes):
        index = [1] * (2 * rank)
        index[i], index[rank + i] = axis.shape
        axis = axis.reshape(index)
        number, outside = number * shape[i] + axis, outside | (axis < 0)
    number = np.where(outside, -1, number)
    return number.reshape((int(np.prod(window, dtype=int)), *number.shape[rank:]))


@rule("conv_general_dilated")
def _convolution(run: Run, equation: Any, *values: Value) -> Jet:
    x, kernel = (as_jet(v) for v in values)
    p = equation.params
    numbers, groups, batch_groups = (
        p["dimension_numbers"],
        p["feature_group_count"],
        p["batch_group_count"],
    )
    x = x.map(lambda c: c.transpose(numbers.lhs_spec))
    kernel = kernel.map(lambda c: c.transpose(numbers.rhs_spec))
    ones = (1, 1)
    places = _windows(
        x.shape,
        (*ones, *kernel.shape[2:]),
        (*ones, *p["window_strides"]),
        ((0, 0), (0, 0), *p["padding"]),
        (*ones, *p["lhs_dilation"]),
        (*ones, *p["rhs_dilation"]),
    )
    taps, batch, _, *spatial = places.shape
    area = int(np.prod(spatial, dtype=int))
    patches = at(x, places, ZERO)
    out, per_group = kernel.shape[0], kernel.shape[1]
    # As a stack of matrix products, one per group of features or of the batch.
    stack = groups * batch_groups
    shape = (taps, batch_groups, batch // batch_groups, groups, per_group, area)

    def left(c: Balls) -> Balls:
        c = c.reshape(shape).transpose(1, 3, 2, 5, 4, 0)
        return c.reshape(stack, batch // batch_groups * area, per_group * taps)

    def right(c: Balls) -> Balls:
        c = c.reshape(stack, out // stack, per_group, taps).transpose(0, 2, 3, 1)
        return c.reshape(stack, per_group * taps, out // stack)

    result = product(patches.map(left), kernel.map(right), run.order, _matrix_product)

    def back(c: Balls) -> Balls:
        c = c.reshape(stack, batch // batch_groups, area, out // stack).transpose(1, 0, 3, 2)
        c = c.reshape(batch // batch_groups, out, *spatial)
        return c.transpose(np.argsort(numbers.out_spec))

    return result.map(back)


def _places(equation: Any, x: Jet) -> NDArray[Any]:
    """The windows of a pooling primitive."""
    p, ones = equation.params, (1,) * len(x.shape)
    return _windows(
        x.shape,
        p["window_dimensions"],
        p["window_strides"],
        p["padding"],
        p.get("base_dilation", ones),
        p.get("window_dilation", ones),
    )


def _pooled(equation: Any, x: Jet, otherwise: Any) -> list[Jet]:
    return [at(x, number, otherwise) for number in _places(equation, x)]


@rule("reduce_window_sum")
def _window_sum(run: Run, equation: Any, x: Jet) -> Jet:
    return functools.reduce(lambda a, b: a + b, _pooled(equation, x, ZERO))


@rule("reduce_window_max", "reduce_window_min")
def _window_extremum(run: Run, equation: Any, x: Jet) -> Jet:
    largest = equation.primitive.name == "reduce_window_max"
    outside = -INF if largest else INF
    return functools.reduce(
        lambda a, b: extremum(run, equation, a, b, largest), _pooled(equation, x, outside)
    )


def _selected(run: Run, equation: Any, operand: Jet) -> NDArray[Any]:
    """The number of the element that each window selects (the first of the largest)."""
    p = equation.params
    name = getattr(p["select_prim"], "name", str(p["select_prim"]))
    largest = name in ("ge", "gt")
    places, outside = _places(equation, operand), -INF if largest else INF
    best, numbers = at(operand, places[0], outside), places[0]
    for place in places[1:]:
        other = at(operand, place, outside)
        signs = run.signs(other, best, equation)
        numbers = np.where(signs == (1 if largest else -1), place, numbers)
        best = extremum(run, equation, best, other, largest)
    return numbers


@rule("select_and_scatter_add")
def _select_and_scatter_add(run: Run, equation: Any, source: Value, operand: Value) -> Jet:
    source, operand = as_jet(source), as_jet(operand)
    targets = _selected(run, equation, operand).ravel()
    return scattered(Jet([zeros(operand.shape)]), targets, source)


@rule("select_and_gather_add")
def _select_and_gather_add(run: Run, equation: Any, tangents: Value, operand: Value) -> Jet:
    return at(as_jet(tangents), _selected(run, equation, as_jet(operand)), NAN)
