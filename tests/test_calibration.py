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
    "platt": (fit_platt, {}, "binary"),
    "beta": (fit_beta, {}, "binary"),
    "vector, penalty": (fit_vector, {"penalty": 0.1}, "multi-class"),
    "dirichlet, penalties": (fit_dirichlet, PENALTIES, "multi-class"),
    "isotonic": (fit_isotonic, {"prior_weight": 0.0}, "binary"),
    "temperature of classes": (fit_temperature, {}, "multi-class"),
    "platt, smooth labels": (fit_platt, {"smooth_labels": True}, "binary"),
    "vector": (fit_vector, {"penalty": 0.0}, "multi-class"),
    "dirichlet": (fit_dirichlet, dict.fromkeys(PENALTIES, 0.0), "multi-class"),
    "isotonic, prior": (fit_isotonic, {"prior_weight": 0.7}, "binary"),
    "isotonic of classes": (fit_isotonic, {}, "multi-class"),
}
SMOOTH = [name for name in FITS if "isotonic" not in name]
ONE_EACH = list(FITS)[:6]
TEMPERATURES = ["temperature", "temperature of classes"]
NUM_CLASSES, NUM_EXAMPLES = 4, 210

# By module: pytest then runs all tests of one name together, where they share compilations.
by_name = functools.partial(pytest.mark.parametrize, "name", scope="module")
every_fit, one_each = by_name(FITS), by_name(ONE_EACH)


def sample(kind, seed=0, dtype="float32"):
    """Overconfident logits with ties, labels, and weights that include 0."""
    rng = np.random.default_rng(seed)
    shape = (NUM_EXAMPLES,) if kind == "binary" else (NUM_EXAMPLES, NUM_CLASSES)
    logits = rng.normal(0, 3, shape).round(1)
    noisy = (
        logits / 2 + rng.gumbel(0, 1, shape) - (rng.gumbel(0, 1, shape) if kind == "binary" else 0)
    )
    labels = noisy > 0.5 if kind == "binary" else noisy.argmax(axis=-1)
    weights = rng.integers(0, 4, NUM_EXAMPLES) / 2
    wide = "float64" if dtype == "float64" else "float32"
    return logits.astype(jnp.dtype(dtype)), labels.astype(np.int32), weights.astype(wide)


def fitted(name, logits, labels, weights, where: Any = True):
    """By one signature and in NumPy's arrays, so that tests share compilations."""
    fit, options, _ = FITS[name]
    where = np.broadcast_to(where, labels.shape)
    return fit(logits, labels, weights=weights, where=where, **options)


def loss(logits, labels, weights):
    return float(metrics.log_loss(logits, labels, weights=weights))


@functools.cache
def with_derivatives(fit):
    """In one program: the fit, its map of the logits, and derivatives of both in both modes."""

    @jax.jit
    def program(at, along, labels, cotangent):
        def value(logits, weights, numbers):
            found = fit(logits, labels, weights=weights, **numbers)
            calibrated = found(logits)
            total = jnp.vdot(cotangent, calibrated) + sum(map(jnp.sum, found))
            return total, (found, calibrated)

        total, linear, (found, calibrated) = jax.linearize(value, *at, has_aux=True)
        reverse = jax.linear_transpose(linear, *at)(jnp.ones_like(total))
        return found, calibrated, total, linear(*along), reverse

    return program


def in_float64(name, logits, labels, weights):
    """The map and the calibrated logits, of a fit inside `jit` where there is one compiled."""
    fit, numbers, _ = FITS[name]
    if name in ("temperature of classes", "platt, smooth labels"):
        found = fitted(name, logits, labels, weights)
        return found, found(logits)
    at = logits, weights, jax.tree.map(np.float64, numbers)
    return with_derivatives(fit)(at, at, labels, logits)[:2]


def assert_close(actual, expected, **tolerance):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


# The optimum


