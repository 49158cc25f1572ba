"""Metrics of examples that come chunk by chunk: of all models and each group, in little memory."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._predictions import Chunk
from ._status import Misuse

SMALL = 1 << 10  # rows of a batch that is compiled for what is left over, and for small files
_PENDING = 32  # batches that may wait for more rows of their group
_STATE_BYTES = 400 << 20  # of all groups' states
MEANS = ("log_loss", "brier_score", "accuracy")  # of examples: with intervals
_MATRIX_CLASSES = 1000  # beyond which a confusion matrix is too large


class Rows(NamedTuple):
    """Examples without their place in a file."""

    logits: np.ndarray  # float64, [models, rows], or [models, rows, classes]
    labels: np.ndarray  # int32, [rows]
    weights: np.ndarray  # float64, [rows]

    def part(self, rows: Any) -> "Rows":
        """Some of them."""
        return Rows(self.logits[:, rows], self.labels[rows], self.weights[rows])


class State(NamedTuple):
    """Sums that say everything about the examples that were seen."""

    each: Any  # of `metrics.stream`, with a leading axis of models
    together: Any  # of `metrics.paired_stream`


class Functions(NamedTuple):
    """What is compiled, once per kind of model and number of models."""

    init: Callable[[], State]
    update: Callable[..., State]
    merge: Callable[[State, State], State]
    compute: Callable[[State], dict[str, Any]]
    """The metrics, [models] each."""
    compare: Callable[..., dict[str, Any]]
    """(state, names of means, baseline, confidence): a `Comparison` for each."""


def judged_probability(num_classes: int | None) -> Any:
    """Which probability a reliability diagram shows."""
    return "positive" if num_classes is None else "top_label"


def metrics_of(num_classes: int | None) -> dict[str, Callable[..., Any]]:
    """The metrics that are streamed."""
    from .. import metrics

    partial = functools.partial
    found: dict[str, Callable[..., Any]] = {
        "log_loss": metrics.log_loss,
        "brier_score": metrics.brier_score,
        "accuracy": metrics.accuracy,
        "reliability": partial(metrics.reliability, of=judged_probability(num_classes)),
        "expected_calibration_error": metrics.expected_calibration_error,
        "smooth_calibration_error": metrics.smooth_calibration_error,
    }
    if num_classes is None or num_classes <= _MATRIX_CLASSES:
        found |= {
            "confusion_matrix": metrics.confusion_matrix,
            "balanced_accuracy": metrics.balanced_accuracy,
            "precision": metrics.precision,
            "recall": metrics.recall,
            "f1_score": metrics.f1_score,
            "matthews_correlation": metrics.matthews_correlation,
        }
    if num_classes is None:
        found |= {
            "positive_calibration_error": partial(
                metrics.expected_calibration_error, of="positive"
            ),
            "brier_decomposition": metrics.brier_decomposition,
            "roc_auc": metrics.histogram_roc_auc,
        }
    else:
        found["class_calibration_error"] = partial(metrics.expected_calibration_error, of="classes")
        if num_classes > 5:
            found["top_5_accuracy"] = metrics.top_k_accuracy
    return found


@functools.lru_cache
def functions(num_models: int, num_classes: int | None) -> Functions:
    """The stream of all metrics over a leading axis of models.

    To be called, as what it returns, with 64-bit types enabled.
    """
    import jax
    import jax.numpy as jnp

    from .. import metrics

    stream = metrics.stream(metrics_of(num_classes), num_classes=num_classes)
    compared = {name: metrics_of(num_classes)[name] for name in MEANS}
    paired = metrics.paired_stream(compared, num_models=num_models, num_classes=num_classes)

    def zeros() -> State:
        each = jax.tree.map(lambda a: jnp.zeros((num_models, *a.shape), a.dtype), stream.init())
        return State(each, paired.init())

    def init() -> State:
        shapes = jax.eval_shape(zeros)
        return jax.tree.map(lambda a: jnp.asarray(np.zeros(a.shape, a.dtype)), shapes)

    def update(state: State, logits: Any, labels: Any, weights: Any, where: Any) -> State:
        options = {"weights": weights, "where": where}
        each = jax.vmap(lambda sums, x: stream.update(sums, x, labels, **options))(
            state.each, logits
        )
        return State(each, paired.update(state.together, logits, labels, **options))

    def merge(state: State, other: State) -> State:
        return State(
            stream.merge(state.each, other.each), paired.merge(state.together, other.together)
        )

    def compare(
        state: State, names: tuple[str, ...], baseline: Any, confidence: float
    ) -> dict[str, Any]:
        some = metrics.paired_stream(
            {name: compared[name] for name in names},
            num_models=num_models,
            num_classes=num_classes,
        )
        return some.compute(state.together, baseline=baseline, confidence=confidence)

    compute = jax.jit(lambda state: jax.vmap(stream.compute)(state.each))
    return Functions(
        init,
        jax.jit(update, donate_argnums=0),
        jax.jit(merge),
        compute,
        jax.jit(compare, static_argnums=(1, 2, 3)),
    )


class Total(NamedTuple):
    """What was counted on the host."""

    rows: int
    class_weights: np.ndarray  # [classes]

    @property
    def weight(self) -> float:
        """Of all examples."""
        return float(self.class_weights.sum())

    def __add__(self, other: "Total") -> "Total":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of both."""
        return Total(self.rows + other.rows, self.class_weights + other.class_weights)


