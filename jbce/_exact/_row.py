"""A row of logits relative to its maximum: margins without rounding error, and their exponentials.

exp turns the rounding error of a margin d = x − max, |d|·u/2, into a relative error of that size:
tens of ulps at a margin of 60. So the margin is taken exactly: in float64 where that is fast, and
as a sum of two numbers elsewhere (Knuth's TwoSum).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array
from ._primitive import arithmetic_dtype
from ._scalar import exp_of_moderate, log1p_of_unit


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

    def sum(self, values: Array) -> Array:
        """The sum of each row."""
        return jnp.sum(values, axis=self.axis, keepdims=True)

    def margin(self, x: Array) -> Array:
        """x − maximum, rounded once to the dtype of `x`; 0 where both are infinite."""
        maximum = self.maximum.astype(x.dtype)
        return jnp.where(x == maximum, 0, x - maximum)

    def exp_margin(self, x: Array) -> Array:
        """exp(x − maximum) for x ≤ maximum, without the rounding error of the margin.

        Infinity counts as the largest finite number, so that infinity − infinity is 0.
        """
        finfo = jnp.finfo(x.dtype)
        number = ~jnp.isnan(x)
        x = jnp.minimum(x, finfo.max)  # and a product stays rounded, as in `rounded_product`
        maximum = jnp.clip(self.maximum, finfo.min, finfo.max)
        if self.double:
            margin = x.astype(jnp.float64) - maximum.astype(jnp.float64)
            e = exp_of_moderate(jnp.maximum(margin, -700)).astype(x.dtype)
            # The select ends what XLA CPU would take up into a reduction: half of it would be worse
            # than nothing, for the other half would be written to memory in float64.
            return jnp.where(number, e, jnp.nan)
        counts = x - maximum > math.log(finfo.tiny)  # elsewhere the exponential is below all
        x = jnp.where(counts, x, maximum)
        margin = x - maximum
        virtual = margin - x
        error = (x - (margin - virtual)) + (-maximum - virtual)
        e = jnp.exp(margin)
        return jnp.where(number, jnp.where(counts, e + e * error, 0), jnp.nan)

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


def row_of(x: Array, axis: int, double: bool) -> Row:
    """The rows of `x` along `axis`."""
    x = x.astype(arithmetic_dtype(x.dtype))
    maximum = jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf)
    return Row(
        x=x,
        axis=axis,
        maximum=maximum,
        exists=maximum != -jnp.inf,
        infinite=maximum == jnp.inf,
        double=double and x.dtype == jnp.float32,
    )


class MaximumLeftOut(NamedTuple):
    """A row with one maximum left out: E = exp(x − maximum) and the sum of all but that one."""

    row: Row
    at_maximum: Array  # per class
    exp: Array  # E
    tail: Array


def leave_maximum_out(row: Row) -> MaximumLeftOut:
    """Summarises rows; of several equal maxima all but one are in the tail."""
    at_maximum = row.margin(row.x) == 0
    exp = row.exp_margin(row.x)
    ties = row.sum(at_maximum.astype(exp.dtype))
    tail = row.sum(jnp.where(at_maximum, 0, exp)) + jnp.maximum(ties - 1, 0)
    return MaximumLeftOut(row, at_maximum, exp, tail)


def per_platform(form: Callable[..., Any]) -> dict[str, Any]:
    """A row function `(*arrays, double, **params)` as `exact_primitive` takes its forms."""

    def plain(*arrays: Array, **params: Any) -> Any:
        return form(*arrays, double=False, **params)

    def double(*arrays: Array, **params: Any) -> Any:
        with jax.enable_x64(True):
            return form(*arrays, double=True, **params)

    return {"form": plain, "platforms": {"cpu": double}}
