"""What several experiments do around a fit: examples of one size, a penalty, predictions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jbce import metrics, training


@nnx.jit
def predicted(model: Any, features: Any) -> jax.Array:
    """Logits of a model; those of one shape are compiled once for all."""
    return model(features)


def filled(
    features: Any, labels: np.ndarray, size: int, weights: np.ndarray | None = None
) -> training.Data:
    """Examples of weight 0 behind: folds of one size share their compilation."""
    missing = size - len(labels)
    counted = np.ones(len(labels)) if weights is None else weights
    return training.Data(
        jax.tree.map(lambda a: np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1)), features),
        np.pad(labels, (0, missing)),
        np.pad(counted.astype(np.float32), (0, missing)),
    )


def logistic_of_best_penalty(
    learnt: jax.Array,
    labels: jax.Array,
    kept: jax.Array,
    kept_labels: jax.Array,
    penalties: tuple[float, ...],
) -> training.Logistic:
    """Logistic regression to its optimum, with the penalty that is best for the examples kept."""

    def validated(penalty: jax.Array, *arrays: jax.Array) -> tuple[training.Logistic, jax.Array]:
        seen, labels, unseen, unseen_labels = arrays
        model = training.fit_logistic_regression(seen, labels, penalty=penalty)
        return model, metrics.log_loss(model(unseen), unseen_labels)

    # Arguments, since XLA would compute with what a closure holds while it compiles.
    models, losses = jax.jit(jax.vmap(validated, in_axes=(0, None, None, None, None)))(
        jnp.array(penalties), learnt, labels, kept, kept_labels
    )
    return jax.tree.map(lambda leaf: leaf[np.argmin(losses)], models)
