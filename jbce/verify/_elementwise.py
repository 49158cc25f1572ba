"""Rules of the primitives that work element by element."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ._interpreter import Run, Undecided, UnknownPrimitive, Value, place, rule
from ._jet import (
    NAN,
    ONE,
    ZERO,
    Jet,
    arb,
    as_jet,
    balls,
    compose,
    constant,
    elementwise,
    objects,
    zeros,
)
from ._scalar import UNARY, polygamma


def _jets(values: tuple[Value, ...]) -> list[Jet]:
    """Operands as jets of one shape."""
    jets = [as_jet(v) for v in values]
    shape = np.broadcast_shapes(*(jet.shape for jet in jets))
    return [
        jet if jet.shape == shape else jet.map(lambda c: np.broadcast_to(c, shape)) for jet in jets
    ]


@rule("add", "add_any")
def _add(run: Run, equation: Any, *values: Value) -> Jet:
    a, b = _jets(values)
    return a + b


@rule("sub")
def _sub(run: Run, equation: Any, *values: Value) -> Jet:
    a, b = _jets(values)
    return a - b


@rule("mul")
def _mul(run: Run, equation: Any, *values: Value) -> Jet:
    a, b = _jets(values)
    return a.times(b, run.order)


@rule("div")
def _div(run: Run, equation: Any, *values: Value) -> Jet:
    a, b = _jets(values)
    return a.over(b, run.order)


@rule("neg")
def _neg(run: Run, equation: Any, x: Jet) -> Jet:
    return -x


@rule("square")
def _square(run: Run, equation: Any, x: Jet) -> Jet:
    return x.times(x, run.order)


@rule("one_minus_square")
def _one_minus_square(run: Run, equation: Any, x: Jet) -> Jet:
    return constant(np.ones(x.shape)) - x.times(x, run.order)


@rule("polynomial")
def _polynomial(run: Run, equation: Any, *values: Value) -> Jet:
    x, *coefficients = _jets(values)  # from the lowest power up
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total.times(x, run.order) + coefficient
    return total


@rule("integer_pow")
def _integer_pow(run: Run, equation: Any, x: Jet) -> Jet:
    return _power(run, x, equation.params["y"])


def _power(run: Run, x: Jet, n: int) -> Jet:
    one = constant(np.ones(x.shape))
    if n < 0:
        return one.over(_power(run, x, -n), run.order)
    result = one
    while n:
        if n & 1:
            result = result.times(x, run.order)
        x, n = x.times(x, run.order), n >> 1
    return result


@rule("pow")
def _pow(run: Run, equation: Any, *values: Value) -> Jet:
    x, y = _jets(values)
    exponents = {float(e.mid()) if e.is_exact() else 0.5 for e in y.value.ravel()}
    whole = exponents.pop() if len(exponents) == 1 and y.is_constant else 0.5
    if np.isfinite(whole) and whole == round(whole) and abs(whole) < 1e4:
        return _power(run, x, int(whole))
    # A negative base has integer powers: that of |x|, with the sign of the parity.
    parity = np.array([_parity(e) if y.is_constant else 0 for e in y.value.ravel()])
    negative = np.array([bool(b < 0) for b in x.value.ravel()], bool) & (parity != 0)
    if negative.any():
        flip = constant(np.where(negative, -1, 1).reshape(x.shape))
        signs = constant(np.where(negative, parity, 1).reshape(x.shape))
        return _positive_power(run, x.times(flip, run.order), y).times(signs, run.order)
    return _positive_power(run, x, y)


def _parity(exponent: Any) -> int:
    """1 for even, −1 for odd, 0 for no integer."""
    if not (exponent.is_exact() and exponent.is_finite() and exponent.is_integer()):
        return 0
    return 1 if (exponent / 2).is_integer() else -1


def _positive_power(run: Run, x: Jet, y: Jet) -> Jet:
    zero = np.array([e.is_zero() for e in x.value.ravel()]).reshape(x.shape)
    # 0 to a power that is no integer: 0 or inf, whatever its derivatives
    safe = _where(zero, [x, constant(np.ones(x.shape))])
    exponent = y.times(compose(UNARY["log"], safe, run.order), run.order)
    power = compose(UNARY["exp"], exponent, run.order)
    if not zero.any():
        return power
    at_zero = elementwise(lambda e: ZERO if e > 0 else ONE if e.is_zero() else arb("inf"), y.value)
    rest = [zeros(x.shape) if x.is_constant else objects([NAN] * x.value.size, x.shape)]
    return _where(zero, [power, Jet([at_zero, *(rest * run.order)])])


def _unary(run: Run, equation: Any, x: Jet) -> Jet:
    return compose(UNARY[equation.primitive.name], x, run.order)


rule(*UNARY)(_unary)


@rule("polygamma")
def _polygamma(run: Run, equation: Any, m: Value, x: Jet) -> Jet:
    given = m.value.ravel() if isinstance(m, Jet) else balls(m).ravel()
    orders = {int(float(e.mid())) for e in given}
    if len(orders) != 1:
        raise UnknownPrimitive(f"`polygamma` of several orders at {place(equation)}")
    return compose(polygamma(orders.pop()), x, run.order)


@rule("atan2")
def _atan2(run: Run, equation: Any, *values: Value) -> Jet:
    y, x = _jets(values)
    origin = any(
        a.is_zero() and b.is_zero()
        for a, b in zip(y.value.ravel().tolist(), x.value.ravel().tolist(), strict=True)
    )
    if origin and not (y.is_constant and x.is_constant):
        raise Undecided(f"`atan2` at {place(equation)} of (0, 0), where it has no limit")
    angle = Jet([elementwise(lambda a, b: arb.atan2(a, b), y.value, x.value)])
    if y.is_constant and x.is_constant:
        return angle
    # the coefficients of θ from θ' = (x·y' − y·x')/(x² + y²)
    order = run.order - 1
    above = x.times(_slope(y), order) - y.times(_slope(x), order)
    below = x.times(x, order) + y.times(y, order)
    slope = above.over(below, order)
    later = [
        None if c is None else elementwise(lambda e, k=k: e / (k + 1), c)
        for k, c in ((k, slope[k]) for k in range(order + 1))
    ]
    return Jet([angle.value, *later])


def _slope(x: Jet) -> Jet:
    later = [
        None if c is None else elementwise(lambda e, k=k: e * (k + 1), c)
        for k, c in enumerate(x.coefficients[1:])
    ]
    return Jet([zeros(x.shape) if not later or later[0] is None else later[0], *later[1:]])


# ---- what has kinks ------------------------------------------------------------------------------


def _where(which: Any, cases: list[Jet]) -> Jet:
    """Elements of the case that `which` numbers."""
    length = max(len(case.coefficients) for case in cases)
    which = np.asarray(which, np.int64)
    coefficients = []
    for k in range(length):
        parts = [case[k] for case in cases]
        if all(part is None for part in parts):
            coefficients.append(None)
            continue
        chosen = np.empty(which.shape, object)
        for number, part in enumerate(parts):
            here = which == number
            chosen[here] = ZERO if part is None else part[here]
        coefficients.append(chosen)
    return Jet(coefficients)


@rule("select_n")
def _select_n(run: Run, equation: Any, which: Value, *cases: Value) -> Jet:
    jets = _jets(cases)
    return _where(np.broadcast_to(np.asarray(which), jets[0].shape), jets)


@rule("max", "min")
def _extremum(run: Run, equation: Any, *values: Value) -> Jet:
    a, b = _jets(values)
    return extremum(run, equation, a, b, equation.primitive.name == "max")


def extremum(run: Run, equation: Any, a: Jet, b: Jet, largest: bool) -> Jet:
    """The larger (or smaller) of two, NaN beside a NaN; the hull of both if balls overlap."""
    try:
        signs = run.signs(a, b, equation)
    except Undecided:
        if not (a.is_constant and b.is_constant):
            raise
        hull = elementwise(lambda p, q: p.max(q) if largest else p.min(q), a.value, b.value)
        return Jet([hull])
    wins = (signs >= 0) if largest else (signs <= 0)
    chosen = _where(~wins, [a, b])
    if (signs == 2).any():
        chosen = _where(signs == 2, [chosen, constant(np.full(a.shape, np.nan))])
    return chosen


@rule("clamp")
def _clamp(run: Run, equation: Any, *values: Value) -> Jet:
    low, x, high = _jets(values)
    return extremum(run, equation, extremum(run, equation, x, low, True), high, False)


@rule("abs")
def _abs(run: Run, equation: Any, x: Jet) -> Jet:
    if x.is_constant and run.order == 0:
        if any(e.is_zero() for e in x.value.ravel()):
            run.ties.append(f"`abs` at {place(equation)}")
        return Jet([elementwise(abs, x.value)])
    signs = _signs_of(run, equation, x)
    return x.times(constant(np.where(signs == 2, np.nan, signs)), run.order)


@rule("sign")
def _sign(run: Run, equation: Any, x: Jet) -> Jet:
    signs = _signs_of(run, equation, x)
    return constant(np.where(signs == 2, np.nan, signs))


def _signs_of(run: Run, equation: Any, x: Jet) -> NDArray[Any]:
    return run.signs(x, constant(np.zeros(x.shape)), equation)


_COMPARISONS = {
    "eq": lambda s: s == 0,
    "ne": lambda s: s != 0,
    "lt": lambda s: s == -1,
    "le": lambda s: (s == 0) | (s == -1),
    "gt": lambda s: s == 1,
    "ge": lambda s: (s == 0) | (s == 1),
    "lt_to": lambda s: s == -1,
    "le_to": lambda s: (s == 0) | (s == -1),
    "eq_to": lambda s: s == 0,
}


@rule(*_COMPARISONS)
def _compare(run: Run, equation: Any, *values: Value) -> NDArray[Any]:
    a, b = _jets(values)
    if equation.invars[0] is equation.invars[1]:
        nan = np.array([e.is_nan() for e in a.value.ravel()], bool).reshape(a.shape)
        signs = np.where(nan, 2, 0)
    else:
        signs = run.signs(a, b, equation)
    return np.asarray(_COMPARISONS[equation.primitive.name](signs))


@rule("is_finite")
def _is_finite(run: Run, equation: Any, x: Jet) -> NDArray[Any]:
    return np.array([e.is_finite() for e in x.value.ravel()], bool).reshape(x.shape)


def _whole(run: Run, equation: Any, x: Jet, shift: Any, function: Any) -> Jet:
    """Step functions whose steps are at the integers, shifted."""
    steps, tied = [], False
    slope = x[1]
    for index, ball in enumerate(x.value.ravel()):
        if not ball.is_finite():
            steps.append(ball)
            continue
        moved = ball + shift
        at_step = ball.is_exact() and moved.is_integer()
        if at_step and slope is not None and not slope.ravel()[index].is_zero():
            rises = slope.ravel()[index] > 0
            ball = ball + (arb("1e-6") if rises else arb("-1e-6"))
        elif at_step:
            tied = tied or shift == 0 or function is _half_even
        value = function(ball)
        if not (value.is_exact() or value.is_nan()):
            raise Undecided(
                f"`{equation.primitive.name}` at {place(equation)} of {ball.str(5)}, which may lie "
                "on either side of a step"
            )
        steps.append(value)
    if tied:
        run.ties.append(f"`{equation.primitive.name}` at {place(equation)}")
    return Jet([objects(steps, x.shape)])


def _half_even(ball: Any) -> Any:
    lower = (ball + arb(0.5)).floor()
    if ball.is_exact() and (ball + arb(0.5)).is_integer() and not (lower / 2).is_integer():
        return lower - 1
    return lower


def _half_away(ball: Any) -> Any:
    return (abs(ball) + arb(0.5)).floor() * (1 if ball >= 0 else -1)


@rule("floor")
def _floor(run: Run, equation: Any, x: Jet) -> Jet:
    return _whole(run, equation, x, 0, lambda b: b.floor())


@rule("ceil")
def _ceil(run: Run, equation: Any, x: Jet) -> Jet:
    return _whole(run, equation, x, 0, lambda b: b.ceil())


@rule("round")
def _round(run: Run, equation: Any, x: Jet) -> Jet:
    away = int(equation.params["rounding_method"]) == 0
    return _whole(run, equation, x, 0.5, _half_away if away else _half_even)


def _truncated(run: Run, equation: Any, x: Jet) -> Jet:
    return _whole(run, equation, x, 0, lambda b: b.floor() if b >= 0 else b.ceil())


@rule("rem")
def _rem(run: Run, equation: Any, *values: Value) -> Jet:
    a, b = _jets(values)
    return a - b.times(_truncated(run, equation, a.over(b, run.order)), run.order)


@rule("convert_element_type")
def _convert(run: Run, equation: Any, x: Value) -> Value:
    dtype = equation.params["new_dtype"]
    if not isinstance(x, Jet):
        if jnp.issubdtype(dtype, jnp.floating):
            return constant(np.asarray(x))
        return np.asarray(x).astype(dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        return x  # rounding is not part of what a program means
    if dtype == jnp.bool_:
        return _signs_of(run, equation, x) != 0
    whole = _truncated(run, equation, x)
    lowest, largest = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)

    def integer(ball: Any) -> int:  # what is beyond is cut off, and NaN is 0
        number = float(ball.mid())
        if np.isnan(number):
            return 0
        return (
            int(min(max(number, lowest), largest))
            if np.isfinite(number)
            else (largest if number > 0 else lowest)
        )

    return np.array([integer(e) for e in whole.value.ravel()]).reshape(x.shape).astype(dtype)


@rule("reduce_precision", "copy", "copy_p", "name", "pvary", "pcast", "sharding_constraint")
def _identity(run: Run, equation: Any, x: Value, *_: Value) -> Value:
    return x


@rule("optimization_barrier", "device_put")
def _identities(run: Run, equation: Any, *values: Value) -> list[Value]:
    return list(values)


@rule("debug_callback", "debug_print")
def _nothing(run: Run, equation: Any, *values: Value) -> list[Value]:
    return []


@rule("stop_gradient")
def _stop_gradient(run: Run, equation: Any, x: Jet) -> Jet:
    return Jet([x.value])
