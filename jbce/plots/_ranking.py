"""How well models rank: the two curves, thinned to what can be seen."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..metrics import PrecisionRecallCurve, RocCurve
from ._canvas import (
    INK,
    REFERENCE,
    TIE,
    add_axes,
    add_legend,
    height_of_legend,
    new_figure,
    one_row,
    place_of_legend,
    set_style,
    styles,
)
from ._thinning import thinned

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_INVISIBLE = 9e-4  # of the side of the axes: half a pixel where they are 600 pixels wide
_CORNER = 0.1  # what the inset shows of either axis


def roc_curve(curves: Mapping[str, RocCurve]) -> "matplotlib.figure.Figure":
    """True against false positive rate, one curve per label, with its area in the legend.

    Where every area is above 0.95, an inset enlarges the corner in which the curves differ. Points
    that nobody would see are not drawn: the line is within 1/1000 of the side of the axes.

    Args:
        curves: by label, what `jbce.metrics.roc_curve` returns; of several models, one row each.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
        ValueError: the arrays of a curve have more than one axis.

    Edges: a curve that is not defined (NaN) has no line, and no area.
    """
    rates = {
        label: one_row("curves", label, curve._asdict())[:2] for label, curve in curves.items()
    }
    areas = {label: _area(*rate) for label, rate in rates.items()}
    labels = [f"{label} (area{TIE}{_number(area)})" for label, area in areas.items()]
    lines = [thinned(*rate, within=_INVISIBLE) for rate in rates.values()]
    place = place_of_legend(labels, "lower right", *lines)
    above = height_of_legend(labels, place)
    figure, axes = _unit_square("false positive rate", "true positive rate", above)
    corner = None
    if areas and all(area > 0.95 for area in areas.values()):
        corner = _inset(axes)
        # Nothing runs behind the inset, whose ground may be transparent.
        axes.grid(False)
        axes.plot((0, 0.26, np.nan, 0.95, 1), (0, 0.26, np.nan, 0.95, 1), **REFERENCE)
    else:
        axes.plot((0, 1), (0, 1), **REFERENCE)
    entries = []
    for label, points, rate, style in zip(labels, lines, rates.values(), styles(), strict=False):
        style["marker"] = None
        (line,) = axes.plot(*points, clip_on=False, **style)
        entries.append((line, label))
        if corner is not None:
            false, true = rate
            near = _and_neighbours((false <= _CORNER) & (true >= 1 - _CORNER))
            drawn = thinned(false[near], true[near], within=_INVISIBLE * _CORNER)
            corner.plot(*drawn, **style)
    add_legend(axes, entries, place=place)
    return figure


def precision_recall_curve(
    curves: Mapping[str, PrecisionRecallCurve],
) -> "matplotlib.figure.Figure":
    """Precision against recall, one curve per label, with its average precision in the legend.

    The curve is made of steps, without interpolation, so that the area under it is the average
    precision: between two recalls stands the precision at which the higher one is first reached.
    The dashed line is the base rate, which is the precision of guessing. Points that nobody would
    see are not drawn: the line is within 1/1000 of the side of the axes.

    Args:
        curves: by label, what `jbce.metrics.precision_recall_curve` returns; of several models,
            one row each.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
        ValueError: the arrays of a curve have more than one axis.

    Edges: a curve that is not defined (NaN) has no line, and no average precision.
    """
    points = {
        label: one_row("curves", label, curve._asdict())[:2] for label, curve in curves.items()
    }
    labels = [
        f"{label} (AP{TIE}{_number(_average_precision(*point))})" for label, point in points.items()
    ]
    # All are above any threshold at the end.
    rates = sorted(
        precision[-1] for precision, _ in points.values() if np.isfinite(precision[-1:]).any()
    )
    base_rates = {f"{rate:.3g}": rate for rate in rates}
    note = []
    if rates:
        names = list(base_rates)
        note.append(f"base rate {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else ""))
    above = height_of_legend([*labels, *note])
    figure, axes = _unit_square("recall", "precision", above)
    entries = []
    for (precision, recall), label, style in zip(points.values(), labels, styles(), strict=False):
        style["marker"] = None
        drawn = thinned(*_steps(precision, recall), within=_INVISIBLE)
        (line,) = axes.plot(*drawn, clip_on=False, **style)
        entries.append((line, label))
    references = [axes.axhline(rate, **REFERENCE) for rate in base_rates.values()]
    add_legend(axes, [*entries, *zip(references[:1], note, strict=True)])
    return figure


def _unit_square(
    xlabel: str, ylabel: str, above: float
) -> "tuple[matplotlib.figure.Figure, matplotlib.axes.Axes]":
    figure = new_figure(4.7, 4.6 + above)
    axes = add_axes(figure, (0.7, 0.55, 3.85, 3.85), xlabel=xlabel, ylabel=ylabel)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure, axes


def _inset(axes: "matplotlib.axes.Axes") -> "matplotlib.axes.Axes":
    corner = axes.inset_axes((0.42, 0.34, 0.52, 0.52))
    set_style(corner, xlabel="", ylabel="")
    corner.set(xlim=(0, _CORNER), ylim=(1 - _CORNER, 1), aspect="equal")
    corner.set(xticks=(0, 0.05, 0.1), yticks=(0.9, 0.95, 1))
    corner.set_title("the upper left corner", fontsize=9, color=INK)
    return corner


def _and_neighbours(inside: np.ndarray) -> np.ndarray:
    """Also the points to which the line leaves."""
    near = inside.copy()
    near[1:] |= inside[:-1]
    near[:-1] |= inside[1:]
    return near


def _area(false: np.ndarray, true: np.ndarray) -> float:
    """By the trapezoid rule, which is exact: a tie counts ½."""
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2) if false.size else np.nan


def _average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    return float(np.sum(np.diff(recall) * precision[1:])) if recall.size else np.nan


def _steps(precision: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners, recall and precision; where recall stands still is no step."""
    (rises,) = np.nonzero(np.diff(recall) > 0)
    edges = np.concatenate([recall[rises], recall[-1:]])
    return np.repeat(edges, 2)[1:-1], np.repeat(precision[rises + 1], 2)


def _number(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "undefined"
