"""Comparisons of ways to train, over examples and seeds."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments._over_seeds import compare_over_seeds, interval
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
