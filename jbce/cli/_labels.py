"""Labels of a file as class indices: 0 and 1, or positions among the columns of classes."""

from collections.abc import Callable, Sequence

import numpy as np

from ._columns import MISSING, Column, coded, first, name_of, scalars
from ._status import Misuse

_SHOWN = 10


class Labels:
    """Reads labels; the same value has the same index in every piece.

    Args:
        num_classes: None for binary labels.
        names: of the classes, in the order of their columns, where columns name them.
        positive: which binary label is the positive one; None where labels are 0 and 1.
    """

    def __init__(
        self, num_classes: int | None, names: Sequence[str] | None, positive: str | None
    ) -> None:
        if num_classes is not None and positive is not None:
            raise Misuse("--positive is for binary labels, but the model has a column per class")
        self.num_classes, self.positive = num_classes, positive
        self.negative: str | None = None
        self.names = None if names is None else tuple(names)
        self._index = None if names is None else _indices(names)

    def read(self, column: Column) -> np.ndarray:
        """Class indices, int32 `[rows]`.

        Raises:
            BadInput: a label is none of the classes, or missing.
        """
        if self.num_classes is None:
            if self.positive is None:
                return self._zeros_and_ones(column)
            return self._named(column, self._of_two)
        if self._index is not None:
            return self._named(column, self._of_columns)
        return self._positions(column, self.num_classes)

    def _zeros_and_ones(self, column: Column) -> np.ndarray:
        values = scalars(column)
        if values is None:
            codes, names = coded(column)
            raise column.bad(
                f"labels must be 0 and 1, but {names[codes[0]]!r} came; "
                "--positive NAME says which label is the positive one",
                0,
            )
        row = first((values != 0) & (values != 1))
        if row is not None:
            raise column.bad(
                f"labels must be 0 and 1, but {name_of(values[row].item())} came; "
                "--positive NAME says which of two others is the positive one",
                row,
            )
        return values.astype(np.int32)

    def _positions(self, column: Column, num_classes: int) -> np.ndarray:
        values = scalars(column)
        if values is None:
            raise column.bad(
                "labels must be class indices, where the classes have no columns with their "
                f"names, but {column.values[0]!s} came",
                0,
            )
        whole = np.floor(values) == values if values.dtype.kind == "f" else True
        row = first(~((values >= 0) & (values < num_classes) & whole))
        if row is not None:
            raise column.bad(
                f"labels must be classes from 0 to {num_classes - 1}, but "
                f"{name_of(values[row].item())} came",
                row,
            )
        return values.astype(np.int32)

    def _named(self, column: Column, index: Callable[[str], int | str]) -> np.ndarray:
        codes, names = coded(column)
        table = np.zeros(len(names), np.int32)
        _, rows = np.unique(codes, return_index=True)
        for row in np.sort(rows):  # in the order in which they come
            code = codes[row]
            if names[code] == MISSING:
                raise column.bad("the label is missing", int(row))
            found = index(names[code])
            if isinstance(found, str):
                raise column.bad(found, int(row))
            table[code] = found
        return table[codes]

    def _of_two(self, name: str) -> int | str:
        if name == self.positive:
            return 1
        if self.negative is None:
            self.negative = name
        if name != self.negative:
            return (
                f"labels must be one of two, but {name!r} came after {self.negative!r}, and "
                f"neither is the positive {self.positive!r}"
            )
        return 0

    def _of_columns(self, name: str) -> int | str:
        assert self.names is not None and self._index is not None
        if name in self._index:
            return self._index[name]
        shown = ", ".join(map(repr, self.names[:_SHOWN]))
        more = len(self.names) - _SHOWN
        shown += f" and {more} more" if more > 0 else ""
        return f"the label {name!r} is none of the classes that the columns name: {shown}"


def _indices(names: Sequence[str]) -> dict[str, int]:
    """By the name of the class; by its number too, where names are padded numbers: p_00, p_01.

    Names that are no numbers may also be counted, from 0.
    """
    index = {name: position for position, name in enumerate(names)}
    if all(name.isdecimal() for name in names):
        return {str(int(name)): position for name, position in index.items()} | index
    if not any(name.isdecimal() for name in names):
        index |= {str(position): position for position in range(len(names))}
    return index
