"""`jbce calibrate`: a map to honest probabilities, and by cross-validation what it is worth."""

import argparse
import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._evaluate import class_names
from ._output import check_output, print_json, whole_file
from ._predictions import Predictions, options_of
from ._progress import progress_bar
from ._status import DONE, BadInput, Misuse, extra
from ._write import OUTPUT_SUFFIXES, writer

METHODS = ("temperature", "platt", "vector", "dirichlet", "beta", "isotonic")
_BINARY, _CLASSES = ("platt", "beta"), ("vector", "dirichlet")
_PARAMETER_SUFFIXES = (".json", ".safetensors")
_SHOWN = 16  # parameters


class Sample(NamedTuple):
    """All examples of a file."""

    logits: np.ndarray  # float64, [rows] or [rows, classes]
    labels: np.ndarray
    weights: np.ndarray
    places: list[tuple[int, Path, int]]  # (index of a piece's first example, file, row)

    def place(self, index: int) -> tuple[Path, int]:
        """File and row of an example."""
        start, path, row = next(place for place in reversed(self.places) if place[0] <= index)
        return path, row + index - start


class Calibration(NamedTuple):
    """A fitted map, and what it does to examples that it has not seen."""

    fitted: Any
    before: dict[str, float]
    after: dict[str, float]
    rows: int


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    _check(arguments)
    predictions = Predictions(arguments.file, **options_of(arguments, only_one=True))
    _check_method(arguments.method, predictions)
    others = None
    if arguments.apply is not None:
        others = _others(arguments, predictions)
    sample = _read(predictions)
    found = calibrate(
        predictions, sample, arguments.method, num_folds=arguments.folds, seed=arguments.seed
    )
    with contextlib.ExitStack() as files:
        from ..calibration import save

        path = files.enter_context(whole_file(arguments.output, arguments.overwrite))
        with extra():
            save(path, found.fitted)
        if others is not None:
            path = files.enter_context(whole_file(arguments.calibrated, arguments.overwrite))
            _apply(found.fitted, others, path, arguments.label)
    if arguments.json:
        print_json(contents(arguments, predictions, found))
    else:
        _show(arguments, predictions, found)
    return DONE


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.apply is None) != (arguments.calibrated is None):
        raise Misuse("--apply FILE and --calibrated FILE go together")
    for path, suffixes in (
        (arguments.output, _PARAMETER_SUFFIXES),
        (arguments.calibrated, OUTPUT_SUFFIXES),
    ):
        if path is None:
            continue
        if path.suffix not in suffixes:
            raise Misuse(f"{path}: its name must end in {' or '.join(suffixes)}")
        check_output(path, arguments.overwrite)
    if arguments.folds < 2:
        raise Misuse("--folds must be at least 2")


def _check_method(method: str, predictions: Predictions) -> None:
    if method in (_CLASSES if predictions.binary else _BINARY):
        kind = "several classes" if predictions.binary else "binary labels"
        other = "binary" if predictions.binary else f"of {predictions.num_classes} classes"
        raise Misuse(f"--method {method} is for {kind}, but the predictions are {other}")


def _others(arguments: argparse.Namespace, predictions: Predictions) -> Predictions:
    """The file to be calibrated, which need not have labels."""
    options = options_of(arguments, only_one=True)
    options.update(label=None, weight=None, format=None)
    others = Predictions(arguments.apply, **options)
    if others.num_classes != predictions.num_classes or others.classes != predictions.classes:
        raise Misuse(f"{arguments.apply}: it has other classes than {arguments.file}")
    if arguments.label in others.source.columns:
        others.show(arguments.label)
    return others


def _read(predictions: Predictions) -> Sample:
    parts, places, size = [], [], 0
    with progress_bar(predictions.source.path.name, predictions.source.num_rows()) as advance:
        for chunk in predictions.chunks():
            parts.append((chunk.logits[0], chunk.labels, chunk.weights))
            places.append((size, chunk.piece.path, chunk.piece.first_row))
            size += len(chunk.labels)
            advance(len(chunk.labels))
    logits, labels, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Sample(logits, labels, weights, places)


def calibrate(
    predictions: Predictions, sample: Sample, method: str, *, num_folds: int, seed: int
) -> Calibration:
    """Fits to all examples; and, for the metrics after, to all but a fold at a time.

    Raises:
        Misuse: there are fewer examples than folds.
        BadInput: a label has probability 0, which no map mends.
    """
    import jax

    from .. import calibration

    logits, labels, weights, _ = sample
    if len(labels) < num_folds:
        raise Misuse(f"--folds {num_folds} needs as many rows, but there are {len(labels)}")
    _check_finite_losses(predictions, sample)
    with jax.enable_x64(True):
        fit, key = _fit(method), jax.random.key(seed)
        fitted = fit(logits, labels, weights=weights)
        held_out = calibration.cross_fit(
            fit, logits, labels, num_folds=num_folds, key=key, weights=weights
        )
        before, after = (
            {name: float(value) for name, value in _judge()(x, labels, weights).items()}
            for x in (logits, held_out)
        )
    return Calibration(fitted, before, after, len(labels))


