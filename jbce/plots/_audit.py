"""Where on the axis of margins a loss is right, and where not."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._canvas import INK, add_axes, import_matplotlib, new_figure

if TYPE_CHECKING:
    import matplotlib.figure

    from ..verify import AuditReport


def audit_heatmap(
    reports: Mapping[str, "AuditReport"],
    quantities: Sequence[str] = ("loss", "gradient at the label", "second derivative"),
) -> "matplotlib.figure.Figure":
    """Errors in ulp over the margin, a row per loss and dtype and a panel per quantity.

    Pale is right to an ulp or two; dark has no correct digit left in float32; white was not
    measured, or is below the smallest normal number.

    Args:
        reports: of `jbce.verify.audit`, by label.
        quantities: what to show.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    lines = [
        (f"{label}, {dtype}", [row for row in report.rows if row.dtype == dtype])
        for label, report in reports.items()
        for dtype in report.dtypes
    ]
    colours = import_matplotlib().colormaps["magma_r"]
    height, panel, left = 0.2 * max(len(lines), 1), 1.65, 1.95
    figure = new_figure(left + (panel + 0.2) * len(quantities), height + 1.55)
    for number, quantity in enumerate(quantities):
        place = (left + number * (panel + 0.2), 1.1, panel, height)
        axes = add_axes(figure, place, xlabel="margin", ylabel="")
        axes.grid(False)
        axes.set_title(quantity, color=INK, fontsize=10)
        for line, (_, rows) in enumerate(lines):
            for start, width, level in _runs(rows, quantity):
                colour = colours(level / _LEVELS)
                axes.broken_barh([(start, width)], (line - 0.5, 1), facecolor=colour, linewidth=0)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        labels = [label for label, _ in lines] if number == 0 else []
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.margins(x=0)
    scale = add_axes(figure, (left, 0.45, panel, 0.1), xlabel="ulp", ylabel="")
    scale.grid(False)
    for level in range(_LEVELS + 1):
        scale.broken_barh([(level, 1)], (0, 1), facecolor=colours(level / _LEVELS), linewidth=0)
    scale.set(xlim=(0, _LEVELS + 1), ylim=(0, 1))
    scale.set_yticks([])
    scale.set_xticks([2 * power for power in (0, 2, 4, 6, 8)], ["1", "100", "10⁴", "10⁶", "10⁸"])
    scale.tick_params(labelsize=8)
    return figure


_LEVELS = 16  # half powers of ten, from 1 ulp to 10⁸


def _runs(rows: Sequence[Any], quantity: str) -> Iterator[tuple[float, float, int]]:
    """Start, width and level of neighbours of one level; what was not measured is left out."""
    margins = [row.margin for row in rows]
    step = min(np.diff(margins), default=1.0)
    levels = [
        int(np.clip(2 * np.log10(max(row.ulps[quantity], 1.0)), 0, _LEVELS))
        if quantity in row.ulps
        else None
        for row in rows
    ]
    for level, run in itertools.groupby(range(len(rows)), key=lambda i: levels[i]):
        places = list(run)
        if level is not None:
            yield (
                margins[places[0]] - step / 2,
                margins[places[-1]] - margins[places[0]] + step,
                level,
            )
