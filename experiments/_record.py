"""What an experiment finds: told on the terminal as it happens, and kept as files at the end."""

import dataclasses
import datetime
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._environment import environment
from ._terminal import show_table, show_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


@dataclasses.dataclass(frozen=True)
class Metric:
    """One number, for machines."""

    name: str
    value: float | None
    """None where there is no finite value."""
    unit: str
    """`1` for a ratio or a count."""


@dataclasses.dataclass(frozen=True)
class Headline:
    """A number to remember, with the interval in which it may as well lie."""

    what: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    interval: str
    """What kind of interval it is, as `95 %`."""

    def __str__(self) -> str:
        unit = "" if self.unit == "1" else f" {self.unit}"
        if self.value is None:
            return f"{self.what}: not finite"
        if self.low is None or self.high is None:
            return f"{self.what}: {self.value:.4g}{unit}"
        return f"{self.what}: {self.value:.4g}{unit} ({self.low:.4g} to {self.high:.4g})"


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph of the report."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the report; cells are ready to be read."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the report."""

    name: str
    caption: str
    svg: str
    """To stand alone: dark ink on white."""
    inline_svg: str
    """To stand in the report: its ink has the colour of the page's text."""


class Record:
    """Collects numbers, sentences, tables and figures; `write` leaves them in a folder.

    Nothing is written before the end, so that an experiment that fails leaves an earlier result as
    it was.
    """

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.headlines: list[Headline] = []
        self.blocks: list[Text | Table | Figure] = []
        self._started = time.perf_counter()

    def metric(self, name: str, value: Any, unit: str) -> None:
        """Keep one number; NaN and infinities are kept as `null`."""
        self.metrics.append(Metric(name, _finite(value), unit))

    def headline(
        self,
        what: str,
        value: Any,
        low: Any = None,
        high: Any = None,
        unit: str = "1",
        interval: str = "95 %",
    ) -> None:
        """One of the few numbers that the gallery and the table of experiments show."""
        low, high = (None if end is None else _finite(end) for end in (low, high))
        self.headlines.append(Headline(what, _finite(value), low, high, unit, interval))

    def say(self, text: str) -> None:
        """One paragraph, on the terminal and in the report."""
        show_text(text + "\n")
        self.blocks.append(Text(text))

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
    ) -> None:
        """A table of cells that are ready to be read, on the terminal and in the report."""
        show_table(title, columns, rows, note)
        self.blocks.append(Table(title, columns, rows, note))

    def figure(self, name: str, figure: "MatplotlibFigure", caption: str) -> None:
        """A figure, as `NAME.svg` and in the report."""
        from jbce import plots

        self.blocks.append(
            Figure(name, caption, plots.svg(figure), plots.svg(figure, ink="currentColor"))
        )

    def write(self, folder: Path, *, name: str, config: Any) -> dict[str, Any]:
        """Leave `metrics.json`, `blocks.json` and the figures in `folder`.

        Returns:
            What `metrics.json` holds.
        """
        settings = dataclasses.asdict(config)
        contents = {
            "experiment": name,
            "headlines": [dataclasses.asdict(headline) for headline in self.headlines],
            "rows": [dataclasses.asdict(metric) for metric in self.metrics],
            "seed": settings.get("seed"),
            "config": settings,
            "seconds": round(time.perf_counter() - self._started, 3),
            "date": datetime.date.today().isoformat(),
        } | environment()
        for block in self.blocks:
            if isinstance(block, Figure):
                write_text(folder / f"{block.name}.svg", block.svg)
        blocks = [{"kind": type(block).__name__, **vars(block)} for block in self.blocks]
        write_text(folder / "blocks.json", strict_json({"blocks": blocks}))
        write_text(folder / "metrics.json", strict_json(contents))
        return contents


def read_blocks(path: Path) -> list[Text | Table | Figure]:
    """The blocks of a report, as `Record.write` left them."""
    kinds = {kind.__name__: kind for kind in (Text, Table, Figure)}
    blocks = json.loads(path.read_text(encoding="utf-8"))["blocks"]
    return [kinds[block.pop("kind")](**block) for block in blocks]


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def strict_json(contents: Mapping[str, Any]) -> str:
    """JSON that every reader takes: what is not finite becomes `null`."""
    return json.dumps(_plain(contents), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write the whole file or leave the one that is there: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return _finite(value)
