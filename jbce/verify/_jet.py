"""Arrays of balls, and of truncated power series with balls for coefficients.

A ball is a number with a rigorous error bound (`flint.arb`). A jet is c₀ + c₁t + c₂t² + ..., each
coefficient an object array of balls; of order 0 it is an array of balls. With t the step along a
direction, c₁ is the directional derivative, without a step size.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._extra import flint

arb = flint.arb
Balls = NDArray[Any]  # dtype object, of arb

ZERO, ONE = arb(0), arb(1)
NAN, INF = arb("nan"), arb("inf")


@contextlib.contextmanager
def precision(bits: int) -> Iterator[None]:
    """Ball arithmetic with so many bits; the setting belongs to the process."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def balls(values: Any) -> Balls:
    """Numbers as exact balls."""
    values = np.asarray(values)
    if values.dtype.kind in "iub":
        flat = [arb(int(v)) for v in values.ravel().tolist()]
    else:
        flat = [arb(v) for v in values.astype(np.float64).ravel().tolist()]
    return objects(flat, values.shape)


def objects(flat: Any, shape: Any) -> Balls:
    """An object array of anything; numpy is not to look inside."""
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def elementwise(function: Callable[..., Any], *arrays: Balls) -> Balls:
    """A function of balls, applied to arrays of one shape."""
    flat = [array.ravel().tolist() for array in arrays]
    return objects([function(*elements) for elements in zip(*flat, strict=True)], arrays[0].shape)


def _keep(ufunc: Any, a: Balls, b: Any) -> Balls:
    return np.asarray(ufunc(a, b), object)


class Jet:
    """A power series of array coefficients; a coefficient that is None is 0 everywhere."""

    def __init__(self, coefficients: Sequence[Balls | None]) -> None:
        assert coefficients[0] is not None
        self.coefficients = list(coefficients)
        while len(self.coefficients) > 1 and self.coefficients[-1] is None:
            self.coefficients.pop()

    @property
    def value(self) -> Balls:
        """The constant coefficient."""
        value = self.coefficients[0]
        assert value is not None
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __getitem__(self, k: int) -> Balls | None:
        return self.coefficients[k] if k < len(self.coefficients) else None

    @property
    def is_constant(self) -> bool:
        return len(self.coefficients) == 1

    def map(self, function: Callable[[Balls], Balls]) -> "Jet":
        """A linear function that moves or adds elements, of each coefficient."""
        return Jet([None if c is None else function(c) for c in self.coefficients])

    def __neg__(self) -> "Jet":
        return self.map(lambda c: np.asarray(np.negative(c), object))

    def __add__(self, other: "Jet") -> "Jet":
        return _combine(self, other, np.add, lambda b: b)

    def __sub__(self, other: "Jet") -> "Jet":
        return _combine(self, other, np.subtract, lambda b: np.asarray(np.negative(b), object))

    def times(self, other: "Jet", order: int) -> "Jet":
        return product(self, other, order, lambda a, b: _keep(np.multiply, a, b))

    def over(self, other: "Jet", order: int) -> "Jet":
        """The quotient. Where the divisor starts with 0 both are divided by t first: one
        coefficient less is known, and the last is NaN."""
        if other.is_constant:
            return self.map(lambda c: elementwise(divide, c, other.value))
        if any(_is_zero(b) for b in other.value.ravel()):
            return _shifted_quotient(self, other, order)
        quotient: list[Balls | None] = []
        for k in range(order + 1):
            rest = self[k]
            for j in range(k):
                term = _product_of(quotient[j], other[k - j])
                if term is not None:
                    negative = np.asarray(np.negative(term), object)
                    rest = negative if rest is None else _keep(np.add, rest, negative)
            quotient.append(None if rest is None else elementwise(divide, rest, other.value))
        first = quotient[0]
        if first is None:
            quotient[0] = zeros(self.shape)
        return Jet(quotient)


def _combine(a: Jet, b: Jet, ufunc: Any, alone: Callable[[Balls], Balls]) -> Jet:
    coefficients: list[Balls | None] = []
    for k in range(max(len(a.coefficients), len(b.coefficients))):
        p, q = a[k], b[k]
        if p is None or q is None:
            coefficients.append(p if q is None else alone(q))
        else:
            coefficients.append(_keep(ufunc, p, q))
    return Jet(coefficients)


def _product_of(a: Balls | None, b: Balls | None) -> Balls | None:
    return None if a is None or b is None else _keep(np.multiply, a, b)


