"""`jbce explain`: the examples of the largest loss, with their corrected probabilities."""

import argparse
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ._columns import name_of
from ._evaluate import class_names
from ._output import print_json
from ._predictions import Chunk, Predictions, options_of
from ._progress import progress_bar
from ._status import DONE


class Case(NamedTuple):
    """One example."""

    loss: float  # in nats
    weight: float
    file: str
    row: int  # in its file, from 0
    label: int
    decision: int
    predicted: float
    """The probability of the positive class; of several classes, of the one decided for."""
    corrected: float
    """The probability of the label."""
    shown: tuple[str, ...]


class Explanation(NamedTuple):
    """The worst of all."""

    cases: list[Case]
    rows: int
    total_loss: float  # Σ weight · loss, in nats
    total_weight: float


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    predictions = Predictions(
        arguments.file,
        show=arguments.show,
        batch_rows=arguments.batch_rows,
        **options_of(arguments, only_one=True),
    )
    with progress_bar(predictions.source.path.name, predictions.source.num_rows()) as advance:
        found = explain(predictions, arguments.top, arguments.show, advance)
    if arguments.json:
        print_json(contents(predictions, found, arguments.show))
    else:
        _show(predictions, found, arguments.show)
    return DONE


def explain(predictions: Predictions, top: int, show: list[str], advance: Any) -> Explanation:
    """Reads all examples once, and keeps the `top` worst by weight · loss."""
    cases: list[Case] = []
    rows, total, weight = 0, 0.0, 0.0
    for chunk in predictions.chunks():
        losses, corrected, predicted, decisions = _probabilities(chunk)
        counted = chunk.weights > 0
        costs = np.where(counted, chunk.weights * np.where(counted, losses, 0.0), -1.0)
        rows += len(costs)
        total += float(np.sum(costs, where=counted))
        weight += float(chunk.weights.sum())
        for i in _worst(costs, top):
            case = Case(
                float(losses[i]),
                float(chunk.weights[i]),
                str(chunk.piece.path),
                chunk.piece.first_row + i,
                int(chunk.labels[i]),
                int(decisions[i]),
                float(predicted[i]),
                float(corrected[i]),
                (),
            )
            cases.append(case._replace(shown=tuple(_value(chunk, name, i) for name in show)))
        # Python's sort keeps the order of equals: of equal losses the first stay.
        cases = sorted(cases, key=lambda case: -case.weight * case.loss)[:top]
        advance(len(costs))
    return Explanation(cases, rows, total, weight)


def _worst(costs: np.ndarray, top: int) -> list[int]:
    """The rows of the largest costs that count, of equals the first."""
    order = np.argsort(-costs, kind="stable") if len(costs) <= top else None
    if order is None:
        least = np.partition(costs, len(costs) - top)[len(costs) - top]
        above = np.flatnonzero(costs > least)
        order = np.concatenate([above, np.flatnonzero(costs == least)[: top - len(above)]])
        order = np.sort(order)
    return [int(i) for i in order if costs[i] >= 0]


def _probabilities(chunk: Chunk) -> tuple[np.ndarray, ...]:
    """Loss, corrected probability, predicted probability and decision, [rows] each."""
    import jax

    logits, labels = chunk.logits[0], chunk.labels
    size = max(1 << 10, 1 << (len(labels) - 1).bit_length())
    missing = size - len(labels)
    logits = np.pad(logits, [(0, missing)] + [(0, 0)] * (logits.ndim - 1))
    with jax.enable_x64(True):
        found = _of_rows(logits.ndim == 1)(logits, np.pad(labels, (0, missing)))
        return tuple(np.asarray(a)[: len(labels)] for a in found)


@functools.lru_cache
def _of_rows(binary: bool) -> Any:
    import jax
    import jax.numpy as jnp

    from .. import losses, numerics

    def of_binary(logits: Any, labels: Any) -> tuple[Any, ...]:
        loss = losses.sigmoid_binary_cross_entropy(logits, labels)
        predicted = numerics.sigmoid(logits)
        corrected = numerics.sigmoid(jnp.where(labels == 1, logits, -logits))
        return loss, corrected, predicted, (logits > 0).astype(jnp.int32)

    def of_classes(logits: Any, labels: Any) -> tuple[Any, ...]:
        loss = losses.softmax_cross_entropy_with_integer_labels(logits, labels)
        probs = numerics.softmax(logits, -1)
        decisions = jnp.argmax(logits, axis=-1)
        corrected, predicted = (
            jnp.take_along_axis(probs, index[:, None], axis=-1)[:, 0]
            for index in (labels, decisions)
        )
        return loss, corrected, predicted, decisions

    return jax.jit(of_binary if binary else of_classes)


def _value(chunk: Chunk, name: str, row: int) -> str:
    value = chunk.piece.columns[name][row]
    value = value.as_py() if hasattr(value, "as_py") else value.item() if value.ndim == 0 else value
    return name_of(value) if not isinstance(value, np.ndarray) else str(value.tolist())


def _share(case: Case, found: Explanation) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.float64(case.weight * case.loss) / found.total_loss)


def contents(predictions: Predictions, found: Explanation, show: list[str]) -> dict[str, Any]:
    """What `--json` prints."""
    classes = class_names(predictions)
    mean = found.total_loss / found.total_weight if found.total_weight else math.nan
    return {
        "file": predictions.source.path,
        "label": predictions.label,
        "model": predictions.models[0].name,
        "rows": found.rows,
        "total_weight": found.total_weight,
        "mean_log_loss": mean,
        "cases": [
            {
                "file": case.file,
                "row": case.row,
                "label": classes[case.label],
                "decision": classes[case.decision],
                "predicted_probability": case.predicted,
                "corrected_probability": case.corrected,
                "log_loss": case.loss,
                "weight": case.weight,
                "share_of_loss": _share(case, found),
                **({"columns": dict(zip(show, case.shown, strict=True))} if show else {}),
            }
            for case in found.cases
        ],
    }


def _show(predictions: Predictions, found: Explanation, show: list[str]) -> None:
    from ._tables import console, print_table
    from ._words import number, shown

    on, classes = console(), class_names(predictions)
    several = len({case.file for case in found.cases}) > 1
    heads = ["row", "label", "decision", "p(decision)", "p(label)", "loss", "share"]
    if predictions.binary:
        heads[2:4] = ["predicted"]
    rows = []
    for case in found.cases:
        row = [f"{case.row:,}", shown(classes[case.label], 16)]
        row += [] if predictions.binary else [shown(classes[case.decision], 16)]
        row += [f"{case.predicted:.4g}", f"{case.corrected:.4g}", number(case.loss)]
        percent = 100 * _share(case, found)
        row += [f"{percent:.2f} %" if not percent < 0.01 else f"{percent:.1e} %"]
        rows.append([*([case.file] if several else []), *row, *(shown(s) for s in case.shown)])
    heads = [*(["file"] if several else []), *heads, *show]
    print_table(on, heads, rows, left=1 if several else 0, words=show)
    covered = sum(case.weight * case.loss for case in found.cases)
    if 0 < found.total_loss < math.inf:
        on.print(
            f"{len(found.cases)} of {found.rows:,} rows make up "
            f"{100 * covered / found.total_loss:.3g} % of the log loss "
            f"({number(found.total_loss / found.total_weight)} on average)."
        )
