"""Figures: what they show, that they are the same every time, and what they ask for."""

import re
import sys
import xml.etree.ElementTree as ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.patches import StepPatch

from jbce import plots
from jbce.metrics import Reliability


def bins(num_bins=10, empty=3):
    centres = (np.arange(num_bins) + 0.5) / num_bins
    weight = np.arange(num_bins, dtype=float)
    weight[empty] = 0
    means = np.where(weight == 0, np.nan, centres)
    return Reliability(*map(jnp.asarray, (means, means**2, weight)))


def curve(power=0.01, auc=0.99):
    rate = np.linspace(0, 1, 20)
    return plots.RocCurve(rate, rate**power, auc)


def audit():
    from jbce import verify

    rows = [
        verify.AuditRow(dtype, margin, {"loss": 0.5 if margin < 1 else 1e7}, {})
        for dtype in ("float32", "bfloat16")
        for margin in (0.0, 1.0, 2.0)
    ]
    return verify.AuditReport("integer", tuple(rows))


FIGURES = {
    "audit_heatmap": lambda: plots.audit_heatmap({"first": audit(), "second": audit()}),
    "training_curve": lambda: plots.training_curve(
        {"first": np.array([0.7, 0.3, 0.1]), "second": np.array([0.6])}
    ),
    "training_curve_through_zero": lambda: plots.training_curve({"first": np.array([0.7, 0.0])}),
    "training_curve_from_early_on": lambda: plots.training_curve(
        {"first": np.geomspace(1, 0.1, 300)}, xscale="log"
    ),
    "training_curve_of_nothing": lambda: plots.training_curve({}),
    "reliability_diagram": lambda: plots.reliability_diagram({"first": bins()}),
    "reliability_diagrams": lambda: plots.reliability_diagram({"first": bins(), "second": bins()}),
    "roc_curve": lambda: plots.roc_curve({"first": curve(), "second": curve()}),
    "roc_curve_of_a_weak_model": lambda: plots.roc_curve({"first": curve(0.5, 2 / 3)}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_well_formed_undated_and_the_same_every_time(name):
    figure = FIGURES[name]()
    drawing = plots.svg(figure)
    ElementTree.fromstring(drawing)
    assert drawing == plots.svg(figure) == plots.svg(FIGURES[name]())
    assert "metadata" not in drawing
    assert not re.search(r"\b20\d\d-\d\d-\d\d", drawing)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_figure(name):
    figure = FIGURES[name]()
    figure.canvas.draw()
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert tight.x0 >= 0 and tight.y0 >= 0
    assert tight.x1 <= width and tight.y1 <= height


def test_text_stays_text():
    drawing = plots.svg(FIGURES["training_curve"]())
    texts = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawing)]
    assert {"first", "second", "epoch", "mean loss (nats)"} <= set(texts)


def test_ink_takes_the_colour_of_the_page():
    figure = FIGURES["reliability_diagram"]()
    plain, inked = plots.svg(figure), plots.svg(figure, ink="currentColor")
    assert "currentColor" not in plain and "#ffffff" in plain
    assert "currentColor" in inked and "#ffffff" not in inked and "#24292f" not in inked


def test_training_curve_is_logarithmic_where_it_can_be():
    assert FIGURES["training_curve"]().axes[0].get_yscale() == "log"
    assert FIGURES["training_curve_through_zero"]().axes[0].get_yscale() == "linear"


def test_training_curve_starts_at_epoch_one():
    (line, _) = FIGURES["training_curve"]().axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])


def test_reliability_diagram_shows_the_bins_that_hold_something():
    given = bins(num_bins=10, empty=3)
    axes, histogram = plots.reliability_diagram({"first": given}).axes
    assert axes.get_xlim() == axes.get_ylim() == (0, 1)
    assert axes.get_aspect() == 1
    (line,) = [line for line in axes.get_lines() if line.get_label() == "first"]
    held = given.weight > 0
    np.testing.assert_array_equal(line.get_xdata(), given.confidence[held])
    np.testing.assert_array_equal(line.get_ydata(), given.accuracy[held])
    (steps,) = histogram.patches
    assert isinstance(steps, StepPatch)
    shares, edges, _ = steps.get_data()
    np.testing.assert_allclose(shares[held], (given.weight / given.weight.sum())[held], rtol=1e-6)
    assert np.isnan(shares[~held]).all()
    np.testing.assert_allclose(edges, np.linspace(0, 1, 11))


def test_reliability_diagram_refuses_unequal_bins():
    with pytest.raises(ValueError, match=r"same number of bins.*'first': 10.*'second': 5"):
        plots.reliability_diagram({"first": bins(10), "second": bins(5)})


def test_roc_curve_enlarges_the_corner_of_good_models_only():
    assert len(FIGURES["roc_curve"]().axes[0].child_axes) == 1
    assert len(FIGURES["roc_curve_of_a_weak_model"]().axes[0].child_axes) == 0


def test_roc_curve_names_the_area():
    labels = FIGURES["roc_curve_of_a_weak_model"]().axes[0].get_legend_handles_labels()[1]
    assert labels == [f"first (area {2 / 3:.4f})"]


def test_audit_heatmap_shows_what_was_measured():
    from jbce import verify

    report = verify.AuditReport(
        "integer",
        tuple(
            verify.AuditRow("float32", margin, ulps, {})
            for margin, ulps in [(0.0, {"loss": 0.5}), (1.0, {"loss": 1e7}), (2.0, {})]
        ),
    )
    first, *_, scale = plots.audit_heatmap({"a loss": report}).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["a loss, float32"]
    assert len(first.collections) == 2 and scale.get_xlabel() == "ulp"


def test_pyplot_keeps_no_figure():
    import matplotlib.pyplot

    for make in FIGURES.values():
        make()
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize("name", FIGURES)
def test_a_missing_matplotlib_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'jbce\[evaluate\]'"):
        FIGURES[name]()
