"""Losses that are functions of a cross-entropy, and divergences: definitions, proofs, edges."""

import functools

import definitions
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jbce
from jbce import verify

INF, NAN = np.inf, np.nan


def _p(x):
    return definitions.softmax_parts(x)[2]


def _label_parts(x, y):
    """Cross-entropy and 1 − p of the label, in float64."""
    index = np.asarray(y)[..., None]
    not_p = definitions.softmax_parts(x)[3]
    loss, _, _ = definitions.categorical(x, definitions.one_hot(y, x.shape[-1]))
    return loss, np.take_along_axis(not_p, index, -1)[..., 0]


def _focal(x, y, alpha=None, gamma=2.0):
    x, y = np.float64(x), np.float64(y)
    loss = definitions.binary(x, y)[0]
    p = np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x)))
    q = np.where(x > 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x)))
    weight = 1 if alpha is None else alpha * y + (1 - alpha) * (1 - y)
    return weight * (y * q + (1 - y) * p) ** gamma * loss


def _softmax_focal(x, y, gamma=2.0):
    loss, doubt = _label_parts(x, y)
    return doubt**gamma * loss


def _generalized(x, y, q=0.7):
    loss, _ = _label_parts(x, y)
    return -np.expm1(-q * loss) / q


def _symmetric(x, y, alpha=1.0, beta=1.0):
    loss, doubt = _label_parts(x, y)
    return alpha * loss + 4 * beta * doubt


def _poly(x, q, epsilon=2.0):
    loss = definitions.categorical(x, q)[0]
    return loss + epsilon * np.sum(np.float64(q) * definitions.softmax_parts(x)[3], -1)


KEY = jax.random.key(0)
LOGITS = 4 * jax.random.normal(KEY, (40, 5))
INDEX = jax.random.randint(KEY, (40,), 0, 5)
HARD = jax.random.bernoulli(KEY, 0.5, (40, 5)).astype(jnp.float32)
SOFT = jax.nn.softmax(jax.random.normal(jax.random.key(1), (40, 5)))

# name: (loss, definition, labels, optax's)
LOSSES = {
    "sigmoid_focal_loss": (jbce.sigmoid_focal_loss, _focal, HARD, optax.sigmoid_focal_loss),
    "sigmoid_focal_loss, soft": (jbce.sigmoid_focal_loss, _focal, SOFT, optax.sigmoid_focal_loss),
    "sigmoid_focal_loss, alpha": (
        functools.partial(jbce.sigmoid_focal_loss, alpha=0.25, gamma=1.5),
        functools.partial(_focal, alpha=0.25, gamma=1.5),
        HARD,
        functools.partial(optax.sigmoid_focal_loss, alpha=0.25, gamma=1.5),
    ),
    "softmax_focal_loss": (
        jbce.softmax_focal_loss_with_integer_labels,
        _softmax_focal,
        INDEX,
        None,
    ),
    "generalized_cross_entropy": (
        jbce.generalized_cross_entropy_with_integer_labels,
        _generalized,
        INDEX,
        None,
    ),
    "symmetric_cross_entropy": (
        jbce.symmetric_cross_entropy_with_integer_labels,
        _symmetric,
        INDEX,
        None,
    ),
    "poly_loss_cross_entropy": (
        jbce.poly_loss_cross_entropy,
        _poly,
        SOFT,
        optax.losses.poly_loss_cross_entropy,
    ),
    "safe_softmax_cross_entropy": (
        jbce.safe_softmax_cross_entropy,
        lambda x, q: definitions.categorical(x, q)[0],
        SOFT,
        optax.safe_softmax_cross_entropy,
    ),
}
each_loss = pytest.mark.parametrize(
    ("loss", "definition", "labels", "peer"), LOSSES.values(), ids=LOSSES
)


@each_loss
def test_value_is_the_definition(loss, definition, labels, peer):
    found, exact = loss(LOGITS, labels), definition(LOGITS, labels)
    # a power magnifies the error of its base by the exponent times its logarithm
    bound = 6 + 8 * np.abs(np.log(exact))
    assert np.all(definitions.ulps(found, exact) <= bound)
    jitted = jax.jit(loss)(LOGITS, labels)
    np.testing.assert_allclose(jitted, found, rtol=1e-5)
    mapped = jax.vmap(lambda x, y: loss(x[None], y[None])[0])(LOGITS, labels)
    np.testing.assert_allclose(mapped, found, rtol=1e-5)


