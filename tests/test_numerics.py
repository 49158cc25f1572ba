"""The exact functions under the losses, and the coefficients that they are made of."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import definitions
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jbce import numerics
from jbce._exact import _scalar, _slices, exp_of_moderate, log1p_of_unit
from jbce.numerics import _max_tail, _sum

INF, NAN = np.inf, np.nan

EDGES = np.array([0.0, -0.0, np.inf, -np.inf])
# every order of magnitude of either sign, to where float32 results are constant
GRID = np.concatenate(
    [EDGES[:2], *[s * np.geomspace(1e-38, 120, 20_001, dtype=np.float32) for s in (1, -1)]]
).astype(np.float32)


def _softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def _sigmoid(x):
    return np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x)))


def _density(x):
    return np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2


def _binary_entropy(x):
    size = np.abs(x)
    return np.log1p(np.exp(-size)) + size * _sigmoid(-size)


def _log1mexp(x):
    return np.where(x < 0.7, np.log(-np.expm1(-x)), np.log1p(-np.exp(-np.maximum(x, 0.7))))


def _exprel(x, n=0):
    near = np.clip(x, -2, 2)
    series = sum(near**k / (math.factorial(k) * (k + n + 1)) for k in range(30))
    safe = np.where(np.abs(x) < 2, 2, np.minimum(x, 700))
    far = np.expm1(safe) / safe
    far = (np.exp(safe) - far) / safe if n else far
    return np.where(np.abs(x) < 2, series, np.where(x > 700, INF, far))


def _expm1mx(x):
    near = np.clip(x, -1, 1)
    series = sum(near**k / math.factorial(k) for k in range(2, 22))
    return np.where(np.abs(x) < 1, series, np.expm1(x) - x)


def _negentropy(x):
    # ∫ t·σ'(t) dt by its own series where log 2 − H would cancel in long doubles too
    near = np.clip(x, -0.1, 0.1)
    terms = (1 / 8, -1 / 64, 1 / 576, -17 / 92160, 31 / 1612800, -691 / 348364800)
    series = sum(c * near ** (2 * k + 2) for k, c in enumerate(terms))
    far = np.log(np.longdouble(2)) - _binary_entropy(np.longdouble(x))
    return np.where(np.abs(x) < 0.1, series, np.float64(far))


def _log_softplus(x):
    return np.where(x < -37, x, np.log(_softplus(np.maximum(x, -37))))


def _log_softplus_slope(x):
    near = np.maximum(x, -37)
    return np.where(x < -37, 1, _sigmoid(near) / _softplus(near))


POSITIVE = GRID[GRID > 1.2e-38]
PROBS = np.concatenate([POSITIVE[POSITIVE < 0.5], 1 - np.geomspace(6e-8, 0.5, 5001)], dtype="f4")


class Function(NamedTuple):
    """An exact function of a number, and its definition and derivative in float64."""

    function: Callable[..., Any]
    definition: Callable[..., Any]
    derivative: Callable[..., Any]
    slope_bound: float = 0.51  # in ulps; larger where the derivative is a product
    arguments: np.ndarray = GRID
    bound_of_16_bits: float = 0.501


FUNCTIONS = {
    "softplus": Function(numerics.softplus, _softplus, _sigmoid),
    "log_sigmoid": Function(numerics.log_sigmoid, lambda x: -_softplus(-x), lambda x: _sigmoid(-x)),
    "sigmoid": Function(numerics.sigmoid, _sigmoid, _density),
    "logistic_density": Function(
        numerics.logistic_density, _density, lambda x: -_density(x) * np.tanh(x / 2), 1.6
    ),
    "binary_entropy": Function(
        numerics.binary_entropy, _binary_entropy, lambda x: -x * _density(x)
    ),
    "expm1mx": Function(numerics.expm1mx, _expm1mx, np.expm1),
    "exprel": Function(numerics.exprel, _exprel, lambda x: _exprel(x, 1)),
    "binary_negentropy": Function(
        numerics.binary_negentropy, _negentropy, lambda x: x * _density(x)
    ),
    "log_softplus": Function(
        numerics.log_softplus, _log_softplus, _log_softplus_slope, bound_of_16_bits=0.84
    ),
    "logit": Function(
        numerics.logit,
        lambda p: np.log(p) - np.log1p(-p),
        lambda p: 1 / (p * (1 - p)),
        arguments=PROBS,
    ),
    "log1mexp": Function(
        numerics.log1mexp, _log1mexp, lambda x: np.exp(-x) / -np.expm1(-x), arguments=POSITIVE
    ),
}
each_function = pytest.mark.parametrize("case", FUNCTIONS.values(), ids=FUNCTIONS)


@each_function
@pytest.mark.ulps
def test_functions_in_float32(case):
    x = jnp.asarray(case.arguments)
    exact = case.definition(np.float64(case.arguments))
    assert definitions.ulps(case.function(x), exact).max() <= 0.51
    slope = case.derivative(np.float64(case.arguments))
    reverse = jax.grad(lambda x: case.function(x).sum())(x)
    _, forward = jax.jvp(case.function, (x,), (jnp.ones_like(x),))
    assert definitions.ulps(reverse, slope).max() <= case.slope_bound
    assert definitions.ulps(forward, slope).max() <= case.slope_bound


@each_function
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_functions_at_every_16_bit_number(case, dtype):
    x = jax.lax.bitcast_convert_type(jnp.arange(2**16, dtype=jnp.uint16), dtype)
    with np.errstate(all="ignore"):
        exact = np.float64(x.astype(jnp.float32))
        value, slope = case.definition(exact), case.derivative(exact)
    inside = np.isfinite(exact) & (exact >= case.arguments.min())
    if case.arguments is PROBS:
        inside &= exact < 1
    assert case.function(x).dtype == dtype
    assert definitions.ulps(case.function(x), value)[inside].max() <= case.bound_of_16_bits
    found = jax.grad(lambda x: case.function(x).sum())(x)
    bound = 0.501 if case.slope_bound < 1 else 2
    assert definitions.ulps(found, slope)[inside].max() <= bound


@each_function
def test_functions_in_float64(case):
    x = np.float64(case.arguments[:: len(case.arguments) // 500])
    if case.arguments is GRID:
        x = np.concatenate([x, np.linspace(-700, 700, 501)])
    with jax.enable_x64(True):
        found = case.function(jnp.asarray(x))
        np.testing.assert_allclose(found, case.definition(x), rtol=4e-15)
        found = jax.vmap(jax.grad(case.function))(jnp.asarray(x))
        np.testing.assert_allclose(found, case.derivative(x), rtol=4e-15)


@pytest.mark.ulps
def test_the_logistic_family_in_float64_is_nearly_correctly_rounded(key):
    """Against arbitrary precision; XLA's own exp and log1p are 1.4 ulp off, its tanh 6."""
    x = np.asarray(jax.random.uniform(key, (3000,), minval=-50.0, maxval=50.0), np.float64)
    x = np.concatenate([x, x / 30, x / 1000, 14 * x])

    def exact(x):
        e = mpmath.exp(-abs(x))
        softplus = mpmath.log1p(e) + max(x, 0)
        return softplus, (1 if x > 0 else e) / (1 + e), e / (1 + e) ** 2, mpmath.tanh(x / 2)

    with jax.enable_x64(True), mpmath.workdps(40):
        wanted = zip(*(exact(mpmath.mpf(float(a))) for a in x), strict=True)
        slope = jax.vmap(jax.grad(numerics.logistic_density))
        functions = [numerics.softplus, numerics.sigmoid, numerics.logistic_density]
        found = [function(jnp.asarray(x)) for function in functions]
        found.append(-slope(jnp.asarray(x)) / found[-1])
        for values, exactly, bound in zip(found, wanted, (0.7, 0.6, 0.6, 2), strict=True):
            pairs = zip(np.asarray(values), exactly, strict=True)
            assert (
                max(abs(mpmath.mpf(float(v)) - e) / np.spacing(float(abs(e))) for v, e in pairs)
                < bound
            )


