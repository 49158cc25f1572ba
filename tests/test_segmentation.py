"""The Dice of decisions and of probabilities, and crops that keep image and truth together."""

import pytest

pytest.importorskip("flax")

import jax.numpy as jnp
import numpy as np

from experiments import segmentation


def _pairs():
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 4, 5)).astype(np.float32)
    return logits, random.integers(2, size=logits.shape).astype(bool)


@pytest.mark.jax_defaults
def test_soft_dice_by_its_definition():
    logits, truth = _pairs()
    probs = 1 / (1 + np.exp(-logits.astype(np.float64)))
    losses = segmentation.soft_dice_loss(jnp.asarray(logits), jnp.asarray(truth))
    for found, p, y in zip(losses, probs, truth, strict=True):
        assert float(found) == pytest.approx(1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))


def test_dice_is_f1():
    from sklearn.metrics import f1_score

    logits, truth = _pairs()
    for found, x, y in zip(segmentation.dice(logits, truth, 0.3), logits, truth, strict=True):
        assert found == pytest.approx(f1_score(y.ravel(), x.ravel() > 0.3))


def test_crops_keep_image_and_truth_together():
    images = np.arange(2 * 12 * 12).reshape(2, 12, 12)
    config = segmentation.Config(num_crops=20, crop_size=4)
    crops, truth = segmentation.random_crops(config, images, images % 3 == 0, seed=0)
    assert crops.shape == truth.shape == (20, 4, 4)
    np.testing.assert_array_equal(truth, crops % 3 == 0)
    assert len(np.unique(crops.reshape(20, -1), axis=0)) > 15
