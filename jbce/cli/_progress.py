"""A progress bar on a terminal, and nothing anywhere else."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(title: str, num_rows: int | None) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more rows are done; None: nobody knows of how many."""
    if not sys.stderr.isatty():
        yield lambda rows: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:  # of all, a bar is what a command can do without
        yield lambda rows: None
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task(title, total=num_rows, rate="")

    def advance(rows: int) -> None:
        progress.update(task, advance=rows)
        speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
        progress.update(task, rate=f"{speed:,.0f} rows/s" if speed else "")

    with progress:
        yield advance
