"""Figures that experiments draw themselves, with the ink, colours and grid of `jbce.plots`."""

from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import numpy as np

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
    return _new(1, num_columns, width, height, **options)


def new_rows(
    num_rows: int, *, width: float = 6.0, height: float = 5.4, **options: Any
) -> tuple[matplotlib.figure.Figure, list[Any]]:
    """Likewise, one below the other."""
    return _new(num_rows, 1, width, height, **options)


def _new(
    num_rows: int, num_columns: int, width: float, height: float, **options: Any
) -> tuple[matplotlib.figure.Figure, list[Any]]:
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    every = [*np.ravel(figure.subplots(num_rows, num_columns, squeeze=False, **options))]
    for axes in every:
        axes.tick_params(which="both", color=INK, labelcolor=INK)
        axes.spines[:].set_color(INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color=INK, alpha=0.18, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.patch.set_alpha(0)
    return figure, every


def style_of(index: int) -> dict[str, Any]:
    """The look of a line, by its number."""
    return {
        "color": (*COLOURS, "#56B4E9", "#E69F00")[index % 7],
        "linestyle": DASHES[index % len(DASHES)],
        "linewidth": 1.6,
    }


def label(axes: Any, xlabel: str, ylabel: str, title: str = "") -> None:
    """Words at the axes, in the colour of the ink."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    if title:
        axes.set_title(title, color=INK, fontsize=10)


def legend(axes: Any, **options: Any) -> None:
    """What the lines are, without a frame; also of a whole figure, which stands outside."""
    axes.legend(**{"frameon": False, "labelcolor": INK, "fontsize": 8, **options})


def pictures(
    images: Sequence[np.ndarray], titles: Sequence[str], *, num_columns: int, size: float = 1.5
) -> matplotlib.figure.Figure:
    """Images from 0 to 1, `[height, width]` or with 3 channels, each below its title."""
    num_rows = -(-len(images) // num_columns)
    figure = matplotlib.figure.Figure(
        figsize=(size * num_columns, (size + 0.3) * num_rows), layout="constrained"
    )
    for axes in np.ravel(figure.subplots(num_rows, num_columns, squeeze=False)):
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, color=INK, fontsize=9)
    return figure
