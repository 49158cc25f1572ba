"""A row of logits relative to its maximum: margins without rounding error, and their exponentials.

exp turns the rounding error of a margin d = x − max, |d|·u/2, into a relative error of that size:
tens of ulps at a margin of 60. So the margin is taken exactly, as a sum of two numbers (Knuth's
TwoSum).
"""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array
from ._columns import (
    is_of_few_columns,
    max_of_columns,
    sum_of_columns,
    sum_of_columns_but_largest,
)
from ._primitive import arithmetic_dtype
from ._scalar import at_least, at_most, exp_of_small, log1p_of_unit
from ._slices import is_worth_slicing, sizes_are_known, sum_by_slices

_OVERFLOWS = 89.0  # whose exponential is not finite in float32
_INFINITE = 1e300  # stands for infinity in float64, so that infinity · 0 is 0


class Machine(NamedTuple):
    """What the forms of row functions may use: fast float64, and slices, of one device's arrays."""

    double: bool = False
    alone: bool = False


class Row(NamedTuple):
    """Rows in the dtype of the arithmetic; what there is one of per row keeps its axis.

    `exists` is False for a row of −inf only, in which nothing is; `infinite` is True for a row with
    +inf. `double` says whether float64 is at hand for float32. XLA CPU drops NaNs from the maximum
    of 4096 numbers and more: that a row has one shows in the sum of its exponentials, and there
    alone (a row of NaNs does not seem to exist).
    """

    x: Array
    axis: int
    maximum: Array
    exists: Array
    infinite: Array
    double: bool
    alone: bool
    by_columns: bool

    def sum(self, values: Array) -> Array:
        """The sum of each row."""
        if self.by_columns:
            parts = map(self.once, sum_of_columns(values))
            return functools.reduce(jnp.add, parts)
        if self.alone and values.dtype == jnp.float32:
            if is_worth_slicing(values.shape, self.axis):
                return sum_by_slices(values, self.axis, values.dtype).astype(values.dtype)
        return jnp.sum(values, axis=self.axis, keepdims=True)

    def max(self, values: Array) -> Array:
        """The largest of each row."""
        return _max_of(values, self.axis, self.by_columns)

    def sum_but_one(self, values: Array, is_largest: Array, largest: Array | int) -> Array:
        """The sum of each row but one of its largest entries, which are finite."""
        if self.by_columns:
            parts = [
                (self.once(top), self.once(others))
                for top, others in sum_of_columns_but_largest(values)
            ]
            return functools.reduce(_merged, parts)[1]
        others = self.sum(jnp.where(is_largest, 0, values))
        ties = self.sum(is_largest.astype(values.dtype))
        return others + jnp.maximum(ties - 1, 0) * largest

    def once(self, values: Array) -> Array:
        """What there is one of per row, for a loop over classes that is not to compute it again."""
        return _computed_once(values, self.x) if self.alone else values

    def apart(self) -> "Row":
        """The row with logits of its own: a compiler does not keep for it what it had of others."""
        x, maximum = jax.lax.optimization_barrier((self.x, self.maximum))
        return self._replace(x=x, maximum=maximum)

    def margin(self, x: Array) -> Array:
        """x − maximum, rounded once to the dtype of `x`; 0 where both are infinite."""
        maximum = self.maximum.astype(x.dtype)
        return jnp.where(x == maximum, 0, x - maximum)

    def finite_margin(self) -> Array:
        """x − maximum in float64, rounded not at all; for an infinite one a number beyond all."""
        finfo = jnp.finfo(self.x.dtype)
        maximum = jnp.clip(self.maximum, finfo.min, finfo.max).astype(jnp.float64)
        margin = at_most(float(finfo.max), self.x).astype(jnp.float64) - maximum
        return at_least(-_INFINITE, margin)

    def exp_margin(self, x: Array, *, may_exceed: bool = False) -> Array:
        """exp(x − maximum) for x ≤ maximum, without the rounding error of the margin.

        Infinity counts as the largest finite number, so that infinity − infinity is 0. Below the
        smallest normal number the exponential is 0. To 0.9 ulp in float32; there x may exceed the
        maximum by up to 88, and by more if that is told: then the exponential is not finite.
        """
        finfo = jnp.finfo(x.dtype)
        x = at_most(float(finfo.max), x)  # and a product stays rounded, as in `rounded_product`
        maximum = jnp.clip(self.maximum, finfo.min, finfo.max)
        margin = x - maximum
        virtual = margin - x
        error = (x - (margin - virtual)) + (-maximum - virtual)
        counts = ~(margin < math.log(finfo.tiny))  # and so does NaN
        if x.dtype == jnp.float32:
            margin = at_most(_OVERFLOWS, margin) if may_exceed else margin
            return jnp.where(counts, exp_of_small(margin, error), 0)
        e = jnp.exp(jnp.where(counts, margin, 0))
        return jnp.where(counts, e + e * error, 0)

    def wide(self, x: Array) -> Array:
        """What there is one of per row, in the dtype to compute with before it is rounded once."""
        return x.astype(jnp.float64) if self.double else x

    def log1p(self, x: Array) -> Array:
        """log1p of numbers ≥ 0 of `wide`: near 0.5 ulp up to 1 with `double`, to 2 ulp beyond."""
        if not self.double:
            return jnp.log1p(x)
        large = jnp.log(self.rounded(1 + x))
        return jnp.where(x > 1, self.wide(large), log1p_of_unit(jnp.minimum(x, 1)))

    def rounded(self, x: Array) -> Array:
        """Back from `wide`."""
        return x.astype(self.x.dtype)


