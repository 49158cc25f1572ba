"""Classifiers from features to logits.

Each says what it is in `description`, numbers and words that make a model of the same shape again.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from .._typing import Array, Float
from ._extra import extra

with extra():
    from flax import nnx

# By name, so that a description is text.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nnx.relu,
    "gelu": nnx.gelu,
    "silu": nnx.silu,
    "tanh": jnp.tanh,
}


class LogisticRegression(nnx.Module):
    """Logits that are linear in the features: `features @ kernel + bias`.

    Args:
        num_features: number of features of an example.
        num_classes: number of classes, or of labels that each are or are not; None means binary,
            with one logit per example.
        rngs: where the initial kernel comes from (LeCun normal; the bias starts at 0).
        dtype: what to compute in, as `jnp.bfloat16`; parameters and logits are float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> LogisticRegression(4, rngs=nnx.Rngs(0))(jnp.ones([10, 4])).shape
        (10,)
        >>> LogisticRegression(4, num_classes=3, rngs=nnx.Rngs(0))(jnp.ones([10, 4])).shape
        (10, 3)
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int | None = None,
        *,
        rngs: nnx.Rngs,
        dtype: Any = None,
    ):
        self.binary = num_classes is None
        self.output = _output(num_features, num_classes, dtype, rngs)

    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*logits"]:
        """Logits of `features`: `[*batch]` if binary, else `[*batch, num_classes]`."""
        return _logits(self.output(features), self.binary)

    @property
    def description(self) -> dict[str, Any]:
        """The arguments that make such a model."""
        return {"num_features": self.output.in_features, **_about_output(self)}


class MLP(nnx.Module):
    """Logits of a multi-layer perceptron.

    Args:
        num_features: number of features of an example.
        hidden_sizes: width of each hidden layer; none makes it a logistic regression.
        num_classes: number of classes, or of labels that each are or are not; None means binary,
            with one logit per example.
        rngs: where the initial kernels come from (LeCun normal; biases start at 0), and which
            units drop out.
        activation: after each hidden layer.
        dropout: the share of hidden units that are left out in training.
        dtype: what to compute in, as `jnp.bfloat16`; parameters and logits are float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> MLP(4, [8, 8], num_classes=3, rngs=nnx.Rngs(0))(jnp.ones([10, 4])).shape
        (10, 3)
    """

    def __init__(
        self,
        num_features: int,
        hidden_sizes: Sequence[int],
        num_classes: int | None = None,
        *,
        rngs: nnx.Rngs,
        activation: Callable[[Array], Array] = nnx.relu,
        dropout: float = 0.0,
        dtype: Any = None,
    ):
        sizes = [num_features, *hidden_sizes]
        self.binary = num_classes is None
        self.activation = activation
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        self.hidden = nnx.List(
            [
                nnx.Linear(size, next_size, dtype=dtype, rngs=rngs)
                for size, next_size in itertools.pairwise(sizes)
            ]
        )
        self.output = _output(sizes[-1], num_classes, dtype, rngs)

    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*logits"]:
        """Logits of `features`: `[*batch]` if binary, else `[*batch, num_classes]`."""
        for layer in self.hidden:
            features = self.activation(layer(features))
            if self.dropout is not None:
                features = self.dropout(features)
        return _logits(self.output(features), self.binary)

    @property
    def description(self) -> dict[str, Any]:
        """The arguments that make such a model."""
        sizes = [layer.in_features for layer in (*self.hidden, self.output)]
        return {
            "num_features": sizes[0],
            "hidden_sizes": sizes[1:],
            "activation": _name_of(self.activation),
            "dropout": 0.0 if self.dropout is None else self.dropout.rate,
            **_about_output(self),
        }


class CNN(nnx.Module):
    """Logits of a small convolutional network, for images.

    Each layer is a 3 × 3 convolution, the activation and a maximum over 2 × 2; then the mean over
    what is left of the image, and a linear layer.

    Args:
        num_channels: of an image `[height, width, channels]`.
        hidden_channels: of each layer.
        num_classes: number of classes, or of labels that each are or are not; None means binary,
            with one logit per example.
        rngs: where the initial kernels come from (LeCun normal; biases start at 0).
        activation: after each convolution.
        dtype: what to compute in, as `jnp.bfloat16`; parameters and logits are float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> CNN(1, [8, 16], num_classes=10, rngs=nnx.Rngs(0))(jnp.ones([5, 28, 28, 1])).shape
        (5, 10)
    """

    def __init__(
        self,
        num_channels: int,
        hidden_channels: Sequence[int],
        num_classes: int | None = None,
        *,
        rngs: nnx.Rngs,
        activation: Callable[[Array], Array] = nnx.relu,
        dtype: Any = None,
    ):
        sizes = [num_channels, *hidden_channels]
        self.binary = num_classes is None
        self.activation = activation
        self.hidden = nnx.List(
            [
                nnx.Conv(size, next_size, (3, 3), dtype=dtype, rngs=rngs)
                for size, next_size in itertools.pairwise(sizes)
            ]
        )
        self.output = _output(sizes[-1], num_classes, dtype, rngs)

    def __call__(
        self, features: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*logits"]:
        """Logits of images: `[*batch]` if binary, else `[*batch, num_classes]`."""
        for layer in self.hidden:
            features = self.activation(layer(features))
            if min(features.shape[-3:-1]) > 1:
                features = _largest_of_four(features)
        return _logits(self.output(jnp.mean(features, axis=(-3, -2))), self.binary)

    @property
    def description(self) -> dict[str, Any]:
        """The arguments that make such a model."""
        sizes = [layer.in_features for layer in (*self.hidden, self.output)]
        return {
            "num_channels": sizes[0],
            "hidden_channels": sizes[1:],
            "activation": _name_of(self.activation),
            **_about_output(self),
        }


def _largest_of_four(images: Array) -> Array:
    """The maximum over squares of 2 × 2; an odd last row or column is left out."""
    *batch, height, width, channels = images.shape
    even = images[..., : height // 2 * 2, : width // 2 * 2, :]
    squares = even.reshape(*batch, height // 2, 2, width // 2, 2, channels)
    return jnp.max(squares, axis=(-4, -2))


def _output(num_inputs: int, num_classes: int | None, dtype: Any, rngs: nnx.Rngs) -> nnx.Linear:
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"`num_classes` must be at least 1 (or None: binary), not {num_classes}.")
    # Products of 16 bits, but the logits are their float32 sums: the loss sees all digits.
    wide = None if dtype is None else jnp.float32
    size = 1 if num_classes is None else num_classes
    return nnx.Linear(num_inputs, size, dtype=dtype, preferred_element_type=wide, rngs=rngs)


def _logits(outputs: Array, binary: bool) -> Array:
    return outputs[..., 0] if binary else outputs


def _about_output(model: Any) -> dict[str, Any]:
    dtype = model.output.dtype
    return {
        "num_classes": None if model.binary else model.output.out_features,
        "dtype": None if dtype is None else jnp.dtype(dtype).name,
    }


def _name_of(activation: Callable[[Array], Array]) -> str:
    for name, known in ACTIVATIONS.items():
        if activation is known:
            return name
    raise ValueError(
        f"`activation` has no name in a file; it is {activation}, and none of "
        f"{', '.join(ACTIVATIONS)}."
    )


MODELS = {"LogisticRegression": LogisticRegression, "MLP": MLP, "CNN": CNN}
