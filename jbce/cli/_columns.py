"""Columns as NumPy arrays, and what is wrong with them, by file, column and row."""

from typing import Any, NamedTuple

import numpy as np

from ._files import Piece
from ._status import BadInput


class Column(NamedTuple):
    """A column of a piece, which knows where its rows are."""

    piece: Piece
    name: str

    @property
    def values(self) -> Any:
        """A pyarrow or a NumPy array."""
        values = self.piece.columns[self.name]
        decode = getattr(values, "dictionary_decode", None)
        return values if decode is None else decode()

    def bad(self, what: str, row: int | None = None) -> BadInput:
        """An error at a row of the piece."""
        place = None if row is None else self.piece.first_row + row
        return BadInput(self.piece.path, what, column=self.name, row=place)


def floats(column: Column) -> np.ndarray:
    """Numbers in float64, `[rows]`, or `[rows, classes]` of a column of lists.

    Raises:
        BadInput: it holds something else, or nothing in some row.
    """
    values = column.values
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "fiu":
            raise column.bad(f"numbers are wanted, but it holds {values.dtype}")
        return values.astype(np.float64)
    import pyarrow as pa

    _check_nulls(column)
    kind = values.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (lists or pa.types.is_fixed_size_list(kind)):
        return _numbers(column, values)
    lengths = values.value_lengths().to_numpy(zero_copy_only=False)
    differs = lengths != lengths[0]
    if differs.any():
        row = int(np.argmax(differs))
        what = f"{lengths[row]} numbers came, but the rows before have {lengths[0]}"
        raise column.bad(what, row)
    inner = values.flatten()
    if inner.null_count:
        at = int(np.argmax(inner.is_null().to_numpy(zero_copy_only=False)))
        raise column.bad("a value is missing", at // int(lengths[0]))
    return _numbers(column, inner).reshape(len(values), -1)


def _numbers(column: Column, values: Any) -> np.ndarray:
    import pyarrow as pa

    kind = values.type
    of_numbers = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if not (of_numbers or pa.types.is_decimal(kind)):
        raise column.bad(f"numbers are wanted, but it holds {kind}")
    return values.to_numpy(zero_copy_only=False).astype(np.float64)


def scalars(column: Column) -> np.ndarray | None:
    """Booleans, integers or floats as they are, `[rows]`; None where it holds something else.

    Raises:
        BadInput: there is nothing in some row.
    """
    values = column.values
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise column.bad(f"one value per row is wanted, but its shape is {list(values.shape)}")
        return values if values.dtype.kind in "bfiu" else None
    import pyarrow as pa

    _check_nulls(column)
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return values.to_numpy(zero_copy_only=False)
    return None


def coded(column: Column) -> tuple[np.ndarray, list[str]]:
    """Any values as indices, `[rows]`, into a list of their names."""
    values = column.values
    if isinstance(values, np.ndarray):
        if values.ndim != 1 or values.dtype.kind not in "bfiuUS":
            shape = f"{values.dtype}{list(values.shape)}"
            raise column.bad(f"one value per row is wanted, but it holds {shape}")
        distinct, codes = np.unique(values, return_inverse=True)
        return codes, [name_of(value) for value in distinct.tolist()]
    import pyarrow as pa

    if pa.types.is_nested(values.type):
        raise column.bad(f"one value per row is wanted, but it holds {values.type}")
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    codes = values.indices.to_numpy(zero_copy_only=False)
    names = [name_of(value) for value in values.dictionary.to_pylist()]
    missing = np.isnan(codes) if codes.dtype.kind == "f" else np.zeros(len(codes), bool)
    codes = np.where(missing, len(names), codes).astype(np.int64)
    return codes, [*names, MISSING]


MISSING = "(missing)"


def name_of(value: Any) -> str:
    """A value as users write it: 1 for 1.0, true for True."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def first(wrong: np.ndarray) -> int | None:
    """The first row where something is wrong."""
    return int(np.argmax(wrong)) if wrong.any() else None


def _check_nulls(column: Column) -> None:
    values = column.values
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise column.bad("a value is missing, or is not a number", row)
