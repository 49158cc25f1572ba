"""How long does it take to judge a model, or many, and how many digits are right at 1e8 examples?

Command:  python -m experiments benchmark metrics
Minutes:  6
Expect:   the histogram's area in a hundredth of scikit-learn's time at 1e7 examples, and within its
          printed bound; means that hold at 1e8; 2,000 resamples of 10 models in seconds.

Wall-clock times of the same metrics of the same numbers: medians of interleaved rounds; of a peer
that takes seconds, one call. Goals in seconds are for two cores of a server. Rows beside
torchmetrics need the extra `peers`.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import sklearn.metrics

from jbce import metrics

from .._benchmark import Row, interleaved

BINS = 15


@dataclass(frozen=True)
class Config:
    """What to time."""

    examples: int = 10_000_000
    """Of one model, beside peers."""
    many: int = 100_000_000
    """Of one model, for what only sums and histograms can."""
    models: int = 10
    """That are resampled together."""
    resampled_examples: int = 100_000
    resamples: int = 2_000
    rounds: int = 5
    """Calls of each program, interleaved with its rivals'."""


def run(config: Config) -> Iterator[Row]:
    """One model beside peers, many examples, many resamples, many models."""
    logits, labels = _examples(config.examples)
    yield from _beside_peers(logits, labels, config.rounds)
    del logits, labels
    yield from _many(config.many, config.rounds)
    yield from _resampled(config)
    yield from _stacked(config.rounds)