@each_loss
@pytest.mark.jax_defaults
def test_gradient_is_proved(loss, definition, labels, peer):
    for order in (1, 2):
        report = verify.check_gradients(
            lambda x: jbce.mean(loss(x, labels[:4])), LOGITS[:4], order=order
        )
        assert report.verdict == "right", str(report)


@each_loss
@pytest.mark.jax_defaults
def test_equal_to_optax_where_optax_is_right(loss, definition, labels, peer):
    if peer is None:
        pytest.skip("Optax has none")
    np.testing.assert_allclose(loss(LOGITS, labels), peer(LOGITS, labels), rtol=3e-5, atol=1e-7)


@each_loss
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, "float64"])
def test_dtypes(loss, definition, labels, peer, dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(LOGITS, dtype)
        y = jnp.asarray(labels, x.dtype) if jnp.issubdtype(labels.dtype, jnp.floating) else labels
        found = loss(x, y)
        assert found.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
        exact = definition(
            np.asarray(x, np.float64), np.asarray(y, np.float64 if y is not labels else None)
        )
        np.testing.assert_allclose(found, exact, rtol=1e-13 if dtype == "float64" else 2e-5)
        slope = jax.grad(lambda x: loss(x, y).sum())(x)
        assert slope.dtype == x.dtype and bool(jnp.isfinite(slope).all())


@each_loss
def test_confident_examples_keep_their_digits(loss, definition, labels, peer):
    if labels.ndim == 1:
        x, y = jnp.array([[20.0, 0.0, -1.0]]), jnp.array([0])
    elif definition is not _focal and not isinstance(definition, functools.partial):
        x, y = jnp.array([[30.0, 0.0, -1.0]]), jnp.array([[1.0, 0.0, 0.0]])
    else:
        x, y = jnp.array([[10.0, -10.0]]), jnp.array([[1.0, 0.0]])
    exact = definition(x, y)
    np.testing.assert_allclose(loss(x, y), exact, rtol=2e-5)
    assert np.all(exact > 0)


@each_loss
def test_what_where_leaves_out_leaves_no_trace(loss, definition, labels, peer):
    batch = loss(LOGITS, labels).shape
    where = jax.random.bernoulli(jax.random.key(3), 0.5, batch)
    wide = where if where.ndim == 2 else where[:, None]
    spoiled = jnp.where(wide, LOGITS, NAN)
    found = loss(spoiled, labels, where=where)
    np.testing.assert_array_equal(found, jnp.where(where, loss(LOGITS, labels), 0))
    slope = jax.grad(lambda x: loss(x, labels, where=where).sum())(spoiled)
    kept = jax.grad(lambda x: jnp.where(where, loss(x, labels), 0).sum())(LOGITS)
    np.testing.assert_allclose(slope, kept, rtol=1e-6, atol=1e-12)


@each_loss
def test_a_nan_costs_nan_and_has_a_gradient_of_0(loss, definition, labels, peer):
    x = LOGITS.at[0, 0].set(NAN)
    assert np.isnan(np.ravel(loss(x, labels))[0])
    slope = jax.grad(lambda x: jnp.nansum(loss(x, labels)))(x)
    assert slope[0, 0] == 0 and bool(jnp.isfinite(slope).all())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("label", [0, 1])
def test_focal_loss_at_infinity(gamma, label):
    x = jnp.array([INF, -INF])
    losses = jbce.sigmoid_focal_loss(x, jnp.full(2, label), gamma=gamma)
    np.testing.assert_array_equal(losses, [0, INF] if label else [INF, 0])


def test_impossible_labels_and_unknown_ones():
    x = jnp.array([[0.0, -INF, 1.0]] * 3)
    labels = jnp.array([1, 0, 7])
    for loss, at_impossible in (
        (jbce.softmax_focal_loss_with_integer_labels, INF),
        (jbce.symmetric_cross_entropy_with_integer_labels, INF),
        (jbce.generalized_cross_entropy_with_integer_labels, 1 / 0.7),
    ):
        losses = loss(x, labels)
        np.testing.assert_allclose(losses[0], at_impossible, rtol=1e-6)
        assert np.isfinite(losses[1]) and np.isnan(losses[2])


@pytest.mark.parametrize(
    ("loss", "parameter", "value"),
    [
        (jbce.sigmoid_focal_loss, "gamma", 2.0),
        (jbce.sigmoid_focal_loss, "alpha", 0.25),
        (jbce.softmax_focal_loss_with_integer_labels, "gamma", 2.0),
        (jbce.generalized_cross_entropy_with_integer_labels, "q", 0.7),
        (jbce.symmetric_cross_entropy_with_integer_labels, "beta", 0.5),
        (jbce.poly_loss_cross_entropy, "epsilon", 2.0),
    ],
)
@pytest.mark.jax_defaults
def test_parameters_are_traced(loss, parameter, value):
    labels = INDEX if "integer" in loss.__name__ else HARD if "sigmoid" in loss.__name__ else SOFT

    def cost(number):
        return jbce.mean(loss(LOGITS, labels, **{parameter: number}))

    swept = jax.vmap(cost)(jnp.array([value, value / 2]))
    assert swept.shape == (2,) and swept[0] == pytest.approx(float(cost(value)), rel=1e-5)
    report = verify.check_gradients(cost, jnp.float32(value))
    assert report.verdict == "right", str(report)


def test_generalized_cross_entropy_goes_over_into_its_ends():
    plain = jbce.softmax_cross_entropy_with_integer_labels(LOGITS, INDEX)
    zero = jbce.generalized_cross_entropy_with_integer_labels(LOGITS, INDEX, 0.0)
    np.testing.assert_allclose(zero, plain, rtol=1e-6)
    one = jbce.generalized_cross_entropy_with_integer_labels(LOGITS, INDEX, 1.0)
    np.testing.assert_allclose(one, _label_parts(LOGITS, INDEX)[1], rtol=1e-6)


def test_smooth_labels():
    labels = jnp.eye(4)[:2]
    np.testing.assert_allclose(jbce.smooth_labels(labels, 0.1), optax.smooth_labels(labels, 0.1))
    with pytest.raises(ValueError, match=r"`alpha` must be from 0 to 1, but 1\.5 came"):
        jbce.smooth_labels(labels, 1.5)


# ---- divergences ---------------------------------------------------------------------------------

P = jax.nn.log_softmax(LOGITS)
DIVERGENCES = {
    "kl_divergence": (
        jbce.kl_divergence,
        SOFT,
        lambda p, q: np.sum(q * (np.log(q) - p), -1),
        optax.losses.kl_divergence,
    ),
    "kl_divergence_with_log_targets": (
        jbce.kl_divergence_with_log_targets,
        jnp.log(SOFT),
        lambda p, q: np.sum(np.exp(q) * (q - p), -1),
        optax.losses.kl_divergence_with_log_targets,
    ),
    "generalized_kl_divergence": (
        jbce.generalized_kl_divergence,
        2 * SOFT,
        lambda p, q: np.sum(q * (np.log(q) - p) + np.exp(p) - q, -1),
        optax.losses.generalized_kl_divergence,
    ),
    "jensen_shannon_divergence": (
        jbce.jensen_shannon_divergence,
        jnp.log(SOFT),
        lambda p, q: (
            0.5
            * sum(np.sum(np.exp(a) * (a - np.log((np.exp(p) + np.exp(q)) / 2)), -1) for a in (p, q))
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.jax_defaults
def test_divergences(name):
    function, targets, definition, peer = DIVERGENCES[name]
    exact = definition(np.float64(P), np.float64(targets))
    np.testing.assert_allclose(function(P, targets), exact, rtol=2e-5, atol=1e-6)
    if peer is not None:
        np.testing.assert_allclose(function(P, targets), peer(P, targets), rtol=2e-5, atol=1e-5)
    where = jax.random.bernoulli(KEY, 0.7, P.shape)
    found = function(jnp.where(where, P, NAN), targets, where=where)
    terms = function(P[..., None], targets[..., None])
    np.testing.assert_allclose(found, jnp.sum(terms, -1, where=where), rtol=1e-4, atol=1e-5)
    for argnums in (0, 1):
        report = verify.check_gradients(
            lambda p, q: jnp.sum(function(p, q)), P[:3], targets[:3], argnums=argnums
        )
        assert report.verdict == "right", str(report)


def test_divergences_where_something_is_impossible():
    never = jnp.array([0.0, -INF])
    certain = jnp.array([1.0, 0.0])
    assert jbce.kl_divergence(never, certain) == 0  # optax: NaN
    assert jbce.kl_divergence(never, certain[::-1]) == INF
    assert jbce.kl_divergence_with_log_targets(never, never) == 0
    assert jbce.jensen_shannon_divergence(never, never) == 0
    slope = jax.grad(jbce.jensen_shannon_divergence)(jnp.log(jnp.array([0.5, 0.5])), never)
    assert bool(jnp.isfinite(slope).all())
