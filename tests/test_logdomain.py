"""Logarithms of losses: the losses' own where those have digits, and exact far beyond."""

import functools

import definitions
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import jbce
from jbce import logdomain

INF, NAN = np.inf, np.nan
KEY = jax.random.key(0)
LOGITS = 4 * jax.random.normal(KEY, (40, 5))
INDEX = jax.random.randint(KEY, (40,), 0, 5)
DENSE = jax.nn.softmax(2 * jax.random.normal(jax.random.key(1), (40, 5)))
HARD = jax.random.bernoulli(KEY, 0.5, (40, 5))
WEIGHTS = jnp.array([0.5, 2.0, 0.0, 1.0, 3.0])

# name: labels and options
LOSSES = {
    "sigmoid_binary_cross_entropy": [(HARD, {}), (DENSE, {"pos_weight": 3.0})],
    "sigmoid_focal_loss": [(HARD, {}), (DENSE, {"alpha": 0.25, "gamma": 0.0})],
    "softmax_cross_entropy": [
        (DENSE, {}),
        (DENSE, {"class_weights": WEIGHTS, "label_smoothing": 0.2}),
    ],
    "softmax_cross_entropy_with_integer_labels": [
        (INDEX, {}),
        (INDEX, {"class_weights": WEIGHTS, "label_smoothing": 0.2}),
        (INDEX, {"ignore": 3, "temperature": 0.5, "soft_cap": 30.0, "logit_adjustment": WEIGHTS}),
    ],
    "softmax_focal_loss_with_integer_labels": [(INDEX, {}), (INDEX, {"gamma": 0.0})],
    "generalized_cross_entropy_with_integer_labels": [(INDEX, {}), (INDEX, {"q": 0.0})],
    "symmetric_cross_entropy_with_integer_labels": [(INDEX, {}), (INDEX, {"alpha": 0.0})],
}
each_loss = pytest.mark.parametrize(
    ("name", "labels", "options"),
    [(name, *given) for name, cases in LOSSES.items() for given in cases],
)


@each_loss
def test_it_is_the_logarithm_of_the_loss(name, labels, options):
    log_loss = functools.partial(getattr(logdomain, name), **options)
    loss = functools.partial(getattr(jbce, name), **options)
    found, plain = log_loss(LOGITS, labels), np.asarray(loss(LOGITS, labels), np.float64)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found, np.log(plain), rtol=3e-6, atol=2e-6)
    gradient = jax.grad(lambda x: jnp.sum(jnp.where(found > -INF, log_loss(x, labels), 0)))(LOGITS)
    wanted = np.float64(jax.grad(lambda x: loss(x, labels).sum())(LOGITS))
    size = plain if plain.ndim == 2 else plain[:, None]
    wanted = wanted / np.where(size == 0, np.inf, size)
    np.testing.assert_allclose(gradient, wanted, rtol=2e-5, atol=2e-6)


def test_there_is_a_logarithm_for_every_loss_of_class_indices_and_every_plain_one():
    names = {name for name in logdomain.__all__ if name != "jaxtyping"}  # the tests' import hook
    assert set(LOSSES) | {"mean", "total"} == names
    assert all(hasattr(jbce, name) for name in names)


@pytest.mark.parametrize("margin", [10.0, 80.0, 100.0, 1e4, 7e4, 1e30])
def test_losses_down_to_1e_30000_and_beyond(margin):
    x = jnp.array([[margin, 0.0, 0.0]])
    z = margin - np.log(2)
    with mpmath.workdps(50):
        exact = mpmath.log(mpmath.log1p(2 * mpmath.exp(-mpmath.mpf(margin))))
        exact = float(exact) if margin < 1e29 else -z
    for found in (
        logdomain.softmax_cross_entropy_with_integer_labels(x, jnp.array([0])),
        logdomain.softmax_cross_entropy(x, jnp.array([[1.0, 0.0, 0.0]])),
    ):
        assert definitions.ulps(found, exact).max() <= 2
    binary = logdomain.sigmoid_binary_cross_entropy(jnp.float32(margin), jnp.int32(1))
    with mpmath.workdps(50):
        small = mpmath.exp(-mpmath.mpf(min(margin, 1e5)))
        exact_binary = float(mpmath.log(mpmath.log1p(small))) if margin < 1e5 else -margin
    assert definitions.ulps(binary, exact_binary) <= 0.51
    slope = jax.grad(
        lambda x: logdomain.softmax_cross_entropy_with_integer_labels(x, jnp.array([0])).sum()
    )(x)
    np.testing.assert_allclose(slope, [[-1, 0.5, 0.5]], rtol=1e-4)
    focal = logdomain.softmax_focal_loss_with_integer_labels(x, jnp.array([0]))
    np.testing.assert_allclose(focal, 3 * exact, rtol=1e-4)


