"""What a run tells while it goes on."""

import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from .._whole_file import write_whole
from ._extra import extra

with extra():
    from flax import nnx


class Report(NamedTuple):
    """How far a run has come; callbacks get one after every part of it.

    Attributes:
        epoch: the number of epochs done.
        num_epochs: those that were asked for.
        rows: one per epoch since the last report: the numbers `epoch`, `loss`, `penalty`,
            `validation` (NaN without validation data).
        examples_per_second: since the run began, or went on.
        model: a function that gives a copy of the model as it is now.
    """

    epoch: int
    num_epochs: int
    rows: list[dict[str, Any]]
    examples_per_second: float
    model: Callable[[], nnx.Module]


Callback = Callable[[Report], bool | None]  # a true answer ends the run


class JSONLines:
    """A callback that keeps a log: one JSON object per epoch and line, null for what is not finite.

    A run that goes on from a checkpoint first drops the lines of the epochs that it repeats, so
    that the log of a run that died is the log of one that did not. A run that begins gives a file
    that is there another name, with a number at its end.

    Args:
        path: of the file; its folder must be there.

    Example:
        >>> import pathlib, tempfile
        >>> log = JSONLines(pathlib.Path(tempfile.mkdtemp()) / "log.jsonl")
        >>> log(Report(1, 9, [{"epoch": 1, "loss": 0.5}], 1e6, lambda: None))
        >>> log.path.read_text()
        '{"epoch": 1, "loss": 0.5}\\n'
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        self._begun = False

    def __call__(self, report: Report) -> None:
        """Add the epochs that a report tells of."""
        if not self._begun:
            self._keep_before(report.rows[0]["epoch"] if report.rows else report.epoch + 1)
            self._begun = True
        with open(self.path, "a", encoding="utf-8") as file:
            for row in report.rows:
                strict = {name: _of_json(value) for name, value in row.items()}
                file.write(json.dumps(strict) + "\n")

    def _keep_before(self, epoch: int) -> None:
        if not self.path.exists():
            return
        if epoch == 1:  # another run's, perhaps
            number = 1
            while (old := self.path.with_name(f"{self.path.name}.{number}")).exists():
                number += 1
            self.path.rename(old)
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                if row["epoch"] < epoch:
                    kept.append(line + "\n")
            except (ValueError, TypeError, KeyError):  # cut off by the death
                continue
        write_whole(self.path, "".join(kept).encode(), overwrite=True)


def _of_json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
