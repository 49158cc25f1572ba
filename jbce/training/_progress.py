"""A progress bar on a terminal, and nothing anywhere else."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import numpy as np

from ._extra import extra

Report = Callable[[int, float, float], None]


@contextlib.contextmanager
def progress_bar(
    wanted: bool, num_epochs: int, num_examples: int, of: str = "epoch"
) -> Iterator[Report]:
    """Gives a function that shows the number of epochs done, the last loss and the last score."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda epochs_done, loss, validation: None
        return
    with extra():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.text import Text

    class Rate(TextColumn):
        def render(self, task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} examples/s")

    progress = Progress(
        TextColumn(of + " {task.fields[epochs_done]}/{task.fields[num_epochs]}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        Rate(""),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = progress.add_task(
        "", total=num_epochs * num_examples, epochs_done=0, num_epochs=num_epochs, state="compiling"
    )

    def report(epochs_done: int, loss: float, validation: float) -> None:
        judged = "" if np.isnan(validation) else f", validation {validation:.4g}"
        progress.update(
            task,
            completed=epochs_done * num_examples,
            epochs_done=epochs_done,
            state=f"loss {loss:.4g}{judged}",
        )

    with progress:
        yield report