@functools.cache
def _fit(method: str) -> Callable[..., Any]:
    from .. import calibration

    fit = getattr(calibration, f"fit_{method}")
    # Else the outermost steps are certain, and one example beyond them costs inf.
    return functools.partial(fit, prior_weight=1.0) if method == "isotonic" else fit


@functools.cache
def _judge() -> Callable[..., dict[str, Any]]:
    """The metrics before and after, compiled once for both."""
    import jax

    from .. import metrics

    judges = {
        "log_loss": metrics.log_loss,
        "brier_score": metrics.brier_score,
        "expected_calibration_error": metrics.expected_calibration_error,
    }

    return jax.jit(
        lambda logits, labels, weights: {
            name: judge(logits, labels, weights=weights) for name, judge in judges.items()
        }
    )


def _check_finite_losses(predictions: Predictions, sample: Sample) -> None:
    logits, labels = sample.logits, sample.labels
    of_label = (
        np.where(labels == 1, logits, -logits)
        if predictions.binary
        else np.where(np.isposinf(logits).any(axis=-1), -np.inf, 0.0)
    )
    if not predictions.binary:
        at_label = np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        of_label = np.where(np.isposinf(at_label), 0.0, np.minimum(of_label, at_label))
    impossible = np.isneginf(of_label) & (sample.weights > 0)
    if impossible.any():
        path, row = sample.place(int(np.argmax(impossible)))
        raise BadInput(
            path,
            "the label has probability 0, which no calibration mends",
            column=predictions.models[0].name,
            row=row,
        )


def _apply(fitted: Any, others: Predictions, path: Path, label: str) -> None:
    """Calibrated probabilities of a file, chunk by chunk."""
    import jax

    from .. import numerics

    classes = None if others.binary else class_names(others)
    with writer(path, classes) as write, jax.enable_x64(True):
        for chunk in others.chunks():
            count = len(chunk.labels)
            logits = np.zeros((others.batch_rows, *chunk.logits.shape[2:]))
            logits[:count] = chunk.logits[0]
            calibrated = fitted(logits)
            probs = (
                numerics.sigmoid(calibrated) if others.binary else numerics.softmax(calibrated, -1)
            )
            labels = chunk.piece.columns.get(label)
            write(np.asarray(probs)[:count], {} if labels is None else {label: labels})


def contents(
    arguments: argparse.Namespace, predictions: Predictions, found: Calibration
) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "file": arguments.file,
        "model": predictions.models[0].name,
        "method": arguments.method,
        "rows": found.rows,
        "folds": arguments.folds,
        "before": found.before,
        "after": found.after,
        "parameters": {
            name: np.asarray(value).tolist() for name, value in found.fitted._asdict().items()
        },
        "output": arguments.output,
        "calibrated": arguments.calibrated,
    }


def _show(arguments: argparse.Namespace, predictions: Predictions, found: Calibration) -> None:
    from ._tables import console, print_table
    from ._words import number, shown

    on = console()
    name = shown(predictions.models[0].name)
    on.print(
        f"{arguments.file}: {arguments.method} calibration of {name}, {found.rows:,} rows.",
        soft_wrap=True,
    )
    for parameter, value in found.fitted._asdict().items():
        values = np.asarray(value)
        if values.size <= _SHOWN:
            on.print(f"  {parameter}: {np.array2string(values, precision=6, separator=', ')}")
        else:
            on.print(f"  {parameter}: {values.size:,} numbers")
    on.print()
    titles = {
        "log_loss": "log loss (nats)",
        "brier_score": "Brier score",
        "expected_calibration_error": "ECE of decisions",
    }
    rows = [
        [title, number(found.before[key]), number(found.after[key])]
        for key, title in titles.items()
    ]
    print_table(on, ["metric", "before", "after"], rows)
    on.print(
        f"After: of each row by a map that was fitted to the other {arguments.folds - 1} of "
        f"{arguments.folds} parts."
    )
    on.print(f"{arguments.output}: the parameters, fitted to all rows", soft_wrap=True)
    if arguments.calibrated is not None:
        line = f"{arguments.calibrated}: calibrated probabilities of {arguments.apply}"
        on.print(line, soft_wrap=True)