def product(a: Jet, b: Jet, order: int, multiply: Callable[[Balls, Balls], Balls]) -> Jet:
    """A bilinear function of two jets."""
    coefficients: list[Balls | None] = []
    length = min(order + 1, len(a.coefficients) + len(b.coefficients) - 1)
    for k in range(length):
        total = None
        for j in range(k + 1):
            p, q = a[j], b[k - j]
            if p is not None and q is not None:
                term = multiply(p, q)
                total = term if total is None else _keep(np.add, total, term)
        coefficients.append(total)
    return Jet(coefficients)


def _shifted_quotient(a: Jet, b: Jet, order: int) -> Jet:
    def one(*elements: Any) -> list[Any]:
        above, below = list(elements[: order + 1]), list(elements[order + 1 :])
        while _is_zero(below[0]) and _is_zero(above[0]) and len(below) > 1:
            above, below = above[1:], below[1:]
        quotient: list[Any] = []
        for k, rest in enumerate(above):
            for j in range(k):
                rest = rest - quotient[j] * below[k - j]
            quotient.append(divide(rest, below[0]))
        return quotient + [NAN] * (order + 1 - len(quotient))

    return _each_element(one, [a, b], order)


def _each_element(function: Callable[..., list[Any]], jets: Sequence[Jet], order: int) -> Jet:
    """A function of all coefficients of an element, one jet after the other."""
    shape = jets[0].shape
    columns = [
        ([ZERO] * int(np.prod(shape)) if c is None else c.ravel().tolist())
        for jet in jets
        for c in (jet[k] for k in range(order + 1))
    ]
    rows = [function(*elements) for elements in zip(*columns, strict=True)]
    return Jet([objects([row[k] for row in rows], shape) for k in range(order + 1)])


def zeros(shape: Any) -> Balls:
    """Exact zeros."""
    return np.full(shape, ZERO, object)


def constant(values: Any) -> Jet:
    """Numbers that do not move."""
    return Jet([balls(values)])


def as_jet(value: Any) -> Jet:
    """Whatever it comes as, as a jet."""
    return value if isinstance(value, Jet) else constant(value)


def ray(values: Sequence[Any], direction: Sequence[Any]) -> list[Jet]:
    """values + t·direction, array by array."""
    return [
        Jet([balls(np.asarray(v, np.float64)), balls(np.asarray(d, np.float64))])
        for v, d in zip(values, direction, strict=True)
    ]


def divide(a: Any, b: Any) -> Any:
    """a/b with the limits that floating point has: 1/±inf = 0, 1/0 = inf."""
    if not b.is_finite() and (b == INF or b == -INF):
        return ZERO if a.is_finite() else NAN
    if _is_zero(b):
        return INF if a > 0 else -INF if a < 0 else NAN
    return a / b


def _is_zero(ball: Any) -> bool:
    return ball.is_zero()


def compose(taylor: Callable[[Any, int], list[Any]], x: Jet, order: int) -> Jet:
    """f(x) from the Taylor coefficients of f at each c₀: Σ τₖ·(x − c₀)ᵏ."""
    if x.is_constant:
        return Jet([elementwise(lambda c: NAN if c.is_nan() else taylor(c, 0)[0], x.value)])
    rows = [[NAN] * (order + 1) if c.is_nan() else taylor(c, order) for c in x.value.ravel()]
    tau = [objects([row[k] for row in rows], x.shape) for k in range(order + 1)]
    # Horner in δ = x − c₀. Where a coefficient of f is not finite nothing is known beyond f(c₀): a
    # change that is 0 as far as it is known, as of x² at 0, need not be 0.
    unknown = [any(not t.is_finite() for t in row[1:]) for row in rows]
    result = Jet([tau[order]])
    delta = Jet([zeros(x.shape), *x.coefficients[1:]])
    for k in range(order - 1, -1, -1):
        result = product(result, delta, order, lambda a, b: _keep(np.multiply, a, b)) + Jet(
            [tau[k]]
        )
    if not any(unknown):
        return result
    coefficients = [tau[0]]
    for k in range(1, order + 1):
        known = result[k]
        flat = [ZERO] * x.value.size if known is None else known.ravel().tolist()
        coefficients.append(
            objects([NAN if u else c for u, c in zip(unknown, flat, strict=True)], x.shape)
        )
    return Jet(coefficients)
