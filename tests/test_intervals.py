"""Intervals cover, p-values are uniform where nothing differs, and resamples are what they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from test_metrics import examples

from jbce import metrics
from jbce.metrics._resampling import _poisson

METRICS = {
    "log_loss": metrics.log_loss,
    "f1_score": metrics.f1_score,
    "error": metrics.expected_calibration_error,
    "smooth": metrics.smooth_calibration_error,
    "roc_auc": metrics.roc_auc,
    "average_precision": metrics.average_precision,
    "equal mass": functools.partial(metrics.expected_calibration_error, binning="mass"),
}
KINDS = ("binary", "multiclass")


def delong(logits, labels):
    """Areas and their covariance, by placements: the definition."""
    logits, positive = np.asarray(logits, np.float64), np.asarray(labels) > 0
    above, below = logits[:, positive], logits[:, ~positive]
    wins = (above[:, :, None] > below[:, None, :]) + 0.5 * (above[:, :, None] == below[:, None, :])
    covariance = np.cov(wins.mean(2)) / positive.sum() + np.cov(wins.mean(1)) / (~positive).sum()
    return wins.mean((1, 2)), covariance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METRICS)
def test_resamples_are_the_metric_of_their_counts(name, kind, key):
    """Ties, weights of 0 and fractions, and what is left out."""
    logits, labels, weights = examples(kind)
    exists = jnp.arange(210) % 5 != 0
    counts = np.stack([_poisson(jax.random.fold_in(key, b), 210) for b in range(3)])
    for options in ({}, {"weights": weights + 0.25, "where": exists}):
        found = metrics.bootstrap(
            METRICS[name], logits, labels, key=key, num_resamples=3, **options
        )
        kept = np.asarray(options.get("weights", np.ones(210))) * np.asarray(
            options.get("where", np.ones(210, bool))
        )
        wanted = [METRICS[name](logits, labels, weights=jnp.asarray(kept * c)) for c in counts]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_counts_are_poisson(key):
    counts = np.asarray(_poisson(key, 200_000))
    found = np.bincount(counts, minlength=13)[:7] / counts.size
    wanted = scipy.stats.poisson.pmf(np.arange(7), 1)
    np.testing.assert_allclose(found, wanted, atol=5 * np.sqrt(0.25 / counts.size))


def test_vmapped_models_are_resampled_in_pairs(key):
    models = jnp.stack([examples("binary", seed=seed)[0] for seed in (0, 1)])
    labels = examples("binary")[1]

    def resampled(x):
        return metrics.bootstrap(metrics.roc_auc, x, labels, key=key, num_resamples=5)

    found = jax.vmap(resampled)(models)
    np.testing.assert_allclose(found, [resampled(x) for x in models], rtol=1e-6)


def test_what_is_infinite_or_undefined_shows_where_it_is_drawn(key):
    labels = jnp.array([0, 1, 1, 0] * 5)
    infinite = jnp.where(jnp.arange(20) == 0, jnp.inf, jnp.where(labels == 1, 1.0, -1.0))
    found = metrics.bootstrap(metrics.log_loss, infinite, labels, key=key, num_resamples=40)
    drawn = np.array([_poisson(jax.random.fold_in(key, b), 20)[0] > 0 for b in range(40)])
    np.testing.assert_array_equal(np.isinf(found), drawn)
    assert np.isfinite(found[~drawn]).all()


def test_a_metric_of_ones_own(key):
    def mean_margin(logits, labels, *, weights, where=True):
        return jnp.sum(weights * logits) / jnp.sum(weights)

    logits, labels, _ = examples("binary")
    found = metrics.bootstrap(mean_margin, logits, labels, key=key, num_resamples=400)
    np.testing.assert_allclose(found.std(), logits.std() / np.sqrt(210), rtol=0.15)
    interval = metrics.confidence_interval(mean_margin, logits, labels)
    np.testing.assert_allclose(
        interval.standard_error, np.std(logits, ddof=1) / np.sqrt(210), rtol=1e-5
    )


# influence


def test_influence_on_a_mean_is_the_formula():
    logits, labels, weights = examples("binary")
    losses = np.log1p(np.exp(np.where(labels == 1, -logits, logits).astype(np.float64)))
    share = np.asarray(weights, np.float64) / weights.sum()
    found = metrics.influence(metrics.log_loss, logits, labels, weights=weights)
    np.testing.assert_allclose(found, share * (losses - share @ losses), atol=1e-8)


@pytest.mark.parametrize("name", [n for n in METRICS if n != "equal mass"])
@pytest.mark.parametrize("kind", KINDS)
def test_influence_is_what_a_little_more_weight_does(name, kind):
    """By central differences in float64."""
    with jax.enable_x64(True):
        logits, labels, _ = examples(kind, 60, dtype="float64")
        found = metrics.influence(METRICS[name], logits, labels)
        judge = jax.jit(lambda w: METRICS[name](logits, labels, weights=w))
        for index in (0, 7, 31):
            step = jnp.zeros(60).at[index].set(1e-6)
            moved = (judge(jnp.ones(60) + step) - judge(jnp.ones(60) - step)) / 2e-6
            np.testing.assert_allclose(found[index], moved, atol=1e-8)
    np.testing.assert_allclose(np.asarray(found).sum(), 0, atol=1e-10)


def test_delong():
    """The variance of an area, and the covariance of two, are DeLong's."""
    models = jnp.stack([examples("binary", seed=seed)[0] for seed in (0, 1)])
    labels = examples("binary")[1]
    areas, covariance = delong(models, labels)
    interval = metrics.confidence_interval(metrics.roc_auc, models[0], labels)
    np.testing.assert_allclose(interval.estimate, areas[0], rtol=1e-6)
    np.testing.assert_allclose(interval.standard_error, np.sqrt(covariance[0, 0]), rtol=1e-5)
    found = metrics.compare(metrics.roc_auc, models, labels)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    np.testing.assert_allclose(found.standard_error[1], error, rtol=1e-5)
    p_value = 2 * scipy.stats.norm.sf(abs(areas[1] - areas[0]) / error)
    np.testing.assert_allclose(found.p_value[1], p_value, rtol=1e-4)


