"""Intervals cover, p-values are uniform where nothing differs, and resamples are what they say."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
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
# Of classes: a mean, what is of counts, and a ranking of each.
EACH = [(name, "binary") for name in METRICS]
EACH += [(name, "multiclass") for name in ("log_loss", "f1_score", "roc_auc")]


def delong(logits, labels):
    """Areas and their covariance, by placements: the definition."""
    logits, positive = np.asarray(logits, np.float64), np.asarray(labels) > 0
    above, below = logits[:, positive], logits[:, ~positive]
    wins = (above[:, :, None] > below[:, None, :]) + 0.5 * (above[:, :, None] == below[:, None, :])
    covariance = np.cov(wins.mean(2)) / positive.sum() + np.cov(wins.mean(1)) / (~positive).sum()
    return wins.mean((1, 2)), covariance


@functools.partial(jax.jit, static_argnums=(1, 2))
def drawn(key, num_resamples, size):
    """The counts, by their definition."""
    indices = jnp.arange(num_resamples, dtype=jnp.int32)
    return jax.vmap(lambda b: _poisson(jax.random.fold_in(key, b), size))(indices)


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_resamples_are_the_metric_of_their_counts(name, kind, key):
    """Ties, weights of 0 and fractions, and what is left out."""
    logits, labels, weights = examples(kind)
    exists = np.arange(210) % 5 != 0
    counts = np.asarray(drawn(key, 3, 210))
    choices = [{"weights": weights + np.float32(0.25), "where": exists}]
    if name in ("log_loss", "roc_auc", "smooth") and kind == "binary":  # the three ways to resample
        choices.append({})
    for options in choices:
        found = metrics.bootstrap(
            METRICS[name], logits, labels, key=key, num_resamples=3, **options
        )
        kept = options.get("weights", np.ones(210, np.float32)) * options.get("where", 1)
        wanted = [METRICS[name](logits, labels, weights=np.float32(kept * c)) for c in counts]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_counts_are_poisson(key):
    counts = np.asarray(_poisson(key, 200_000))
    found = np.bincount(counts, minlength=13)[:7] / counts.size
    wanted = scipy.stats.poisson.pmf(np.arange(7), 1)
    np.testing.assert_allclose(found, wanted, atol=5 * np.sqrt(0.25 / counts.size))


def test_vmapped_models_are_resampled_in_pairs(key):
    models = np.stack([examples("binary", seed=seed)[0] for seed in (0, 1)])
    labels = examples("binary")[1]

    def resampled(x):
        return metrics.bootstrap(metrics.roc_auc, x, labels, key=key, num_resamples=3)

    found = jax.vmap(resampled)(models)
    np.testing.assert_allclose(found, [resampled(x) for x in models], rtol=1e-6)


def test_what_is_infinite_or_undefined_shows_where_it_is_drawn(key):
    labels = np.array([0, 1, 1, 0] * 5)
    infinite = np.where(np.arange(20) == 0, np.inf, np.where(labels == 1, 1.0, -1.0))
    infinite = infinite.astype(np.float32)
    found = metrics.bootstrap(metrics.log_loss, infinite, labels, key=key, num_resamples=40)
    first = np.asarray(drawn(key, 40, 20))[:, 0] > 0
    np.testing.assert_array_equal(np.isinf(found), first)
    assert np.isfinite(np.asarray(found)[~first]).all()


def test_a_metric_of_ones_own(key):
    def mean_margin(logits, labels, *, weights, where=True):
        return jnp.sum(weights * logits) / jnp.sum(weights)

    logits, labels, _ = examples("binary")
    found = metrics.bootstrap(mean_margin, logits, labels, key=key, num_resamples=400)
    np.testing.assert_allclose(np.std(found), logits.std() / np.sqrt(210), rtol=0.15)
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


@pytest.mark.parametrize(("name", "kind"), [each for each in EACH if each[0] != "equal mass"])
def test_influence_is_what_a_little_more_weight_does(name, kind):
    """By central differences in float64."""
    with jax.enable_x64(True):
        logits, labels, _ = examples(kind, 60, dtype="float64")
        found = metrics.influence(METRICS[name], logits, labels)
        judge = functools.partial(METRICS[name], logits, labels)
        for index in (0, 7, 31):
            step = 1e-6 * (np.arange(60) == index)
            moved = np.subtract(judge(weights=1 + step), judge(weights=1 - step)) / 2e-6
            np.testing.assert_allclose(np.asarray(found)[index], moved, atol=1e-8)
    np.testing.assert_allclose(np.asarray(found).sum(), 0, atol=1e-10)


def test_delong():
    """The variance of an area, and the covariance of two, are DeLong's."""
    models = np.stack([examples("binary", seed=seed)[0] for seed in (0, 1)])
    labels = examples("binary")[1]
    areas, covariance = delong(models, labels)
    interval = metrics.confidence_interval(metrics.roc_auc, models[0], labels)
    np.testing.assert_allclose(interval.estimate, areas[0], rtol=1e-6)
    np.testing.assert_allclose(interval.standard_error, np.sqrt(covariance[0, 0]), rtol=1e-5)
    found = metrics.compare(metrics.roc_auc, models, labels)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    np.testing.assert_allclose(np.asarray(found.standard_error)[1], error, rtol=1e-5)
    p_value = 2 * scipy.stats.norm.sf(abs(areas[1] - areas[0]) / error)
    np.testing.assert_allclose(np.asarray(found.p_value)[1], p_value, rtol=1e-4)


