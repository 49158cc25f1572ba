"""Each fit is the optimum, by the gradient of its objective or a peer, and obeys shared laws."""

import functools
import json
import os
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import sklearn.isotonic
import sklearn.linear_model

from jbce import calibration, metrics, numerics
from jbce.calibration import (
    _temperature,
    fit_beta,
    fit_dirichlet,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    fit_vector,
)

PENALTIES = {"off_diagonal_penalty": 0.3, "bias_penalty": 0.2}
# name: (fit, its options, kind of labels)
FITS = {
    "temperature": (fit_temperature, {}, "binary"),
    "temperature of classes": (fit_temperature, {}, "multi-class"),
    "platt": (fit_platt, {}, "binary"),
    "platt, smooth labels": (fit_platt, {"smooth_labels": True}, "binary"),
    "beta": (fit_beta, {}, "binary"),
    "vector": (fit_vector, {}, "multi-class"),
    "vector, penalty": (fit_vector, {"penalty": 0.1}, "multi-class"),
    "dirichlet": (fit_dirichlet, {}, "multi-class"),
    "dirichlet, penalties": (fit_dirichlet, PENALTIES, "multi-class"),
    "isotonic": (fit_isotonic, {}, "binary"),
    "isotonic, prior": (fit_isotonic, {"prior_weight": 0.7}, "binary"),
    "isotonic of classes": (fit_isotonic, {}, "multi-class"),
}
SMOOTH = [name for name in FITS if "isotonic" not in name]
ONE_EACH = ["temperature", "platt", "beta", "vector, penalty", "dirichlet, penalties", "isotonic"]
NUM_CLASSES, NUM_EXAMPLES = 4, 210

every_fit = pytest.mark.parametrize("name", FITS)
one_each = pytest.mark.parametrize("name", ONE_EACH)


def sample(kind, seed=0, dtype="float32"):
    """Overconfident logits with ties, labels, and weights that include 0."""
    rng = np.random.default_rng(seed)
    shape = (NUM_EXAMPLES,) if kind == "binary" else (NUM_EXAMPLES, NUM_CLASSES)
    logits = rng.normal(0, 3, shape).round(1)
    noisy = (
        logits / 2 + rng.gumbel(0, 1, shape) - (rng.gumbel(0, 1, shape) if kind == "binary" else 0)
    )
    labels = (noisy > 0.5).astype(np.int32) if kind == "binary" else noisy.argmax(axis=-1)
    weights = rng.integers(0, 4, NUM_EXAMPLES) / 2
    return (
        jnp.asarray(logits, dtype),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(weights, "float32"),
    )


def fitted(name, logits, labels, weights, where: Any = True):
    """By one signature, so that tests share compilations."""
    fit, options, _ = FITS[name]
    where = jnp.broadcast_to(where, labels.shape)
    return fit(logits, labels, weights=weights, where=where, **options)


def assert_close(actual, expected, **tolerance):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


# The optimum


def residuals(found, logits, labels, weights):
    """w·(p − y)/Σw of the calibrated probabilities, in float64."""
    calibrated, weights = np.asarray(found(logits)), np.asarray(weights, np.float64)
    labels = np.asarray(labels)
    if calibrated.ndim == 1:
        return weights * (scipy.special.expit(calibrated) - labels) / weights.sum()
    probs = scipy.special.softmax(calibrated, axis=-1)
    return (weights / weights.sum())[:, None] * (probs - np.eye(NUM_CLASSES)[labels])