def residuals(calibrated, labels, weights):
    """w·(p − y)/Σw of the calibrated probabilities, in float64."""
    if calibrated.ndim == 1:
        return weights * (scipy.special.expit(calibrated) - labels) / weights.sum()
    probs = scipy.special.softmax(calibrated, axis=-1)
    return (weights / weights.sum())[:, None] * (probs - np.eye(NUM_CLASSES)[labels])


def gradient(name, found, calibrated, x, labels, weights):
    """Of the objective in its parameters, by its formula."""
    found, options = type(found)(*map(np.asarray, found)), FITS[name][1]
    if "smooth_labels" in options:
        positive, negative = (weights[labels == y].sum() for y in (1, 0))
        labels = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))
    r = residuals(np.asarray(calibrated), labels, weights)
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


@by_name(SMOOTH)
def test_the_gradient_at_the_optimum_is_rounding(name):
    """Of a convex objective: no other proof is needed."""
    with jax.enable_x64(True):
        arrays = sample(FITS[name][2], dtype="float64")
        found: Any = (*in_float64(name, *arrays), *arrays)
        for part in gradient(name, *found):
            np.testing.assert_allclose(part, 0, atol=3e-15)


def test_temperature_is_scipys():
    logits, labels, weights = sample("multi-class")

    def loss(temperature):
        log_probs = scipy.special.log_softmax(logits.astype(float) / temperature, -1)
        return -(weights @ log_probs[np.arange(NUM_EXAMPLES), labels])

    best: Any = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 10), options={"xatol": 1e-10})
    found = fitted("temperature of classes", logits, labels, weights)
    np.testing.assert_allclose(found.temperature, best.x, rtol=1e-6)


def test_platt_is_sklearns_logistic_regression():
    logits, labels, weights = sample("binary")
    peer = sklearn.linear_model.LogisticRegression(C=np.inf, tol=1e-10)
    peer.fit(logits[:, None], labels, weights)
    found = fitted("platt", logits, labels, weights)
    np.testing.assert_allclose(found, np.append(peer.coef_, peer.intercept_), rtol=1e-5)


def test_isotonic_is_sklearns_also_between_the_examples():
    points = np.linspace(-12, 12, NUM_EXAMPLES, dtype=np.float32)
    for seed in range(4):
        arrays = sample("binary", seed)
        kept = arrays[2] > 0
        peer = sklearn.isotonic.IsotonicRegression(out_of_bounds="clip")
        peer.fit(*(array[kept] for array in arrays))
        found = fitted("isotonic", *arrays)
        np.testing.assert_allclose(
            scipy.special.expit(found(points)), peer.predict(points), rtol=1e-5, atol=1e-7
        )
        log_odds = np.asarray(found.log_odds)
        assert (log_odds[1:] >= log_odds[:-1]).all()


def test_isotonic_of_long_runs_and_late_drops():
    """Blocks that merge one after the other, backwards through all that rise before them."""
    rising = np.arange(100) % 10 < np.arange(100) // 10
    labels = np.pad(rising, (0, NUM_EXAMPLES - 100)).astype(np.int32)
    logits = np.arange(NUM_EXAMPLES, dtype=np.float32)
    peer = sklearn.isotonic.IsotonicRegression().fit_transform(logits, labels)
    found = fitted("isotonic", logits, labels, np.ones(NUM_EXAMPLES, np.float32))
    np.testing.assert_allclose(scipy.special.expit(found(logits)), peer, rtol=1e-6)


def test_isotonic_of_classes_is_one_against_the_rest():
    logits, labels, weights = sample("multi-class")
    probs = scipy.special.softmax(logits.astype(float), axis=-1)
    expected = np.stack(
        [
            sklearn.isotonic.IsotonicRegression()
            .fit(probs[:, k].round(12), (labels == k).astype(float), weights + 0.5)
            .predict(probs[:, k].round(12))
            for k in range(NUM_CLASSES)
        ],
        axis=-1,
    )
    found = fitted("isotonic of classes", logits, labels, weights + 0.5)
    expected /= expected.sum(-1, keepdims=True)
    calibrated = scipy.special.softmax(found(logits), axis=-1)
    np.testing.assert_allclose(calibrated, expected, rtol=1e-5, atol=1e-7)