def _examples(number: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """Logits of a model that is honest, and their labels."""
    keys = jax.random.split(jax.random.key(seed))
    logits = 1.5 * jax.random.normal(keys[0], (number,))
    labels = jax.random.uniform(keys[1], (number,)) < jax.nn.sigmoid(logits)
    return logits, labels.astype(jnp.int8)


def _beside_peers(logits: jax.Array, labels: jax.Array, rounds: int) -> Iterator[Row]:
    x, y = np.asarray(logits), np.asarray(labels)
    probs = scipy.special.expit(x)
    size = f"{x.size:,} examples"
    ours: dict[str, Callable[[], Any]] = {
        "roc_auc": partial(metrics.roc_auc, logits, labels),
        "histogram_roc_auc": partial(metrics.histogram_roc_auc, logits, labels),
        "log_loss": partial(metrics.log_loss, logits, labels),
        "expected_calibration_error": partial(
            metrics.expected_calibration_error, logits, labels, num_bins=BINS
        ),
    }
    for call in ours.values():
        jax.block_until_ready(call())
    times = interleaved(ours, rounds)
    peers = {
        "roc_auc": partial(sklearn.metrics.roc_auc_score, y, x),
        "histogram_roc_auc": partial(sklearn.metrics.roc_auc_score, y, x),
        "log_loss": partial(sklearn.metrics.log_loss, y, probs),
    }
    goals = {"roc_auc": 1.0, "histogram_roc_auc": 1 / 50, "log_loss": 1.0}
    for name, peer in peers.items():
        seconds, _ = _once(peer)
        row = f"{name}, {size}, beside scikit-learn"
        yield Row(row, times[name].median, "s", seconds, "s", goal=goals[name])
    yield Row(f"histogram_roc_auc, {size}", times["histogram_roc_auc"].median, "s", goal=0.1)
    exact, bounded = metrics.roc_auc(logits, labels), metrics.histogram_roc_auc(logits, labels)
    yield Row("histogram_roc_auc, its bound", float(bounded.error), "1")
    yield Row("histogram_roc_auc, its error", abs(float(bounded.estimate - exact)), "1")
    name = "expected_calibration_error"
    yield Row(f"{name}, {size}", times[name].median, "s")
    if importlib.util.find_spec("torchmetrics"):
        yield from _beside_torchmetrics(x, y, times, size)


def _beside_torchmetrics(x: Any, y: Any, times: Any, size: str) -> Iterator[Row]:
    torch: Any = importlib.import_module("torch")
    peer: Any = importlib.import_module("torchmetrics.functional.classification")
    torch.set_num_threads(2)
    probs, labels = torch.sigmoid(torch.tensor(x)), torch.tensor(y, dtype=torch.int64)
    for name, call in {
        "roc_auc": partial(peer.binary_auroc, probs, labels, validate_args=False),
        "expected_calibration_error": partial(
            peer.binary_calibration_error, probs, labels, n_bins=BINS, validate_args=False
        ),
    }.items():
        seconds, _ = _once(call)
        row = f"{name}, {size}, beside torchmetrics"
        yield Row(row, times[name].median, "s", seconds, "s", goal=1.0)


def _many(number: int, rounds: int) -> Iterator[Row]:
    logits, labels = _examples(number, seed=1)
    size = f"{number:,} examples"
    calls = {
        "histogram_roc_auc": partial(metrics.histogram_roc_auc, logits, labels),
        "log_loss": partial(metrics.log_loss, logits, labels),
        "expected_calibration_error": partial(metrics.expected_calibration_error, logits, labels),
    }
    values = {name: jax.block_until_ready(call()) for name, call in calls.items()}
    times = interleaved(calls, max(rounds // 2, 1))
    for name, timing in times.items():
        goal = 0.6 if name == "histogram_roc_auc" else None
        yield Row(f"{name}, {size}", timing.median, "s", goal=goal)
    yield Row(
        f"histogram_roc_auc, {size}, its bound", float(values["histogram_roc_auc"].error), "1"
    )
    losses, error, area = _by_numpy(np.asarray(logits), np.asarray(labels))
    for name, exact in (("log_loss", losses), ("expected_calibration_error", error)):
        off = abs(float(values[name]) / exact - 1)
        yield Row(f"{name}, {size}, relative error", off, "1", goal=1e-6)
    off = abs(float(values["histogram_roc_auc"].estimate) - area)
    yield Row(f"histogram_roc_auc, {size}, its error", off, "1")


def _by_numpy(x: Any, y: Any) -> tuple[float, float, float]:
    """Mean loss, calibration error and area in float64, in parts that fit."""
    total, sums = 0.0, np.zeros((3, BINS))
    for part in np.array_split(np.arange(x.size), max(x.size // 2_000_000, 1)):
        z, label = x[part].astype(np.float64), y[part] > 0
        total += np.logaddexp(0, np.where(label, -z, z)).sum()
        confidence, right = scipy.special.expit(np.abs(z)), (z > 0) == label
        index = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        for row, weights in enumerate((np.ones_like(z), confidence, right)):
            sums[row] += np.bincount(index, weights, BINS)
    positives, negatives = np.sort(x[y > 0]), np.sort(x[y == 0])
    below = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    pairs = sum(b.astype(np.float64).sum() for b in below) / 2
    area = pairs / positives.size / negatives.size
    return total / x.size, float(np.abs(sums[1] - sums[2]).sum() / x.size), float(area)


def _resampled(config: Config) -> Iterator[Row]:
    labels = _examples(config.resampled_examples, seed=2)[1]
    keys = jax.random.split(jax.random.key(3), config.models)
    shared = _examples(config.resampled_examples, seed=2)[0]
    models = jnp.stack([shared + 0.5 * jax.random.normal(key, shared.shape) for key in keys])
    what = f"{config.resamples:,} resamples of {config.models} models × {labels.size:,} examples"
    for metric in (metrics.log_loss, metrics.expected_calibration_error, metrics.roc_auc):
        for way, options in (
            (what, {"key": jax.random.key(4), "num_resamples": config.resamples}),
            (f"jackknife of {config.models} models × {labels.size:,} examples", {}),
        ):
            call = partial(metrics.compare, metric, models, labels, baseline="smallest", **options)
            jax.block_until_ready(call())
            seconds, _ = _once(call)
            goal = 10.0 if options else None
            yield Row(f"compare {metric.__name__}, {way}", seconds, "s", goal=goal)


def _stacked(rounds: int) -> Iterator[Row]:
    """256 models on one evaluation set, in one program and one after the other."""
    labels = _examples(10_000, seed=5)[1]
    models = 1.5 * jax.random.normal(jax.random.key(6), (256, labels.size)) + labels
    y, many = np.asarray(labels), np.asarray(models)
    for metric, peer in (
        (metrics.roc_auc, lambda: [sklearn.metrics.roc_auc_score(y, x) for x in many]),
        (
            metrics.log_loss,
            lambda: [sklearn.metrics.log_loss(y, scipy.special.expit(x)) for x in many],
        ),
    ):
        stacked = partial(jax.jit(jax.vmap(metric, in_axes=(0, None))), models, labels)
        jax.block_until_ready(stacked())
        ours = interleaved({"ours": stacked}, rounds)["ours"].median
        seconds, _ = _once(peer)
        name = f"{metric.__name__} of 256 models × 10,000 examples, beside scikit-learn"
        yield Row(name, ours, "s", seconds, "s", goal=0.5)


def _once(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    value = jax.block_until_ready(call())
    return time.perf_counter() - begin, value
