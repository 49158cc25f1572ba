"""Files of calibrated probabilities, written chunk by chunk."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._status import extra

OUTPUT_SUFFIXES = (".parquet", ".csv", ".npz")
_NAME = "prob"  # of the column; `prob_CLASS` of several classes

Write = Callable[[np.ndarray, dict[str, Any]], None]


@contextlib.contextmanager
def writer(path: Path, classes: Sequence[str] | None) -> Iterator[Write]:
    """Gives a function of probabilities, [rows] or [rows, classes], and of other columns."""
    if path.suffix == ".npz":
        arrays: dict[str, list[np.ndarray]] = {}

        def keep(probs: np.ndarray, others: dict[str, Any]) -> None:
            for name, column in {_NAME: probs, **others}.items():
                arrays.setdefault(name, []).append(_numpy(column))

        yield keep
        np.savez(path, allow_pickle=False, **{n: np.concatenate(a) for n, a in arrays.items()})
        return
    with extra():
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet
    with contextlib.ExitStack() as stack:
        files: list[Any] = []

        def append(probs: np.ndarray, others: dict[str, Any]) -> None:
            columns = (
                {_NAME: probs}
                if classes is None
                else {f"{_NAME}_{name}": probs[:, k] for k, name in enumerate(classes)}
            )
            table = pa.table({n: pa.array(c) for n, c in (others | columns).items()})
            if not files:
                make = (
                    pyarrow.parquet.ParquetWriter
                    if path.suffix == ".parquet"
                    else pyarrow.csv.CSVWriter
                )
                files.append(stack.enter_context(make(str(path), table.schema)))
            files[0].write_table(table)

        yield append


def _numpy(column: Any) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return column
    values = column.to_numpy(zero_copy_only=False)
    # Strings, which pyarrow gives as objects: NumPy's own, so that they are no pickles.
    return values.astype(str) if values.dtype.kind == "O" else values