# compare


def models_and_labels(num_models=4, num_examples=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num_examples)
    shared = rng.normal(size=num_examples) + 2.0 * labels - 1
    noise = rng.normal(size=(num_models, num_examples))
    return (shared + 0.5 * noise).astype(np.float32), labels.astype(np.int32)


def compared(*arguments, **options):
    """In NumPy's arrays."""
    return jax.tree.map(np.asarray, metrics.compare(*arguments, **options))


@pytest.mark.parametrize(
    ("baseline", "resampled"),
    [
        (2, False),
        (-1, False),
        ("smallest", False),
        ("largest", False),
        (2, True),
        ("largest", True),
    ],
)
def test_comparisons_hang_together(baseline, resampled, key):
    models, labels = models_and_labels()
    found = compared(
        metrics.log_loss,
        models,
        labels,
        baseline=baseline,
        key=key if resampled else None,
        num_resamples=500,
    )
    best = {"smallest": np.argmin, "largest": np.argmax}.get(baseline, lambda _: baseline % 4)
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
    found = compared(metrics.log_loss, models, labels, baseline=2)
    others = np.arange(4) != 2
    order = np.argsort(found.p_value[others])
    stepped = np.maximum.accumulate(found.p_value[others][order] * [3, 2, 1])
    np.testing.assert_allclose(
        found.adjusted_p_value[others][order], np.minimum(stepped, 1), rtol=1e-5
    )


def test_equal_models_do_not_differ(key):
    models, labels = models_and_labels(1)
    for choice in ({}, {"key": key}):
        found = compared(
            metrics.log_loss,
            np.repeat(models, 4, 0),
            labels,
            baseline=2,
            num_resamples=500,
            **choice,
        )
        np.testing.assert_array_equal(found.p_value, 1)
        np.testing.assert_array_equal(found.adjusted_high, 0)


@pytest.mark.parametrize("resampled", [False, True])
@pytest.mark.parametrize("metric", [metrics.log_loss, metrics.roc_auc])
@pytest.mark.thorough
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
    assert np.isnan(one.p_value)[1:].all() and np.isnan(one.standard_error)[1:].all()
    for choice in ({}, {"key": key, "num_resamples": 9}):
        none = metrics.confidence_interval(metrics.log_loss, models[0, :0], labels[:0], **choice)
        assert all(np.isnan(value) for value in none)


def test_an_undefined_model_spoils_no_other(key):
    models, labels = models_and_labels()
    models[3] = np.nan
    choice = {"key": key, "num_resamples": 500, "baseline": 2}
    found = compared(metrics.log_loss, models, labels, **choice)
    alone = compared(metrics.log_loss, models[:3], labels, **choice)
    np.testing.assert_allclose(found.p_value[:3], alone.p_value)
    np.testing.assert_allclose(found.low[:3], alone.low)
    assert np.isnan(found.p_value[3])


def test_delong_knows_probabilities():
    logits, labels, _ = examples("binary")
    probs = scipy.special.expit(logits)
    np.testing.assert_allclose(
        metrics.confidence_interval(metrics.from_probs(metrics.roc_auc), probs, labels),
        metrics.confidence_interval(metrics.roc_auc, logits, labels),
        rtol=1e-5,
    )


@pytest.mark.usefixtures("unchecked_signatures")
def test_estimates_with_a_covariance_are_compared_as_metrics_are():
    """The same numbers as `compare`, from its parts; what is no covariance is refused."""
    random = np.random.default_rng(0)
    labels = jnp.asarray(random.integers(0, 2, 50))
    models = jnp.asarray(random.normal(size=(3, 50)), jnp.float32)
    wanted = metrics.compare(metrics.log_loss, models, labels, baseline="smallest")
    losses = np.logaddexp(0, -np.where(labels == 1, models, -models).astype(np.float64))
    found = metrics.compare_estimates(losses.mean(1), np.cov(losses) / 50, baseline="smallest")
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)
    for wrong in (
        np.diag([1.0, -1.0]),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.array([[1, 0.9], [0, 1]]),
    ):
        with pytest.raises(ValueError, match="`covariance`"):
            metrics.compare_estimates(np.zeros(2), wrong)
    with pytest.raises(ValueError, match=r"float64\[2\] and float64\[3,3\]"):
        metrics.compare_estimates(np.zeros(2), np.eye(3))


