"""Comparisons of ways to train, over examples and seeds."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments._over_seeds import (
    compare_over_seeds,
    interval,
    mean_over_seeds,
    record_difference,
)
from experiments._record import Record, Table
from jbce import metrics

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 2, 60)
LOGITS = (RANDOM.normal(size=(3, 4, 60)) + LABELS).astype(np.float32)


def test_estimates_are_means_over_the_seeds():
    found = compare_over_seeds(metrics.log_loss, LOGITS, LABELS)
    signed = np.where(LABELS == 1, LOGITS, -LOGITS).astype(np.float64)
    losses = np.log1p(np.exp(-signed))
    np.testing.assert_allclose(found.estimate, losses.mean(axis=(1, 2)), rtol=1e-5)
    # Of examples, whose losses are averaged over the seeds, and of seeds.
    apart = losses - losses[:1]
    variance = apart.mean(axis=1).var(axis=-1, ddof=1) / 60
    variance += apart.mean(axis=-1).var(axis=-1, ddof=1) / 4
    np.testing.assert_allclose(found.standard_error, np.sqrt(variance), rtol=1e-4)


def test_one_seed_is_the_comparison_of_models():
    found = compare_over_seeds(metrics.roc_auc, LOGITS[:, :1], LABELS)
    plain = metrics.compare(metrics.roc_auc, jnp.asarray(LOGITS[:, 0]), jnp.asarray(LABELS))
    np.testing.assert_allclose(found.estimate, plain.estimate, rtol=1e-6)
    np.testing.assert_allclose(found.difference, plain.difference, rtol=1e-4, atol=1e-7)
    # `compare` does not correct for the mean that was estimated.
    ratio = np.asarray(found.standard_error)[1:] / np.asarray(plain.standard_error)[1:]
    np.testing.assert_allclose(ratio, np.sqrt(60 / 59), rtol=0.02)


@pytest.mark.parametrize("metric", [metrics.log_loss, metrics.accuracy])
def test_the_same_model_twice_does_not_differ(metric):
    found = compare_over_seeds(metric, LOGITS[[0, 0]], LABELS)
    assert float(found.difference[1]) == 0
    assert float(found.p_value[1]) == 1


def test_interval_is_students():
    middle, half = interval(np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]), 0.95)
    np.testing.assert_allclose(middle, [2.5, 0.0])
    np.testing.assert_allclose(half, [3.1824463 * np.sqrt(5 / 3 / 4), 0.0])  # t of 3 freedoms


def test_a_mean_over_seeds_reaches_as_far_as_both_samples_let_it():
    of_each = RANDOM.normal(size=(2, 3, 6))  # models, seeds, examples
    values = of_each.mean(axis=2)
    influences = (of_each - values[..., None]).mean(axis=1) / 6
    means, halves = mean_over_seeds(values, influences, 0.9)
    np.testing.assert_allclose(means, of_each.mean(axis=(1, 2)))
    squares = [
        (scipy.stats.t.ppf(0.95, count - 1) * of_each.mean(axis=other).std(axis=1, ddof=1)) ** 2
        / count
        for count, other in ((3, 2), (6, 1))
    ]
    np.testing.assert_allclose(halves, np.sqrt(sum(squares)), rtol=1e-4)


def test_a_difference_is_told_by_seed_and_over_all(capsys):
    record, models = Record(), {"first": LOGITS[0], "second": LOGITS[1]}
    judges = {"log loss": metrics.log_loss, "AUROC": metrics.roc_auc}
    record_difference(models, LABELS, judges, record, seed=7, confidence=0.9)
    (headline,) = record.headlines  # of those that are asked for
    found = compare_over_seeds(metrics.log_loss, LOGITS[:2], LABELS, confidence=0.9)
    assert headline.what == "log loss, second − first, 4 seeds"
    assert headline.value == pytest.approx(float(found.difference[1]))
    assert headline.low == pytest.approx(float(found.low[1]))
    assert headline.high == pytest.approx(float(found.high[1]))
    (table,) = record.blocks
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["seed 7", "seed 8", "seed 9", "seed 10", "mean"]
    of_seeds = [float(row[1].split()[0]) for row in table.rows]
    losses = [float(metrics.log_loss(jnp.asarray(x), jnp.asarray(LABELS))) for x in LOGITS[1]]
    before = [float(metrics.log_loss(jnp.asarray(x), jnp.asarray(LABELS))) for x in LOGITS[0]]
    np.testing.assert_allclose(of_seeds[:4], np.subtract(losses, before), atol=6e-5)
    assert of_seeds[4] == pytest.approx(np.mean(of_seeds[:4]), abs=1e-4)
