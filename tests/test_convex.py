"""Logistic regression to its optimum: no gradient is left, and derivatives go through the fit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn.linear_model import LogisticRegression

from jbce import training

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(80, 4)).astype(np.float32)
BINARY = (FEATURES[:, 0] + RANDOM.normal(size=80) > 0).astype(np.int32)
CLASSES = np.digitize(FEATURES[:, 0] + RANDOM.normal(size=80), [-0.7, 0.7]).astype(np.int32)
WEIGHTS = (np.arange(80) % 3).astype(np.float32)
KINDS: dict[str, Any] = {"binary": (BINARY, None), "classes": (CLASSES, 3)}


def fit(kind, features: Any = FEATURES, **choice: Any):
    labels, num_classes = KINDS[kind]
    return training.fit_logistic_regression(
        jnp.asarray(features), jnp.asarray(labels), num_classes=num_classes, **choice
    )


def gradient(kind, fitted, penalty, weights):
    """Of the objective, in float64 numpy."""
    labels, num_classes = KINDS[kind]
    kernel, bias = (np.asarray(a, np.float64) for a in fitted)
    logits = FEATURES.astype(np.float64) @ kernel + bias
    if num_classes is None:
        residuals = scipy.special.expit(logits) - labels
    else:
        residuals = scipy.special.softmax(logits, axis=-1) - np.eye(num_classes)[labels]
    shares = np.asarray(weights, np.float64) / weights.sum()
    residuals = residuals * (shares if num_classes is None else shares[:, None])
    return FEATURES.T.astype(np.float64) @ residuals + penalty * kernel, residuals.sum(axis=0)


@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize("weights", [np.ones(80, np.float32), WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_is_left(kind, penalty, weights):
    """In float64, to rounding; the float32 result is the same, rounded."""
    fitted = fit(kind, penalty=penalty, weights=weights)
    with jax.enable_x64(True):
        precise = fit(kind, FEATURES.astype(np.float64), penalty=penalty, weights=weights)
        precise = jax.tree.map(np.asarray, precise)
    assert fitted.kernel.dtype == jnp.float32 and precise.kernel.dtype == np.float64
    for left in gradient(kind, precise, penalty, weights):
        assert np.abs(left).max() < 1e-12
    for narrow, wide in zip(fitted, precise, strict=True):
        np.testing.assert_allclose(narrow, wide, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_scikit_learn_at_its_optimum(kind):
    peer = LogisticRegression(C=1 / (0.05 * 80), tol=1e-10, max_iter=10_000)
    peer.fit(FEATURES.astype(np.float64), KINDS[kind][0])
    fitted = fit(kind, penalty=0.05)
    wanted = peer.coef_[0] if kind == "binary" else peer.coef_.T
    np.testing.assert_allclose(fitted.kernel, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_count_may_hold_anything(kind):
    spoilt = np.where((WEIGHTS == 0)[:, None], np.nan, FEATURES)
    fitted = fit(kind, penalty=0.1, weights=WEIGHTS)
    for choice in ({"weights": WEIGHTS}, {"weights": WEIGHTS, "where": WEIGHTS > 0}):
        for a, b in zip(fit(kind, spoilt, penalty=0.1, **choice), fitted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert all(np.isnan(a).all() for a in fit(kind, spoilt, penalty=0.1))


@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once_are_those_alone(kind):
    penalties = jnp.array([0.01, 0.1, 1.0])
    together = jax.vmap(lambda penalty: fit(kind, penalty=penalty))(penalties)
    for index, penalty in enumerate((0.01, 0.1, 1.0)):
        for a, b in zip(together, fit(kind, penalty=penalty), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_go_through_the_fit(kind, mode):
    """Beside central differences of the fit, in the penalty and the weights."""

    def kernel(penalty, weight):
        weights = jnp.where(jnp.arange(80) == 3, weight, jnp.ones(80, weight.dtype))
        return fit(kind, features, penalty=penalty, weights=weights).kernel

    with jax.enable_x64(True):
        features = FEATURES.astype(np.float64)
        at = (jnp.array(0.1), jnp.array(1.0))
        found = mode(kernel, (0, 1))(*at)
        step = 1e-4
        for place in range(2):
            moved = [[a + s * step * (i == place) for i, a in enumerate(at)] for s in (1, -1)]
            slope = (kernel(*moved[0]) - kernel(*moved[1])) / (2 * step)
            np.testing.assert_allclose(found[place], slope, rtol=1e-5, atol=1e-9)
    narrow = mode(lambda penalty: fit(kind, penalty=penalty).kernel)(0.1)
    np.testing.assert_allclose(narrow, found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset, scale", [(1e4, 1.0), (0.0, 1e20), (0.0, 1e-20), (-300.0, 1e-2)])
def test_units_do_not_matter(kind, offset, scale):
    """Years, degrees and dollars: the same logits, to the rounding of the features."""
    wanted = fit(kind)(jnp.asarray(FEATURES))
    moved = (FEATURES * np.float32(scale) + np.float32(offset)).astype(np.float32)
    with jax.enable_x64(True):
        exact = moved.astype(np.float64)
        found = fit(kind, exact)
        logits = np.asarray(found(jnp.asarray(exact)))
        assert np.asarray(found.kernel).any()
    lost = np.spacing(np.float32(abs(offset))) / scale if offset else 0.0
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4 + 50 * lost)


def test_nearly_the_same_feature_twice():
    """Beside Newton's method in float64 numpy with a factorised matrix."""
    random = np.random.default_rng(1)
    one = random.normal(size=(60, 1))
    pair = np.concatenate([one, one + 1e-5 * random.normal(size=(60, 1))], axis=1)
    labels = (one[:, 0] + random.normal(size=60) > 0).astype(np.int32)
    rows, at = np.concatenate([pair, np.ones([60, 1])], axis=1), np.zeros(3)
    for _ in range(50):
        probs = scipy.special.expit(rows @ at)
        matrix = (rows * (probs * (1 - probs))[:, None]).T @ rows
        at = at - np.linalg.solve(matrix, rows.T @ (probs - labels))
    with jax.enable_x64(True):
        found = training.fit_logistic_regression(pair, labels)
        np.testing.assert_allclose(found.kernel, at[:2], rtol=1e-4)