def test_differences_over_seeds_are_students_where_examples_are_many():
    """Without an influence of the examples, the paired t-test of the seeds."""
    values = np.random.default_rng(0).normal(size=(3, 5)) + np.arange(3)[:, None]
    found = metrics.compare_over_seeds(values, np.zeros([3, 7]), confidence=0.9)
    for model in (1, 2):
        wanted: Any = scipy.stats.ttest_rel(values[model], values[0])
        low, high = wanted.confidence_interval(0.9)
        np.testing.assert_allclose(found.p_value[model], wanted.pvalue, rtol=1e-5)
        np.testing.assert_allclose((found.low[model], found.high[model]), (low, high), rtol=1e-5)
        low, high = wanted.confidence_interval(0.95)  # both at once, by Bonferroni
        np.testing.assert_allclose(
            (found.adjusted_low[model], found.adjusted_high[model]), (low, high), rtol=1e-5
        )
    smaller, larger = sorted(np.asarray(found.p_value)[1:])
    wanted = sorted((min(2 * smaller, 1), max(2 * smaller, larger)))  # by Holm
    np.testing.assert_allclose(sorted(found.adjusted_p_value)[:2], wanted, rtol=1e-5)


def test_a_p_value_is_the_level_whose_interval_ends_at_0():
    random = np.random.default_rng(0)
    for size in (0.03, 1.0, 3.0, 30.0):
        values = random.normal(size=(2, 3)) + np.array([[0], [size]])
        influences = random.normal(size=(2, 20)) / 20
        with jax.enable_x64(True):
            p = float(metrics.compare_over_seeds(values, influences).p_value[1])
            found = metrics.compare_over_seeds(values, influences, confidence=1 - p)
        assert 0 < p < 1
        nearest = min(abs(float(found.low[1])), abs(float(found.high[1])))
        np.testing.assert_allclose(nearest, 0, atol=1e-4 * float(found.high[1] - found.low[1]))


@pytest.mark.parametrize(("num_seeds", "of_seeds"), [(2, 1.0), (2, 10.0), (5, 0.0)])
def test_intervals_over_seeds_hold_as_often_as_they_say(num_seeds, of_seeds):
    """Two equal models, whose losses have parts of the example, of the seed and of both.

    With two seeds whose part is the largest, normal quantiles hold 73 % of the time.
    """
    random, num_examples, number = np.random.default_rng(num_seeds), 40, 600
    held = 0
    for _ in range(number):
        losses = of_seeds / np.sqrt(num_examples) * random.normal(size=(2, num_seeds, 1))
        losses = losses + random.normal(size=(2, 1, num_examples))
        influences = (losses - losses.mean(2, keepdims=True)).mean(1) / num_examples
        found = metrics.compare_over_seeds(losses.mean(2), influences)
        held += float(found.low[1]) <= 0 <= float(found.high[1])
    # 95 % less three standard errors; a sum of two variances may hold more often
    assert held / number >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / number)
    assert held / number <= 0.999


@pytest.mark.usefixtures("unchecked_signatures")
def test_what_is_not_seeds_and_examples_is_refused():
    for values, influences, says in (
        (np.zeros(3), np.zeros([3, 4]), r"float64\[3\] and float64\[3,4\]"),
        (np.zeros([3, 2]), np.zeros([2, 4]), r"float64\[3,2\] and float64\[2,4\]"),
        (np.zeros([3, 0]), np.zeros([3, 4]), r"There must be .* float64\[3,0\]"),
    ):
        with pytest.raises(ValueError, match=says):
            metrics.compare_over_seeds(values, influences)
    with pytest.raises(TypeError, match=r"`values` must be numbers, outside of jax\.jit"):
        jax.jit(metrics.compare_over_seeds)(np.ones([2, 3], "f4"), np.ones([2, 4], "f4"))
    with pytest.raises(TypeError, match=r"`influences` must be floating point, but complex"):
        metrics.compare_over_seeds(np.ones([2, 3]), np.ones([2, 4], complex))
    alone = metrics.compare_over_seeds(np.array([[0.0], [1.0]]), np.zeros([2, 1]))
    assert np.isnan(alone.low[1]) and np.isnan(alone.p_value[1])
    infinite = metrics.compare_over_seeds(np.array([[0.0], [np.inf]]), np.zeros([2, 3]))
    assert np.isnan(infinite.p_value[1])
    undefined = metrics.compare_over_seeds(np.array([[0.0, 1], [np.nan, 1]]), np.ones([2, 4]))
    assert np.isnan(undefined.low[1]) and np.isnan(undefined.p_value[1])
    equal = metrics.compare_over_seeds(np.ones([2, 3]), np.ones([2, 4]))
    assert float(equal.p_value[1]) == 1 and float(equal.high[1]) == 0
