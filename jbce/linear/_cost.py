"""The cost of a label from its logit and a summary of the other classes, without cancellation.

With m the maximum of the other logits and S = Σ exp(x_j − m) of them, the log-odds of the label are

    z = x_y − m − log S        cost = softplus(−z)        doubt 1 − p_y = sigmoid(−z)

z is not rounded before it becomes a cost: the rounding error of a z of 60, half an ulp, would be 30
ulps of the cost. m is a constant, of which nothing depends: the derivative comes by way of S.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .._exact import Form, by_precision, elementwise, two_sum
from .._typing import Array
from ..numerics import logistic_density, sigmoid, softplus

Function = Callable[[Array], Array]


def _pair(x: Array, m: Array, rest: Array) -> tuple[Array, Array]:
    margin = two_sum(x, -m)
    z = two_sum(margin.high, -jnp.log(rest))
    return z.high, jnp.where(jnp.isfinite(z.high), margin.low + z.low, 0)


def _of_log_odds(name: str, function: Function, slope: Function, *partials: Form | None) -> Form:
    """A function of z as one of (x_y, m, S)."""

    def double(x: Array, m: Array, rest: Array) -> Array:
        return function(x - m - jnp.log(rest))

    def pairs(x: Array, m: Array, rest: Array) -> Array:
        z, low = _pair(x, m, rest)
        return function(z) + slope(z) * low

    return elementwise(
        name,
        *partials,
        definition=double,
        **by_precision(float64=pairs, float32=double, float16=double, pairs=pairs),
    )


def _partials(slope: Form) -> tuple[Form, None, Form]:
    """Along x_y and S, of a function of z that has that slope."""

    def along_rest(x: Array, m: Array, rest: Array, dtype: Any) -> Array:
        return -slope(x, m, rest, dtype=dtype) / rest

    return slope, None, along_rest


def _one(x: Array, m: Array, rest: Array, dtype: Any) -> Array:
    return jnp.ones_like(x, dtype)


def _density_slope(x: Array, m: Array, rest: Array, dtype: Any) -> Array:
    z = _log_odds_call(x, m, rest, dtype=dtype)
    return _density_call(x, m, rest, dtype=dtype) * (sigmoid(-z) - sigmoid(z))


def _minus(function: Form) -> Form:
    return lambda *arrays, dtype: -function(*arrays, dtype=dtype)


_log_odds_call = _of_log_odds("linear_log_odds", lambda z: z, jnp.ones_like, *_partials(_one))
_density_call = _of_log_odds(
    "linear_logistic_density",
    logistic_density,
    lambda z: logistic_density(z) * (sigmoid(-z) - sigmoid(z)),
    *_partials(_density_slope),
)
_doubt_call = _of_log_odds(
    "linear_doubt",
    lambda z: sigmoid(-z),
    lambda z: -logistic_density(z),
    *_partials(_minus(lambda *arrays, dtype: _density_call(*arrays, dtype=dtype))),
)
_cost_call = _of_log_odds(
    "linear_cost",
    lambda z: softplus(-z),
    lambda z: -sigmoid(-z),
    *_partials(_minus(lambda *arrays, dtype: _doubt_call(*arrays, dtype=dtype))),
)


def cost(x: Array, m: Array, rest: Array) -> Array:
    """softplus(−z)."""
    return _cost_call(x, m, rest, dtype=x.dtype)


def log_odds(x: Array, m: Array, rest: Array) -> Array:
    """z, rounded once."""
    return _log_odds_call(x, m, rest, dtype=x.dtype)
