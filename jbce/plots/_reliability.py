"""Whether probabilities are honest, and how far honest ones would stray."""

import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..metrics import Reliability
from ._canvas import (
    REFERENCE,
    add_axes,
    add_legend,
    height_of_legend,
    new_figure,
    one_row,
    place_of_legend,
    plain_log_ticks,
    styles,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_SIDE = 3.85  # inches
_LARGE_MARKER = 7.5  # points
_BAND_ALPHA = 0.4  # light on white, and still to be seen on black
_TINY = float(np.finfo(np.float64).tiny)
_AXES = {
    "top_label": ("confidence", "accuracy"),
    "positive": ("probability of the positive class", "share of positives"),
    "classes": ("probability of the class", "share of the class"),
}


class _Bins(NamedTuple):
    """The bins that hold something."""

    confidence: np.ndarray
    accuracy: np.ndarray
    weight: np.ndarray
    place: np.ndarray  # the index of each among all bins
    low: np.ndarray  # of the band; NaN without
    high: np.ndarray


def reliability_diagram(
    reliabilities: Mapping[str, Reliability],
    *,
    of: Literal["top_label", "positive", "classes"] = "top_label",
    bands: float | None = 0.95,
) -> "matplotlib.figure.Figure":
    """Accuracy against confidence, above a histogram of the confidence.

    On the diagonal, of the decisions made with confidence 0.8, 80 % are right. An empty bin has no
    point. A point stands for the share of the weight that the histogram shows below it; points
    that stand for little scatter. The confidence of a binary decision is at least ½.

    How far they scatter is what the consistency bands say: were the probabilities honest, a point
    would lie inside its band at least in the share `bands` of all samples. The number that comes
    true in a bin is taken as binomial, of its mean confidence (were its probabilities to differ
    widely, it would vary less); the band runs from the (1 − bands)/2 to the (1 + bands)/2 quantile,
    about the diagonal. One model has its bands drawn as bars. Those of several would hide each
    other: there, a large marker is a point outside its band, and a small one a point inside. Each
    bin is judged by itself: of 20 honest points, one is outside of 95 % on average, or fewer.

    Args:
        reliabilities: by label, what `jbce.metrics.reliability` returns, all with the same number
            of bins; of several classes or models, one row each.
        of: what was judged, as `jbce.metrics.reliability` takes it; it names the axes.
        bands: a probability between 0 and 1; `None` draws no bands. The weight of a bin counts as
            a number of examples (rounded, at least one), so that weights which are not
            repetitions want `None`.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
        ValueError: the numbers of bins differ, the arrays have more than one axis, or `bands` is
            not between 0 and 1.

    Source: J. Bröcker and L. A. Smith, Increasing the reliability of reliability diagrams, Weather
        and Forecasting 22 (2007).
    """
    if bands is not None and not 0 < bands < 1:
        raise ValueError(f"`bands` must be between 0 and 1, or None, but {bands} came.")
    models = {label: _held(label, given, bands) for label, given in reliabilities.items()}
    sizes = {label: np.size(given.weight) for label, given in reliabilities.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"`reliabilities` must have the same number of bins, but {sizes} came.")
    num_bins, single = max(sizes.values(), default=1), len(models) == 1
    percent = f"{100 * bands:g} % if honest" if bands is not None and models else ""
    note = percent if single or not percent else f"large: outside {percent}"
    labels = [*models, *([note] if note else [])]
    drawn = [(bins.confidence, bins.accuracy) for bins in models.values()]
    drawn += [(bins.confidence, bins.high) for bins in models.values() if single]
    place = place_of_legend(labels, "upper left", *drawn)

    xlabel, ylabel = _AXES[of]
    figure = new_figure(4.7, 5.6 + height_of_legend(labels, place))
    axes = add_axes(figure, (0.7, 1.6, _SIDE, _SIDE), xlabel="", ylabel=ylabel)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.tick_params(labelbottom=False)
    axes.plot((0, 1), (0, 1), **REFERENCE)
    histogram = add_axes(figure, (0.7, 0.55, _SIDE, 0.85), xlabel=xlabel, ylabel="share")
    smallest, entries = 0.1, []
    pitch = 72 * _SIDE / num_bins  # points from bin to bin
    for (label, bins), style in zip(models.items(), styles(), strict=False):
        # A marker at 1 is whole; one of nothing would lie at the corner of the figure.
        style["clip_on"] = bins.weight.size == 0
        style["markersize"] = float(np.clip(0.5 * pitch, 2, 5))
        (line,) = axes.plot(bins.confidence, bins.accuracy, **style)
        entries.append((line, label))
        shares = bins.weight / max(bins.weight.sum(), _TINY)
        smallest = np.min(shares, initial=smallest)
        _draw_shares(histogram, bins, shares, num_bins, fill=single, style=style)
        if note and single:
            look = {"color": style["color"], "linewidth": float(np.clip(0.7 * pitch, 1.2, 8))}
            look |= {"alpha": _BAND_ALPHA, "zorder": 1.5, "clip_on": False}
            entries.append((axes.vlines(bins.confidence, bins.low, bins.high, **look), note))
        elif note:
            _enlarge(axes, line, _is_outside(bins))
    if note and not single:
        entries.append((_large(), note))
    # Bins differ by orders of magnitude, and it is the small ones whose points scatter.
    histogram.set(xlim=(0, 1), yscale="log", ylim=(smallest / 2, 1.2))
    plain_log_ticks(histogram.yaxis, (1,))
    add_legend(axes, entries, place=place)
    return figure


def _held(label: str, given: Reliability, bands: float | None) -> _Bins:
    """The bins that hold something.

    Raises:
        ValueError: there is more than one row.
    """
    columns = one_row("reliabilities", label, given._asdict())
    (place,) = np.nonzero(columns[-1] > 0)
    confidence, accuracy, weight = (column[place] for column in columns)
    if bands is None:
        low = high = np.full(place.size, np.nan)
    else:
        low, high = _consistency_band(confidence, weight, bands)
    return _Bins(confidence, accuracy, weight, place, low, high)


def _is_outside(bins: _Bins) -> np.ndarray:
    # By half an example: at the end of a band is inside, however the share was rounded.
    half = 0.5 / _counts(bins.weight)
    return (bins.accuracy < bins.low - half) | (bins.accuracy > bins.high + half)


def _draw_shares(
    histogram: "matplotlib.axes.Axes",
    bins: _Bins,
    shares: np.ndarray,
    num_bins: int,
    *,
    fill: bool,
    style: dict[str, Any],
) -> None:
    """Steps for bins of equal width; for others, whose edges are not known, a bar at each mean."""
    look = {name: style[name] for name in ("color", "linestyle", "linewidth")}
    width, rounding = 1 / num_bins, 1e-6
    below = bins.confidence < bins.place * width - rounding
    above = bins.confidence > (bins.place + 1) * width + rounding
    if np.any(below | above):
        histogram.vlines(bins.confidence, _TINY, shares, **look)
        return
    heights = np.full(num_bins, np.nan)
    heights[bins.place] = shares
    baseline = _TINY if fill else None
    edges = np.linspace(0, 1, num_bins + 1)
    histogram.stairs(heights, edges, baseline=baseline, fill=fill, **look)


def _enlarge(axes: "matplotlib.axes.Axes", line: Any, outside: np.ndarray) -> None:
    line.set_markersize(0.7 * line.get_markersize())
    if outside.any():
        axes.plot(
            line.get_xdata()[outside],
            line.get_ydata()[outside],
            color=line.get_color(),
            marker=line.get_marker(),
            markersize=_LARGE_MARKER,
            linestyle="none",
            clip_on=False,
        )


def _large() -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=REFERENCE["color"], marker="o", markersize=_LARGE_MARKER, linestyle="none"
    )


