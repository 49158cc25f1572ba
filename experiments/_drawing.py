"""Axes for the figures of experiments, with the ink, colours and grid of `jbce.plots`."""

from typing import Any

import matplotlib.figure

INK = "#24292f"
"""Of text and axes; a report puts the colour of its page in its place."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B8649A", "#808080")
"""Of the Okabe-Ito palette: the colour-blind can tell them apart, on white and on black."""
DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
"""They say the same for print without colour."""


def new_axes(
    num_columns: int = 1, *, width: float = 6.0, height: float = 3.6, **options: Any
) -> tuple[matplotlib.figure.Figure, list[Any]]:
    """A figure in inches, and its axes side by side; `options` go to Matplotlib's `subplots`."""
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    row = [*figure.subplots(1, num_columns, squeeze=False, **options)[0]]
    for axes in row:
        axes.tick_params(which="both", color=INK, labelcolor=INK)
        axes.spines[:].set_color(INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color=INK, alpha=0.18, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.patch.set_alpha(0)
    return figure, row


def label(axes: Any, xlabel: str, ylabel: str, title: str = "") -> None:
    """Words at the axes, in the colour of the ink."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    if title:
        axes.set_title(title, color=INK, fontsize=10)


def legend(axes: Any, **options: Any) -> None:
    """What the lines are, without a frame."""
    axes.legend(**{"frameon": False, "labelcolor": INK, "fontsize": 8, **options})
