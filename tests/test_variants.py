"""Losses that are functions of a cross-entropy, and divergences: definitions, proofs, edges."""

import functools

import definitions
import jax
import jax.numpy as jnp
import mpmath
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


@each_loss
@pytest.mark.jax_defaults
def test_equal_to_optax_where_optax_is_right(loss, definition, labels, peer):
    if peer is None:
        pytest.skip("Optax has none")
    np.testing.assert_allclose(loss(LOGITS, labels), peer(LOGITS, labels), rtol=3e-5, atol=1e-7)


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


def _asymmetric(x, y, negative=4.0, positive=0.0, margin=0.05):
    x, y = np.float64(x), np.float64(y)
    p, n = (1 / (1 + np.exp(-side)) for side in (x, -x))
    s = np.maximum(p - margin, 0)
    yes = -(n**positive) * np.log(p)
    return y * yes - (1 - y) * s**negative * np.log(np.minimum(n + margin, 1))


@pytest.mark.parametrize("labels", [HARD, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("parameters", [(), (2.0, 1.0, 0.2), (0.0, 0.0, 0.0), (4.0, 1.0, 0.0)])
def test_asymmetric_loss(labels, parameters):
    found = jbce.asymmetric_loss(LOGITS, labels, *parameters)
    exact = _asymmetric(LOGITS, labels, *parameters)
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=1e-9)
    if parameters == (0.0, 0.0, 0.0):
        plain = jbce.sigmoid_binary_cross_entropy(LOGITS, labels)
        np.testing.assert_allclose(found, plain, rtol=1e-6)
    infinite = jbce.asymmetric_loss(jnp.array([INF, INF, -INF, -INF]), jnp.array([0, 1, 0, 1]))
    np.testing.assert_allclose(infinite, [-(0.95**4) * np.log(0.05), 0, 0, INF], rtol=1e-6)


def test_balanced_softmax_counts_classes():
    counts = jnp.array([100, 10, 1, 0, 5])
    found = jbce.balanced_softmax_loss_with_integer_labels(LOGITS, INDEX, counts)
    x = np.float64(LOGITS) + np.where(counts == 0, -INF, np.log(np.maximum(counts, 1)))
    exact = definitions.categorical(x, definitions.one_hot(INDEX, 5))[0]
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    with pytest.raises(ValueError, match=r"`class_counts` must be ≥ 0, but -1 came"):
        jbce.balanced_softmax_loss_with_integer_labels(LOGITS, INDEX, -jnp.ones(5))


def test_a_variant_of_class_indices_takes_the_options_of_the_plain_loss():
    weights, adjustment = jnp.array([1.0, 2.0, 0.0, 3.0, 0.5]), jnp.arange(5.0)
    labels = INDEX.at[0].set(-100)
    options = {"temperature": 2.0, "logit_adjustment": adjustment, "ignore": -100}
    plain = jbce.softmax_cross_entropy_with_integer_labels(LOGITS, labels, **options)
    for loss, of_cost in (
        (jbce.softmax_focal_loss_with_integer_labels, lambda c: (-np.expm1(-c)) ** 2 * c),
        (jbce.generalized_cross_entropy_with_integer_labels, lambda c: -np.expm1(-0.7 * c) / 0.7),
        (jbce.symmetric_cross_entropy_with_integer_labels, lambda c: c - 4 * np.expm1(-c)),
    ):
        found = loss(LOGITS, labels, class_weights=weights, **options)
        exact = np.where(labels < 0, 0, weights[labels]) * of_cost(np.float64(plain))
        np.testing.assert_allclose(found, exact, rtol=2e-6, atol=1e-30)


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


def _two(x, t):
    """log q, p and q − p, of logits in float64."""
    (dx, tail_x, q, _), (dt, tail_t, p, _) = (definitions.softmax_parts(a) for a in (x, t))
    return dx - np.log1p(tail_x), dt - np.log1p(tail_t), p, q


# One device takes rows of few classes column by column, and sums of many by slices.
@pytest.mark.parametrize("shape", [(50, 7), (1000, 10), (200, 130)], ids=str)
@pytest.mark.parametrize("distance", [1e-5, 1e-3, 0.1, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 64.0])
def test_divergences_of_logits_keep_their_digits_where_they_are_nearly_equal(
    shape, distance, offset, key
):
    # on a grid, so that the offset rounds nothing
    t = jnp.round(3 * jax.random.normal(key, shape) * 2**17) / 2**17
    x = t + distance * jax.random.normal(jax.random.fold_in(key, 1), shape)
    x = jnp.round(x * 2**17) / 2**17 + offset
    log_q, log_p, p, q = _two(x, t)
    d = log_q - log_p
    near = d**2 / 2 + d**3 / 6 + d**4 / 24
    exact = np.sum(p * np.where(np.abs(d) < 1e-3, near, np.expm1(d) - d), -1)
    assert definitions.ulps(jbce.softmax_kl_divergence(x, t), exact).max() <= 12
    middle = np.where(np.abs(d) < 1e-2, d**2 / 8 - d**4 / 64, np.log(2) - _binary_entropy(d))
    half = np.sum((p + q) * middle / 2, -1)
    assert definitions.ulps(jbce.softmax_jensen_shannon_divergence(x, t), half).max() <= 12
    of_both = jax.grad(lambda x, t: jbce.softmax_kl_divergence(x, t).sum(), argnums=(0, 1))
    for gradient, slope in zip(of_both(x, t), (q - p, -p * (d + exact[:, None])), strict=True):
        largest = np.abs(slope).max(-1, keepdims=True)
        assert np.all(np.abs(gradient - slope) <= 6 * 2.0**-23 * largest)


@pytest.mark.parametrize("distance", [1e-9, 1e-3, 3.0])
def test_the_divergence_in_float64(distance):
    # logits of 100 with differences far below: those of their margins are not differences of both
    random = np.random.default_rng(0)
    t = 100 + random.standard_normal((4, 6))
    x = (t - 90) + distance * random.standard_normal((4, 6))
    exact = []
    with mpmath.workdps(60):
        for row, other in zip(x, t, strict=True):
            e, f = ([mpmath.exp(mpmath.mpf(float(a))) for a in logits] for logits in (row, other))
            q, p = ([a / mpmath.fsum(powers) for a in powers] for powers in (e, f))
            terms = (b * mpmath.log(b / a) for a, b in zip(q, p, strict=True))
            exact.append(float(mpmath.fsum(terms).real))
    with jax.enable_x64(True):
        found = jbce.softmax_kl_divergence(jnp.asarray(x), jnp.asarray(t))
    assert found.dtype == np.float64
    assert definitions.ulps(found, np.array(exact)).max() <= 12


def test_the_curvature_where_both_are_equal_is_that_of_the_softmax():
    x = jnp.array([1.0, 2.0, 0.5])
    p = jax.nn.softmax(x)
    fisher = jnp.diag(p) - jnp.outer(p, p)
    hessian = jax.hessian(jbce.softmax_kl_divergence, argnums=(0, 1))(x, x)
    for i, j in np.ndindex(2, 2):
        np.testing.assert_allclose(hessian[i][j], fisher if i == j else -fisher, atol=1e-6)


# The first two classes are alike in both; what the third lacks is theirs.
@pytest.mark.parametrize("low", [(-3.0, -80.0, -9.0), (-5.0, -60.0, -12.0), (-11.0, -104.0, -21.0)])
def test_a_small_class_moves_all_others(low):
    second, third, other_third = low
    x, t = jnp.array([0.0, second, third]), jnp.array([0.0, second, other_third])
    _, _, p, q = _two(x, t)
    gradient = jax.grad(jbce.softmax_kl_divergence)(x, t)
    # q − p from what the third class loses, of which the others take their shares
    change = p[2] - q[2]
    exact = np.array([change / (1 + np.exp(second)), change / (1 + np.exp(-second)), -change])
    assert np.all(np.abs(gradient - exact) <= 6 * 2.0**-23 * change)


def test_both_may_be_sure_of_one_class():
    # what differs are the small probabilities: log q − log p of the large ones has to keep them
    x, t = jnp.array([[40.0, 0.0, 1.0], [30.0, 2.0, 0.5]]), jnp.array([[35.0, -30.0, 5.0]] * 2)
    log_q, log_p, p, q = _two(x, t)
    assert p[0, 0] > 1 - 1e-12 and q[0, 0] > 1 - 1e-12
    of_both = jax.grad(lambda x, t: jbce.softmax_kl_divergence(x, t).sum(), argnums=(0, 1))
    d = (log_q - log_p)[:, 1:]
    divergence = np.sum(p[:, 1:] * (np.expm1(d) - d), -1, keepdims=True)
    first, second = (q - p)[:, 1:], -(p[:, 1:] * (d + divergence))
    for slope, others in zip(of_both(x, t), (first, second), strict=True):
        exact = np.concatenate([-others.sum(-1, keepdims=True), others], -1)
        assert definitions.ulps(slope, exact).max() <= 12


def _binary_entropy(z):
    size = np.abs(z)
    return np.log1p(np.exp(-size)) + size * np.exp(-size) / (1 + np.exp(-size))


def test_losses_of_two_distributions():
    x, t = LOGITS, jnp.flip(LOGITS, 0)
    log_q, log_p, p, _ = _two(x, t)
    cross = jbce.softmax_cross_entropy_with_target_logits(x, t)
    np.testing.assert_allclose(cross, -np.sum(p * log_q, -1), rtol=3e-6)
    kl = np.sum(p * (log_p - log_q), -1)
    np.testing.assert_allclose(jbce.softmax_kl_divergence(x, t), kl, rtol=1e-5)
    log_q, log_p, p, _ = _two(x / 4, t / 4)
    exact = 16 * np.sum(p * (log_p - log_q), -1)
    np.testing.assert_allclose(jbce.distillation_loss(x, t, 4.0), exact, rtol=1e-5)
    assert bool((jbce.distillation_loss(x, x, 4.0) == 0).all())
    with pytest.raises(ValueError, match=r"`temperature` must be above 0, but 0 came"):
        jbce.distillation_loss(x, t, 0.0)


def test_two_distributions_where_something_is_impossible():
    # Soup #719: reverse divergences finite with NaN gradients
    x = jnp.array([[0.0, -INF, 1.0], [0.0, 1.0, -INF], [0.0, 0.0, -INF], [INF, 0.0, 0.0]])
    t = jnp.array([[0.0, 0.0, 1.0], [0.0, -INF, -INF], [0.0, 1.0, -INF], [INF, 0.0, 0.0]])
    kl = jbce.softmax_kl_divergence(x, t)
    np.testing.assert_allclose(kl[1], np.log1p(np.exp(1)), rtol=1e-6)
    assert kl[0] == INF and np.isfinite(kl[2]) and kl[3] == 0
    assert jbce.softmax_kl_divergence(jnp.array([0.0, -INF]), jnp.array([0.0, -200.0])) == INF
    nowhere = jnp.full(3, -INF)
    cost, slope = jax.value_and_grad(jbce.softmax_kl_divergence)(jnp.arange(3.0), nowhere)
    assert cost == 0 and not slope.any()
    js = jbce.softmax_jensen_shannon_divergence(x, t)
    assert bool((js >= 0).all()) and bool((js <= np.log(2) * (1 + 1e-6)).all())
    for divergence in (jbce.softmax_kl_divergence, jbce.softmax_jensen_shannon_divergence):
        slopes = jax.grad(lambda a, b, f=divergence: f(a, b)[1:].sum(), argnums=(0, 1))(x, t)
        assert all(bool(jnp.isfinite(slope[1:3]).all()) for slope in slopes)
