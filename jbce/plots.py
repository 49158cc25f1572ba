"""Figures from results: training curves, reliability diagrams, ROC curves.

Every function takes results by label, and returns a Matplotlib `Figure` of its own (no state is
shared with `matplotlib.pyplot`); `svg` turns a figure into text, the same text every time.

Needs the extra `evaluate`: python -m pip install 'jbce[evaluate]'
"""

import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ._typing import ArrayLike, Float
from .metrics import Reliability

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

    from .verify import AuditReport

_INK = "#24292f"
_GRID_ALPHA = 0.18
_REFERENCE: dict[str, Any] = {
    "color": _INK,
    "linewidth": 0.8,
    "linestyle": (0, (2, 2)),
    "alpha": 0.6,
}
# From the Okabe-Ito palette, which the colour-blind can tell apart: blue, vermilion, green, purple,
# and grey; each has a contrast of 3:1 and more with white and with near-black. The dashes say the
# same for print without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B8649A", "#808080")
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v")


class RocCurve(NamedTuple):
    """One receiver operating characteristic, from (0, 0) to (1, 1)."""

    false_positive_rate: Float[ArrayLike, " points"]
    true_positive_rate: Float[ArrayLike, " points"]
    auc: float
    """The area under it."""


def training_curve(
    histories: Mapping[str, Float[ArrayLike, " epochs"]],
    *,
    ylabel: str = "mean loss (nats)",
    xscale: Literal["linear", "log"] = "linear",
) -> "matplotlib.figure.Figure":
    """Loss per epoch, on a logarithmic scale where all of it is positive.

    Args:
        histories: by label, the losses, `[epochs]`; the first one is that of epoch 1.
        ylabel: what the losses are, with their unit.
        xscale: of the epochs; `log` shows the first ones, when most of the learning is done.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    figure = _figure(5.0, 3.6)
    axes = _axes(figure, (0.7, 0.55, 4.15, 2.9), xlabel="epoch", ylabel=ylabel)
    for (label, history), style in zip(histories.items(), _styles(), strict=False):
        losses = np.asarray(history)
        if losses.size > 1:
            style["marker"] = None
        axes.plot(np.arange(1, losses.size + 1), losses, label=label, **style)
    losses = [np.asarray(history) for history in histories.values()]
    if losses and all((history > 0).all() for history in losses):
        axes.set_yscale("log")
        _plain_log_ticks(axes.yaxis, (1, 2, 5))
    else:
        axes.set_ylim(bottom=0)
    if losses and xscale == "log":
        axes.set_xscale("log")
        _plain_log_ticks(axes.xaxis, (1,))
    _legend(axes, loc="upper right")
    return figure


def reliability_diagram(
    reliabilities: Mapping[str, Reliability],
) -> "matplotlib.figure.Figure":
    """Accuracy against confidence, above a histogram of the confidence.

    On the diagonal, of the decisions made with confidence 0.8, 80 % are right. An empty bin has no
    point. A point stands for the share of the weight that the histogram shows below it; points
    that stand for little scatter. The confidence of a binary decision is at least ½.

    Args:
        reliabilities: by label, what `jbce.metrics.reliability` returns, all with the same number
            of bins.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
        ValueError: the numbers of bins differ.
    """
    sizes = {label: np.size(bins.weight) for label, bins in reliabilities.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"`reliabilities` must have the same number of bins, but {sizes} came.")
    figure = _figure(4.7, 5.6)
    axes = _axes(figure, (0.7, 1.6, 3.85, 3.85), xlabel="", ylabel="accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.tick_params(labelbottom=False)
    axes.plot((0, 1), (0, 1), **_REFERENCE)
    histogram = _axes(figure, (0.7, 0.55, 3.85, 0.85), xlabel="confidence", ylabel="share")
    smallest = 0.1
    for (label, bins), style in zip(reliabilities.items(), _styles(), strict=False):
        weight = np.asarray(bins.weight, np.float64)
        some = weight > 0
        shares = weight / np.sum(weight, where=some, initial=np.finfo(np.float64).tiny)
        smallest = np.min(shares, where=some, initial=smallest)
        axes.plot(
            np.asarray(bins.confidence)[some],
            np.asarray(bins.accuracy)[some],
            label=label,
            clip_on=False,
            **style,
        )
        histogram.stairs(
            np.where(some, shares, np.nan),
            np.linspace(0, 1, weight.size + 1),
            baseline=None if len(reliabilities) > 1 else np.finfo(np.float64).tiny,
            fill=len(reliabilities) == 1,
            color=style["color"],
            linestyle=style["linestyle"],
            linewidth=style["linewidth"],
        )
    # Bins differ by orders of magnitude, and it is the small ones whose points scatter.
    histogram.set(xlim=(0, 1), yscale="log", ylim=(smallest / 2, 1.2))
    _plain_log_ticks(histogram.yaxis, (1,))
    _legend(axes, loc="upper left")
    return figure


def roc_curve(curves: Mapping[str, RocCurve]) -> "matplotlib.figure.Figure":
    """True against false positive rate, one curve per label, with its area in the legend.

    Where every area is above 0.95, an inset enlarges the corner in which the curves differ.

    Args:
        curves: by label.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    figure = _figure(4.7, 4.6)
    axes = _axes(
        figure,
        (0.7, 0.55, 3.85, 3.85),
        xlabel="false positive rate",
        ylabel="true positive rate",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    places = [axes]
    if curves and all(curve.auc > 0.95 for curve in curves.values()):
        corner = axes.inset_axes((0.42, 0.34, 0.52, 0.52))
        _style(corner, xlabel="", ylabel="")
        corner.set(xlim=(0, 0.1), ylim=(0.9, 1), aspect="equal")
        corner.set(xticks=(0, 0.05, 0.1), yticks=(0.9, 0.95, 1))
        corner.set_title("the upper left corner", fontsize=9, color=_INK)
        places.append(corner)
        # Nothing runs behind the inset, whose ground may be transparent.
        axes.grid(False)
        axes.plot((0, 0.26, np.nan, 0.95, 1), (0, 0.26, np.nan, 0.95, 1), **_REFERENCE)
    else:
        axes.plot((0, 1), (0, 1), **_REFERENCE)
    for (label, curve), style in zip(curves.items(), _styles(), strict=False):
        style["marker"] = None
        for place in places:
            place.plot(
                np.asarray(curve.false_positive_rate),
                np.asarray(curve.true_positive_rate),
                label=f"{label} (area {float(curve.auc):.4f})",
                clip_on=place is not axes,
                **style,
            )
    _legend(axes, loc="lower right")
    return figure


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
    colours = _matplotlib().colormaps["magma_r"]
    height, panel, left = 0.2 * max(len(lines), 1), 3.1, 2.5
    figure = _figure(left + 0.1 + (panel + 0.2) * len(quantities), height + 1.55)
    for number, quantity in enumerate(quantities):
        place = (left + number * (panel + 0.2), 1.1, panel, height)
        axes = _axes(figure, place, xlabel="margin", ylabel="")
        axes.grid(False)
        axes.set_title(quantity, color=_INK, fontsize=10)
        for line, (_, rows) in enumerate(lines):
            for start, width, level in _runs(rows, quantity):
                colour = colours(level / _LEVELS)
                axes.broken_barh([(start, width)], (line - 0.5, 1), facecolor=colour, linewidth=0)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        labels = [label for label, _ in lines] if number == 0 else []
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.margins(x=0)
    scale = _axes(figure, (left, 0.45, panel, 0.1), xlabel="ulp", ylabel="")
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


def svg(figure: "matplotlib.figure.Figure", *, ink: str | None = None) -> str:
    """The figure as SVG: text stays text, and the same figure gives the same characters.

    Args:
        figure: one of this module's, or any other.
        ink: a CSS colour for text and axes, on a transparent ground; `currentColor` is that of the
            page in which the drawing stands. By default, dark on white.
    """
    matplotlib = _matplotlib()
    stream = io.StringIO()
    undated = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jbce"}):
        figure.savefig(stream, format="svg", metadata=undated, transparent=ink is not None)
    # Matplotlib ends some lines with a space.
    drawing = "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
    return drawing if ink is None else drawing.replace(_INK, ink)


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(
            "jbce.plots needs Matplotlib: python -m pip install 'jbce[evaluate]'", name="matplotlib"
        ) from error
    return matplotlib


def _figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """An empty figure; inches. Small, so that its text stays legible on a phone."""
    return _matplotlib().figure.Figure(figsize=(width, height))


def _axes(
    figure: "matplotlib.figure.Figure",
    place: tuple[float, float, float, float],
    *,
    xlabel: str,
    ylabel: str,
) -> "matplotlib.axes.Axes":
    """Axes at a fixed place: left, bottom, width, height in inches.

    (A layout engine moves axes of equal aspect a little at each drawing.)
    """
    (width, height), (left, bottom, across, up) = figure.get_size_inches(), place
    axes = figure.add_axes((left / width, bottom / height, across / width, up / height))
    _style(axes, xlabel=xlabel, ylabel=ylabel)
    return axes


def _style(axes: "matplotlib.axes.Axes", *, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, color=_INK)
    axes.set_ylabel(ylabel, color=_INK)
    axes.tick_params(which="both", color=_INK, labelcolor=_INK)
    axes.spines[:].set_color(_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=_INK, alpha=_GRID_ALPHA, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.patch.set_alpha(0)


def _styles() -> Iterator[dict[str, Any]]:
    """One look after the other; the three parts repeat at different lengths."""
    looks = zip(*map(itertools.cycle, (_COLOURS, _DASHES, _MARKERS)), strict=False)
    for colour, dashes, marker in looks:
        yield {
            "color": colour,
            "linestyle": dashes,
            "linewidth": 1.8,
            "marker": marker,
            "markersize": 5,
        }


def _plain_log_ticks(axis: "matplotlib.axis.Axis", steps: Sequence[int]) -> None:
    """0.1, 1, 10 (times the steps) rather than powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _legend(
    axes: "matplotlib.axes.Axes", *, loc: Literal["upper left", "upper right", "lower right"]
) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc=loc, frameon=False, labelcolor=_INK, fontsize=9, handlelength=2.6)