def gradient(name, found, logits, labels, weights):
    """Of the objective in its parameters, by its formula."""
    x, options = np.asarray(logits), FITS[name][1]
    if "smooth_labels" in options:
        positive, negative = (np.asarray(weights, float)[labels == y].sum() for y in (1, 0))
        labels = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))
    r = residuals(found, logits, labels, weights)
    if "temperature" in name:
        return [np.sum(r * x)]
    if "platt" in name:
        return [np.sum(r * x), np.sum(r)]
    if name == "beta":
        low, high = (sign * np.logaddexp(0, sign * x) for sign in (-1, 1))
        return [np.sum(r * low), np.sum(r * high), np.sum(r)]
    if "vector" in name:
        pull = 2 * options.get("penalty", 0.0) / NUM_CLASSES
        return [np.sum(r * x, 0) + pull * (found.scale - 1), np.sum(r, 0) + pull * found.bias]
    off_diagonal = found.weight * (1 - np.eye(NUM_CLASSES))
    pull, bias_pull = (2 * options.get(key, 0.0) / NUM_CLASSES for key in PENALTIES)
    features = scipy.special.log_softmax(x, axis=-1)
    by_weight = r.T @ features + pull / (NUM_CLASSES - 1) * off_diagonal
    return [by_weight, r.sum(0) + bias_pull * found.bias, off_diagonal.mean(0), found.bias.mean()]


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_at_the_optimum_is_rounding(name):
    """Of a convex objective: no other proof is needed."""
    with jax.enable_x64(True):
        arrays = sample(FITS[name][2], dtype="float64")
        found = fitted(name, *arrays[:2], arrays[2])
        for part in gradient(name, found, *arrays):
            np.testing.assert_allclose(part, 0, atol=3e-15)


def test_temperature_is_scipys():
    logits, labels, weights = sample("multi-class")
    x, rows = np.asarray(logits, np.float64), np.arange(NUM_EXAMPLES)

    def loss(temperature):
        return -(np.asarray(weights) @ scipy.special.log_softmax(x / temperature, -1)[rows, labels])

    best: Any = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 10), options={"xatol": 1e-10})
    found = fitted("temperature of classes", logits, labels, weights)
    np.testing.assert_allclose(found.temperature, best.x, rtol=1e-6)


def test_platt_is_sklearns_logistic_regression():
    logits, labels, weights = sample("binary")
    peer = sklearn.linear_model.LogisticRegression(C=np.inf, tol=1e-10)
    peer.fit(np.asarray(logits)[:, None], labels, weights)
    found = fitted("platt", logits, labels, weights)
    expected = np.append(peer.coef_, peer.intercept_)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_isotonic_is_sklearns_also_between_the_examples(seed):
    logits, labels, weights = sample("binary", seed)
    kept = np.asarray(weights) > 0
    peer = sklearn.isotonic.IsotonicRegression(out_of_bounds="clip")
    peer.fit(np.asarray(logits)[kept], np.asarray(labels)[kept], np.asarray(weights)[kept])
    points = jnp.linspace(-12, 12, NUM_EXAMPLES)
    found = fitted("isotonic", logits, labels, weights)
    np.testing.assert_allclose(
        scipy.special.expit(found(points)), peer.predict(points), rtol=1e-5, atol=1e-7
    )
    assert jnp.all(found.log_odds[1:] >= found.log_odds[:-1])


