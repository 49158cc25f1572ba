"""Data in files: more than fits into memory, read ahead by Grain."""

import bisect
import functools
import itertools
import os
import pathlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._checkpoints import digest_of
from ._data import Data, at_least_one, check_width
from ._extra import extra


class Block(NamedTuple):
    """Rows that are read at once: a row group of a Parquet file, or a whole NPZ file."""

    path: str
    group: int
    num_rows: int
    first: int  # number of the first row in the whole


class Files:
    """Examples in Parquet or NPZ files, for `fit` to read in batches, in an order of their own.

    A row group (Parquet) or a file (NPZ) is read at once. In every epoch the groups are shuffled,
    and the rows are shuffled within windows of at least `shuffle_rows` rows, or as many as a group
    has: two windows are in memory, and no batch reaches over the end of one. All epochs have as
    many batches, so that any of them can be gone to directly.

    Args:
        paths: files, or folders of them, all Parquet or all NPZ.
        features: of Parquet the columns, which become `[examples, columns]` float32; of NPZ the
            name of an array, `[examples, ...]`, which keeps its dtype.
        labels: the column, or the array.
        weights: likewise; None: all the same.
        shuffle_rows: the least number of rows that are mixed.

    Raises:
        FileNotFoundError: a path is not there, or a folder holds no such file.
        ImportError: pyarrow (for Parquet) or grain is missing.
        ValueError: there is no such column or array, or there are no rows, or files of two kinds.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "part.npz"
        >>> np.savez(path, x=np.ones([7, 3], np.float32), y=np.arange(7) % 2)
        >>> files = Files([path], features="x", labels="y")
        >>> files.num_examples, files.num_batches([0], 0, 4)
        (7, 2)
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        features: str | Sequence[str],
        labels: str,
        weights: str | None = None,
        shuffle_rows: int = 65_536,
    ):
        given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        self.paths = [file for path in given for file in _files_of(pathlib.Path(path))]
        kinds = {path.suffix for path in self.paths}
        if len(kinds) != 1:
            raise ValueError(f"`paths` must be all .parquet or all .npz, but {sorted(kinds)} came.")
        self.features = [features] if isinstance(features, str) else [*features]
        self.labels, self.weights = labels, weights
        self.shuffle_rows = at_least_one("shuffle_rows", shuffle_rows)
        self._parquet = kinds == {".parquet"}
        if not self._parquet and len(self.features) > 1:
            raise ValueError(f"`features` is one array of an NPZ file, but {features} came.")
        self.blocks: list[Block] = []
        for path in self.paths:
            for group, num_rows in enumerate(self._sizes(path)):
                if num_rows:
                    self.blocks.append(Block(str(path), group, num_rows, self.num_examples))
        if not self.blocks:
            raise ValueError(f"There must be examples to fit, but {self.paths[0]} holds none.")

    @property
    def num_examples(self) -> int:
        """The number of rows in all files."""
        return sum(block.num_rows for block in self.blocks)

    def first(self) -> Data:
        """The first example."""
        return Data(*(array[:1] for array in self.read(self.blocks[0])))

    def name(self, example: int) -> str:
        """Where an example stands, in words."""
        firsts = [block.first for block in self.blocks]
        block = self.blocks[bisect.bisect_right(firsts, example) - 1]
        start = next(b.first for b in self.blocks if b.path == block.path)
        return f"row {example - start} of {block.path}"

    def fingerprint(self) -> str:
        """Changes when the files do."""
        sizes = [[path.stat().st_size, path.stat().st_mtime_ns] for path in self.paths]
        choice = f"{self.features} {self.labels} {self.weights} {self.shuffle_rows}"
        return digest_of([np.array(sizes), np.frombuffer(choice.encode(), np.uint8)])

    def num_batches(self, seed: Sequence[int], epoch: int, batch_size: int) -> int:
        """Of an epoch."""
        return self._plan(tuple(seed), epoch, batch_size).ends[-1]

    def batches(
        self, seed: Sequence[int], epoch: int, batch_size: int, first: int = 0
    ) -> Iterator[tuple[Data, np.ndarray]]:
        """The batches of an epoch from number `first` on, read ahead; with the rows' numbers."""
        with extra():
            import grain
        source = _Batches(self, self._plan(tuple(seed), epoch, batch_size), first)
        reading = grain.MapDataset.source(source).to_iter_dataset(
            grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)
        )
        for features, labels, weights, indices in reading:
            yield Data(features, labels, weights), indices

    @functools.lru_cache(maxsize=4)  # noqa: B019  # a few lists of integers
    def _plan(self, seed: tuple[int, ...], epoch: int, batch_size: int) -> "_Plan":
        # Windows are cut before they are shuffled, so that every epoch has the same batches.
        windows, rows = [[]], 0
        for number, block in enumerate(self.blocks):
            if rows >= self.shuffle_rows:
                windows, rows = [*windows, []], 0
            windows[-1].append(number)
            rows += block.num_rows
        order = np.random.default_rng([*seed, epoch]).permutation(len(windows))
        shuffled = [windows[number] for number in order]
        counts = [
            -(-sum(self.blocks[number].num_rows for number in window) // batch_size)
            for window in shuffled
        ]
        return _Plan((*seed, epoch), shuffled, [*itertools.accumulate(counts)], batch_size)

    def read(self, block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, labels and weights of a block."""
        if self._parquet:
            parquet = _parquet()
            names = [*self.features, self.labels, *([self.weights] if self.weights else [])]
            with parquet.ParquetFile(block.path) as file:
                table = file.read_row_group(block.group, columns=names)
            for name in names:
                column = table[name]
                if column.null_count or not _is_number(column.type):
                    what = f"{column.null_count} nulls" if column.null_count else f"{column.type}"
                    raise ValueError(
                        f"Column {name!r} of {block.path} must be numbers, not {what}."
                    )
            columns = {name: table[name].to_numpy() for name in names}
            features = np.stack(
                [columns[name].astype(np.float32) for name in self.features], axis=-1
            )
            labels, weights = columns[self.labels], columns.get(self.weights or "")
        else:
            with np.load(block.path, allow_pickle=False) as file:
                features, labels = file[self.features[0]], file[self.labels]
                weights = file[self.weights] if self.weights else None
        if weights is None:
            weights = np.ones(len(labels))
        if not (len(features) == len(labels) == len(weights) == block.num_rows):
            raise ValueError(
                f"The arrays of {block.path} must have one entry per example, but {len(features)} "
                f"features, {len(labels)} labels and {len(weights)} weights came."
            )
        check_width(f"{self.labels} of {block.path}", labels)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError(f"The weights of {block.path} must be finite and ≥ 0.")
        if labels.dtype.kind in "iu":
            labels = labels.astype(np.int32)
        return features, labels, weights.astype(np.float32)

    def _sizes(self, path: pathlib.Path) -> list[int]:
        """The number of rows of each block of a file, whose columns are checked."""
        wanted = [*self.features, self.labels, *([self.weights] if self.weights else [])]
        if self._parquet:
            with _parquet().ParquetFile(path) as file:
                names, groups = file.schema_arrow.names, range(file.num_row_groups)
                sizes = [file.metadata.row_group(group).num_rows for group in groups]
        else:
            with np.load(path, allow_pickle=False) as file:
                names = file.files
                sizes = [len(file[self.labels])] if self.labels in names else []
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValueError(f"{path} has no {missing[0]!r}; it has {', '.join(names)}.")
        return sizes


class _Plan(NamedTuple):
    """The windows of an epoch in their order, and after how many batches each ends."""

    seed: tuple[int, ...]
    windows: list[list[int]]
    ends: list[int]
    batch_size: int


class _Batches:
    """The batches of an epoch by their number, as Grain wants them."""

    def __init__(self, files: Files, plan: _Plan, first: int):
        self.files, self.plan, self.first = files, plan, first
        self.lock, self.held = threading.Lock(), OrderedDict()

    def __len__(self) -> int:
        return self.plan.ends[-1] - self.first

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        number = int(index) + self.first
        window = bisect.bisect_right(self.plan.ends, number)
        within = number - (self.plan.ends[window - 1] if window else 0)
        size = self.plan.batch_size
        arrays = self._window(window)
        rows = [array[within * size : (within + 1) * size] for array in arrays]
        missing = size - len(rows[0])
        return tuple(
            np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing else array
            for array in rows
        )

    def _window(self, number: int) -> tuple[np.ndarray, ...]:
        with self.lock:
            if number not in self.held:
                blocks = [self.files.blocks[block] for block in self.plan.windows[number]]
                parts = zip(*(self.files.read(block) for block in blocks), strict=True)
                rows = np.concatenate(
                    [np.arange(block.first, block.first + block.num_rows) for block in blocks]
                )
                arrays = [*(np.concatenate(part) for part in parts), rows.astype(np.int32)]
                order = np.random.default_rng([*self.plan.seed, 1 + number]).permutation(len(rows))
                self.held[number] = tuple(array[order] for array in arrays)
                while len(self.held) > 2:
                    self.held.popitem(last=False)
            return self.held[number]


def _files_of(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in (".parquet", ".npz"))
        if not found:
            raise FileNotFoundError(f"{path} holds no .parquet or .npz file.")
        return found
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return [path]


def _is_number(kind: Any) -> bool:
    with extra():
        import pyarrow.types as types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _parquet() -> Any:
    with extra():
        import pyarrow.parquet
    return pyarrow.parquet