@by_name(TEMPERATURES)
def test_a_known_temperature_is_recovered(name):
    """Labels that are as frequent as a model at temperature 2.5 says (netcal#61: returns 1)."""
    logits, _, _ = sample(FITS[name][2])
    count = 2 if logits.ndim == 1 else NUM_CLASSES
    rows = NUM_EXAMPLES // count
    logits = 0.7 * logits[:rows]
    logits[0] = 0
    x = logits.astype(float) / 2.5
    probs = scipy.special.softmax(np.stack([0 * x, x], -1) if x.ndim == 1 else x, axis=-1)

    def full(repeated):  # with rows of weight 0, to one shape
        return np.resize(repeated, (NUM_EXAMPLES, *repeated.shape[1:]))

    weights = full(probs.T.ravel()).astype(np.float32)
    weights[rows * count :] = 0
    labels = full(np.repeat(np.arange(count, dtype=np.int32), rows))
    for scale in (1e-30, 1.0, 1e30):
        repeated = full(np.concatenate([logits * np.float32(scale)] * count))
        found = fitted(name, repeated, labels, weights)
        np.testing.assert_allclose(found.temperature / scale, 2.5, rtol=1e-6)


def test_a_temperature_takes_few_evaluations(monkeypatch):
    """A bracket that closes on the last bit must not be halved for ever."""
    x, labels, weights = (array[:209] for array in sample("binary", dtype="float64"))
    monkeypatch.setattr(_temperature, "MAX_EVALUATIONS", 16)
    for scale in (1e-3, 1.0, 1e3):
        with jax.enable_x64(True):
            found = fit_temperature(scale * x, labels, weights=weights)
            slope = np.sum(residuals(np.asarray(found(scale * x)), labels, weights) * x)
        np.testing.assert_allclose(slope, 0, atol=1e-14)


@pytest.mark.parametrize(("flip", "bounded"), [(1, []), (-1, ["a", "b"])])
def test_beta_at_its_bounds_is_the_best_that_scipy_finds(flip, bounded):
    logits, labels, weights = sample("binary")
    x = flip * logits.astype(float)
    low, high = -np.logaddexp(0, -x), np.logaddexp(0, x)

    def loss(abc):
        z = abc[0] * low + abc[1] * high + abc[2]
        return weights @ (np.logaddexp(0, z) - labels * z) / weights.sum()

    bounds = [(0, None), (0, None), (None, None)]
    least = scipy.optimize.minimize(loss, np.ones(3), bounds=bounds).fun
    found = fitted("beta", flip * logits, labels, weights)
    assert loss(np.asarray(found, np.float64)) <= least + 1e-9
    assert [name for name in "ab" if getattr(found, name) == 0] == bounded


# Laws that all share


@every_fit
def test_calibration_does_not_raise_the_loss_of_its_own_sample(name):
    logits, labels, weights = sample(FITS[name][2])
    calibrated = np.asarray(fitted(name, logits, labels, weights)(logits))
    if name != "isotonic of classes":  # a map of each class alone is not the best of rows
        assert loss(calibrated, labels, weights) < loss(logits, labels, weights)
    assert calibrated.shape == logits.shape
    if name == "temperature of classes":
        np.testing.assert_array_equal(calibrated.argmax(-1), logits.argmax(-1))


@every_fit
def test_weights_are_repetitions_and_where_is_removal(name):
    """The first 70 examples weigh 0 to 3; the same three times over, as often as they weigh."""
    logits, labels, _ = sample(FITS[name][2])
    times = np.arange(NUM_EXAMPLES) % 4
    weighted = fitted(name, logits, labels, times.astype("float32"), np.arange(NUM_EXAMPLES) < 70)
    thrice = [np.concatenate([a[:70]] * 3) for a in (logits, labels, times)]
    there = thrice[2] > np.repeat(np.arange(3), 70)
    junk = np.where(there if logits.ndim == 1 else there[:, None], thrice[0], np.float32(np.nan))
    ones = np.where(there, np.float32(1), np.float32(np.nan))
    repeated = fitted(name, junk, np.where(there, thrice[1], np.int32(-9)), ones, there)
    assert_close(repeated(logits), weighted(logits), rtol=1e-4, atol=1e-4)


