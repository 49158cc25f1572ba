"""Measurements beside rivals and goals: the rows, the timer, the file and the table."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ._environment import environment
from ._record import strict_json, write_text
from ._terminal import show_table, show_text


@dataclass(frozen=True)
class Row:
    """One measurement, beside what it is compared with and the goal that it is held to."""

    name: str
    value: float
    """Ours."""
    unit: str
    beside: float | None = None
    """The rival's, in the same unit."""
    rival: str = ""
    """Whose `beside` is."""
    goal: float | None = None
    """For the ratio, or for the value itself where there is no rival."""
    better: Literal["lower", "higher"] = "lower"

    @property
    def ratio(self) -> float | None:
        """Ours over the rival's; None where nothing finite can be said."""
        if self.beside is None or not self.beside:
            return None
        ratio = self.value / self.beside
        return ratio if math.isfinite(ratio) else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal. What could not be measured is not."""
        if self.goal is None:
            return None
        reached = self.value if self.beside is None else self.ratio
        if reached is None or not math.isfinite(reached):
            return False
        return reached <= self.goal if self.better == "lower" else reached >= self.goal


_LONG = 1.0
"""Seconds beside which what an earlier call left to do is nothing."""


class Timing(NamedTuple):
    """Seconds of one call."""

    median: float
    minimum: float


def interleaved(thunks: Mapping[str, Callable[[], Any]], rounds: int = 15) -> dict[str, Timing]:
    """Time the thunks in turn, so that whatever disturbs the machine disturbs all of them.

    Each round times every thunk once, starting with another one each time; a result counts when it
    is there (`jax.block_until_ready`). Temporaries are given back to the system after that, in the
    time of the next call; so each call is timed right after one of the same, and pays for what that
    one left and not for what a rival did, except where calls take a second or more.

    Args:
        thunks: by name; already compiled, and called once before.
        rounds: timed calls of each.

    Returns:
        Median and minimum over the rounds, by name, in seconds.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, but {rounds} came.")
    names = list(thunks)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for start in range(rounds):
        for step in range(len(names)):
            name = names[(start + step) % len(names)]
            taken = _seconds(thunks[name])
            seconds[name].append(taken if taken >= _LONG else _seconds(thunks[name]))
    return {name: Timing(statistics.median(taken), min(taken)) for name, taken in seconds.items()}


def _seconds(thunk: Callable[[], Any]) -> float:
    import jax

    begin = time.perf_counter()
    jax.block_until_ready(thunk())
    return time.perf_counter() - begin


def temporary_megabytes(program: Any) -> float:
    """What a compiled program asks for beside its arguments and results."""
    return program.memory_analysis().temp_size_in_bytes / 1e6


def write_rows(path: Path, rows: Iterable[Row], *, suite: str, config: Any) -> list[Row]:
    """Write the rows as JSON, each one with its versions and device, and return them."""
    rows = list(rows)
    where = environment()
    written = [
        asdict(row)
        | {"ratio": row.ratio, "met": row.met}
        | {"versions": where["versions"], "device": where["device"]}
        for row in rows
    ]
    contents = {"suite": suite, "rows": written, "config": asdict(config), "environment": where}
    write_text(path, strict_json(contents))
    return rows


def show_rows(title: str, rows: Sequence[Row]) -> None:
    """The rows as a table that marks what is not met, and a sentence that counts it."""
    show_table(
        title,
        ("name", "value", "beside", "ratio", "goal", "met"),
        [
            (
                row.name,
                f"{row.value:.4g} {row.unit}",
                "" if row.beside is None else f"{row.beside:.4g} {row.rival}".strip(),
                "" if row.ratio is None else f"{row.ratio:.3g}",
                "" if row.goal is None else f"{'≤' if row.better == 'lower' else '≥'} {row.goal:g}",
                {None: "", True: "yes", False: "NOT MET"}[row.met],
            )
            for row in rows
        ],
    )
    goals = [row for row in rows if row.met is not None]
    missed = [row.name for row in goals if not row.met]
    if missed:
        show_text(f"Not met, {len(missed)} of {len(goals)} goals: {', '.join(missed)}.")
    else:
        show_text(f"Every goal is met ({len(goals)}).")
