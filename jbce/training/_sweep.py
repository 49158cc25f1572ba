"""Many trainings at once: everything that is a number is batched."""

import itertools
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from .. import metrics as _metrics
from ._data import Data, as_data, at_least_one, check_key
from ._loop import Score
from ._progress import progress_bar as _progress_bar
from ._sweep_program import Trial
from ._sweep_result import Outcome, SweepResult, check_metrics, name_of, result_of
from ._sweep_runner import Device, Runner
from ._sweep_settings import COLUMNS, programs, settings_of
from ._sweep_store import SweepStore


def sweep(
    make: Callable[..., Trial],
    settings: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
    *,
    data: Data | tuple[Any, ...],
    validation: Data | tuple[Any, ...],
    seeds: int | Sequence[int] = 1,
    epochs: int,
    batch_size: int | None = None,
    patience: int | None = None,
    score: Score | None = None,
    metrics: Sequence[Callable[..., Any]] | None = None,
    key: PRNGKeyArray,
    chunk: int | None = None,
    memory: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    devices: Sequence[Device] | None = None,
    progress: bool = True,
) -> SweepResult:
    """Trains a model for every setting and every seed, many at once, and judges them in pairs.

    `make(rngs, **setting)` says what a setting is. It is called inside the compiled program: a
    setting's floating-point numbers (learning rate, weight decay, initialisation scale, a parameter
    of the loss) come as traced float32 scalars, and one program trains all their values side by
    side. Whatever else differs (integers, strings, functions) makes a program of its own: that is
    for architectures; so does a column of which one value is an integer, as `[0, 0.1]`.

    `make` is called several times and must be pure, as what `jax.jit` compiles: a program is kept,
    and a later sweep of the same `make` does not see that a global has changed.

    Settings of the same seed begin with the same random numbers and see the examples in the same
    order, so that they can be compared in pairs; it also makes the batches common to them, and
    their products of matrices one large one.

    On a CPU every core trains a chunk of its own, whose parameters and moments its cache holds.
    Batching pays beyond that while one training alone leaves a core idle: on two cores up to about
    1e6 multiply-adds a step (benchmark `sweeps`).

    Args:
        make: `(rngs, **setting)` to a `Trial`.
        settings: values by name, of which all combinations are tried; or the settings themselves,
            each with the same names.
        data: `(features, labels)` or `(features, labels, weights)` to learn from.
        validation: likewise, to judge by.
        seeds: how many, or which; of the initial parameters and the order of the examples.
        epochs: how often every example is used.
        batch_size: examples per step; None: all.
        patience: epochs without a better score after which a trial learns no more. Then, and
            where it is as large as `epochs`, a model is the one of its best epoch; None: the last.
        score: as in `fit`, for `patience`; without it, only `metrics` judge.
        metrics: of `jbce.metrics`, each to one number; None: `log_loss`, `brier_score`,
            `accuracy`, and for binary labels `roc_auc`. The first one ranks. Each is a column by
            the name of its function, so a name may come once. One's own are functions of
            `(logits, labels, *, weights, where)` to a number, and less is better: minus a share.
        key: a JAX random key, which the seeds are folded into.
        chunk: trials that a program trains at once; None: as many as memory holds, and on a CPU as
            a core's cache holds. One chunk a core runs at once, or fewer where memory is short.
        memory: in bytes, that the program may use; None: what the device has, or half of what is
            free of the machine's.
        folder: where finished chunks are kept, so that a sweep that died goes on from them, also
            with another `chunk`, `memory`, `metrics` or `devices`. What is damaged is trained
            again, with a `CheckpointWarning`; the folder of another sweep is refused.
        devices: over which a chunk is spread; None: the first alone.
        progress: a progress bar if standard error is a terminal.

    Returns:
        The tables of trials and of settings, and the models.

    Raises:
        TypeError: `make` does not return a `Trial`.
        ValueError: no settings, settings of different names, or a float beyond float32; a metric
            that gives no number; or data as in `fit`.
        MemoryError: a chunk would not fit, with the bytes that it needs and the chunk that would.
        ImportError: a package of the extra is missing.

    Edges: a trial whose loss is no longer finite stays at the step before, is marked `diverged`,
        and disturbs no other.

    Example:
        >>> import functools, jax, jax.numpy as jnp, optax, jbce
        >>> from flax import nnx
        >>> from jbce import training
        >>> def make(rngs, learning_rate, smoothing):
        ...     model = training.LogisticRegression(3, rngs=rngs)
        ...     loss = jbce.sigmoid_binary_cross_entropy
        ...     smoothed = functools.partial(loss, label_smoothing=smoothing)
        ...     return training.Trial(model, optax.adam(learning_rate), smoothed)
        >>> features = jax.random.normal(jax.random.key(0), [60, 3])
        >>> examples = features, (features[:, 0] > 0).astype(jnp.int32)
        >>> result = sweep(
        ...     make, {"learning_rate": [0.01, 0.1], "smoothing": [0.0, 0.1]}, seeds=3,
        ...     data=examples, validation=examples, epochs=5, batch_size=20,
        ...     metrics=[jbce.metrics.log_loss], key=jax.random.key(1))
        >>> result.trials.height, result.settings.height
        (12, 4)
    """
    check_key(key)
    epochs = at_least_one("epochs", epochs)
    numbers = _seeds(seeds)
    held, judged = as_data("data", data), as_data("validation", validation)
    judges = _default_metrics(judged) if metrics is None else _metrics_of(metrics)
    rows = settings_of(settings, {name_of(metric) for metric in judges})
    runner = Runner(
        make,
        rows,
        numbers,
        held,
        judged,
        key,
        epochs=epochs,
        batch_size=held.num_examples
        if batch_size is None
        else at_least_one("batch_size", batch_size),
        patience=None if patience is None else at_least_one("patience", patience),
        score=score,
        judged_by_default=metrics is None or (patience is not None and score is None),
        memory=memory,
        devices=[*(devices or jax.local_devices()[:1])],
    )
    check_metrics(judges, runner.logits, judged)
    store = None
    if folder is not None:
        store = SweepStore(folder, runner.about())
    outcomes: dict[tuple[int, int], Outcome] = {} if store is None else store.outcomes()
    total = len(rows) * len(numbers)
    with _progress_bar(progress, total, epochs * held.num_examples, "trial") as report:
        for program in programs(rows):
            if all(trial in outcomes for trial in itertools.product(program.numbers, numbers)):
                continue
            missing = [
                part
                for part in runner.parts(program, chunk)
                if not all(trial in outcomes for trial in part.trials)
            ]
            keep = None if store is None else store.keep
            for part, found in runner.run_all(program, missing, keep):
                for setting, seed, outcome in part.unpacked(found):
                    outcomes[setting, seed] = outcome
                report(len(outcomes), float(np.mean(found["loss"][..., -1])), np.nan)
    return result_of(rows, numbers, outcomes, judges, judged, runner.rebuild)


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    wanted = f"`seeds` must be integers of 32 bits, at least one and each once, but {seeds!r} came."
    try:
        listed: Iterable[Any] = (
            seeds if isinstance(seeds, Iterable) else range(operator.index(seeds))
        )
        numbers = [operator.index(seed) for seed in listed]
    except TypeError as error:
        raise TypeError(wanted) from error
    if not numbers or len(set(numbers)) < len(numbers) or max(map(abs, numbers)) >= 2**31:
        raise ValueError(wanted)
    return numbers


def _metrics_of(metrics: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    if callable(metrics) or not all(map(callable, metrics)):
        raise TypeError(f"`metrics` must be a list of functions, but {metrics} came.")
    names = [name_of(metric) for metric in metrics]
    if len(set(names)) < len(names) or COLUMNS & set(names):
        raise ValueError(
            f"`metrics` must have names of their own, and none of {sorted(COLUMNS)}, but {names} "
            "came."
        )
    return [*metrics]


def _default_metrics(judged: Data) -> list[Callable[..., Any]]:
    always = [_metrics.log_loss, _metrics.brier_score, _metrics.accuracy]
    labels = np.asarray(judged.labels)
    if labels.ndim > 1 and labels.dtype.kind == "f":
        raise ValueError(
            "`metrics` are needed: floating-point labels "
            f"{list(labels.shape)} may be several labels or one distribution."
        )
    binary = labels.ndim == 1 and set(np.unique(labels)) <= {0, 1}
    return [*always, _metrics.roc_auc] if binary else always