@pytest.mark.parametrize("name", ["softplus", "log_sigmoid", "sigmoid", "logistic_density"])
def test_logistic_family_at_infinity_and_nan(name):
    case = FUNCTIONS[name]
    with np.errstate(invalid="ignore"):
        expected = case.definition(EDGES)
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            assert np.isnan(case.function(jnp.asarray(np.nan, dtype)))
            found = case.function(jnp.asarray(EDGES, dtype))
            np.testing.assert_array_equal(found, expected.astype(dtype))


def test_edges_of_probabilities_and_entropies():
    table = [
        (numerics.logit, [0, 1, -0.1, 1.1, NAN], [-INF, INF, NAN, NAN, NAN]),
        (numerics.log1mexp, [0, INF, -1, NAN], [-INF, 0, NAN, NAN]),
        (numerics.binary_entropy, [INF, -INF, NAN], [0, 0, NAN]),
        (jax.grad(numerics.binary_entropy), [INF, -INF], [0, 0]),
        (numerics.binary_negentropy, [INF, -INF, NAN], [np.log(2), np.log(2), NAN]),
        (numerics.expm1mx, [INF, -INF, NAN], [INF, INF, NAN]),
        (numerics.log_softplus, [INF, -INF, NAN], [INF, -INF, NAN]),
        (jax.grad(numerics.log_softplus), [-INF, INF], [1, 0]),
    ]
    for function, arguments, expected in table:
        for argument, value in zip(arguments, expected, strict=True):
            np.testing.assert_array_equal(function(jnp.float32(argument)), np.float32(value))


