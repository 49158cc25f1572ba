"""NPZ archives, read row by row without holding an array, and without pickles."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ._files import Piece, check_columns
from ._status import BadInput


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


class ArchiveSource:
    """One archive of `numpy.savez`, or a folder of them: its arrays are the columns."""

    format = "npz"

    def __init__(self, path: Path, paths: Sequence[Path]) -> None:
        self.path = path
        self._paths = list(paths)
        self._headers = [_headers(each) for each in self._paths]
        self.columns: Sequence[str] = list(self._headers[0])

    def num_rows(self) -> int | None:
        """Unknown until it is known which arrays are read."""
        return None

    def width(self, name: str) -> int | None:
        """The last axis of an array that has two."""
        shape = self._headers[0][name].shape
        return shape[1] if len(shape) == 2 else None

    def pieces(self, names: Sequence[str], numbers: Sequence[str], rows: int) -> Iterator[Piece]:
        """All rows of some arrays, in the order of the files."""
        wanted = list(dict.fromkeys(names))
        for path, headers in zip(self._paths, self._headers, strict=True):
            check_columns(path, wanted, list(headers))
            num_rows = _length(path, {name: headers[name] for name in wanted})
            with contextlib.ExitStack() as stack, _reading(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
                readers = {name: _rows_of(archive, name, headers[name], stack) for name in wanted}
                for first in range(0, num_rows, rows):
                    count = min(rows, num_rows - first)
                    yield Piece(path, first, count, {n: r(count) for n, r in readers.items()})


def _headers(path: Path) -> dict[str, _Header]:
    with _reading(path), zipfile.ZipFile(path) as archive:
        found = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    found[member.removesuffix(".npy")] = _header(stream)
        return found


def _header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return _Header(*np.lib.format.read_array_header_1_0(stream))
    return _Header(*np.lib.format.read_array_header_2_0(stream))


def _length(path: Path, headers: dict[str, _Header]) -> int:
    for name, header in headers.items():
        if header.dtype.hasobject:
            raise BadInput(
                path, "it holds Python objects, which are pickles and are not read", column=name
            )
        if len(header.shape) not in (1, 2):
            raise BadInput(
                path,
                f"an array of rows, or of rows and classes, is wanted, but its shape is "
                f"{list(header.shape)}",
                column=name,
            )
    lengths = {name: header.shape[0] for name, header in headers.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise BadInput(path, f"its arrays must have the same number of rows, but {shown}")
    return next(iter(lengths.values()))


def _rows_of(
    archive: zipfile.ZipFile, name: str, header: _Header, stack: contextlib.ExitStack
) -> Any:
    """A function that gives the next so many rows."""
    stream = stack.enter_context(archive.open(f"{name}.npy"))
    _header(stream)
    if header.fortran_order and len(header.shape) == 2:
        # A row is spread over the whole array, which has to be there.
        size = header.dtype.itemsize * header.shape[0] * header.shape[1]
        whole = np.frombuffer(_exactly(stream, size), header.dtype)
        whole = whole.reshape(header.shape, order="F")
        place = 0

        def next_of_whole(count: int) -> np.ndarray:
            nonlocal place
            place += count
            return whole[place - count : place]

        return next_of_whole
    width = header.shape[1:]
    size = header.dtype.itemsize * int(np.prod(width, dtype=np.int64))

    def next_rows(count: int) -> np.ndarray:
        return np.frombuffer(_exactly(stream, count * size), header.dtype).reshape(count, *width)

    return next_rows


def _exactly(stream: IO[bytes], size: int) -> bytes:
    contents = stream.read(size)
    if len(contents) != size:
        raise EOFError(f"an array ends {size - len(contents)} bytes early")
    return contents


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise BadInput(path, f"it cannot be read as NPZ: {said}") from error
