"""Classifiers from features to logits."""

import itertools
from collections.abc import Callable, Sequence

from .._typing import Array, Float
from ._extra import extra

with extra():
    from flax import nnx


class LogisticRegression(nnx.Module):
    """Logits that are linear in the features: `features @ kernel + bias`.

    Args:
        num_features: number of features of an example.
        num_classes: number of classes; None means binary, with one logit per example.
        rngs: where the initial kernel comes from (LeCun normal; the bias starts at 0).

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> LogisticRegression(4, rngs=nnx.Rngs(0))(jnp.ones([10, 4])).shape
        (10,)
        >>> LogisticRegression(4, num_classes=3, rngs=nnx.Rngs(0))(jnp.ones([10, 4])).shape
        (10, 3)
    """

    def __init__(self, num_features: int, num_classes: int | None = None, *, rngs: nnx.Rngs):
        self.binary = num_classes is None
        self.output = nnx.Linear(num_features, _num_logits(num_classes), rngs=rngs)

    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*logits"]:
        """Logits of `features`: `[*batch]` if binary, else `[*batch, num_classes]`."""
        return _logits(self.output(features), self.binary)


class MLP(nnx.Module):
    """Logits of a multi-layer perceptron.

    Args:
        num_features: number of features of an example.
        hidden_sizes: width of each hidden layer; none makes it a logistic regression.
        num_classes: number of classes; None means binary, with one logit per example.
        rngs: where the initial kernels come from (LeCun normal; biases start at 0).
        activation: after each hidden layer.

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
    ):
        sizes = [num_features, *hidden_sizes]
        self.binary = num_classes is None
        self.activation = activation
        self.hidden = nnx.List(
            [
                nnx.Linear(size, next_size, rngs=rngs)
                for size, next_size in itertools.pairwise(sizes)
            ]
        )
        self.output = nnx.Linear(sizes[-1], _num_logits(num_classes), rngs=rngs)

    def __call__(self, features: Float[Array, "*batch features"]) -> Float[Array, "*logits"]:
        """Logits of `features`: `[*batch]` if binary, else `[*batch, num_classes]`."""
        for layer in self.hidden:
            features = self.activation(layer(features))
        return _logits(self.output(features), self.binary)


def _num_logits(num_classes: int | None) -> int:
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"`num_classes` must be at least 1 (or None: binary), not {num_classes}.")
    return 1 if num_classes is None else num_classes


def _logits(outputs: Array, binary: bool) -> Array:
    return outputs[..., 0] if binary else outputs