@pytest.mark.ulps
def test_the_second_derivative_of_log_softplus_does_not_cancel():
    x = np.concatenate([-np.geomspace(1e-3, 80, 400), np.geomspace(1e-3, 80, 400)])
    found = jax.vmap(jax.grad(jax.grad(numerics.log_softplus)))(jnp.asarray(x, jnp.float32))

    def exact(x):
        e = mpmath.exp(x)
        slope = e / ((1 + e) * mpmath.log1p(e))
        return slope * (1 / (1 + e) - slope)

    with mpmath.workdps(60):
        wanted = [float(exact(mpmath.mpf(float(np.float32(a))))) for a in x]
    assert definitions.ulps(found, wanted).max() <= 2


def test_xlogy():
    x = jnp.array([0.0, 0.0, 0.5, 2.0, 0.0, 1.0])
    y = jnp.array([0.0, 3.0, 0.5, 0.0, NAN, -1.0])
    expected = np.array([0, 0, 0.5 * np.log(0.5), -INF, NAN, NAN])
    assert definitions.ulps(numerics.xlogy(x, y), expected).max() <= 0.501
    slopes = jax.grad(lambda x, y: numerics.xlogy(x, y).sum(), argnums=(0, 1))(x, y)
    assert definitions.ulps(slopes[0][:4], [-INF, np.log(3), np.log(0.5), -INF]).max() <= 0.51
    np.testing.assert_array_equal(slopes[1][:3], [0, 0, 1])
    forward = jax.jacfwd(lambda x, y: numerics.xlogy(x, y).sum(), argnums=(0, 1))(x[1:3], y[1:3])
    np.testing.assert_array_equal(forward, [slope[1:3] for slope in slopes])
    # the entropy's terms: p log p has the second derivative 1/p
    second = jax.grad(jax.grad(lambda p: numerics.xlogy(p, p)))(jnp.float32(0.3))
    np.testing.assert_allclose(second, 1 / np.float32(0.3), rtol=1e-6)


# ---- sums ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [_sum._by_float64, _sum._by_tree])
@pytest.mark.parametrize("count", [1, 2, 3, 1000, 1_234_567])
def test_the_error_of_a_sum_does_not_grow(form, count, key):
    x = np.asarray(jax.random.exponential(key, (count,)))
    mixed = np.concatenate([x, [2e7], -x, [1.0]], dtype="f4")
    for terms in (x, mixed):
        found = jax.jit(form, static_argnames="axis")(jnp.asarray(terms), axis=(0,))
        assert definitions.ulps(found, math.fsum(terms)).max() <= 0.501


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 1_234_567])
def test_the_error_of_a_float64_sum_does_not_grow(count, key):
    with jax.enable_x64(True):
        x = np.asarray(jax.random.exponential(key, (count,), jnp.float64))
        for terms in (x, np.concatenate([x, [1e14], -x, [1e-5]]), np.append(x * 1e-300, [1e-310])):
            found = jax.jit(numerics.compensated_sum)(jnp.asarray(terms))
            exact = math.fsum(terms)
            assert abs(found - exact) <= 0.51 * np.spacing(abs(exact)) + 1e-28 * abs(terms).sum()


