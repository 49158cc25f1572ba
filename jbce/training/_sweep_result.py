"""What a sweep has found, as tables."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import metrics as _metrics
from .._typing import describe
from ._data import Data
from ._extra import extra

with extra():
    import polars
    from flax import nnx

Outcome = dict[str, np.ndarray]
# A loss is best where it is smallest.
_LARGEST_IS_BEST = (
    _metrics.accuracy,
    _metrics.roc_auc,
    _metrics.average_precision,
    _metrics.top_k_accuracy,
    _metrics.balanced_accuracy,
    _metrics.f1_score,
    _metrics.matthews_correlation,
    _metrics.precision,
    _metrics.recall,
)


class SweepResult(NamedTuple):
    """The tables of a sweep, and its models.

    Attributes:
        trials: a row per setting and seed: the setting, `seed`, `epochs` (that it learnt),
            `best_epoch`, `diverged`, `training_loss` of the last of them, and every metric of the
            validation data with its standard error over the examples.
        settings: a row per setting, best first: the setting; of every metric the mean over the
            seeds, the difference from the best setting with its interval (`.low`, `.high`, all
            settings at once) and its p-value. The interval knows both that other examples, and
            that other seeds, would have given other numbers (`metrics.compare_over_seeds`); with
            one seed, only the former. `diverged`: how many of its trials did; their metrics are
            those of the step before.
        logits: of the validation data, `[trials, examples, ..]`.
        models: a function of the number of a trial, that gives its model.
    """

    trials: polars.DataFrame
    settings: polars.DataFrame
    logits: np.ndarray
    models: Callable[[int], nnx.Module]


def result_of(
    rows: Sequence[dict[str, Any]],
    seeds: Sequence[int],
    outcomes: dict[tuple[int, int], Outcome],
    judges: Sequence[Callable[..., Any]],
    judged: Data,
    rebuild: Callable[[dict[str, Any], Outcome], nnx.Module],
) -> SweepResult:
    """The tables, of what every trial has left."""
    keys = [(setting, seed) for setting in range(len(rows)) for seed in seeds]
    ordered = [outcomes[key] for key in keys]
    logits = np.stack([outcome["logits"] for outcome in ordered])
    columns: dict[str, list[Any]] = {
        name: [rows[setting][name] for setting, _ in keys] for name in rows[0]
    }
    columns["seed"] = [seed for _, seed in keys]
    for name in ("epochs", "best_epoch", "diverged"):
        columns[name] = [outcome[name].item() for outcome in ordered]
    columns["training_loss"] = [
        outcome["loss"][max(int(outcome["epochs"]) - 1, 0)].item() for outcome in ordered
    ]
    summary: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = [jnp.asarray(array) for array in (judged.labels, judged.weights)]
    order = None
    for metric in judges:
        values, influences = _judged(metric, jnp.asarray(logits), *arrays)
        name = name_of(metric)
        columns[name] = values.tolist()
        columns[f"{name}.standard_error"] = np.sqrt(np.sum(influences**2, axis=-1)).tolist()
        shape = (len(rows), len(seeds))
        largest = _innermost(metric) in map(_innermost, _LARGEST_IS_BEST)
        compared = _metrics.compare_over_seeds(
            values.reshape(shape),
            influences.reshape(*shape, -1).mean(axis=1),
            baseline="largest" if largest else "smallest",
        )
        if order is None:
            means = np.asarray(compared.estimate)
            order = np.argsort(-means if largest else means, kind="stable")  # NaN last
        summary[name] = np.asarray(compared.estimate).tolist()
        for field, what in (
            ("difference", compared.difference),
            ("low", compared.adjusted_low),
            ("high", compared.adjusted_high),
            ("p_value", compared.adjusted_p_value),
        ):
            summary[f"{name}.{field}"] = np.asarray(what).tolist()
    summary["diverged"] = np.reshape(columns["diverged"], (len(rows), -1)).sum(axis=1).tolist()
    settings = polars.DataFrame(summary, strict=False)
    if order is not None:
        settings = settings[order.tolist()]

    def model(trial: int) -> nnx.Module:
        setting, seed = keys[trial]
        return rebuild(rows[setting], outcomes[setting, seed])

    return SweepResult(polars.DataFrame(columns, strict=False), settings, logits, model)


def check_metrics(
    judges: Sequence[Callable[..., Any]], logits: jax.ShapeDtypeStruct, judged: Data
) -> None:
    """Whether each gives a number, before anything is trained.

    Raises:
        ValueError: it does not. What a metric itself raises comes with its name.
    """
    whole = jax.ShapeDtypeStruct((judged.num_examples, *logits.shape[1:]), logits.dtype)
    labels = jnp.asarray(judged.labels)
    weights = jax.ShapeDtypeStruct(labels.shape, jnp.float32)
    for metric in judges:
        try:
            found = jax.eval_shape(
                lambda x, y, w, metric=metric: metric(x, y, weights=w, where=True),
                *(whole, labels, weights),
            )
        except Exception as error:
            error.add_note(
                f"jbce: the metric {name_of(metric)} was asked about logits {describe(whole)} and "
                f"labels {describe(labels)}, with `weights` and `where`."
            )
            raise
        leaves = jax.tree.leaves(found)
        numbers = [leaf.shape == () and jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
        if numbers != [True]:
            raise ValueError(
                f"`metrics` must give one floating-point number each, but {name_of(metric)} gives "
                f"{', '.join(map(describe, leaves)) or 'nothing'}."
            )


def name_of(metric: Callable[..., Any]) -> str:
    """The column of a metric."""
    return getattr(_innermost(metric), "__name__", str(metric))


def _innermost(metric: Callable[..., Any]) -> Callable[..., Any]:
    """What `functools.partial`, `jax.jit` and the like have wrapped."""
    while (inner := getattr(metric, "func", getattr(metric, "__wrapped__", None))) is not None:
        metric = inner
    return metric


def _judged(
    metric: Callable[..., Any], logits: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """A metric of every trial, and what each example does to it."""
    values, influences = _values_and_influences(metric, logits, labels, weights)
    return np.asarray(values, np.float64), np.asarray(influences, np.float64)


@partial(jax.jit, static_argnums=0)
def _values_and_influences(
    metric: Callable[..., Any], logits: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    num_examples = labels.shape[0]
    weights = weights.reshape(num_examples, *[1] * (labels.ndim - 1))
    weights = jnp.broadcast_to(weights, labels.shape)

    def both(one: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = metric(one, labels, weights=weights)
        influences = _metrics.influence(metric, one, labels, weights=weights)
        return value, influences.reshape(num_examples, -1).sum(axis=-1)  # of all its labels

    return jax.lax.map(both, logits)