# compare


def models_and_labels(num_models=4, num_examples=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num_examples)
    shared = rng.normal(size=num_examples) + 2.0 * labels - 1
    noise = rng.normal(size=(num_models, num_examples))
    return jnp.asarray(shared + 0.5 * noise, jnp.float32), jnp.asarray(labels)


@pytest.mark.parametrize("baseline", [2, -1, "smallest", "largest"])
@pytest.mark.parametrize("resampled", [False, True])
def test_comparisons_hang_together(baseline, resampled, key):
    models, labels = models_and_labels()
    found = metrics.compare(
        metrics.log_loss,
        models,
        labels,
        baseline=baseline,
        key=key if resampled else None,
        num_resamples=500,
    )
    best = {"smallest": jnp.argmin, "largest": jnp.argmax}.get(baseline, lambda _: baseline % 4)
    index = int(best(found.estimate))
    assert found.baseline == index
    np.testing.assert_allclose(found.difference, found.estimate - found.estimate[index], atol=1e-7)
    assert (found.adjusted_p_value >= found.p_value).all()
    assert (found.adjusted_low <= found.low).all() and (found.high <= found.adjusted_high).all()
    assert found.p_value[index] == found.adjusted_p_value[index] == 1
    others = np.arange(4) != index
    significant = np.asarray(found.p_value < 0.05)[others]
    outside = np.asarray((found.low > 0) | (found.high < 0))[others]
    np.testing.assert_array_equal(significant, outside)


def test_holm_is_the_rule():
    models, labels = models_and_labels()
    found = metrics.compare(metrics.log_loss, models, labels, baseline=0)
    order = np.argsort(found.p_value[1:])
    stepped = np.maximum.accumulate(np.asarray(found.p_value[1:])[order] * [3, 2, 1])
    np.testing.assert_allclose(found.adjusted_p_value[1:][order], np.minimum(stepped, 1), rtol=1e-5)


def test_equal_models_do_not_differ(key):
    models, labels = models_and_labels(1)
    twice = jnp.concatenate([models, models])
    for choice in ({}, {"key": key, "num_resamples": 50}):
        found = metrics.compare(metrics.log_loss, twice, labels, **choice)
        np.testing.assert_array_equal(found.p_value, 1)
        np.testing.assert_array_equal(found.adjusted_high, 0)


