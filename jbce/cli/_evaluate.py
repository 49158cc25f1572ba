"""`jbce evaluate`: every metric of one or several models, and which differences are real."""

import argparse
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._accumulate import MEANS, Accumulator, Total
from ._files import natural
from ._judged import Part, judged
from ._output import check_output, print_json
from ._predictions import Predictions, options_of
from ._progress import progress_bar
from ._ranks import Kept
from ._status import DONE


@dataclasses.dataclass
class Evaluation:
    """What was found."""

    path: Path
    format: str
    label: str
    kind: str
    """Of the numbers in the file: probabilities or logits."""
    weight: str | None
    group: str | None
    classes: tuple[str, ...]
    binary: bool
    models: tuple[str, ...]
    confidence: float
    overall: Part
    groups: list[Part]
    comparisons: dict[str, Any]
    """By the name of a mean: `jbce.metrics.Comparison` with the model of the least log loss."""
    baseline: int
    seconds: float


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    if arguments.report is not None:
        check_output(arguments.report, arguments.overwrite)
    predictions = Predictions(
        arguments.file,
        group=arguments.group,
        batch_rows=arguments.batch_rows,
        **options_of(arguments),
    )
    with progress_bar(predictions.source.path.name, predictions.source.num_rows()) as advance:
        found = evaluate(predictions, confidence=arguments.confidence, advance=advance)
    if arguments.report is not None:
        from ._report import write

        write(found, arguments.report, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(contents(found))
    else:
        from ._tables import show

        show(found)
    return DONE


def evaluate(
    predictions: Predictions, *, confidence: float, advance: Callable[[int], None]
) -> Evaluation:
    """Reads all examples once.

    Raises:
        BadInput: what the file holds makes no sense.
    """
    import jax

    started = time.perf_counter()
    with jax.enable_x64(True):
        kept = Kept()
        accumulator = Accumulator(
            len(predictions.models), predictions.num_classes, predictions.batch_rows
        )
        for chunk in predictions.chunks():
            kept.add(chunk)
            accumulator.add(chunk)
            advance(len(chunk.labels))
        states = accumulator.finish()
        functions, totals = accumulator.functions, accumulator.totals
        classes = class_names(predictions)

        def part(name: str, state: Any, total: Total, group: int | None) -> Part:
            rows = kept.rows(group)
            options = {"classes": classes, "confidence": confidence}
            return judged(name, state, total, rows, functions, **options)

        groups = []
        if predictions.group is not None:
            order = sorted(states, key=lambda group: natural(predictions.groups[group]))
            groups = [part(predictions.groups[g], states[g], totals[g], g) for g in order]
        # What was summed over the groups is summed over all.
        state, total = None, None
        for group in list(states):
            one, count = states.pop(group), totals[group]
            state = one if state is None else functions.merge(state, one)
            total = count if total is None else total + count
        assert state is not None and total is not None
        overall = part("all", state, total, None)
        comparisons, baseline = _comparisons(
            functions.compare, state, len(predictions.models), confidence
        )
    return Evaluation(
        path=predictions.source.path,
        format=predictions.source.format,
        label=str(predictions.label),
        kind="probabilities" if predictions.probs else "logits",
        weight=predictions.weight,
        group=predictions.group,
        classes=classes,
        binary=predictions.binary,
        models=tuple(model.name for model in predictions.models),
        confidence=confidence,
        overall=overall,
        groups=groups,
        comparisons=comparisons,
        baseline=baseline,
        seconds=time.perf_counter() - started,
    )


def _comparisons(
    compare: Any, state: Any, num_models: int, confidence: float
) -> tuple[dict[str, Any], int]:
    if num_models == 1:
        return {}, 0
    first, *others = MEANS
    found = compare(state, (first,), "smallest", confidence)
    baseline = int(found[first].baseline)
    found |= compare(state, tuple(others), baseline, confidence)
    return {
        name: type(comparison)(*(np.asarray(field) for field in comparison))
        for name, comparison in found.items()
    }, baseline


def class_names(predictions: Predictions) -> tuple[str, ...]:
    """The classes as the file names them, by index."""
    if predictions.num_classes is not None:
        return predictions.classes or tuple(map(str, range(predictions.num_classes)))
    positive, negative = predictions.labels.positive, predictions.labels.negative
    if positive is None:
        return ("0", "1")
    return (negative if negative is not None else f"not {positive}", positive)


def contents(found: Evaluation) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "file": found.path,
        "format": found.format,
        "label": found.label,
        "predictions": found.kind,
        "weight": found.weight,
        "classes": list(found.classes),
        "confidence": found.confidence,
        "seconds": round(found.seconds, 3),
        **_part(found, found.overall),
        "comparison": _comparison(found),
        "group": found.group,
        "groups": [{"name": part.name, **_part(found, part)} for part in found.groups],
    }


def _part(found: Evaluation, part: Part) -> dict[str, Any]:
    models = []
    for name, one in zip(found.models, part.models, strict=True):
        metrics = one.metrics
        intervals = {
            key: [metrics[key] - width, metrics[key] + width]
            for key, width in one.half_widths.items()
            if math.isfinite(width)
        }
        models.append(
            {
                "name": name,
                "metrics": metrics,
                "intervals": intervals,
                "error_at_most": one.bounds,
                "undefined": one.reasons,
            }
        )
    return {
        "rows": part.rows,
        "total_weight": part.weight,
        "class_shares": dict(zip(found.classes, part.shares, strict=True)),
        "base_rate_log_loss": part.base_rate,
        "models": models,
    }


def _comparison(found: Evaluation) -> dict[str, Any] | None:
    if not found.comparisons:
        return None
    fields = (
        "difference",
        "standard_error",
        "low",
        "high",
        "adjusted_low",
        "adjusted_high",
        "p_value",
        "adjusted_p_value",
    )
    return {
        "baseline": found.models[found.baseline],
        "metrics": {
            name: {
                model: {field: float(getattr(comparison, field)[i]) for field in fields}
                for i, model in enumerate(found.models)
                if i != found.baseline
            }
            for name, comparison in found.comparisons.items()
        },
    }