def _merged(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """The largest of two parts of rows, and the sum of all others, from those of each part."""
    return jnp.maximum(a[0], b[0]), (a[1] + b[1]) + jnp.minimum(a[0], b[0])


def _max_of(x: Array, axis: int, by_columns: bool) -> Array:
    if by_columns:
        return functools.reduce(jnp.maximum, [_computed_once(m, x) for m in max_of_columns(x)])
    return jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf)


def row_of(x: Array, axis: int, machine: Machine, reference: Array | None = None) -> Row:
    """The rows of `x` along `axis`, relative to their maximum or to another reference."""
    x = x.astype(arithmetic_dtype(x.dtype))
    by_columns = machine.alone and x.dtype == jnp.float32 and is_of_few_columns(x.shape, axis)
    maximum = _max_of(x, axis, by_columns) if reference is None else reference
    return Row(
        x=x,
        axis=axis,
        maximum=maximum,
        exists=maximum != -jnp.inf,
        infinite=maximum == jnp.inf,
        double=machine.double and x.dtype == jnp.float32,
        alone=machine.alone,
        by_columns=by_columns,
    )


class MaximumLeftOut(NamedTuple):
    """A row with one maximum left out: E = exp(x − maximum) and the sum of all but that one."""

    row: Row
    at_maximum: Array  # per class
    exp: Array  # E
    tail: Array


def leave_maximum_out(row: Row) -> MaximumLeftOut:
    """Summarises rows; of several equal maxima all but one are in the tail."""
    at_maximum = row.x == row.maximum
    exp = row.exp_margin(row.x)
    tail = row.sum_but_one(exp, at_maximum, 1)
    return MaximumLeftOut(row, at_maximum, exp, tail)


def _computed_once(values: Array, x: Array) -> Array:
    """What there is one of per row, which no loop that uses it computes again.

    A sum by slices would take twice the time. What comes out of a conditional is written to memory:
    both branches give the values, which the compiler does not see.
    """
    if not sizes_are_known(x.shape) or x.size == 0 or values.shape == x.shape:
        return values
    unknown = x.reshape(-1)[0] == jnp.inf
    return jax.lax.cond(unknown, lambda v: jnp.where(jnp.isnan(v), jnp.nan, v), lambda v: v, values)


def per_platform(form: Callable[..., Any]) -> dict[str, Any]:
    """A row function `(*arrays, machine, **params)` as `exact_primitive` takes its forms."""

    def made(machine: Machine) -> Callable[..., Any]:
        def on_machine(*arrays: Array, **params: Any) -> Any:
            with jax.enable_x64(True) if machine.double else contextlib.nullcontext():
                results = form(*arrays, machine=machine, **params)
                if not machine.alone:
                    return results
                return jax.tree.map(lambda array: _computed_once(array, arrays[0]), results)

        return on_machine

    return {
        "form": made(Machine()),
        "platforms": {"cpu": made(Machine(double=True))},
        "alone": {"cpu": made(Machine(double=True, alone=True))},
    }