@by_name(["temperature", "beta", "dirichlet, penalties", "isotonic"])  # each solver and its parts
def test_vmap_over_models_is_a_loop(name):
    fit, options, kind = FITS[name]
    samples = [sample(kind, seed) for seed in range(3)]
    logits, labels, weights = (np.stack(arrays) for arrays in zip(*samples, strict=True))
    # One model of the three that has no optimum must not keep the others from theirs.
    labels[1] = logits[1] > 0 if kind == "binary" else logits[1].argmax(-1)
    together = jax.vmap(lambda x, y, w: fit(x, y, weights=w, **options))(logits, labels, weights)
    calibrated = jax.vmap(lambda found, x: found(x))(together, logits)
    for index in (0, 2):
        alone = fitted(name, logits[index], labels[index], weights[index])
        of_model = [np.asarray(leaf)[index] for leaf in together]
        assert_close(of_model, alone, rtol=2e-6, atol=1e-6)
        of_model = np.asarray(calibrated)[index]
        np.testing.assert_allclose(of_model, alone(logits[index]), rtol=1e-5, atol=1e-5)


@one_each
def test_a_map_of_several_models_is_no_map(name):
    logits, labels, weights = sample(FITS[name][2])
    alone = fitted(name, logits, labels, weights)
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        type(alone)(*(np.stack([leaf] * 3) for leaf in alone))(logits)


@one_each
def test_every_dtype_of_logits(name):
    kind = FITS[name][2]
    for dtype, wide in {"bfloat16": "float32", "float64": "float64"}.items():
        logits, labels, weights = sample(kind, dtype=dtype)
        with jax.enable_x64(dtype == "float64"):
            if dtype == "float64":
                found, calibrated = in_float64(name, logits, labels, weights)
            else:
                found = fitted(name, logits, labels, weights)
                calibrated = found(logits)
        assert {leaf.dtype for leaf in found} == {calibrated.dtype} == {jnp.dtype(wide)}
        logits, weights = logits.astype("float32"), weights.astype("float32")
        expected = fitted(name, logits, labels, weights)
        assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert_close(calibrated, expected(logits), rtol=1e-5, atol=1e-5)


# Derivatives of the fit


@by_name([*ONE_EACH[:-1], "isotonic, prior"])
def test_derivatives_are_those_of_central_differences(name):
    """In logits, weights and penalties, forward and reverse, through the calibrated logits too."""
    fit, numbers, kind = FITS[name]
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        logits, labels, weights = sample(kind, dtype="float64")
        spread = np.linspace(0, 0.05, NUM_EXAMPLES)  # without ties
        logits += spread.reshape(-1, *[1] * (logits.ndim - 1))
        at = logits, weights + 0.5, jax.tree.map(np.float64, numbers)
        along = jax.tree.map(lambda a: np.float64(rng.normal(size=a.shape)), at)
        others = along, labels, rng.normal(size=logits.shape)
        program = with_derivatives(fit)
        moved = [jax.tree.map(lambda a, v, s=s: a + s * v, at, along) for s in (1e-6, -1e-6)]
        high, low = (program(there, *others)[2] for there in moved)
        *_, forward, reverse = program(at, *others)
        np.testing.assert_allclose(forward, (high - low) / 2e-6, rtol=1e-5)
        products = jax.tree.leaves(jax.tree.map(np.vdot, reverse, along))
        np.testing.assert_allclose(sum(products), forward, rtol=1e-8)