@pytest.mark.ulps
def test_compensated_sum(key):
    x = jax.random.normal(key, (3, 4, 5))
    for axis in (None, 0, -1, (0, 2), (0, 1, 2)):
        exact = np.float64(x).sum(axis)
        found = numerics.compensated_sum(x, axis)
        assert definitions.ulps(found, exact).max() <= 0.501
        kept = np.float64(x).sum(axis, where=np.asarray(x > 0))
        assert definitions.ulps(numerics.compensated_sum(x, axis, x > 0), kept).max() <= 0.501
    batched = jax.vmap(lambda x: numerics.compensated_sum(x, (0, 1)), in_axes=1)(x)
    np.testing.assert_allclose(batched, x.sum((0, 2)), rtol=1e-5, atol=1e-5)
    for mode in (jax.jacrev, jax.jacfwd):
        found = mode(lambda x: numerics.compensated_sum(jnp.square(x)))(x)
        np.testing.assert_allclose(found, 2 * x, rtol=1e-6)
    assert numerics.compensated_sum(jnp.ones(3, jnp.bfloat16)).dtype == jnp.float32
    with jax.enable_x64(True):
        terms = jnp.array([1e100, 1.0, -1e100, 1e-3])
        assert numerics.compensated_sum(terms) == 1.001
    assert numerics.compensated_sum(jnp.zeros((0,))) == 0
    assert numerics.compensated_sum(jnp.array([INF, 1.0])) == INF
    assert np.isnan(numerics.compensated_sum(jnp.array([INF, -INF])))


# ---- rows ----------------------------------------------------------------------------------------


def _rows(key):
    """Rows of 2 to 1000 classes of every spread, with and without a common offset."""
    for index, (classes, scale, offset) in enumerate(
        [(2, 1.0, 0.0), (10, 5.0, 1000.0), (10, 20.0, -1000.0), (1000, 0.1, 0.0), (1000, 20.0, 3.0)]
    ):
        for_row = jax.random.fold_in(key, index)
        yield offset + scale * jax.random.normal(for_row, (50, classes))


@pytest.mark.ulps
def test_softmax_family(key):
    for x in _rows(key):
        d, tail, p, not_p = definitions.softmax_parts(x)
        normal = p > 1e-30
        assert definitions.ulps(numerics.softmax(x), p)[normal].max() <= 6
        assert definitions.ulps(numerics.one_minus_softmax(x), not_p).max() <= 3.5
        assert definitions.ulps(numerics.log_softmax(x), d - np.log1p(tail)).max() <= 3.5
        lse = np.max(np.float64(x), -1) + np.log1p(tail[..., 0])
        scale = np.maximum(np.abs(x).max(-1), np.abs(lse)).astype(np.float32)
        assert np.all(np.abs(numerics.logsumexp(x, -1) - lse) <= 2 * np.spacing(scale))


def test_softmax_family_derivatives(key):
    x = 3 * jax.random.normal(key, (6,))
    p, not_p = definitions.softmax_parts(x)[2:]
    jacobian = np.diag(p * not_p) - (1 - np.eye(6)) * np.outer(p, p)
    expected = {
        numerics.logsumexp: p,
        numerics.softmax: jacobian,
        numerics.one_minus_softmax: -jacobian,
        numerics.log_softmax: np.eye(6) - p,
    }
    for function, exact in expected.items():
        for mode in (jax.jacrev, jax.jacfwd):
            np.testing.assert_allclose(mode(function)(x), exact, rtol=1e-5, atol=1e-7)
    confident = jnp.array([30.0, 0.0])  # d log p/dx = 1 − p, which is e⁻³⁰
    for mode in (jax.jacrev, jax.jacfwd):
        found = mode(lambda x: numerics.log_softmax(x)[0])(confident)
        np.testing.assert_allclose(found, np.exp(-30) * np.array([1, -1]), rtol=1e-6)


