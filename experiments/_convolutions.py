"""Convolutions that are quick on processors, for the small networks of several experiments.

Inside a `lax.scan`, as training runs, XLA computes a convolution and its derivatives on a processor
some 20 times slower than the one product of matrices that it also is.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class Convolution(nnx.Module):
    """A 3 × 3 convolution, zeros around the image: a pixel and its neighbours, times a matrix."""

    def __init__(self, num_inputs: int, num_outputs: int, *, rngs: nnx.Rngs):
        initial = nnx.initializers.lecun_normal()(rngs.params(), (9 * num_inputs, num_outputs))
        self.kernel = nnx.Param(initial)

    def __call__(self, images: jax.Array) -> jax.Array:
        """`[n, height, width, inputs]` to `[n, height, width, outputs]`."""
        return convolved(images, self.kernel[...])


@jax.custom_vjp
def convolved(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of images with a kernel `[9 · inputs, outputs]`."""
    return _neighbours(images) @ kernel


def _forward(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return convolved(images, kernel), (images, kernel)


def _backward(saved: tuple[jax.Array, ...], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    # The derivative in the images is a convolution too, with the kernel turned about its centre.
    images, kernel = saved
    turned = kernel.reshape(9, images.shape[-1], -1)[::-1].swapaxes(1, 2)
    turned = turned.reshape(-1, images.shape[-1])
    return (
        _neighbours(cotangent) @ turned,
        jnp.einsum("nhwi,nhwo->io", _neighbours(images), cotangent),
    )


convolved.defvjp(_forward, _backward)


def _neighbours(images: jax.Array) -> jax.Array:
    """`[n, height, width, 9 · channels]`: those of each pixel and around it, column by column."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    columns = jnp.concatenate([padded[:, down : down + height] for down in range(3)], axis=-1)
    squares = [columns[:, :, right : right + width] for right in range(3)]
    return jnp.concatenate(squares, axis=-1)


class RandomFlip(nnx.Module):
    """Left and right changed over in half of the images while training, and in none afterwards."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.deterministic = False  # which `.train()` and `.eval()` change
        self.rngs = rngs.fork()

    def __call__(self, images: jax.Array) -> jax.Array:
        """The images, of the same shape."""
        if self.deterministic:
            return images
        flip = jax.random.bernoulli(self.rngs(), 0.5, (images.shape[0], 1, 1, 1))
        return jnp.where(flip, images[:, :, ::-1], images)


class ConvNet(nnx.Module):
    """Images to logits: convolutions, each with batch normalisation, a ReLU and a maximum of four.

    Before the first, squares of four pixels become one pixel of four times the channels, which
    leaves a quarter of the work. After the last, a matrix takes all that is left of the image.

    Args:
        shape: height, width and channels of an image.
        widths: channels of each convolution.
        num_classes: None means binary, with one logit per image.
        rngs: where the first weights come from, and which images are flipped.
        flips: whether to flip half of the images, left to right, in training.
        mean: whether the matrix takes the mean over the places instead.
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        num_classes: int | None = None,
        *,
        rngs: nnx.Rngs,
        flips: bool = False,
        mean: bool = False,
    ):
        height, width, num_channels = shape
        sizes = [4 * num_channels, *widths]
        self.flip = RandomFlip(rngs=rngs) if flips else None
        self.layers = nnx.List(
            [Convolution(*pair, rngs=rngs) for pair in itertools.pairwise(sizes)]
        )
        self.norms = nnx.List([nnx.BatchNorm(size, rngs=rngs) for size in widths])
        self.binary = num_classes is None
        self.mean = mean
        smaller = 2 ** (1 + len(widths))
        num_places = 1 if mean else (height // smaller) * (width // smaller)
        self.output = nnx.Linear(num_places * sizes[-1], num_classes or 1, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """`[n, height, width, channels]` to `[n]` if binary, else `[n, classes]`."""
        hidden = folded(images if self.flip is None else self.flip(images))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = largest_of_four(nnx.relu(norm(layer(hidden))))
        hidden = jnp.mean(hidden, axis=(1, 2)) if self.mean else hidden.reshape(len(hidden), -1)
        logits = self.output(hidden)
        return logits[..., 0] if self.binary else logits


def folded(images: jax.Array) -> jax.Array:
    """Squares of 2 × 2 pixels as one pixel of four times the channels."""
    n, height, width, channels = images.shape
    squares = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * channels)


def largest_of_four(images: jax.Array) -> jax.Array:
    """The maximum over squares of 2 × 2; an odd last row or column is left out."""
    height, width = (size // 2 * 2 for size in images.shape[1:3])
    even = images[:, :height, :width]
    rows = jnp.maximum(even[:, ::2], even[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])
