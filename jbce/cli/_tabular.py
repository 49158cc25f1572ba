"""CSV and Parquet, through pyarrow's datasets, in constant memory."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ._files import Piece, check_columns
from ._status import BadInput, extra

_BUFFER = 1 << 20  # bytes of a column that are read at a time
_LUMP_ROWS, _LUMP_BYTES = 1 << 22, 256 << 20  # of a row group
_TITLES = {"csv": "CSV", "parquet": "Parquet"}


class TableSource:
    """One file, or a folder of them; `key=value` in a folder's name is a column."""

    def __init__(self, path: Path, paths: Sequence[Path], format: str) -> None:
        self.path, self.format = path, format
        self._paths = list(paths)
        # A file at a time, so that an error is that of the file that it names.
        for each in self._paths[1:]:
            with self._reading(each):
                self._dataset([each], ()).schema  # noqa: B018
        with self._reading(self._paths[0]):
            self._schema = self._dataset(self._paths, ()).schema
        self.columns: Sequence[str] = list(self._schema.names)

    def num_rows(self) -> int | None:
        """What the footers of Parquet files say."""
        if self.format != "parquet":
            return None
        return sum(f.metadata.num_rows for f in self._dataset(self._paths, ()).get_fragments())

    def width(self, name: str) -> int | None:
        """The length of a list, of the first one where they may differ."""
        with extra():
            import pyarrow as pa
        kind = self._schema.field(name).type
        if pa.types.is_fixed_size_list(kind):
            return kind.list_size
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            return None
        with self._reading(self._paths[0]):
            head = self._dataset(self._paths, ()).head(1, columns=[name])
            return len(head.column(0)[0].as_py() or ()) if head.num_rows else 0

    def pieces(self, names: Sequence[str], numbers: Sequence[str], rows: int) -> Iterator[Piece]:
        """All rows of some columns, in the order of the files."""
        with extra():
            import pyarrow.dataset
        with self._reading(self._paths[0]):
            dataset = self._dataset(self._paths, numbers)
            schema, fragments = dataset.schema, list(dataset.get_fragments())
        for fragment in fragments:
            path = Path(fragment.path)
            first = 0
            with self._reading(path):
                keys = pyarrow.dataset.get_partition_keys(fragment.partition_expression)
                check_columns(path, names, [*fragment.physical_schema.names, *keys])
                wanted = list(dict.fromkeys(names))
                if self.format == "parquet" and _is_lumped(fragment):
                    batches = _within_row_groups(path, wanted, keys, schema, rows)
                else:
                    batches = fragment.to_batches(
                        schema=schema,
                        columns=wanted,
                        batch_size=rows,
                        batch_readahead=4,
                        fragment_readahead=1,
                        **_options(self.format),
                    )
            while True:
                with self._reading(path):
                    batch = next(batches, None)
                if batch is None:
                    break
                if batch.num_rows:
                    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                    yield Piece(path, first, batch.num_rows, columns)
                    first += batch.num_rows

    def _dataset(self, paths: Sequence[Path], numbers: Sequence[str]) -> Any:
        with extra():
            import pyarrow.dataset
        folder = self.path.is_dir()
        return pyarrow.dataset.dataset(
            [str(path) for path in paths],
            format="parquet" if self.format == "parquet" else self._csv(paths[0], numbers),
            partitioning=pyarrow.dataset.partitioning(flavor="hive") if folder else None,
            partition_base_dir=str(self.path) if folder else None,
        )

    @staticmethod
    def _csv(path: Path, numbers: Sequence[str]) -> Any:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.dataset

        # The first megabyte decides the types, where they are not said: 0, 1, ... and then 0.5.
        types = dict.fromkeys(numbers, pa.float64())
        return pyarrow.dataset.CsvFileFormat(
            parse_options=pyarrow.csv.ParseOptions(
                delimiter="\t" if ".tsv" in path.suffixes else ",", newlines_in_values=True
            ),
            default_fragment_scan_options=pyarrow.dataset.CsvFragmentScanOptions(
                convert_options=pyarrow.csv.ConvertOptions(column_types=types)
            ),
        )

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        with extra():
            import pyarrow as pa
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._explained(path, error) from error

    def _explained(self, path: Path, error: Exception) -> BadInput:
        """What pyarrow says, as a sentence about this file."""
        said = " ".join(str(error).split())
        named = re.search(r"source '([^']+)'", said)
        if named:  # of several files
            path = Path(named[1])
        if self.format == "csv" and "Row #" not in said:
            said = _said_in_order(path, self._csv(path, ())) or said
        # The row of the header is number 1.
        place = re.search(r"Row #(\d+): ", said)
        row = int(place[1]) - 2 if place else None
        said = re.sub(r"Row #\d+: ", "", said)
        value = re.search(r"In CSV column #(\d+): .*invalid value '(.*)'", said)
        if value:
            column, wanted = self._column(int(value[1])), re.search(r"error to (\w+)", said)
            kind = {"double": "a number", "int64": "an integer"}.get(wanted[1] if wanted else "")
            what = f"{value[2]!r} is not {kind or 'what the rows before it hold'}"
            return BadInput(path, what, column=column, row=row)
        # The innermost cause is the last one; around it pyarrow repeats the path.
        cause = re.split(r"(?:Invalid: |source '[^']*': )", said)[-1]
        cause = re.split(r"(?<=[a-z])\. ", cause)[0].rstrip(". ")
        return BadInput(path, f"it cannot be read as {_TITLES[self.format]}: {cause}", row=row)

    def _column(self, index: int) -> str | None:
        columns = getattr(self, "columns", ())
        return columns[index] if index < len(columns) else None


def _options(format: str) -> dict[str, Any]:
    import pyarrow.dataset

    if format != "parquet":
        return {}
    # Else several row groups are read ahead.
    options = pyarrow.dataset.ParquetFragmentScanOptions(
        use_buffered_stream=True, buffer_size=_BUFFER, pre_buffer=False
    )
    return {"fragment_scan_options": options}


def _is_lumped(fragment: Any) -> bool:
    """Whether a row group is too large to be held, as a scan of a dataset holds it."""
    about = fragment.metadata
    groups = (about.row_group(i) for i in range(about.num_row_groups))
    return any(g.num_rows > _LUMP_ROWS or g.total_byte_size > _LUMP_BYTES for g in groups)


def _within_row_groups(
    path: Path, names: Sequence[str], keys: dict[str, Any], schema: Any, rows: int
) -> Iterator[Any]:
    """The same batches, a page at a time and one after the other."""
    import pyarrow as pa
    import pyarrow.parquet

    there = [name for name in names if name not in keys]
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
        for batch in file.iter_batches(rows, columns=there, use_threads=True):
            arrays = [
                pa.repeat(pa.scalar(keys[name]), batch.num_rows)
                if name in keys
                else batch.column(name)
                for name in names
            ]
            kinds = [schema.field(name).type for name in names]
            arrays = [a.cast(kind) for a, kind in zip(arrays, kinds, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=list(names))


def _said_in_order(path: Path, format: Any) -> str | None:
    """The error again, with the number of the row, which only a reader in order can give."""
    import pyarrow as pa
    import pyarrow.csv

    try:
        reader = pyarrow.csv.open_csv(
            str(path),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=format.parse_options,
            convert_options=format.default_fragment_scan_options.convert_options,
        )
        for _ in reader:
            pass
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        return " ".join(str(error).split())
    return None
