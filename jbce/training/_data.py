"""What a model learns from: examples in memory, checked against the model."""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, ArrayLike, as_array, as_real, describe
from ._extra import extra

with extra():
    from flax import nnx


class Data(NamedTuple):
    """Examples, one entry per example along the first axis of each array."""

    features: Any  # [examples, ...], or a pytree of such arrays: what the model takes
    labels: ArrayLike  # [examples, ...]
    weights: ArrayLike | None = None  # [examples], ≥ 0: how much each counts; None: all the same

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return jnp.shape(self.labels)[0]


def as_data(name: str, data: Any) -> Data:
    """Arrays that fit together, of `Data` or a tuple that begins like it.

    Raises:
        TypeError: it is neither, or a dtype is none that its role allows.
        ValueError: the numbers of examples differ, or are 0, or a weight is negative.
    """
    if not (isinstance(data, tuple) and 2 <= len(data) <= 3):
        raise TypeError(
            f"`{name}` must be (features, labels) or (features, labels, weights), "
            f"but a {type(data).__name__} came."
        )
    features, labels, weights = Data(*data)
    prefix = "" if name == "data" else f"{name} "
    features = jax.tree.map(lambda leaf: as_array(f"{prefix}features", leaf), features)
    check_width(f"{prefix}labels", labels)
    labels = as_real(f"{prefix}labels", labels)
    leaves = jax.tree.leaves(features)
    if not leaves:
        raise ValueError(f"`{prefix}features` hold no array.")
    for leaf in leaves:
        if leaf.ndim == 0 or leaf.shape[:1] != labels.shape[:1]:
            raise ValueError(
                f"`{prefix}features` and `{prefix}labels` must have the same number of examples "
                f"along their first axis, but {describe(leaf)} and {describe(labels)} came."
            )
    if labels.shape[0] == 0:
        raise ValueError(
            f"There must be examples to fit, but `{prefix}features` are {describe(leaves[0])}."
        )
    weights = (
        jnp.ones(labels.shape[:1]) if weights is None else as_real(f"{prefix}weights", weights)
    )
    if weights.shape != labels.shape[:1]:
        raise ValueError(
            f"`{prefix}weights` must have one entry per example, "
            f"but {describe(weights)} came with `{prefix}features` {describe(leaves[0])}."
        )
    weights = weights.astype(float)
    lowest = float(jnp.min(weights))
    if not (lowest >= 0 and bool(jnp.all(jnp.isfinite(weights)))):
        raise ValueError(
            f"`{prefix}weights` must be finite and ≥ 0, but are from {lowest} to "
            f"{float(jnp.max(weights))}."
        )
    if not bool(jnp.any(weights > 0)):
        raise ValueError(f"All `{prefix}weights` are 0: there is no example that counts.")
    return Data(features, labels, weights)


def check_width(name: str, labels: Any) -> None:
    """Integers that fit into 32 bits: others would come out as something else."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.size:
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < -(2**31) or highest >= 2**31:
            raise ValueError(
                f"`{name}` must fit into 32 bits, but they run from {lowest} to {highest}."
            )


def check_key(key: Any) -> None:
    """Something that `jax.random` takes.

    Raises:
        TypeError: it is not.
    """
    dtype = getattr(key, "dtype", None)
    raw = dtype == jnp.uint32 and getattr(key, "ndim", 0) == 1
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not (raw or (typed and key.ndim == 0)):
        raise TypeError(f"`key` must be a key of jax.random.key, but {key!r} came.")


def check_labels(name: str, logits: jax.ShapeDtypeStruct, data: Data, *, learnt: bool) -> None:
    """Hard labels are classes that the model has, of which it can learn something.

    Under jit a label out of range would only make a loss NaN.

    Args:
        name: of the data.
        logits: of one example.
        data: the examples.
        learnt: whether they train the model, and so have to differ.

    Raises:
        ValueError: a label is out of range; or all labels that count are the same, or are fewer
            than the classes.
    """
    labels, weights = np.asarray(data.labels), np.asarray(data.weights)
    whole = np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_
    binary = logits.shape[1:] == labels.shape[1:]
    if not (whole and (binary or logits.shape[1:-1] == labels.shape[1:])):
        return
    num_classes = 2 if binary else logits.shape[-1]
    counted = labels[weights > 0]
    lowest, highest = int(counted.min()), int(counted.max())
    if lowest < 0 or highest >= num_classes:
        what = "binary" if binary else f"for a model of {num_classes} classes"
        hint = " (one logit per example wants the logits without their last axis)"
        raise ValueError(
            f"`{'' if name == 'data' else name + ' '}labels` are {what}, so from 0 to "
            f"{num_classes - 1}, but they run from {lowest} to "
            f"{highest}; the model's logits are {describe(logits)} for one example"
            f"{hint if num_classes == 1 else ''}."
        )
    if not learnt or labels.ndim > 1:
        return
    if not binary and counted.size < num_classes:
        raise ValueError(
            f"{counted.size} examples cannot teach {num_classes} classes: every class needs one "
            "at least."
        )
    if counted.size > 1 and (counted == counted[0]).all():
        raise ValueError(
            f"All {counted.size} labels are {int(counted[0])}: there is nothing to tell apart, and "
            "the loss has no smallest value."
        )


def logits_of_one(model: nnx.Module, data: Data) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the model's logits for the first example.

    Raises:
        ValueError: the model does not take such features.
    """
    graphdef, state = nnx.split(model)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), data)
    try:
        return jax.eval_shape(lambda s, x: nnx.merge(graphdef, s)(x), state, one.features)
    except Exception as error:
        shown = ", ".join(describe(leaf) for leaf in jax.tree.leaves(one.features))
        error.add_note(
            f"jbce: the model ({type(model).__name__}) was asked for the logits of one example, "
            f"features {shown}; their shape may not be the model's."
        )
        raise


def at_least_one(name: str, value: int) -> int:
    """`value` as an integer.

    Raises:
        ValueError: it is < 1.
    """
    if operator.index(value) < 1:
        raise ValueError(f"`{name}` must be at least 1, but {value} came.")
    return operator.index(value)


def take(data: Data, indices: Array, exists: Array) -> Data:
    """The examples of those numbers; where none exists, weight 0."""
    chosen = jax.tree.map(lambda leaf: leaf[indices], data)
    return chosen._replace(weights=jnp.where(exists, chosen.weights, 0))


def without_the_uncounted(data: Data) -> Data:
    """The first example that counts where the weight is 0: what stood there has no part in it.

    (Zeros might be where a model or a loss has no derivative.)
    """
    counts: Any = data.weights != 0
    first, some = jnp.argmax(counts), jnp.any(counts)

    def cleared(leaf: Array) -> Array:
        kept = counts.reshape(counts.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(kept, leaf, jnp.where(some, leaf[first], jnp.zeros_like(leaf[0])))

    weights = data.weights
    return jax.tree.map(cleared, data)._replace(weights=weights)
