"""What is known of the models on all examples, or on those of a group, and why a number is not."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _ranks
from ._accumulate import MEANS, Functions, Rows, State, Total

_UNWEIGHED = "no example has a weight above 0"


@dataclasses.dataclass
class Judged:
    """One model, on some examples."""

    metrics: dict[str, float]
    half_widths: dict[str, float]
    """Of the confidence intervals of means."""
    bounds: dict[str, float]
    """How far a metric may be off the exact one."""
    reasons: dict[str, str]
    """Why a metric is NaN."""
    reliability: Any
    counts: _ranks.Counts | None


@dataclasses.dataclass
class Part:
    """All models, on all examples or on those of a group."""

    name: str
    rows: int
    weight: float
    shares: list[float]
    """Of the weight, by class."""
    base_rate: float
    """Log loss in nats of whoever knows the shares and nothing else."""
    models: list[Judged]


def judged(
    name: str,
    state: State,
    total: Total,
    kept: Rows | None,
    functions: Functions,
    *,
    classes: Sequence[str],
    confidence: float,
) -> Part:
    """The metrics of a state; to be called with 64-bit types enabled."""
    import jax

    values = jax.tree.map(np.asarray, functions.compute(state))
    num_models, binary = len(values["log_loss"]), "roc_auc" in values
    with np.errstate(invalid="ignore"):
        shares = total.class_weights / total.weight if total.weight else total.class_weights
    some = shares[shares > 0]
    base_rate = float(-(some * np.log(some)).sum()) + 0.0 if some.size else math.nan
    widths = {key: _half_widths(state.together[key], confidence) for key in MEANS}
    ranks = {} if kept is None else _ranks.exact(kept)
    models = []
    for i in range(num_models):
        counts = None
        metrics = {
            key: float(value[i])
            for key, value in values.items()
            if isinstance(value, np.ndarray) and value.ndim == 1
        }
        bounds: dict[str, float] = {}
        metrics["log_loss_skill"] = 1 - metrics["log_loss"] / base_rate if base_rate else math.nan
        if binary:
            high, low = (np.asarray(part[i]) for part in state.each["roc_auc"])
            counts = _ranks.of_bins(high + low)
            area, precision = values["roc_auc"], _ranks.average_precision(counts)
            metrics["roc_auc"], bounds["roc_auc"] = float(area.estimate[i]), float(area.error[i])
            metrics["average_precision"], bounds["average_precision"] = precision
            split = values["brier_decomposition"]
            for term, terms in split._asdict().items():
                metrics[f"brier_{term}"] = float(terms[i])
        for key, exact in ranks.items():
            metrics[key], bounds[key] = float(exact[i]), 0.0
        if binary and kept is not None:
            counts = _ranks.of_rows(kept, i)
        matrix = values["confusion_matrix"][i] if "confusion_matrix" in values else None
        reasons = {
            key: _reason(key, metrics, total.class_weights, matrix, classes)
            for key, value in metrics.items()
            if math.isnan(value)
        }
        bounds = {key: bound for key, bound in bounds.items() if not math.isnan(metrics[key])}
        reliability = type(values["reliability"])(*(a[i] for a in values["reliability"]))
        half_widths = {key: float(width[i]) for key, width in widths.items()}
        models.append(Judged(metrics, half_widths, bounds, reasons, reliability, counts))
    return Part(name, total.rows, total.weight, shares.tolist(), base_rate, models)


def _half_widths(moments: Any, confidence: float) -> np.ndarray:
    """Of the normal intervals of weighted means, [models].

    The variance of the mean is Σ w²·(v − mean)² / (Σ w)², as a sample of (Σ w)² / Σ w² examples
    has it; where weights are equal, that is s² / n.
    """
    weight, first, second = (np.asarray(sums.high) + np.asarray(sums.low) for sums in moments)
    (total, squares), crossed = weight[0], first[:, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = first[:, 0] / total
        scatter = np.diagonal(second) - 2 * means * crossed + means**2 * squares
        number = total**2 / squares
        variance = (
            np.maximum(scatter, 0.0) / total**2 * number / np.where(number > 1, number - 1, np.nan)
        )
        return statistics.NormalDist().inv_cdf((1 + confidence) / 2) * np.sqrt(variance)


def _reason(
    key: str,
    metrics: dict[str, float],
    class_weights: np.ndarray,
    matrix: np.ndarray | None,
    classes: Sequence[str],
) -> str:
    """Why a metric is NaN, in words."""
    if not class_weights.sum():
        return _UNWEIGHED
    occurring = np.flatnonzero(class_weights > 0)
    alone = f"one class only: every label is {classes[occurring[0]]}"
    one_class = len(occurring) == 1
    if key == "log_loss_skill":
        return alone if one_class else "the log loss is infinite"
    if key == "average_precision":
        return f"no label is {classes[1]}"
    if matrix is None or key in ("roc_auc", "balanced_accuracy"):
        return _absent(class_weights, classes) or "it is not defined for these examples"
    decided = matrix.sum(axis=0)
    if key == "matthews_correlation":
        if one_class:
            return alone
        return f"every decision is for {classes[int(np.argmax(decided))]}"
    # Of two classes that of the positive one, else the mean over all.
    judged = range(len(classes)) if len(classes) > 2 else [1]
    checks = {
        "precision": (decided, "no decision is for {}"),
        "recall": (class_weights, "no label is {}"),
        "f1_score": (decided + class_weights, "no label and no decision is {}"),
    }
    if key in checks:
        counts, words = checks[key]
        missing = [classes[k] for k in judged if not counts[k]]
        if missing:
            return words.format(_listed(missing))
    return "it is not defined for these examples"


def _absent(class_weights: np.ndarray, classes: Sequence[str]) -> str | None:
    occurring = np.flatnonzero(class_weights > 0)
    if len(occurring) == 1:
        return f"one class only: every label is {classes[occurring[0]]}"
    missing = [name for name, w in zip(classes, class_weights, strict=True) if not w]
    return f"no label is {_listed(missing)}" if missing else None


def _listed(names: Sequence[str]) -> str:
    shown = " or ".join(names[:3])
    return f"{shown} or {len(names) - 3} others" if len(names) > 3 else shown