def test_separated_classes_and_repeated_features():
    line = jnp.arange(-4.0, 4.0)[:, None]
    fitted = training.fit_logistic_regression(line, jnp.arange(8) >= 4)
    logits = fitted(line)
    assert np.isfinite(logits).all() and (np.sign(logits) == np.repeat([-1, 1], 4)).all()
    twice = np.concatenate([FEATURES, FEATURES], axis=1)
    shared, single = fit("binary", twice), fit("binary")
    np.testing.assert_allclose(shared.kernel[:4] + shared.kernel[4:], single.kernel, rtol=1e-4)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("labels", "choice", "error", "says"),
    [
        (np.ones(80, np.int32), {}, ValueError, "All 80 labels are 1"),
        (BINARY[:5], {}, ValueError, r"int32\[5\]"),
        (CLASSES, {}, ValueError, "binary, so from 0 to 1, but they run from 0 to 2"),
        (CLASSES, {"num_classes": 90}, ValueError, "80 examples cannot teach 90 classes"),
        (CLASSES, {"num_classes": 1}, ValueError, "`num_classes`"),
        (CLASSES * 1.0, {"num_classes": 3}, TypeError, "class indices"),
        (BINARY, {"penalty": -1.0}, ValueError, "`penalty`"),
        (BINARY, {"weights": np.ones(3)}, ValueError, "`weights`"),
        (BINARY, {"weights": -np.ones(80)}, ValueError, "`weights` must be ≥ 0"),
        (BINARY, {"where": BINARY == 1}, ValueError, "labels are 1"),
    ],
)
def test_bad_input_is_named_and_shown(labels, choice, error, says):
    with pytest.raises(error, match=says):
        training.fit_logistic_regression(FEATURES, labels, **choice)
