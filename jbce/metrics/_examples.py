"""What the logits and the label of an example say."""

import jax
import jax.numpy as jnp

from .._arguments import Examples
from .._typing import Array


def is_class(indices: Array, logits: Array) -> Array:
    """One-hot of class indices [*batch], of the shape of `logits`."""
    classes = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    return classes == indices[..., None]


def most_probable(logits: Array) -> Array:
    """The class index of the largest logit, the first of several, [*batch]."""
    return jax.lax.argmax(logits, logits.ndim - 1, jnp.int32)


def is_positive(binary_labels: Array) -> Array:
    """Boolean labels of integer or floating point ones."""
    return binary_labels > (0.5 if jnp.issubdtype(binary_labels.dtype, jnp.floating) else 0)


def is_defined(these: Examples) -> Array:
    """Where logits and label say something, [*batch]."""
    if these.binary:
        if jnp.issubdtype(these.labels.dtype, jnp.floating):
            is_label = ~jnp.isnan(these.labels)
        else:  # −1 and 1, or 1 and 2, are not what is meant
            is_label = (these.labels == 0) | (these.labels == 1)
        return is_label & ~jnp.isnan(these.logits)
    largest = jnp.max(these.logits, axis=-1)
    # One class at +inf has probability 1. Several would be inf − inf, and a row without any class
    # (all −inf) is 0 / 0; a NaN is the maximum of its row and equals nothing.
    winners = jnp.sum(these.logits == largest[..., None], axis=-1)
    has_probabilities = jnp.isfinite(largest) | ((largest == jnp.inf) & (winners == 1))
    # XLA CPU drops NaNs from the maximum of 4096 numbers and more.
    has_probabilities &= ~jnp.any(jnp.isnan(these.logits), axis=-1)
    return has_probabilities & (these.labels >= 0)


def entry_of_label(these: Examples) -> Array:
    """The logit of the label, [*batch]; 0 where there is none."""
    return jnp.sum(jnp.where(is_class(these.labels, these.logits), these.logits, 0.0), axis=-1)