@pytest.mark.parametrize("resampled", [False, True])
@pytest.mark.parametrize("metric", [metrics.log_loss, metrics.roc_auc])
def test_intervals_cover_and_p_values_are_uniform(metric, resampled):
    """Of 300 data sets on which two models are equally good, within 3.5 standard deviations."""
    keys = jax.random.split(jax.random.key(1), 300)

    @jax.jit
    @jax.vmap
    def of_data(key):
        k = jax.random.split(key, 4)
        labels = jax.random.bernoulli(k[0], 0.5, (200,)).astype(jnp.int32)
        shared = jax.random.normal(k[1], (200,)) + jnp.where(labels == 1, 1.0, -1.0)
        models = shared[None] + 0.7 * jax.random.normal(k[2], (2, 200))
        found = metrics.compare(
            metric, models, labels, key=k[3] if resampled else None, num_resamples=200
        )
        return found.p_value[1], (found.low[1] <= 0) & (0 <= found.high[1])

    p_values, covered = of_data(keys)
    assert abs(covered.mean() - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / 300)
    assert abs((p_values < 0.3).mean() - 0.3) < 3.5 * np.sqrt(0.3 * 0.7 / 300)


def test_multiplicity_holds_the_family(key):
    """Of eight models that are equally good, the best of the data is rarely called better."""
    keys = jax.random.split(jax.random.key(2), 200)

    @jax.jit
    @jax.vmap
    def smallest(key):
        k = jax.random.split(key, 3)
        labels = jax.random.bernoulli(k[0], 0.5, (200,)).astype(jnp.int32)
        shared = jax.random.normal(k[1], (200,)) + jnp.where(labels == 1, 1.0, -1.0)
        models = shared[None] + 0.7 * jax.random.normal(k[2], (8, 200))
        found = metrics.compare(metrics.log_loss, models, labels, baseline="smallest")
        return found.p_value.min(), found.adjusted_p_value.min()

    alone, adjusted = smallest(keys)
    assert (alone < 0.05).mean() > 0.2  # what comes of choosing and forgetting it
    assert (adjusted < 0.05).mean() < 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"baseline": 4}, "there are 4 models"),
        ({"baseline": "best"}, "'smallest' or 'largest'"),
        ({"confidence": 95}, "`confidence`"),
        ({"key": jax.random.key(0), "num_resamples": 0}, "`num_resamples`"),
    ],
)
def test_bad_input(options, words, unchecked_signatures):
    models, labels = models_and_labels()
    with pytest.raises(ValueError, match=words):
        metrics.compare(metrics.log_loss, models, labels, **options)
    with pytest.raises(ValueError, match="`labels` must"):
        metrics.compare(metrics.log_loss, models[0], labels)


# What a hostile reader found


@pytest.mark.parametrize("judge", [metrics.compare, metrics.confidence_interval])
def test_examples_are_not_left_out_by_a_partial(judge):
    models, labels = models_and_labels()
    partial = functools.partial(metrics.accuracy, where=labels == 1)
    with pytest.raises(ValueError, match="'where'"):
        judge(partial, models if judge is metrics.compare else models[0], labels)


def test_a_standard_error_knows_no_unit_of_weights():
    models, labels = models_and_labels()
    found = [
        metrics.confidence_interval(metrics.log_loss, models[0], labels, weights=w).standard_error
        for w in (1.0, 1e-24, 1e20)
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-6)


def test_one_example_and_none_say_nothing(key):
    models, labels = models_and_labels()
    one = metrics.compare(metrics.log_loss, models[:, :1], labels[:1], key=key, num_resamples=9)
    assert jnp.isnan(one.p_value[1:]).all() and jnp.isnan(one.standard_error[1:]).all()
    for choice in ({}, {"key": key, "num_resamples": 9}):
        none = metrics.confidence_interval(metrics.log_loss, models[0, :0], labels[:0], **choice)
        assert all(jnp.isnan(value) for value in none)


def test_an_undefined_model_spoils_no_other(key):
    models, labels = models_and_labels(3)
    spoiled = models.at[2].set(jnp.nan)
    choice = {"key": key, "num_resamples": 200}
    found = metrics.compare(metrics.log_loss, spoiled, labels, **choice)
    alone = metrics.compare(metrics.log_loss, models[:2], labels, **choice)
    np.testing.assert_allclose(found.p_value[:2], alone.p_value)
    np.testing.assert_allclose(found.low[:2], alone.low)
    assert jnp.isnan(found.p_value[2])


def test_delong_knows_probabilities():
    models, labels = models_and_labels(1, 20)
    probs = jax.nn.sigmoid(models[0])
    np.testing.assert_allclose(
        metrics.confidence_interval(metrics.from_probs(metrics.roc_auc), probs, labels),
        metrics.confidence_interval(metrics.roc_auc, models[0], labels),
        rtol=1e-5,
    )
