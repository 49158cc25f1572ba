"""How the loss fell."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._typing import ArrayLike, Float
from ._canvas import (
    add_axes,
    add_legend,
    height_of_legend,
    new_figure,
    place_of_legend,
    plain_log_ticks,
    styles,
)

if TYPE_CHECKING:
    import matplotlib.figure


def training_curve(
    histories: Mapping[str, Float[ArrayLike, " epochs"]],
    *,
    xlabel: str = "epoch",
    ylabel: str = "mean loss (nats)",
    xscale: Literal["linear", "log"] = "linear",
) -> "matplotlib.figure.Figure":
    """Loss per epoch, on a logarithmic scale where all of it is positive.

    Args:
        histories: by label, the losses, `[epochs]`; the first one is that of epoch 1.
        xlabel: what a loss is of, where it is no epoch.
        ylabel: what the losses are, with their unit.
        xscale: of the epochs; `log` shows the first ones, when most of the learning is done.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    labels = list(histories)
    place = place_of_legend(labels, "upper right")
    figure = new_figure(5.0, 3.6 + height_of_legend(labels, place))
    axes = add_axes(figure, (0.7, 0.55, 4.15, 2.9), xlabel=xlabel, ylabel=ylabel)
    entries = []
    for (label, history), style in zip(histories.items(), styles(), strict=False):
        losses = np.asarray(history)
        if losses.size > 1:
            style["marker"] = None
        (line,) = axes.plot(np.arange(1, losses.size + 1), losses, label=label, **style)
        entries.append((line, label))
    losses = [np.asarray(history) for history in histories.values()]
    if losses and all((history > 0).all() for history in losses):
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis, (1, 2, 5))
    else:
        axes.set_ylim(bottom=0)
    if losses and xscale == "log":
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis, (1,))
    add_legend(axes, entries, place=place)
    return figure