def test_soft_labels_of_a_confident_model():
    # nearly all mass on the likeliest class: the rest decides
    x, q = jnp.array([1000.0, 0.0]), jnp.array([1.0, 1e-20])
    np.testing.assert_allclose(
        logdomain.softmax_cross_entropy(x, q), np.log(1e-20 * 1000), rtol=1e-6
    )


def test_edges():
    x = jnp.array([INF, -INF, INF, -INF, NAN])
    labels = jnp.array([1, 0, 0, 1, 1])
    for loss in (logdomain.sigmoid_binary_cross_entropy, logdomain.sigmoid_focal_loss):
        np.testing.assert_array_equal(loss(x, labels), [-INF, -INF, INF, INF, NAN])
    rows = jnp.array([[0.0, -INF], [0.0, -INF], [-INF, -INF], [0.0, 1.0], [INF, 0.0]])
    labels = jnp.array([0, 1, 0, 7, 0])
    for name in LOSSES:
        if "integer" in name and "generalized" not in name:
            found = getattr(logdomain, name)(rows, labels)
            np.testing.assert_array_equal(found, [-INF, INF, -INF, NAN, -INF])
    slope = jax.grad(lambda x: logdomain.softmax_cross_entropy_with_integer_labels(x, labels)[3])(
        rows
    )
    assert bool(jnp.isnan(slope[3]).all())


def test_the_mean_is_log_mean_exp():
    losses = jnp.array([-1e4, -1e4 - 1, -INF, NAN, -9e3])
    weights = jnp.array([1.0, 3.0, 2.0, 0.0, 0.0])
    exact = -1e4 + np.log((1 + 3 * np.exp(-1)) / 6)
    assert definitions.ulps(logdomain.mean(losses, weights=weights), exact) <= 1
    where = jnp.array([True, True, True, False, False])
    exact = -1e4 + np.log((1 + np.exp(-1)) / 3)
    assert definitions.ulps(logdomain.mean(losses, where=where), exact) <= 1
    assert definitions.ulps(logdomain.total(losses, where=where), exact + np.log(3)) <= 1
    shares = jax.grad(lambda x: logdomain.mean(x, weights=weights))(losses)
    second = 3 * np.exp(-1)
    wanted = np.array([1, second, 0, 0, 0]) / (1 + second)
    np.testing.assert_allclose(shares, wanted, rtol=1e-6)
    for nothing in (losses[:0], jnp.full(3, -INF)):
        assert logdomain.mean(nothing) == -INF
        assert bool((jax.grad(logdomain.mean)(nothing) == 0).all())
    assert logdomain.mean(losses, where=jnp.zeros(5, bool)) == -INF
    assert np.isnan(logdomain.mean(losses[:2], weights=jnp.array([1.0, -1.0])))


@pytest.mark.usefixtures("unchecked_signatures")
def test_bad_weights_are_named():
    with pytest.raises(ValueError, match=r"`weights` must be one number or have the shape of `log"):
        logdomain.mean(jnp.zeros(5), weights=jnp.ones(2))


def test_gradient_descent_goes_on_where_the_loss_has_no_gradient_left():
    """One point, w·x with margin 200: e^−200 has no float32, but its logarithm has a slope."""
    x, label = jnp.array([[200.0, 0.0]]), jnp.array([0])
    plain = jax.grad(lambda x: jbce.mean(jbce.softmax_cross_entropy_with_integer_labels(x, label)))
    log = jax.grad(
        lambda x: logdomain.mean(logdomain.softmax_cross_entropy_with_integer_labels(x, label))
    )
    np.testing.assert_array_equal(plain(x), 0)
    np.testing.assert_array_equal(log(x), [[-1, 1]])
