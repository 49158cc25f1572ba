"""The look that all figures share, and the figure as text."""

import io
import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

INK = "#24292f"
GRID_ALPHA = 0.18
REFERENCE: dict[str, Any] = {
    "color": INK,
    "linewidth": 0.8,
    "linestyle": (0, (2, 2)),
    "alpha": 0.6,
}
# From the Okabe-Ito palette, which the colour-blind can tell apart: blue, vermilion, green, purple,
# and grey; each has a contrast of 3:1 and more with white and with near-black. The dashes say the
# same for print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B8649A", "#808080")
_DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v")

TIE = "\xa0"
"""A space at which no line ends."""
Entry = tuple[Any, str]
"""What a legend shows, and what it says of it."""


def svg(figure: "matplotlib.figure.Figure", *, ink: str | None = None) -> str:
    """The figure as SVG: text stays text, and the same figure gives the same characters.

    Args:
        figure: one of this module's, or any other.
        ink: a CSS colour for text and axes, on a transparent ground; `currentColor` is that of the
            page in which the drawing stands. By default, dark on white.
    """
    matplotlib = import_matplotlib()
    stream = io.StringIO()
    undated = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jbce"}):
        figure.savefig(stream, format="svg", metadata=undated, transparent=ink is not None)
    # Matplotlib ends some lines with a space.
    drawing = "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
    return drawing if ink is None else drawing.replace(INK, ink)


def import_matplotlib() -> Any:
    """Matplotlib.

    Raises:
        ImportError: it is missing; the message names the extra.
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(
            "jbce.plots needs Matplotlib: python -m pip install 'jbce[evaluate]'", name="matplotlib"
        ) from error
    return matplotlib


def new_figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """An empty figure; inches. Small, so that its text stays legible on a phone."""
    return import_matplotlib().figure.Figure(figsize=(width, height))


def add_axes(
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
    set_style(axes, xlabel=xlabel, ylabel=ylabel)
    return axes


def set_style(axes: "matplotlib.axes.Axes", *, xlabel: str, ylabel: str) -> None:
    """Ink, labels and grid."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.tick_params(which="both", color=INK, labelcolor=INK)
    axes.spines[:].set_color(INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=INK, alpha=GRID_ALPHA, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.patch.set_alpha(0)


def styles() -> Iterator[dict[str, Any]]:
    """One look after the other; the three parts repeat at different lengths."""
    looks = zip(*map(itertools.cycle, (COLOURS, _DASHES, _MARKERS)), strict=False)
    for colour, dashes, marker in looks:
        yield {
            "color": colour,
            "linestyle": dashes,
            "linewidth": 1.8,
            "marker": marker,
            "markersize": 5,
        }


def plain_log_ticks(axis: "matplotlib.axis.Axis", steps: Sequence[int]) -> None:
    """0.1, 1, 10 (times the steps) rather than powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


_LETTERS_INSIDE, _LINES_INSIDE = 36, 3  # what a legend may hold without covering the drawing
_LETTERS_ABOVE = 44  # of 9 points, in the width of the figure


def place_of_legend(labels: Sequence[str], corner: str, *drawn: tuple[Any, Any]) -> str | None:
    """`corner`, where the legend is small and covers nothing that is drawn; else None: above.

    Args:
        labels: what it is to say.
        corner: of the axes, as Matplotlib has it: `upper left`, ...
        drawn: (across, up) of points, in parts of the axes.
    """
    if len(labels) > _LINES_INSIDE or any(len(label) > _LETTERS_INSIDE for label in labels):
        return None
    width, height = 0.12 + 0.021 * max(map(len, labels), default=0), 0.03 + 0.055 * len(labels)
    upper, left = "upper" in corner, "left" in corner
    for across, up in drawn:
        from_side, from_end = (across if left else 1 - across), (1 - up if upper else up)
        if np.any((from_side < width) & (from_end < height)):
            return None
    return corner


def height_of_legend(labels: Sequence[str], place: str | None = None) -> float:
    """Inches that a legend of one column takes above the axes; 0 if its place is inside."""
    if place is not None or not labels:
        return 0.0
    more_lines = sum(wrapped(label, _LETTERS_ABOVE).count("\n") for label in labels)
    return 0.1 + 0.19 * len(labels) + 0.16 * more_lines


def add_legend(
    axes: "matplotlib.axes.Axes",
    entries: Sequence[Entry],
    *,
    place: str | None = None,
    num_columns: int = 1,
) -> None:
    """Inside at `place`, or above the axes.

    What it says is taken letter by letter: neither `$` nor `_` means anything.
    """
    if not entries:
        return
    look: dict[str, Any] = {
        "loc": "lower left",
        "bbox_to_anchor": (0, 1),
        "borderaxespad": 0.3,
        "borderpad": 0,
        "ncols": num_columns,
    }
    if place is not None:
        look = {"loc": place}
    # Matplotlib hides a label that begins with an underscore, so the words come afterwards.
    legend = axes.legend(
        [handle for handle, _ in entries],
        ["-"] * len(entries),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handlelength=2.6,
        **look,
    )
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_text(wrapped(label, _LETTERS_ABOVE))
        text.set_parse_math(False)


def legend_strip(
    figure: "matplotlib.figure.Figure", place: tuple[float, float, float]
) -> "matplotlib.axes.Axes":
    """Axes without height or ink, above which a legend stands: left, bottom, width in inches."""
    left, bottom, across = place
    axes = add_axes(figure, (left, bottom, across, 0.001), xlabel="", ylabel="")
    axes.set_axis_off()
    return axes


def wrapped(label: str, width: int) -> str:
    """In lines of at most `width` letters; a word that is longer is broken, a TIE is kept."""
    return ("\n".join(textwrap.wrap(label, width)) or label).replace(TIE, " ")


def one_row(name: str, label: str, arrays: Mapping[str, Any]) -> list[np.ndarray]:
    """The arrays in float64, each with one axis.

    Raises:
        ValueError: they have another shape, or differ in length.
    """
    rows = {field: np.asarray(array, np.float64) for field, array in arrays.items()}
    shapes = {field: row.shape for field, row in rows.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(
            f"`{name}[{label!r}]` must have one axis, of the same length everywhere, but {shapes} "
            "came. A figure shows one model, or one class, per label."
        )
    return list(rows.values())
