"""Where a model puts the positives, and where the negatives."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._typing import Array, ArrayLike, Bool, Float, Real
from ._canvas import (
    COLOURS,
    INK,
    REFERENCE,
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

_ACROSS, _PANEL = 3.75, 1.15  # inches: width and height of the axes
_CLASSES = ("negatives", "positives")
_DASHES = ("solid", (0, (4, 1.2)))


class ScoreHistogram(NamedTuple):
    """How many positives and negatives have a score in each bin.

    Those of two batches, on the same edges, add up: a stream adds `positives` and `negatives`.
    """

    edges: Float[
        Array | np.ndarray, " num_edges"
    ]  # rising, one more than bins; the outer ones may be ±inf
    positives: Real[Array | np.ndarray, " num_bins"]  # total weight in each bin
    negatives: Real[Array | np.ndarray, " num_bins"]


def score_histogram(
    logits: Float[ArrayLike, "*batch"],
    labels: Real[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
    *,
    edges: Float[ArrayLike, " num_edges"] | int = 40,
    weights: Real[ArrayLike, ""] | Real[ArrayLike, "*batch"] = 1.0,
    where: Bool[ArrayLike, ""] | Bool[ArrayLike, "*batch"] = True,
) -> ScoreHistogram:
    """Counts of the positives' and the negatives' log-odds (or probabilities) by bin.

    Args:
        logits: `[*batch]`; log-odds, or any other score that rises with the positive class.
        labels: `[*batch]`; boolean, integers 0 or 1, or floats, positive above ½.
        edges: of the bins, rising; or a number of bins, of equal width, over all but the outermost
            thousandth of the finite scores at either side. Batches of a stream want the same edges.
        weights: how much each example counts, ≥ 0; a scalar or `[*batch]`.
        where: which examples exist; a scalar or `[*batch]`.

    Raises:
        ValueError: the shapes do not fit together, the edges do not rise, or a score is NaN that
            counts.

    Edges: a score beyond the edges, also an infinite one, is counted in the outermost bin. A bin
        holds its left edge, and the last one also its right edge. Nothing counts: zeros.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([-2.0, -0.5, 0.5, 9.0]), jnp.array([0, 1, 0, 1])
        >>> histogram = score_histogram(logits, labels, edges=jnp.array([-1.0, 0.0, 1.0]))
        >>> histogram.positives.tolist(), histogram.negatives.tolist()
        ([1.0, 1.0], [1.0, 1.0])
    """
    scores, outcomes = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    if scores.shape != outcomes.shape:
        raise ValueError(
            "`logits` and `labels` must have the same shape, but "
            f"{scores.shape} and {outcomes.shape} came."
        )
    amounts = np.where(np.asarray(where), np.asarray(weights, np.float64), 0.0)
    if amounts.shape not in ((), scores.shape):
        raise ValueError(
            f"`weights` and `where` must be scalars or have the shape {scores.shape} of `logits`, "
            f"but they make {amounts.shape}."
        )
    amounts = np.broadcast_to(amounts, scores.shape)
    counted = amounts != 0
    scores, outcomes, amounts = scores[counted], outcomes[counted], amounts[counted]
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of the `logits` that count are NaN.")
    bounds = _edges(scores, edges) if isinstance(edges, int) else np.asarray(edges, np.float64)
    _check_edges("edges", bounds)
    clipped = np.clip(scores, bounds[0], bounds[-1])
    # Bin by bin as `numpy.histogram` has it, which takes no infinite edges.
    index = np.minimum(np.searchsorted(bounds, clipped, side="right") - 1, bounds.size - 2)
    positives, negatives = (
        np.bincount(index[those], amounts[those], bounds.size - 1)
        for those in (outcomes > 0.5, ~(outcomes > 0.5))
    )
    return ScoreHistogram(bounds, positives, negatives)


def _edges(scores: np.ndarray, num_bins: int) -> np.ndarray:
    finite = scores[np.isfinite(scores)]
    low, high = np.quantile(finite, (0.001, 0.999)) if finite.size else (0.0, 0.0)
    if not high > low:
        half = max(0.5, 1e-6 * abs(low))
        low, high = low - half, high + half
    return np.linspace(low, high, max(num_bins, 1) + 1)


def _check_edges(name: str, edges: np.ndarray) -> None:
    if edges.ndim != 1 or edges.size < 2 or not (edges[1:] > edges[:-1]).all():
        raise ValueError(f"`{name}` must rise and be at least two, but {edges} came.")


def score_distributions(
    histograms: Mapping[str, ScoreHistogram],
    *,
    xlabel: str = "log-odds",
    threshold: float | None = 0.0,
) -> "matplotlib.figure.Figure":
    """The densities of the positives' and of the negatives' scores, one panel per model.

    Either class has an area of 1, however rare it is. What the two have in common is what no
    threshold separates. All panels have one axis of scores, and each its own scale of density.

    Args:
        histograms: by label, what `score_histogram` returns, or counts of your own.
        xlabel: what the scores are.
        threshold: of the decision, dashed where it lies within the axes: 0 for log-odds, ½ for
            probabilities; `None` draws none.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
        ValueError: the edges do not rise, or the shapes do not fit together.

    Edges: an outermost bin that reaches to infinity is drawn as wide as its neighbour. A class
        without any weight is not drawn.
    """
    given = {label: _densities(label, histogram) for label, histogram in histograms.items()}
    titles = [wrapped(label, 46) for label in given]
    heads = [0.12 + 0.17 * (title.count("\n") + 1) for title in titles]
    above = height_of_legend(["both"]) if given else 0.0  # the two share one line
    figure = new_figure(4.7, 0.55 + sum(heads) + _PANEL * len(given) + above + 0.05)
    bottom = figure.get_size_inches()[1] - 0.05 - above
    low = min((edges[0] for edges, _ in given.values()), default=0.0)
    high = max((edges[-1] for edges, _ in given.values()), default=1.0)
    panels = []
    for title, head, (edges, densities) in zip(titles, heads, given.values(), strict=True):
        bottom -= head + _PANEL
        axes = add_axes(figure, (0.7, bottom, _ACROSS, _PANEL), xlabel="", ylabel="density")
        panels.append(axes)
        axes.set_title(title, fontsize=10, color=INK, loc="left", pad=4).set_parse_math(False)
        entries = _draw(axes, edges, densities)
        axes.set_xlim(low, high)
        axes.set_ylim(bottom=0)
        axes.set_yticks([])  # either area is 1; so small, numbers say no more
        if threshold is not None and low < threshold < high:
            axes.axvline(threshold, **REFERENCE)
        if len(panels) < len(given):
            axes.tick_params(labelbottom=False)
        if len(panels) == 1:
            top = legend_strip(figure, (0.7, bottom + _PANEL + head, _ACROSS))
            add_legend(top, entries, num_columns=2)
    if panels:
        panels[-1].set_xlabel(xlabel)
    return figure


def _densities(label: str, histogram: ScoreHistogram) -> tuple[np.ndarray, list[np.ndarray]]:
    """Finite edges, and the densities of the negatives and of the positives."""
    (edges,) = one_row("histograms", label, {"edges": histogram.edges})
    counts = one_row(
        "histograms", label, {"positives": histogram.positives, "negatives": histogram.negatives}
    )
    _check_edges(f"histograms[{label!r}].edges", edges)
    if counts[0].size != edges.size - 1:
        raise ValueError(
            f"`histograms[{label!r}]` must have one edge more than bins, but {edges.size} edges "
            f"and {counts[0].size} bins came."
        )
    edges = _finite(edges)
    return edges, [
        count / np.diff(edges) / total
        if (total := count.sum()) > 0
        else np.full(count.size, np.nan)
        for count in reversed(counts)
    ]


def _finite(edges: np.ndarray) -> np.ndarray:
    inner = edges[np.isfinite(edges)]
    if inner.size == 0:
        return np.array([-0.5, 0.5])
    widths = np.diff(inner) if inner.size > 1 else np.ones(1)
    first, last = np.isinf(edges[[0, -1]])
    finite = edges.copy()
    finite[0] = inner[0] - widths[0] if first else inner[0]
    finite[-1] = inner[-1] + widths[-1] if last else inner[-1]
    return finite


def _draw(axes: "matplotlib.axes.Axes", edges: np.ndarray, densities: list[np.ndarray]) -> list:
    entries = []
    for density, colour, dashes, name in zip(densities, COLOURS, _DASHES, _CLASSES, strict=False):
        look: dict[str, Any] = {
            "edgecolor": colour,
            "facecolor": (colour, 0.4),
            "linestyle": dashes,
            "linewidth": 1.4,
        }
        entries.append((axes.stairs(density, edges, baseline=0, fill=True, **look), name))
    return entries
