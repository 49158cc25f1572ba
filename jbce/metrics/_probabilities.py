"""Metrics of probabilities, by an explicit name: nothing guesses what it got."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._typing import Array, ArrayLike, as_floating, as_real, describe

_TOLERANCE = 1e-3  # of the sum of a row: three printed digits


@functools.lru_cache(maxsize=256)
def from_probs(metric: Callable[..., Any]) -> Callable[..., Any]:
    """The same metric as a function of probabilities instead of logits.

        from_probs(metric)(probs, labels, ...) = metric(logits, labels, ...)

    with logits log p − log(1 − p) for binary labels and log p for class indices, in float64 (the
    probabilities of one example keep their order, and 1e-300 its distance from 0).

    Args:
        metric: a function of `jbce.metrics`, or any other of (logits, labels, ...).

    Returns:
        A function of (probs, labels, ...): `[*batch]` probabilities of the positive class for
        binary labels, `[*batch, classes]` of all classes for class indices. Its results have the
        dtype that they would have for logits of the dtype of `probs`. It raises TypeError where
        `probs` are not floating point, and ValueError where one is outside [0, 1], or a row sums to
        something else than 1 by more than 1e-3; under `jit`, where nobody can look, such an example
        is undefined (NaN).

    Edges: probabilities 0 and 1 are what they say: a log loss may be inf. What a row's sum is off 1
        is a common factor of its odds: rows are normalised.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbce.metrics import log_loss
        >>> probs, labels = jnp.array([0.9, 0.2, 0.6]), jnp.array([1, 0, 0])
        >>> round(float(from_probs(log_loss)(probs, labels)), 4)
        0.4149
    """

    @functools.wraps(metric)
    def of_probs(probs: ArrayLike, labels: ArrayLike, *args: Any, **options: Any) -> Any:
        probs, labels = as_floating("probs", probs), as_real("labels", labels)
        binary = probs.shape == labels.shape
        if not isinstance(probs, Tracer):
            _check(np.asarray(probs), binary)
        with jax.enable_x64(True):
            result = metric(_logits(probs, binary), labels, *args, **options)
            dtype = jnp.float64 if probs.dtype == jnp.float64 else jnp.float32
            return jax.tree.map(lambda a: a.astype(dtype), result)

    del of_probs.__wrapped__  # its signature is another
    of_probs.of = metric  # pyright: ignore[reportAttributeAccessIssue]
    return of_probs


def _logits(probs: Array, binary: bool) -> Array:
    probs = probs.astype(jnp.float64)
    logs = jnp.log(probs)  # NaN below 0
    if binary:
        return logs - jnp.log1p(-probs)
    total = jnp.sum(probs, axis=-1, keepdims=True)
    return jnp.where(jnp.abs(total - 1) <= _TOLERANCE, logs, jnp.nan)


def _check(probs: Any, binary: bool) -> None:
    numbers = probs.astype(np.float64)
    outside = (numbers < 0) | (numbers > 1)
    if outside.any():
        place = tuple(map(int, np.argwhere(outside)[0]))
        raise ValueError(
            f"`probs` must be in [0, 1], but {describe(probs)} came with "
            f"{numbers[place]} at {list(place)}."
        )
    if binary or not probs.size:
        return
    totals = numbers.sum(axis=-1)
    wrong = np.abs(totals - 1) > _TOLERANCE
    if wrong.any():
        place = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(
            f"rows of `probs` must sum to 1, but {describe(probs)} came with a row that sums to "
            f"{totals[place]:.6g} at {list(place)}."
        )
