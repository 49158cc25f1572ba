"""The summary of a row from which every quantity follows without cancellation, and its merge."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from .._exact import (
    Machine,
    arithmetic_dtype,
    by_precision,
    elementwise,
    exact_primitive,
    exponential,
    leave_maximum_out,
    per_platform,
    row_of,
    row_sum,
    two_sum,
)
from .._typing import Array, ArrayLike, Axis, Bool, Float, as_floating, check_same_shape
from ._softmax import rows_of


class MaxTail(NamedTuple):
    """(max, tail) of rows: the maximum, and Σ exp(x − maximum) over all entries but one maximum.

    A commutative monoid under `merge`, with (−inf, 0) for the row in which nothing is: the same
    summary serves a block of a vocabulary, a chunk of a stream and a shard of a mesh.
    """

    maximum: Float[Array, "*rows"]
    tail: Float[Array, "*rows"]

    def merge(self, other: "MaxTail") -> "MaxTail":
        """The summary of the two rows as one.

        Example:
            >>> import jax.numpy as jnp
            >>> x = jnp.array([3.0, 1.0, 2.0, -5.0])
            >>> merged = max_tail(x[:2]).merge(max_tail(x[2:]))
            >>> bool(jnp.isclose(merged.logsumexp(), max_tail(x).logsumexp()))
            True
        """
        check_same_shape("other.maximum", other.maximum, "self.maximum", self.maximum)
        first = self.maximum >= other.maximum
        high, low = (
            MaxTail(*(jnp.where(chosen, a, b) for a, b in zip(self, other, strict=True)))
            for chosen in (first, ~first)
        )
        # What does not exist is replaced before the exponential, which has a derivative.
        exists = low.maximum != -jnp.inf
        e = exp_of_difference(jnp.where(exists, low.maximum, 0), jnp.where(exists, high.maximum, 0))
        return MaxTail(high.maximum, high.tail + jnp.where(exists, e * (1 + low.tail), 0))

    def logsumexp(self) -> Float[Array, "*rows"]:
        """maximum + log1p(tail)."""
        return self.maximum + jnp.log1p(self.tail)


def _difference_double(a: Array, b: Array) -> Array:
    return jnp.where(a == b, 1, jnp.exp(a - b))


def _difference_pairs(a: Array, b: Array) -> Array:
    margin = two_sum(a, -b)
    infinite = jnp.isinf(margin.high)
    size = jnp.where(infinite, 0, jnp.abs(margin.high))
    # e^−size, or its inverse in two steps, so that e^−size stays above the smallest normal number,
    # times the exponential of what rounding took from the margin
    grows = margin.high > 0
    step = jnp.where(grows & (size > 64), 32, 0).astype(size.dtype)
    power = exponential(step - size).exp_rounded()
    power = jnp.where(grows, jnp.exp(step) / power, power) * (1 + margin.low)
    return jnp.where(a == b, 1, jnp.where(infinite, jnp.exp(margin.high), power))


def _minus(a: Array, b: Array, *, dtype: Any) -> Array:
    return -_difference_call(a, b, dtype=dtype)


_difference_call = elementwise(
    "exp_of_difference",
    lambda a, b, dtype: _difference_call(a, b, dtype=dtype),
    _minus,
    definition=lambda a, b: jnp.exp(a - b),
    **by_precision(
        float64=_difference_pairs,
        float32=_difference_double,
        float16=_difference_double,
        pairs=_difference_pairs,
    ),
)


def exp_of_difference(
    a: Float[ArrayLike, "*shape"], b: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """exp(a − b), without what the rounding of a − b would make of it.

    The rounding error of a margin of 60, half an ulp, is 30 ulps of its exponential.

    Args:
        a: of any shape.
        b: of the same shape.

    Returns:
        An array of the shape of both, in the wider of their dtypes.

    Raises:
        TypeError: `a` or `b` is not floating point.
        ValueError: the shapes differ.

    Edges:
        1 where a = b, infinities too; 0 at a = −inf or b = inf, inf at a = inf or b = −inf.

    Error:
        ≤ 0.501 ulp in float32; 3 in float64 and where a platform has no float64.

    Example:
        >>> import jax.numpy as jnp
        >>> exp_of_difference(jnp.array([1000.1, 5.0]), jnp.array([1000.0, 5.0]))
        Array([1.1051439, 1.       ], dtype=float32)

    Source:
        Knuth, The Art of Computer Programming 2, section 4.2.2 (1997).
    """
    a, b = as_floating("a", a), as_floating("b", b)
    check_same_shape("b", b, "a", a)
    return _difference_call(a, b, dtype=jnp.promote_types(a.dtype, b.dtype))


def _form(x: Array, *, axis: int, machine: Machine) -> list[Array]:
    left = leave_maximum_out(row_of(x, axis, machine))
    exists = left.row.exists | jnp.isnan(left.tail)
    return [left.row.maximum, jnp.where(exists, left.tail, 0)]


def _two_per_row(x: Array, *, axis: int) -> list[Array]:
    row = jnp.sum(x.astype(arithmetic_dtype(x.dtype)), axis=axis, keepdims=True)
    return [row, row]


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, axis: int) -> Any:
    maximum, tail = _max_tail(*primals, axis=axis)
    x, tangent = (array.astype(maximum.dtype) for array in (primals[0], tangents[0]))
    # Of several equal maxima the mean is taken: logsumexp has the same derivative whatever is.
    at_maximum = (x == maximum).astype(x.dtype)
    ties = jnp.maximum(jnp.sum(at_maximum, axis=axis, keepdims=True), 1)
    moved = row_sum(at_maximum / ties * tangent, axis)
    e = exp_of_difference(x, jnp.broadcast_to(maximum, x.shape))
    # Of several maxima the tangents sum to nothing here, but not their products in the next
    # derivative. That of a single one is left out, or its 1 would absorb the others.
    is_single = (at_maximum == 1) & (ties == 1)
    e = jnp.where(is_single | jnp.isnan(tail) | (maximum == -jnp.inf), 0, e)
    return [maximum, tail], [moved, row_sum(e * (tangent - moved), axis)]


def _definition(x: Array, *, axis: int) -> list[Array]:
    x = x.astype(arithmetic_dtype(x.dtype))
    maximum = jnp.max(x, axis=axis, keepdims=True)
    return [maximum, jnp.sum(jnp.exp(x - maximum), axis=axis, keepdims=True) - 1]


_max_tail = exact_primitive(
    "max_tail",
    definition=_definition,
    outputs=_two_per_row,
    jvp=_jvp,
    shift_axis=True,
    multiple_results=True,
    **per_platform(_form),
)


def max_tail(
    x: Float[ArrayLike, "*shape"],
    axis: Axis = -1,
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> MaxTail:
    """The maximum of a row, and Σ exp(x − maximum) over all entries but one maximum.

    With it logsumexp is maximum + log1p(tail), and 1 less the largest probability is
    tail/(1 + tail): nothing is added to a 1 that would absorb it.

    Args:
        x: logits, of any shape.
        axis: along which a row lies; or several axes that make one together.
        where: which entries exist.

    Returns:
        The two, one per row, in float32 for 16-bit numbers.

    Raises:
        TypeError: `x` is not floating point, or `where` is not boolean.
        ValueError: `axis` is not there.

    Edges:
        (−inf, 0) where nothing exists. Of n maxima n − 1 count in the tail. A NaN shows in the
        tail. The derivative of the maximum is the mean over its ties.

    Error:
        float32, up to 5,000 entries: the tail ≤ 4 ulp.

    Example:
        >>> import jax.numpy as jnp
        >>> max_tail(jnp.array([20.0, 0.0, 0.0]))
        MaxTail(maximum=Array(20., dtype=float32), tail=Array(4.1223074e-09, dtype=float32))

    Source:
        Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax functions,
        IMA Journal of Numerical Analysis 41 (2021); the merge: Milakov and Gimelshein, Online
        normalizer calculation for softmax (2018), arXiv 1805.02867.
    """
    _, rows, row_axis = rows_of("x", x, axis, where)
    maximum, tail = _max_tail(rows, axis=row_axis)
    return MaxTail(jnp.squeeze(maximum, row_axis), jnp.squeeze(tail, row_axis))