def test_max_tail_and_merge(key):
    for x in _rows(key):
        exact = definitions.softmax_parts(x)[1][:, 0]
        whole = numerics.max_tail(x)
        for cut in (1, x.shape[1] // 2):
            halves = numerics.max_tail(x[:, :cut]), numerics.max_tail(x[:, cut:])
            for state in (whole, halves[0].merge(halves[1]), halves[1].merge(halves[0])):
                np.testing.assert_array_equal(state.maximum, x.max(-1))
                assert definitions.ulps(state.tail, exact)[exact > 1e-30].max() <= 5
                lse = np.max(np.float64(x), -1) + np.log1p(exact)
                np.testing.assert_allclose(state.logsumexp(), lse, rtol=3e-7, atol=1e-6)


def test_what_is_merged_with_nothing_stays():
    x = jnp.array([3.0, 1.0, -INF])
    nothing = numerics.max_tail(jnp.full(2, -INF))
    assert nothing == (-INF, 0)
    for merged in (nothing.merge(numerics.max_tail(x)), numerics.max_tail(x).merge(nothing)):
        assert merged == numerics.max_tail(x)
    assert nothing.merge(nothing) == nothing
    infinite = numerics.max_tail(jnp.array([INF, 0.0]))
    assert infinite == (INF, 0) and infinite.merge(infinite) == (INF, 1)
    undefined = numerics.max_tail(jnp.array([NAN, 0.0]))
    for merged in (undefined.merge(infinite), infinite.merge(undefined)):
        assert np.isnan(merged.tail)


@pytest.mark.parametrize("x", [[3.0, 1.0, 2.0, -5.0], [1.0, 1.0, 1.0, 0.0], [0.0, -INF, 0.0, -INF]])
def test_derivatives_through_a_merge_are_those_of_logsumexp(x):
    def merged(x):
        return numerics.max_tail(x[:2]).merge(numerics.max_tail(x[2:])).logsumexp()

    p = definitions.softmax_parts(np.array(x))[2]
    hessian = np.diag(p) - np.outer(p, p)
    for mode in (jax.jacrev, jax.jacfwd):
        np.testing.assert_allclose(mode(merged)(jnp.array(x)), p, rtol=1e-6)
        found = mode(jax.grad(lambda x: numerics.max_tail(x).logsumexp()))(jnp.array(x))
        np.testing.assert_allclose(found, hessian, rtol=1e-6, atol=1e-7)


@pytest.mark.ulps
def test_the_derivative_of_a_confident_merge_keeps_its_digits():
    x = jnp.array([20.0, 0.0, 0.0])
    for mode in (jax.jacrev, jax.jacfwd):
        found = mode(lambda x: jnp.log1p(numerics.max_tail(x).tail))(x)
        exact = definitions.softmax_parts(np.asarray(x))[2] - np.array([1.0, 0, 0])
        exact[0] = -definitions.softmax_parts(np.asarray(x))[3][0]
        assert definitions.ulps(found, exact).max() <= 4


def test_exp_of_difference():
    a = np.array([1000.1, -3.3, 5.0, INF, -INF, INF, 0.0, -INF, 88.0, -60.7], "f4")
    b = np.array([1000.0, 57.2, 5.0, INF, -INF, 0.0, INF, 2.0, -0.5, 0.3], "f4")
    with np.errstate(invalid="ignore", over="ignore"):
        exact = np.where(a == b, 1, np.exp(np.float64(a) - np.float64(b)))
    assert definitions.ulps(numerics.exp_of_difference(a, b), exact).max() <= 0.501
    without = jax.jit(_max_tail._difference_pairs)(jnp.asarray(a), jnp.asarray(b))
    assert definitions.ulps(without, exact).max() <= 3
    with jax.enable_x64(True):
        found = numerics.exp_of_difference(np.float64(a), np.float64(b))
        np.testing.assert_allclose(found, exact, rtol=1e-15)
    for mode in (jax.jacrev, jax.jacfwd):
        near, far = jnp.float32(-3.3), jnp.float32(57.2)
        slopes = mode(numerics.exp_of_difference, argnums=(0, 1))(near, far)
        assert slopes == (numerics.exp_of_difference(near, far), -slopes[0])


def test_entropy(key):
    for x in _rows(key):
        d, tail, p, _ = definitions.softmax_parts(x)
        exact = np.log1p(tail[:, 0]) - np.sum(p * d, -1)
        assert definitions.ulps(numerics.entropy(x), exact)[exact > 1e-30].max() <= 6
    logits = jnp.array([[40.0, 0.0, -3.0], [0.5, 0.2, -INF]])
    d, tail, p, _ = definitions.softmax_parts(logits)
    d = np.where(p == 0, 0, d)
    mean = np.sum(p * d, -1, keepdims=True)
    for mode in (jax.jacrev, jax.jacfwd):
        found = mode(lambda x: numerics.entropy(x).sum())(logits)
        np.testing.assert_allclose(found, -p * (d - mean), rtol=1e-5)
    for nothing in ([-INF, -INF], [2.0, -INF]):
        assert numerics.entropy(jnp.array(nothing)) == 0
        np.testing.assert_array_equal(jax.grad(numerics.entropy)(jnp.array(nothing)), 0)
    assert np.isnan(numerics.entropy(jnp.array([0.0, NAN])))
    two = jax.random.normal(key, (50,))
    rows = jnp.stack([two, jnp.zeros_like(two)], -1)
    np.testing.assert_allclose(numerics.entropy(rows), numerics.binary_entropy(two), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (2, 0)], ids=str)