def _counts(weight: np.ndarray) -> np.ndarray:
    return np.maximum(np.rint(weight), 1)


def _consistency_band(
    confidence: np.ndarray, weight: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """From where to where the share of each bin lies if its confidence is honest."""
    counts = _counts(weight)
    ends = [
        _binomial_interval(int(count), float(np.clip(probability, 0, 1)), level)
        for count, probability in zip(counts, confidence, strict=True)
    ]
    low, high = np.reshape(ends, (-1, 2)).T
    return low / counts, high / counts


_LARGE_VARIANCE = 1e8  # variance beyond which a quantile is taken from the normal distribution


def _binomial_interval(count: int, probability: float, level: float) -> tuple[int, int]:
    """The (1 − level)/2 and (1 + level)/2 quantiles of a binomial.

    Exact; beyond a variance of 1e8, where it is one part in 10⁴ of the standard deviation, right
    to about one count.
    """
    tail = (1 - level) / 2
    mean, variance = count * probability, count * probability * (1 - probability)
    if variance == 0:
        return round(mean), round(mean)
    if variance > _LARGE_VARIANCE:
        z, skew = statistics.NormalDist().inv_cdf(1 - tail), (1 - 2 * probability) / 6
        half, shift = z * math.sqrt(variance), skew * (z * z - 1)  # of Cornish and Fisher
        return round(mean - half + shift), round(mean + half + shift)
    # Relative to the mode, by the ratios of neighbours; what is left out weighs less than 1e-30.
    mode, reach = int((count + 1) * probability), int(12 * math.sqrt(variance)) + 40
    mode = min(mode, count)
    first, last = max(mode - reach, 0), min(mode + reach, count)
    k = np.arange(first, last, dtype=np.float64)
    ratios = np.log(count - k) - np.log(k + 1) + math.log(probability) - math.log1p(-probability)
    logs = np.concatenate([[0.0], np.cumsum(ratios)])
    masses = np.exp(logs - logs[mode - first])
    masses /= masses.sum()
    # P(X ≤ k) from below and P(X > k) from above, so that neither tail is a difference.
    through = np.cumsum(masses)
    beyond = np.append(np.cumsum(masses[:0:-1])[::-1], 0.0)
    return first + int(np.argmax(through >= tail)), first + int(np.argmax(beyond <= tail))
