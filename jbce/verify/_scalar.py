"""Functions of one number in ball arithmetic: their Taylor coefficients at a ball."""

from collections.abc import Callable
from typing import Any

from ._extra import flint
from ._jet import INF, NAN, ONE, ZERO, arb

Taylor = Callable[[Any, int], list[Any]]


def _series(x: Any, order: int) -> Any:
    return flint.arb_series([x, ONE], order + 1)


def _coefficients(series: Any, order: int) -> list[Any]:
    return [series[k] for k in range(order + 1)]


def _taylor(
    value: Callable[[Any], Any],
    series: Callable[[Any], Any],
    limits: dict[str, Any] | None = None,
) -> Taylor:
    """From `value` of a ball and `series` of a power series; `limits` at "-inf", "inf" and "0"."""
    limits = limits or {}

    def taylor(x: Any, order: int) -> list[Any]:
        if x.is_exact():
            key = "0" if x.is_zero() else "inf" if x == INF else "-inf" if x == -INF else ""
            if key in limits:
                limit = limits[key]
                rest = ZERO if key != "0" and limit.is_finite() else NAN
                return [limit] + [rest] * order
            if key in ("inf", "-inf"):
                return [NAN] * (order + 1)
        if order == 0:
            return [value(x)]
        return [value(x), *_coefficients(series(_series(x, order)), order)[1:]]

    return taylor


def _sum_of_exp(sign: int) -> Callable[[Any], Any]:
    return lambda s: (s.exp() + (-s).exp() * sign) / 2


def _tanh_series(s: Any) -> Any:
    return 1 - 2 / (1 + (2 * s).exp())


def _logistic(x: Any) -> Any:
    return 1 / (1 + (-x).exp())


def _exp2(x: Any) -> Any:
    return (x * arb.const_log2()).exp()


def _digamma(x: Any, order: int) -> list[Any]:
    if order == 0:
        return [x.digamma()]
    if not x > 0:  # by Γ'/Γ, for log Γ of a series wants a positive number
        gamma = _series(x, order + 1).gamma()
        return _coefficients(gamma.derivative() / gamma, order)
    lgamma = _coefficients(_series(x, order + 1).lgamma(), order + 1)
    return [lgamma[k + 1] * (k + 1) for k in range(order + 1)]


def _lgamma(x: Any) -> Any:
    if x > 0:
        return x.lgamma()
    return abs(x.gamma()).log()  # log|Γ|, as in floating point


def _lgamma_taylor(x: Any, order: int) -> list[Any]:
    if x.is_exact() and x <= 0 and x.is_integer():
        return [INF] + [NAN] * order
    slopes = _digamma(x, order)
    return [_lgamma(x), *(slopes[k] / (k + 1) for k in range(order))]


def _erf_inv(x: Any, order: int) -> list[Any]:
    if x.is_exact() and (x == 1 or x == -1):
        return [INF * x] + [NAN] * order
    y = x.erfinv()
    if order == 0:
        return [y]
    # y' = √π/2·e^{y²}: the coefficients of y from those of y'
    coefficients = [y]
    for k in range(order):
        series = flint.arb_series(coefficients, k + 1)
        slope = (series * series).exp() * (arb.pi().sqrt() / 2)
        coefficients.append(slope[k] / (k + 1))
    return coefficients


def _cbrt(x: Any, order: int) -> list[Any]:
    if x.is_zero():
        return [ZERO] + [NAN] * order
    sign = 1 if x > 0 else -1
    third = arb(1) / 3
    root = ((x * sign).log() * third).exp() * sign
    coefficients = [root]
    for k in range(order):  # (1/3 choose k)·x^(1/3 − k)
        coefficients.append(coefficients[-1] * (third - k) / ((k + 1) * x))
    return coefficients


def _from_slope(value: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Taylor:
    def taylor(x: Any, order: int) -> list[Any]:
        if order == 0:
            return [value(x)]
        slopes = _coefficients(slope(_series(x, order)), order)
        return [value(x), *(slopes[k] / (k + 1) for k in range(order))]

    return taylor


def polygamma(n: int) -> Taylor:
    """The n-th derivative of digamma."""

    def taylor(x: Any, order: int) -> list[Any]:
        whole = _digamma(x, n + order)
        coefficients = []
        for k in range(order + 1):
            factor = 1
            for j in range(k + 1, k + n + 1):
                factor *= j
            coefficients.append(whole[k + n] * factor)
        return coefficients

    return taylor


UNARY: dict[str, Taylor] = {
    "exp": _taylor(lambda x: x.exp(), lambda s: s.exp(), {"-inf": ZERO, "inf": INF}),
    "exp2": _taylor(_exp2, _exp2, {"-inf": ZERO, "inf": INF}),
    "expm1": _taylor(lambda x: x.expm1(), lambda s: s.exp(), {"-inf": -ONE, "inf": INF}),
    "log": _taylor(lambda x: x.log(), lambda s: s.log(), {"0": -INF, "inf": INF}),
    "log2": _taylor(
        lambda x: x.log() / arb.const_log2(),
        lambda s: s.log() / arb.const_log2(),
        {"0": -INF, "inf": INF},
    ),
    "log1p": _from_slope(
        lambda x: -INF if x == -1 else INF if x == INF else x.log1p(), lambda s: 1 / (1 + s)
    ),
    "sqrt": _taylor(lambda x: x.sqrt(), lambda s: s.sqrt(), {"0": ZERO, "inf": INF}),
    "rsqrt": _taylor(lambda x: x.rsqrt(), lambda s: s.rsqrt(), {"0": INF, "inf": ZERO}),
    "cbrt": _cbrt,
    "sin": _taylor(lambda x: x.sin(), lambda s: s.sin()),
    "cos": _taylor(lambda x: x.cos(), lambda s: s.cos()),
    "tan": _taylor(lambda x: x.tan(), lambda s: s.tan()),
    "asin": _taylor(lambda x: x.asin(), lambda s: s.asin()),
    "acos": _taylor(lambda x: x.acos(), lambda s: s.acos()),
    "atan": _taylor(
        lambda x: x.atan(), lambda s: s.atan(), {"inf": arb.pi() / 2, "-inf": -arb.pi() / 2}
    ),
    "sinh": _taylor(lambda x: x.sinh(), _sum_of_exp(-1), {"inf": INF, "-inf": -INF}),
    "cosh": _taylor(lambda x: x.cosh(), _sum_of_exp(1), {"inf": INF, "-inf": INF}),
    "tanh": _taylor(lambda x: x.tanh(), _tanh_series, {"inf": ONE, "-inf": -ONE}),
    "asinh": _from_slope(lambda x: x.asinh(), lambda s: (1 + s * s).rsqrt()),
    "acosh": _from_slope(lambda x: x.acosh(), lambda s: (s * s - 1).rsqrt()),
    "atanh": _from_slope(lambda x: x.atanh(), lambda s: 1 / (1 - s * s)),
    "logistic": _taylor(_logistic, _logistic, {"inf": ONE, "-inf": ZERO}),
    "erf": _taylor(lambda x: x.erf(), lambda s: s.erf(), {"inf": ONE, "-inf": -ONE}),
    "erfc": _taylor(lambda x: x.erfc(), lambda s: s.erfc(), {"inf": ZERO, "-inf": ONE + 1}),
    "erf_inv": _erf_inv,
    "lgamma": _lgamma_taylor,
    "digamma": _digamma,
}