def test_softmax_family_axes_are_those_of_jax(axis, key):
    x = jax.random.normal(key, (3, 4, 5))
    where = jax.random.bernoulli(key, 0.8, x.shape).at[0].set(True).at[:, :, 0].set(True)
    pairs = [
        (numerics.softmax, jax.nn.softmax),
        (numerics.log_softmax, jax.nn.log_softmax),
        (numerics.logsumexp, jax.scipy.special.logsumexp),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours(x, axis), theirs(x, axis=axis), rtol=1e-5, atol=1e-6)
        expected = theirs(x, axis=axis, where=where)
        found = ours(x, axis, where=where)
        if ours is numerics.log_softmax:
            expected, found = expected[where], found[where]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [3, 2000])
def test_a_nan_spoils_its_row_and_no_other(count):
    x = jnp.zeros((count, 4)).at[1, 2].set(jnp.nan).at[2].set(jnp.nan).at[2, 0].set(jnp.inf)
    for function in (
        numerics.softmax,
        numerics.log_softmax,
        numerics.one_minus_softmax,
        lambda x: numerics.logsumexp(x, -1)[:, None],
    ):
        found = np.isnan(function(x)).all(-1)
        np.testing.assert_array_equal(found, np.isin(np.arange(count), [1, 2]))
        assert not np.isnan(function(x))[~found].any()


def test_rows_in_which_nothing_is():
    nothing = jnp.full((2, 3), -jnp.inf)
    np.testing.assert_array_equal(numerics.softmax(nothing), 0)
    np.testing.assert_array_equal(numerics.logsumexp(nothing, -1), -np.inf)
    for function in (numerics.softmax, numerics.logsumexp):  # jax #6811
        found = jax.grad(lambda x, f=function: jnp.sum(f(x)))(nothing)
        np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e37])
def test_any_finite_logits(scale, key):
    x = scale * jax.random.normal(key, (20, 5))
    p = definitions.softmax_parts(x)[2]
    np.testing.assert_allclose(numerics.softmax(x), p, rtol=1e-6, atol=1e-37)


# ---- coefficients --------------------------------------------------------------------------------


def _interpolant(function, degrees, interval=(0, 1)):
    """Coefficients of the rational function that agrees with `function` at Chebyshev nodes.

    The nodes are those of the interval; the denominator's leading coefficient is 1.
    """
    above, below = degrees
    count = above + below + 1
    middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / mpmath.mpf(2)
    nodes = [
        middle + half * mpmath.cos(mpmath.pi * (2 * k + 1) / (2 * count)) for k in range(count)
    ]
    matrix, right = mpmath.matrix(count, count), mpmath.matrix(count, 1)
    for row, x in enumerate(nodes):
        value = function(x)
        for j in range(above + 1):
            matrix[row, j] = x**j
        for j in range(below):
            matrix[row, above + 1 + j] = -value * x**j
        right[row] = value * x**below
    solution = list(mpmath.lu_solve(matrix, right))
    return solution[: above + 1], [*solution[above + 1 :], 1]


def test_coefficients_of_log1p_are_those_of_the_interpolant():
    with mpmath.workdps(60):
        exact = _interpolant(lambda e: mpmath.log1p(e) / e, (3, 4))
        for found, expected in zip(
            (_scalar._LOG1P_NUMERATOR, _scalar._LOG1P_DENOMINATOR), exact, strict=True
        ):
            np.testing.assert_allclose(found, np.asarray(expected, float), rtol=4e-16)


def test_coefficients_of_exp_are_those_of_the_interpolants():
    with mpmath.workdps(60):
        half = mpmath.log(2) / 2
        for found, function, degree in (
            (_scalar._EXP_COEFFICIENTS, mpmath.exp, 8),
            (_scalar._EXP_REST, lambda r: (mpmath.expm1(r) - r) / r**2, 5),
        ):
            exact = _interpolant(function, (degree, 0), (-half, half))[0]
            np.testing.assert_allclose(found, np.asarray(exact, float), rtol=4e-16)


