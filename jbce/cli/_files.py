"""Files of predictions, read piece by piece: CSV, Parquet, NPZ, and folders of them."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ._status import BadInput, Misuse

_SUFFIXES = {
    "csv": (".csv", ".csv.gz", ".csv.zst", ".tsv"),
    "parquet": (".parquet", ".pq"),
    "npz": (".npz",),
}
FORMATS = tuple(_SUFFIXES)
_SHOWN = 30  # names of columns in a message


class Piece(NamedTuple):
    """Consecutive rows of one file."""

    path: Path
    first_row: int  # in its file, from 0
    num_rows: int
    columns: dict[str, Any]  # by name: a pyarrow or a NumPy array


class Source(Protocol):
    """A file, or a folder of files, of one format."""

    path: Path
    format: str
    columns: Sequence[str]
    """The names of the columns there are."""

    def num_rows(self) -> int | None:
        """How many rows there are, where that is known without reading them."""
        ...

    def width(self, name: str) -> int | None:
        """How many numbers a row of a column holds, where it is a list; None for one number."""
        ...

    def pieces(self, names: Sequence[str], numbers: Sequence[str], rows: int) -> Iterator[Piece]:
        """All rows of some columns, at most `rows` at a time; `numbers` are floating point."""
        ...


def open_source(path: Path, format: str | None) -> Source:
    """The file or folder at `path`.

    Raises:
        Misuse: there is none, it is empty, or what it is cannot be told.
    """
    if not path.exists():
        raise Misuse(f"{path}: there is no such file or folder")
    if path.is_dir():
        paths, format = _in_folder(path, format)
    else:
        paths = [path]
        format = format or _format_of(path)
        if format is None:
            raise Misuse(
                f"{path}: its format cannot be told from its name; --format "
                f"{'|'.join(FORMATS)} says it"
            )
    for each in paths:
        if each.stat().st_size == 0:
            raise BadInput(each, "the file is empty")
    if format == "npz":
        from ._npz import ArchiveSource

        return ArchiveSource(path, paths)
    from ._tabular import TableSource

    return TableSource(path, paths, format)


def _format_of(path: Path) -> str | None:
    name = path.name.lower()
    return next((format for format, ends in _SUFFIXES.items() if name.endswith(ends)), None)


def _in_folder(folder: Path, format: str | None) -> tuple[list[Path], str]:
    found = [
        path
        for path in folder.rglob("*")
        # Hidden and underlined names are those of tools: _SUCCESS, .ipynb_checkpoints
        if not any(part[0] in "._" for part in path.relative_to(folder).parts) and path.is_file()
    ]
    found.sort(key=lambda path: natural(str(path)))
    by_format = {each: [p for p in found if _format_of(p) == each] for each in FORMATS}
    by_format = {each: paths for each, paths in by_format.items() if paths}
    if format is not None:
        by_format = {each: paths for each, paths in by_format.items() if each == format}
    if not by_format:
        wanted = [format] if format else FORMATS
        endings = ", ".join(end for each in wanted for end in _SUFFIXES[each])
        raise Misuse(f"{folder}: the folder holds no file of predictions ({endings})")
    if len(by_format) > 1:
        raise Misuse(
            f"{folder}: the folder holds files of several formats ({', '.join(by_format)}); "
            "--format says which to read"
        )
    ((format, paths),) = by_format.items()
    return paths, format


def natural(name: str) -> list[Any]:
    """A key that sorts p_2 before p_10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if i % 2 else part for i, part in enumerate(parts)]


def check_columns(path: Any, wanted: Sequence[str], there: Sequence[str]) -> None:
    """Every column that is wanted is there.

    Raises:
        BadInput: one is not; the message names a near match and all that there are.
    """
    import difflib

    for name in wanted:
        if name in there:
            continue
        near = difflib.get_close_matches(name, there, n=1)
        folded = [other for other in there if other.casefold() == name.casefold()]
        hint = f", did you mean {(folded or near)[0]!r}?" if folded or near else ";"
        raise BadInput(path, f"there is no column {name!r}{hint} it has {names(there)}")


def names(there: Sequence[str]) -> str:
    """The names of columns, in words."""
    if not there:
        return "no columns"
    shown = ", ".join(map(repr, itertools.islice(there, _SHOWN)))
    more = len(there) - _SHOWN
    return shown + (f" and {more} more" if more > 0 else "")