class Accumulator:
    """The states of all groups; without groups, of the one that all are in.

    Args:
        batch_rows: how many examples the compiled function takes.
    """

    def __init__(self, num_models: int, num_classes: int | None, batch_rows: int) -> None:
        self.num_models, self.num_classes = num_models, num_classes
        self.functions = functions(num_models, num_classes)
        self.totals: dict[int, Total] = {}
        self._batch_rows = batch_rows
        self._states: dict[int, Any] = {}
        self._waiting: dict[int, list[Rows]] = {}
        self._sizes: dict[int, int] = {}

    def add(self, chunk: Chunk) -> None:
        """Takes a chunk in; examples wait until there are enough of their group."""
        rows = Rows(chunk.logits, chunk.labels, chunk.weights)
        if chunk.groups is None:
            self._wait(0, rows)
        else:
            order = np.argsort(chunk.groups, kind="stable")
            groups, starts = np.unique(chunk.groups[order], return_index=True)
            for group, places in zip(groups, np.split(order, starts[1:]), strict=True):
                self._wait(int(group), rows.part(places))
        while sum(self._sizes.values()) > _PENDING * self._batch_rows:
            self._flush(max(self._sizes, key=lambda group: self._sizes[group]))

    def finish(self) -> dict[int, Any]:
        """The state of each group, once all chunks are in."""
        for group in self._sizes:
            self._flush(group)
        return self._states

    def _wait(self, group: int, rows: Rows) -> None:
        if group not in self._states:
            self._states[group] = self.functions.init()
            self._check_size()
        self._waiting.setdefault(group, []).append(rows)
        self._sizes[group] = self._sizes.get(group, 0) + len(rows.labels)
        counts = np.bincount(rows.labels, rows.weights, minlength=self.num_classes or 2)
        total = Total(len(rows.labels), counts)
        self.totals[group] = self.totals[group] + total if group in self.totals else total
        if self._sizes[group] >= self._batch_rows:
            self._flush(group, whole=True)

    def _flush(self, group: int, *, whole: bool = False) -> None:
        """Hands over what waits; only `whole` batches of it, if so wished."""
        size, parts = self._sizes[group], self._waiting[group]
        rows = parts[0] if len(parts) == 1 else joined(parts)
        done = 0
        while size - done >= self._batch_rows or (done < size and not whole):
            count = min(self._batch_rows, size - done)
            self._update(group, rows.part(slice(done, done + count)))
            done += count
        left = rows.part(slice(done, size))
        self._waiting[group], self._sizes[group] = [left] if done < size else [], size - done

    def _update(self, group: int, rows: Rows) -> None:
        count = len(rows.labels)
        size = SMALL if count <= SMALL else self._batch_rows
        where = np.arange(size) < count
        if count < size:
            rows = padded(rows, size)
        self._states[group] = self.functions.update(self._states[group], *rows, where)

    def _check_size(self) -> None:
        import jax

        state = next(iter(self._states.values()))
        size = sum(a.nbytes for a in jax.tree.leaves(state))
        most = max(_STATE_BYTES // size, 1)
        if len(self._states) > most:
            raise Misuse(
                f"--group is for a column with few values, but there are more than {most}, which "
                "is what fits in memory"
            )


def joined(parts: Sequence[Rows]) -> Rows:
    logits, labels, weights = zip(*parts, strict=True)
    return Rows(np.concatenate(logits, axis=1), np.concatenate(labels), np.concatenate(weights))


def padded(rows: Rows, size: int) -> Rows:
    missing = size - len(rows.labels)
    beyond = [(0, 0), (0, missing)] + [(0, 0)] * (rows.logits.ndim - 2)
    return Rows(
        np.pad(rows.logits, beyond),
        np.pad(rows.labels, (0, missing)),
        np.pad(rows.weights, (0, missing)),
    )
