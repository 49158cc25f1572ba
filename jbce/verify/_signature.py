"""Losses of the common signatures, told by what shapes they take and give."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Kind = Literal["binary", "integer", "dense"]
KINDS: tuple[Kind, ...] = ("integer", "dense", "binary")


def kind_of(loss: Callable[..., Any]) -> Kind:
    """Whether `(logits, labels)` is binary, or categorical with integer or dense labels.

    Binary losses give a number for each logit, categorical ones a number for each row; integer
    labels have an axis less than the logits.

    Raises:
        TypeError: it is none of them; the message says what came of each try.
    """
    tried = []
    for kind in KINDS:
        logits, labels = example(kind, 4, 3, "float32")
        try:
            shape = jax.eval_shape(loss, logits, labels).shape
        except Exception as error:  # whatever a foreign function raises
            tried.append(f"{kind} labels: {str(error).strip().partition(chr(10))[0][:120]}")
            continue
        if shape == ((4, 3) if kind == "binary" else (4,)):
            return kind
        tried.append(f"{kind} labels: its result has the shape {shape}")
    raise TypeError(
        "the function is no loss `(logits, labels)` of one number per example; " + "; ".join(tried)
    )


def example(kind: Kind, batch: int, num_classes: int, dtype: str) -> tuple[Any, Any]:
    """Logits of every size, and labels that fit."""
    random = np.random.default_rng(0)
    logits = jnp.asarray(3 * random.standard_normal((batch, num_classes)), dtype)
    if kind == "integer":
        return logits, jnp.asarray(random.integers(0, num_classes, batch), jnp.int32)
    if kind == "binary":
        return logits, jnp.asarray(random.integers(0, 2, (batch, num_classes)), logits.dtype)
    weights = random.integers(1, 9, (batch, num_classes))
    return logits, jnp.asarray(weights / weights.sum(1, keepdims=True), logits.dtype)