def test_the_derivative_of_a_temperature_is_its_formula():
    """All logits x, positive labels of weight P and others of N: T = x/log(P/N)."""
    x, labels = np.full(4, 3, np.float32), np.array([1, 1, 1, 0], np.int32)
    weights = np.array([1, 2, 2, 1], np.float32)
    log_odds = np.log(5.0)

    def temperature(weights):
        return fit_temperature(x, labels, weights=weights).temperature

    derivatives = jax.jit(lambda w: [f(temperature)(w) for f in (jax.value_and_grad, jax.hessian)])
    (value, slopes), second = derivatives(weights)
    np.testing.assert_allclose(value, 3 / log_odds, rtol=1e-6)
    expected = -3 / log_odds**2 * np.array([1 / 5, 1 / 5, 1 / 5, -1.0])
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)
    expected = 3 / log_odds**2 * (2 / log_odds - 1)
    np.testing.assert_allclose(np.asarray(second)[3, 3], expected, rtol=1e-5)


# Samples without an optimum, and undefined ones


@every_fit
def test_a_separated_sample_has_finite_parameters_of_least_loss(name):
    logits, _, weights = sample(FITS[name][2])
    spread = np.linspace(0.01, 0.04, logits.size, dtype=np.float32)  # without ties
    logits = logits + spread.reshape(logits.shape)
    labels = (logits > 0 if logits.ndim == 1 else logits.argmax(-1)).astype(np.int32)
    found = fitted(name, logits, labels, weights)
    assert not any(np.isnan(leaf).any() for leaf in found)
    attained = any(FITS[name][1].values())
    if not attained and name != "isotonic of classes":
        assert loss(found(logits), labels, weights) < 1e-12
    if name in TEMPERATURES:
        assert 0 < found.temperature < 0.1


@by_name(TEMPERATURES)
def test_logits_no_better_than_chance_are_given_up(name):
    logits, labels, weights = sample(FITS[name][2])
    found = fitted(name, -logits, labels, weights)
    assert found.temperature == jnp.inf
    np.testing.assert_array_equal(found(logits), 0 * logits)
    if name == "temperature":
        slope = jax.grad(lambda x: fitted(name, x, labels, weights)(x).sum())
        np.testing.assert_array_equal(jax.jit(slope)(-logits), 0 * logits)


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
def test_an_undefined_example_that_counts_shows(name):
    for undefined in ("logit", "label", "label at −inf", "weight"):
        logits, labels, weights = sample(FITS[name][2])
        weights += 1
        if undefined == "logit":
            logits[(3,) * logits.ndim] = np.nan
        elif undefined == "label":
            labels[3] = -1 if logits.ndim == 1 else NUM_CLASSES
        elif undefined == "weight":
            weights[3] = np.nan
        elif "isotonic" in name:  # has a calibrated logit for those too
            continue
        elif logits.ndim == 1:
            logits[3], labels[3] = -np.inf, 1
        else:
            logits[3, labels[3]] = -np.inf
        found = fitted(name, logits, labels, weights)
        assert all(np.isnan(leaf).all() for leaf in found), undefined


@by_name(["temperature of classes", "vector, penalty", "dirichlet, penalties"])
def test_classes_at_minus_infinity_and_one_at_plus(name):
    padded, _, weights = sample("multi-class")
    labels = padded[:, :-1].argmax(-1).astype(np.int32)
    labels[::3] = (labels[::3] + 1) % (NUM_CLASSES - 1)
    padded[:, -1] = -np.inf
    found = fitted(name, padded, labels, weights)
    certain = padded.copy()
    certain[:, 2] = np.inf
    np.testing.assert_array_equal(np.asarray(numerics.softmax(found(certain)))[:, 2], 1.0)
    calibrated = np.asarray(found(padded))
    assert (calibrated[:, -1] == -np.inf).all() and np.isfinite(calibrated[:, :-1]).all()
    if "temperature" in name:
        assert_close(found, fitted(name, padded[:, :-1], labels, weights), rtol=1e-6)