def test_isotonic_of_long_runs_and_late_drops():
    """Blocks that merge one after the other, backwards through all that rise before them."""
    labels = np.concatenate([np.arange(100) % 10 < np.arange(100) // 10, np.zeros(60, bool)])
    labels = jnp.asarray(np.pad(labels, (0, NUM_EXAMPLES - 160)), jnp.int32)
    logits = jnp.arange(NUM_EXAMPLES, dtype=jnp.float32)
    peer = sklearn.isotonic.IsotonicRegression().fit_transform(logits, labels)
    found = fitted("isotonic", logits, labels, jnp.ones(NUM_EXAMPLES))
    np.testing.assert_allclose(scipy.special.expit(found(logits)), peer, rtol=1e-6)


def test_isotonic_of_classes_is_one_against_the_rest():
    logits, labels, weights = sample("multi-class")
    probs = scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)
    expected = np.stack(
        [
            sklearn.isotonic.IsotonicRegression()
            .fit(probs[:, k].round(12), np.asarray(labels == k, float), np.asarray(weights) + 0.5)
            .predict(probs[:, k].round(12))
            for k in range(NUM_CLASSES)
        ],
        axis=-1,
    )
    found = fitted("isotonic of classes", logits, labels, weights + 0.5)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(jax.nn.softmax(found(logits)), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("name", ["temperature", "temperature of classes"])
def test_a_known_temperature_is_recovered(name, scale):
    """Labels that are as frequent as a model at temperature 2.5 says (netcal#61: returns 1)."""
    logits, _, _ = sample(FITS[name][2])
    logits = (logits * 0.7).at[0].set(0.0)
    x = np.asarray(logits, np.float64) / 2.5
    count = 2 if x.ndim == 1 else NUM_CLASSES
    probs = scipy.special.softmax(np.stack([0 * x, x], -1) if x.ndim == 1 else x, axis=-1)
    weights = jnp.asarray(probs.T.ravel(), jnp.float32)
    repeated = jnp.concatenate([logits * jnp.float32(scale)] * count)
    labels = jnp.repeat(jnp.arange(count), NUM_EXAMPLES)
    found = fitted(name, repeated, labels, weights)
    np.testing.assert_allclose(found.temperature / scale, 2.5, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_temperature_takes_few_evaluations(scale, monkeypatch):
    """A bracket that closes on the last bit must not be halved for ever."""
    logits, labels, weights = (array[:209] for array in sample("binary"))
    monkeypatch.setattr(_temperature, "MAX_EVALUATIONS", 16)
    with jax.enable_x64(True):
        x = logits.astype("float64") * scale
        found = fit_temperature(x, labels, weights=weights)
        np.testing.assert_allclose(
            np.sum(residuals(found, x, labels, weights) * x) / scale, 0, atol=1e-14
        )


@pytest.mark.parametrize(("flip", "bounded"), [(1, []), (-1, ["a", "b"])])
def test_beta_at_its_bounds_is_the_best_that_scipy_finds(flip, bounded):
    logits, labels, weights = sample("binary")
    x, y, w = (np.asarray(array, np.float64) for array in (flip * logits, labels, weights))
    low, high = -np.logaddexp(0, -x), np.logaddexp(0, x)

    def loss(abc):
        z = abc[0] * low + abc[1] * high + abc[2]
        return w @ (np.logaddexp(0, z) - y * z) / w.sum()

    bounds = [(0, None), (0, None), (None, None)]
    least = scipy.optimize.minimize(loss, np.ones(3), bounds=bounds).fun
    found = fitted("beta", flip * logits, labels, weights)
    assert loss(np.asarray(found, np.float64)) <= least + 1e-9
    assert [name for name in "ab" if getattr(found, name) == 0] == bounded


# Laws that all share


@every_fit
def test_calibration_does_not_raise_the_loss_of_its_own_sample(name):
    logits, labels, weights = sample(FITS[name][2])
    found = fitted(name, logits, labels, weights)
    before, after = (metrics.log_loss(x, labels, weights=weights) for x in (logits, found(logits)))
    if name != "isotonic of classes":  # a map of each class alone is not the best of rows
        assert after < before
    assert found(logits).shape == logits.shape
    if "temperature" in name and logits.ndim == 2:
        np.testing.assert_array_equal(found(logits).argmax(-1), logits.argmax(-1))


@every_fit
def test_weights_are_repetitions_and_where_is_removal(name):
    """The first 70 examples weigh 0 to 3; the same three times over, as often as they weigh."""
    logits, labels, _ = sample(FITS[name][2])
    times = jnp.arange(NUM_EXAMPLES) % 4
    weighted = fitted(name, logits, labels, times.astype("float32"), jnp.arange(NUM_EXAMPLES) < 70)
    thrice = [jnp.concatenate([a[:70]] * 3) for a in (logits, labels, times)]
    there = thrice[2] > jnp.repeat(jnp.arange(3), 70)
    junk = jnp.where(there if logits.ndim == 1 else there[:, None], thrice[0], jnp.nan)
    ones = jnp.where(there, jnp.float32(1), jnp.float32(jnp.nan))
    repeated = fitted(name, junk, jnp.where(there, thrice[1], -9), ones, there)
    assert_close(repeated(logits), weighted(logits), rtol=1e-4, atol=1e-4)


@one_each
def test_vmap_over_models_is_a_loop(name):
    fit, options, kind = FITS[name]
    samples = [sample(kind, seed) for seed in range(3)]
    logits, labels, weights = (jnp.stack(arrays) for arrays in zip(*samples, strict=True))
    # One model of the three that has no optimum must not keep the others from theirs.
    perfect = logits[1] > 0 if kind == "binary" else logits[1].argmax(-1)
    labels = labels.at[1].set(perfect.astype(jnp.int32))
    together = jax.vmap(lambda x, y, w: fit(x, y, weights=w, **options))(logits, labels, weights)
    calibrated = jax.vmap(lambda found, x: found(x))(together, logits)
    for index in (0, 2):
        alone = fitted(name, logits[index], labels[index], weights[index])
        of_model = [leaf[index] for leaf in together]
        assert_close(of_model, alone, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(calibrated[index], alone(logits[index]), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        together(logits[0])


@pytest.mark.parametrize("name", ["temperature", "isotonic"])
def test_jit_is_eager(name):
    fit, options, kind = FITS[name]
    logits, labels, weights = sample(kind)
    together = jax.jit(lambda x: fit(x, labels, weights=weights, **options)(x))(logits)
    np.testing.assert_allclose(together, fitted(name, logits, labels, weights)(logits), rtol=1e-6)


@one_each
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_every_dtype_of_logits(name, dtype):
    kind = FITS[name][2]
    with jax.enable_x64(dtype == "float64"):
        logits, labels, weights = sample(kind, dtype=dtype)
        found = fitted(name, logits, labels, weights)
        calibrated = found(logits)
    wide = "float64" if dtype == "float64" else "float32"
    assert {leaf.dtype for leaf in found} == {calibrated.dtype} == {jnp.dtype(wide)}
    logits, labels, weights = sample(kind, dtype=dtype if dtype == "bfloat16" else "float32")
    expected = fitted(name, logits.astype("float32"), labels, weights)
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


# Derivatives of the fit


@pytest.mark.parametrize("name", [*ONE_EACH[:-1], "isotonic, prior"])
def test_derivatives_are_those_of_central_differences(name):
    """In logits, weights and penalties, forward and reverse, through the calibrated logits too."""
    fit, numbers, kind = FITS[name]
    with jax.enable_x64(True):
        logits, labels, weights = sample(kind, dtype="float64")
        spread = jnp.linspace(0, 0.05, NUM_EXAMPLES)  # without ties
        logits = logits + spread.reshape(-1, *[1] * (logits.ndim - 1))
        numbers = {key: jnp.float64(value) for key, value in numbers.items()}
        at = logits, weights.astype("float64") + 0.5, numbers
        rng = np.random.default_rng(1)
        along = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), at)
        cotangent = jnp.asarray(rng.normal(size=logits.shape))

        def value(logits, weights, numbers):
            found = fit(logits, labels, weights=weights, **numbers)
            return jnp.vdot(cotangent, found(logits)) + sum(map(jnp.sum, found))

        @jax.jit
        def both(at, along):
            value_at, linear = jax.linearize(value, *at)
            transposed = jax.linear_transpose(linear, *at)(jnp.ones_like(value_at))
            return linear(*along), transposed

        step = 1e-6
        moved = [jax.tree.map(lambda a, v, s=s: a + s * v, at, along) for s in (step, -step)]
        ends = [value(*there) for there in moved]
        forward, reverse = both(at, along)
        np.testing.assert_allclose(forward, (ends[0] - ends[1]) / (2 * step), rtol=1e-5)
        products = jax.tree.leaves(jax.tree.map(jnp.vdot, reverse, along))
        np.testing.assert_allclose(sum(products), forward, rtol=1e-8)


def test_the_derivative_of_a_temperature_is_its_formula():
    """All logits x, positive labels of weight P and others of N: T = x/log(P/N)."""
    x, labels = jnp.full(4, 3.0), jnp.array([1, 1, 1, 0])
    weights = jnp.array([1.0, 2.0, 2.0, 1.0])
    log_odds = np.log(5.0)

    def temperature(weights, logits):
        return fit_temperature(logits, labels, weights=weights).temperature

    np.testing.assert_allclose(temperature(weights, x), 3 / log_odds, rtol=1e-6)
    slopes = jax.jit(jax.grad(temperature))(weights, x)
    expected = -3 / log_odds**2 * np.array([1 / 5, 1 / 5, 1 / 5, -1.0])
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)
    second = jax.jit(jax.hessian(temperature))(weights, x)[3, 3]
    np.testing.assert_allclose(second, 3 / log_odds**2 * (2 / log_odds - 1), rtol=1e-5)


# Samples without an optimum, and undefined ones


@every_fit
def test_a_separated_sample_has_finite_parameters_of_least_loss(name):
    logits, _, weights = sample(FITS[name][2])
    spread = jnp.linspace(0.01, 0.04, logits.size).reshape(logits.shape)  # without ties
    logits = logits + spread
    labels = (logits > 0 if logits.ndim == 1 else logits.argmax(-1)).astype(jnp.int32)
    found = fitted(name, logits, labels, weights)
    assert not any(jnp.any(jnp.isnan(leaf)) for leaf in found)
    attained = {"smooth_labels", "penalty", "prior_weight", *PENALTIES} & set(FITS[name][1])
    if not attained and name != "isotonic of classes":
        assert metrics.log_loss(found(logits), labels, weights=weights) < 1e-12
    if "temperature" in name:
        assert 0 < found.temperature < 0.1


@pytest.mark.parametrize("name", ["temperature", "temperature of classes"])
def test_logits_no_better_than_chance_are_given_up(name):
    logits, labels, weights = sample(FITS[name][2])
    found = fitted(name, -logits, labels, weights)
    assert found.temperature == jnp.inf
    np.testing.assert_array_equal(found(logits), 0 * logits)
    slope = jax.grad(lambda x: fitted(name, x, labels, weights)(x).sum())(-logits)
    np.testing.assert_array_equal(slope, 0 * logits)


@every_fit
def test_nothing_counts_is_the_identity(name):
    logits, labels, weights = sample(FITS[name][2])
    found = fitted(name, logits, labels, weights, where=False)
    if "isotonic" in name:
        np.testing.assert_array_equal(found.log_odds, "prior" in name and 0.0)
    elif "dirichlet" in name:
        np.testing.assert_allclose(found.weight, np.eye(NUM_CLASSES), atol=1e-6)
    else:
        np.testing.assert_allclose(found(logits), logits, rtol=1e-6, atol=1e-6)


@every_fit
@pytest.mark.parametrize("undefined", ["logit", "label", "label at −inf", "weight"])
def test_an_undefined_example_that_counts_shows(name, undefined):
    logits, labels, weights = sample(FITS[name][2])
    weights = weights + 1
    if undefined == "logit":
        logits = logits.at[(3,) * logits.ndim].set(jnp.nan)
    elif undefined == "label":
        labels = labels.at[3].set(-1 if logits.ndim == 1 else NUM_CLASSES)
    elif undefined == "weight":
        weights = weights.at[3].set(jnp.nan)
    elif "isotonic" in name:  # has a calibrated logit for those too
        return
    elif logits.ndim == 1:
        logits, labels = logits.at[3].set(-jnp.inf), labels.at[3].set(1)
    else:
        logits = logits.at[3, labels[3]].set(-jnp.inf)
    found = fitted(name, logits, labels, weights)
    assert all(jnp.all(jnp.isnan(leaf)) for leaf in found)


@pytest.mark.parametrize(
    "name", ["temperature of classes", "vector, penalty", "dirichlet, penalties"]
)
def test_classes_at_minus_infinity_and_one_at_plus(name):
    logits, labels, weights = sample("multi-class")
    padded = jnp.pad(logits, ((0, 0), (0, 1)), constant_values=-jnp.inf)
    found = fitted(name, padded, labels, weights)
    certain = found(padded.at[:, 2].set(jnp.inf))
    np.testing.assert_array_equal(numerics.softmax(certain)[:, 2], 1.0)
    assert jnp.all(found(padded)[:, -1] == -jnp.inf) & jnp.all(jnp.isfinite(found(padded)[:, :-1]))
    if "temperature" in name:
        assert_close(found, fitted(name, logits, labels, weights), rtol=1e-6)


# Scores and folds


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_decomposition_adds_up(kind):
    logits, labels, weights = sample(kind)
    split = calibration.decomposition(logits, labels, weights=weights)
    for terms, judge in zip(split, (metrics.log_loss, metrics.brier_score), strict=True):
        np.testing.assert_allclose(terms.score, judge(logits, labels, weights=weights), rtol=1e-6)
        np.testing.assert_allclose(terms.calibration + terms.refinement, terms.score, rtol=1e-6)
        np.testing.assert_allclose(
            terms.uncertainty - terms.discrimination, terms.refinement, rtol=1e-6
        )
        assert kind == "multi-class" or min(map(float, terms)) >= 0
    shares = np.bincount(np.asarray(labels), np.asarray(weights)) / weights.sum()
    np.testing.assert_allclose(split.log_loss.uncertainty, scipy.stats.entropy(shares), rtol=1e-6)
    scale = 0.5 if kind == "binary" else 1
    np.testing.assert_allclose(
        split.brier_score.uncertainty, scale * (1 - np.sum(shares**2)), rtol=1e-6
    )
    given = calibration.decomposition(logits, labels, weights=weights, calibrated=logits)
    assert given.log_loss.calibration == given.brier_score.calibration == 0


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_cross_fit_uses_the_other_folds_only(kind, key):
    """An example's own label has no say: calibrated logits are those of a fit without its fold."""
    logits, labels, weights = sample(kind)
    out = calibration.cross_fit(fit_temperature, logits, labels, weights=weights, key=key)
    temperatures = np.asarray(logits / out)
    temperatures = temperatures if kind == "binary" else np.nanmedian(temperatures, axis=-1)
    known = np.unique(temperatures[np.isfinite(temperatures)].round(4))
    assert len(known) == 5
    for temperature in known:
        held_out = np.abs(temperatures - temperature) < 2e-4
        name = "temperature" if kind == "binary" else "temperature of classes"
        # A logit of 0 does not tell its fold, and does not tell a temperature either.
        found = fitted(name, logits, labels, weights, jnp.asarray(~held_out))
        np.testing.assert_allclose(found.temperature, temperature, rtol=2e-2)
        assert 36 <= held_out.sum() + np.isnan(temperatures).sum() and held_out.sum() <= 44


# Files


@one_each
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_file_gives_the_same_bits_back(name, suffix, tmp_path):
    found = fitted(name, *sample(FITS[name][2]))
    path = tmp_path / f"fitted{suffix}"
    calibration.save(path, found)
    loaded = calibration.load(path)
    assert type(loaded) is type(found)
    for one, other in zip(loaded, found, strict=True):
        assert (one.dtype, np.asarray(one).tobytes()) == (other.dtype, np.asarray(other).tobytes())
    with pytest.raises(FileExistsError, match="overwrite=True"):
        calibration.save(path, found)
    calibration.save(path, found, overwrite=True)
    assert os.listdir(tmp_path) == [path.name]


def save_temperature(path, **changes):
    calibration.save(path, calibration.Temperature(jnp.float32(1.5)), overwrite=True)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


DAMAGE = {
    "method": ({"method": "magic"}, "its method is 'magic'"),
    "format": ({"format": "other"}, "its format is 'other'"),
    "version": ({"version": "2"}, "its version is '2'"),
    "no parameters": ({"parameters": None}, "has no parameters"),
    "names": ({"parameters": {}}, r"its parameters are \[\]"),
    "numbers": (
        {"parameters": {"temperature": {"dtype": "float32", "shape": [2], "values": [1]}}},
        "temperature cannot be read",
    ),
    "dtype": (
        {"parameters": {"temperature": {"dtype": "object", "shape": [], "values": [1]}}},
        "temperature cannot be read",
    ),
    "shapes": ({"method": "platt"}, "its parameters are"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_foreign_file_is_named(case, tmp_path):
    changes, message = DAMAGE[case]
    path = tmp_path / "fitted.json"
    save_temperature(path, **changes)
    with pytest.raises(ValueError, match=message) as raised:
        calibration.load(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_truncated_file_and_fields_that_do_not_fit(suffix, tmp_path):
    path = tmp_path / f"fitted{suffix}"
    calibration.save(path, calibration.Platt(jnp.ones(3), jnp.zeros(3)))
    content = path.read_bytes()
    for damaged in (content[:-9], content[:20], b"", b"\xff" * 40):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a fitted map"):
            calibration.load(path)
    with pytest.raises(ValueError, match="do not fit together"):
        calibration.save(path, calibration.Platt(jnp.ones(3), jnp.zeros(2)), overwrite=True)


def test_files_of_other_kinds(tmp_path, unchecked_signatures):
    with pytest.raises(ValueError, match=r"must end in \.json or \.safetensors"):
        calibration.save(tmp_path / "fitted.pkl", calibration.Temperature(jnp.ones([])))
    with pytest.raises(ValueError, match=r"must end in \.json or \.safetensors"):
        calibration.load(tmp_path / "fitted.pkl")
    with pytest.raises(TypeError, match="must be a fitted map, but a dict came"):
        calibration.save(tmp_path / "fitted.json", cast(Any, {}))


# Bad input

FOUR, CLASSES = jnp.zeros(4), jnp.zeros([4, 3])
INDICES = jnp.zeros(4, jnp.int32)
BAD = {
    "shapes": (fit_temperature, (FOUR, jnp.zeros(3)), {}, "`labels` must have the shape"),
    "binary labels": (fit_vector, (FOUR, FOUR), {}, "`labels` must be class indices"),
    "class indices": (fit_platt, (CLASSES, INDICES), {}, "`labels` must be binary"),
    "one class": (fit_temperature, (CLASSES[:, :1], INDICES), {}, "at least two classes"),
    "penalty": (fit_vector, (CLASSES, INDICES), {"penalty": -1.0}, "`penalty` must be a finite"),
    "penalties": (
        fit_dirichlet,
        (CLASSES, INDICES),
        {"bias_penalty": FOUR},
        "`bias_penalty` must be a scalar",
    ),
    "prior": (fit_isotonic, (FOUR, FOUR), {"prior_weight": np.nan}, "`prior_weight` must be"),
    "calibrated": (
        calibration.decomposition,
        (FOUR, FOUR),
        {"calibrated": CLASSES},
        "`calibrated` must have the shape of `logits`",
    ),
    "folds": (
        functools.partial(calibration.cross_fit, fit_platt),
        (FOUR, FOUR),
        {"num_folds": 5, "key": None},
        "`num_folds` must be from 2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case, unchecked_signatures):
    function, arguments, choice, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        function(*arguments, **choice)
