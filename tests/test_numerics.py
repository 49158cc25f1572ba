"""The exact functions under the losses, and the coefficients that they are made of."""

import functools

import definitions
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jbce import numerics
from jbce._exact import _scalar, exp_of_moderate, log1p_of_unit

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


# name, function, definition and derivative in float64
LOGISTIC = [
    ("softplus", numerics.softplus, _softplus, _sigmoid),
    ("log_sigmoid", numerics.log_sigmoid, lambda x: -_softplus(-x), lambda x: _sigmoid(-x)),
    ("sigmoid", numerics.sigmoid, _sigmoid, _density),
    (
        "logistic_density",
        numerics.logistic_density,
        _density,
        lambda x: -_density(x) * np.tanh(x / 2),
    ),
]
each_logistic = pytest.mark.parametrize(
    ("function", "definition", "derivative"),
    [row[1:] for row in LOGISTIC],
    ids=[r[0] for r in LOGISTIC],
)


@each_logistic
def test_logistic_family_in_float32(function, definition, derivative):
    x = jnp.asarray(GRID)
    assert definitions.ulps(function(x), definition(np.float64(GRID))).max() <= 0.51
    exact = derivative(np.float64(GRID))
    reverse = jax.grad(lambda x: function(x).sum())(x)
    _, forward = jax.jvp(function, (x,), (jnp.ones_like(x),))
    bound = 1.6 if function is numerics.logistic_density else 0.51  # there it is a product
    assert definitions.ulps(reverse, exact).max() <= bound
    assert definitions.ulps(forward, exact).max() <= bound


@each_logistic
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_logistic_family_at_every_16_bit_number(function, definition, derivative, dtype):
    x = jax.lax.bitcast_convert_type(jnp.arange(2**16, dtype=jnp.uint16), dtype)
    with np.errstate(invalid="ignore"):
        exact = np.float64(x.astype(jnp.float32))
        finite = np.isfinite(exact)
        value, slope = definition(exact), derivative(exact)
    assert function(x).dtype == dtype
    assert definitions.ulps(function(x), value).max() <= 0.501
    found = jax.grad(lambda x: function(x).sum())(x)
    bound = 2 if function is numerics.logistic_density else 0.501
    assert definitions.ulps(found, slope)[finite].max() <= bound


@each_logistic
def test_logistic_family_in_float64(function, definition, derivative):
    with jax.enable_x64(True):
        x = jnp.linspace(-700.0, 700.0, 999)
        np.testing.assert_allclose(function(x), definition(np.asarray(x)), rtol=5e-16)
        found = jax.vmap(jax.grad(function))(x)
        np.testing.assert_allclose(found, derivative(np.asarray(x)), rtol=1e-15)


@each_logistic
def test_logistic_family_at_infinity_and_nan(function, definition, derivative):
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(function(jnp.asarray(EDGES)), definition(EDGES).astype("f4"))
    assert np.isnan(function(jnp.float32(np.nan)))


# ---- rows ----------------------------------------------------------------------------------------


def _rows(key):
    """Rows of 2 to 1000 classes of every spread, with and without a common offset."""
    for index, (classes, scale, offset) in enumerate(
        [(2, 1.0, 0.0), (10, 5.0, 1000.0), (10, 20.0, -1000.0), (1000, 0.1, 0.0), (1000, 20.0, 3.0)]
    ):
        for_row = jax.random.fold_in(key, index)
        yield offset + scale * jax.random.normal(for_row, (50, classes))


def test_softmax_family(key):
    for x in _rows(key):
        d, tail, p, not_p = definitions.softmax_parts(x)
        normal = p > 1e-30
        assert definitions.ulps(numerics.softmax(x), p)[normal].max() <= 6
        assert definitions.ulps(numerics.one_minus_softmax(x), not_p).max() <= 3.5
        assert definitions.ulps(numerics.log_softmax(x), d - np.log1p(tail)).max() <= 3.5
        lse = np.max(np.float64(x), -1) + np.log1p(tail[..., 0])
        scale = np.maximum(np.abs(x).max(-1), np.abs(lse)).astype(np.float32)
        assert np.all(np.abs(numerics.logsumexp(x) - lse) <= 2 * np.spacing(scale))


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
        lambda x: numerics.logsumexp(x)[:, None],
    ):
        found = np.isnan(function(x)).all(-1)
        np.testing.assert_array_equal(found, np.isin(np.arange(count), [1, 2]))
        assert not np.isnan(function(x))[~found].any()


def test_rows_in_which_nothing_is():
    nothing = jnp.full((2, 3), -jnp.inf)
    np.testing.assert_array_equal(numerics.softmax(nothing), 0)
    np.testing.assert_array_equal(numerics.logsumexp(nothing), -np.inf)
    for function in (numerics.softmax, numerics.logsumexp):  # jax #6811
        found = jax.grad(lambda x, f=function: jnp.sum(f(x)))(nothing)
        np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e37])
def test_any_finite_logits(scale, key):
    x = scale * jax.random.normal(key, (20, 5))
    p = definitions.softmax_parts(x)[2]
    np.testing.assert_allclose(numerics.softmax(x), p, rtol=1e-6, atol=1e-37)


# ---- coefficients --------------------------------------------------------------------------------


def _interpolant(function, degrees):
    """Coefficients of the rational function that agrees with `function` at Chebyshev nodes.

    The nodes are those of [0, 1]; the denominator's leading coefficient is 1.
    """
    above, below = degrees
    count = above + below + 1
    nodes = [(1 + mpmath.cos(mpmath.pi * (2 * k + 1) / (2 * count))) / 2 for k in range(count)]
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


def _relative_error(function, x, exact):
    with jax.enable_x64(True):
        result = np.asarray(function(jnp.asarray(x, jnp.float64)))
    with mpmath.workdps(40):
        pairs = zip(result, x, strict=True)
        return max(abs(mpmath.mpf(float(r)) / exact(mpmath.mpf(float(a))) - 1) for r, a in pairs)


def test_kernels_keep_their_bounds():
    unit = np.concatenate([np.geomspace(1e-30, 1, 500), np.linspace(0.001, 1, 500)])
    assert _relative_error(log1p_of_unit, unit, mpmath.log1p) <= 1.4e-10
    moderate = np.linspace(-700, 700, 1001)
    assert _relative_error(exp_of_moderate, moderate, mpmath.exp) <= 1e-11


def test_primitives_are_one_equation_each():
    for name, function in [(row[0], row[1]) for row in LOGISTIC if row[0] != "log_sigmoid"]:
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
    from jbce.losses._integer import _both_form

    for scale, offset in ((1.0, 0.0), (20.0, 1000.0)):
        x = offset + scale * jax.random.normal(key, (200, 10))
        labels = jnp.argmax(x, -1, keepdims=True)
        form = functools.partial(_both_form, axis=1, double=False)
        loss, gradient = jax.jit(form)(x, labels)
        one_hot = definitions.one_hot(labels[:, 0], 10)
        exact_loss, exact_gradient, _ = definitions.categorical(x, one_hot)
        counts = exact_loss >= 1e-30
        assert definitions.ulps(loss[:, 0], exact_loss)[counts].max() <= 5
        large = np.abs(exact_gradient) >= 1e-30
        assert definitions.ulps(gradient, exact_gradient)[large].max() <= 8
