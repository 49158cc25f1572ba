"""What models say about the examples of a file: logits, labels, weights and groups."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._columns import Column, coded, first, floats
from ._files import Piece, Source, check_columns, names, natural, open_source
from ._labels import Labels
from ._status import BadInput, Misuse

SUM_TOLERANCE = 1e-3  # of the probabilities of a row: three printed digits, as in jbce.metrics
_MOST_ROWS, _FEWEST_ROWS = 1 << 16, 1 << 10
_NUMBERS = 1 << 20  # logits in a batch


class Model(NamedTuple):
    """Where a model's numbers are."""

    name: str  # as the user writes it
    columns: tuple[str, ...]  # one, or one per class
    classes: tuple[str, ...] | None  # what the `*` of a pattern stands for


class Chunk(NamedTuple):
    """Consecutive examples of one file."""

    piece: Piece
    logits: np.ndarray  # float64, [models, rows], or [models, rows, classes]
    labels: np.ndarray  # int32, [rows]
    weights: np.ndarray  # float64, [rows]
    groups: np.ndarray | None  # indices into `Predictions.groups`, [rows]


class Predictions:
    """A file, and how to read it.

    Args:
        specs: a column each, or a pattern of columns with one `*`, a column per class.
        probs: whether they are probabilities; else logits.
        show: more columns to read.
        batch_rows: None chooses by the number of classes and models.
    """

    def __init__(
        self,
        path: Path,
        specs: Sequence[str],
        *,
        probs: bool,
        label: str | None,
        format: str | None = None,
        weight: str | None = None,
        group: str | None = None,
        positive: str | None = None,
        show: Sequence[str] = (),
        batch_rows: int | None = None,
    ) -> None:
        self.source: Source = open_source(path, format)
        self.probs = probs
        self.label, self.weight, self.group = label, weight, group
        self.groups: list[str] = []
        self._group_index: dict[str, int] = {}
        self._others = [name for name in (label, weight, group) if name is not None]
        check_columns(path, [*self._others, *show], self.source.columns)
        repeated = [spec for i, spec in enumerate(specs) if spec in specs[:i]]
        if repeated:
            raise Misuse(f"the model {repeated[0]!r} came twice")
        self.models = [self._model(spec) for spec in specs]
        self.num_classes, self.classes = self._kind()
        self.labels = Labels(self.num_classes, self.classes, positive)
        self._wanted = [c for model in self.models for c in model.columns] + self._others
        self._wanted += list(show)
        width = len(self.models) * (self.num_classes or 1)
        self.batch_rows = batch_rows or min(max(_NUMBERS // width, _FEWEST_ROWS), _MOST_ROWS)

    @property
    def binary(self) -> bool:
        """Whether there is one number per example."""
        return self.num_classes is None

    def show(self, name: str) -> None:
        """Reads one more column."""
        self._wanted.append(name)

    def chunks(self) -> Iterator[Chunk]:
        """All examples, in the order of the files, at most `batch_rows` at a time.

        Raises:
            BadInput: what the file holds makes no sense; there are no rows.
        """
        numbers = [c for model in self.models for c in model.columns]
        numbers += [self.weight] if self.weight is not None else []
        some = False
        for piece in self.source.pieces(self._wanted, numbers, self.batch_rows):
            some = True
            yield self._chunk(piece)
        if not some:
            raise BadInput(self.source.path, "there are no rows")

    def _model(self, spec: str) -> Model:
        there = self.source.columns
        if spec in there or "*" not in spec:
            check_columns(self.source.path, [spec], there)
            return Model(spec, (spec,), None)
        if spec.count("*") > 1:
            raise Misuse(f"a pattern of columns has one `*`, but {spec!r} came")
        start, end = spec.split("*")
        size = len(start) + len(end)
        found = [
            name
            for name in there
            if name.startswith(start)
            and name.endswith(end)
            and len(name) > size
            and name not in self._others
        ]
        # Numbers in their order; names in that of the file, in which labels may count them.
        if all(name[len(start) : len(name) - len(end)].isdigit() for name in found):
            found.sort(key=natural)
        if len(found) < 2:
            what = f"only {found[0]!r} matches" if found else "no column matches"
            raise BadInput(
                self.source.path,
                f"{what} {spec!r}, where a column per class is wanted; it has {names(there)}",
            )
        return Model(spec, tuple(found), tuple(n[len(start) : len(n) - len(end)] for n in found))

    def _kind(self) -> tuple[int | None, tuple[str, ...] | None]:
        kinds: dict[str, int | None] = {}
        for model in self.models:
            alone = len(model.columns) == 1
            kinds[model.name] = self.source.width(model.columns[0]) if alone else len(model.columns)
        if len(set(kinds.values())) > 1:
            shown = ", ".join(
                f"{name!r} has {'one number' if width is None else f'{width} numbers'}"
                for name, width in kinds.items()
            )
            raise Misuse(f"all models must have the same classes, but per example {shown}")
        (num_classes,) = set(kinds.values())
        if num_classes is not None and num_classes < 2:
            raise BadInput(
                self.source.path,
                f"a row must hold a number per class, at least two, but holds {num_classes}",
                column=self.models[0].name,
            )
        named = [model for model in self.models if model.classes is not None]
        for model in named[1:]:
            if model.classes != named[0].classes:
                raise Misuse(
                    f"the columns of {named[0].name!r} and {model.name!r} name different classes"
                )
        return num_classes, named[0].classes if named else None

    def _chunk(self, piece: Piece) -> Chunk:
        logits = np.stack([self._logits(piece, model) for model in self.models])
        if self.label is None:
            labels = np.zeros(piece.num_rows, np.int32)
        else:
            labels = self.labels.read(Column(piece, self.label))
        weights = np.ones(piece.num_rows)
        if self.weight is not None:
            column = Column(piece, self.weight)
            weights = floats(column)
            row = first(~((weights >= 0) & (weights < np.inf)))
            if row is not None:
                raise column.bad(f"weights must be ≥ 0 and finite, but {weights[row]} came", row)
        groups = None
        if self.group is not None:
            codes, values = coded(Column(piece, self.group))
            present = np.bincount(codes, minlength=len(values)) > 0
            index = [self._group(v) if p else 0 for v, p in zip(values, present, strict=True)]
            groups = np.array(index, np.int64)[codes]
        return Chunk(piece, logits, labels, weights, groups)

    def _group(self, name: str) -> int:
        if name not in self._group_index:
            self._group_index[name] = len(self.groups)
            self.groups.append(name)
        return self._group_index[name]

    def _logits(self, piece: Piece, model: Model) -> np.ndarray:
        columns = [Column(piece, name) for name in model.columns]
        arrays = [floats(column) for column in columns]
        expected = (
            (piece.num_rows,)
            if self.binary or len(columns) > 1
            else (
                piece.num_rows,
                self.num_classes,
            )
        )
        for column, array in zip(columns, arrays, strict=True):
            if array.shape != expected:
                raise column.bad(
                    f"{list(expected[1:]) or 'one number'} per row is wanted, but "
                    f"{list(array.shape[1:]) or 'one number'} came",
                    0,
                )
        values = arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=-1)
        self._check(values, columns, model)
        if not self.probs:
            return values
        with np.errstate(divide="ignore"):
            logs = np.log(values)
            return logs - np.log1p(-values) if self.binary else logs

    def _check(self, values: np.ndarray, columns: Sequence[Column], model: Model) -> None:
        wrong = ~((values >= 0) & (values <= 1)) if self.probs else np.isnan(values)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            column = columns[place[1]] if len(columns) > 1 else columns[0]
            rule = "a probability must be in [0, 1]" if self.probs else "a logit must be a number"
            hint = "; logits go by --logit" if self.probs and not np.isnan(values[place]) else ""
            raise column.bad(f"{rule}, but {values[place]:g} came{hint}", place[0])
        if self.binary:
            return
        whole = Column(columns[0].piece, model.name)
        if self.probs:
            totals = values.sum(axis=-1)
            row = first(np.abs(totals - 1) > SUM_TOLERANCE)
            if row is not None:
                what = f"the probabilities of a row must sum to 1, but {totals[row]:.6g} came"
                raise whole.bad(what, row)
            return
        largest = values.max(axis=-1)
        several = (largest == np.inf) & ((values == np.inf).sum(axis=-1) > 1)
        row = first(several | (largest == -np.inf))
        if row is not None:
            what = "several are inf" if several[row] else "all are -inf"
            raise whole.bad(f"the logits of a row must give probabilities, but {what}", row)


def options_of(arguments: Any, *, only_one: bool = False) -> dict[str, Any]:
    """What the command line says about the columns of a file, for `Predictions`."""
    specs = arguments.prob if arguments.prob is not None else arguments.logit
    if only_one and len(specs) > 1:
        raise Misuse(f"this is about one model, but {len(specs)} came: {names(specs)}")
    return {
        "specs": specs,
        "probs": arguments.prob is not None,
        "label": arguments.label,
        "format": arguments.format,
        "weight": arguments.weight,
        "positive": arguments.positive,
    }
