"""Comparisons of models on examples that come batch by batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arguments import checked, examples
from .._typing import Array, ArrayLike, as_floating, describe
from ._compare import Baseline, Comparison, as_dtype, by_covariance, check_baseline
from ._intervals import check_confidence
from ._stream import Made, Sums, check_kind, made_of, split
from ._sums import Additive


class Moments(NamedTuple):
    """Weighted sums of the values of several models on the same examples; they add."""

    weight: Sums  # Σw and Σw², [1, 2]
    first: Sums  # Σw·v and Σw²·v, [models, 2]
    second: Sums  # Σw²·v·vᵀ, [models, models]


class PairedStream(NamedTuple):
    """Comparisons in a stream: four pure functions."""

    init: Callable[[], dict[str, Moments]]
    """`init()`: the state that has seen nothing."""
    update: Callable[..., dict[str, Moments]]
    """`update(state, logits, labels, *, weights=1.0, where=True)`, logits `[models, ...]`."""
    merge: Callable[[dict[str, Moments], dict[str, Moments]], dict[str, Moments]]
    """`merge(state, other)`: the state that has seen what both have."""
    compute: Callable[..., dict[str, Comparison]]
    """`compute(state, *, baseline=0, confidence=0.95)`: a `Comparison` by name."""


def paired_stream(
    metrics: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]],
    *,
    num_models: int,
    num_classes: int | None = None,
) -> PairedStream:
    """`compare` of metrics that are means, on examples that come batch by batch.

    The state holds what the means, their variances and covariances are made of: models + models²
    numbers for each metric, however many examples it has seen.

    Args:
        metrics: `log_loss`, `brier_score`, `accuracy`, `top_k_accuracy`, by the names that their
            results are to have, or a sequence of them; options by `functools.partial`.
        num_models: how many models the logits have along their first axis.
        num_classes: how many classes along their last axis; None for binary labels.

    Returns:
        The four functions, `update` jit-compiled for each shape of a batch.

    Raises:
        ValueError: a metric is not a mean over the examples.

    Edges: as `compare` with no key, whose results it gives.
    Error: sums of 48 bits; the variance of a mean difference that is small beside the losses has
        what is left of them.

    Example:
        >>> import jax.numpy as jnp
        >>> from jbce.metrics import accuracy
        >>> stream = paired_stream([accuracy], num_models=2)
        >>> state = stream.init()
        >>> logits = jnp.array([[1.0, 2.0, -1.0], [1.0, -2.0, -1.0]])
        >>> state = stream.update(state, logits, jnp.array([1, 1, 0]))
        >>> [round(float(d), 4) for d in stream.compute(state)["accuracy"].difference]
        [0.0, -0.3333]
    """
    made = made_of(metrics)
    for parts, _, _ in made.values():
        if not parts.is_mean:
            raise ValueError(f"`{parts.name}` is not a mean over the examples: `compare` takes it.")

    @jax.jit
    def init() -> dict[str, Moments]:
        return {name: _nothing(num_models) for name in made}

    @jax.jit
    def add(state: dict[str, Moments], logits: Array, *others: Array) -> dict[str, Moments]:
        return merge(state, _moments(made, logits, *others))

    def update(
        state: dict[str, Moments],
        logits: ArrayLike,
        labels: ArrayLike,
        *,
        weights: ArrayLike = 1.0,
        where: ArrayLike = True,
    ) -> dict[str, Moments]:
        models = as_floating("logits", logits)
        if models.ndim < 1 or models.shape[0] != num_models:
            raise ValueError(
                f"`logits` must have {num_models} models along their first axis, "
                f"but {describe(models)} came."
            )
        first, *others = checked(models[0], labels, weights, where)
        check_kind(first, others[0], num_classes)
        return add(state, models, *others)

    @jax.jit
    def merge(state: dict[str, Moments], other: dict[str, Moments]) -> dict[str, Moments]:
        return {
            name: Moments(*(Sums(*a) + Sums(*b) for a, b in zip(moments, other[name], strict=True)))
            for name, moments in state.items()
        }

    def compute(
        state: dict[str, Moments], *, baseline: Baseline = 0, confidence: float = 0.95
    ) -> dict[str, Comparison]:
        check_confidence(confidence)
        which = check_baseline(baseline, num_models)
        results = {}
        for name, (_, _, traced) in made.items():
            moments = state[name]
            with jax.enable_x64(True):
                unit = jnp.asarray(traced.get("unit", 1.0)).astype(jnp.float64)
                means, covariance = _mean_and_covariance(moments, unit)
            found = by_covariance(means, covariance, which, confidence)
            results[name] = as_dtype(found, moments.weight.high.dtype)
        return results

    return PairedStream(init, update, merge, compute)


def _nothing(num_models: int) -> Moments:
    zero = jnp.zeros(())
    return Moments(
        *(
            Sums(*(jnp.zeros(shape, zero.dtype) for _ in range(2)))
            for shape in ((1, 2), (num_models, 2), (num_models, num_models))
        )
    )


def _moments(made: Made, logits: Array, *others: Array) -> dict[str, Moments]:
    return {
        name: _moments_of(metric, static, logits, *others)
        for name, (metric, static, _) in made.items()
    }


def _moments_of(metric: Additive, static: dict[str, Any], logits: Array, *others: Array) -> Moments:
    def values_of(logits: Array) -> tuple[Array, Array]:
        these = examples(logits, *others)
        with jax.enable_x64(True):
            parts = metric.columns(these, **static)
            values = parts.columns[1]
            if parts.undefined is not None:
                values = jnp.where(parts.undefined, jnp.nan, values)
            return jnp.where(these.counted, values, 0.0).ravel(), these.weights.ravel()

    values, weights = jax.lax.map(values_of, logits)
    with jax.enable_x64(True):
        w = weights[:1]
        weighted = w * values
        sums = (
            jnp.stack([jnp.sum(w), jnp.sum(w**2)])[None],
            jnp.stack([jnp.sum(weighted, axis=-1), jnp.sum(w * weighted, axis=-1)], axis=-1),
            jax.lax.dot_general(weighted, weighted, (((1,), (1,)), ((), ()))),
        )
    return Moments(*map(split, sums))


@jax.jit
def _mean_and_covariance(moments: Moments, unit: Array) -> tuple[Array, Array]:
    weight, first, second = (
        s.high.astype(jnp.float64) + s.low.astype(jnp.float64) for s in moments
    )
    total, squares = weight[0]
    means = first[:, 0] / total
    crossed = first[:, 1]
    centred = (
        second
        - crossed[:, None] * means[None, :]
        - means[:, None] * crossed[None, :]
        + squares * means[:, None] * means[None, :]
    )
    number = total**2 / squares
    return means / unit, centred / total**2 * number / (number - 1) / unit**2
