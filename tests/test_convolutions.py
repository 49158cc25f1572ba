"""Convolutions as products of matrices are convolutions, and flips flip."""

import pytest

pytest.importorskip("flax")

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments import _convolutions


@pytest.mark.jax_defaults
def test_convolution_and_its_derivatives():
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 6, 5, 3)).astype(np.float32)
    kernel = random.normal(size=(27, 4)).astype(np.float32)
    cotangent = random.normal(size=(2, 6, 5, 4)).astype(np.float32)

    def plain(images, kernel):
        return jax.lax.conv_general_dilated(
            images,
            kernel.reshape(3, 3, 3, 4).swapaxes(0, 1),  # column by column
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    found, pull = jax.vjp(_convolutions.convolved, images, kernel)
    expected, pull_plain = jax.vjp(plain, images, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(pull(cotangent), pull_plain(cotangent), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.jax_defaults
def test_folding_and_the_largest_of_four():
    images = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    squares = images.reshape(2, 2, 2, 3, 2, 3)
    np.testing.assert_array_equal(
        _convolutions.largest_of_four(jnp.asarray(images)), squares.max(axis=(2, 4))
    )
    folded = _convolutions.folded(jnp.asarray(images))
    assert folded.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(folded[1, 1, 2], images[1, 2:, 4:].reshape(-1))


@pytest.mark.jax_defaults
def test_flips_are_of_training_alone():
    flip = _convolutions.RandomFlip(rngs=nnx.Rngs(0))
    images = jnp.arange(64.0 * 2).reshape(64, 1, 2, 1)
    first, second = np.asarray(flip(images)), np.asarray(flip(images))
    flipped = first[:, 0, 0, 0] > first[:, 0, 1, 0]
    assert 16 < flipped.sum() < 48 and not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first.reshape(64, 2)), images.reshape(64, 2))
    flip.eval()
    np.testing.assert_array_equal(flip(images), images)