def _relative_error(function, x, exact):
    with jax.enable_x64(True):
        result = np.asarray(function(jnp.asarray(x, jnp.float64)))
    with mpmath.workdps(40):
        pairs = zip(result, x, strict=True)
        return max(abs(mpmath.mpf(float(r)) / exact(mpmath.mpf(float(a))) - 1) for r, a in pairs)


@pytest.mark.ulps
def test_kernels_keep_their_bounds():
    unit = np.concatenate([np.geomspace(1e-30, 1, 500), np.linspace(0.001, 1, 500)])
    assert _relative_error(log1p_of_unit, unit, mpmath.log1p) <= 1.4e-10
    moderate = np.linspace(-700, 700, 1001)
    assert _relative_error(exp_of_moderate, moderate, mpmath.exp) <= 1.3e-12


@pytest.mark.ulps
def test_exp_of_small_keeps_its_bound(key):
    sizes = np.geomspace(1e-30, 87.3, 20_001)
    x = np.concatenate([-sizes, sizes, np.linspace(87.3, 88.3, 1001), [0.0]]).astype(np.float32)
    error = np.asarray(jax.random.uniform(key, x.shape, minval=-0.5)) * np.spacing(x)
    exact = np.exp(x.astype(np.float64) + error)
    found = jax.jit(_scalar.exp_of_small)(x, error)
    ulps = np.abs(np.asarray(found, np.float64) - exact) / np.spacing(exact.astype(np.float32))
    assert np.max(ulps) <= 0.9
    assert found[-1] == 1
    assert _scalar.exp_of_small(jnp.float32(89), jnp.float32(0)) == jnp.inf


@pytest.mark.ulps
def test_log1p_of_unit_keeps_its_bound_in_float32():
    unit = np.concatenate([np.geomspace(1e-30, 1, 20_001), np.linspace(0, 1, 20_001)[1:]])
    unit = unit.astype(np.float32)
    exact = np.log1p(unit.astype(np.float64))
    found = np.asarray(jax.jit(log1p_of_unit)(unit), np.float64)
    assert np.max(np.abs(found - exact) / np.spacing(exact.astype(np.float32))) <= 2.2


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [128, 1000, 1001, 4093])
def test_slices_hold_each_term_once(size, axis, key):
    x = jax.random.normal(key, (16, size) if axis else (size, 16))
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(True):
            total = _slices.sum_by_slices(x, axis, np.dtype(dtype))
        exact = np.sum(np.asarray(x, np.float64), axis, keepdims=True)
        np.testing.assert_allclose(
            total, exact, rtol=0, atol=3e-5 if dtype == np.float32 else 1e-12
        )


def test_primitives_are_one_equation_each():
    functions = {name: case.function for name, case in FUNCTIONS.items() if name != "log_sigmoid"}
    for name, function in functions.items():
        equations = jax.make_jaxpr(function)(jnp.zeros(3)).eqns
        assert [equation.primitive.name for equation in equations] == [name]


@pytest.mark.usefixtures("unchecked_signatures")
def test_bad_input_is_named_and_shown():
    with pytest.raises(TypeError, match=r"`x` must be floating point, but int32\[3\] came"):
        numerics.softplus(jnp.zeros(3, int))
    with pytest.raises(ValueError, match="`axis` is 1, but `x` has 1 axes"):
        numerics.softmax(jnp.zeros(3), axis=1)


def test_platform_without_float64_is_right_too(key):
    """The form that TPUs get, run here."""
    from jbce._exact import Machine
    from jbce.losses._integer import _both_form

    for scale, offset in ((1.0, 0.0), (20.0, 1000.0)):
        x = offset + scale * jax.random.normal(key, (200, 10))
        labels = jnp.argmax(x, -1, keepdims=True)
        form = functools.partial(_both_form, axis=1, machine=Machine())
        loss, gradient = jax.jit(form)(x, labels)
        one_hot = definitions.one_hot(labels[:, 0], 10)
        exact_loss, exact_gradient, _ = definitions.categorical(x, one_hot)
        counts = exact_loss >= 1e-30
        assert definitions.ulps(loss[:, 0], exact_loss)[counts].max() <= 5
        large = np.abs(exact_gradient) >= 1e-30
        assert definitions.ulps(gradient, exact_gradient)[large].max() <= 8
