"""Which models differ, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..metrics import Comparison
from ._canvas import (
    COLOURS,
    INK,
    add_axes,
    add_legend,
    height_of_legend,
    legend_strip,
    new_figure,
    one_row,
    wrapped,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# Inches: of all, at either side, for the estimates, below a panel.
_WIDTH, _MARGIN, _RIGHT, _FOOT = 5.0, 0.1, 0.85, 0.38
_LETTERS, _LETTERS_OF_A_TITLE = 24, 56  # in one line
_THICK: dict[str, Any] = {"color": COLOURS[0], "linewidth": 4.0}
_THIN: dict[str, Any] = {"color": COLOURS[0], "linewidth": 1.3}


class _Row(NamedTuple):
    """One model by one metric."""

    estimate: float
    difference: float
    low: float
    high: float
    adjusted_low: float
    adjusted_high: float


def metric_differences(
    comparisons: Mapping[str, Comparison], names: Sequence[str]
) -> "matplotlib.figure.Figure":
    """Each model's difference from the baseline, with its intervals, one panel per metric.

    Thick is the interval of a model by itself, thin the simultaneous one, which holds for all the
    models at once. An interval that leaves 0 (the baseline, a diamond) out is a difference that is
    real at its level. The estimates themselves stand on the right.

    Args:
        comparisons: by metric, what `jbce.metrics.compare` returns.
        names: of the models, in the order of its arrays.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
        ValueError: the arrays have more than one axis, or their length is not that of `names`.

    Edges: a difference that is not finite has no dot; it is written at its row. An interval that is
        infinite runs to the end of the axis.
    """
    metrics = {title: _rows(title, given, names) for title, given in comparisons.items()}
    labels = [wrapped(name, _LETTERS) for name in names]
    left = 0.2 + 0.075 * max(
        (len(part) for label in labels for part in label.split("\n")), default=0
    )
    pitches = [0.13 + 0.15 * (label.count("\n") + 1) for label in labels]
    lines = np.cumsum(pitches) - np.array(pitches) / 2  # of the rows, in inches from the top
    height = sum(pitches)
    titles = [wrapped(title, _LETTERS_OF_A_TITLE) for title in metrics]
    heads = [0.16 + 0.18 * (title.count("\n") + 1) for title in titles]
    above = height_of_legend(["both"]) if metrics else 0.0  # the two share one line
    figure = new_figure(_WIDTH, 0.25 + above + sum(heads) + (height + _FOOT) * len(metrics))
    top = figure.get_size_inches()[1] - 0.05 - above
    if metrics:
        key = legend_strip(figure, (_MARGIN, top, _WIDTH - 2 * _MARGIN))
        add_legend(key, _key(), num_columns=2)
        at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        look: dict[str, Any] = {"fontsize": 9, "color": INK, "ha": "right"}
        key.annotate("estimate", (1, 1), xytext=(0, 5), **at, **look)
    for title, head, (baseline, rows) in zip(titles, heads, metrics.values(), strict=True):
        place = (left, top - head - height, _WIDTH - left - _RIGHT, height)
        top -= head + height + _FOOT
        axes = add_axes(figure, place, xlabel="", ylabel="")
        axes.set_ylim(height, 0)
        _write(axes, title, labels, lines, [row.estimate for row in rows], left)
        ends = _set_scale(axes, rows)
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
            if number == baseline:
                axes.plot([0], [line], color=INK, marker="D", markersize=6, linestyle="none")
            else:
                _draw(axes, line, row, ends)
    if metrics:
        figure.axes[-1].set_xlabel("difference from the baseline", color=INK)
    return figure


def _rows(title: str, given: Comparison, names: Sequence[str]) -> tuple[int, list[_Row]]:
    """The index of the baseline, and the models.

    Raises:
        ValueError: the arrays have more than one axis, or their length is not that of `names`.
    """
    columns = one_row(
        "comparisons", title, {field: getattr(given, field) for field in _Row._fields}
    )
    if columns[0].size != len(names):
        raise ValueError(
            f"`names` must be those of the {columns[0].size} models of `comparisons[{title!r}]`, "
            f"but {len(names)} came."
        )
    return int(given.baseline), [_Row(*map(float, row)) for row in zip(*columns, strict=True)]


def _write(
    axes: "matplotlib.axes.Axes",
    title: str,
    labels: list[str],
    lines: np.ndarray,
    estimates: list[float],
    left: float,
) -> None:
    """The metric, the models' names and their estimates."""
    look: dict[str, Any] = {"textcoords": "offset points", "color": INK, "parse_math": False}
    at = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (72 * (_MARGIN - left), 6)}
    axes.annotate(title, va="bottom", fontsize=10, **at, **look)
    axes.set_yticks(lines, labels, fontsize=9, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    digits = _decimals(estimates)
    for line, estimate in zip(lines, estimates, strict=True):
        words = f"{estimate:.{digits}f}" if abs(estimate) < 1e6 else f"{estimate:.3g}"
        at = {"xy": (1, line), "xycoords": ("axes fraction", "data")}
        right = (72 * (_RIGHT - _MARGIN), 0)
        axes.annotate(
            _signed(words), xytext=right, ha="right", va="center", fontsize=9, **at, **look
        )


def _decimals(values: list[float]) -> int:
    """So many that the smallest one shows four digits, but not more than six places."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    return min(max(3 - math.floor(math.log10(min(sizes))), 0), 6) if sizes else 1


def _set_scale(axes: "matplotlib.axes.Axes", rows: Sequence[_Row]) -> tuple[float, float]:
    """The ends of the axis, about all that is finite; ticks without a crowd of zeros."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ends = np.array([row[1:] for row in rows]).ravel()
    ends = np.append(ends[np.isfinite(ends)], 0.0)
    margin = 0.06 * (np.ptp(ends) or 1.0)
    low, high = float(ends.min() - margin), float(ends.max() + margin)
    size = max(-low, high)
    power = math.floor(math.log10(size))
    power = power if not -2 <= power < 4 else 0
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: _tick(tick, power)))
    axes.tick_params(axis="x", labelsize=9)
    if power:
        exponent = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        axes.annotate(
            f"×10{exponent}",
            (1, 0),
            xycoords="axes fraction",
            xytext=(5, -4),
            textcoords="offset points",
            va="top",
            fontsize=9,
            color=INK,
        )
    return low, high