# Scores and folds


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_decomposition_adds_up(kind):
    logits, labels, weights = sample(kind)
    split = calibration.decomposition(logits, labels, weights=weights)
    for terms, judge in zip(split, (metrics.log_loss, metrics.brier_score), strict=True):
        terms = jax.tree.map(np.asarray, terms)
        np.testing.assert_allclose(terms.score, judge(logits, labels, weights=weights), rtol=1e-6)
        np.testing.assert_allclose(terms.calibration + terms.refinement, terms.score, rtol=1e-6)
        np.testing.assert_allclose(
            terms.uncertainty - terms.discrimination, terms.refinement, rtol=1e-6
        )
        assert kind == "multi-class" or min(map(float, terms)) >= 0
    shares = np.bincount(labels, weights) / weights.sum()
    brier = (0.5 if kind == "binary" else 1) * (1 - np.sum(shares**2))
    np.testing.assert_allclose(split.log_loss.uncertainty, scipy.stats.entropy(shares), rtol=1e-6)
    np.testing.assert_allclose(split.brier_score.uncertainty, brier, rtol=1e-6)
    if kind == "binary":
        given = calibration.decomposition(logits, labels, weights=weights, calibrated=logits)
        assert given.log_loss.calibration == given.brier_score.calibration == 0


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_cross_fit_uses_the_other_folds_only(kind, key):
    """An example's own label has no say: calibrated logits are those of a fit without its fold."""
    logits, labels, weights = sample(kind)
    out = calibration.cross_fit(fit_temperature, logits, labels, weights=weights, key=key)
    with np.errstate(invalid="ignore"):  # a logit of 0 tells no temperature, and no fold
        temperatures = logits / np.asarray(out)
    temperatures = temperatures if kind == "binary" else np.nanmedian(temperatures, axis=-1)
    known = np.unique(temperatures[np.isfinite(temperatures)].round(4))
    assert len(known) == 5
    for temperature in known:
        held_out = np.abs(temperatures - temperature) < 2e-4
        name = TEMPERATURES[kind != "binary"]
        found = fitted(name, logits, labels, weights, ~held_out)
        np.testing.assert_allclose(found.temperature, temperature, rtol=2e-2)
        assert 36 <= held_out.sum() + np.isnan(temperatures).sum() and held_out.sum() <= 44


# Files


@one_each
def test_a_file_gives_the_same_bits_back(name, tmp_path):
    found = fitted(name, *sample(FITS[name][2]))
    for suffix in (".json", ".safetensors"):
        path = tmp_path / f"fitted{suffix}"
        calibration.save(path, found)
        loaded = calibration.load(path)
        assert type(loaded) is type(found)
        for one, other in zip(loaded, found, strict=True):
            assert one.dtype == other.dtype
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
        with pytest.raises(FileExistsError, match="overwrite=True"):
            calibration.save(path, found)
        calibration.save(path, found, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["fitted.json", "fitted.safetensors"]


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

FOUR, CLASSES = np.zeros(4, np.float32), np.zeros([4, 3], np.float32)
INDICES = np.zeros(4, np.int32)
BAD = {
    "shapes": (fit_temperature, (FOUR, FOUR[:3]), {}, "`labels` must have the shape"),
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


@pytest.mark.parametrize("fit", [fit_platt, fit_beta, fit_vector, fit_dirichlet])
def test_saturated_logits_are_fitted_too(fit):
    """Logits of 1e5, where every probability is 0 or 1 before the fit."""
    kind = "binary" if fit in (fit_platt, fit_beta) else "multi-class"
    logits, labels, weights = sample(kind)
    large = jnp.asarray(np.asarray(logits) * np.float32(1e5))
    fitted = fit(large, labels, weights=weights)(large)
    loss = float(metrics.log_loss(fitted, labels, weights=weights))
    ordinary = fit(logits, labels, weights=weights)(logits)
    assert loss < 1.03 * float(metrics.log_loss(ordinary, labels, weights=weights))
