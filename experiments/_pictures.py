"""Figures that show images, and the look of axes that experiments draw themselves."""

from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import numpy as np

INK = "#24292f"
"""Which `jbce.plots.svg` changes to the colour of a page's text."""


def set_ink(axes: Any, xlabel: str, ylabel: str) -> None:
    """Axes in the look of `jbce.plots`."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.tick_params(which="both", color=INK, labelcolor=INK)
    axes.spines[:].set_color(INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0)


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