def _tick(tick: float, power: int) -> str:
    value = round(tick / 10**power, 9)
    return _signed(f"{value:+g}") if value else "0"


def _signed(number: str) -> str:
    return number.replace("-", "−").replace("inf", "∞").replace("nan", "undefined")


def _draw(axes: "matplotlib.axes.Axes", line: float, row: _Row, ends: tuple[float, float]) -> None:
    if not math.isfinite(row.difference):
        to_the_right = sum(ends) >= 0
        axes.annotate(
            "undefined" if math.isnan(row.difference) else _signed(f"{row.difference:+g}"),
            (0, line),
            xytext=(8 if to_the_right else -8, 0),
            textcoords="offset points",
            ha="left" if to_the_right else "right",
            va="center",
            fontsize=9,
            color=INK,
        )
        return
    simultaneous, single = (row.adjusted_low, row.adjusted_high), (row.low, row.high)
    for interval, look in ((simultaneous, _THIN), (single, _THICK)):
        if not any(map(math.isnan, interval)):
            axes.plot(np.clip(interval, *ends), [line, line], solid_capstyle="butt", **look)
    axes.plot([row.difference], [line], color=COLOURS[0], marker="o", markersize=7.5)


def _key() -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    return [
        (Line2D([], [], **_THICK), "interval"),
        (Line2D([], [], **_THIN), "simultaneous interval"),
    ]
